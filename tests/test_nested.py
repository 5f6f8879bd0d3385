"""Guests that run guests: one VMCB or two, who executes VMLOAD and VMSAVE, and the question of the thread."""

import pytest

from machines import altered
from svmlib.kvm import exits, run
from svmlib.kvm.hosts import host
from svmlib.kvm.svm_ops import vmload
from svmlib.memory import DIRECT_MAP
from svmlib.paths import DESIGNS, hybrid, legacy
from svmlib.registers import REGISTERS

WORDS = (
    "kernel", "nested", "kernel", "vmsave", "vmload", "user", "nested", "kernel", "vmsave", "vmload",
    "nested", "escape", "user@1", "nested@1", "escape@1", "kernel#1", "nested", "user", "nested#1",
    "sched", "user#1",
)  # fmt: skip
#: The designs that know of vmcb01, and those of before: VMLOAD and VMSAVE on the VMCB that VMRUN gets.
SINCE_2021 = ("upstream", "upstream_6_1", "sev_es")
BEFORE = ("legacy", "hybrid", "vmload_before_stgi.v2", "vmload_before_stgi", "lazy")
SEEDS = range(4)


def violation(design, *words, seeds=SEEDS, **fields):
    """Return the first violation of a design on a nested host, or None."""
    for seed in seeds:
        kind = host("zen3", seed=seed, **fields)
        if found := run(DESIGNS[design].path, exits(*(words or WORDS)), kind).violation:
            return found
    return None


@pytest.mark.parametrize("design", BEFORE + SINCE_2021)
@pytest.mark.parametrize("virtual_vmload", [False, True])
def test_with_l1_s_half_kept_aside_every_design_runs_nested_guests(design, virtual_vmload):
    assert violation(design, nested="hsave", virtual_vmload=virtual_vmload) is None


@pytest.mark.parametrize("design", SINCE_2021)
@pytest.mark.parametrize("virtual_vmload", [False, True])
def test_with_two_vmcbs_vmsave_s_set_is_always_in_the_first(design, virtual_vmload):
    assert violation(design, nested="vmcb02", virtual_vmload=virtual_vmload) is None


@pytest.mark.parametrize("design", BEFORE)
def test_a_design_that_moves_it_with_the_second_loses_what_l1_and_l2_share(design):
    found = violation(design, "kernel", "nested", "kernel", nested="vmcb02")
    assert found.invariant == "guest_state"
    assert REGISTERS[found.register].carrier == "VMSAVE"


def test_l1_and_l2_take_turns_with_one_half_and_share_the_other():
    kind = host("zen3", seed=1, nested="vmcb02")
    trace = run(DESIGNS["upstream"].path, exits("kernel", "nested", "kernel", "nested", "kernel"), kind).trace
    ran = [step.operand for step in trace if step.event == "VMRUN"]
    moved = {step.operand for step in trace if step.event == "VMLOAD" and step.phase == "vcpu_enter_exit"}
    assert ran[0] == ran[1] == ran[4]
    assert ran[2] == ran[3] == ran[0] + 0x10_0000
    assert len(moved) == 2  # vmcb01 and the host's page
    assert ran[0] in moved
    assert ran[2] not in moved
    assert [step.event for step in trace if step.event.startswith("nested")] == [
        "nested VMRUN",
        "nested #VMEXIT",
    ]


# -- the thread's own question: are the copies of GS in the vCPU needed for nested guests?


def without_copies(cpu, vcpu):
    """Put the host back out of its page, after poisoning whatever copy there is in the vCPU."""
    save_area_pa = vcpu.save_area_pa
    if hasattr(vcpu, "host_gs_base"):
        vcpu.host_gs_base = 0x5E9_0000
    DESIGNS["vmload_before_stgi.since_2023"].path.vcpu_enter_exit(cpu, vcpu)
    vmload(cpu, save_area_pa)


def saved(cpu, vcpu):
    hybrid.vcpu_load(cpu, vcpu)
    vcpu.save_area_pa = vcpu.host_save_area_pa


