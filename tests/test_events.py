"""Events and intercepts: when the machine takes them, what ends a guest's run, what the VMCB then says."""

from functools import partial

import pytest

from machines import FSGSBASE, LMA, LME, PAE, PAGE, PE, PG, SVME, VMCB, cpu, legal_vmcb
from svmlib.faults import Fault, Shutdown
from svmlib.instructions import Cpu, msr, svm
from svmlib.instructions.intercepts import EXITCODES
from svmlib.memory import DIRECT_MAP
from svmlib.registers import MSR

INTR = ("INTR", 0x41)
VMRUN_AND = 1 << 0x80
IF = 1 << 9
MSRPM, NPT = 0x70000, 0x80000


def watched(**registers):
    """Return a CPU that remembers the events it takes."""
    c, p = cpu(**registers)
    p.came = []
    p.on_event = lambda p, event: p.came.append(event)
    return c, p


def entered(guest, registers=None, **fields):
    """Run `guest` (called with the Cpu) in a VMCB with `fields`; return the VMCB and the processor."""
    c, p = watched(**registers or {})
    vmcb = legal_vmcb(p, **({"INTERCEPTS": VMRUN_AND} | fields))
    p.guest = silent(guest)
    c.vmrun(VMCB)
    return vmcb, p


def silent(guest):
    """Make a guest of a function of the Cpu: what it returns is no EXITCODE, so it ends in VMMCALL."""
    return lambda p, pa: (guest(Cpu(p)), None)[1]


def exiting(*names):
    """Return an intercept vector: VMRUN and these."""
    return VMRUN_AND | sum(1 << (EXITCODES[n] if isinstance(n, str) else n) for n in names)


# -- the host


@pytest.mark.parametrize("event", ["NMI", "SMI", "INIT", "#MC", INTR])
def test_while_gif_is_clear_every_event_waits_and_stgi_lets_it_in(event):
    c, p = watched(RFLAGS=2 | IF)
    c.clgi()
    p.pending.append(event)
    c.cli()
    c.sti()
    c.rdmsr(MSR.STAR)
    assert (p.came, p.pending) == ([], [event])
    c.stgi()
    assert (p.came, p.pending) == ([event], [])


def test_what_waits_together_comes_in_the_manual_s_order():
    c, p = watched(RFLAGS=2 | IF)
    c.clgi()
    p.pending += [INTR, "NMI", "SMI", "INIT", "#MC"]
    c.stgi()
    assert p.came == ["#MC", "INIT", "SMI", "NMI", INTR]


def test_an_interrupt_waits_for_if_and_for_the_instruction_after_sti():
    c, p = watched()
    p.pending.append(INTR)
    c.rdmsr(MSR.STAR)
    c.sti()
    assert p.came == []
    c.rdmsr(MSR.STAR)
    assert p.came == [INTR]


def test_sti_casts_a_shadow_only_where_if_was_clear():
    c, p = watched(RFLAGS=2 | IF)
    c.clgi()
    p.pending.append(INTR)
    c.sti()
    assert p.shadow == 0
    c.stgi()
    assert p.came == [INTR]


def test_a_mov_to_ss_casts_a_shadow_too():
    c, p = watched(RFLAGS=2 | IF)
    c.mov_to_sreg("SS", 0)
    p.pending.append(INTR)
    assert p.shadow == 1
    c.rdmsr(MSR.STAR)
    assert (p.shadow, p.came) == (0, [INTR])


@pytest.mark.parametrize("cr8,taken", [(0, True), (3, True), (4, False), (15, False)])
def test_an_interrupt_comes_only_above_the_task_priority(cr8, taken):
    c, p = watched(RFLAGS=2 | IF, CR8=cr8)
    p.pending.append(INTR)
    c.rdmsr(MSR.STAR)
    assert (p.came == [INTR]) is taken


