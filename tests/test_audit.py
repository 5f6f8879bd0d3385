"""The checks of the exercise on costs: right answers pass, mistakes are named, the library is refused."""

import pytest

from svmlib import audit, check, costs
from svmlib.audit import given, right
from svmlib.watch import CheckFailed

CHECKS = {
    "total": (audit.bills, right.TOTAL),
    "average": (audit.averages, right.AVERAGE),
    "less": (audit.differences, right.LESS),
    "border": (audit.borders, right.BORDER),
    "chance": (audit.chances, right.CHANCE),
    "load": (audit.loads, right.LOAD),
    "decide": (audit.decisions, right.DECIDE),
}
MISTAKES = [(name, why) for name, (_, mistakes) in CHECKS.items() for why in mistakes]


@pytest.fixture
def trusted(monkeypatch):
    """Let the reference's own functions be tried."""
    monkeypatch.setattr(audit, "_require_own", lambda function: None)


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_right_passes_on_the_model_s_numbers_and_on_random_ones(trusted, name, capsys):
    for seeds in ("", f"06 {name}"):
        CHECKS[name][0](getattr(right, name), name=seeds)
    assert capsys.readouterr().out.startswith("ok: ")


@pytest.mark.parametrize("name, why", MISTAKES, ids=[f"{name}: {why[:30]}" for name, why in MISTAKES])
def test_a_known_mistake_fails_and_the_hint_names_it(trusted, name, why, capsys):
    checked, mistakes = CHECKS[name]
    with pytest.raises(CheckFailed, match=r"hint\(\) tells more"):
        checked(mistakes[why], name=f"06 {name}")
    check.hint()
    assert why in capsys.readouterr().out


def test_the_exercise_s_bills_are_the_library_s():
    prices = costs.prices("epyc-2020")
    for path in given.PATHS:
        for events in audit.counts(path).values():
            assert right.total(events, audit.price_list()) == pytest.approx(prices.total(events))


def test_the_exercise_s_border_is_the_published_one():
    border = right.border(audit.counts("lazy"), audit.counts("merged"), audit.price_list())
    assert border == pytest.approx(0.375, abs=0.005)


def test_draws_lie_in_their_intervals_and_keep_to_the_published_difference():
    drawn = audit.draws()
    for event, (low, _, high) in audit.price_list().items():
        assert all(low <= draw[event] <= high for draw in drawn)
    gaps = [draw["WRGSBASE"] - draw["VMLOAD"] for draw in drawn]
    assert sum(gaps) / len(gaps) == pytest.approx(-24, abs=4)
    assert max(abs(gap + 24) for gap in gaps) < 5 * 6.5


def test_what_is_given_is_plain_data_and_a_copy():
    audit.counts("lazy")["kernel"]["LTR"] = 0
    assert audit.counts("lazy")["kernel"]["LTR"] == 1
    with pytest.raises(KeyError, match="no path 'lazier'; there is legacy, hybrid"):
        audit.counts("lazier")


def test_a_class_s_seed_gives_other_random_cases(monkeypatch):
    ours = next(given.random_lists("x"))[1]
    monkeypatch.setenv("SVMLIB_SEED", "another")
    assert next(given.random_lists("x"))[1] != ours


def test_the_library_s_own_functions_are_refused_however_they_come():
    def imports(counts, prices):
        from svmlib.costs import PriceList

        return PriceList("x", prices).total(counts)

    def calls(counts, prices):
        return right.total(counts, prices)

    for function in (right.total, imports, calls):
        with pytest.raises(CheckFailed, match="the library's own; the exercise asks for yours"):
            audit.bills(function)


def test_a_function_that_keeps_its_first_answer_is_caught():
    kept = []

    def load(ticks, per_second, mhz):
        kept.append(100 * ticks * per_second / (mhz * 1e6))
        return kept[0]

    with pytest.raises(CheckFailed):
        audit.loads(load)


def test_a_result_of_another_kind_is_no_answer():
    for wrong in (None, "a lot", True, [1, 2]):
        with pytest.raises(CheckFailed, match="it is"):
            audit.loads(lambda *case, wrong=wrong: wrong)


def test_an_answer_for_a_host_is_checked_against_the_draws():
    def decide(a, b, f, draws):
        gap = {e: n - average(b, f).get(e, 0) for e, n in average(a, f).items()}
        gap |= {e: -n for e, n in average(b, f).items() if e not in gap}
        sure = sum(sum(n * draw[e] for e, n in gap.items()) < 0 for draw in draws) / len(draws)
        return "a" if sure >= 0.95 else "b" if sure <= 0.05 else "open"

    def average(path, f):
        both = {**path["kernel"], **path["user"]}
        return {e: (1 - f) * path["kernel"].get(e, 0) + f * path["user"].get(e, 0) for e in both}

    answers = {"haswell": "lazy", "idle": "open", "user-device": "merged"}
    audit.decisions(decide, answers)
    for host in answers:
        with pytest.raises(CheckFailed, match=f"{host}: 'legacy' is not what the draws say"):
            audit.decisions(decide, answers | {host: "legacy"})
    with pytest.raises(CheckFailed, match="idle: None is not what the draws say"):
        audit.decisions(decide, {"haswell": "lazy"})
    for nothing in (None, ["lazy", "open", "merged"]):
        with pytest.raises(CheckFailed, match="names no host"):
            audit.decisions(decide, nothing)


def test_the_bonus_is_points_or_nothing_and_says_why(trusted, capsys):
    assert audit.limits(right.limit, name="06 limit") == 2
    assert audit.limits(lambda a, b, f, prices: 100.0) == 0
    assert "0 of 2 bonus points: <lambda> says 100" in capsys.readouterr().out
