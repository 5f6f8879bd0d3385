"""Differential fuzzing: no difference on either emulator, and no planted mistake that is missed."""

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from conftest import PROFILES, missing, on_both
from svmlib.emulators import bochs, fuzz, notation, qemu, record, reference
from svmlib.emulators.deviations import profile
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import EmulatorError, differences
from svmlib.emulators.programs import length
from svmlib.faults import Fault
from svmlib.instructions import events, msr, segments, svm, system
from svmlib.registers import MSR
from svmlib.vmcb import Layout

_FILE = Path(__file__).parent / "recorded" / "programs.json"
CASES = json.loads(_FILE.read_text(encoding="utf-8"))
pytestmark = pytest.mark.xdist_group("fuzz")  # the emulators' outcomes are kept for all that follows

#: What continuous integration runs on each emulator: (seed, share of world switches, programs).
CI = ((1, 0.0, 1400), (2, 0.05, 900), (3, 0.2, 800))


class Run(NamedTuple):
    """Programs, and what an emulator made of each."""

    profile: str
    programs: list
    outcomes: list


_RUNS: dict[str, Run] = {}


def ci_run(runner):
    """The run of continuous integration on one emulator, once a session."""
    try:
        runner.version()
    except EmulatorError as error:
        missing(str(error))
    if runner.PROFILE not in _RUNS:
        programs = [
            generator.program(30)
            for generator, count in ((Generator(seed, vmrun=vmrun), count) for seed, vmrun, count in CI)
            for _ in range(count)
        ]
        _RUNS[runner.PROFILE] = Run(runner.PROFILE, programs, runner.run(programs))
    return _RUNS[runner.PROFILE]


@on_both
def test_3000_random_programs_do_not_differ_1000_of_them_with_vmrun(emulator):
    run = ci_run(emulator)
    assert len(run.programs) >= 3000
    assert all(length(program) >= 30 for program in run.programs)
    assert sum(any(operation[0] == "vmrun" for operation in program) for program in run.programs) >= 1000
    model = profile(run.profile)
    found = [
        fuzz.show(fuzz.Finding(program, unlike), run.profile)
        for program, outcome in zip(run.programs, run.outcomes, strict=True)
        if (unlike := differences(program, reference.run(program, model), outcome))
    ]
    assert found[:2] == []


def restores(patch, *names):
    """#VMEXIT brings back registers of the host's that it leaves alone."""
    patch.setattr(svm, "HOST_SET", Layout([*svm.HOST_SET.names, *names]))
    patch.setattr(svm, "_BACK", (*svm.HOST_SET.names, "DR6", "DR7"))


def forgets(patch, name):
    """VMLOAD leaves a register alone."""
    image = svm.vmload_image

    def without(*operands):
        new, registers = image(*operands)
        return new, {key: value for key, value in registers.items() if key != name}

    patch.setattr(svm, "vmload_image", without)


def after(patch, module, name, then):
    """A function of the model's does something more at its end: `then` gets its operands."""
    function = getattr(module, name)

    def more(*operands, **named):
        result = function(*operands, **named)
        then(*operands)
        return result

    patch.setattr(module, name, more)


def keeps_raw(patch):
    patch.setattr(svm, "vmload_image", svm.vmload_image.__wrapped__)
    patch.setattr(svm, "_SIGN_EXTENDED", ())


def sfmask_whole(patch):
    row = msr.BY_MSR[MSR.SFMASK]
    patch.setattr(msr, "BY_MSR", msr.BY_MSR | {MSR.SFMASK: row._replace(write="any")})


def cpl_first(patch):
    def require_svm(p, what):
        if p.regs["CPL"]:
            raise Fault("#GP", what, 0)
        if not p.regs["EFER"] & 1 << 12:
            raise Fault("#UD", what)

    patch.setattr(svm, "require_svm", require_svm)


def eventinj_stays(patch):
    def then(p, rax, *_):
        place = rax + 0xA8
        if p.memory.read(place):
            p.memory.write(place, p.memory.read(place) | 1 << 31)

    after(patch, svm, "_leave", then)


def tsc_aux_back(patch):
    run = svm.vmrun

    def vmrun(p, rax):
        held = p.regs["TSC_AUX"]
        run(p, rax)
        p.regs["TSC_AUX"] = held

    patch.setattr(svm, "vmrun", vmrun)


def takes(patch, rule):
    known = events.takes
    patch.setattr(events, "takes", lambda p, event: rule(p, event, known))