def test_a_second_nmi_waits_for_iret():
    c, p = watched(RSP=DIRECT_MAP + PAGE)
    p.pending += ["NMI", "NMI"]
    c.rdmsr(MSR.STAR)
    assert (p.came, p.pending, p.nmi_masked) == (["NMI"], ["NMI"], True)
    p.nmi_masked = False
    c.rdmsr(MSR.STAR)
    assert p.came == ["NMI", "NMI"]


def test_without_a_handler_an_event_goes_on_waiting():
    c, p = cpu()
    p.pending.append("NMI")
    c.rdmsr(MSR.STAR)
    assert p.pending == ["NMI"]


def test_in_a_guest_without_a_handler_what_nobody_intercepts_goes_on_waiting():
    c, p = cpu()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("VMMCALL", "INTR"))
    p.guest = silent(lambda c: (p.pending.append("NMI"), c.rdmsr(MSR.STAR)))
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.pending) == (EXITCODES["VMMCALL"], ["NMI"])


def test_synchronous_faults_do_not_wait_for_gif():
    c, _ = cpu()
    c.clgi()
    with pytest.raises(Fault, match="#GP"):
        c.wrmsr(MSR.LSTAR, 1 << 47)


def test_a_page_fault_leaves_its_address_in_cr2():
    c, p = cpu()
    with pytest.raises(Fault):
        c.load(0x1234)
    assert p.regs["CR2"] == 0x1234


@pytest.mark.parametrize("cpl,write,code", [(0, False, 0), (0, True, 2), (3, False, 4), (3, True, 6)])
def test_a_page_fault_s_error_code_says_write_and_user(cpl, write, code):
    c, _ = cpu(CPL=cpl)
    with pytest.raises(Fault) as fault:
        c.store(0x1000, 0) if write else c.load(0x1000)
    assert fault.value.error_code == code


# -- the guest: intercepted instructions

