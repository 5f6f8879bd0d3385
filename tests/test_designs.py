"""Each design on record: right on the hosts it is meant for, and made of what its commit says."""

import functools

import pytest

from machines import altered
from svmlib import costs
from svmlib.data import rows
from svmlib.kvm import exits, load_gs_index, per_cpu, random_exits, run, svm_vcpu_run, this_cpu_read
from svmlib.kvm.hosts import HOSTS, host
from svmlib.kvm.machine import Machine
from svmlib.kvm.percpu import this_cpu_write
from svmlib.kvm.run import typical_exits
from svmlib.kvm.user_return import kvm_set_user_return_msr
from svmlib.kvm.vmenter import TSS_SELECTOR, reload_tss
from svmlib.paths import DESIGNS, PATHS, bhyve, nvmm, sev_es, upstream, vmload_before_stgi, xen_hvm, xen_pv
from svmlib.registers import MSR
from test_paths import left_out

ON = [(design, kind) for design, row in DESIGNS.items() for kind in row.hosts]
#: A walk with every kind of exit, both vCPUs, both CPUs, and all that may arrive while a guest runs.
WALK = exits(
    "kernel", "user", "kernel+nmi", "kernel+mc", "kernel+intr", "sched", "user+nmi", "user@1", "kernel@1",
    "sched#1@1", "kernel+mc#1", "kernel", "kernel#1", "user#1", "user+intr", "kernel#1@1", "kernel@1",
    "user@1",
)  # fmt: skip


def first_violation(path, kind, seeds=range(4), **fields):
    """Return the first violation of `path` on a kind of host, or None."""
    for seed in seeds:
        on = host(kind, seed=seed, **fields)
        for chosen in (WALK, random_exits(seed, 12, on)):
            if violation := run(path, chosen, on).violation:
                return violation
    return None


def events(design, kind, *words, seed=1):
    """Return the events of the path's own steps in the last of the exits `words`."""
    result = run(DESIGNS[design].path, exits(*words), host(kind, seed=seed))
    assert result.violation is None, result.violation.detail
    return [step for step in result.steps(result.exits[-1]) if step.phase]


# -- all of them


@pytest.mark.parametrize("design,kind", ON)
def test_a_design_is_right_on_every_host_it_is_meant_for(design, kind):
    path = DESIGNS[design].path
    violation = first_violation(path, kind, range(6)) or first_violation(path, kind, [1 << 20, 77 << 16 | 5])
    assert violation is None, violation.detail


def test_every_row_of_the_table_is_a_design_and_the_four_of_the_thread_are_among_them():
    assert list(DESIGNS) == [row["design"] for row in rows("designs")]
    assert {name: DESIGNS[name].path for name in PATHS} == PATHS
    assert {kind for row in DESIGNS.values() for kind in row.hosts} == set(HOSTS)
    for row in DESIGNS.values():
        assert row.what
        assert row.hosts
        assert 2014 <= row.year <= 2026


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_has_a_bill_on_its_hosts(design):
    for kind in DESIGNS[design].hosts:
        steps = typical_exits(DESIGNS[design].path, host(kind, seed=1))
        kernel, user = (costs.bill(steps[exit_], costs.prices("epyc-2020")) for exit_ in ("kernel", "user"))
        assert 0 < kernel.nominal < user.nominal
        assert set(kernel.counts) <= {"save", "enter/exit"}
        assert set(user.counts) <= {"save", "enter/exit", "restore"}


# -- an event on every step, and the same on the next exit: each host with the design that it is known for

KNOWN = {"zen1-fsgsbase": "legacy", "zen3+fsgsbase": "upstream", "i386": "vmload_before_stgi",
         "sev_es": "sev_es", "fred": "fred", "xen": "xen_pv", "freebsd": "bhyve",
         "netbsd": "nvmm"}  # fmt: skip


