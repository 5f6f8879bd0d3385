"""The recording of a real kernel is whole, and the path of its version executes what that kernel does."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from svmlib.emulators import qemu
from svmlib.emulators.outcomes import EmulatorError
from svmlib.emulators.witness import __main__ as witness
from svmlib.emulators.witness import boot, kernel
from svmlib.emulators.witness.recording import KINDS, Line, read
from svmlib.kvm import Host, exits, random_exits, run
from svmlib.paths import PATHS, upstream_6_1, vmload_before_stgi

FILE = Path(__file__).parent / "recorded" / "kernel-6.1.txt"
RECORDING = read(FILE)

# -- the recording


@pytest.mark.parametrize("kind", KINDS)
class TestTheRecording:
    def test_most_of_thousands_of_round_trips_are_identical(self, kind):
        trip = RECORDING.trips[kind]
        assert trip.recorded >= 1000
        assert 0.95 * trip.recorded <= trip.identical <= trip.recorded

    def test_a_round_trip_ends_in_its_only_vmrun_and_counts_every_instruction(self, kind):
        trip = RECORDING.trips[kind]
        assert [line.instruction for line in trip.lines].count("VMRUN") == 1
        assert trip.lines[-1].instruction == "VMRUN"
        assert trip.lines[-1].after == trip.kernel + trip.user
        after = [line.after for line in trip.lines]
        assert after == sorted(set(after))

    def test_every_place_is_a_function_and_every_msr_has_a_name(self, kind):
        for line in RECORDING.trips[kind].lines:
            assert line.place == "user space" or re.fullmatch(r"\w+\+0x[0-9a-f]+( \[\w+\])?", line.place)
            assert not re.search(r"0x|MSR$", line.instruction)

    def test_its_lines_are_as_many_as_it_says(self, kind):
        section = FILE.read_text(encoding="utf-8").partition(f"[{kind}]")[2].partition("\n[")[0]
        lines = re.findall(r"^ +(\d+) +\d+  \S", section, flags=re.MULTILINE)
        assert [int(number) for number in lines] == list(range(1, len(lines) + 1))
        assert f"\nlisted: {len(lines)}\n" in section


def test_the_recording_says_what_made_it():
    assert re.match(r"linux-image-6\.1\.0-\d+-amd64 6\.1\.\S+$", RECORDING.made_by["kernel"])
    assert RECORDING.made_by["QEMU"].startswith(qemu.VERSION)
    assert "nokaslr" in RECORDING.made_by["command"]


def test_only_an_exit_to_user_space_executes_anything_there():
    assert (RECORDING.trips["kernel"].user, RECORDING.trips["user"].user > 0) == (0, True)


@pytest.mark.parametrize("gone", [r"^ +2 .*\n", r"^listed: .*\n", r"^\[user\].*\n", r"^identical: .*\n"])
def test_an_edited_recording_is_not_read(gone, tmp_path):
    text = FILE.read_text(encoding="utf-8")
    edited = tmp_path / "edited.txt"
    edited.write_text(re.sub(gone, "", text, count=1, flags=re.MULTILINE), encoding="utf-8")
    with pytest.raises(ValueError, match="is no recording, or was edited"):
        read(edited)


# -- the path against it

#: What the kernel executes and the model's does not: instructions in one function, and why.
BEYOND = {
    ("SGDT", "native_load_tr_desc"): "is the read-only alias of the GDT in use?  The model's has none",
    ("LGDT", "native_load_gdt"): "to the GDT's writable alias for LTR's busy bit, and back",
    ("RDTSC", "kvm_arch_vcpu_ioctl_run"): "the guest's last TSC, kept for a clock that runs on",
    ("CLI; STI", "kvm_arch_vcpu_ioctl_run"): "the window for a pending interrupt is closed and opened again",
    ("RDMSR DEBUGCTL", "native_read_msr"): "the host's DEBUGCTL, kept in case the guest's is loaded",
    ("XSAVEOPT", "save_fpregs_to_fpstate"): "the x87 and vector registers of guest and thread are exchanged",
    ("XRSTOR", "restore_fpregs_from_fpstate"): "likewise; the model has no such registers",
    ("RDTSC", "kvm_arch_vcpu_put"): "the TSC when the vCPU was put, to see on return whether it went back",
    ("CLI", "kvm_on_user_return"): "local_irq_save() around the list of user-return MSRs",
    ("RDTSC", "exit_to_user_mode_prepare"): "an offset of the kernel's stack for the next system call",
}
#: What the model's steps have and such a list has not: loads and stores, and marks of its own.
NOT_LISTED = {"MOV r,m", "MOV m,r", "registers in", "registers out", "guest", "#VMEXIT", "user code"}


def without(lines, used=None):
    """Return the instructions of `lines` that no row of BEYOND explains; note in `used` which rows did."""
    left = []
    at = 0
    while at < len(lines):
        for what, function in BEYOND:
            several = what.split("; ")
            found = [(line.instruction, line.function) for line in lines[at : at + len(several)]]
            if found == [(name, function) for name in several]:
                if used is not None:
                    used.add((what, function))
                at += len(several)
                break
        else:
            left.append(lines[at].instruction)
            at += 1
    return left


def executed(path, kind):
    """Return what the model executes from the #VMEXIT of an exit of `kind` to the next VMRUN."""
    result = run(path, exits("user", "kernel", kind, "kernel"), Host(3))
    assert result.violation is None
    *_, entry, next_entry = result.exits
    steps = result.trace[entry.first : next_entry.last]
    first, last = [index for index, step in enumerate(steps) if step.event == "VMRUN"]
    events = [step for step in steps[first + 1 : last + 1] if step.event not in NOT_LISTED]
    return [f"{s.event} {s.operand}" if s.event in ("RDMSR", "WRMSR") else s.event for s in events]