INSTRUCTIONS = {
    "VMLOAD": lambda c: c.vmload(PAGE),
    "VMSAVE": lambda c: c.vmsave(PAGE),
    "STGI": Cpu.stgi,
    "CLGI": Cpu.clgi,
    "SKINIT": lambda c: c.skinit(0),
    "INVLPGA": lambda c: c.invlpga(0, 1),
    "RDTSCP": Cpu.rdtscp,
    "SGDT": Cpu.sgdt,
    "SIDT": Cpu.sidt,
    "SLDT": Cpu.sldt,
    "STR": Cpu.str,
    "LGDT": lambda c: c.lgdt(0xFF, DIRECT_MAP),
    "LIDT": lambda c: c.lidt(0xFF, DIRECT_MAP),
    "LLDT": lambda c: c.lldt(0),
    "LTR": lambda c: c.ltr(0x40),
    "IRET": Cpu.iret,
    EXITCODES["CR_READ"] + 3: lambda c: c.mov_from_cr(3),
    EXITCODES["CR_WRITE"] + 4: lambda c: c.mov_to_cr(4, PAE),
    EXITCODES["DR_READ"] + 7: lambda c: c.mov_from_dr(7),
    EXITCODES["DR_WRITE"] + 0: lambda c: c.mov_to_dr(0, 1),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_intercepted_instruction_ends_the_guest_s_run_before_it_does_anything(name):
    code = EXITCODES.get(name, name)
    after = []

    def guest(c):
        before = dict(c._processor.regs)
        try:
            INSTRUCTIONS[name](c)
        finally:
            after.append(c._processor.regs == before)

    vmcb, p = entered(guest, INTERCEPTS=exiting(name))
    assert (vmcb["EXITCODE"], after, p.gif, p.side) == (code, [True], 0, "host")


@pytest.mark.parametrize("name", [n for n in INSTRUCTIONS if n not in ("SKINIT", "LTR", "IRET")])
def test_an_instruction_that_nobody_intercepts_executes_and_the_guest_goes_on_to_vmmcall(name):
    vmcb, _ = entered(INSTRUCTIONS[name], INTERCEPTS=exiting("VMMCALL"))
    assert vmcb["EXITCODE"] == EXITCODES["VMMCALL"]


def test_vmrun_in_a_guest_exits():
    vmcb, _ = entered(lambda c: c.vmrun(VMCB))
    assert vmcb["EXITCODE"] == EXITCODES["VMRUN"]


def test_vmmcall_exits_at_any_cpl_and_is_undefined_where_nobody_intercepts_it():
    vmcb, _ = entered(Cpu.vmmcall, INTERCEPTS=exiting("VMMCALL"), CPL=3)
    assert vmcb["EXITCODE"] == 0x81
    with pytest.raises(Fault, match="#UD: VMMCALL that nobody intercepts"):
        entered(Cpu.vmmcall)


@pytest.mark.parametrize("option,code", [(False, 0x40 + 13), (True, 0x82)])
def test_a_bad_operand_comes_before_the_intercept_or_after_it_by_the_profile(option, code):
    def guest(c):
        c._processor.options = c._processor.options.but(address_after_intercept=option)
        c.vmload(PAGE + 1)

    vmcb, _ = entered(guest, INTERCEPTS=exiting("VMLOAD", 0x40 + 13))
    assert vmcb["EXITCODE"] == code


# MSR, read or write -> whether the map's bit is set, what becomes of the guest.
@pytest.mark.parametrize("write", [0, 1])
@pytest.mark.parametrize("number,place", [
    (MSR.SYSENTER_CS, 0x0000), (MSR.LSTAR, 0x0800), (MSR.VM_HSAVE_PA, 0x1000),
])  # fmt: skip
def test_the_msr_permission_map_has_a_bit_for_each_read_and_write(number, place, write):
    first = {0x0000: 0, 0x0800: 0xC000_0000, 0x1000: 0xC001_0000}[place]
    bit = 2 * (number - first) + write
    for on in (0, 1):
        c, p = watched()
        vmcb = legal_vmcb(p, INTERCEPTS=exiting("MSR", "VMMCALL"), MSRPM_BASE=MSRPM)
        p.memory.write(MSRPM + place + bit // 8, on << bit % 8, 1)
        p.guest = silent(lambda c: c.wrmsr(number, 0) if write else c.rdmsr(number))
        c.vmrun(VMCB)
        expected = (EXITCODES["MSR"], write) if on else (EXITCODES["VMMCALL"], 0)
        assert (vmcb["EXITCODE"], vmcb["EXITINFO1"]) == expected


def test_an_msr_that_the_map_has_no_bit_for_always_exits():
    vmcb, _ = entered(lambda c: c.rdmsr(0x4000_0000), INTERCEPTS=exiting("MSR"), MSRPM_BASE=MSRPM)
    assert vmcb["EXITCODE"] == EXITCODES["MSR"]


@pytest.mark.parametrize("cpl,code", [(0, EXITCODES["MSR"]), (3, 0x40 + 13)])
def test_ring_3_is_refused_before_the_intercept_is_looked_at(cpl, code):
    vmcb, _ = entered(
        lambda c: c.rdmsr(0x4000_0000), INTERCEPTS=exiting("MSR", 0x40 + 13), MSRPM_BASE=MSRPM, CPL=cpl
    )
    assert vmcb["EXITCODE"] == code


@pytest.mark.parametrize("guest,vector,info1,info2", [
    (lambda c: c.wrmsr(MSR.LSTAR, 1 << 47), 13, 0, 0),
    (lambda c: c.store(0x5000, 1), 14, 2, 0x5000),
    (lambda c: c.mov_to_sreg("FS", 0x800), 13, 0x800, 0),
    (Cpu.vmmcall, 6, 0, 0),
])  # fmt: skip
def test_an_intercepted_exception_exits_with_its_error_code_and_leaves_cr2(guest, vector, info1, info2):
    vmcb, p = entered(guest, INTERCEPTS=exiting(0x40 + vector))
    assert (vmcb["EXITCODE"], vmcb["EXITINFO1"], vmcb["EXITINFO2"]) == (0x40 + vector, info1, info2)
    assert p.regs["CR2"] == 0


@pytest.mark.parametrize("call", [
    partial(msr.wrmsr, msr=MSR.LSTAR, value=1 << 47), partial(svm.vmload, rax=1),
])  # fmt: skip
def test_a_fault_that_the_guest_does_not_handle_is_a_shutdown(call):
    c, p = cpu()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("SHUTDOWN"))
    p.guest = lambda p, pa: call(p)
    c.vmrun(VMCB)
    assert vmcb["EXITCODE"] == EXITCODES["SHUTDOWN"]
    vmcb["INTERCEPTS"] = VMRUN_AND
    with pytest.raises(Fault):
        c.vmrun(VMCB)


def test_a_guest_s_shutdown_exits_where_it_is_intercepted_and_takes_the_machine_along_elsewhere():
    def guest(p, pa):
        raise p.stop("a triple fault")

    c, p = cpu()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("SHUTDOWN"))
    p.guest = guest
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.shutdown) == (EXITCODES["SHUTDOWN"], None)
    vmcb["INTERCEPTS"] = VMRUN_AND
    with pytest.raises(Shutdown):
        c.vmrun(VMCB)


