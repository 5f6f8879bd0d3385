"""python -m svmlib costs: the decision as tables, JSON and a picture, and one line for what does not fit."""

import builtins
import json

import pytest

from svmlib import __main__ as command_line
from svmlib import costs, decide
from svmlib.decide.text import as_text


@pytest.fixture(scope="module")
def decision():
    return decide.decide()


def said(capsys, *words, code=0):
    assert command_line.main(["costs", *words]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_it_answers_for_every_host_with_a_share_every_pair_and_seven_paths(decision):
    hosts = {name for name, mix in costs.mixes().items() if mix.share}
    assert set(decision.differences) == set(decision.loads) == hosts
    assert all(len(found) == len(decide.PAIRS) for found in decision.differences.values())
    assert all(len(found) == 7 for found in decision.loads.values())


def test_the_tables_say_unit_list_seed_and_what_nobody_measured(decision):
    text = str(decision)
    for words in (
        "TSC ticks an exit, price list epyc-2020: median (5 to 95 %) of 10,000 draws, seed 2020",
        "below 0.37 (0.23 to 0.53)",
        "an idle guest of two vCPUs, Linux 6.12 (published)",
        "(assumed)",
        "two samples each on a CPU that nobody named",
    ):
        assert words in text


@pytest.mark.parametrize("width", [80, 100])
def test_no_table_is_wider_than_the_terminal_and_every_column_is_there(decision, width):
    tables = as_text(decision, width).split("f is the share of exits")[0].splitlines()[1:]
    assert max(map(len, tables)) <= width
    heads = " ".join(line for line in tables if line.startswith("host  "))
    for name in (*(f"{a} − {b}" for a, b in decision.borders), *decision.paths):
        assert name in heads
    assert as_text(decision) == as_text(decision, 1_000)


def test_a_loss_of_the_host_s_state_alone_leaves_out_what_every_path_pays(decision):
    assert "VMRUN" not in decision.paths["lazy"].kernel.events
    assert decision.loads["hung"][0].per_exit.median < 500


def test_the_json_holds_what_the_tables_say(capsys, decision):
    found = json.loads(said(capsys, "--json"))
    assert found["price_list"] == "epyc-2020"
    (idle,) = [one for one in found["mixes"] if one["name"] == "idle"]
    assert idle["share"]["nominal"] == 0.486
    lazy = idle["differences"][0]
    assert (lazy["a"], lazy["b"], lazy["sign"]) == ("lazy", "vmload_before_stgi", "open")
    assert lazy["ticks"]["median"] == decision.differences["idle"][0].ticks.median
    assert idle["loads"][0]["percent_of_a_core"]["median"] > 0


def test_a_host_of_one_s_own_is_a_share_and_a_rate(capsys):
    text = said(capsys, "--share", "0.02", "--rate", "80000", "--pair", "lazy,legacy", "--draws", "200")
    assert "yours" in text
    assert "at 80,000/s" in text
    assert "lazy − legacy" in text


def test_a_host_may_be_told_by_its_reasons(capsys):
    text = said(capsys, "--reason", "HLT=0.4:1", "--reason", "MSR write=0.6:0.1", "--draws", "200")
    assert "yours" in text
    assert " 0.46 " in text


def test_a_mix_without_a_share_takes_one(capsys):
    assert "0.05" in said(capsys, "--mix", "perf-io", "--share", "0.05", "--draws", "200")


def test_another_list_another_price_and_other_terms_change_the_answer(capsys):
    few = ("--mix", "haswell", "--draws", "500", "--pair", "lazy,vmload_before_stgi", "--json")
    answers = [
        json.loads(said(capsys, *few, *more))["mixes"][0]["differences"][0]["ticks"]["median"]
        for more in ((), ("--prices", "epyc-2020-timed"), ("--price", "VMLOAD=290,300,310"), ("--cold",))
    ]
    assert len(set(answers)) == 4
    assert answers[1] < -180
    assert answers[2] < -180


def test_a_cpu_without_fsgsbase_runs_the_lazy_path_by_wrmsr(capsys):
    text = said(
        capsys, "--prices", "k8", "--mix", "haswell", "--draws", "200", "--pair", "lazy,lazy_by_wrmsr"
    )
    assert "0 (0 to 0)  50%" in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["--prices", "zen9"], "no price list 'zen9'; there is k8"),
        (["--price", "VMLOAD=1"], "--price VMLOAD=1: write EVENT=LOW,NOMINAL,HIGH"),
        (["--price", "VMLOAD=3,2,1"], "VMLOAD: low 3, nominal 2, high 1"),
        (["--mix", "busy"], "no exit mix 'busy'; there is hung"),
        (["--mix", "perf-io"], "the mix perf-io tells why guests left"),
        (["--mix", "idle", "--share", "2"], "the mix idle: share 2"),
        (["--rate", "5"], "--rate is of a host: name it with --mix"),
        (["--share", "0.1", "--rate", "-1"], "--rate -1: exits a second are more than 0"),
        (["--pair", "lazy"], "--pair lazy: write two paths"),
        (["--reason", "HLT=0.4"], "--reason HLT=0.4: write REASON=SHARE:PUTS"),
        (["--reason", "HLT=0.4:1"], "the mix yours sums to 0.4 (HLT 0.4)"),
        (["--pair", "lazy,lazier"], "no path 'lazier'; there is legacy"),
        (["--draws", "0"], "--draws 0: write 2 to 1,000,000"),
        (["--picture", "x.gif"], "--picture x.gif: the name ends in .png or .svg"),
        (["--picture", "/nowhere/x.png"], "--picture /nowhere/x.png: there is no folder /nowhere"),
        (["--evidence", "FOO"], "nothing is known of 'FOO'"),
    ],
)
def test_what_does_not_fit_is_one_line_on_stderr(capsys, words, message):
    text = said(capsys, *words, code=2)
    assert message in text
    assert text.count("\n") == 1


