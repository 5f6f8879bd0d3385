"""The kinds of host: what each does when something arrives, with its own registers and with a guest's."""

import pytest

from machines import altered
from svmlib.data import rows
from svmlib.faults import Fault, Shutdown
from svmlib.instructions import events
from svmlib.kvm import exits, per_cpu, random_exits, run, this_cpu_read
from svmlib.kvm.host import Host
from svmlib.kvm.hosts import HOSTS, KERNELS, MEANING, host, name_of
from svmlib.kvm.kernels import KERNELS as CODE
from svmlib.kvm.kernels import of
from svmlib.kvm.machine import Broken, Machine
from svmlib.kvm.percpu import ENTRY_STACK_TOP, MC_STACK_TOP, NMI_STACK_TOP, STACKS_SIZE, area, this_cpu_write
from svmlib.memory import C_BIT, DIRECT_MAP, DIRECT_MAP_32
from svmlib.paths import DESIGNS, upstream, vmload_before_stgi
from svmlib.registers import MSR

BEFORE = vmload_before_stgi.since_2023


# -- kinds by name


def test_every_kind_of_host_is_named_and_says_what_it_is():
    assert set(MEANING) == set(HOSTS)
    assert {kind.kernel for kind in HOSTS.values()} == set(KERNELS) == set(CODE)
    assert all(all(kernel) for kernel in KERNELS.values())
    for name, kind in HOSTS.items():
        assert name_of(kind._replace(seed=9, cpus=4, vcpus=1)) == name
    assert name_of(Host(nmi_cpu="rdpid")) == ""


def test_a_cpu_s_name_is_the_kind_with_fsgsbase_and_an_unknown_name_lists_those_there_are():
    assert host("zen1") == host("zen1+fsgsbase")
    assert (host("zen1").null_clears_base, host("zen2").null_clears_base) == (False, True)
    assert host("family15h", seed=5)._replace(seed=0) == HOSTS["family15h"]
    with pytest.raises(KeyError, match="no kind of host 'zen9'; there are family15h, zen1\\+fsgsbase"):
        host("zen9")
    with pytest.raises(KeyError, match="no host kernel 'minix'; there are linux, i386"):
        of("minix")


def test_the_sources_of_hosts_and_kernels_exist():
    known = {row["id"] for row in rows("sources")}
    for table in ("hosts", "kernels", "designs", "percpu"):
        for row in rows(table):
            assert known.issuperset(row["source"].split()), row


# -- per-CPU data


def booted(kind, **fields):
    machine = Machine(BEFORE, host(kind, **fields))
    p = machine.processors[0]
    machine._schedule(machine.threads[0], p)
    return machine, p, machine.cpus[0]


@pytest.mark.parametrize("kind", HOSTS)
def test_each_kernel_finds_its_own_data_its_own_way(kind):
    machine, p, cpu = booted(kind, seed=1)
    assert this_cpu_read(cpu, "cpu_number") == 0
    assert per_cpu(cpu, 1, "cpu_number") == 1
    this_cpu_write(cpu, "spec_ctrl", 5)
    assert per_cpu(cpu, 0, "spec_ctrl") == 5
    for register in ("GS.base", "FS.base"):
        p.regs[register] = area(1, 1, machine.memory.direct_map)
    found = {"GS": 1, "FS": 1, "stack": 0}[machine.kernel.per_cpu]
    assert this_cpu_read(cpu, "cpu_number") == found


def test_what_each_kernel_has_in_its_segments():
    assert booted("zen2")[1].regs["GS.base"] == area(0)
    assert booted("xen")[1].regs["GS.base"] != area(0)
    regs = booted("i386")[1].regs
    assert (regs["FS.selector"], regs["FS.base"]) == (0xD8, area(0, 0, DIRECT_MAP_32))
    assert all(value < 1 << 32 for name, value in regs.items() if name not in ("PAT", "XSS"))


# -- what arrives


