"""`python -m svmlib emulate`: programs as a person writes them, three outcomes, whose values are left."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import missing, require
from svmlib import __main__ as command_line
from svmlib.emulators import bochs, comparison, leaks, notation, qemu, reference
from svmlib.emulators import layout as at
from svmlib.emulators.deviations import DEVIATIONS, profile
from svmlib.emulators.emulate import as_json, as_text
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import EmulatorError, Outcome, fields
from svmlib.emulators.programs import ProgramError, check, text
from svmlib.registers import MSR, REGISTERS, carried_by

ROOT = Path(__file__).parent.parent
RUNNERS = {"qemu72": qemu, "bochs27": bochs}
#: The host's, as it is shown.
LSTAR = f"{at.REGISTERS_AT_START['LSTAR']:#x}"
LEAK = notation.program(notation.EXAMPLE)
MENDED = notation.program(notation.EXAMPLE.replace('# ("vmload"', '("vmload"'))


def emulators():
    """Both emulators' versions; a test ends here without them."""
    for runner in RUNNERS.values():
        require(runner.PROGRAM, f"On Debian 12: apt install {runner.PACKAGES}")
        try:
            runner.version()
        except EmulatorError as error:
            missing(str(error))


def command(*arguments):
    return command_line.main(["emulate", *map(str, arguments)])


class TestNotation:
    @pytest.mark.parametrize("seed", range(5))
    def test_what_the_fuzzer_prints_is_read_back(self, seed):
        program = Generator(seed, vmrun=0.2).program(40)
        again = notation.program(text(program, "    "))
        assert text(again) == text(program)
        assert text(notation.program(f"[\n{text(program)}\n]")) == text(program)

    @pytest.mark.parametrize(
        "written,number",
        [
            ("LSTAR", MSR.LSTAR),
            ("MSR.LSTAR", MSR.LSTAR),
            ("HOST", at.HOST),
            ("VMCB.ASID", at.VMCB + 0x58),
            ("SPARE.FS.base", at.SPARE + 0x448),
            ("linear(VMCB.EFER)", at.linear(at.VMCB + 0x4D0)),
            ("1 << 47 | 0xFFF & ~0xF0", 1 << 47 | 0xF0F),
            ("-1", (1 << 64) - 1),
            ("-(1 << 47)", 0xFFFF_8000_0000_0000),
            ("(HOST + 2 * 8) ^ 1", at.HOST + 17),
            ("MSRPM + 0x820", at.MSRPM + 0x820),
        ],
    )
    def test_a_number_may_have_a_name(self, written, number):
        assert notation.program(f'("wrmsr", {written}, 0),') == [("wrmsr", number, 0)]

    def test_every_field_of_the_vmcb_has_its_name(self):
        for name, row in REGISTERS.items():
            if row.vmcb is not None:
                assert notation.program(f'("load", SPARE.{name}, 8),') == [("load", at.SPARE + row.vmcb, 8)]

    @pytest.mark.parametrize(
        "written,said",
        [
            ('("vmlod", HOST),', "line 1: no operation 'vmlod'; did you mean vmload"),
            ('\n\n("wrmsr", LSTR, 5),', "line 3: no name 'LSTR'; did you mean LSTAR"),
            ('("store", linear(VMCB.ASDI), 0, 4),', "no field 'ASDI'; did you mean ASID?"),
            ('("clgi",)\n("stgi",)', r"line 1: a comma is missing behind \('clgi',\)"),
            ("clgi", r'one is written \("clgi",\)'),
            ("5,", "5 is no operation"),
            ("(5, 6),", "an operation begins with its name, and 5 is none"),
            ('("user",),', "an operation begins with its name"),
            ("(", "this is not a list of operations"),
            ('("wrmsr", LSTAR),', "wrmsr takes msr, value"),
            ('("wrmsr", LSTAR, 1 << 64),', "an operand has 64 bits"),
            ('("wrmsr", LSTAR, 1 << 10000000000),', "an operand has 64 bits"),
            ('("wrmsr", LSTAR, (1 << 64) * (1 << 64)),', "is too large"),
            ('("wrmsr", LSTAR, 1.5),', "1.5 is no operand"),
            ('("wrmsr", LSTAR, True),', "True is no operand"),
            ('("wrmsr", LSTAR, 2 ** 63),', "is no operand"),
            ('("wrmsr", __import__("os").getpid(), 1),', "is no operand"),
            ('("wrmsr", [1 for _ in "a"], 1),', "is no operand"),
            ('("vmrun", VMCB, [("vmrun", VMCB, [])]),', "'vmrun' is not a guest's operation"),
            ('("vmrun", VMCB, [\n("vmlod", 1)]),', "line 2: no operation 'vmlod'"),
            ("# nothing", "the program has no operations; .* --example"),
            ("(" * 400, "not a list of operations"),
            ("\0", "not a list of operations"),
        ],
    )
    def test_what_is_no_program_says_where_and_why(self, written, said):
        with pytest.raises(ProgramError, match=said):
            notation.program(written)

    @pytest.mark.parametrize(
        "operation,said",
        [
            (("wrmsr", MSR.KERNEL_GS_BASE, 5), "wrmsr KERNEL_GS_BASE 0x5"),
            (("wrmsr", 0xC000_0105, 5), "wrmsr 0xc0000105 0x5"),
            (("user", "vmload", at.SPARE), "vmload SPARE at CPL 3"),
            (("store", at.linear(at.VMCB + 0x58), 0, 4), "store linear(VMCB.ASID) 0x0 4"),
            (("vmsave", at.HOST + 8), "vmsave HOST+0x8"),
            (("mov_to_sreg", "GS", 0x1B), "mov_to_sreg GS 0x1b"),
            (("vmrun", at.VMCB, [("clgi",)]), "vmrun VMCB"),
        ],
    )
    def test_an_operation_is_shown_by_names(self, operation, said):
        assert notation.said(operation) == said

    @pytest.mark.parametrize(
        "value,name",
        [(0x81, "VMMCALL"), (0x4D, "EXCEPTION+13"), (0x10, "CR_WRITE"), (0x18, "CR_WRITE+8"), (0x77, "0x77"),
         (0xFFFF_FFFF_FFFF_FFFF, "VMEXIT_INVALID"), (0xFFFF_FFFF, "0xffffffff")],
    )  # fmt: skip
    def test_an_exitcode_is_shown_by_name(self, value, name):
        assert notation.exitcode(value) == name