@pytest.mark.parametrize(
    "words", [WORDS, ("nested", "user", "nested+nmi", "nested@1", "user#1", "nested+nmi")]
)
def test_the_copied_gs_fields_are_not_needed_for_nested_guests(words):
    """No.  Going to L2 and back exchanges guests, and the host's page stays.

    A design without copies is right; one whose copies are poisoned is, as long as it does not read them; and
    with nested guests it is right exactly where it is without.
    """
    for seed in SEEDS:
        kind = host("zen3", seed=seed, nested="hsave")
        for design in (
            "vmload_before_stgi",
            "vmload_before_stgi.since_2023",
            "lazy",
            "upstream",
            "hybrid",
            "legacy",
        ):
            assert run(DESIGNS[design].path, exits(*words), kind).violation is None, design
        path = altered(hybrid, vcpu_load=saved, vcpu_enter_exit=without_copies)
        assert run(path, exits(*words), kind).violation is None
        plain = exits(
            *(word.replace("nested", "kernel") for word in words if not word.startswith(("vm", "esc")))
        )
        assert run(path, plain, kind._replace(nested="")).violation is None


def test_the_host_s_page_is_not_touched_by_anything_nested():
    kind = host("zen3", seed=3, nested="vmcb02", virtual_vmload=True)
    result = run(DESIGNS["upstream"].path, exits(*WORDS), kind)
    save_areas = {
        step.operand for step in result.trace if step.event == "VMSAVE" and step.phase.startswith("prep")
    }
    for step in result.trace:
        for pa, _, _ in step.memory:
            assert pa & ~0xFFF not in save_areas or step.phase == "prepare_switch_to_guest"


# -- CVE-2021-3656


@pytest.mark.parametrize("design", SINCE_2021)
@pytest.mark.parametrize("virtual_vmload", [False, True])
def test_l2_s_vmsave_without_interception_writes_into_the_host(design, virtual_vmload):
    broken = {"nested": "vmcb02", "virtual_vmload": virtual_vmload, "bugs": ("B10",)}
    found = violation(design, "nested", "escape", **broken)
    assert found.invariant == "isolation"
    assert "CVE-2021-3656" in found.symptom
    assert violation(design, "nested", "escape", **broken | {"bugs": ()}) is None


def test_l1_s_is_kept_in_its_own_memory_by_the_intercept_or_by_the_nested_tables():
    for virtual in (False, True):
        kind = host("zen3", seed=1, nested="vmcb02", virtual_vmload=virtual)
        result = run(DESIGNS["upstream"].path, exits("escape"), kind)
        assert result.violation is None
        exit_ = next(step for step in result.trace if step.event == "#VMEXIT")
        assert exit_.value == (0x400 if virtual else 0x83)


def test_where_the_machine_may_l1_executes_vmload_and_vmsave_itself():
    kind = host("zen3", seed=1, nested="vmcb02", virtual_vmload=True)
    result = run(DESIGNS["upstream"].path, exits("vmsave", "vmload", "kernel", "user"), kind)
    assert result.violation is None
    own = [step for step in result.trace if step.side == "guest" and step.event in ("VMSAVE", "VMLOAD")]
    assert [(step.event, step.operand) for step in own] == [("VMSAVE", 0x5000), ("VMLOAD", 0x5000)]
    assert not [s for s in result.trace if s.event.startswith("emulated")]


# -- emulation (2026)


@pytest.mark.parametrize("design", SINCE_2021)
@pytest.mark.parametrize("word", ["vmsave", "vmload"])
def test_emulation_for_l2_on_vmcb02_is_on_the_wrong_page(design, word):
    words = ("kernel", "vmsave", "nested", word, "kernel")
    found = violation(design, *words, nested="vmcb02", bugs=("B12",))
    assert found.invariant == "guest_state"
    assert REGISTERS[found.register].carrier == "VMSAVE"
    assert violation(design, *words, nested="vmcb02") is None


def test_for_l1_both_are_the_same_page():
    assert violation("upstream", "vmsave", "vmload", "kernel", "user", nested="vmcb02", bugs=("B12",)) is None


@pytest.mark.parametrize("form", ["hsave", "vmcb02"])
@pytest.mark.parametrize("virtual", [False, True])
def test_an_event_may_come_in_any_of_it(form, virtual):
    for at in range(0, 120, 7):
        for event in ("nmi", "mc", "intr"):
            words = ("nested", f"vmsave+{event}.{at}", f"nested+{event}.{at}", "user")
            assert violation("upstream", *words, seeds=[1], nested=form, virtual_vmload=virtual) is None


def test_legacy_s_own_copy_is_of_this_cpu_and_stays_right():
    kind = host("zen3", seed=1, nested="hsave")
    result = run(legacy, exits("nested", "nested@1", "user@1"), kind)
    copies = {
        step.value for step in result.trace if step.operand == "vcpu.host_gs_base" and step.event == "MOV m,r"
    }
    assert len(copies) == 2
    assert all(value >= DIRECT_MAP for value in copies)
