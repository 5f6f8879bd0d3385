"""The emulators: bytes of instructions, programs, deviations, the record, and QEMU and Bochs themselves."""

import ast
import itertools
import json
import os
import stat
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import missing, require
from svmlib.data import rows
from svmlib.emulators import bochs, fuzz, qemu, record, reference
from svmlib.emulators import layout as at
from svmlib.emulators.assembler import PLAIN, Assembler, Mem
from svmlib.emulators.deviations import DEVIATIONS, profile
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import ENTRY, EmulatorError, decode, differences, fields
from svmlib.emulators.programs import OPERANDS, ProgramError, check, flat, length, text
from svmlib.emulators.rom import Batch, batches
from svmlib.emulators.runtime import STATE_BYTES, kernel
from svmlib.instructions import svm
from svmlib.registers import MSR

RECORDED = Path(__file__).parent / "recorded" / "programs.json"
CASES = json.loads(RECORDED.read_text(encoding="utf-8"))
PROFILES = ("qemu72", "bochs27")
RUNNERS = {"qemu72": qemu, "bochs27": bochs}


@pytest.fixture
def emulator(request):
    """The runner of one emulator."""
    runner = RUNNERS[request.param]
    require(runner.PROGRAM, f"On Debian 12: apt install {runner.PACKAGES}")
    try:
        runner.version()
    except EmulatorError as error:
        missing(str(error))
    return runner


on_both = pytest.mark.parametrize("emulator", PROFILES, indirect=True)


class TestAssembler:
    @pytest.mark.parametrize(
        "name,code",
        [
            ("vmrun", "0f01d8"),
            ("vmmcall", "0f01d9"),
            ("vmload", "0f01da"),
            ("vmsave", "0f01db"),
            ("stgi", "0f01dc"),
            ("clgi", "0f01dd"),
            ("swapgs", "0f01f8"),
            ("rdmsr", "0f32"),
            ("wrmsr", "0f30"),
            ("iretq", "48cf"),
        ],
    )
    def test_instructions_without_operands(self, name, code):
        assert PLAIN[name].hex() == code

    @pytest.mark.parametrize(
        "name,register,code",
        [
            ("rdfsbase", "rax", "f3480faec0"),
            ("rdgsbase", "rax", "f3480faec8"),
            ("wrfsbase", "r8", "f3490faed0"),
            ("wrgsbase", "rcx", "f3480faed9"),
            ("sldt", "eax", "0f00c0"),
            ("str", "eax", "0f00c8"),
            ("lldt", "r8d", "410f00d0"),
            ("ltr", "eax", "0f00d8"),
        ],
    )
    def test_instructions_with_a_register(self, name, register, code):
        a = Assembler()
        a.unary(name, register)
        assert a.finish().hex() == code

    @pytest.mark.parametrize(
        "to,source,code",
        [
            ("rax", "r8", "4c89c0"),
            ("eax", "ecx", "89c8"),
            ("eax", 0x12345678, "b878563412"),
            ("r14", 1 << 47, "49be0000000000800000"),
            ("r9", 5, "41b905000000"),
            ("fs", "r8d", "418ee0"),
            ("eax", "gs", "8ce8"),
            ("cr3", "rax", "0f22d8"),
            ("rax", "cr2", "0f20d0"),
            ("dr7", "rax", "0f23f8"),
            ("rax", "dr6", "0f21f0"),
            ("rax", Mem("r8"), "498b8000000000"),
            ("rbx", Mem("rsp", 16), "488b9c2410000000"),
            ("r13", Mem("r15", 24), "4d8baf18000000"),
            (Mem("r12", 8), "rax", "4989842408000000"),
            (Mem("r8"), "r9b", "45888800000000"),
            (Mem("r8"), "r9w", "6645898800000000"),
            ("al", Mem("r8", 0, "gs"), "65418a8000000000"),
        ],
    )
    def test_moves(self, to, source, code):
        a = Assembler()
        a.mov(to, source)
        assert a.finish().hex() == code

    def test_a_jump_reaches_back_and_ahead(self):
        a = Assembler(0x1000)
        a.label("top")
        a.jump("end", "ne")
        a.jump("top")
        a.label("end")
        assert a.finish().hex() == "0f8505000000" + "e9f5ffffff"
        assert a.labels == {"top": 0x1000, "end": 0x100B}

    def test_other_forms(self):
        a = Assembler()
        a.arithmetic("or", "rax", "rdx")
        a.arithmetic("add", "r12", 16)
        a.shift("shl", "rdx", 32)
        a.test("ecx", 3)
        a.lea("rax", Mem("rip", "here"))
        a.label("here")
        a.push("r13")
        a.push(0x10)
        a.pop("rcx")
        a.interrupt(0x81)
        a.jump("r14")
        a.table("lidt", Mem("rax", 2))
        assert a.finish().hex() == (
            "4809d04981c41000000048c1e220f7c103000000488d05000000004155681000000059cd8141ffe60f019802000000"
        )

    def test_a_label_that_is_never_placed_is_named(self):
        a = Assembler()
        a.jump("nowhere")
        with pytest.raises(KeyError, match="nowhere"):
            a.finish()

    def test_a_label_is_placed_once(self):
        a = Assembler()
        a.label("here")
        with pytest.raises(ValueError, match="'here' is placed twice"):
            a.label("here")