class TestLeaks:
    def after(self, program):
        machine = reference.Machine(profile())
        for operation in program:
            machine.execute(operation)
        return machine

    def switch(self, guest, *behind):
        return [("vmsave", at.HOST), ("vmrun", at.VMCB, guest), *behind]

    def test_the_example_leaks_what_vmsave_carries_and_what_nobody_does(self):
        machine = self.after(LEAK)
        assert set(leaks.left(machine)) == {"LSTAR", "KernelGSBase", "FS", "CR2", "TSC_AUX"}
        assert leaks.lost(machine) == ()
        first, second = leaks.sentences(machine)
        assert first.startswith("Still the guest's: LSTAR, KernelGSBase, FS. VMSAVE carries that")
        assert second.startswith("Still the guest's: CR2, TSC_AUX. Neither #VMEXIT nor VMLOAD")

    def test_vmload_of_the_host_s_page_leaves_what_software_carries(self):
        assert set(leaks.left(self.after(MENDED))) == {"CR2", "TSC_AUX"}

    def test_what_the_exit_brings_back_is_the_host_s_though_the_guest_wrote_the_same(self):
        program = [("clgi",), ("sti",), ("vmrun", at.VMCB, [("sti",)])]
        assert "RFLAGS" not in leaks.left(self.after(program))
        assert "LSTAR" in leaks.left(self.after(self.switch([("wrmsr", MSR.LSTAR, 5)])))

    def test_the_guest_s_vmload_alone_is_a_leak(self):
        program = self.switch([], ("vmsave", at.VMCB))
        program.insert(1, ("vmload", at.VMCB))
        names = {name.partition(".")[0] for name in carried_by("VMSAVE")}
        assert names <= set(leaks.left(self.after(program)))

    def test_a_host_that_loads_its_page_first_loses_the_guest(self):
        guest = [("wrmsr", MSR.LSTAR, 5)]
        load, save = ("vmload", at.HOST), ("vmsave", at.VMCB)
        assert leaks.lost(self.after(self.switch(guest, load, save))) == ("LSTAR",)
        assert leaks.lost(self.after(self.switch(guest, load))) == ("LSTAR",)
        assert leaks.lost(self.after(self.switch(guest, save, load))) == ()

    def test_without_a_guest_nothing_is_left_or_lost(self):
        machine = self.after([("wrmsr", MSR.LSTAR, 5), ("store", at.linear(at.VMCB + 0x58), 0, 4),
                              ("vmrun", at.VMCB, [("wrmsr", MSR.LSTAR, 6)])])  # fmt: skip
        assert leaks.left(machine) == leaks.lost(machine) == ()
        assert leaks.sentences(machine) == ["GIF is clear: NMIs and interrupts wait until STGI."]

    def test_an_event_that_was_not_taken_is_told(self):
        said = leaks.sentences(self.after([("clgi",), ("intr",), ("nmi",)]))
        assert said[0] == "Waiting at the end: an interrupt, NMI."

    def test_each_field_says_what_wrote_it_last(self):
        writers = leaks.writers(self.after(MENDED))
        assert writers["LSTAR"] == "host VMLOAD HOST"
        assert writers["TSC_AUX"] == "guest WRMSR"
        assert writers["HOST[LSTAR]"] == writers["VMCB[FS.base]"] == "host VMSAVE"
        assert writers["VMCB[EXITCODE]"] == "#VMEXIT"
        assert writers["GIF"] == "host STGI"
        assert "HOST[GDTR.base]" not in writers
        assert leaks.writers(self.after([("ltr", 0x38)]))["GDT+0x38"] == "host LTR"