def test_without_numpy_the_command_says_so(capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "numpy" or (rest and rest[2] and "chance" in rest[2]):
            raise ModuleNotFoundError("no numpy", name="numpy")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert said(capsys, code=2) == "distributions need numpy, which is missing; pip install numpy\n"


def test_the_calibration_is_a_table_with_its_count_and_the_reason_of_what_is_missed(capsys):
    text = said(capsys, "--targets")
    assert "two published numbers contradict each other" in text
    assert "identities and no success" in text
    found = json.loads(said(capsys, "--targets", "--json"))
    assert found["good"]
    assert {one["status"] for one in found["targets"]} == {"predicted", "identity", "expected failure"}


def test_the_evidence_shows_conflicting_rows_and_marks_what_is_from_memory(capsys):
    vmload = said(capsys, "--evidence", "VMLOAD")
    assert "epyc-2020 " in vmload
    assert "306" in vmload
    assert "UNVERIFIED: in no list" in said(capsys, "--evidence", "RDMSR")


# The picture


def test_the_picture_is_drawn_as_png_and_as_svg_with_text_in_it(capsys, tmp_path):
    png, svg = tmp_path / "costs.png", tmp_path / "costs.svg"
    said(capsys, "--draws", "500", "--picture", str(png), "--picture", str(svg))
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for words in (
        "share of exits that reach vcpu_put",
        "vhost (assumed)",
        "published: mean of two samples",
        "nobody named",
    ):
        assert words in text


def test_in_a_notebook_the_picture_says_in_words_what_it_shows(decision):
    from svmlib.views import decision as view

    html = view.picture(decision)
    assert 'role="img" aria-label="Difference in ticks an exit' in html
    assert "haswell: lazy cheaper" in html
    assert "idle: open" in html
    assert "model 1,3" in view.samples_picture({name: path.kinds for name, path in decision.paths.items()})