@pytest.mark.parametrize("kind,design", KNOWN.items())
@pytest.mark.parametrize("event", ["nmi", "mc", "intr"])
def test_an_event_may_come_at_any_step_of_two_exits(kind, design, event):
    on = host(kind, seed=3)
    for word in ("kernel", "user", "sched"):
        plain = run(DESIGNS[design].path, exits("user", word), on)
        for at in range(plain.exits[-1].last - plain.exits[-1].first):
            result = run(DESIGNS[design].path, exits("user", f"{word}+{event}.{at}", word), on)
            assert result.violation is None, (word, at, result.violation.detail)


# -- what a commit or mail says, counted on the steps


@pytest.mark.parametrize("design,kind,exit_,event,times", [
    ("vmload_before_stgi.v2", "zen2", "kernel", "VMLOAD", 2),
    ("vmload_before_stgi.v2", "zen2", "kernel", "LTR", 1),
    ("vmload_before_stgi.v3", "zen2", "kernel", "VMLOAD", 2),
    ("lazy.with_wrmsr", "zen2", "kernel", "WRMSR", 1),
    ("lazy.with_wrmsr", "zen2", "kernel", "WRGSBASE", 0), ("lazy", "i386", "kernel", "MOV Sreg,r", 1),
    ("legacy", "i386", "kernel", "WRMSR", 0), ("legacy", "i386", "user", "WRMSR", 4),
    ("legacy", "i386", "user", "MOV Sreg,r", 2), ("legacy", "i386", "kernel", "LTR", 1),
    ("upstream", "zen2", "kernel", "VMLOAD", 2), ("upstream", "zen2", "kernel", "WRMSR", 2),
    ("sev_es", "sev_es", "kernel", "VMLOAD", 0), ("sev_es", "sev_es", "kernel", "VMSAVE", 0),
    ("sev_es", "sev_es", "kernel", "LTR", 0), ("sev_es", "zen3", "kernel", "VMLOAD", 2),
    ("xen_hvm", "xen", "kernel", "VMLOAD", 0), ("xen_hvm", "xen", "kernel", "VMSAVE", 0),
    ("xen_hvm", "xen", "user", "VMLOAD", 1), ("xen_hvm", "xen", "user", "VMSAVE", 1),
    ("bhyve", "freebsd", "kernel", "WRMSR", 1), ("bhyve", "freebsd", "user", "WRMSR", 5),
    ("bhyve", "freebsd", "kernel", "LTR", 1), ("bhyve", "freebsd", "kernel", "LLDT", 1),
    ("bhyve", "freebsd", "kernel", "VMLOAD", 1), ("nvmm", "netbsd", "kernel", "WRMSR", 3),
    ("nvmm", "netbsd", "user", "WRMSR", 7), ("nvmm", "netbsd", "kernel", "RDMSR", 3),
    ("nvmm", "netbsd", "kernel", "VMLOAD", 1), ("fred", "fred", "kernel", "WRMSR", 3),
])  # fmt: skip
def test_a_design_executes_what_it_is_known_for(design, kind, exit_, event, times):
    words = ("user", "kernel", "kernel", exit_)
    assert [step.event for step in events(design, kind, *words)].count(event) == times


# -- v2, v3, v4: where the address of the save page comes from


@pytest.mark.parametrize("design,after", [
    ("vmload_before_stgi.v2", "CLI"), ("vmload_before_stgi.v3", "VMSAVE"), ("vmload_before_stgi", "CLI"),
    ("upstream", "VMSAVE"), ("upstream_6_1", "VMSAVE"),
])  # fmt: skip
def test_the_host_s_vmload_is_in_assembly_or_in_c(design, after):
    inside = [
        step for step in events(design, "zen2", "user", "kernel") if step.event in ("CLI", "VMSAVE", "VMLOAD")
    ]
    at = max(k for k, step in enumerate(inside) if step.event == "VMLOAD")
    assert inside[at - 1].event == after


def test_v2_finds_the_page_in_the_vcpu_after_vmrun_and_v4_has_fetched_it_before():
    def loads(design):
        steps = events(design, "zen2", "user", "kernel")
        at = next(k for k, step in enumerate(steps) if step.event == "VMRUN")
        before = {step.operand for step in steps[:at] if step.event == "MOV r,m"}
        return before, {step.operand for step in steps[at:] if step.event == "MOV r,m"}

    before, after = loads("vmload_before_stgi.v2")
    assert "vcpu.host_save_area" in after
    before, after = loads("vmload_before_stgi")
    assert "per_cpu(save_area, 0)" in before
    assert not [name for name in after if "save_area" in str(name)]