def strike(kind, event, mode, wrong=(), mapped=False, **fields):
    """Let `event` come to a host in `mode` whose registers `wrong` are a guest's; say what becomes of it."""
    machine, p, cpu = booted(kind, seed=2, **fields)
    if mode == "user":
        machine.kernel.leave(cpu)
        if kind == "i386":
            cpu.mov_to_sreg("FS", 0x7B)  # the user's, popped last
        machine.kernel.sysret(p)
    guest = machine.threads[1].registers[1 if mapped else 0] | machine.threads[1].beyond
    for name in p.regs:
        if name.startswith(tuple(wrong)) and wrong:
            p.regs[name] = guest[name]
    before = dict(p.regs)
    try:
        if event == "SYSCALL":
            machine.kernel.syscall(machine, p, cpu)
        else:
            p.pending.append(("INTR", 0xEC) if event == "INTR" else event)
            p.regs["RFLAGS"] |= 1 << 9
            before["RFLAGS"] |= 1 << 9
            events.arrive(p)
            changed = {name for name, value in p.regs.items() if value != before[name]}
            # 32-bit entries pop FS by its selector, so a base that was wrong is mended.
            assert changed <= ({"FS.base"} if kind == "i386" else set()), "the handler left something behind"
    except (Shutdown, Broken):
        violation = machine.violation
        first = violation.symptom.split(".")[0]
        return f"{violation.invariant}: {first}" if first.endswith("fault") else violation.invariant
    return "fine"


TRIPLE = "host_stack: Triple fault"
#: kind of host, event, mode, whose register is a guest's, what becomes of it.
OUTCOMES = [
    # GS in the kernel: FSGSBASE saves the paranoid entries and nobody else.
    ("zen2", "NMI", "kernel", "GS.base", "fine"),
    ("zen2", "#MC", "kernel", "GS.base", "fine"),
    ("zen2", "INTR", "kernel", "GS.base", "per_cpu"),
    ("zen2-fsgsbase", "NMI", "kernel", "GS.base", "per_cpu"),
    ("zen2-fsgsbase", "#MC", "kernel", "GS.base", "per_cpu"),
    ("zen2-fsgsbase", "INTR", "kernel", "GS.base", "per_cpu"),
    ("freebsd", "NMI", "kernel", "GS.base", "fine"),
    ("freebsd", "#MC", "kernel", "GS.base", "fine"),
    ("freebsd", "INTR", "kernel", "GS.base", "per_cpu"),
    ("netbsd", "NMI", "kernel", "GS.base", "per_cpu"),
    ("netbsd", "#MC", "kernel", "GS.base", "per_cpu"),
    ("xen", "NMI", "kernel", "GS", "fine"),
    ("xen", "INTR", "kernel", "GS", "fine"),
    ("fred", "NMI", "kernel", "GS.base", "per_cpu"),
    # 32-bit Linux loads FS at every entry, and GS is the user's anyway.
    ("i386", "NMI", "kernel", "FS.base", "fine"),
    ("i386", "INTR", "kernel", "GS", "fine"),
    # TR: whoever takes a stack from the TSS.
    ("zen2", "NMI", "kernel", "TR", TRIPLE),
    ("zen2", "#MC", "kernel", "TR", TRIPLE),
    ("zen2", "INTR", "kernel", "TR", "fine"),
    ("zen2", "INTR", "user", "TR", TRIPLE),
    ("zen2", "SYSCALL", "user", "TR", "fine"),
    ("xen", "NMI", "kernel", "TR", TRIPLE),
    ("xen", "INTR", "user", "TR", TRIPLE),
    ("freebsd", "NMI", "kernel", "TR", TRIPLE),
    ("netbsd", "#MC", "kernel", "TR", "fine"),
    ("netbsd", "NMI", "kernel", "TR", TRIPLE),
    ("i386", "NMI", "kernel", "TR", "fine"),
    ("i386", "INTR", "user", "TR", "host_stack: Double fault"),
    ("fred", "NMI", "kernel", "TR", "fine"),
    ("fred", "INTR", "user", "TR", "fine"),
    # KernelGSBase: whoever comes from user space with SWAPGS.
    ("zen2", "NMI", "kernel", "KernelGSBase", "fine"),
    ("zen2", "NMI", "user", "KernelGSBase", "per_cpu"),
    ("zen2", "#MC", "user", "KernelGSBase", "per_cpu"),
    ("zen2", "INTR", "user", "KernelGSBase", "per_cpu"),
    ("zen2", "SYSCALL", "user", "KernelGSBase", "per_cpu"),
    ("freebsd", "SYSCALL", "user", "KernelGSBase", "per_cpu"),
    ("xen", "SYSCALL", "user", "KernelGSBase", "fine"),
    ("xen", "NMI", "user", "KernelGSBase", "fine"),
    ("fred", "INTR", "user", "KernelGSBase", "per_cpu"),
    # Where the system call goes.
    ("zen2", "SYSCALL", "user", "LSTAR", "host_state"),
    ("netbsd", "SYSCALL", "user", "LSTAR", "host_state"),
    ("xen", "SYSCALL", "user", "LSTAR", "host_state"),
    ("fred", "SYSCALL", "user", "LSTAR", "fine"),
    ("fred", "SYSCALL", "user", "FRED_RSP0", TRIPLE),
    ("fred", "INTR", "user", "FRED_RSP0", TRIPLE),
    ("i386", "SYSCALL", "user", "SYSENTER_EIP", "host_state"),
    ("i386", "SYSCALL", "user", "SYSENTER_ESP", "host_stack"),
    # Nobody looks at these before user space does.
    ("zen2", "NMI", "kernel", "FS", "fine"),
    ("zen2", "INTR", "kernel", "LDTR", "fine"),
    ("zen2", "SYSCALL", "user", "SYSENTER_EIP", "fine"),
]