class Replay:
    """An emulator's stand-in that gives outcomes made before; Bochs' name, QEMU's or any."""

    def __init__(self, name, outcome):
        self.PROFILE, self.outcome = name, outcome

    def version(self):
        return "here"

    def run(self, programs, timeout):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [self.outcome]


@pytest.fixture
def replay(monkeypatch):
    """Let an emulator give an outcome, or raise."""

    def set_up(name, outcome):
        monkeypatch.setattr(comparison, "ENGINES", {name: Replay(name, outcome)})

    return set_up


class TestComparison:
    def test_a_row_of_the_table_is_found_by_its_effect(self, replay):
        replay("bochs27", reference.run(LEAK, profile("bochs27")))
        found = comparison.emulate(LEAK)
        (engine,) = found.engines
        assert set(engine.known) == {"CR2", "VMCB[CR2]"}
        assert {row["name"] for rows in engine.known.values() for row in rows} == {"vmrun-cr2"}
        assert found.explained

    def test_what_no_row_explains_is_unknown(self, replay):
        outcome = reference.run(LEAK, profile("qemu72"))
        state = bytearray(outcome.state)
        place, _ = fields()["TSC_AUX"]
        state[place] ^= 1
        replay("qemu72", Outcome(bytes(state), outcome.entries))
        found = comparison.emulate(LEAK)
        assert found.engines[0].unknown == {"TSC_AUX": "0x7"}
        assert not found.explained
        shown = as_text(found)
        assert "≠? TSC_AUX: 0x6, and the model as qemu72 has 0x7" in shown
        assert "Not explained (≠?)" in shown

    def test_an_operation_that_gives_something_else_is_unknown(self, replay):
        outcome = reference.run(LEAK, profile("qemu72"))
        replay("qemu72", Outcome(outcome.state, b"\x0e" + outcome.entries[1:]))
        assert comparison.emulate(LEAK).engines[0].unknown == {0: "done"}

    def test_a_guest_s_end_is_a_line_of_its_own(self, replay):
        replay("qemu72", reference.run(LEAK, profile("qemu72")))
        found = comparison.emulate(LEAK)
        labels = [line.label for n, line in enumerate(found.lines) if found.shows(n)]
        assert labels[2:4] == ["vmrun VMCB", "│ wrmsr LSTAR 0x7f0000001000"]
        end = [line.label for line in found.lines].index("└ ends in")
        assert found.model.seen[end] == "VMMCALL"
        assert 2 not in found.model.seen

    def test_an_injected_exception_is_a_line_where_there_is_one(self, replay):
        inject = ("store", at.linear(at.VMCB + 0xA8), 0x8000_0306, 8)
        for before, shown in (([inject], ["│ exception from EVENTINJ", "#UD(0x0)", "#UD(0x0)"]), ([], [])):
            program = [*before, ("vmrun", at.VMCB, [("sldt",)])]
            replay("qemu72", reference.run(program, profile("qemu72")))
            rows = [re.split(" {2,}", row) for row in as_text(comparison.emulate(program)).splitlines()]
            assert [row for row in rows if row[0] == "│ exception from EVENTINJ"] == (
                [shown] if shown else []
            )
            assert ["│ sldt", "0x48", "0x48"] in rows

    @pytest.mark.parametrize(
        "operation,gave",
        [
            (("syscall",), "CS 0x10 SS 0x18 RFLAGS 0x0"),
            (("sgdt",), f"limit {at.GDT_LIMIT:#x} base {at.linear(at.TABLES):#x}"),
            (("lidt", 0xFFF, 0x1000), "limit 0xfff base 0x1000"),
            (("rdtscp",), "0x0"),
            (("mov_to_cr", 8, 3), "done"),
            (("sti_clgi",), "done"),
            (("wrmsr", MSR.LSTAR, 1 << 47), "#GP(0x0)"),
        ],
    )
    def test_what_an_operation_gives_is_in_words(self, replay, operation, gave):
        program = [operation]
        replay("bochs27", reference.run(program, profile("bochs27")))
        assert comparison.emulate(program).model.seen[0] == gave

    def test_an_interrupt_is_shown_where_it_is_taken(self, replay):
        program = [("clgi",), ("sti",), ("intr",), ("stgi",)]
        replay("bochs27", reference.run(program, profile("bochs27")))
        assert comparison.emulate(program).model.seen[3] == "done, INTR"

    def test_what_a_guest_does_not_reach_says_so(self, replay):
        program = notation.program('("vmrun", VMCB + 8, [("swapgs",)]),')
        replay("qemu72", reference.run(program, profile("qemu72")))
        rows = as_text(comparison.emulate(program)).splitlines()
        assert re.fullmatch(r"│ swapgs +not reached +not reached", rows[3])
        assert re.fullmatch(r"└ ends in +#GP\(0x0\) +#GP\(0x0\)", rows[4])

    def test_a_model_in_another_profile_is_compared_with_that(self, replay):
        replay("bochs27", reference.run(LEAK, profile("bochs27")))
        found = comparison.emulate(LEAK, "bochs27")
        assert found.engines[0].known == {}
        assert as_text(found).endswith("The model and bochs27 here agree.")

    def test_one_that_does_not_come_to_the_end_is_a_difference(self, replay, tmp_path, capsys):
        replay("qemu72", EmulatorError("it stood still"))
        file = tmp_path / "program"
        file.write_text(notation.EXAMPLE, encoding="utf-8")
        assert command(file) == 1
        said = capsys.readouterr()
        assert said.err == "qemu72: it stood still\n"
        assert said.out.endswith("qemu72 did not come to the program's end.\n")

    def test_a_page_that_one_instruction_filled_is_one_row_until_all_are_asked_for(self, replay):
        replay("qemu72", reference.run(LEAK, profile("qemu72")))
        found = comparison.emulate(LEAK)
        assert re.search(r"^HOST\[\d+ fields\] +host VMSAVE$", as_text(found), re.MULTILINE)
        every = as_text(found, everything=True).splitlines()
        assert {name for name in fields() if any(line.startswith(f"{name} ") for line in every)} == set(
            fields()
        )

    def test_colour_comes_on_top_of_the_signs(self, replay):
        replay("bochs27", reference.run(LEAK, profile("bochs27")))
        found = comparison.emulate(LEAK)
        coloured = as_text(found, colour=True)
        assert "\033[31m0x0 ≠\033[0m" in coloured
        assert re.sub(r"\033\[\d+m", "", coloured) == as_text(found)

    def test_as_json_it_is_whole(self, replay):
        replay("bochs27", reference.run(LEAK, profile("bochs27")))
        plain = json.loads(json.dumps(as_json(comparison.emulate(LEAK))))
        assert notation.program(plain["program"]) == LEAK
        assert plain["columns"]["bochs27"] == {"title": "bochs27 here", "profile": "bochs27"}
        assert set(plain["state"]) == set(fields())
        assert plain["state"]["CR2"] == {"start": "0x0", "written_by": "VMRUN", "model": "0x5a5a000",
                                         "bochs27": "0x0"}  # fmt: skip
        (cr2, _) = plain["differences"]["bochs27"]
        assert cr2 == {"where": "CR2", "deviations": ["vmrun-cr2"], "explained": True}
        assert plain["operations"][0] == {"line": "vmsave HOST", "model": "done", "bochs27": "done"}


