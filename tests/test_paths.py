"""The paths on record are right; each classic mistake, and each instruction left out, breaks its rule."""

import functools

import pytest

from machines import altered
from svmlib.kvm import (
    Host,
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
from svmlib.kvm.machine import FUNCTIONS
from svmlib.paths import PATHS, hybrid, lazy, legacy, vmload_before_stgi
from svmlib.registers import MSR

since_2023 = vmload_before_stgi.since_2023
ALL = {**PATHS, "since_2023": since_2023}
KINDS = [(fsgsbase, clears) for fsgsbase in (True, False) for clears in (True, False)]


def first_violation(path, seeds=range(6), n=12):
    """Run `path` on hosts of every kind, with fixed exits first; return the first violation or None."""
    fixed = exits(
        "kernel+nmi", "kernel", "user", "user@1", "kernel+nmi@1", "kernel#1@1", "user+nmi#1", "user", "user"
    )
    for seed in seeds:
        for fsgsbase, clears in KINDS:
            host = Host(seed, fsgsbase=fsgsbase, null_clears_base=clears)
            for chosen in (fixed, random_exits(seed, n, host)):
                if violation := run(path, chosen, host).violation:
                    return violation
    return None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("fsgsbase,clears", KINDS)
@pytest.mark.parametrize("seeds", [range(40), range(1 << 20, (1 << 20) + 40)])
def test_a_path_on_record_is_right(name, fsgsbase, clears, seeds):
    for seed in seeds:
        host = Host(seed, fsgsbase=fsgsbase, null_clears_base=clears)
        violation = run(ALL[name], random_exits(seed, 15, host), host).violation
        assert violation is None, (seed, violation and violation.detail)


@pytest.mark.parametrize("name", ALL)
def test_a_path_on_record_is_right_on_more_and_fewer_cpus(name):
    for cpus, vcpus in ((1, 1), (1, 3), (4, 2)):
        for seed in range(5):
            host = Host(seed, cpus=cpus, vcpus=vcpus)
            assert run(ALL[name], random_exits(seed, 30, host), host).violation is None


def instructions(path, kind, fsgsbase=True):
    result = run(path, exits("user", "kernel", "kernel", kind), Host(3, fsgsbase=fsgsbase))
    return [step for step in result.steps(result.exits[-1]) if step.phase]


# What a commit or mail says of each design, counted on the steps (semantics.md §6, §8).
@pytest.mark.parametrize("name,kind,event,times", [
    ("legacy", "kernel", "WRMSR", 1), ("legacy", "kernel", "VMLOAD", 1), ("legacy", "user", "WRMSR", 12),
    ("legacy", "kernel", "LTR", 1), ("hybrid", "kernel", "WRMSR", 1), ("hybrid", "kernel", "VMLOAD", 1),
    ("hybrid", "user", "VMLOAD", 2), ("hybrid", "kernel", "LTR", 1),
    ("vmload_before_stgi", "kernel", "VMLOAD", 2), ("vmload_before_stgi", "kernel", "WRMSR", 0),
    ("vmload_before_stgi", "kernel", "LTR", 1), ("since_2023", "kernel", "LTR", 0),
    ("since_2023", "kernel", "VMLOAD", 2), ("vmload_before_stgi", "user", "VMLOAD", 2),
    ("lazy", "kernel", "WRGSBASE", 1), ("lazy", "kernel", "WRMSR", 0), ("lazy", "kernel", "VMLOAD", 1),
    ("lazy", "user", "VMLOAD", 2), ("lazy", "kernel", "LTR", 1),
])  # fmt: skip
def test_a_path_executes_what_its_design_is_known_for(name, kind, event, times):
    assert [step.event for step in instructions(ALL[name], kind)].count(event) == times


def test_lazy_writes_the_msr_where_the_kernel_does_not_use_fsgsbase():
    assert [s.event for s in instructions(lazy, "kernel", fsgsbase=False)].count("WRGSBASE") == 0
    assert [s.operand for s in instructions(lazy, "kernel", fsgsbase=False) if s.event == "WRMSR"] == [
        "GS_BASE"
    ]


def test_legacy_saves_eleven_msrs_when_the_vcpu_is_loaded():
    result = run(legacy, exits("kernel"), Host(0))
    load = [step.event for step in result.trace if step.phase == "vcpu_load"]
    assert load.count("RDMSR") == 11
    assert (load.count("MOV r,Sreg"), load.count("SLDT")) == (2, 1)


# -- the classic mistakes


def forgetting(number):
    """Legacy without one of its MSRs."""

    def load(cpu, vcpu):
        legacy.vcpu_load(cpu, vcpu)
        vcpu.kept = [value for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True)
                     if msr != number]  # fmt: skip

    def put(cpu, vcpu):
        cpu.lldt(vcpu.host_ldt)
        cpu.mov_to_sreg("FS", vcpu.host_fs)
        load_gs_index(cpu, vcpu.host_gs)
        kept = [msr for msr in legacy.HOST_SAVE_USER_MSRS if msr != number]
        for msr, value in zip(kept, vcpu.kept, strict=True):
            cpu.wrmsr(msr, value)

    return altered(legacy, vcpu_load=load, prepare_host_switch=put)


