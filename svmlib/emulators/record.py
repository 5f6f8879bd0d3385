"""What both emulators did, kept as JSON: the model is held to it where there is no emulator.

python -m svmlib.emulators.record tests/recorded/programs.json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..instructions.intercepts import EXITCODES
from ..instructions.msr import permission_bit
from ..registers import MSR, REGISTERS
from ..vmcb import CONTROL
from . import bochs, qemu
from . import layout as at
from .boundaries import CARRIED, EVENTS, INTERCEPTS
from .deviations import DEVIATIONS
from .generator import Generator
from .outcomes import ENTRY, EmulatorError, Outcome, decode, entry
from .programs import Operation, Program, length
from .reference import run

ENGINES = (qemu, bochs)
#: Random programs on top of the deviations' probes: (how many, operations in each, share of VMRUNs).
_RANDOM = ((40, 12, 0.0), (50, 10, 0.25))
_SEED = 20201214


_NO_SVME = ("wrmsr", MSR.EFER, at.EFER & ~0x1000)
_BASES = ("FS.base", "GS.base", "LDTR.base", "TR.base", "KernelGSBase")


def _put(page: int, name: str, value: int) -> Operation:
    offset, bits = CONTROL[name] if name in CONTROL else (REGISTERS[name].vmcb or 0, REGISTERS[name].bits)
    return ("store", at.linear(page) + offset, value, bits // 8)


def _faults() -> list[Program]:
    """Each SVM instruction at CPL 3, without EFER.SVME, and both; with a bad address where it has one."""
    chosen: list[Program] = []
    for name in ("vmsave", "vmload", "clgi", "stgi"):
        paged = name.startswith("vm")
        good: Operation = (name, at.HOST) if paged else (name,)
        chosen += [[("user", *good)], [_NO_SVME, good], [_NO_SVME, ("user", *good)]]
        if paged:
            for bad in (at.HOST + 8, 1 << 40, 1 << 63):
                chosen += [[(name, bad)], [_NO_SVME, (name, bad)], [("user", name, bad)]]
    for pa in (at.VMCB + 8, 1 << 40):
        chosen += [[("vmrun", pa, [])], [_NO_SVME, ("vmrun", pa, [])], [("user", "vmrun", pa, [])]]
    return chosen


def _vmloads() -> list[Program]:
    """The bases that VMLOAD brings into form, kvm-unit-tests' five cases; then all that it loads."""
    bases: list[Program] = [
        [_put(at.SPARE, name, base), ("vmload", at.SPARE), ("vmsave", at.HOST)]
        for name in _BASES
        for base in (1 << 47, 0x0000_7FFF_FFFF_FFFF, 0xA5A5_7FFF_1234_5678, 0x5A5A_8000_0000_0000)
    ]
    fields = [
        _put(at.SPARE, row.name, 0x93 if row.name.endswith(".attrib") else 1 + n)
        for n, row in enumerate(CARRIED)
    ]
    return [*bases, [*fields, ("vmload", at.SPARE), ("vmsave", at.HOST)]]


def _events() -> list[Program]:
    """Interrupts and NMIs that wait for IF, the shadow's end, GIF, CR8, a guest, or the host behind it."""
    intr, nmi, cli, sti, clgi, stgi = (((name,)) for name in ("intr", "nmi", "cli", "sti", "clgi", "stgi"))
    empty: Operation = ("vmrun", at.VMCB, [])
    wants_intr, wants_nmi = _put(at.VMCB, "INTERCEPT_WORD3", 1), _put(at.VMCB, "INTERCEPT_WORD3", 2)
    injected = [_put(at.VMCB, "EVENTINJ", event) for event in EVENTS]
    return [
        [sti, intr, cli],
        [intr, sti, cli],
        [intr, ("sti_cli",), sti],
        [intr, ("sti_clgi",), cli, stgi, sti],
        [clgi, intr, sti, stgi],
        [clgi, nmi, cli, stgi],
        [("mov_to_cr", 8, 4), intr, sti, ("mov_to_cr", 8, 3)],
        [intr, ("vmrun", at.VMCB, [cli, sti, cli])],
        [clgi, nmi, empty, stgi],
        [intr, wants_intr, ("vmrun", at.VMCB, [cli, sti, cli]), sti, stgi],
        [wants_nmi, ("vmrun", at.VMCB, [cli, nmi, cli]), stgi],
        [clgi, intr, sti, wants_intr, _put(at.VMCB, "INT_CTL", 1 << 24), ("vmrun", at.VMCB, [sti])],
        [intr, _put(at.VMCB, "INT_STATE", 1), _put(at.VMCB, "RFLAGS", 0x202), ("vmrun", at.VMCB, [cli])],
        [("vmrun", at.VMCB, [("sti_vmmcall",)])],
        *([event, ("vmrun", at.VMCB, [cli])] for event in injected),
    ]