@pytest.mark.parametrize("kind,event,mode,wrong,outcome", OUTCOMES)
def test_what_a_guest_s_register_does_to_what_arrives(kind, event, mode, wrong, outcome):
    assert strike(kind, event, mode, (wrong,)) == outcome


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize("mode", ["kernel", "user"])
@pytest.mark.parametrize("event", ["NMI", "#MC", "INTR", "SMI"])
def test_with_its_own_registers_every_host_takes_every_event_and_leaves_nothing(kind, mode, event):
    assert strike(kind, event, mode) == "fine"


@pytest.mark.parametrize("kind", HOSTS)
def test_a_system_call_comes_back_to_the_kernel_s_stack(kind):
    assert strike(kind, "SYSCALL", "user") == "fine"


@pytest.mark.parametrize("event,top", [("NMI", NMI_STACK_TOP), ("#MC", MC_STACK_TOP)])
def test_nmi_and_machine_check_have_stacks_of_their_own_that_the_tss_names(event, top):
    machine, p, _ = booted("zen2", seed=2)
    p.pending.append(event)
    events.arrive(p)
    step = next(step for step in machine.trace if step.event == event)
    assert step.value == area(0) + top


def test_an_interrupt_takes_the_stack_in_use_and_from_user_space_rsp0():
    machine, p, cpu = booted("zen2", seed=2)
    rsp = p.regs["RSP"]
    p.pending.append(("INTR", 0xEC))
    events.arrive(p)
    machine.kernel.leave(cpu)
    machine.kernel.sysret(p)
    p.pending.append(("INTR", 0xEC))
    events.arrive(p)
    tops = [step.value for step in machine.trace if step.event == "INTR"]
    assert tops == [rsp, area(0) + ENTRY_STACK_TOP]


def test_an_nmi_between_syscall_and_swapgs_lives_by_its_own_stack_and_dies_without():
    for ist, outcome in ((True, "fine"), (False, "host_stack")):
        machine, p, cpu = booted("zen2", seed=2)
        machine.kernel.leave(cpu)
        machine.kernel.sysret(p)
        if not ist:
            p.memory.write(p.memory.translate(p.regs["IDTR.base"] + 2 * 16 + 4), 0, 1)
        p.pending.append("NMI")
        p.gif = 0  # it waits for SYSCALL
        cpu.syscall()
        p.gif = 1
        try:
            events.arrive(p)
        except Shutdown:
            assert machine.violation.invariant == outcome
        else:
            assert outcome == "fine"


