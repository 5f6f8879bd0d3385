"""Prices from one's own silicon: the programs measure what they say, and nothing else becomes a price."""

import csv
import json
import platform
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import missing, require
from svmlib.__main__ import main
from svmlib.costs import PriceError, prices
from svmlib.costs.calibrate import CalibrationError, building, cli, listing, parse
from svmlib.costs.lists import COLUMNS
from svmlib.data import rows

OVMF = Path("/usr/share/ovmf/OVMF.fd")
QEMU = "qemu-system-x86_64"
#: Each instruction takes 2 to this many ticks of the emulated TSC: then ticks are counts.
SHIFT = 6


def on_amd():
    file = Path("/proc/cpuinfo")
    return platform.system() == "Linux" and "AuthenticAMD" in file.read_text(encoding="utf-8")


#: No component that could be installed: these tests are skipped even where nothing else may be.
amd_only = pytest.mark.skipif(not on_amd(), reason="the processor here is not AMD's")

# -- on this machine


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Measure this machine once: the report, and the price list that was written."""
    require("cc", "install gcc and libc6-dev")
    report = cli.measure()
    file = tmp_path_factory.mktemp("here") / "mine.csv"
    if not report.refused:
        file.write_text(listing.as_csv(report), encoding="utf-8")
    return SimpleNamespace(report=report, file=file)


@amd_only
@pytest.mark.xdist_group("measured")
class TestThisMachine:
    def test_every_distribution_is_in_order_and_above_nothing(self, here):
        for found in here.report.events.values():
            assert 0 < found.least <= found.low <= found.median <= found.high <= found.most

    def test_what_must_take_longer_does(self, here):
        median = {event: found.median for event, found in here.report.events.items()}
        assert median["ADD"] < median["LFENCE"] < median["RDTSCP"]
        assert median["MOV r,Sreg"] < median["MOV Sreg,r"]
        assert (
            max(median["LFENCE"], 20) < median["syscall invalid"] < median["CPUID 0"]
            or not here.report.virtual
        )
        if "WRGSBASE" in median:
            assert median["RDGSBASE"] < median["WRGSBASE"] < median["RDGSBASE WRGSBASE"] * 1.1

    def test_the_clock_is_one_that_processors_have(self, here):
        assert 500_000 < here.report.tsc_khz < 8_000_000
        assert 0.2 < here.report.core_per_tick[1] < 4

    def test_its_price_list_is_complete_and_says_whose_each_price_is(self, here):
        if here.report.refused:
            pytest.skip(here.report.refused)
        mine, base = prices(str(here.file)), prices(listing.generation(here.report))
        assert set(base) <= set(mine)
        measured = {event for event, price in mine.items() if price.source == ("calibrate",)}
        assert measured == set(here.report.events) - {"ADD"}
        for event in measured:
            assert mine[event].label == "measured"
            assert here.report.machine in mine[event].note
            assert mine[event].nominal == pytest.approx(here.report.events[event].median, rel=1e-4)
        assert all(mine[event].label == base[event].label for event in set(base) - measured)


# -- the image


def boot(stick, *options, until="Press a key", seconds=120):
    """Boot a stick under QEMU and OVMF; what came through the serial port."""
    serial = stick.with_suffix(".serial")
    serial.unlink(missing_ok=True)
    words = (
        f"{QEMU} -accel tcg -machine q35 -m 256 -nodefaults -display none -no-reboot -net none -bios {OVMF}"
    )
    command = [
        *words.split(), "-drive", f"file={stick},format=raw,if=ide", "-serial", f"file:{serial}", *options
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as qemu:
        try:
            for _ in range(seconds * 10):
                text = serial.read_text(encoding="utf-8", errors="replace") if serial.exists() else ""
                if until in text or qemu.poll() is not None:
                    return text
                time.sleep(0.1)
        finally:
            qemu.kill()
    return text


@pytest.fixture(scope="module")
def stick(tmp_path_factory):
    """Make the image of a stick."""
    for program, package in (
        ("gcc", "gcc"),
        ("ld", "binutils"),
        ("mformat", "mtools"),
        (QEMU, "qemu-system-x86"),
    ):
        require(program, f"install {package}")
    for file, package in ((Path("/usr/include/efi/efi.h"), "gnu-efi"), (OVMF, "ovmf")):
        if not file.exists():
            missing(f"no {file}: install {package}")
    file = tmp_path_factory.mktemp("image") / "stick.img"
    assert main(["calibrate", "--image", str(file)]) == 0
    return file


@pytest.fixture(scope="module")
def counted(stick):
    """Boot it on a QEMU whose TSC counts instructions."""
    return boot(stick, "-cpu", "EPYC,+svm", "-icount", f"shift={SHIFT},sleep=off")


#: Of how many instructions an execution consists, where it is not one; a loop of a hundred adds 3 to 6.
INSTRUCTIONS = {"STI CLI": 2, "CLGI STGI": 2, "LTR": 2}


@pytest.mark.xdist_group("image")
class TestTheImage:
    def test_each_block_has_the_instructions_that_it_says(self, counted):
        for event, found in parse(counted).events.items():
            if found.times > 1:
                beside_them = found.median / 2**SHIFT - INSTRUCTIONS.get(event, 1)
                assert 0.02 < beside_them < 0.07, event
            assert found.low == found.median == found.high, event

    def test_a_vmrun_and_its_exit_are_the_two_halves_of_the_whole(self, counted):
        """Each has an empty block subtracted; the end of one half is the start of the other."""
        events = parse(counted).events
        halves = events["VMRUN"].median + events["#VMEXIT"].median + parse(counted).overhead
        assert halves == pytest.approx(events["VMRUN #VMEXIT"].median, abs=2 * 2**SHIFT)

    def test_everything_that_carries_host_state_is_measured(self, counted):
        events = parse(counted).events
        carried = {
            row["msr_name"] for row in rows("registers") if row["carrier"] == "VMSAVE" and row["msr_name"]
        }
        assert {f"{name} {msr}" for msr in carried | {"TSC_AUX"} for name in ("RDMSR", "WRMSR")} <= set(
            events
        )
        assert {"VMSAVE", "VMLOAD", "VMRUN", "#VMEXIT", "STGI", "CLGI", "LTR", "LLDT", "SWAPGS"} <= set(
            events
        )
        assert {"RDGSBASE", "WRGSBASE", "RDFSBASE", "WRFSBASE"} <= set(events)

    def test_the_stick_holds_the_report_that_the_console_showed(self, counted, stick, tmp_path):
        drive = f"{stick}@@{2048 * 512}"
        file = tmp_path / "REPORT.TXT"
        subprocess.run(["mcopy", "-i", drive, "::/REPORT.TXT", file], check=True)
        assert parse(file.read_text(encoding="ascii")) == parse(counted)

    def test_its_numbers_are_marked_and_refused_as_prices(self, counted, tmp_path, capsys):
        assert "# A hypervisor or an emulator is below: these are no prices of a processor." in counted
        report, target = tmp_path / "REPORT.TXT", tmp_path / "all.csv"
        report.write_text(counted, encoding="utf-8")
        assert main(["calibrate", "--read", str(report), str(target)]) == 2
        said = capsys.readouterr()
        assert "✗ Not prices: QEMU's TCG emulated the processor" in said.out
        assert re.fullmatch(r"no price list: QEMU's TCG .*\n", said.err)
        assert not target.exists()

    def test_a_processor_without_svm_is_told_so(self, stick):
        told = boot(stick, "-cpu", "EPYC,-svm", "-snapshot")
        with pytest.raises(
            CalibrationError, match="could not measure: this processor has no SVM, or a hypervisor"
        ):
            parse(told)

    def test_firmware_finds_one_partition_and_in_it_the_application(self, stick, tmp_path):
        data = stick.read_bytes()
        kind, first, sectors = struct.unpack_from("<4xB3xII", data, 446)
        assert (kind, first * 512 + sectors * 512, data[510:512]) == (0xEF, len(data), b"\x55\xaa")
        assert data[462:510] == bytes(48)
        file = tmp_path / "made.efi"
        building.write_image(file)
        subprocess.run(
            ["mcopy", "-i", f"{stick}@@{first * 512}", "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "found.efi"],
            check=True,
        )
        made = file.read_bytes()
        assert made == (tmp_path / "found.efi").read_bytes()
        header = struct.unpack_from("<I", made, 0x3C)[0]
        machine, subsystem = (
            struct.unpack_from("<4xH", made, header)[0],
            struct.unpack_from("<H", made, header + 92)[0],
        )
        assert (made[:2], made[header : header + 4], machine, subsystem) == (b"MZ", b"PE\0\0", 0x8664, 10)


def test_the_images_names_are_those_of_the_tables():
    defined = dict(re.findall(r"^#define (\w+) (\S+)$", building.names(), flags=re.MULTILINE))
    assert (defined["VMCB_RIP"], defined["VMCB_CS_ATTRIB"]) == ("0x578", "0x412")
    assert (defined["MSR_KERNEL_GS_BASE"], defined["EXIT_VMMCALL"]) == ("0xC0000102", "0x81")
    used = re.findall(
        r"\b(?:VMCB|EXIT|MSR)_[A-Z0-9_]+\b", (building.HERE / "image.c").read_text(encoding="ascii")
    )
    assert set(used) - {"MSR_"} <= set(defined)


# -- reports, true and mended

REPORT = """\
svmlib-calibrate 1
made by: image
vendor: AuthenticAMD
family: 25
model: 1
stepping: 1
hypervisor: none
name: AMD EPYC 7763
date: 2026-03-01
tsc khz: 2450000
tsc step: 1
blocks: 1000
overhead: 40
event: times min 5% median 95% max
ADD: 100 0.70 0.70 0.72 0.75 1.00
VMLOAD: 100 70.00 71.00 72.00 80.00 900.00
RDMSR STAR: 100 60.00 61.00 62.00 63.00 90.00
RDMSR LSTAR: 100 50.00 60.00 64.00 70.00 90.00
RDMSR CSTAR: 100 50.00 59.00 63.00 66.00 90.00
VMRUN #VMEXIT: 1 900.00 950.00 1000.00 1100.00 9000.00
MOV r,Sreg: 100 -0.10 0.00 0.00 0.01 1.00
end: 7
# The same is in REPORT.TXT.
"""


def test_a_report_of_bare_metal_becomes_a_price_list(tmp_path):
    file = tmp_path / "all.csv"
    report = parse(REPORT)
    file.write_text(listing.as_csv(report), encoding="utf-8")
    mine, base = prices(str(file)), prices("zen3")
    assert mine["VMLOAD"][:3] == (71, 72, 80)
    # Of RDMSR only variants were measured: they count for the others, together.
    assert mine["RDMSR"][:3] == (59, 63, 70)
    assert mine["RDMSR LSTAR"][:3] == (60, 64, 70)
    # A round trip is no VMRUN, and nothing is free.
    assert mine["VMRUN"] == base["VMRUN"]
    assert mine["MOV r,Sreg"][:3] == (0.01, 0.01, 0.01)
    assert mine.ratio is not None
    assert mine.ratio.nominal == pytest.approx(1 / 0.72, rel=1e-4)
    assert mine.clock is not None
    assert mine.clock.nominal == 2450
    with file.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        assert tuple(reader.fieldnames) == COLUMNS
        assert {row["price_list"] for row in reader} == {"measured-2026-03-01"}


def test_the_rest_of_a_list_is_that_of_the_processors_generation():
    for family, model, name in [
        (25, 1, "zen3"),
        (25, 17, "zen4"),
        (23, 49, "zen2"),
        (26, 2, "zen5"),
        (99, 0, "epyc-2020"),
    ]:
        assert listing.generation(parse(REPORT)._replace(family=family, model=model)) == name


@pytest.mark.parametrize(
    "made_by,hypervisor,refused",
    [("user mode", "none", ""), ("user mode", "KVMKVMKVM", ""), ("image", "none", ""),
     ("image", "KVMKVMKVM", "carried out the privileged"), ("user mode", "TCGTCGTCGTCG", "emulated")],
)  # fmt: skip
def test_numbers_of_an_emulator_or_of_a_hypervisor_are_no_prices(made_by, hypervisor, refused):
    report = parse(REPORT)._replace(made_by=made_by, hypervisor=hypervisor)
    assert refused in report.refused
    assert bool(refused) == bool(report.refused)
    if refused:
        with pytest.raises(CalibrationError, match="no price list"):
            listing.as_csv(report)


def test_an_emulator_or_hypervisor_that_hides_is_known_by_its_cpuid():
    def refused(ticks):
        return parse(REPORT.replace("VMLOAD: 100 70.00 71.00 72", f"CPUID 0: 1 0.00 9.00 {ticks}")).refused

    assert "an emulator hides" in refused(19)
    assert "a hypervisor hides" in refused(1001)
    # The fastest and the slowest that a processor itself was measured at, in core cycles.
    measured = [
        float(row[column]) for row in rows("measurements") if row["event"] == "CPUID leaf 0"
        for column in ("low", "high")
    ]  # fmt: skip
    assert len(measured) > 10
    assert {refused(int(cycles / ratio)) for cycles in measured for ratio in (1, 2)} == {""}


def test_what_a_console_adds_is_passed_over():
    noisy = "\x1b[2J\x1b[01;01HBdsDxe: starting\r\n\x1b[0m" + REPORT.replace("\n", "\r\n")
    assert parse(noisy) == parse(REPORT)


def test_under_a_hypervisor_a_cpuid_is_told_to_be_its_exit():
    text = REPORT.replace("hypervisor: none", "hypervisor: KVMKVMKVM").replace("image", "user mode")
    report = parse(text.replace("VMRUN #VMEXIT", "CPUID 0"))
    assert "an exit to the hypervisor (KVMKVMKVM)" in listing.prices(report)["CPUID 0"].note
    assert "CPUID is an exit to it and the way back" in str(report)


@pytest.mark.parametrize(
    "text,told",
    [
        ("", "no report: there is no line 'svmlib-calibrate 1'"),
        (REPORT.partition("MOV")[0], "cut off or lacks lines: 6 events are left"),
        (re.sub("VMLOAD.*\n", "", REPORT), "cut off or lacks lines: 6 events"),
        (REPORT.replace("VMLOAD: 100 70", "VMLOAD: 100 x"), "line 16 is none of a report: 'VMLOAD"),
        (REPORT.replace("family: 25\n", ""), "no line 'family'"),
        (REPORT.replace("family: 25", "family: many"), "a wrong number .*many"),
        (REPORT.replace("ADD", "SUB"), "no chain of ADDs"),
        ("svmlib-calibrate 1\n# failed: this is no processor of AMD\n", "could not measure: this is no"),
    ],
)  # fmt: skip
def test_what_is_no_whole_report_is_told(text, told):
    with pytest.raises(CalibrationError, match=told):
        parse(text)


# -- the command


def calibrate(*words, capsys):
    """Run the command: its status, and the line that it says instead of working."""
    status = main(["calibrate", *map(str, words)])
    return status, capsys.readouterr().err


def test_a_price_list_is_written_from_a_report_and_compare_takes_it(tmp_path, capsys):
    report, file = tmp_path / "REPORT.TXT", tmp_path / "all.csv"
    report.write_text(REPORT, encoding="ascii")
    status, said = calibrate("--read", report, file, capsys=capsys)
    assert (status, said) == (
        0,
        f"{file}: 7 prices were measured, {len(prices(str(file))) - 7} are those of zen3\n",
    )
    assert main(["compare", "--prices", str(file)]) == 0
    assert "price list measured-2026-03-01" in capsys.readouterr().out


def test_a_list_that_was_measured_again_is_read_again(tmp_path):
    file = tmp_path / "all.csv"
    for median in ("72.00", "74.00"):
        file.write_text(
            listing.as_csv(parse(REPORT.replace("71.00 72.00", f"71.00 {median}"))), encoding="utf-8"
        )
        assert prices(str(file))["VMLOAD"].nominal == float(median)


def test_json_has_what_the_table_has(tmp_path, capsys):
    report = tmp_path / "REPORT.TXT"
    report.write_text(REPORT, encoding="ascii")
    assert main(["calibrate", "--read", str(report), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unit"].startswith("TSC ticks of one execution")
    assert (found["refused_as_prices"], found["family"]) == (None, 25)
    assert found["events"]["VMLOAD"]["median"] == 72
    assert main(["calibrate", "--read", str(report)]) == 0
    table = capsys.readouterr().out
    assert all(event in table for event in found["events"])
    lines = {line.split("  ")[0]: re.split("  +", line)[1:6] for line in table.splitlines()}
    assert lines["event"] == ["at a time", "5 %", "median", "95 %", "core cycles"]
    assert lines["VMLOAD"] == ["100", "71.00", "72.00", "80.00", "100.0"]


def test_other_processors_and_systems_are_refused_politely(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n", encoding="ascii")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    status, said = calibrate(capsys=capsys)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("calibrate prices AMD processors, and this one is GenuineIntel's; --image makes")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    status, said = calibrate(capsys=capsys)
    assert status == 2
    assert "this is Linux on arm64" in said


@pytest.mark.parametrize(
    "program,words", [("cc", ()), ("gcc", ("--image", "x.img")), ("objcopy", ("--image", "x.efi"))]
)
def test_a_missing_tool_is_named_with_its_package(program, words, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "check_machine", lambda: None)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name == program else which(name) or f"/usr/bin/{name}"
    )
    monkeypatch.chdir(tmp_path)
    status, said = calibrate(*words, capsys=capsys)
    assert status == 2
    assert re.fullmatch(rf"no {program} on PATH: install it \(on Debian: apt install .*\)\n", said)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_hangs_or_dies_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "check_machine", lambda: None)
    script = tmp_path / "calibrate"
    monkeypatch.setattr(cli, "user_program", lambda folder: script)
    monkeypatch.setattr(cli, "_TIMEOUT", 0.2)
    for body, told in [("sleep 9", "still measuring"), ("exit 4", "status 4"), ("echo hello", "no report")]:
        script.write_text(f"#!/bin/sh\nexec 2>&1\n{body.replace('sleep', 'exec sleep')}\n", encoding="ascii")
        script.chmod(0o755)
        with pytest.raises(CalibrationError, match=told):
            cli.measure()
    script.chmod(0o644)
    with pytest.raises(CalibrationError, match=r"does not start .* set TMPDIR"):
        cli.measure()


def test_files_that_cannot_be_are_told(tmp_path, capsys):
    status, said = calibrate("--read", tmp_path / "no.txt", capsys=capsys)
    assert (status, said) == (2, f"{tmp_path}/no.txt: No such file or directory\n")
    report = tmp_path / "REPORT.TXT"
    report.write_text(REPORT, encoding="ascii")
    status, said = calibrate("--read", report, tmp_path / "list.txt", capsys=capsys)
    assert status == 2
    assert "ends in .csv" in said
    report.write_text("hello", encoding="ascii")
    status, said = calibrate("--read", report, capsys=capsys)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"{report}: no report")
    status, said = calibrate("--image", tmp_path / "x.img", tmp_path / "x.csv", capsys=capsys)
    assert status == 2
    assert "measures nothing here" in said


def test_a_list_that_the_commands_would_not_take_is_not_left_behind(monkeypatch, tmp_path, capsys):
    report, file = tmp_path / "REPORT.TXT", tmp_path / "all.csv"
    report.write_text(REPORT, encoding="ascii")

    def refuse(name):
        raise PriceError(f"{name}, line 3: wrong")

    monkeypatch.setattr(cli, "read_file", refuse)
    status, said = calibrate("--read", report, file, capsys=capsys)
    assert (status, said) == (2, f"{file}, line 3: wrong\n")
    assert not file.exists()


# -- the page about it

PAGE = (Path(__file__).parent.parent / "course" / "calibrate.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line", re.findall(r"^python -m svmlib (\w+ .*?)(?: +#.*)?$", PAGE, flags=re.MULTILINE)
)
def test_every_command_of_the_page_is_one(line, capsys):
    command, *words = line.split()
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    helped = capsys.readouterr().out
    assert all(word in helped for word in words if word.startswith("--"))


def test_the_page_says_how_the_programs_measure():
    header = (building.HERE / "measure.h").read_text(encoding="ascii")
    image = (building.HERE / "image.c").read_text(encoding="ascii")
    numbers = [
        int(re.search(rf"#define {name} (\d+)", text)[1])
        for text in (header, image)
        for name in ("TURNS", "BLOCKS")
    ]
    assert numbers == [10, 2000, 1, 200]
    assert "#define ROUNDS 5\n" in header
    words = " ".join(PAGE.split())
    assert "A block holds 1000 executions in turns of a hundred (the image: 100)" in words
    assert "five rounds of 2000 blocks (the image: 200)" in words
    assert "never yet run on silicon" in words.lower()