# -- upstream: SPEC_CTRL comes after VMLOAD (B01, B09), TSC_AUX on the way to user space (B15)


def spec_ctrl_too_early(cpu, vcpu):
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    upstream.restore_guest_spec_ctrl(cpu, vcpu)
    svm_vcpu_run(cpu, vcpu)
    upstream.restore_host_spec_ctrl(cpu, vcpu)
    cpu.vmload(save_area_pa)
    reload_tss(cpu, vcpu)


def test_spec_ctrl_out_of_per_cpu_data_before_gs_is_back_is_a_triple_fault():
    violation = run(
        altered(upstream, vcpu_enter_exit=spec_ctrl_too_early), exits("kernel"), host("zen3")
    ).violation
    assert (violation.invariant, violation.register) == ("per_cpu", "GS.base")
    assert "gs:spec_ctrl" in violation.symptom


def test_upstream_writes_spec_ctrl_last_and_the_guest_finds_its_own():
    steps = events("upstream", "zen3", "user", "kernel")
    written = [k for k, step in enumerate(steps) if step.operand == "SPEC_CTRL" and step.event == "WRMSR"]
    assert written[-1] > max(k for k, step in enumerate(steps) if step.event == "VMLOAD")

    def never(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))

    violation = run(altered(upstream, vcpu_enter_exit=never), exits("kernel"), host("zen3")).violation
    assert (violation.invariant, violation.register) == ("guest_state", "SPEC_CTRL")


def test_tsc_aux_stays_the_guest_s_until_that_cpu_goes_to_user_space_whoever_s_thread():
    result = run(upstream, exits("kernel", "kernel#1", "sched#1"), host("zen3"))
    assert result.violation is None
    writes = [step for step in result.trace if step.event == "WRMSR" and step.operand == "TSC_AUX"]
    assert [(step.phase, step.value) for step in writes] == [
        ("prepare_switch_to_guest", 0x1000), ("prepare_switch_to_guest", 0x1001), ("on_user_return", 0),
    ]  # fmt: skip


def test_a_value_that_is_there_already_is_not_written_again():
    result = run(upstream, exits("kernel", "kernel@1", "kernel"), host("zen3"))
    writes = [step.cpu for step in result.trace if step.operand == "TSC_AUX" and step.event == "WRMSR"]
    assert writes == [0, 1]


# -- SEV-ES: what hardware loads must have been stored (B17, B20, B40), and what the register holds (B15, B16)


class Skipping:
    """A cpu on which stores of one register into the save area are left out."""

    def __init__(self, cpu, offset):
        self.cpu, self.offset = cpu, offset
        self._processor = cpu._processor

    def __getattr__(self, name):
        def issue(*operands):
            if name.startswith("store") and operands[0] & 0xFFF == 0x400 + self.offset:
                return None
            return getattr(self.cpu, name)(*operands)

        return issue


TYPE_B = [(name, offset) for name, offset in sev_es._AT.items() if name not in (
    "TSC_AUX", "RCX", "RDX", "RSI", "RDI", *(f"R{n}" for n in range(8, 12)))]  # fmt: skip


@pytest.mark.parametrize("name,offset", TYPE_B)
def test_a_register_of_type_b_that_was_not_stored_comes_back_as_something_else(name, offset):
    def left_away(function):
        return lambda cpu, vcpu: getattr(sev_es, function)(Skipping(cpu, offset), vcpu)

    functions = ("prepare_switch_to_guest", "vcpu_enter_exit")
    path = altered(sev_es, **{function: left_away(function) for function in functions})
    on = host("sev_es", seed=1, debug_swap=True)
    # XSS and DR0 to DR3 are zero in the host, as in a fresh page: the host gives them a value first.
    assert run(sev_es, exits("kernel", "user"), on).violation is None
    found = run(path, exits("kernel", "user"), on).violation
    if name in ("XSS", "DR0", "DR1", "DR2", "DR3"):
        assert found is None
    else:
        assert (found.invariant, found.register) == ("host_state", name)