def test_a_double_fault_that_finds_a_stack_is_said_to_be_one():
    machine, p, _ = booted("zen2", seed=2)
    ist2 = p.memory.translate(p.regs["TR.base"] + 0x24 + 8)
    p.memory.write(ist2, 0x5E9_0000)
    p.pending.append("NMI")
    with pytest.raises(Shutdown):
        events.arrive(p)
    assert machine.violation.symptom.startswith("Double fault. An NMI arrived")


def test_a_mapped_guest_base_is_believed_by_the_sign_test_and_the_host_takes_itself_for_another():
    assert strike("zen2-fsgsbase", "NMI", "kernel", ("GS.base",), mapped=True) == "per_cpu"
    assert strike("zen2", "NMI", "kernel", ("GS.base",), mapped=True) == "fine"


def test_an_oops_on_32_bit_linux_is_no_triple_fault_since_the_handler_loads_fs():
    machine, p, cpu = booted("i386")
    p.regs["FS.base"] = 0x5E9_0000
    with pytest.raises(Shutdown):
        this_cpu_read(cpu, "cpu_number")
    assert machine.violation.symptom.startswith("Oops. #PF(0): the load or store of fs:cpu_number")


def test_on_32_bit_linux_there_is_no_swapgs_and_no_wrgsbase():
    _, p, cpu = booted("i386")
    p.on_fault = None
    for issue in (cpu.swapgs, cpu.rdgsbase, lambda: cpu.wrgsbase(0)):
        with pytest.raises(Fault, match="#UD"):
            issue()


# -- the NMI's CPU number (B02)


@pytest.mark.parametrize("nmi_cpu", ["lsl", "rdpid"])
def test_rdpid_in_the_nmi_s_entry_reads_a_guest_s_tsc_aux(nmi_cpu):
    kind = host("zen3", seed=1, nmi_cpu=nmi_cpu)
    assert run(upstream, exits("user+nmi.0", "user"), kind).violation is None
    violation = run(upstream, exits("kernel+nmi"), kind).violation
    if nmi_cpu == "lsl":
        assert violation is None
    else:
        assert (violation.invariant, violation.register) == ("per_cpu", "TSC_AUX")
        assert "asked RDPID which CPU it is: 0x1000" in violation.symptom


# -- threads


@pytest.mark.parametrize("kind", HOSTS)
def test_a_thread_s_bases_go_with_it_to_another_cpu(kind):
    design = next(d for d in DESIGNS.values() if kind in d.hosts)
    words = ("user", "user", "user@1", "user#1@1", "user@1", "user", "sched", "user#1", "user", "user@1")
    for seed in range(6):
        result = run(design.path, exits(*words), host(kind, seed=seed))
        assert result.violation is None, result.violation.detail
    moved = [step for step in result.trace if step.event == "user code"]
    assert moved or kind == "i386"


def test_a_context_switch_keeps_the_last_thread_s_segments_and_loads_the_next_one_s():
    machine, p, _ = booted("zen2", seed=10)
    first = {name: p.regs[name] for name in ("FS.base", "KernelGSBase", "FS.selector", "LDTR.base")}
    assert first == {name: machine.threads[0].task.registers[name] for name in first}
    p.regs["FS.base"] = 0x1234_5000  # by WRFSBASE, so the kernel has not noticed
    machine._schedule(machine.threads[1], p)
    assert p.regs["FS.base"] == machine.threads[1].task.registers["FS.base"]
    machine._schedule(machine.threads[0], p)
    assert p.regs["FS.base"] == 0x1234_5000


# -- what the kernel around a path carries


