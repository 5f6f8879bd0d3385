"""The host kernel: what it notices of a path's mistakes; its per-CPU data, NMIs, and vCPU fields."""

import contextlib

import pytest

from machines import altered
from svmlib.faults import Fault
from svmlib.instructions import Cpu
from svmlib.kvm import (
    INVARIANTS,
    Exit,
    Host,
    PathError,
    Vcpu,
    cpu_kernelmode_gs_base,
    exits,
    load_gs_index,
    per_cpu,
    random_exits,
    reload_tss,
    run,
    static_cpu_has,
    svm_vcpu_run,
    this_cpu_read,
)  # fmt: skip
from svmlib.kvm.guest import REACH, STATES, states
from svmlib.kvm.machine import COMPARED, Machine
from svmlib.kvm.percpu import NMI_STACK_TOP, area
from svmlib.kvm.run import typical_exits
from svmlib.memory import DIRECT_MAP
from svmlib.paths import PATHS, lazy, legacy, vmload_before_stgi
from svmlib.registers import MSR, REGISTERS, carried_by
from svmlib.vmcb import Vmcb

BEFORE = vmload_before_stgi.since_2023
HOSTS = [Host(seed, fsgsbase=bool(seed & 1), null_clears_base=bool(seed & 2)) for seed in range(4)]


def events(result):
    return [step.event for step in result.trace]


# -- exits in words


@pytest.mark.parametrize("word,expected", [
    ("kernel", Exit("kernel")), ("user", Exit("user")), ("kernel+nmi", Exit("kernel", nmi=True)),
    ("user@1", Exit("user", cpu=1)), ("kernel#1", Exit("kernel", vcpu=1)),
    ("user+nmi@1#1", Exit("user", nmi=True, cpu=1, vcpu=1)), ("user#1@1+nmi", Exit("user", True, 1, 1)),
    ("sched+mc", Exit("sched", arrivals=(("#MC", None),))),
    ("user+smi.41+intr+nmi.7@1", Exit("user", cpu=1, arrivals=(("INTR", None), ("NMI", 7), ("SMI", 41)))),
])  # fmt: skip
def test_an_exit_is_read_from_a_word_and_written_as_one(word, expected):
    assert exits(word) == [expected]
    assert exits(str(expected)) == [expected]


@pytest.mark.parametrize(
    "word",
    ["", "halt", "kernel+init", "kernel+mc.", "kernel@", "kernel@x", "@1", "+nmi", "user@-1", "user@²"],
)
def test_a_word_that_is_no_exit_is_named_with_what_to_write(word):
    with pytest.raises(ValueError, match="write kernel or user, then \\+nmi, @CPU, #vCPU") as error:
        exits("kernel", word)
    assert repr(word) in str(error.value)


@pytest.mark.parametrize("word", ["kernel@2", "user#2", "kernel@7#1"])
def test_an_exit_on_a_cpu_or_vcpu_that_is_not_there_is_named(word):
    with pytest.raises(ValueError, match=f"exit {word}: the host has CPUs 0 to 1 and vCPUs 0 to 1"):
        run(lazy, exits(word))


def test_words_that_were_not_read_are_no_exits():
    with pytest.raises(TypeError, match="'kernel' is no exit; write exits"):
        run(lazy, ["kernel"])


def test_random_exits_are_the_seed_s_and_hold_every_kind():
    assert random_exits(4, 50) == random_exits(4, 50) != random_exits(5, 50)
    chosen = random_exits(0, 400)
    assert {(e.kind, e.nmi, e.cpu, e.vcpu) for e in chosen} == {
        (kind, nmi, n, v)
        for kind in ("kernel", "user")
        for nmi in (False, True)
        for n in (0, 1)
        for v in (0, 1)
    }


# -- what a path is


@pytest.mark.parametrize("name", ["prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch"])
def test_a_path_without_one_of_its_functions_is_named(name):
    with pytest.raises(PathError, match=rf"the path altered has no function {name}\(cpu, vcpu\); a path is"):
        run(altered(lazy, **{name: None}), exits("kernel"))


@pytest.mark.parametrize("name", ["vcpu_load", "vcpu_enter_exit"])
def test_what_is_no_function_is_named_too(name):
    with pytest.raises(PathError, match=f"the path altered has int instead of a function {name}"):
        run(altered(lazy, **{name: 3}), exits("kernel"))