class TestPrograms:
    def test_text_is_python(self):
        for program in itertools.islice(map(Generator(5, vmrun=0.3).program, itertools.repeat(6)), 20):
            shown = ast.literal_eval(f"[{text(program)}]")
            assert json.dumps(shown) == json.dumps(program)

    @pytest.mark.parametrize(
        "program,message",
        [
            ([("hlt",)], "'hlt' is not an operation here; there are rdmsr"),
            ([("wrmsr", 1)], "wrmsr takes msr, value"),
            ([("cli", 1)], "cli takes no operands"),
            ([("vmrun", at.VMCB, [("vmcb",)])], "'vmcb' is not a guest's operation"),
        ],
    )
    def test_what_is_none_is_refused(self, program, message):
        with pytest.raises(ProgramError, match=message):
            check(program)

    def test_generated_programs_are_programs(self):
        generator = Generator(3, vmrun=0.1)
        met = Counter()
        for _ in range(300):
            program = generator.program(30)
            check(program)
            met.update(operation[operation[0] == "user"] for operation in flat(program))
        assert set(met) | {"load_gs", "store_gs"} >= set(OPERANDS)

    def test_a_seed_gives_the_same_programs(self):
        assert Generator(7).program(40) == Generator(7).program(40) != Generator(8).program(40)


class TestRom:
    def test_it_ends_in_the_reset_vector(self):
        rom = Batch([[("clgi",)]]).rom()
        assert len(rom) % 0x1_0000 == 0
        assert rom[-16] == 0xE9

    def test_the_fields_fill_the_state(self):
        covered = sorted(fields().values())
        assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(covered))
        assert covered[-1][0] + covered[-1][1] == STATE_BYTES
        assert len(reference.run([]).state) == STATE_BYTES

    def test_every_operation_has_code(self):
        labels = kernel()[1]
        assert {
            name for name in OPERANDS if not any(label.startswith(f"op_{name}") for label in labels)
        } == set()

    def test_many_programs_are_cut_into_batches(self):
        programs = [[("clgi",)] * 30] * 4000
        parts = list(batches(programs))
        assert sum(len(part.slots) for part in parts) == 4000
        assert all(len(part.rom()) <= 2 << 20 for part in parts)


class TestDeviations:
    def test_rows_and_rules_name_the_same(self):
        table = sorted((row["name"], row["engine"]) for row in rows("deviations"))
        assert table == sorted((rule.name, rule.engine) for rule in DEVIATIONS)

    def test_rows_are_complete_and_cite_sources(self):
        known = {row["id"] for row in rows("sources")}
        for row in rows("deviations"):
            assert all(row.values()), row
            assert set(row["source"].split()) <= known, row

    @pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.name}-{d.engine}")
    def test_a_probe_shows_its_rule(self, deviation):
        check(deviation.probe)
        with_rule = reference.run(deviation.probe, profile(deviation.engine))
        without = reference.run(deviation.probe, profile(deviation.engine, deviation.name))
        assert differences(deviation.probe, without, with_rule)

    @pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.name}-{d.engine}")
    def test_the_record_has_every_probe(self, deviation):
        assert json.loads(json.dumps(deviation.probe)) in [case["program"] for case in CASES]


def recorded_differences(functions_of=profile):
    """The recorded programs on which the model does not do what an emulator did: (number, profile)."""
    return [
        (number, name)
        for number, case in enumerate(CASES)
        for name in PROFILES
        if record.readable(case["program"], reference.run(case["program"], functions_of(name))) != case[name]
    ]