def test_without_vmsave_before_vmrun_the_exit_loads_whatever_the_page_held():
    def prepare(cpu, vcpu):
        if not vcpu.guest_state_loaded:
            sev_es.sev_es_prepare_switch_to_guest(cpu, vcpu, sev_es.sev_es_host_save_area(cpu, vcpu))
            kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
            vcpu.guest_state_loaded = True

    violation = run(
        altered(sev_es, prepare_switch_to_guest=prepare), exits("kernel"), host("sev_es")
    ).violation
    assert (violation.invariant, violation.register, violation.value) == ("per_cpu", "GS.base", 0)


def hosts_own_tsc_aux(cpu, vcpu):
    """The host's value instead of the register's, as until 2025."""
    loaded = vcpu.guest_state_loaded
    sev_es.prepare_switch_to_guest(cpu, vcpu)
    if not loaded and vcpu.sev_es:
        hostsa = sev_es.sev_es_host_save_area(cpu, vcpu)
        cpu.store(hostsa + sev_es._AT["TSC_AUX"], this_cpu_read(cpu, "user_return_host"), 4)


def cached_for_sev_es_too(cpu, vcpu):
    """The cache is told of a value that hardware swaps, and the exit loads the host's: as until 2023."""
    hosts_own_tsc_aux(cpu, vcpu)
    if vcpu.sev_es:
        this_cpu_write(cpu, "user_return_curr", vcpu.tsc_aux)


def with_one_tsc_aux(path, words):
    """Run two vCPUs with the same TSC_AUX, as those of two virtual machines have."""
    machine = Machine(path, host("sev_es+v_tsc_aux", seed=1))
    first, second = machine.threads
    second.tsc_aux = second.vcpu._fields["tsc_aux"] = first.tsc_aux
    machine.run(exits(*words))
    return machine.violation


def test_a_vcpu_that_is_preempted_by_an_sev_es_one_finds_its_tsc_aux_again():
    on, words = host("sev_es+v_tsc_aux", seed=1), ("kernel#1", "kernel", "kernel#1")
    assert run(sev_es, exits(*words), on).violation is None
    violation = run(altered(sev_es, prepare_switch_to_guest=hosts_own_tsc_aux), exits(*words), on).violation
    assert (violation.invariant, violation.register) == ("guest_state", "TSC_AUX")


def test_the_cache_must_not_believe_in_a_value_that_hardware_swapped_away():
    words = ("kernel", "kernel#1", "user#1")
    assert with_one_tsc_aux(sev_es, words) is None
    violation = with_one_tsc_aux(altered(sev_es, prepare_switch_to_guest=cached_for_sev_es_too), words)
    assert (violation.invariant, violation.register) == ("guest_state", "TSC_AUX")


@pytest.mark.parametrize("design", ["upstream", "legacy", "lazy"])
def test_what_is_made_for_other_guests_does_not_run_sev_es_guests(design):
    assert first_violation(DESIGNS[design].path, "sev_es") is not None


# -- Xen


def test_xen_loads_the_guest_once_and_the_host_only_to_switch_away():
    result = run(xen_hvm, exits(*["kernel"] * 10, "user"), host("xen"))
    moves = [(step.event, step.phase) for step in result.trace if step.event in ("VMLOAD", "VMSAVE")]
    assert moves == [("VMLOAD", "prepare_switch_to_guest"), ("VMSAVE", "prepare_host_switch"),
                     ("VMLOAD", "prepare_host_switch")]  # fmt: skip
    trace = run(xen_hvm, exits("kernel"), host("xen")).trace
    assert trace.state(len(trace) - 1)["GS.base"] in trace.guest["GS.base"]


def with_ist(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)


def test_an_nmi_on_an_interrupt_stack_while_the_guest_s_tr_is_loaded_is_fatal():
    path = altered(xen_hvm, vcpu_load=with_ist)
    assert run(path, exits("kernel", "user"), host("xen")).violation is None
    violation = run(path, exits("kernel+nmi"), host("xen")).violation
    assert (violation.invariant, violation.register) == ("host_stack", "TR.base")
    assert run(xen_hvm, exits("kernel+nmi", "user+nmi"), host("xen")).violation is None