def test_nothing_and_a_class_of_functions():
    with pytest.raises(PathError, match="the path NoneType has no function prepare_switch_to_guest"):
        run(None, exits("kernel"))

    class Lazy:
        prepare_switch_to_guest = staticmethod(lazy.prepare_switch_to_guest)
        vcpu_enter_exit = staticmethod(lazy.vcpu_enter_exit)
        prepare_host_switch = staticmethod(lazy.prepare_host_switch)

    assert run(Lazy, exits("kernel", "user")).violation is None


def test_an_exception_of_the_path_s_own_comes_out_as_it_is():
    def vcpu_load(cpu, vcpu):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(altered(lazy, vcpu_load=vcpu_load), exits("kernel"))


# -- the run loop


def test_an_exit_handled_in_the_kernel_enters_again_without_saving_again():
    result = run(lazy, exits("kernel", "kernel", "user"))
    saves = [step.phase for step in result.trace if step.event == "VMSAVE"]
    assert saves == ["prepare_switch_to_guest", *["vcpu_enter_exit"] * 3]
    assert [step.phase for step in result.trace if step.event == "VMLOAD"][-1] == "prepare_host_switch"
    assert events(result).count("SYSRET") == 1


def test_vcpu_load_runs_once_per_period_and_prepare_on_every_entry():
    calls = []

    def noted(name):
        def call(cpu, vcpu):
            calls.append(name)
            getattr(legacy, name)(cpu, vcpu)

        return call

    names = ("vcpu_load", "prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch")
    path = altered(legacy, **{name: noted(name) for name in names})
    assert run(path, exits("kernel", "user", "kernel@1", "kernel#1@1")).violation is None
    load, prepare, enter, put = names
    assert calls == [
        load,
        prepare,
        enter,
        prepare,
        enter,
        put,
        load,
        prepare,
        enter,
        put,
        load,
        prepare,
        enter,
    ]


def test_a_vcpu_found_on_another_cpu_is_put_there_first():
    result = run(lazy, exits("kernel", "kernel@1"))
    put = [step.cpu for step in result.trace if step.phase == "prepare_host_switch"]
    saves = [
        step.cpu
        for step in result.trace
        if step.phase == "prepare_switch_to_guest" and step.event == "VMSAVE"
    ]
    assert set(put) == {0}
    assert saves == [0, 1]


def test_two_vcpus_take_turns_on_one_cpu_and_both_keep_their_guests():
    result = run(lazy, exits(*["kernel", "kernel#1"] * 5, "user", "user#1"))
    assert result.violation is None
    assert events(result).count("switch_to") == 12


def test_an_exit_s_record_spans_its_steps_and_the_records_span_the_trace():
    result = run(lazy, exits("kernel", "user+nmi@1", "kernel#1"))
    assert [(r.kind, r.nmi, r.cpu, r.vcpu) for r in result.exits] == [
        ("kernel", False, 0, 0), ("user", True, 1, 0), ("kernel", False, 0, 1),
    ]  # fmt: skip
    assert [r.first for r in result.exits] == [0, *[r.last for r in result.exits[:-1]]]
    assert result.exits[-1].last == len(result.trace)
    assert result.steps(result.exits[1]) == result.trace[result.exits[1].first : result.exits[1].last]


def test_a_step_of_the_path_carries_the_function_s_name_and_the_kernel_s_none():
    result = run(legacy, exits("user+nmi"))
    by_event = {}
    for step in result.trace:
        by_event.setdefault(step.event, set()).add(step.phase)
    assert by_event["VMRUN"] == {"vcpu_enter_exit"}
    assert by_event["SLDT"] == {"vcpu_load"}
    assert by_event["LLDT"] == {"prepare_host_switch"}
    for kernel in (
        "guest",
        "registers in",
        "registers out",
        "NMI",
        "IRET",
        "switch_to",
        "CLGI",
        "STGI",
        "SYSRET",
    ):
        assert by_event[kernel] == {""}, kernel


def test_user_code_moves_its_bases_between_periods_so_that_an_old_save_is_stale():
    result = run(lazy, exits(*["user"] * 4))
    assert events(result).count("user code") == 2

    def once(cpu, vcpu):
        if not vcpu.guest_state_loaded:
            lazy.prepare_switch_to_guest(cpu, vcpu)

    def put(cpu, vcpu):
        lazy.prepare_host_switch(cpu, vcpu)
        vcpu.guest_state_loaded = True  # never saved again

    violation = run(
        altered(lazy, prepare_switch_to_guest=once, prepare_host_switch=put), exits(*["user"] * 4)
    ).violation
    assert (violation.invariant, violation.register) == ("host_state", "FS.base")
    assert violation.owner == "what the host had earlier"


