"""What the checks of an exercise say: a line when all is well, else a symptom, the learner's line, a hint."""

import re
from types import FunctionType, SimpleNamespace

import pytest

from autograder.student.proxies import CpuProxy
from svmlib import check, watch
from svmlib.check import CheckFailed
from svmlib.explorer import explore
from svmlib.instructions import Cpu
from svmlib.kvm import Host, cpu_kernelmode_gs_base, per_cpu, svm_vcpu_run, this_cpu_read
from svmlib.paths import PATHS, lazy, legacy, vmload_before_stgi
from svmlib.registers import MSR, carried_by


def save(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
        vcpu.guest_state_loaded = True


def enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))


def put(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)
    vcpu.guest_state_loaded = False


def load_page(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))


def back(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    put(cpu, vcpu)


GOOD = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=enter_exit, prepare_host_switch=put)


def but(**functions):
    """The good path with other functions in it."""
    return check.path(**({k: v for k, v in vars(GOOD).items() if not k.startswith("__")} | functions))


def lazy_but(prepare_host_switch):
    """The lazy path up to the point where the vCPU is put."""
    return SimpleNamespace(**(vars(lazy) | {"prepare_host_switch": prepare_host_switch}))


def hint(capsys):
    capsys.readouterr()
    check.hint()
    return capsys.readouterr().out


@pytest.mark.parametrize("path", [GOOD, *PATHS.values()], ids=["good", *PATHS])
def test_a_correct_path_passes_and_says_so_in_a_line(path, capsys):
    check.survives(path, "kernel+nmi", "user", "user@1", "kernel#1")
    check.survives_random(path, runs=4, name="anything")
    check.survives_random(path, "kernel", "user+nmi", runs=4)
    assert [line[:3] for line in capsys.readouterr().out.splitlines()] == ["ok:"] * 3


def test_the_seed_of_the_class_decides_the_random_runs(monkeypatch):
    seen = []

    def spy(cpu, vcpu):
        seen.append(cpu.rdmsr(MSR.LSTAR))

    def seeds():
        seen.clear()
        check.survives_random(but(vcpu_load=spy), runs=1, name="a")
        return list(seen)

    # Reading into a list of the test's own is what a learner may not do; only the values are wanted here.
    monkeypatch.setattr(check.Watch, "__exit__", lambda *_: None)
    public = seeds()
    assert seeds() == public
    monkeypatch.setenv("SVMLIB_SEED", "1")
    assert seeds() != public


def test_a_violation_tells_symptom_exit_and_in_the_hint_register_owner_carrier_and_steps(capsys):
    with pytest.raises(CheckFailed, match="RDTSCP in user space") as failed:
        check.survives(but(prepare_host_switch=lambda cpu, vcpu: None), "kernel", "user@1")
    assert "Exit 2 of 2: user@1" in str(failed.value)
    assert "noticed when a vCPU was put on CPU 0" in str(failed.value)
    told = hint(capsys)
    assert "TSC_AUX of CPU 0 holds" in told
    assert "(the guest's)" in told
    assert "software has to" in told
    assert "The last steps:" in told
    assert max(map(len, told.splitlines())) < 130


