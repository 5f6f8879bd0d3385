"""python -m svmlib explore: which path, which hosts, which bounds, and what it says and returns."""

import json

import pytest

from svmlib import __main__ as command_line
from svmlib.explore import LINUX, bounds, find, hosts
from svmlib.explorer import Bounds
from svmlib.kvm import PathError
from svmlib.kvm.hosts import HOSTS
from svmlib.paths import lazy, vmload_before_stgi

MINE = """
from svmlib.kvm import cpu_kernelmode_gs_base, svm_vcpu_run
from svmlib.paths import lazy


class MyPath:
    prepare_switch_to_guest = lazy.prepare_switch_to_guest
    prepare_host_switch = lazy.prepare_host_switch

    def vcpu_enter_exit(cpu, vcpu):
        base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
        svm_vcpu_run(cpu, vcpu)
        cpu.wrgsbase(base)


class Half:
    prepare_switch_to_guest = lazy.prepare_switch_to_guest
"""


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    return file


def test_a_path_is_named_by_design_or_by_file(mine):
    assert find("lazy") is lazy
    assert find("vmload_before_stgi.since_2023") is vmload_before_stgi.since_2023
    assert find(f"{mine}:MyPath").prepare_switch_to_guest is lazy.prepare_switch_to_guest


@pytest.mark.parametrize("name,why", [
    ("none", "no design 'none'; there are .*lazy, lazy.with_wrmsr,"),
    ("lazy.later", "there is no 'later' in it"),
    ("/nowhere/mine.py:X", "there is no file /nowhere/mine.py"),
])  # fmt: skip
def test_a_wrong_name_is_answered_with_what_is_there(name, why):
    with pytest.raises(ValueError, match=why):
        find(name)


def test_half_a_path_is_none(mine):
    with pytest.raises(PathError, match="the path Half has no function vcpu_enter_exit"):
        find(f"{mine}:Half")


def test_a_cpu_means_both_of_its_kernels_and_linux_all_options():
    assert list(hosts("zen2", seed=3)) == ["zen2+fsgsbase", "zen2-fsgsbase"]
    assert [host.seed for host in hosts("zen2", seed=3).values()] == [3, 3]
    assert list(hosts("i386")) == ["i386"]
    options = {(host.fsgsbase, host.null_clears_base) for host in hosts("linux").values()}
    assert len(options) == len(LINUX) == 4
    with pytest.raises(ValueError, match="no kind of host 'vax'; there are linux, zen1 to zen4, family15h"):
        hosts("vax")


def test_bounds_are_a_number_of_exits_or_said_by_name():
    assert bounds("3") == Bounds(exits=3)
    assert bounds("exits=1,events=0") == Bounds(exits=1, events=0)
    assert bounds(str(Bounds(1, 2, 3, 4))) == Bounds(1, 2, 3, 4)
    for text in ("", "x", "depth=3", "exits=many"):
        with pytest.raises(ValueError, match="write a number of exits, or exits=2,periods=2"):
            bounds(text)


def test_a_clean_path_is_said_for_each_host_with_status_0(capsys):
    assert command_line.main(["explore", "lazy", "--host", "zen2", "--bounds", "exits=1,periods=1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("lazy on zen2+fsgsbase, ")
    assert "complete for these bounds: " in second


def test_a_broken_one_is_told_with_status_1_and_how_to_step_through_it(mine, capsys):
    assert command_line.main(["explore", f"{mine}:MyPath", "--host", "zen3+fsgsbase", "--bounds", "1"]) == 1
    said = capsys.readouterr().out
    assert "broken by kernel+nmi." in said
    assert "The path's line that ran last: cpu.wrgsbase(base)   (vcpu_enter_exit, line 13 of mine.py)" in said
    assert 'To step through it: run(path, exits("kernel+nmi.' in said


def test_json_holds_all_of_it(mine, capsys):
    assert command_line.main(["explore", f"{mine}:MyPath", "--bounds", "1", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["counterexample"]["rule"] == "host_stack"
    assert found["counterexample"]["line"]["function"] == "vcpu_enter_exit"
    assert (found["clean"], found["complete"]) == (False, True)
    assert found["host"] in HOSTS


@pytest.mark.parametrize("wrong", [["nope"], ["lazy", "--host", "vax"], ["lazy", "--bounds", "many"]])
def test_what_is_not_there_is_one_line_and_status_2(wrong, capsys):
    assert command_line.main(["explore", *wrong]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_search_that_was_cut_short_is_no_success(capsys):
    assert command_line.main(["explore", "lazy", "--host", "zen3+fsgsbase", "--limit", "3000"]) == 1
    assert "not complete: stopped after" in capsys.readouterr().out


@pytest.mark.parametrize("body,said", [
    ("cpu.vmsave(vcpu.page)", "AttributeError: "),
    ("len(7)", "TypeError: object of type 'int' has no len()"),
])  # fmt: skip
def test_a_path_whose_python_fails_is_told_by_its_own_line_and_status_2(body, said, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)", body), encoding="utf-8")
    assert command_line.main(["explore", f"{file}:MyPath"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(said)
    assert second == f"{file}, line 11, in vcpu_enter_exit: {body}"


@pytest.mark.parametrize("option", ["--cpus", "--vcpus", "--limit"])
@pytest.mark.parametrize("value,why", [("0", "0 is less than 1"), ("two", "'two' is no number")])
def test_no_cpu_no_vcpu_and_no_instruction_is_refused(option, value, why, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["explore", "lazy", option, value])
    assert ended.value.code == 2
    assert f"argument {option}: {why}: write 1 or more" in capsys.readouterr().err
