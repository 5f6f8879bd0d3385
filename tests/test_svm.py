"""The SVM instructions: who may, in which order they fault, what VMRUN and #VMEXIT move and leave."""

import re

import pytest

from machines import EDGES, FSGSBASE, LMA, LME, PAE, PAGE, PE, PG, SVME, VMCB, cpu, legal_vmcb, processor
from svmlib.faults import Fault
from svmlib.instructions import svm
from svmlib.registers import REGISTERS, carried_by
from svmlib.vmcb import Vmcb

GUEST_EXIT = 0x72
ADDRESSED = ("vmrun", "vmload", "vmsave")
ALL = (*ADDRESSED, "clgi", "stgi")


def issue(c, name, rax=VMCB):
    return getattr(c, name)(rax) if name in ADDRESSED else getattr(c, name)()


# What is wrong -> the fault that wins.  EFER.SVME first, then CPL, then the address (semantics.md §2.1).
ORDER = [
    ({"EFER": LME | LMA}, VMCB, "#UD", None),
    ({"EFER": LME | LMA, "CPL": 3}, VMCB, "#UD", None),
    ({"EFER": LME | LMA, "CPL": 3}, VMCB + 1, "#UD", None),
    ({"EFER": LME | LMA}, VMCB + 1, "#UD", None),
    ({"CPL": 1}, VMCB, "#GP", "at CPL 1; it is for ring 0"),
    ({"CPL": 3}, VMCB, "#GP", "at CPL 3; it is for ring 0"),
    ({"CPL": 3}, VMCB + 1, "#GP", "at CPL 3; it is for ring 0"),
]
ADDRESSES = [
    (VMCB + 1, "not aligned to 4 KiB"),
    (VMCB + 0x800, "not aligned to 4 KiB"),
    ((1 << 40) + 8, "not aligned to 4 KiB"),
    (1 << 40, "beyond the 40 bits of a physical address"),
    (1 << 63, "beyond the 40 bits of a physical address"),
    (0xFFFF_8880_0000_1000, "beyond the 40 bits of a physical address"),
    (1 << 64, "beyond the 40 bits of a physical address"),
    (-4096, "beyond the 40 bits of a physical address"),
    ((1 << 40) - 4096, "there is no RAM at 0xfffffff000; the model's ends at 0x40000000"),
    (1 << 30, "there is no RAM at 0x40000000"),
    (None, "rAX holds None, not a physical address"),
    ("VMCB", "rAX holds 'VMCB', not a physical address"),
]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("registers,rax,vector,why", ORDER)
def test_faults_come_in_the_manual_s_order(name, registers, rax, vector, why):
    c, p = cpu(**registers)
    legal_vmcb(p)
    with pytest.raises(Fault, match=f"{name.upper()} {why or 'while EFER.SVME is clear'}") as fault:
        issue(c, name, rax)
    assert (fault.value.vector, fault.value.error_code) == (vector, None if vector == "#UD" else 0)
    assert (p.gif, [step.event for step in p.trace]) == (1, [vector])


@pytest.mark.parametrize("name", ADDRESSED)
@pytest.mark.parametrize("rax,why", ADDRESSES)
def test_an_address_that_is_no_page_of_ram_is_a_general_protection_fault(name, rax, why):
    c, p = cpu()
    before = dict(p.regs)
    with pytest.raises(Fault, match=why) as fault:
        issue(c, name, rax)
    assert (fault.value.vector, fault.value.error_code) == ("#GP", 0)
    assert p.regs == before


@pytest.mark.parametrize("name", ALL)
def test_at_cpl_0_with_svme_they_execute(name):
    c, p = cpu()
    legal_vmcb(p)
    p.guest = lambda p, pa: GUEST_EXIT
    issue(c, name)


@pytest.mark.parametrize("pa", [0, PAGE, (1 << 30) - 4096])
def test_vmsave_and_vmload_take_any_page_of_ram(pa):
    c, p = cpu(STAR=0x1234)
    c.vmsave(pa)
    p.regs["STAR"] = 0
    c.vmload(pa)
    assert p.regs["STAR"] == 0x1234


def test_clgi_clears_gif_and_stgi_sets_it():
    c, p = cpu()
    assert (c.clgi(), p.gif) == (None, 0)
    assert (c.clgi(), p.gif) == (None, 0)
    assert (c.stgi(), p.gif) == (None, 1)
    assert [(step.event, step.gif) for step in p.trace] == [("CLGI", 0), ("CLGI", 0), ("STGI", 1)]


def test_what_waits_for_gif_comes_at_stgi_once_and_after_it():
    c, p = cpu()
    came = []
    p.on_event = lambda p, event: came.append((event, p.gif, p.trace[-1].event))
    c.clgi()
    p.pending.append("NMI")
    assert came == []
    c.stgi()
    c.stgi()
    assert came == [("NMI", 1, "STGI")]
    assert p.pending == []


# -- VMRUN's legality table: one thing wrong each (semantics.md §3.2, ground_truth.md §3)