def test_a_fault_names_the_learners_line_and_what_is_not_the_hosts(capsys):
    def lost(cpu, vcpu):
        cpu.ltr(0x40)

    with pytest.raises(CheckFailed, match=r"In lost, line \d+: cpu.ltr\(0x40\)"):
        check.survives(lazy_but(lost), "user")
    assert "Not the host's at that moment: FS, GS, LDTR" in hint(capsys)

    def through_gs(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        cpu.vmload(this_cpu_read(cpu, "save_area_pa"))

    with pytest.raises(CheckFailed, match=r"In through_gs, line 2?\d+: cpu.vmload"):
        check.survives(but(vcpu_enter_exit=through_gs), "user")
    assert "GS.base of CPU 0" in hint(capsys)


@pytest.mark.parametrize(
    "function, said",
    [
        (lambda cpu, vcpu: vcpu.nothing_here, "vcpu has no field 'nothing_here'"),
        (lambda cpu, vcpu: cpu.rdmsr("LSTAR"), "LSTAR"),
        (lambda cpu, vcpu: cpu.vmload(0x123), "aligned"),
        (lambda cpu, vcpu: cpu.nonsense(), "nonsense"),
        (lambda cpu: None, "positional argument"),
    ],
)
def test_an_error_of_the_learners_is_one_message_and_no_traceback_of_ours(function, said):
    with pytest.raises(CheckFailed) as failed:
        check.survives(but(prepare_host_switch=function), "user")
    assert said in str(failed.value)
    assert failed.value.__context__ is None or failed.value.__suppress_context__


def test_what_is_not_written_yet_is_said_so():
    def stub(cpu, vcpu):
        raise NotImplementedError

    with pytest.raises(CheckFailed, match=r"(?s)Not written yet.*In stub"):
        check.survives(but(prepare_host_switch=stub), "user")
    with pytest.raises(CheckFailed, match="Not written yet"):
        check.restores(stub, stub, ["LSTAR"])
    assert check.beats(but(prepare_host_switch=stub), lazy, points=2) == 0


def test_a_path_that_is_none_is_named():
    with pytest.raises(CheckFailed, match="a path has no function vcpu_put"):
        check.path(vcpu_put=put)
    with pytest.raises(CheckFailed, match="has no function vcpu_enter_exit"):
        check.survives(SimpleNamespace(prepare_switch_to_guest=save, prepare_host_switch=put), "user")


def imports_inside(cpu, vcpu):
    from svmlib.paths import lazy as mine

    mine.vcpu_enter_exit(cpu, vcpu)


@pytest.mark.parametrize(
    "function",
    [
        legacy.vcpu_enter_exit,
        lambda cpu, vcpu: legacy.vcpu_enter_exit(cpu, vcpu),  # noqa: PLW0108
        lambda cpu, vcpu: PATHS["lazy"].vcpu_enter_exit(cpu, vcpu),  # noqa: PLW0108
        lambda cpu, vcpu: vmload_before_stgi.since_2023.vcpu_enter_exit(cpu, vcpu),  # noqa: PLW0108
        lambda cpu, vcpu, run=lazy.vcpu_enter_exit: run(cpu, vcpu),
        lambda cpu, vcpu: imports_inside(cpu, vcpu),  # noqa: PLW0108
        imports_inside,
    ],
)
def test_the_reference_path_is_refused_however_it_comes(function):
    with pytest.raises(CheckFailed, match="the reference path's own; the exercise asks for yours"):
        check.path(vcpu_enter_exit=function)
    assert check.beats(SimpleNamespace(**(vars(GOOD) | {"vcpu_enter_exit": function})), lazy, points=2) == 0


def test_a_reference_path_wins_no_bonus():
    assert check.beats(vmload_before_stgi.since_2023, vmload_before_stgi, points=2) == 0


kept = {}


def test_python_is_no_storage(capsys):
    class Store:
        value = 0

    box = SimpleNamespace()

    def in_a_global(cpu, vcpu):
        kept["tsc_aux"] = cpu.rdmsr(MSR.TSC_AUX)

    def in_a_class(cpu, vcpu):
        Store.value = cpu.rdmsr(MSR.LSTAR)

    def in_a_namespace(cpu, vcpu):
        box.value = cpu.rdmsr(MSR.LSTAR)

    def in_itself(cpu, vcpu):
        in_itself.value = cpu.rdmsr(MSR.LSTAR)

    def in_a_default(cpu, vcpu, seen=[]):  # noqa: B006  # which is the point
        seen.append(1)

    for function in (in_a_global, in_a_class, in_a_namespace, in_itself, in_a_default):
        with pytest.raises(CheckFailed, match="is a Python variable that changed"):
            check.survives(but(vcpu_load=function), "user")
        assert "a field of the vCPU" in hint(capsys)


def test_restores_takes_names_and_msrs_and_names_what_did_not_come_back(capsys):
    check.restores(save, load_page, carried_by("VMSAVE"))
    check.restores(save, load_page, [MSR.LSTAR, MSR.FS_BASE], runs=8, name="secret")
    with pytest.raises(CheckFailed, match=r"(?s)names a CPU.*After load_page on CPU 0"):
        check.restores(save, load_page, [MSR.TSC_AUX])
    assert "TSC_AUX of CPU 0" in hint(capsys)


def test_saving_only_reads():
    def writes(cpu, vcpu):
        cpu.wrmsr(MSR.TSC_AUX, 77)

    with pytest.raises(CheckFailed, match="writes changed TSC_AUX while the host was running"):
        check.restores(writes, load_page, ["LSTAR"])


def test_once_a_period():
    check.once_a_period(save, "VMSAVE")
    with pytest.raises(CheckFailed, match="second entry of the same period executed VMSAVE again"):
        check.once_a_period(lambda cpu, vcpu: cpu.vmsave(vcpu.vmcb_pa), "VMSAVE")
    with pytest.raises(CheckFailed, match="executed VMSAVE 0 times"):
        check.once_a_period(lambda cpu, vcpu: None, "VMSAVE")


def test_at_most_counts_in_each_exit(capsys):
    check.at_most(lazy, "kernel", "kernel", VMLOAD=1)
    with pytest.raises(CheckFailed, match="exit kernel executed VMLOAD 2 times; 1 is"):
        check.at_most(GOOD, "kernel", VMLOAD=1)
    assert "in vcpu_enter_exit" in hint(capsys)


def test_a_budget_is_kept_or_the_hint_says_what_is_more_than_in_the_reference(capsys):
    check.within_budget(GOOD, vmload_before_stgi)
    check.within_budget(GOOD, vmload_before_stgi, name="secret")

    def twice(cpu, vcpu):
        load_page(cpu, vcpu)
        load_page(cpu, vcpu)
        put(cpu, vcpu)

    with pytest.raises(CheckFailed, match=r"over budget: .* per exit to user space"):
        check.within_budget(but(prepare_host_switch=twice), vmload_before_stgi.since_2023)
    assert "VMLOAD             4 times instead of   2:   +128 ticks" in hint(capsys)


def test_a_cheap_path_that_is_wrong_is_in_no_budget_and_wins_nothing():
    wrong = but(vcpu_enter_exit=svm_vcpu_run)
    with pytest.raises(CheckFailed, match="Triple fault"):
        check.within_budget(wrong, legacy)
    with pytest.raises(CheckFailed, match="Triple fault"):
        check.bills(wrong)
    assert check.beats(wrong, legacy, points=2) == 0


def test_beating_gives_the_points_and_being_level_does_not():
    assert check.beats(GOOD, vmload_before_stgi, points=2) == 2
    assert check.beats(GOOD, vmload_before_stgi.since_2023, points=2) == 0


def test_a_path_that_has_to_break_is_reported_when_it_does_not(capsys):
    run = check.never_survives(but(vcpu_enter_exit=svm_vcpu_run), "kernel")
    assert run.violation is not None
    assert "it breaks: Triple fault" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="nothing broke in kernel user"):
        check.never_survives(GOOD, "kernel", "user", host=Host(seed=3))