def test_interrupt_stacks_that_do_not_come_back_are_missed_between_syscall_and_the_kernel_s_stack():
    def away(cpu, vcpu):
        xen_hvm.prepare_host_switch(cpu, vcpu)
        xen_hvm.disable_each_ist(cpu)

    on, path = host("xen", seed=1), altered(xen_hvm, prepare_host_switch=away)
    steps = run(path, exits("user"), on).trace
    at = next(k for k, step in enumerate(steps) if step.event == "SYSCALL") + 1
    assert run(xen_hvm, exits(f"user+nmi.{at}"), on).violation is None
    violation = run(path, exits(f"user+nmi.{at}"), on).violation
    assert violation.invariant == "host_stack"


def test_a_vcpu_that_begins_as_if_it_had_run_stores_somebody_else_s_state():
    def load(cpu, vcpu):
        xen_hvm.vcpu_load(cpu, vcpu)
        if not hasattr(vcpu, "vmcb_sync_state"):
            vcpu.vmcb_sync_state = xen_hvm.NEEDS_VMSAVE

    violation = run(altered(xen_hvm, vcpu_load=load), exits("kernel"), host("xen")).violation
    assert violation.invariant == "guest_state"


@pytest.mark.parametrize("path", [xen_hvm, xen_pv])
def test_a_host_vmcb_of_before_star_was_programmed_brings_zeros_back(path):
    violation = run(path, exits("user"), host("xen", bugs=("B24",))).violation
    assert (violation.invariant, violation.register, violation.value) == ("host_state", "STAR", 0)


def test_one_vmload_takes_the_place_of_four_instructions_where_the_selectors_are_null():
    for seed in range(40):
        on = host("xen", seed=seed)
        put = {}
        for path in (xen_hvm, xen_pv):
            trace = run(path, exits("user"), on).trace
            put[path] = [step.event for step in trace if step.phase == "prepare_host_switch"]
        if put[xen_pv].count("VMLOAD") == 2:
            assert put[xen_hvm].count("WRMSR") - put[xen_pv].count("WRMSR") == 3
            assert (put[xen_hvm].count("LLDT"), put[xen_pv].count("LLDT")) == (1, 0)
            break
    else:
        pytest.fail("no thread of these hosts has null selectors")


def test_xen_survives_a_guest_s_gs_at_stgi_and_linux_does_not():
    on = {"xen": host("xen"), "linux": host("zen3-fsgsbase")}
    assert run(xen_hvm, exits("kernel+nmi+intr", "user"), on["xen"]).violation is None
    path = altered(vmload_before_stgi, vcpu_enter_exit=svm_vcpu_run)
    assert run(path, exits("kernel"), on["linux"]).violation.invariant == "per_cpu"


# -- bhyve and NVMM


def launch_without(*missing):
    def enter(cpu, vcpu):
        ldt = cpu.sldt()
        pcpu = per_cpu(cpu, vcpu.cpu, "save_area") - 0xA000
        cpu.vmload(vcpu.vmcb_pa)
        cpu.vmrun(vcpu.vmcb_pa)
        cpu.vmsave(vcpu.vmcb_pa)
        if "gs" not in missing:
            cpu.wrmsr(MSR.GS_BASE, pcpu)
        if "tr" not in missing:
            bhyve.restore_host_tss(cpu)
        if "ldt" not in missing:
            cpu.lldt(ldt)

    return altered(bhyve, vcpu_enter_exit=enter)


@pytest.mark.parametrize("missing,invariant,register", [
    ("gs", "per_cpu", "GS.base"), ("ldt", "host_state", "LDTR.selector"), ("tr", "host_stack", "TR.base"),
])  # fmt: skip
def test_bhyve_needs_each_of_its_three(missing, invariant, register):
    assert first_violation(launch_without(), "freebsd") is None
    violation = run(launch_without(missing), exits("user+nmi"), host("freebsd", seed=1)).violation
    assert (violation.invariant, violation.register) == (invariant, register)