LEFT = {
    MSR.STAR: "STAR", MSR.LSTAR: "LSTAR", MSR.CSTAR: "CSTAR", MSR.SFMASK: "SFMASK", MSR.FS_BASE: "FS.base",
    MSR.KERNEL_GS_BASE: "KernelGSBase", MSR.SYSENTER_CS: "SYSENTER_CS", MSR.SYSENTER_ESP: "SYSENTER_ESP",
    MSR.SYSENTER_EIP: "SYSENTER_EIP", MSR.TSC_AUX: "TSC_AUX",
}  # fmt: skip


@pytest.mark.parametrize("number,register", LEFT.items())
def test_a_register_forgotten_is_the_guest_s_in_user_space(number, register):
    violation = first_violation(forgetting(number))
    assert (violation.invariant, violation.register) == ("host_state", register)
    assert set(LEFT) == set(legacy.HOST_SAVE_USER_MSRS)


def put_legacy(*order):
    """Legacy's way back in another order: of "ldt", "fs", "gs" and "msrs"."""

    def put(cpu, vcpu):
        steps = {
            "ldt": lambda: cpu.lldt(vcpu.host_ldt),
            "fs": lambda: cpu.mov_to_sreg("FS", vcpu.host_fs),
            "gs": lambda: load_gs_index(cpu, vcpu.host_gs),
            "msrs": lambda: [cpu.wrmsr(m, v) for m, v in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs,
                                                              strict=True)],
        }  # fmt: skip
        for step in order:
            steps[step]()

    return altered(legacy, prepare_host_switch=put)


def gs_base_put(cpu, vcpu):
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    legacy.prepare_host_switch(cpu, vcpu)


def only_tr(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)


def gs_base_of_the_guest(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, cpu.rdmsr(MSR.GS_BASE))
    reload_tss(cpu, vcpu)