@pytest.fixture(scope="module")
def probed():
    """Every deviation's probe on both emulators, in one boot each: profile -> outcomes."""
    emulators()
    probes = [deviation.probe for deviation in DEVIATIONS]
    return {name: runner.run(probes) for name, runner in RUNNERS.items()}


class TestEmulators:
    @pytest.mark.parametrize(
        "number", range(len(DEVIATIONS)), ids=[f"{d.name}-{d.engine}" for d in DEVIATIONS]
    )
    def test_a_deviation_s_probe_names_it(self, probed, replay, number):
        deviation = DEVIATIONS[number]
        replay(deviation.engine, probed[deviation.engine][number])
        found = comparison.emulate(deviation.probe)
        names = {row["name"] for rows in found.engines[0].known.values() for row in rows}
        assert deviation.name in names
        assert found.explained

    def test_both_run_a_program_of_a_learner_s(self, tmp_path, capsys):
        emulators()
        file = tmp_path / "leak.txt"
        file.write_text(notation.EXAMPLE, encoding="utf-8")
        assert command(file) == 0
        said = capsys.readouterr()
        assert said.err == ""
        head = said.out.splitlines()[0]
        assert head.split("  ")[0] == "operation"
        assert f"QEMU {qemu.version()}" in head
        assert f"Bochs {bochs.version()}" in head
        assert re.search(rf"LSTAR +{LSTAR} +(0x7f0000001000 +){{3}}guest WRMSR", said.out)
        assert f"vmrun-cr2: Bochs {bochs.version()} does not load CR2." in said.out