#: Planted mistakes: a sentence, and what to patch.
MUTATIONS = {
    "FS comes back with #VMEXIT": lambda p: restores(p, "FS.selector", "FS.attrib", "FS.limit", "FS.base"),
    "KernelGSBase comes back with #VMEXIT": lambda p: restores(p, "KernelGSBase"),
    "CR2 comes back with #VMEXIT": lambda p: restores(p, "CR2"),
    "TSC_AUX comes back with #VMEXIT": tsc_aux_back,
    "GIF is 1 after #VMEXIT": lambda p: after(p, svm, "vmexit", lambda cpu, *_: setattr(cpu, "gif", 1)),
    "VMLOAD forgets KernelGSBase": lambda p: forgets(p, "KernelGSBase"),
    "VMLOAD forgets TR's limit": lambda p: forgets(p, "TR.limit"),
    "VMLOAD does not sign-extend": keeps_raw,
    "LTR wants a busy TSS": lambda p: p.setattr(segments, "_TSS_AVAILABLE", 0xB),
    "WRMSR keeps 64 bits of SFMASK": sfmask_whole,
    "the CPL is checked before EFER.SVME": cpl_first,
    "EVENTINJ is not cleared": eventinj_stays,
    "an interrupt does not look at CR8": lambda p: takes(
        p, lambda cpu, event, known: bool(known(cpu, event) or (cpu.gif and cpu.regs["RFLAGS"] >> 9 & 1))
    ),
    "an NMI does not wait for GIF": lambda p: takes(
        p, lambda cpu, event, known: event == "NMI" or known(cpu, event)
    ),
    "STI has no shadow": lambda p: after(p, system, "sti", lambda cpu: setattr(cpu, "shadow", 0)),
    "a MOV to FS does not look at the DPL": lambda p: p.setattr(segments, "_check_data", lambda *_: None),
    "the permission map is read one bit further": lambda p: p.setattr(
        msr, "permission_bit", lambda number, write, known=msr.permission_bit: known(number, 1 - write)
    ),
}


def finds(run):
    """Whether the model, as it is patched, differs from what an emulator did; stops at the first."""
    model = profile(run.profile)
    return any(
        differences(program, reference.run(program, model), outcome)
        for program, outcome in zip(run.programs, run.outcomes, strict=True)
    )


#: What the record of a few hundred programs is too small for.
_RARE = ()


@pytest.mark.parametrize("mutation", [name for name in MUTATIONS if name not in _RARE])
def test_a_planted_mistake_is_found_by_the_record(mutation, monkeypatch):
    MUTATIONS[mutation](monkeypatch)
    assert any(
        record.readable(case["program"], reference.run(case["program"], profile(name))) != case[name]
        for case in CASES
        for name in PROFILES
    )


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_planted_mistake_is_found_in_that_run(mutation, monkeypatch):
    runs = [ci_run(runner) for runner in (qemu, bochs)]
    MUTATIONS[mutation](monkeypatch)
    assert any(finds(run) for run in runs)


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

    def test_a_difference_is_shrunk_and_shown_as_a_program(self, monkeypatch, capsys, tmp_path):
        model = profile("qemu72")

        def forgetful(p, pa):
            held = p.regs["KernelGSBase"]
            model.functions["vmload"](p, pa)
            p.regs["KernelGSBase"] = held

        wrong = model._replace(functions=dict(model.functions) | {"vmload": forgetful})
        monkeypatch.setitem(fuzz.ENGINES, "qemu", pretended(wrong))
        size = ["--sequences", "60", "--length", "20", "--seed", "4"]
        kept = tmp_path / "program"
        assert fuzz.main(["--engine", "qemu", *size, "--keep", str(kept)]) == 1
        assert 0 < len(notation.program(kept.read_text(encoding="utf-8"))) <= 3
        shown = capsys.readouterr().out
        program = shown.split("differ:\n")[1].split("\n  ")[0]
        assert program.count("\n") <= 2
        assert "'vmload'" in program
        assert ": KernelGSBase: model " in shown

    def test_a_machine_reads_the_counts_and_the_shortest_programs(self, monkeypatch, capsys):
        model = profile("qemu72")
        wrong = model._replace(functions=dict(model.functions) | {"vmload": lambda *_arguments: None})
        monkeypatch.setitem(fuzz.ENGINES, "qemu", pretended(wrong))
        assert fuzz.main(["--engine", "qemu", "--sequences", "60", "--seed", "4", "--json"]) == 1
        (report,) = json.loads(capsys.readouterr().out)
        assert (report["engine"], report["sequences"]) == ("qemu", 60)
        assert report["findings"] >= len(report["shortest"]) > 0
        assert "'vmload'" in report["shortest"][0]["program"]
        assert ": model " in report["shortest"][0]["differences"][0]

    @pytest.mark.parametrize("option", ["--sequences", "--length"])
    def test_to_compare_nothing_is_refused(self, option, capsys):
        with pytest.raises(SystemExit) as ended:
            fuzz.main(["--engine", "qemu", option, "0"])
        assert ended.value.code == 2
        assert "0 compares nothing: write 1 or more" in capsys.readouterr().err

    def test_a_missing_emulator_is_one_line(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        bochs.version.cache_clear()
        assert fuzz.main(["--engine", "bochs"]) == 2
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