def _exits() -> list[Program]:
    """Each intercept, met by a guest at CPL 0 and at CPL 3."""
    chosen: list[Program] = []
    for intercept in INTERCEPTS:
        word, bit = divmod(intercept.code, 32)
        value = 1 << bit | 3 * (word == 4)
        setting: Operation = ("store", at.linear(at.VMCB) + 4 * word, value, 4)
        chosen.append([setting, ("vmrun", at.VMCB, [*intercept.meets, ("cli",)])])
        if not intercept.alone and intercept.meets[0][0] not in ("sti", "nmi"):
            chosen.append([setting, ("vmrun", at.VMCB, [("user", *intercept.meets[0]), ("cli",)])])
    return chosen


def _mapped() -> list[Program]:
    """An MSR that the permission map has the bit of, for reads or for writes, read and written by a guest."""
    return [
        [
            ("store", at.linear(at.MSRPM + place), 1 << bit, 1),
            _put(at.VMCB, "INTERCEPT_WORD3", 1 << EXITCODES["MSR"] % 32),
            ("vmrun", at.VMCB, [access, ("cli",)]),
        ]
        for msr in (MSR.SYSENTER_CS, MSR.STAR, MSR.KERNEL_GS_BASE, MSR.VM_HSAVE_PA)
        for write in (0, 1)
        for place, bit in (permission_bit(msr, write) or (0, 0),)
        for access in (("rdmsr", msr), ("wrmsr", msr, at.HSAVE))
    ]


def _transfers() -> list[Program]:
    """SYSCALL, SYSRET, IRET, descriptor tables and the registers that have a name of their own."""
    ways: list[Operation] = [("syscall",), ("sysret",)]
    ways += [("iret", cs, ss) for cs in (0x08, 0x1B, 0x8B, 0x10, 0) for ss in (0x10, 0x23, 0x70, 0)]
    tables: list[Operation] = [
        ("lgdt", 0xFF, at.linear(at.TABLES_OTHER)),
        ("lidt", 0xFFF, at.linear(at.IDT_OTHER)),
    ]
    return [
        *([way, ("mov_from_sreg", "GS")] for way in ways),
        *([("user", *way)] for way in ways[:3]),
        *([table, ("sgdt",), ("sidt",), ("ltr", 0x38)] for table in tables),
        [("vmrun", at.VMCB, tables), ("sgdt",)],
        [("wrmsr", MSR.TSC_AUX, 7), ("rdtscp",), ("user", "rdtscp"), ("rdpid",)],
        [("vmrun", at.VMCB, [("mov_to_gpr", "RBP", 5), ("mov_to_dr", 0, 6)]), ("mov_from_gpr", "RBP")],
    ]