class TestCommand:
    @pytest.fixture
    def nowhere(self, monkeypatch):
        """A machine without emulators."""
        monkeypatch.setenv("PATH", "")
        for runner in RUNNERS.values():
            runner.version.cache_clear()
        yield
        for runner in RUNNERS.values():
            runner.version.cache_clear()

    def test_the_example_is_a_program(self, capsys):
        assert command("--example") == 0
        program = notation.program(capsys.readouterr().out)
        check(program)
        assert program == LEAK

    def test_without_emulators_the_model_runs_alone_and_the_packages_are_named(
        self, nowhere, tmp_path, capsys
    ):
        file = tmp_path / "leak.txt"
        file.write_text(notation.EXAMPLE, encoding="utf-8")
        assert command(file) == 1
        said = capsys.readouterr()
        assert f"apt install {qemu.PACKAGES}" in said.err
        assert f"apt install {bochs.PACKAGES}" in said.err
        assert said.out.endswith("Compared with nothing: no emulator is here.\n")
        assert re.search(rf"LSTAR +{LSTAR} +0x7f0000001000 +guest WRMSR", said.out)

    def test_another_version_than_the_profile_s_is_not_compared(self, monkeypatch, tmp_path, capsys):
        def other():
            raise EmulatorError("QEMU here is 9.1; the profile qemu72 was made with 7.2")

        monkeypatch.setattr(comparison, "ENGINES", {"QEMU": SimpleNamespace(version=other, PROFILE="qemu72")})
        file = tmp_path / "program"
        file.write_text('("clgi",),', encoding="utf-8")
        assert command(file) == 1
        assert capsys.readouterr().err == "QEMU: QEMU here is 9.1; the profile qemu72 was made with 7.2\n"

    def test_a_program_comes_from_standard_input_too(self, nowhere, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(read=lambda: '("rdmsr", LSTAR),'))
        command("-")
        assert re.search(f"rdmsr LSTAR +{LSTAR}", capsys.readouterr().out)

    def test_a_mistake_is_one_line_with_its_place(self, tmp_path, capsys):
        file = tmp_path / "program"
        file.write_text('("vmlod", HOST),', encoding="utf-8")
        assert command(file) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"{file}: line 1: no operation 'vmlod'")
        assert said.err.count("\n") == 1

    def test_a_file_that_cannot_be_read_says_why(self, tmp_path, capsys):
        assert command(tmp_path / "none") == 2
        assert "no such file; python -m svmlib emulate --example" in capsys.readouterr().err
        assert command(tmp_path) == 2
        assert "directory" in capsys.readouterr().err
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        assert command(tmp_path / "binary") == 2
        assert "no text in UTF-8" in capsys.readouterr().err

    def test_without_a_program_it_says_what_to_type(self, capsys):
        with pytest.raises(SystemExit):
            command()
        assert "--example prints one to start from" in capsys.readouterr().err

    def test_json_is_read_by_a_machine(self, nowhere, tmp_path, capsys):
        file = tmp_path / "program"
        file.write_text('("clgi",),', encoding="utf-8")
        command(file, "--json")
        plain = json.loads(capsys.readouterr().out)
        assert set(plain["missing"]) == {"QEMU", "Bochs"}
        assert plain["state"]["GIF"]["model"] == "0x0"

    def test_a_reader_who_has_seen_enough_is_no_error(self, tmp_path):
        file = tmp_path / "program"
        file.write_text('("clgi",),', encoding="utf-8")
        ask = [sys.executable, "-m", "svmlib", "emulate", str(file), "--all"]
        pipe = subprocess.PIPE
        with subprocess.Popen(ask, stdout=pipe, stderr=pipe, env={"PATH": ""}, cwd=ROOT) as asked:
            asked.stdout.close()
            said = asked.stderr.read().decode()
        assert "Traceback" not in said
        assert "Exception" not in said

    def test_help_lists_each_operation_and_each_selector(self, capsys):
        with pytest.raises(SystemExit):
            command("--help")
        said = capsys.readouterr().out
        assert "wrmsr msr value" in " ".join(said.split())
        assert "mov_to_cr control-register value" in " ".join(said.split())
        assert "  control-register: 0, 2, 3, 4, 8" in said
        for selector, what, _ in at.DESCRIPTORS:
            assert f"{selector:#04x}  {what}" in said
        for line in (line for line in said.splitlines() if line.startswith('  ("')):
            assert notation.program(line[:40])