# -- the guest: events


@pytest.mark.parametrize("event,name", [("NMI", "NMI"), ("SMI", "SMI"), ("INIT", "INIT"), (INTR, "INTR")])
def test_an_intercepted_event_ends_the_guest_s_run_and_goes_on_waiting_for_the_host(event, name):
    c, p = watched(RFLAGS=2 | IF)
    vmcb = legal_vmcb(p, INTERCEPTS=exiting(name), RFLAGS=2 | IF)
    p.guest = lambda p, pa: p.pending.append(event) or Cpu(p).sldt()
    c.clgi()
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.came, p.pending) == (EXITCODES[name], [], [event])
    c.stgi()
    assert p.came == [event]


def test_an_intercepted_machine_check_is_the_exit_and_does_not_come_again():
    c, p = watched()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting(0x40 + 18))
    p.guest = lambda p, pa: p.pending.append("#MC") or Cpu(p).sldt()
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.pending) == (0x40 + 18, [])


def test_what_waits_at_vmrun_exits_before_the_guest_s_first_instruction():
    c, p = watched()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("NMI"))
    p.guest = lambda p, pa: pytest.fail("the guest ran")
    c.clgi()
    p.pending.append("NMI")
    c.vmrun(VMCB)
    assert vmcb["EXITCODE"] == EXITCODES["NMI"]


def test_an_event_that_nobody_intercepts_is_the_guest_s():
    _, p = entered(lambda c: [c._processor.pending.append("NMI"), c.sldt()], INTERCEPTS=exiting("VMMCALL"))
    assert p.came == ["NMI"]


# V_INTR_MASKING, the host's IF, the guest's IF -> whether a physical interrupt ends the guest's run.
@pytest.mark.parametrize("masking,host,guest,exits", [
    (1, 1, 0, True), (1, 0, 1, False), (0, 1, 0, False), (0, 0, 1, True),
])  # fmt: skip
def test_with_v_intr_masking_the_host_s_if_decides(masking, host, guest, exits):
    c, p = watched(RFLAGS=2 | host * IF)
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("INTR", "VMMCALL"), RFLAGS=2 | guest * IF, INT_CTL=masking << 24)
    p.guest = silent(lambda c: [p.pending.append(INTR), c.sldt()])
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"] == EXITCODES["INTR"]) is exits


def test_with_v_intr_masking_cr8_is_the_vmcb_s_v_tpr_and_the_host_s_comes_back():
    def guest(c):
        assert c.mov_from_cr(8) == 5
        c.mov_to_cr(8, 9)

    vmcb, p = entered(guest, {"CR8": 3}, INTERCEPTS=exiting("VMMCALL"), INT_CTL=1 << 24 | 5)
    assert (vmcb["INT_CTL"], p.regs["CR8"]) == (1 << 24 | 9, 3)
    assert p.trace.state(len(p.trace) - 1) == p.regs