def _refusals() -> list[Program]:
    """VMCBs that VMRUN refuses, one reason each, and GIF after it."""
    fields = (
        *(("ASID", 0), ("INTERCEPT_WORD4", 2), ("EFER", at.EFER & ~0x1000), ("CS.attrib", 0xE9B)),
        *(("CR0", at.CR0 | 1 << 29), ("CR0", at.CR0 | 1 << 32), ("CR4", at.CR4 & ~0x20)),
        *(("CR4", at.CR4 | 1 << 40), ("DR6", 1 << 32), ("DR7", 1 << 63)),
    )
    return [
        [_put(at.VMCB, name, value), ("vmrun", at.VMCB, []), *([("stgi",)] * again)]
        for name, value in fields
        for again in (0, 1)
    ]


def _switches() -> list[Program]:
    """A guest that rewrites all it can reach; what is put back, in ways that differ."""
    guest: Program = [
        *(
            ("wrmsr", msr, at.linear(at.GUEST) + 8 * n)
            for n, msr in enumerate((MSR.LSTAR, MSR.CSTAR, MSR.STAR))
        ),
        ("wrmsr", MSR.SFMASK, 0x700),
        ("wrmsr", MSR.SYSENTER_CS, 0x20),
        ("wrmsr", MSR.SYSENTER_ESP, 0x6666_0000),
        ("wrmsr", MSR.SYSENTER_EIP, 0x7777_0000),
        ("wrmsr", MSR.TSC_AUX, 7),
        ("mov_to_sreg", "FS", 0x68),
        ("mov_to_sreg", "GS", 0x7B),
        ("wrgsbase", 0x7F00_3333_0000),
        ("swapgs",),
        ("lldt", 0),
        ("ltr", 0x38),
        ("load", 0x1000, 8),
    ]
    entry: Operation = ("vmrun", at.VMCB, guest)
    save, back, kept = ("vmsave", at.HOST), ("vmload", at.HOST), ("vmsave", at.VMCB)
    return [
        [entry],
        [save, ("clgi",), entry, back, ("stgi",)],
        [save, ("clgi",), entry, kept, back, ("stgi",)],
        [save, ("clgi",), entry, back, kept, ("stgi",)],
        [save, ("clgi",), ("vmload", at.VMCB), entry, kept, back, ("stgi",), entry, ("rdgsbase",)],
        [("sti",), ("clgi",), entry, ("cli",), ("stgi",)],
        [("vmrun", at.VMCB, [("clgi",), ("sti",)]), ("vmrun", at.VMCB, [("swapgs",)])],
    ]


def programs() -> list[Program]:
    """The programs of the record: every deviation's probe, known cases, then random ones."""
    chosen: list[Program] = []
    known = [*_faults(), *_vmloads(), *_refusals(), *_switches(), *_events(), *_exits(), *_mapped()]
    known += _transfers()
    for program in (*(deviation.probe for deviation in DEVIATIONS), *known):
        if program not in chosen:
            chosen.append(program)
    for count, size, vmrun in _RANDOM:
        generator = Generator(_SEED, vmrun=vmrun)
        chosen += [generator.program(size) for _ in range(count)]
    return chosen


def readable(program: Program, outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON: each operation's entry in words, and the fields that are not as at the start."""
    start = decode(run([]).state)
    entries = [entry(*words) for words in ENTRY.iter_unpack(outcome.entries)]
    state = {name: hex(value) for name, value in decode(outcome.state).items() if value != start[name]}
    shown = max(length(program), 1 + max((n for n, words in enumerate(entries) if words != "0x0"), default=0))
    return {"entries": entries[:shown], "state": state}


def record() -> list[dict[str, Any]]:
    """Run the programs on both emulators."""
    chosen = programs()
    outcomes = {engine.PROFILE: engine.run(chosen) for engine in ENGINES}
    return [
        {"program": program} | {name: readable(program, outcomes[name][index]) for name in sorted(outcomes)}
        for index, program in enumerate(chosen)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the record to a file; 1 with one line when an emulator is missing."""
    parser = argparse.ArgumentParser(prog="python -m svmlib.emulators.record", description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args(argv).file
    try:
        cases = record()
    except EmulatorError as error:
        print(error, file=sys.stderr)
        return 1
    lines = ",\n".join(json.dumps(case) for case in cases)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(cases)} programs recorded in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