def test_a_save_page_of_the_cpu_it_left_is_found_after_a_migration():
    def put(cpu, vcpu):
        lazy.prepare_host_switch(cpu, vcpu)
        vcpu.guest_state_loaded = True

    path = altered(lazy, prepare_host_switch=put)
    assert run(path, exits("kernel", "kernel")).violation is None
    assert run(path, exits("kernel", "kernel@1", "user@1")).violation is not None


def test_a_typical_exit_is_one_period_s_share():
    kinds = typical_exits(BEFORE)
    kernel = [step.event for step in kinds["kernel"] if step.phase]
    assert kernel == [
        "MOV r,m",
        *["MOV r,m"] * 4,
        "STI",
        "VMLOAD",
        "VMRUN",
        "#VMEXIT",
        "VMSAVE",
        "CLI",
        "VMLOAD",
    ]
    assert [step.event for step in kinds["user"] if step.phase].count("VMSAVE") == 2
    with pytest.raises(ValueError, match="this path has no typical exit"):
        typical_exits(altered(lazy, vcpu_enter_exit=svm_vcpu_run))


# -- what is compared: every register, not only those that user space can read


@pytest.mark.parametrize("name", COMPARED)
def test_no_register_may_differ_when_the_vcpu_is_put(name):
    host = Host(10)  # its first thread has an LDT, and segments in FS and GS

    def put(cpu, vcpu):
        BEFORE.prepare_host_switch(cpu, vcpu)
        cpu._processor.regs[name] ^= 0x80 if name.endswith("attrib") else 2

    path = altered(BEFORE, prepare_host_switch=put)
    assert run(BEFORE, exits("user"), host).violation is None
    violation = run(path, exits("user"), host).violation
    assert (violation.invariant, violation.register) == ("host_state", name)
    assert violation.value == violation.expected ^ (0x80 if name.endswith("attrib") else 2)
    assert violation.carrier == REGISTERS[name].carrier
    assert violation.symptom


def test_what_is_compared_is_all_that_vmrun_does_not_carry():
    assert set(COMPARED) == set(carried_by("VMSAVE")) | set(carried_by("software"))


def test_the_limit_behind_a_null_selector_may_stay_the_guest_s_on_an_older_cpu():
    host = Host(0, null_clears_base=False)
    assert any(
        run(legacy, random_exits(seed, 10), host._replace(seed=seed)).trace.state(-1)["FS.limit"] == 0
        for seed in range(3)
    )
    for seed in range(20):
        assert run(legacy, random_exits(seed, 10), host._replace(seed=seed)).violation is None


@pytest.mark.parametrize("name", REACH)
def test_a_guest_notices_any_register_that_is_not_as_it_left_it(name):
    flip = {"EFER": 1, "CR0": 2, "CR4": 0x80, "DR7": 2, "CPL": 1, "PAT": 1}.get(name, 4)

    def enter(cpu, vcpu):
        p, vmcb = cpu._processor, vcpu.vmcb_pa
        cpu.vmload(vmcb)
        if REGISTERS[name].carrier == "VMRUN":
            Vmcb(p.memory, vmcb)[name] ^= flip
        else:
            p.regs[name] ^= flip
        cpu.vmrun(vmcb)

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
    assert (violation.invariant, violation.register) == ("guest_state", name)
    assert violation.value == violation.expected ^ flip


def test_a_guest_notices_a_tsc_aux_that_is_not_its_own():
    def enter(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)

    path = altered(BEFORE, vcpu_enter_exit=enter)
    assert run(path, exits("user", "user")).violation is None
    violation = run(path, exits("kernel", "kernel")).violation
    assert (violation.invariant, violation.register) == ("guest_state", "TSC_AUX")


def test_the_guest_overwrites_every_register_it_can_reach():
    assert set(REACH) == set(carried_by("VMRUN")) | set(carried_by("VMSAVE")) | set(
        carried_by("software")
    ) - {"TSC_AUX"}
    seen = {
        name: {state[at] for seed in range(5) for state in states(seed, 0)} for at, name in enumerate(REACH)
    }
    fixed = {"CPL", "EFER", "CS.attrib", "TR.attrib", "LDTR.attrib"}
    assert {name for name, values in seen.items() if len(values) == 1} == fixed


def test_the_guest_s_state_is_the_host_s_in_no_register_that_a_path_restores():
    for seed in range(10):
        machine = Machine(BEFORE, Host(seed))
        for p in machine.processors:
            for name in (
                "GS.base",
                "TR.base",
                "LSTAR",
                "STAR",
                "KernelGSBase",
                "FS.base",
                "SYSENTER_EIP",
                "TSC_AUX",
            ):
                assert p.regs[name] not in machine.trace.guest[name], name


