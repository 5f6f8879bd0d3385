"""QEMU and Bochs themselves, and the record of what they did, which holds where there is neither."""

import json
from pathlib import Path

import pytest

from conftest import PROFILES, on_both
from svmlib.emulators import qemu, record, reference
from svmlib.emulators.deviations import profile
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import EmulatorError
from svmlib.emulators.rom import Batch

RECORDED = Path(__file__).parent / "recorded" / "programs.json"
CASES = json.loads(RECORDED.read_text(encoding="utf-8"))


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


class TestEmulators:
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