def test_a_loop_without_a_way_out_is_named_by_its_line_also_when_it_catches_everything(monkeypatch):
    monkeypatch.setattr(watch, "SECONDS", 0.2)

    def vcpu_enter_exit(cpu, vcpu):
        while True:
            try:
                cpu.no_such_instruction()
            except Exception:  # noqa: BLE001, S112 - as a learner writes it
                continue

    with pytest.raises(check.CheckFailed, match=r"had not ended after 0\.2 seconds") as failed:
        check.survives(check.path(vcpu_enter_exit=vcpu_enter_exit), "kernel")
    assert "In vcpu_enter_exit, line" in str(failed.value)


# -- explored


def without_tr(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)


NO_TR = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=without_tr, prepare_host_switch=back)


def test_a_path_that_nothing_breaks_is_said_with_the_count(capsys):
    found = check.explored(GOOD)
    assert found.clean
    assert re.fullmatch(r"ok: \d+ states, [\d,]+ schedules, nothing broke\n", capsys.readouterr().out)
    assert check.is_safe(GOOD)
    check.explored_random(GOOD, name="some test")
    assert capsys.readouterr().out.count("nothing broke") == 2


def test_what_breaks_is_said_symptom_first_and_the_hint_is_the_story(capsys):
    with pytest.raises(check.CheckFailed) as failed:
        check.explored(NO_TR)
    lines = str(failed.value).splitlines()
    assert lines[0].startswith("Triple fault. An NMI arrived at STGI and found no stack")
    assert re.fullmatch(r"The shortest way there: kernel\+nmi\.\d+", lines[1])
    assert lines[2] == "In without_tr: cpu.wrmsr(MSR.GS_BASE, base)"
    check.hint()
    said = capsys.readouterr().out
    assert "The NMI arrives at step" in said
    assert "while TR.base still holds the guest's" in said
    assert not check.is_safe(NO_TR)


def test_the_words_of_a_counterexample_kill_and_others_do_not(capsys):
    found = explore(NO_TR, Host(1, vcpus=1))
    run = check.kills(NO_TR, *map(str, found.exits))
    assert run.violation.invariant == "host_stack"
    assert capsys.readouterr().out.startswith("it dies: Triple fault.")
    with pytest.raises(check.CheckFailed, match="the host survived kernel; nothing arrived"):
        check.kills(NO_TR, "kernel")
    with pytest.raises(
        check.CheckFailed, match=r"the host survived kernel\+nmi.2; what arrived was taken: NMI"
    ):
        check.kills(NO_TR, "kernel+nmi.2")