def test_guest_gs_bases_are_in_turn_not_mapped_and_mapped():
    for seed in range(10):
        bases = [state[REACH.index("GS.base")] for state in states(seed, 0)]
        assert len(bases) == STATES
        assert [base >= DIRECT_MAP for base in bases] == [False, True] * (STATES // 2)


def test_a_guest_that_no_interrupt_can_end_is_a_host_that_hangs():
    def enter(cpu, vcpu):
        page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
        cpu.vmload(vcpu.vmcb_pa)
        cpu.vmrun(vcpu.vmcb_pa)
        cpu.vmsave(vcpu.vmcb_pa)
        cpu.vmload(page)

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
    assert (violation.invariant, "STI is missing" in violation.symptom) == ("window", True)


def test_vmload_of_the_host_before_vmsave_of_the_guest_loses_the_guest():
    def enter(cpu, vcpu):
        page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
        vmcb = vcpu.vmcb_pa
        cpu.sti()
        cpu.vmload(vmcb)
        cpu.vmrun(vmcb)
        cpu.vmload(page)
        cpu.vmsave(vmcb)
        cpu.cli()

    for last in ("kernel", "user"):
        violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel", last)).violation
        assert violation.invariant == "guest_state"
    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("user")).violation
    assert violation.invariant == "guest_state"
    assert violation.register in carried_by("VMSAVE")


# -- GS: unmapped is a triple fault, mapped is somebody else's data


def restored_only_first(cpu, vcpu):
    """Put GS.base back after the first exit alone: the second guest's base is one that is mapped."""
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    vcpu.entries = vcpu.entries + 1
    if vcpu.entries == 1:
        cpu.wrmsr(MSR.GS_BASE, base)


def counted(cpu, vcpu):
    vcpu.entries = 0


@pytest.mark.parametrize("host", HOSTS)
def test_per_cpu_data_through_a_guest_s_base_that_is_not_mapped_is_a_triple_fault(host):
    result = run(altered(lazy, vcpu_enter_exit=svm_vcpu_run), exits("kernel"), host)
    violation = result.violation
    assert (violation.invariant, violation.register, violation.owner) == ("per_cpu", "GS.base", "guest")
    assert violation.expected == area(0)
    assert violation.symptom.startswith("Triple fault. #PF(0): ")
    assert events(result)[-2:] == ["#PF", "shutdown"]


@pytest.mark.parametrize("host", HOSTS)
def test_per_cpu_data_through_a_guest_s_base_that_is_mapped_is_noticed_as_wrong(host):
    path = altered(lazy, vcpu_load=counted, vcpu_enter_exit=restored_only_first)
    result = run(path, exits("kernel", "kernel"), host)
    violation = result.violation
    assert (violation.invariant, violation.register, violation.owner) == ("per_cpu", "GS.base", "guest")
    assert "The kernel on CPU 0 took itself for CPU" in violation.symptom
    assert "shutdown" not in events(result)