@pytest.mark.parametrize("vgif", [True, False])
def test_with_v_gif_enable_a_guest_s_stgi_and_clgi_act_on_the_vmcb(vgif):
    seen = []

    def guest(c):
        p = c._processor
        p.features = p.features.but(vgif=vgif)
        c.clgi()
        seen.append(p.gif)
        c.stgi()
        c.clgi()

    vmcb, _ = entered(guest, INTERCEPTS=exiting("VMMCALL"), INT_CTL=1 << 25 | 1 << 9)
    assert (seen, vmcb["INT_CTL"]) == (([1], 1 << 25) if vgif else ([0], 1 << 25 | 1 << 9))


def test_an_interrupt_shadow_comes_from_the_vmcb_and_goes_back_there():
    def guest(c):
        assert c._processor.shadow == 1
        c.sldt()
        assert c._processor.shadow == 0
        c.sti()
        c.vmmcall()

    vmcb, p = entered(guest, INTERCEPTS=exiting("VMMCALL"), INT_STATE=1)
    assert (vmcb["INT_STATE"], p.shadow) == (1, 0)


# -- EVENTINJ

VALID = 1 << 31


@pytest.mark.parametrize("event,came", [
    (VALID | 0x41, ("INTR", 0x41)),
    (VALID | 2 << 8 | 2, "NMI"),
    (VALID | 3 << 8 | 1 << 11 | 13 | 0x18 << 32, ("EXCEPTION", 13, 0x18)),
    (VALID | 3 << 8 | 6 | 0x18 << 32, ("EXCEPTION", 6, 0)),
    (VALID | 4 << 8 | 0x80, ("SOFTWARE", 0x80)),
])  # fmt: skip
def test_eventinj_is_the_guest_s_first_event_and_its_valid_bit_goes(event, came):
    seen = []
    vmcb, p = entered(lambda c: seen.extend(c._processor.came), INTERCEPTS=exiting("VMMCALL"), EVENTINJ=event)
    assert (seen, p.came) == ([came], [came])
    assert (vmcb["EVENTINJ"], vmcb["EXITINTINFO"]) == (event & ~VALID, 0)


def test_an_exit_during_the_injection_names_the_event_and_takes_the_host_s_shadow_along():
    c, p = cpu()
    vmcb = legal_vmcb(p, INTERCEPTS=exiting(0x40 + 14), EVENTINJ=VALID | 0x41)

    def handler(p, event):
        raise svm.Intercepted(0x40 + 14, 0, 0x1000)

    p.on_event = handler
    c.clgi()
    c.sti()
    c.vmrun(VMCB)
    assert (vmcb["EXITINTINFO"], vmcb["INT_STATE"]) == (VALID | 0x41, 1)


def test_without_a_handler_an_injected_event_is_on_the_trace_alone():
    c, p = cpu()
    legal_vmcb(p, EVENTINJ=VALID | 2 << 8 | 2)
    p.guest = lambda p, pa: 0x72
    c.vmrun(VMCB)
    assert [(s.event, s.operand) for s in p.trace][1:2] == [("EVENTINJ", "NMI")]
    assert p.nmi_masked


# -- VMLOAD and VMSAVE in a guest

LONG = {"EFER": SVME | LME | LMA, "CR0": PG | PE, "CR4": PAE | FSGSBASE}


def nested_guest(p, **fields):
    """Make a guest with nested paging: guest-physical PAGE is PAGE + 0x1000, and a large page at 2 MiB."""
    vmcb = legal_vmcb(p, INTERCEPTS=exiting("VMMCALL"), MISC_CTL=1, MISC_CTL2=2, NESTED_CR3=NPT,
                      PAT=0x0007_0406_0007_0406, **LONG, **fields)  # fmt: skip
    p.memory.write(NPT, NPT + 0x1000 | 7)
    p.memory.write(NPT + 0x1000, NPT + 0x2000 | 7)
    p.memory.write(NPT + 0x2000, NPT + 0x3000 | 7)
    p.memory.write(NPT + 0x2008, 0x20_0000 | 0x87)
    p.memory.write(NPT + 0x3000 + 8 * (PAGE >> 12), PAGE + 0x1000 | 7)
    p.memory.write(NPT + 0x3000 + 8 * (PAGE + 0x2000 >> 12), PAGE | 5)
    return vmcb