_LONG = {"EFER": SVME | LME, "CR0": PG | PE, "CR4": PAE}
ILLEGAL = [
    ({"EFER": LME | LMA}, "EFER.SVME is clear"),
    ({"EFER": SVME | 1 << 1}, "EFER has reserved bits"),
    ({"EFER": SVME | 1 << 9}, "EFER has reserved bits"),
    ({"EFER": SVME | 1 << 16}, "EFER has reserved bits"),
    ({"EFER": SVME | 1 << 63}, "EFER has reserved bits"),
    ({"INTERCEPT_WORD4": 0}, "VMRUN is not intercepted"),
    ({"INTERCEPT_WORD4": 0xFFFF_FFFE}, "VMRUN is not intercepted"),
    ({"ASID": 0}, "ASID is 0"),
    *[({name: 1 << bit | rest}, rf"{name}\[63:32\] is not zero") for bit in (32, 47, 63)
      for name, rest in (("CR0", PG | PE), ("CR4", PAE), ("DR6", 0), ("DR7", 0x400))],
    *[({"CR4": PAE | 1 << bit}, "CR4 has reserved bits") for bit in (12, 13, 19, 24, 31)],
    ({"CR0": PG | PE | 1 << 29}, "CR0.NW is set without CD"),
    (_LONG | {"CR4": 0}, "long mode without CR4.PAE"),
    (_LONG | {"CR0": PG}, "long mode without CR0.PE"),
    (_LONG | {"CR3": 1 << 52}, r"CR3\[63:52\] is not zero"),
    (_LONG | {"CR3": 1 << 63}, r"CR3\[63:52\] is not zero"),
    (_LONG | {"CS_attrib": 0xE9B}, "CS.L and CS.D are both set"),
]  # fmt: skip
LEGAL = [
    {},
    {"ASID": 0xFFFF_FFFF},
    {"INTERCEPT_WORD4": 0xFFFF_FFFF},
    {"CR0": PG | PE | 1 << 30},
    {"CR0": PG | PE | 1 << 30 | 1 << 29},
    {"CR4": PAE | FSGSBASE | 1 << 7 | 1 << 20 | 1 << 21},
    {"CR3": (1 << 52) - 4096},
    {"CS_attrib": 0xA9B},
    {"EFER": SVME | LME, "CR0": PE, "CR4": 0, "CS_attrib": 0xE9B},  # paging off: not long mode
    {"EFER": SVME, "CR0": PG | PE, "CR4": 0, "CS_attrib": 0xC9B},  # LME clear
    {"EFER": SVME, "CR0": PG | PE, "CR4": 0, "CR3": 1 << 63},
    {"EFER": SVME | 1 | 1 << 11 | LME | LMA},
    {"DR6": 0xFFFF_0FF0, "DR7": 0xFFFF_FFFF},
    # A base or RIP that is not canonical is no reason to refuse (kvm-unit-tests).
    {"RIP": 1 << 62},
]


@pytest.mark.parametrize("fields,why", ILLEGAL)
def test_vmrun_refuses_an_illegal_vmcb_with_gif_clear_and_the_host_intact(fields, why):
    c, p = cpu(RSP=0x1234, RIP=0x5678, CR2=0x99, RAX=0x77)
    vmcb = legal_vmcb(p, **fields)
    p.guest = lambda p, pa: pytest.fail("the guest ran")
    before, page = dict(p.regs), bytes(vmcb.page)
    c.vmrun(VMCB)
    assert vmcb["EXITCODE"] == (1 << 64) - 1
    assert (p.gif, p.side) == (0, "host")
    assert p.regs == before | {"DR7": 0x400, "RAX": VMCB}
    assert bytes(vmcb.page[:0x70]) + bytes(vmcb.page[0x78:]) == page[:0x70] + page[0x78:]
    entry, exit_ = p.trace
    assert (entry.event, exit_.event, exit_.value) == ("VMRUN", "#VMEXIT", (1 << 64) - 1)
    assert re.search(why, exit_.operand)


@pytest.mark.parametrize("fields", LEGAL)
def test_vmrun_accepts_a_legal_vmcb(fields):
    c, p = cpu()
    vmcb = legal_vmcb(p, **fields)
    p.guest = lambda p, pa: GUEST_EXIT
    c.vmrun(VMCB)
    assert vmcb["EXITCODE"] == GUEST_EXIT


@pytest.mark.parametrize("name", ["ES.base", "CS.base", "SS.base", "DS.base", "GDTR.base", "IDTR.base"])
@pytest.mark.parametrize("value", [value for value in EDGES if EDGES[value] != value], ids=hex)
def test_vmrun_enters_with_a_base_that_is_not_canonical_and_leaves_the_vmcb_s_as_it_is(name, value):
    c, p = cpu()
    vmcb = legal_vmcb(p)
    vmcb[name] = value
    p.guest = lambda p, pa: GUEST_EXIT
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], vmcb[name]) == (GUEST_EXIT, value)