def test_reloading_a_selector_restores_32_bits_of_a_base_and_so_no_gs_base():
    def enter(cpu, vcpu):
        gs = cpu.mov_from_sreg("GS")
        svm_vcpu_run(cpu, vcpu)
        cpu.mov_to_sreg("GS", gs)

    violation = run(altered(bhyve, vcpu_enter_exit=enter), exits("kernel"), host("freebsd", seed=1)).violation
    assert (violation.invariant, violation.register) == ("per_cpu", "GS.base")


def test_freebsd_s_kernel_puts_fs_and_the_user_s_gs_base_back_itself():
    result = run(bhyve, exits("user", "user"), host("freebsd", seed=1))
    assert result.violation is None
    put = [step for step in result.trace if step.phase == "prepare_host_switch"]
    assert {step.operand for step in put if step.event == "WRMSR"} == {"LSTAR", "CSTAR", "STAR", "SFMASK"}
    kernel = [step.operand for step in result.trace if step.event == "WRMSR" and not step.phase]
    assert kernel.count("FS_BASE") == kernel.count("KERNEL_GS_BASE") == 2


def test_nvmm_finds_its_gdt_through_gs_and_so_restores_gs_first():
    def enter(cpu, vcpu):
        tr, bases = cpu.str(), [cpu.rdmsr(msr) for msr in (MSR.KERNEL_GS_BASE, MSR.GS_BASE, MSR.FS_BASE)]
        svm_vcpu_run(cpu, vcpu)
        nvmm.restore_tr(cpu, tr)
        for msr in (MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE):
            cpu.wrmsr(msr, bases.pop())

    violation = run(altered(nvmm, vcpu_enter_exit=enter), exits("kernel"), host("netbsd", seed=1)).violation
    assert (violation.invariant, violation.register) == ("per_cpu", "GS.base")
    assert "gs:tss_desc" in violation.symptom


def test_a_machine_check_on_netbsd_survives_a_guest_s_tr_and_an_nmi_does_not():
    def without_tr(cpu, vcpu):
        tr = cpu.str()
        nvmm.vcpu_enter_exit(cpu, vcpu)
        cpu._processor.regs["TR.base"] = 0x5E9_0000
        assert tr == TSS_SELECTOR

    path = altered(nvmm, vcpu_enter_exit=without_tr)
    assert run(path, exits("kernel+mc"), host("netbsd")).violation is None
    assert run(path, exits("kernel+nmi"), host("netbsd")).violation.invariant == "host_stack"


# -- 32-bit Linux


def test_on_32_bit_linux_it_is_fs_that_has_to_be_back_before_stgi():
    for design in ("legacy", "lazy", "hybrid"):
        path = altered(DESIGNS[design].path, vcpu_enter_exit=svm_vcpu_run)
        violation = run(path, exits("kernel"), host("i386", seed=1)).violation
        assert (violation.invariant, violation.register) == ("per_cpu", "FS.base")
        assert violation.symptom.startswith("Oops.")


def test_a_64_bit_way_back_is_no_way_on_32_bit_linux():
    def put(cpu, vcpu):
        load_gs_index(cpu, vcpu.host_gs)

    violation = run(
        altered(DESIGNS["legacy"].path, prepare_host_switch=put), exits("user"), host("i386")
    ).violation
    assert "#UD: SWAPGS outside 64-bit mode" in violation.symptom


# -- every instruction left out, of the designs beyond Linux's common ones

OTHERS = {"sev_es": "sev_es+v_tsc_aux", "fred": "fred", "xen_hvm": "xen", "xen_pv": "xen", "bhyve": "freebsd",
          "nvmm": "netbsd"}  # fmt: skip