def test_a_path_that_uses_per_cpu_data_after_vmrun_dies_there():
    def enter(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        cpu.vmload(this_cpu_read(cpu, "save_area_pa"))

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
    assert violation.invariant == "per_cpu"
    assert "gs:save_area_pa" in violation.symptom


def test_a_path_that_catches_the_shutdown_does_not_revive_the_machine():
    def enter(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        with contextlib.suppress(Exception):
            this_cpu_read(cpu, "cpu_number")

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
    assert violation.invariant == "per_cpu"


def test_a_fault_with_the_guest_s_gs_is_fatal_and_one_with_the_host_s_is_only_unexpected():
    def early(cpu, vcpu):
        cpu.wrmsr(MSR.GS_BASE, 1 << 63)

    def late(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        cpu.wrmsr(MSR.GS_BASE, 1 << 63)

    violation = run(altered(lazy, prepare_switch_to_guest=early), exits("kernel")).violation
    assert violation.invariant == "alive"
    assert "The kernel died of an unexpected #GP(0): WRMSR GS_BASE" in violation.symptom
    violation = run(altered(lazy, vcpu_enter_exit=late), exits("kernel")).violation
    assert violation.invariant == "per_cpu"


def test_a_fault_with_a_guest_s_gs_that_is_mapped_is_no_triple_fault_but_the_end_all_the_same():
    def late(cpu, vcpu):
        restored_only_first(cpu, vcpu)
        if vcpu.entries == 2:
            cpu.wrmsr(MSR.GS_BASE, 1 << 63)

    result = run(altered(lazy, vcpu_load=counted, vcpu_enter_exit=late), exits("kernel", "kernel"))
    assert (result.violation.invariant, result.violation.owner) == ("per_cpu", "guest")
    assert "Triple fault" not in result.violation.symptom
    assert "whatever lies there it takes for its own" in result.violation.symptom
    assert events(result)[-2:] == ["#GP", "shutdown"]


def test_a_fault_the_path_expects_is_no_violation():
    def early(cpu, vcpu):
        lazy.prepare_switch_to_guest(cpu, vcpu)
        with pytest.raises(Fault):
            cpu.rdmsr(0x10)

    assert run(altered(lazy, prepare_switch_to_guest=early), exits("kernel", "user")).violation is None


# -- NMI


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("host", HOSTS)
def test_an_nmi_of_the_window_comes_right_after_stgi_on_this_cpu_s_stack(name, host):
    for n in (0, 1):
        result = run(PATHS[name], exits(f"kernel+nmi@{n}", f"user+nmi@{n}"), host)
        assert result.violation is None
        at = [k for k, step in enumerate(result.trace) if step.event == "NMI"]
        assert len(at) == 2
        for k in at:
            assert result.trace[k - 1].event == "STGI"
            assert result.trace[k].value == area(n) + NMI_STACK_TOP
            entry = [step.event for step in result.trace[k : k + 8]]
            assert ("WRGSBASE" in entry[:5]) is host.fsgsbase
            assert ("RDMSR" in entry[:5]) is not host.fsgsbase


@pytest.mark.parametrize("host", HOSTS)
def test_an_nmi_with_the_guest_s_tr_finds_no_stack_of_this_cpu(host):
    path = altered(lazy, vcpu_enter_exit=without_tr)
    assert run(path, exits("kernel"), host).violation is None
    violation = run(path, exits("kernel+nmi"), host).violation
    assert (violation.invariant, violation.register, violation.owner) == ("host_stack", "TR.base", "guest")


def without_tr(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)


def test_an_nmi_on_another_stack_that_is_mapped_is_noticed():
    def enter(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        p = cpu._processor
        p.memory.write(p.regs["TR.base"] - DIRECT_MAP + 0x24 + 8, area(1) + NMI_STACK_TOP)

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel+nmi")).violation
    assert violation.invariant == "host_stack"
    assert "not this CPU's" in violation.symptom


def without_gs(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)


def test_paranoid_entry_survives_a_guest_s_gs_only_with_fsgsbase():
    path = altered(lazy, vcpu_enter_exit=without_gs)
    for seed in range(5):
        with_it = run(path, exits("kernel+nmi"), Host(seed, fsgsbase=True))
        assert "IRET" in events(with_it)  # the handler ran; the kernel itself dies next
        assert with_it.violation.invariant == "per_cpu"
        assert "NMI" not in with_it.violation.symptom
        without = run(path, exits("kernel+nmi"), Host(seed, fsgsbase=False))
        assert "IRET" not in events(without)
        assert without.violation.invariant == "per_cpu"
        assert without.violation.symptom.startswith(
            "An NMI arrived at STGI, and its handler died. Triple fault."
        )


def test_paranoid_entry_without_fsgsbase_believes_the_sign_of_a_mapped_base():
    path = altered(lazy, vcpu_load=counted, vcpu_enter_exit=restored_only_first)
    result = run(path, exits("kernel", "kernel+nmi"), Host(0, fsgsbase=False))
    assert result.violation.invariant == "per_cpu"
    assert "its handler on CPU 0 took itself for CPU" in result.violation.symptom
    nmi = events(result).index("NMI")
    assert events(result)[nmi + 1 : nmi + 3] == ["RDMSR", "MOV r,m"]  # no SWAPGS


def test_an_nmi_with_a_guest_s_base_of_user_mode_swaps_in_the_guest_s_kernelgsbase():
    result = run(altered(lazy, vcpu_enter_exit=without_gs), exits("kernel+nmi"), Host(0, fsgsbase=False))
    nmi = events(result).index("NMI")
    assert events(result)[nmi + 1 : nmi + 3] == ["RDMSR", "SWAPGS"]


@pytest.mark.parametrize("host", HOSTS)
def test_after_the_nmi_gs_and_stack_are_as_they_were(host):
    result = run(lazy, exits("kernel+nmi"), host)
    k = events(result).index("NMI")
    back = events(result).index("IRET")
    before, after = result.trace.state(k - 1), result.trace.state(back)
    assert {name: after[name] for name in after if after[name] != before[name]} == {}


@pytest.mark.parametrize("name", ["nmi", "mc", "intr", "smi"])
@pytest.mark.parametrize("host", HOSTS)
def test_an_event_that_comes_at_any_step_of_any_exit_harms_no_correct_path(name, host):
    for at in range(0, 75, 2):
        assert run(lazy, exits("kernel", f"user+{name}.{at}", "user@1"), host).violation is None


def test_an_event_comes_after_so_many_steps_or_as_soon_as_gif_lets_it():
    runs = [run(lazy, exits("kernel", f"kernel+nmi.{at}"), Host()) for at in range(20)]
    steps = [[step.event for step in result.steps(result.exits[1])] for result in runs]
    came = [events.index("NMI") for events in steps]
    clgi, vmrun = steps[0].index("CLGI") - steps[0].index("IRET") - 1, steps[0].index("VMRUN")
    assert came[0] == 0  # before the first instruction
    assert all(steps[at][came[at] - 1] == "STGI" for at in range(clgi + 1, 20))
    assert vmrun > clgi


def test_an_event_that_waits_at_vmrun_ends_the_guest_s_run_before_it_begins():
    result = run(lazy, exits("kernel+nmi.5", "kernel", "user"))
    assert result.violation is None
    ours = result.steps(result.exits[0])
    assert [step.value for step in ours if step.event == "#VMEXIT"] in ([0x61], [0x72])
    waiting = [run(lazy, exits(f"kernel+nmi.{at}")) for at in range(40)]
    ended = [w for w in waiting if "guest" not in events(w)]
    assert ended
    for w in ended:
        assert w.violation is None
        assert [step.value for step in w.trace if step.event == "#VMEXIT"] == [0x61]
        assert events(w).index("NMI") == events(w).index("STGI") + 1


def test_a_time_slice_s_end_puts_the_vcpu_and_another_thread_uses_the_cpu():
    result = run(lazy, exits("kernel", "sched", "user"))
    assert result.violation is None
    assert events(result).count("switch_to") == 3
    phases = [step.phase for step in result.steps(result.exits[1])]
    assert "prepare_host_switch" in phases


# -- the window


def test_the_guest_runs_once_per_entry():
    def twice(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        BEFORE.vcpu_enter_exit(cpu, vcpu)

    for enter, why in ((lambda cpu, vcpu: None, "never ran"), (twice, "ran 2 times")):
        violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
        assert violation.invariant == "window"
        assert f"The guest {why} between CLGI and STGI" in violation.symptom


def test_an_illegal_vmcb_is_a_guest_that_never_ran():
    def enter(cpu, vcpu):
        cpu.vmrun(per_cpu(cpu, vcpu.cpu, "save_area_pa"))

    result = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel"))
    assert result.violation.invariant == "window"
    assert [step.value for step in result.trace if step.event == "#VMEXIT"] == [(1 << 64) - 1]


@pytest.mark.parametrize("name", ["vcpu_load", "prepare_switch_to_guest", "prepare_host_switch"])
def test_a_vmrun_outside_the_window_is_found(name):
    def astray(cpu, vcpu):
        cpu.vmrun(vcpu.vmcb_pa)

    violation = run(altered(BEFORE, **{name: astray}), exits("user")).violation
    assert violation.invariant == "window"
    assert "outside vcpu_enter_exit" in violation.symptom


def test_a_path_that_catches_everything_goes_no_further_than_its_mistake():
    def astray(cpu, vcpu):
        with contextlib.suppress(Exception):
            cpu.vmrun(vcpu.vmcb_pa)

    result = run(altered(BEFORE, vcpu_load=astray), exits("user"))
    assert result.violation.invariant == "window"
    assert result.violation.step == len(result.trace) - 1


def test_interrupts_are_off_at_stgi():
    def enter(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        cpu.sti()

    violation = run(altered(BEFORE, vcpu_enter_exit=enter), exits("kernel")).violation
    assert (violation.invariant, violation.register) == ("window", "RFLAGS")


@pytest.mark.parametrize("name", ["vcpu_load", "prepare_switch_to_guest", "prepare_host_switch"])
def test_gif_and_if_are_as_the_kernel_needs_them_after_each_function(name):
    for change in ("cli", "clgi"):

        def off(cpu, vcpu, change=change):
            getattr(legacy, name)(cpu, vcpu)
            getattr(cpu, change)()

        violation = run(altered(legacy, **{name: off}), exits("user")).violation
        assert violation.invariant == "flags"
        assert name in violation.symptom


@pytest.mark.parametrize(
    "name", ["vcpu_load", "prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch"]
)
def test_a_function_that_does_not_end_is_ended_and_named(name):
    def endless(cpu, vcpu):
        while True:
            cpu.str()

    result = run(altered(legacy, **{name: endless}), exits("user"))
    assert result.violation.invariant == "window"
    assert f"The machine hung: {name} had executed 20000 instructions" in result.violation.symptom


# -- violations


def test_a_violation_says_the_symptom_and_its_detail_the_rest():
    def put(cpu, vcpu):
        vcpu.guest_state_loaded = False

    violation = run(altered(BEFORE, prepare_host_switch=put), exits("user"), Host(1)).violation
    assert str(violation) == violation.symptom == "RDTSCP in user space names a CPU the thread is not on."
    assert f"Rule host_state: {INVARIANTS['host_state']}" in violation.detail
    assert "TSC_AUX of CPU 0 holds 0x1000 (the guest's); it had to be 0x0" in violation.detail
    assert "No SVM instruction moves this register; software has to." in violation.detail
    assert f"Last step: {violation.step}." in violation.detail
    assert violation.step < len(run(altered(BEFORE, prepare_host_switch=put), exits("user"), Host(1)).trace)


def test_a_violation_names_another_cpu_as_owner():
    def put(cpu, vcpu):
        BEFORE.prepare_host_switch(cpu, vcpu)
        cpu.vmload(area(1) - DIRECT_MAP + 0xA000)

    violation = run(altered(BEFORE, prepare_host_switch=put), exits("kernel@1", "kernel", "user")).violation
    assert (violation.register, violation.owner) == ("GS.base", "CPU 1's")


def test_a_run_ends_at_the_first_violation():
    result = run(altered(lazy, vcpu_enter_exit=svm_vcpu_run), exits("kernel", "kernel", "user"))
    assert len(result.exits) == 1


# -- the kernel's own functions


def booted(n=0, **options):
    machine = Machine(lazy, Host(**options))
    p = machine.processors[n]
    return Cpu(p), p, machine


@pytest.mark.parametrize("n", [0, 1])
def test_each_cpu_boots_with_its_own_area_tss_and_number(n):
    c, p, _ = booted(n)
    assert p.regs["GS.base"] == area(n)
    assert [this_cpu_read(c, name) for name in ("cpu_number", "save_area_pa")] == [
        n,
        area(n) - DIRECT_MAP + 0xA000,
    ]
    assert p.regs["TSC_AUX"] == n
    assert p.regs["TR.base"] == area(n) + 0x4000
    assert p.memory.read(p.regs["TR.base"] + 0x24 + 8 - DIRECT_MAP) == area(n) + NMI_STACK_TOP


def test_a_boot_with_a_secret_seed_puts_the_areas_where_no_path_can_know_them():
    assert {area(0, seed) for seed in range(0, 1 << 16, 999)} == {area(0)}
    places = {area(0, seed << 16) for seed in range(256)}
    assert len(places) == 128
    for seed in (1 << 16, 77 << 16, 127 << 16 | 5):
        c, p, _ = booted(1, seed=seed)
        assert cpu_kernelmode_gs_base(c, 1) == p.regs["GS.base"] == area(1, seed) != area(1)
        for path in (*PATHS.values(), BEFORE):
            assert run(path, random_exits(seed, 10), Host(seed)).violation is None


def test_per_cpu_finds_any_cpu_s_data_whatever_gs_holds_and_this_cpu_read_does_not():
    c, p, _ = booted()
    assert per_cpu(c, 1, "cpu_number") == 1
    assert cpu_kernelmode_gs_base(c, 1) == area(1)
    c.wrmsr(MSR.GS_BASE, area(1))
    assert this_cpu_read(c, "cpu_number") == 1
    c.wrmsr(MSR.GS_BASE, 0x1000)
    assert per_cpu(c, 0, "cpu_number") == 0
    p.on_fault = None
    with pytest.raises(Fault, match=r"gs:cpu_number: nothing is mapped"):
        this_cpu_read(c, "cpu_number")


def test_an_unknown_per_cpu_field_is_named():
    c, _, _ = booted()
    for read in (lambda: this_cpu_read(c, "rsp0"), lambda: per_cpu(c, 0, "rsp0")):
        with pytest.raises(KeyError, match="no per-CPU field 'rsp0'; there are current_task, cpu_number"):
            read()


def test_reload_tss_makes_the_descriptor_available_and_loads_tr():
    c, p, machine = booted()
    vcpu = machine.threads[0].vcpu
    host = {name: value for name, value in p.regs.items() if name.startswith("TR.")}
    p.regs["TR.base"] = 0x1234
    reload_tss(c, vcpu)
    assert {name: p.regs[name] for name in host} == host
    assert [step.event for step in p.trace][-2:] == ["MOV m,r", "LTR"]
    reload_tss(c, vcpu)


def test_load_gs_index_keeps_the_kernel_s_base_and_overwrites_the_user_s():
    c, p, _ = booted()
    p.regs["KernelGSBase"] = 0x7F00_0000_0000
    load_gs_index(c, 0x63)
    assert (p.regs["GS.selector"], p.regs["GS.base"], p.regs["KernelGSBase"]) == (0x63, area(0), 0x0008_1000)
    load_gs_index(c, 0)
    assert (p.regs["GS.base"], p.regs["KernelGSBase"]) == (area(0), 0)


def test_svm_vcpu_run_is_the_assembly_of_2020():
    result = run(altered(BEFORE, vcpu_enter_exit=svm_vcpu_run), exits("kernel"))
    inside = [step.event for step in result.trace if step.phase == "vcpu_enter_exit"]
    assert inside == ["MOV r,m", "STI", "VMLOAD", "VMRUN", "#VMEXIT", "VMSAVE", "CLI"]
    seen = next(step for step in result.trace if step.event == "VMRUN")
    assert (
        dict(zip(seen.names, seen.old, strict=True))["RFLAGS"] & 1 << 9
    )  # interrupts can end the guest's run


@pytest.mark.parametrize("fsgsbase", [True, False])
def test_static_cpu_has_costs_no_instruction(fsgsbase):
    _, p, machine = booted(fsgsbase=fsgsbase)
    assert static_cpu_has(machine.threads[0].vcpu, "FSGSBASE") is fsgsbase
    assert static_cpu_has(machine.threads[0].vcpu, "FRED") is False
    assert len(p.trace) == 0
    assert bool(p.regs["CR4"] & 1 << 16) is fsgsbase


# -- vCPU fields


def vcpu():
    _, p, _ = booted()
    return Vcpu(p, vmcb_pa=0x1000, cpu=0, guest_state_loaded=False), p


@pytest.mark.parametrize("value,times", [
    (7, 1), (1 << 64, 2), (True, 1), (None, 1), ("legacy", 1), (b"x" * 17, 3), ([1, 2, 3], 3), ((), 1),
    ({1: 2, 3: [4, 5]}, 3),
])  # fmt: skip
def test_a_field_is_stored_and_loaded_and_each_word_is_one_access(value, times):
    v, p = vcpu()
    v.saved = value
    found = v.saved
    assert found == (tuple(value) if isinstance(value, list) else found)
    assert [(step.event, step.operand, step.times) for step in p.trace] == [
        ("MOV m,r", "vcpu.saved", times), ("MOV r,m", "vcpu.saved", times),
    ]  # fmt: skip


def test_what_comes_back_is_read_only_and_no_longer_the_path_s():
    v, _ = vcpu()
    mine = [1, 2]
    v.msrs, v.by_name = mine, {"a": [1]}
    mine.append(3)
    assert v.msrs == (1, 2)
    with pytest.raises(TypeError):
        v.by_name["a"] = 2
    assert v.by_name["a"] == (1,)


class Sly(int):
    """A number that carries something along."""


@pytest.mark.parametrize(
    "value", [1.5, len, {1}, object(), [object()], {"a": {2}}, {len: 1}, Sly(1), [Sly(1)], bytearray(1)]
)
def test_a_field_holds_plain_data_only(value):
    v, p = vcpu()
    with pytest.raises(
        TypeError, match="a vcpu field holds numbers, text, bytes, None, lists and dicts of these, not"
    ):
        v.saved = value
    assert len(p.trace) == 0
    with pytest.raises(AttributeError):
        _ = v.saved


def test_an_unknown_field_is_named_with_those_there_are_and_what_to_do():
    v, _ = vcpu()
    with pytest.raises(
        AttributeError, match="no field 'host_gs' yet; it has vmcb_pa, cpu, guest_state_loaded"
    ):
        _ = v.host_gs
    assert repr(v) == "Vcpu(vmcb_pa=4096, cpu=0, guest_state_loaded=False)"


def test_a_vcpu_s_fields_are_accessed_on_the_cpu_it_is_loaded_on():
    result = run(lazy, exits("kernel", "kernel@1", "user@1"))
    for record in result.exits:
        ours = [
            s.cpu
            for s in result.steps(record)
            if str(s.operand).startswith("vcpu.") and s.phase != "prepare_host_switch"
        ]
        assert set(ours) == {record.cpu}


def test_each_rule_has_a_name_and_one_sentence():
    assert set(INVARIANTS) >= {
        "per_cpu", "host_stack", "host_state", "guest_state", "window", "flags", "alive",
    }  # fmt: skip
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in INVARIANTS.values())