def test_debugctl_is_switched_by_hand_or_the_guest_dies_of_the_host_s():
    for switched in (True, False):
        kind = host("zen3", debugctl=4, debugctl_switched=switched)
        violation = run(BEFORE, exits("kernel", "user"), kind).violation
        assert (violation is None) is switched
    assert (violation.invariant, violation.register) == ("guest_state", "DEBUGCTL")


@pytest.mark.parametrize("design", ["vmload_before_stgi", "upstream", "sev_es", "legacy"])
@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_reboot_stops_a_thread_quietly_where_the_exception_table_knows_the_instruction(design, at):
    path = DESIGNS[design].path
    assert run(path, exits("kernel", f"user+reboot.{at}", "user"), host("zen3")).violation is None


@pytest.mark.parametrize("design,instruction", [("vmload_before_stgi.v3", "VMSAVE"), ("lazy", "VMLOAD")])
def test_a_reboot_is_an_oops_where_it_does_not(design, instruction):
    found = {
        run(DESIGNS[design].path, exits("user", f"user+reboot.{at}", "user"), host("zen3")).violation
        for at in range(60)
    } - {None}
    assert {violation.invariant for violation in found} == {"alive"}
    assert any(f"#UD: {instruction} while EFER.SVME is clear" in v.symptom for v in found)


# -- SME


def page_without_the_c_bit(cpu, vcpu):
    save_area = per_cpu(cpu, vcpu.cpu, "save_area")
    BEFORE.vcpu_enter_exit(cpu, vcpu)
    cpu.vmload(save_area - DIRECT_MAP)


def test_with_sme_the_save_page_has_two_addresses_and_both_ends_must_use_the_same():
    kind = host("zen3", sme=True)
    for design in ("legacy", "vmload_before_stgi.v3", "vmload_before_stgi", "upstream"):
        assert run(DESIGNS[design].path, random_exits(1, 15, kind), kind).violation is None
    violation = run(altered(BEFORE, vcpu_enter_exit=page_without_the_c_bit), exits("kernel"), kind).violation
    assert violation is not None
    saved = {
        step.operand & C_BIT for step in run(BEFORE, exits("kernel"), kind).trace if step.event == "VMSAVE"
    }
    assert saved == {C_BIT}


def test_an_sev_es_exit_loads_the_page_by_its_encrypted_address():
    good = DESIGNS["sev_es"].path
    kind = host("sev_es", sme=True)
    assert run(good, exits("kernel", "user", "kernel#1"), kind).violation is None

    def prepare(cpu, vcpu):
        loaded = vcpu.guest_state_loaded
        good.prepare_switch_to_guest(cpu, vcpu)
        if not loaded:
            cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area") - DIRECT_MAP)  # v3's address, as the last one

    broken = altered(good, prepare_switch_to_guest=prepare)
    assert run(broken, exits("kernel"), kind._replace(sme=False)).violation is None
    assert run(broken, exits("kernel"), kind).violation is not None


# -- the stacks


@pytest.mark.parametrize("kind", HOSTS)
def test_all_stacks_lie_where_xen_s_rounding_finds_the_area(kind):
    machine, p, _ = booted(kind)
    start = area(0, 0, machine.memory.direct_map)
    assert start % STACKS_SIZE == 0
    assert start < p.regs["RSP"] <= start + STACKS_SIZE


def test_fred_rsp0_is_written_lazily_and_the_cache_must_be_told():
    path = DESIGNS["fred"].path
    kind = host("fred", seed=1)
    assert run(path, exits("kernel", "user", "user@1", "sched", "user"), kind).violation is None

    def untold(cpu, vcpu):
        cpu.wrmsr(MSR.FRED_RSP0, vcpu.fred_rsp0)
        upstream.vcpu_enter_exit(cpu, vcpu)
        vcpu.fred_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)

    violation = run(altered(path, vcpu_enter_exit=untold), exits("kernel", "user"), kind).violation
    assert (violation.invariant, violation.register) == ("host_state", "FRED_RSP0")
