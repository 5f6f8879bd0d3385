"""A recorded sequence is replayed with every path, and costs what its share of vcpu_put says."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from svmlib import mix
from svmlib.__main__ import main
from svmlib.costs import Terms, cache, exit_costs, prices
from svmlib.costs.recordings import RecordingError, read
from svmlib.kvm import Host
from svmlib.kvm.run import typical_exits
from svmlib.paths import upstream_6_1

FOLDER = Path(__file__).parent / "recorded" / "exits"
SEQUENCE, TABLE = str(FOLDER / "trace-cmd.txt"), str(FOLDER / "perf.txt")


@pytest.fixture(scope="module")
def replayed():
    """Replay the recorded exits once."""
    return mix.answer(SEQUENCE)


def test_every_path_survives_the_recorded_exits(replayed):
    assert replayed.exits == replayed.recording.total
    assert [one.path for one in replayed.paths] == list(mix.paths())
    assert [one.violation for one in replayed.paths] == [None] * len(mix.paths())


def test_a_replay_costs_what_the_share_alone_predicts(replayed):
    """Two vCPUs on two CPUs, moved between them, add nothing to what f says: within half a percent."""
    for one in replayed.paths:
        assert one.replayed == pytest.approx(one.predicted, rel=0.005), one.path


def test_a_table_is_priced_at_the_share_that_is_given_and_not_without():
    found = mix.answer(TABLE, share=0.17, costs=prices("zen4"))
    assert (found.exits, found.share) == (0, 0.17)
    for one in found.paths:
        kinds = typical_exits(mix.paths()[one.path], Host(seed=1))
        assert one.predicted == exit_costs(one.path, kinds, prices("zen4")).ticks(0.17)
        assert one.replayed is None
    silent = mix.answer(TABLE)
    assert {one.predicted for one in silent.paths} == {None}
    assert "not the share f of exits" in str(silent)


def test_a_long_recording_is_replayed_from_its_beginning(replayed):
    some = mix.answer(SEQUENCE, limit=50)
    assert some.exits == 50
    assert "The first 50 of 327 exits were replayed; --exits N takes more." in str(some)
    none = mix.answer(SEQUENCE, limit=0)
    assert [one.replayed for one in none.paths] == [None] * len(none.paths)
    assert [one.predicted for one in none.paths] == [one.predicted for one in replayed.paths]


def test_with_a_cache_a_replay_costs_more_for_another_thread_takes_the_cpu(replayed):
    cold = mix.answer(SEQUENCE, terms=Terms(cache=cache.usual()))
    for before, after in zip(replayed.paths, cold.paths, strict=True):
        assert before.replayed.nominal < after.replayed.nominal, after.path
    assert "Another thread displaces more" in str(cold)
    assert "Another thread" not in str(replayed)


def test_a_path_that_breaks_a_rule_is_told_with_its_symptom(monkeypatch, capsys):
    def nothing(cpu, vcpu):
        """Leave the guest's state where it is."""

    forgetful = SimpleNamespace(
        prepare_switch_to_guest=nothing,
        vcpu_enter_exit=upstream_6_1.vcpu_enter_exit,
        prepare_host_switch=nothing,
    )
    monkeypatch.setattr(mix, "paths", lambda: {"forgetful": forgetful})
    monkeypatch.setattr(mix, "typical_exits", lambda path, host: typical_exits(upstream_6_1, host))
    assert main(["mix", SEQUENCE]) == 1
    (found,) = mix.answer(SEQUENCE).paths
    assert found.violation
    assert found.violation in capsys.readouterr().out


def test_json_has_the_counts_and_the_ticks(capsys):
    assert main(["mix", SEQUENCE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    recording = read(SEQUENCE)
    assert (found["exits"], found["became"]) == (recording.total, dict(recording.kinds))
    assert found["share"] == pytest.approx(recording.share)
    assert [one["path"] for one in found["paths"]] == list(mix.paths())
    assert all(one["replayed"]["low"] <= one["replayed"]["nominal"] for one in found["paths"])


def test_the_screen_tells_reasons_and_what_became_of_them(replayed):
    lines = str(replayed).splitlines()
    assert lines[0].endswith("trace-cmd, 327 exits of 2 vCPUs on 2 CPUs in 0.268 s")
    assert any(line.split() == ["hlt", "36", "11.0%", "36", "sched"] for line in lines)
    assert any(line.startswith("f = 0.1713, counted; TSC ticks an exit") for line in lines)


@pytest.mark.parametrize(
    "words,told",
    [
        ((SEQUENCE, "--share", "0.1"), "tells the share f, 0.1713; leave --share out"),
        ((TABLE, "--share", "1.1"), "write a share, 0 to 1"),
        (("no such file",), "no such file: No such file or directory"),
        ((str(FOLDER / "about.txt"),), "about.txt, line 1: neither a table"),
        ((SEQUENCE, "--exits", "-1"), "write 0 or more"),
        ((SEQUENCE, "--prices", "zen9"), "no price list 'zen9'"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words, told, capsys):
    assert main(["mix", *words]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


# -- as a host of the decision


def test_a_recording_is_a_host_that_costs_decides_for(capsys):
    assert main(["costs", "--mix", SEQUENCE, "--draws", "200", "--json"]) == 0
    (host,) = json.loads(capsys.readouterr().out)["mixes"]
    recording = read(SEQUENCE)
    assert (host["name"], host["label"]) == ("trace-cmd.txt", "measured")
    assert host["share"]["nominal"] == pytest.approx(recording.share)
    assert host["exits_per_second"]["nominal"] == pytest.approx(recording.total / recording.seconds)


def test_a_table_is_one_with_the_share_that_is_given(capsys):
    assert main(["costs", "--mix", TABLE]) == 2
    assert "give f yourself" in capsys.readouterr().err
    assert main(["costs", "--mix", TABLE, "--share", "0.17", "--draws", "200", "--json"]) == 0
    (host,) = json.loads(capsys.readouterr().out)["mixes"]
    assert (host["share"]["nominal"], host["title"]) == (0.17, "a table of 3,988 exits")


def test_a_mix_of_a_recording_has_its_reasons():
    for file in (SEQUENCE, TABLE):
        recording = read(file)
        made = recording.mix("mine")
        assert sum(made.reasons.values()) == pytest.approx(1)
        assert set(made.reasons) == set(recording.reasons)
    with pytest.raises(RecordingError, match="give f yourself"):
        _ = read(TABLE).share