@pytest.mark.parametrize(
    "words, said",
    [
        (["kernel+nmi"], "kernel+nmi; what arrived was taken: NMI after step 27, STGI"),
        (
            ["kernel", "kernel+intr"],
            "kernel kernel+intr; what arrived was taken: INTR after step 49, MOV r,m",
        ),
        (["kernel+mc.500"], "kernel+mc.500; exit 1 has 30 steps, so step 500 never came"),
        (["kernel+smi"], "kernel+smi; an SMI passes the host's kernel by"),
        (["kernel+nmi@1"] * 9, "NMI after step 111, STGI, …"),
    ],
)
def test_a_host_that_survives_tells_after_which_step_what_came_was_taken(words, said):
    with pytest.raises(check.CheckFailed) as failed:
        check.kills(GOOD, *words)
    assert said in str(failed.value)
    assert len(str(failed.value)) < 250 + 8 * len(words)
    with pytest.raises(check.CheckFailed, match=re.escape(said)):
        check.kills(GOOD, words)


@pytest.mark.parametrize("word", [11, None, "", "kernel+nmj", {"kernel"}, b"kernel", [["kernel"]], "x" * 999])
@pytest.mark.parametrize("checked", [check.kills, check.survives, check.never_survives, check.at_most])
def test_an_exit_that_cannot_be_read_is_one_message_and_no_traceback_of_ours(checked, word):
    with pytest.raises(check.CheckFailed, match=r"^no exit .{1,70}; write kernel or user, then") as failed:
        checked(GOOD, word)
    assert failed.value.__suppress_context__
    with pytest.raises(check.CheckFailed, match=r"^no exit is given; write one or more"):
        checked(GOOD, *([] if checked is check.at_most else [[]]))


def test_a_misspelt_instruction_is_told_the_nearest_one_by_model_and_judge():
    said = "cpu has no instruction 'vmlaod'; the nearest is vmload"
    with pytest.raises(check.CheckFailed, match=said):
        check.survives(but(prepare_host_switch=lambda cpu, vcpu: cpu.vmlaod(vcpu.vmcb_pa)), "user")
    for cpu in (Cpu(None), CpuProxy(None, 0)):
        assert not hasattr(cpu, "__getattr__")  # it would slow every instruction, not only the misspelt
        for name, near in {"vmlaod": "vmload", "STGI": "stgi", "registers": ""}.items():
            with pytest.raises(AttributeError) as failed:
                getattr(cpu, name)
            nearest = f"; the nearest is {near}" if near else ""
            assert watch.words_of(failed.value, type(cpu)) == f"cpu has no instruction {name!r}{nearest}"
    assert watch.words_of(KeyError("no quotes")) == "no quotes"


def test_what_a_check_returns_is_one_line_below_a_cell(capsys):
    assert repr(check.survives(GOOD, "kernel", "user")) == "<Run: exits 2, steps 61, nothing broke>"
    assert repr(check.kills(but(vcpu_enter_exit=svm_vcpu_run), "user")).endswith(", broke per_cpu>")
    found = explore(NO_TR, Host(1, vcpus=1))
    assert repr(found) == f"<Exploration: {found.story.symptom}>"
    assert re.fullmatch(r"<Exploration: complete for these bounds: \d+ states.*>", repr(check.explored(GOOD)))


def test_the_path_s_line_of_a_notebook_s_cell_is_of_its_cell():
    code = without_tr.__code__.replace(co_filename="/tmp/ipykernel_77/123456789.py")  # noqa: S108 - no file
    of_a_cell = FunctionType(code, globals())
    path = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=of_a_cell, prepare_host_switch=back)
    assert re.search(r"\(without_tr, line \d+ of its cell\)$", str(explore(path).story.line))


def test_a_path_with_a_memory_of_its_own_is_refused():
    kept = []

    def remembering(cpu, vcpu):
        enter_exit(cpu, vcpu)
        kept.append(1)
        for _ in kept:
            cpu.str()

    path = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=remembering, prepare_host_switch=put)
    with pytest.raises(check.CheckFailed, match=r"changed from one call to the next|not a function of what"):
        check.explored(path)


def test_the_shorter_window_is_counted_in_steps(capsys):
    assert check.shorter_window(GOOD, lazy, 2) == 2
    assert "steps from CLGI to STGI, the reference" in capsys.readouterr().out
    assert check.shorter_window(GOOD, vmload_before_stgi.since_2023, 2) == 0
    assert check.shorter_window(NO_TR, lazy, 2) == 0