def test_unintercepted_vmsave_in_a_guest_writes_to_host_physical_memory():
    """The hole of CVE-2021-3656: without virtual VMLOAD and VMSAVE the operand is a host-physical address."""
    vmcb, p = entered(lambda c: c.vmsave(PAGE), {"STAR": 0x99}, INTERCEPTS=exiting("VMMCALL"), **LONG)
    assert p.memory.read(PAGE + 0x600) == 0x99
    assert vmcb["EXITCODE"] == EXITCODES["VMMCALL"]


def test_virtual_vmsave_goes_through_the_nested_page_tables():
    c, p = cpu(STAR=0x99)
    vmcb = nested_guest(p)
    p.guest = lambda p, pa: Cpu(p).vmsave(PAGE)
    c.vmrun(VMCB)
    assert (p.memory.read(PAGE + 0x600), p.memory.read(PAGE + 0x1600)) == (0, 0x99)
    assert vmcb["EXITCODE"] == EXITCODES["VMMCALL"]
    p.guest = lambda p, pa: Cpu(p).vmsave(0x20_3000)
    c.vmrun(VMCB)
    assert p.memory.read(0x20_3600) == 0x99


@pytest.mark.parametrize("what,pa,info1", [
    ("vmsave", PAGE + 0x1000, 0x1_0000_0006),
    ("vmload", PAGE + 0x1000, 0x1_0000_0004),
    ("vmsave", PAGE + 0x2000, 0x1_0000_0007),
])  # fmt: skip
def test_where_the_nested_tables_have_no_page_virtual_vmsave_exits_with_npf(what, pa, info1):
    c, p = cpu()
    vmcb = nested_guest(p)
    p.guest = lambda p, _: getattr(Cpu(p), what)(pa)
    c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], vmcb["EXITINFO1"], vmcb["EXITINFO2"]) == (EXITCODES["NPF"], info1, pa)


@pytest.mark.parametrize("fields", [{"MISC_CTL": 0}, {"EFER": SVME, "CR0": PE, "CR4": 0}])
def test_virtual_vmload_without_nested_paging_or_long_mode_exits(fields):
    c, p = cpu()
    vmcb = nested_guest(p)
    for name, value in fields.items():
        vmcb[name] = value
    p.guest = lambda p, pa: Cpu(p).vmload(PAGE)
    c.vmrun(VMCB)
    assert vmcb["EXITCODE"] == EXITCODES["VMLOAD"]


def test_a_cpu_without_virtual_vmload_uses_host_physical_memory():
    c, p = cpu(STAR=0x99)
    p.features = p.features.but(virtual_vmload=False)
    nested_guest(p)
    p.guest = lambda p, pa: Cpu(p).vmsave(PAGE)
    c.vmrun(VMCB)
    assert p.memory.read(PAGE + 0x600) == 0x99


# -- the host again


def test_tf_at_vmrun_is_a_single_step_on_the_host_s_side_after_the_exit():
    c, p = cpu(RFLAGS=2 | 1 << 8)
    vmcb = legal_vmcb(p)
    p.guest = lambda p, pa: 0x72
    with pytest.raises(Fault, match="#DB"):
        c.vmrun(VMCB)
    assert (vmcb["EXITCODE"], p.side, p.gif) == (0x72, "host", 0)


def test_vmexit_clears_rf_and_leaves_the_rest_of_rflags():
    c, p = cpu(RFLAGS=0x246 | 1 << 16)
    legal_vmcb(p)
    p.guest = lambda p, pa: 0x72
    c.vmrun(VMCB)
    assert p.regs["RFLAGS"] == 0x246


def test_clearing_svme_leaves_gif_as_it_is():
    c, p = cpu()
    c.clgi()
    c.wrmsr(MSR.EFER, LME | LMA | 1)
    assert p.gif == 0