@pytest.mark.parametrize("kind", KINDS)
def test_the_path_executes_what_the_real_kernel_does_in_its_order(kind):
    assert executed(upstream_6_1, kind) == without(RECORDING.trips[kind].lines)


def test_every_reason_explains_something_that_was_recorded():
    used = set()
    for trip in RECORDING.trips.values():
        without(trip.lines, used)
    assert used == set(BEYOND)


OTHERS = {**PATHS, "since_2023": vmload_before_stgi.since_2023}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_other_path_passes_for_it(name, kind):
    assert executed(OTHERS[name], kind) != without(RECORDING.trips[kind].lines)


def test_reload_tss_is_what_2023_removed():
    ours, since = executed(upstream_6_1, "kernel"), executed(OTHERS["since_2023"], "kernel")
    assert (ours.count("LTR"), since.count("LTR")) == (1, 0)


@pytest.mark.parametrize("fsgsbase", [True, False])
@pytest.mark.parametrize("clears", [True, False])
@pytest.mark.parametrize("seeds", [range(20), range(1 << 20, (1 << 20) + 20)])
def test_the_path_breaks_no_rule(fsgsbase, clears, seeds):
    for seed in seeds:
        host = Host(seed, fsgsbase=fsgsbase, null_clears_base=clears, cpus=1 + seed % 4, vcpus=1 + seed % 3)
        violation = run(upstream_6_1, random_exits(seed, 25, host), host).violation
        assert violation is None, (seed, violation and violation.detail)


# -- the driver, as far as it goes without a kernel