def lazy_without_tr(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(base)
    else:
        cpu.wrmsr(MSR.GS_BASE, base)


def wrgsbase_always(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(base)
    reload_tss(cpu, vcpu)


def tr_through_gs_too_early(cpu, vcpu):
    """reload_tss() finds the GDT without GS, but not when it is written with this_cpu_read (B28)."""
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.store(this_cpu_read(cpu, "tss_desc") + 5, 0x89, 1)
    cpu.ltr(0x40)
    cpu.wrmsr(MSR.GS_BASE, base)


def page_of_cpu_0(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, 0, "save_area_pa"))
        vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
        vcpu.guest_state_loaded = True


def load_other_page(cpu, vcpu):
    page = per_cpu(cpu, 0, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(page)


def page_found_after_the_guest(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(this_cpu_read(cpu, "save_area_pa"))


def host_before_guest(cpu, vcpu):
    page, vmcb = per_cpu(cpu, vcpu.cpu, "save_area_pa"), vcpu.vmcb_pa
    cpu.sti()
    cpu.vmload(vmcb)
    cpu.vmrun(vmcb)
    cpu.vmload(page)
    cpu.vmsave(vmcb)
    cpu.cli()


def host_into_the_vmcb(cpu, vcpu):
    page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(vcpu.vmcb_pa)
    assert page


def without_cli(cpu, vcpu):
    page, vmcb = per_cpu(cpu, vcpu.cpu, "save_area_pa"), vcpu.vmcb_pa
    cpu.sti()
    cpu.vmload(vmcb)
    cpu.vmrun(vmcb)
    cpu.vmsave(vmcb)
    cpu.vmload(page)


def late_put(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vmload_before_stgi.prepare_host_switch(cpu, vcpu)


def put_without_tsc_aux(cpu, vcpu):
    vcpu.guest_state_loaded = False


def put_without_flag(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


def tsc_aux_on_every_exit(cpu, vcpu):
    since_2023.vcpu_enter_exit(cpu, vcpu)
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


def tsc_aux_read_late(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, cpu.rdmsr(MSR.TSC_AUX))
    vcpu.guest_state_loaded = False


def gs_base_after_stgi(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    cpu.stgi()
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)


def tr_after_stgi(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    cpu.stgi()
    reload_tss(cpu, vcpu)


MISTAKES = {
    "GS base restored when put":
        (altered(legacy, vcpu_enter_exit=only_tr, prepare_host_switch=gs_base_put), "per_cpu", "GS.base"),
    "GS base never restored":
        (altered(hybrid, vcpu_enter_exit=only_tr), "per_cpu", "GS.base"),
    "GS base from the guest":
        (altered(legacy, vcpu_enter_exit=gs_base_of_the_guest), "per_cpu", "GS.base"),
    "GS base after STGI":
        (altered(legacy, vcpu_enter_exit=gs_base_after_stgi), "per_cpu", "GS.base"),
    "TR after STGI":
        (altered(legacy, vcpu_enter_exit=tr_after_stgi), "host_stack", "TR.base"),
    "TR forgotten in lazy":
        (altered(lazy, vcpu_enter_exit=lazy_without_tr), "host_stack", "TR.base"),
    "TR forgotten in legacy":
        (altered(legacy, vcpu_enter_exit=lazy_without_tr), "host_stack", "TR.base"),
    "WRGSBASE without FSGSBASE":
        (altered(lazy, vcpu_enter_exit=wrgsbase_always), "per_cpu", "GS.base"),
    "TR through GS too early":
        (altered(lazy, vcpu_enter_exit=tr_through_gs_too_early), "per_cpu", "GS.base"),
    "CPU 0's save page on every CPU":
        (altered(since_2023, vcpu_enter_exit=load_other_page), "per_cpu", "GS.base"),
    "saved into CPU 0's page":
        (altered(since_2023, prepare_switch_to_guest=page_of_cpu_0), "per_cpu", "GS.base"),
    "save page found after the guest":
        (altered(since_2023, vcpu_enter_exit=page_found_after_the_guest), "per_cpu", "GS.base"),
    "VMLOAD of the host before VMSAVE of the guest":
        (altered(since_2023, vcpu_enter_exit=host_before_guest), "guest_state", None),
    "VMLOAD of the VMCB instead":
        (altered(since_2023, vcpu_enter_exit=host_into_the_vmcb), "host_stack", "TR.base"),
    "VMLOAD only on put":
        (altered(since_2023, vcpu_enter_exit=svm_vcpu_run, prepare_host_switch=late_put), "host_stack", None),
    "CLI forgotten":
        (altered(since_2023, vcpu_enter_exit=without_cli), "window", "RFLAGS"),
    "TSC_AUX forgotten":
        (altered(since_2023, prepare_host_switch=put_without_tsc_aux), "host_state", "TSC_AUX"),
    "TSC_AUX read too late":
        (altered(since_2023, prepare_host_switch=tsc_aux_read_late), "host_state", "TSC_AUX"),
    "TSC_AUX restored on every exit":
        (altered(since_2023, vcpu_enter_exit=tsc_aux_on_every_exit), "guest_state", "TSC_AUX"),
    "the flag never cleared":
        (altered(since_2023, prepare_host_switch=put_without_flag), None, None),
    "LDT after the selectors":
        (put_legacy("fs", "gs", "ldt", "msrs"), None, None),
    "MSRs before FS":
        (put_legacy("ldt", "msrs", "fs", "gs"), "host_state", "FS.base"),
    "MSRs before GS":
        (put_legacy("ldt", "fs", "msrs", "gs"), "host_state", "KernelGSBase"),
    "LDT forgotten":
        (put_legacy("fs", "gs", "msrs"), None, None),
    "FS forgotten":
        (put_legacy("ldt", "gs", "msrs"), "host_state", "FS.selector"),
    "GS forgotten":
        (put_legacy("ldt", "fs", "msrs"), "host_state", "GS.selector"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_classic_mistake_breaks_the_rule_it_should(mistake):
    path, invariant, register = MISTAKES[mistake]
    violation = first_violation(path)
    assert violation is not None
    if invariant:
        assert violation.invariant == invariant, violation.detail
    if register:
        assert violation.register == register, violation.detail


def test_a_selector_into_the_ldt_loaded_before_the_ldt_is_fatal():
    found = {
        run(put_legacy("fs", "gs", "ldt", "msrs"), random_exits(seed, 10), Host(seed)).violation
        for seed in range(40)
    } - {None}
    assert {violation.invariant for violation in found} <= {"alive", "per_cpu"}
    assert any("nothing is mapped" in violation.symptom for violation in found)


def test_with_fsgsbase_the_nmi_survives_what_kills_it_without():
    path = MISTAKES["WRGSBASE without FSGSBASE"][0]
    assert run(path, exits("kernel+nmi", "user"), Host(1, fsgsbase=True)).violation is None
    assert "#UD" in run(path, exits("kernel"), Host(1, fsgsbase=False)).violation.symptom


def test_restored_twice_is_right_only_slower():
    def twice(cpu, vcpu):
        vmload_before_stgi.vcpu_enter_exit(cpu, vcpu)
        cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        reload_tss(cpu, vcpu)

    assert first_violation(altered(vmload_before_stgi, vcpu_enter_exit=twice)) is None


# -- every instruction left out


class Without:
    """The cpu and the vcpu of a path's function, of whose instructions one, counted from 0, is left out."""

    def __init__(self, cpu, vcpu, gone):
        self.gone, self.count, self.what = gone, -1, None
        object.__setattr__(self, "cpu", _Cpu(cpu, self))
        object.__setattr__(self, "vcpu", _Vcpu(vcpu, self))

    def leaves_out(self, what):
        self.count += 1
        if self.count == self.gone:
            self.what = what
        return self.count == self.gone


class _Cpu:
    def __init__(self, cpu, without):
        self._cpu, self._without = cpu, without

    def __getattr__(self, name):
        if name == "_processor":  # the kernel's accessors ask which kernel it is
            return self._cpu._processor

        def issue(*operands):
            named = next((n for n, number in vars(MSR).items() if operands and number == operands[0]), "")
            if self._without.leaves_out(f"{name} {named}".strip()):
                return 0
            return getattr(self._cpu, name)(*operands)

        return issue


class _Vcpu:
    def __init__(self, vcpu, without):
        object.__setattr__(self, "_vcpu", vcpu)
        object.__setattr__(self, "_without", without)

    def __getattr__(self, name):
        if name == "_fields":
            return self._vcpu._fields
        value = getattr(self._vcpu, name)
        if self._without.leaves_out(f"load vcpu.{name}"):
            return type(value)() if isinstance(value, (int, tuple)) else 0
        return value

    def __setattr__(self, name, value):
        if not self._without.leaves_out(f"store vcpu.{name}"):
            setattr(self._vcpu, name, value)
        elif name not in self._vcpu._fields:
            self._vcpu._fields[name] = () if isinstance(value, (list, tuple)) else 0


def left_out(path, name, gone):
    """Return `path` without instruction `gone` of function `name`, and the set in which that is noted."""
    noted = set()

    def function(cpu, vcpu):
        without = Without(cpu, vcpu, gone)
        try:
            getattr(path, name)(without.cpu, without.vcpu)
        finally:
            noted.add(without.what)

    return altered(path, **{name: function}), noted


@functools.cache
def deletions():
    """Every (path, function, place): as many places as the longest call of the function has instructions."""
    found = []
    for label, path in ALL.items():
        for name in FUNCTIONS:
            if hasattr(path, name):
                longest = 0

                def counted(cpu, vcpu, path=path, name=name):
                    nonlocal longest
                    without = Without(cpu, vcpu, -2)
                    getattr(path, name)(without.cpu, without.vcpu)
                    longest = max(longest, without.count + 1)

                run(altered(path, **{name: counted}), exits("kernel", "kernel", "user"), Host(0))
                found += [(label, name, place) for place in range(longest)]
    return found


# Instructions whose loss no run notices, and why.
TWICE = "load_gs_index overwrites KernelGSBase next, and the list of MSRs writes it at last"
UNNOTICED = {
    ("legacy", "prepare_host_switch", "load"): TWICE,
    ("legacy", "prepare_host_switch", "wrmsr KERNEL_GS_BASE"): TWICE,
    ("legacy", "prepare_host_switch", "cli"): "no interrupt comes here; the explorer lets one come",
    ("vmload_before_stgi", "vcpu_enter_exit", "ltr"): "VMLOAD has brought TR back (B08)",
}


def is_broken(label, name, place):
    """Say what instruction that is, and whether a path without it breaks a rule or stops itself."""
    path, noted = left_out(ALL[label], name, place)
    try:
        broken = first_violation(path, seeds=range(4)) is not None
    except (TypeError, ValueError):  # its own code stumbles over what was not loaded
        broken = True
    (what,) = noted - {None}
    return what, broken


@pytest.mark.parametrize(
    "label,name", [(label, f) for label, path in ALL.items() for f in FUNCTIONS if hasattr(path, f)]
)
def test_a_path_without_one_of_its_instructions_is_broken_or_the_reason_is_known(label, name):
    places = [place for where, function, place in deletions() if (where, function) == (label, name)]
    done = [is_broken(label, name, place) for place in places]
    unnoticed = [what for what, broken in done if not broken]
    assert unnoticed == [what for where, function, what in UNNOTICED if (where, function) == (label, name)]


def test_that_many_instructions_were_left_out():
    assert len(deletions()) > 100