FUNCTIONS = (
    "vcpu_load",
    "prepare_switch_to_guest",
    "vcpu_enter_exit",
    "prepare_host_switch",
    "on_user_return",
)
#: Instructions whose loss no run notices, and why: (design, function, instruction).
SLOWER = "saved or written once more: right, only slower"
NOT_SWAPPED = "without DebugSwap no exit loads it"
IS_ZERO = "the host's is zero, as what is read where nothing was"
NULL = "FS and GS of NetBSD's threads are null already, and null is what comes back"
UNNOTICED = {
    ("sev_es", "prepare_switch_to_guest", "load vcpu.guest_state_loaded"): SLOWER,
    ("sev_es", "prepare_switch_to_guest", "store vcpu.guest_state_loaded"): SLOWER,
    ("sev_es", "prepare_switch_to_guest", "rdmsr XSS"): IS_ZERO,
    ("sev_es", "prepare_switch_to_guest", "mov_from_dr"): NOT_SWAPPED,
    **{("sev_es", "prepare_switch_to_guest", f"rdmsr DR{n}_ADDR_MASK"): NOT_SWAPPED for n in range(4)},
    ("sev_es", "prepare_switch_to_guest", "store"): f"of XSS: {IS_ZERO}; of debug registers: {NOT_SWAPPED}",
    ("sev_es", "on_user_return", "store_gs"): f"user_return_registered: {SLOWER}",
    ("fred", "prepare_switch_to_guest", "load vcpu.guest_state_loaded"): SLOWER,
    ("fred", "prepare_switch_to_guest", "store vcpu.guest_state_loaded"): SLOWER,
    ("fred", "prepare_switch_to_guest", "load_gs"): f"user_return_curr and user_return_registered: {SLOWER}",
    ("fred", "vcpu_enter_exit", "load_gs"): f"spec_ctrl: {IS_ZERO}",
    ("fred", "vcpu_enter_exit", "ltr"): "VMLOAD has brought TR back (B08)",
    ("fred", "vcpu_enter_exit", "store vcpu.fred_rsp0"): "the guest here never changes its FRED_RSP0",
    ("fred", "vcpu_enter_exit", "load vcpu.fred_rsp0"): "the cache holds zero then, not the host's either",
    ("fred", "on_user_return", "store_gs"): f"user_return_registered: {SLOWER}",
    **{(f"xen_{kind}", "vcpu_load", "mov_to_sreg"): "the model's #VMEXIT reads no descriptors (B25)"
       for kind in ("hvm", "pv")},
    **{(f"xen_{kind}", "vcpu_load", "store"): "#DF's stack: no delivery faults" for kind in ("hvm", "pv")},
    **{(f"xen_{kind}", "prepare_host_switch", "store"): "missed only between SYSCALL and the kernel's stack"
       for kind in ("hvm", "pv")},
    ("nvmm", "vcpu_enter_exit", "mov_to_sreg"): NULL,
    ("nvmm", "vcpu_enter_exit", "mov_from_sreg"): NULL,
}  # fmt: skip


@functools.cache
def lengths(design):
    """Return, for each function of a design, how many instructions its longest call has."""
    from test_paths import Without

    path, longest = DESIGNS[design].path, {}
    for name in FUNCTIONS:
        if hasattr(path, name):

            def counted(cpu, vcpu, name=name):
                without = Without(cpu, vcpu, -2)
                getattr(path, name)(without.cpu, without.vcpu)
                longest[name] = max(longest.get(name, 0), without.count + 1)

            run(altered(path, **{name: counted}), WALK, host(OTHERS[design], seed=0))
    return longest


@functools.cache
def unnoticed(design, name):
    """Return the instructions of a design's function without which it is right all the same."""
    found = []
    for place in range(lengths(design)[name]):
        path, noted = left_out(DESIGNS[design].path, name, place)
        try:
            broken = first_violation(path, OTHERS[design], range(2)) is not None
        except (
            TypeError,
            ValueError,
            AttributeError,
            KeyError,
        ):  # its own code stumbles over what is missing
            broken = True
        if not broken:
            found.append(" or ".join(sorted(noted - {None})))
    return found


@pytest.mark.parametrize("design,name", [
    (design, name) for design in OTHERS for name in FUNCTIONS if hasattr(DESIGNS[design].path, name)
])  # fmt: skip
def test_a_design_without_one_of_its_instructions_is_broken_or_the_reason_is_known(design, name):
    known = [what for where, function, what in UNNOTICED if (where, function) == (design, name)]
    assert sorted(set(unnoticed(design, name))) == sorted(known)