@pytest.mark.parametrize(
    "program,package", [("gcc", "gcc libc6-dev"), ("qemu-system-x86_64", "qemu-system-x86")]
)
def test_what_is_missing_is_said_in_one_line_with_its_package(
    program, package, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(shutil, "which", lambda name: None if name == program else f"/usr/bin/{name}")
    if program == "gcc":
        monkeypatch.setattr(qemu, "version", lambda: "7.2")
    else:
        qemu.version.cache_clear()
    assert witness.main([str(tmp_path / "out.txt")]) == 1
    assert (
        capsys.readouterr().err == f"no {program} on PATH: install it (on Debian 12: apt install {package})\n"
    )
    assert not (tmp_path / "out.txt").exists()


def test_a_distribution_with_another_kernel_is_told_what_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(kernel, "command", lambda *words: "  Depends: linux-image-6.12.0-1-amd64\n")
    with pytest.raises(EmulatorError, match="this needs Debian 12, after apt-get update"):
        kernel.fetch(tmp_path)


def test_a_program_that_fails_is_named_with_its_last_line():
    with pytest.raises(EmulatorError, match=r"^sh failed: what went wrong$"):
        kernel.command("sh", "-c", "echo first; echo what went wrong >&2; exit 3")


def test_modules_are_loaded_after_what_they_name(tmp_path):
    files = {}
    for name, depends in {"kvm-amd": "kvm,ccp", "kvm": "irqbypass", "ccp": "rng_core"}.items():
        files[name] = tmp_path / f"{name}.ko"
        files[name].write_bytes(b"\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0")
    for name in ("irqbypass", "rng-core"):
        files[name] = tmp_path / f"{name}.ko"
        files[name].write_bytes(b"\0depends=\0")
    order = [path.stem for path in kernel._needs("kvm-amd", files)]
    assert order == ["irqbypass", "kvm", "rng-core", "ccp", "kvm-amd"]


def test_an_initramfs_is_an_archive_whose_entries_are_aligned(tmp_path):
    init = tmp_path / "x"
    init.write_bytes(b"12345")
    data = kernel.initramfs(init, [init], tmp_path / "initramfs").read_bytes()
    assert len(data) % 4 == 0
    starts = [match.start() for match in re.finditer(b"070701", data)]
    assert len(starts) == 5
    assert all(start % 4 == 0 for start in starts)
    names = [data[start + 110 :].partition(b"\0")[0] for start in starts]
    assert names == [b"init", b"dev", b"proc", b"x", b"TRAILER!!!"]


def test_the_most_frequent_round_trip_is_the_one_that_is_written():
    usual, other = boot.Trip("cpuid", 7, 0, ((1 << 63, 3), ((1 << 63) + 9, 7))), boot.Trip("cpuid", 8, 0, ())
    found = boot.Boot(
        [usual, other, usual], {1 << 63: "WRMSR", (1 << 63) + 9: "VMRUN"},
        boot.Symbols(["symbol 8000000000000000 native_write_msr", "symbol 8000000000000004 run [kvm_amd]"]),
    )  # fmt: skip
    trip = boot.round_trip(found, "kernel", [0xC000_0103])
    assert (trip.recorded, trip.identical, trip.kernel) == (3, 2, 7)
    assert trip.lines == [
        Line(3, "WRMSR TSC_AUX", "native_write_msr+0x0"), Line(7, "VMRUN", "run+0x5 [kvm_amd]")
    ]  # fmt: skip
    with pytest.raises(EmulatorError, match="no round trip of kind user"):
        found.most("user")


@pytest.mark.parametrize(
    "files,told",
    [
        ({"errors": "x: warning: y\n", "console": "Kernel panic\n\n"}, "Kernel panic"),
        ({"said": "symbol 1 x \nfailed /dev/kvm: none\n", "console": "a\n"}, "failed /dev/kvm: none"),
        ({}, "it said nothing"),
    ],
)
def test_a_kernel_that_stops_early_is_told_by_its_last_words(files, told, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(EmulatorError, match=f"did not come to its end: {told}$"):
        boot.said(tmp_path, SimpleNamespace(poll=lambda: 0), "done")


def test_symbols_name_addresses_and_find_them_in_another_boot():
    lines = [
        "symbol 8000000000000010 f ",
        "symbol 8000000000000020 f ",
        "symbol 8000000000000030 g [m]",
        "ready",
    ]
    first = boot.Symbols(lines)
    second = boot.Symbols(line.replace("symbol 80", "symbol 90") for line in lines)
    assert first.place((1 << 63) + 0x34) == "g+0x4 [m]"
    assert first.place(0x40_1000) == "user space"
    assert first.move((1 << 63) + 0x23, second) == 0x9000_0000_0000_0023