# -- the world switch

IN_VMCB = tuple(name for name in carried_by("VMRUN"))
BACK = {
    "ES.selector", "ES.attrib", "ES.limit", "ES.base", "CS.selector", "CS.attrib", "CS.limit", "CS.base",
    "SS.selector", "SS.attrib", "SS.limit", "SS.base", "DS.selector", "DS.attrib", "DS.limit", "DS.base",
    "GDTR.limit", "GDTR.base", "IDTR.limit", "IDTR.base", "CPL", "EFER", "CR0", "CR3", "CR4", "PAT",
    "RFLAGS", "RIP", "RSP", "RAX",
}  # fmt: skip


def switched():
    """Run a guest that overwrites every register; return the registers before, the guest's, and after."""
    c, p = cpu()
    host = dict(p.regs)
    for n, name in enumerate(REGISTERS):
        if name not in ("EFER", "CR0", "CR4", "CPL", "CS.attrib", "GDTR.base", "GDTR.limit"):
            host[name] = 0x10 + n % 64
    p.regs.update(host)
    vmcb = legal_vmcb(p)
    seen = {}

    def guest(p, pa):
        seen["entry"], seen["gif"], seen["side"] = dict(p.regs), p.gif, p.side
        p.regs.update({name: 0x80 + n % 64 for n, name in enumerate(REGISTERS)})
        seen["left"] = dict(p.regs)
        return GUEST_EXIT

    p.guest = guest
    for n, name in enumerate(IN_VMCB):
        if name not in ("EFER", "CR0", "CR4", "CS.attrib", "CPL"):
            vmcb[name] = 0xC0 + n % 32 if name != "PAT" else 0x0106_0504_0701_0006
    seen["vmcb"] = {name: vmcb[name] for name in IN_VMCB}
    c.clgi()
    c.vmrun(VMCB)
    return host, seen, p, vmcb


@pytest.mark.parametrize("name", REGISTERS)
def test_after_an_exit_a_register_is_the_host_s_or_still_the_guest_s(name):
    host, seen, p, _ = switched()
    found = p.regs[name]
    if name == "DR7":
        assert found == 0x400
    elif name == "RAX":
        assert found == VMCB
    elif name in BACK:
        assert found == host[name]
    else:
        assert found == seen["left"][name]


@pytest.mark.parametrize("name", REGISTERS)
def test_the_guest_enters_with_the_vmcb_s_half_and_the_rest_as_it_was(name):
    host, seen, _, _ = switched()
    expected = seen["vmcb"][name] if name in IN_VMCB else host[name]
    assert seen["entry"][name] == expected


@pytest.mark.parametrize("name", [name for name in REGISTERS if REGISTERS[name].vmcb is not None])
def test_the_vmcb_takes_vmrun_s_half_of_the_guest_and_nothing_of_vmsave_s(name):
    _, seen, _, vmcb = switched()
    assert vmcb[name] == (seen["left"][name] if name in IN_VMCB else 0)


def test_gif_is_set_in_the_guest_and_clear_after_the_exit():
    _, seen, p, vmcb = switched()
    assert (seen["gif"], seen["side"]) == (1, "guest")
    assert (p.gif, p.side, vmcb["EXITCODE"]) == (0, "host", GUEST_EXIT)


def test_the_host_s_page_is_out_of_software_s_sight():
    """VM_HSAVE_PA's page has no format that software could rely on: the model keeps the host inside."""
    c, p = cpu(VM_HSAVE_PA=PAGE)
    legal_vmcb(p)
    p.memory.page(PAGE)[:] = b"\xee" * 4096
    p.guest = lambda p, pa: GUEST_EXIT
    c.vmrun(VMCB)
    assert bytes(p.memory.page(PAGE)) == b"\xee" * 4096


def test_a_vmsave_after_the_exit_puts_the_guest_s_half_where_the_next_vmload_finds_it():
    c, p = cpu(LSTAR=0x1000)
    legal_vmcb(p)
    c.vmsave(PAGE)
    p.guest = lambda p, pa: p.regs.update({"LSTAR": 0x2000}) or GUEST_EXIT
    c.vmrun(VMCB)
    assert Vmcb(p.memory, VMCB)["LSTAR"] == 0
    c.vmsave(VMCB)
    c.vmload(PAGE)
    assert p.regs["LSTAR"] == 0x1000
    c.vmload(VMCB)
    assert p.regs["LSTAR"] == 0x2000


def test_an_exit_without_a_vmrun_is_a_mistake_of_ours_and_says_so():
    p = processor()
    with pytest.raises(RuntimeError, match="#VMEXIT without a VMRUN"):
        svm.vmexit(p, VMCB, GUEST_EXIT)


def test_without_a_guest_vmrun_stays_in_it():
    c, p = cpu()
    legal_vmcb(p)
    c.vmrun(VMCB)
    assert (p.side, p.gif, p.vmcb_pa) == ("guest", 1, VMCB)
