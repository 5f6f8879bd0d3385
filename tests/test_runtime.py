"""Programs, and the ROM with the runtime that executes them on both emulators."""

import ast
import itertools
import json
from collections import Counter

import pytest

from svmlib.data import rows
from svmlib.emulators import layout as at
from svmlib.emulators import reference
from svmlib.emulators.boundaries import ILLEGAL
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import ENTRY, decode, fields
from svmlib.emulators.programs import OPERANDS, ProgramError, check, flat, length, room, text
from svmlib.emulators.rom import Batch, batches
from svmlib.emulators.runtime import STATE_BYTES, kernel


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
            ([("wrmsr", 1, -1)], "wrmsr: the value -1 is no number of 64 bits"),
            ([("wrmsr", 1, True)], "wrmsr: the value True is no number"),
            ([("mov_to_sreg", "CS", 8)], "mov_to_sreg: 'CS' is no loaded segment here; there are SS, DS"),
            ([("mov_from_cr", 1)], "mov_from_cr: 1 is no control register here; there are 0, 2, 3, 4, 8"),
            ([("load", 0, 3)], "load: 3 is no size here"),
            ([("user", "intr")], "'intr' is not an operation at CPL 3"),
            ([("vmrun", at.VMCB, 5)], "vmrun: 5 is no guest"),
            ([()], r"\(\) is no operation"),
            (["cli"], "'cli' is no operation"),
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
        assert set(met) | {"store_gs"} >= set(OPERANDS)

    def test_every_check_of_vmrun_is_met_or_said_to_be_out_of_reach(self):
        checks = {row["check"] for row in rows("vmrun_checks")}
        assert set(ILLEGAL) == checks
        assert {name for name in checks if not ILLEGAL[name]} == {"long_pe", "nested_paging"}

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


def test_the_start_is_the_same_everywhere():
    start = decode(reference.run([]).state)
    assert start["GIF"] == 1
    assert start["LSTAR"] == at.REGISTERS_AT_START["LSTAR"]
    assert ENTRY.size == 16
    guest = [("vmrun", at.VMCB, [("cli",), ("sti",)])]
    assert (length(guest), room(guest)) == (3, 4)
