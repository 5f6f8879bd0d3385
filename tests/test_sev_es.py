"""SEV-ES: what VMRUN saves, what #VMEXIT loads, what the host has to fill in.  No emulator can check it."""

import pytest

from machines import LMA, LME, PAE, PAGE, PE, PG, SVME, VMCB, cpu, legal_vmcb
from svmlib.instructions import sev_es
from svmlib.registers import REGISTERS, carried_by

HSAVE, VMSA, GUEST_EXIT = 0x40000, 0x50000, 0x72
AREA = HSAVE + sev_es.HOST_AREA
TYPE_B = {row.name: row for row in sev_es.ROWS}
ALWAYS = [name for name, row in TYPE_B.items() if not row.when]


def guest(p, **features):
    """Make an SEV-ES guest: its VMCB, and a VMSA that VMRUN accepts."""
    vmcb = legal_vmcb(p, MISC_CTL=sev_es.SEV_ES, VMSA_PA=VMSA)
    for name, value in {"EFER": SVME | LME | LMA, "CR0": PG | PE, "CR4": PAE, "CS.attrib": 0xA9B}.items():
        put(p, VMSA, name, value)
    p.memory.write(VMSA + 0x3B0, features.get("sev_features", 0))
    p.regs["VM_HSAVE_PA"] = HSAVE
    p.guest = lambda p, pa: GUEST_EXIT
    return vmcb


def put(p, area, name, value):
    """Store a register into a save area in the SEV-ES layout."""
    row = TYPE_B.get(name)
    offset = row.offset if row else REGISTERS[name].vmcb - 0x400
    p.memory.write(area + offset, value, row.size if row else REGISTERS[name].bits // 8)


def held(p, area, name):
    row = TYPE_B.get(name)
    return p.memory.read(area + (row.offset if row else REGISTERS[name].vmcb - 0x400), row.size if row else 8)


@pytest.mark.parametrize("name", ["LSTAR", "FS.base", "KernelGSBase", *ALWAYS])
def test_type_b_is_not_saved_by_vmrun_and_loaded_from_the_host_s_page_by_vmexit(name):
    c, p = cpu(**{name: 0x11})
    guest(p)
    c.vmrun(VMCB)
    assert p.regs[name] == 0
    put(p, AREA, name, 0x22)
    c.vmrun(VMCB)
    assert p.regs[name] == 0x22


@pytest.mark.parametrize("name", ["GDTR.base", "CR3", "RIP", "RSP", "RAX"])
def test_type_a_is_saved_by_vmrun_and_comes_back(name):
    c, p = cpu(**{name: 0x11000})
    guest(p)
    c.vmrun(VMCB)
    assert p.regs[name] == (VMCB if name == "RAX" else 0x11000)


def test_vmsave_before_and_no_vmload_after_is_right_for_what_vmsave_carries():
    c, p = cpu(**{name: 0x30 for name in carried_by("VMSAVE") if not name.endswith("attrib")})
    guest(p)
    before = dict(p.regs)
    c.vmsave(HSAVE)
    c.vmrun(VMCB)
    assert {name: p.regs[name] for name in carried_by("VMSAVE")} == {
        name: before[name] for name in carried_by("VMSAVE")
    }


@pytest.mark.parametrize("name", ["LSTAR", "GS.base", "RBX", "R15", "XCR0", "CR2", "RIP"])
def test_the_guest_s_registers_come_from_its_vmsa_and_go_back_there(name):
    c, p = cpu()
    vmcb = guest(p)
    put(p, VMSA, name, 0x44)
    seen = {}

    def run(p, pa):
        seen[name] = p.regs[name]
        p.regs[name] = 0x55
        return GUEST_EXIT

    p.guest = run
    c.vmrun(VMCB)
    assert seen[name] == 0x44
    assert held(p, VMSA, name) == 0x55
    if REGISTERS[name].vmcb is not None:
        assert vmcb[name] == 0, "the VMCB has no save area of an SEV-ES guest"
    assert vmcb["EXITCODE"] == GUEST_EXIT


@pytest.mark.parametrize("name", [name for name, row in TYPE_B.items() if row.when == "DebugSwap"])
def test_debug_registers_are_swapped_only_where_the_vmsa_asks_for_debug_swap(name):
    for sev_features, expected in ((0, 0x11), (1 << 5, 0x22)):
        c, p = cpu(**{name: 0x11})
        guest(p, sev_features=sev_features)
        put(p, AREA, name, 0x22)
        c.vmrun(VMCB)
        assert p.regs[name] == expected


def test_tsc_aux_is_swapped_only_by_a_cpu_with_v_tsc_aux():
    for v_tsc_aux, expected in ((False, 0x11), (True, 0x22)):
        c, p = cpu(TSC_AUX=0x11)
        p.features = p.features.but(v_tsc_aux=v_tsc_aux)
        guest(p)
        put(p, AREA, "TSC_AUX", 0x22)
        c.vmrun(VMCB)
        assert p.regs["TSC_AUX"] == expected


def test_the_host_s_page_is_read_at_its_save_area_and_bases_are_sign_extended():
    c, p = cpu()
    guest(p)
    put(p, AREA, "FS.base", 1 << 47)
    c.vmrun(VMCB)
    assert p.regs["FS.base"] == 0xFFFF_8000_0000_0000


def test_a_vmsa_that_vmrun_refuses_is_vmexit_invalid_and_leaves_the_host_alone():
    c, p = cpu(LSTAR=0x11)
    vmcb = guest(p)
    put(p, VMSA, "EFER", LME)
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.regs["LSTAR"]) == ((1 << 64) - 1, 0x11)


def test_the_trace_walks_back_over_an_sev_es_switch():
    c, p = cpu(LSTAR=0x11)
    guest(p)
    p.trace.start[0] = dict(p.regs)
    c.vmsave(PAGE)
    c.vmrun(VMCB)
    assert p.trace.state(len(p.trace) - 1) == p.regs


def test_every_row_lies_in_the_sev_es_save_area_and_none_twice():
    taken = [at for row in sev_es.ROWS for at in range(row.offset, row.offset + row.size)]
    assert len(taken) == len(set(taken))
    assert max(taken) < 1648
    assert all(name in REGISTERS for name in TYPE_B)