class TestRecord:
    def test_the_model_does_what_both_emulators_did(self):
        assert recorded_differences() == []

    @pytest.mark.parametrize("name", PROFILES)
    def test_without_the_profile_it_does_not(self, name):
        assert recorded_differences(lambda _: profile("documented"))

    def test_a_missing_emulator_is_one_line(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        qemu.version.cache_clear()
        assert record.main([str(tmp_path / "record")]) == 1
        said = capsys.readouterr().err
        assert said == (
            "no qemu-system-x86_64 on PATH: install it (on Debian 12: apt install qemu-system-x86)\n"
        )
        assert not list(tmp_path.iterdir())


def _wrapped(name, after):
    """A mutation: the operation as it is, then `after` on the machine."""

    def mutate(model):
        inner = model.functions[name]

        def function(p, *operands):
            before = dict(p.regs)
            result = inner(p, *operands)
            after(p, before, *operands)
            return result

        return model._replace(functions=dict(model.functions) | {name: function})

    return mutate


def _restore(*names):
    return lambda p, before, *_: p.regs.update({name: before[name] for name in names})


def _gif(p, *_):
    p.gif = 1


def _no_extension(p, before, pa):
    image = svm.VMSAVE_SET.read(svm.VMSAVE_SET.image(p.memory.page(pa)))
    p.regs["FS.base"] = dict(zip(svm.VMSAVE_SET.names, image, strict=True))["FS.base"]


def _not_busy(p, before, selector):
    p.memory.page(at.TABLES)[(selector & ~7) + 5] &= ~2


def _all_bits(p, before, msr, value):
    if msr == MSR.STAR:
        p.regs["STAR"] = value & 0xFFFF_FFFF


def _order(model):
    def vmsave(p, pa):
        if p.regs["CPL"]:
            raise reference.Fault("#GP", "CPL first", 0)
        model.functions["vmsave"](p, pa)

    return model._replace(functions=dict(model.functions) | {"vmsave": vmsave})


MUTATIONS = {
    "FS comes back with #VMEXIT": _wrapped(
        "vmrun", _restore("FS.base", "FS.selector", "FS.attrib", "FS.limit")
    ),
    "KernelGSBase comes back with #VMEXIT": _wrapped("vmrun", _restore("KernelGSBase")),
    "CR2 comes back with #VMEXIT": _wrapped("vmrun", _restore("CR2")),
    "GIF is 1 after #VMEXIT": _wrapped("vmrun", _gif),
    "VMLOAD forgets KernelGSBase": _wrapped("vmload", _restore("KernelGSBase")),
    "VMLOAD forgets TR's limit": _wrapped("vmload", _restore("TR.limit")),
    "VMLOAD does not sign-extend FS.base": _wrapped("vmload", _no_extension),
    "LTR leaves the descriptor available": _wrapped("ltr", _not_busy),
    "WRMSR keeps half of STAR": _wrapped("wrmsr", _all_bits),
    "SWAPGS copies instead of exchanging": _wrapped("swapgs", _restore("KernelGSBase")),
    "the CPL is checked before EFER.SVME": _order,
    "STGI does nothing": _wrapped("stgi", lambda p, *_: setattr(p, "gif", 0)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_record_finds_a_planted_mistake(mutation):
    assert recorded_differences(lambda name: MUTATIONS[mutation](profile(name)))


def pretended(model, name="qemu72"):
    """An engine that is the model itself, behaving as `model` says."""
    return SimpleNamespace(
        PROFILE=name, run=lambda programs, timeout=0: [reference.run(p, model) for p in programs]
    )


class TestFuzz:
    def test_the_same_machine_does_not_differ(self, monkeypatch, capsys):
        monkeypatch.setitem(fuzz.ENGINES, "qemu", pretended(profile("qemu72")))
        assert fuzz.main(["--engine", "qemu", "--sequences", "50", "--length", "10"]) == 0
        assert "qemu: 50 programs," in capsys.readouterr().out

    def test_a_difference_is_shrunk_and_shown_as_a_program(self, monkeypatch, capsys):
        wrong = MUTATIONS["VMLOAD forgets KernelGSBase"](profile("qemu72"))
        monkeypatch.setitem(fuzz.ENGINES, "qemu", pretended(wrong))
        assert fuzz.main(["--engine", "qemu", "--sequences", "60", "--length", "20", "--seed", "4"]) == 1
        shown = capsys.readouterr().out
        program = shown.split("differ:\n")[1].split("\n  ")[0]
        assert program.count("\n") <= 2
        assert "'vmload'" in program
        assert ": KernelGSBase: model " in shown

    def test_a_missing_emulator_is_one_line(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        bochs.version.cache_clear()
        assert fuzz.main(["--engine", "bochs"]) == 1
        assert capsys.readouterr().err.startswith("no bochs on PATH: install it")

    def test_another_version_is_named(self, monkeypatch, tmp_path):
        for runner, said in ((qemu, "QEMU emulator version 9.1.0"), (bochs, "Bochs x86 Emulator 3.0")):
            program = tmp_path / runner.PROGRAM
            program.write_text(f"#!/bin/sh\necho {said}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
            runner.version.cache_clear()
            with pytest.raises(EmulatorError, match=f"the profile {runner.PROFILE} was made with"):
                runner.run([])
            runner.version.cache_clear()

    def test_an_interrupt_leaves_a_report(self, capsys):
        def stop(programs, timeout=0):
            raise KeyboardInterrupt

        report = fuzz.fuzz(SimpleNamespace(PROFILE="qemu72", run=stop), Generator(1), 10, 5)
        assert report.sequences == 0
        assert capsys.readouterr().err == "interrupted\n"


class TestEmulators:
    @on_both
    @pytest.mark.parametrize(
        "seed,vmrun,size", [(1, 0.0, 30), (2, 0.06, 30), (3, 0.25, 15)], ids=("plain", "some", "many")
    )
    def test_random_programs_do_not_differ(self, emulator, seed, vmrun, size):
        report = fuzz.fuzz(emulator, Generator(seed, vmrun=vmrun), 1000, size)
        assert [fuzz.show(finding, emulator.PROFILE) for finding in report.findings[:2]] == []
        assert report.sequences == 1000

    @on_both
    def test_every_row_still_differs(self, emulator):
        rules = [deviation for deviation in DEVIATIONS if deviation.engine == emulator.PROFILE]
        outcomes = emulator.run([rule.probe for rule in rules])
        for rule, theirs in zip(rules, outcomes, strict=True):
            without = reference.run(rule.probe, profile(emulator.PROFILE, rule.name))
            assert differences(rule.probe, without, theirs), rule.name
            assert not differences(rule.probe, reference.run(rule.probe, profile(emulator.PROFILE)), theirs)

    @on_both
    def test_two_runs_are_the_same(self, emulator):
        programs = [Generator(9, vmrun=0.1).program(20) for _ in range(50)]
        assert emulator.run(programs) == emulator.run(programs)

    @on_both
    def test_the_record_is_what_it_does(self, emulator):
        programs = [case["program"] for case in CASES]
        for case, outcome in zip(CASES, emulator.run(programs), strict=True):
            assert record.readable(case["program"], outcome) == case[emulator.PROFILE]

    @on_both
    def test_a_machine_that_never_ends_is_an_error(self, emulator, monkeypatch):
        rom = bytearray(Batch([[]]).rom())
        rom[-16:-13] = b"\xeb\xfe\x90"  # the reset vector: jmp $
        monkeypatch.setattr(Batch, "rom", lambda self: bytes(rom))
        with pytest.raises(EmulatorError, match=r"was still running after 2 s"):
            emulator.run([[]], timeout=2)

    @on_both
    def test_a_triple_fault_is_an_error(self, emulator, monkeypatch):
        rom = bytearray(Batch([[]]).rom())
        rom[-16:-9] = b"\x2e\x0f\x01\x1e\x00\x02\xcc"  # lidt cs:[0x200], which is zero; int3
        monkeypatch.setattr(Batch, "rom", lambda self: bytes(rom))
        with pytest.raises(EmulatorError, match=r"triple fault|3rd \(13\) exception"):
            emulator.run([[]], timeout=20)


def test_the_start_is_the_same_everywhere():
    start = decode(reference.run([]).state)
    assert start["GIF"] == 1
    assert start["LSTAR"] == at.REGISTERS_AT_START["LSTAR"]
    assert ENTRY.size == 16
    assert length([("vmrun", at.VMCB, [("cli",), ("sti",)])]) == 3
