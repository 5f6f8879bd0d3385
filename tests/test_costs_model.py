"""The performance model: terms, caches, exit mixes, distributions and the calibration."""

import random

import numpy as np
import pytest

from svmlib import costs
from svmlib.costs import Cache, Terms, chance, targets
from svmlib.costs.cache import cold, per_exit, replay, usual
from svmlib.costs.exits import less
from svmlib.costs.terms import AROUND, events_of
from svmlib.data import rows
from svmlib.kvm import Host, exits, run
from svmlib.kvm.run import typical_exits
from svmlib.paths import PATHS, upstream_6_1, vmload_before_stgi
from svmlib.trace import Step

EPYC = costs.prices("epyc-2020")
ALL = {**PATHS, "since_2023": vmload_before_stgi.since_2023, "upstream_6_1": upstream_6_1}
KINDS = {name: typical_exits(path, Host(seed=1)) for name, path in ALL.items()}
COSTS = {name: costs.exit_costs(name, kinds, EPYC) for name, kinds in KINDS.items()}
LAZY, MERGED = COSTS["lazy"], COSTS["vmload_before_stgi"]
DRAWS = chance.draws_for(COSTS.values())


# Terms


def plain(path, kind="user", **terms):
    return costs.bill(KINDS[path][kind], EPYC, Terms(**terms))


def test_every_event_of_a_term_has_a_price_somewhere():
    priced = {row["event"] for row in rows("prices")}
    for row in rows("terms"):
        assert priced.issuperset(events_of(row["term"])), row["term"]


def test_the_table_says_which_terms_a_plain_bill_has():
    on = {row["term"].replace(" ", "_"): row["on"] == "yes" for row in rows("terms")}
    assert on.pop("instruction")
    assert on == {name: bool(value) for name, value in Terms()._asdict().items()}


def test_without_the_switch_a_bill_is_that_of_the_host_s_state_alone():
    bill = plain("vmload_before_stgi", "kernel", switch=False)
    assert bill.events["VMLOAD"] == 1
    assert not {"VMRUN", "#VMEXIT", "VMSAVE", "STI", "CLI"} & set(bill.events)


def test_without_the_drain_every_write_to_an_msr_costs_what_it_would_on_zen_4():
    bill = plain("legacy", drain=False)
    assert bill.events["WRMSR undrained"] == 12
    assert not any(event.startswith("WRMSR") and event != "WRMSR undrained" for event in bill.events)
    assert bill.nominal < plain("legacy").nominal


def test_without_ltr_the_paths_of_the_thread_lose_it_on_both_sides():
    for name in ("lazy", "vmload_before_stgi"):
        saved = plain(name).nominal - plain(name, ltr=False).nominal
        assert saved == EPYC["LTR"].nominal


def test_kvm_s_code_and_user_space_are_parts_of_their_own_and_no_instructions():
    around = plain("lazy", kvm=True, user_space=True)
    assert around.instructions == plain("lazy").instructions
    parts = around.by_part()
    assert parts["KVM"].events == {"KVM before VMRUN": 1, "KVM after #VMEXIT": 1}
    assert parts["user space"].nominal == EPYC["user space and back"].nominal
    assert plain("lazy", "kernel", kvm=True).events["KVM in-kernel exit"] == 1


def test_a_plain_bill_holds_nothing_of_what_is_around_a_path():
    for kinds in KINDS.values():
        for steps in kinds.values():
            assert not AROUND & set(costs.bill(steps, EPYC).events)


# The cache


def touch(event, page, cpu=0):
    return Step(event, page, None, (), (), (), (), cpu, 0, "host", "vcpu_enter_exit", 1)


GUEST = Step("guest", "kernel", None, (), (), (), (), 0, 0, "host", "", 1)
SMALL = Cache(capacity=100, guest=40, user=1000)


@pytest.mark.parametrize("runs, times", [(0, 1), (2, 1), (3, 2)])
def test_a_page_is_cold_again_when_as_many_lines_have_passed_as_the_cpu_keeps(runs, times):
    steps = [touch("VMSAVE", 0x1000), *[GUEST] * runs, touch("VMLOAD", 0x1000)]
    assert cold(steps, SMALL) == {"cold operand": times, "cold TLB entry": times}


def test_a_stay_with_another_thread_displaces_once_whatever_it_does_there():
    away = [GUEST._replace(event=event) for event in ("switch_to", "SYSCALL", "switch_to")]
    once = SMALL._replace(user=60)
    there_and_back = [touch("VMSAVE", 0x1000), *away, touch("VMLOAD", 0x1000)]
    assert cold(there_and_back, once)["cold operand"] == 1
    assert cold([*there_and_back, *away, GUEST, *away, touch("VMLOAD", 0x1000)], once)["cold operand"] == 2


def test_a_trace_and_the_replay_of_its_exits_find_the_same_pages_cold():
    words = ("kernel", "sched", "kernel", "user", "sched", "sched")
    for name, kinds in KINDS.items():
        assert cold(run(ALL[name], exits(*words)).trace, usual()) == replay(kinds, words, usual()), name


def test_each_cpu_has_a_cache_of_its_own():
    steps = [touch("VMSAVE", 0x1000), touch("VMLOAD", 0x1000, cpu=1)]
    assert cold(steps, SMALL)["cold operand"] == 2


def test_an_early_prefetch_costs_a_little_each_time_and_hides_most_of_a_cold_page():
    steps = [touch("VMSAVE", 0x1000), touch("VMLOAD", 0x1000)]
    found = cold(steps, SMALL._replace(prefetch=True))
    assert found == {"prefetch": 2, "cold operand prefetched": 1}
    assert EPYC.total(found).nominal < EPYC.total(cold(steps, SMALL)).nominal


def test_a_page_touched_on_every_exit_stays_warm_where_one_touched_on_vcpu_put_does_not():
    through = exits("user", *["kernel"] * 70, "user")
    for name, pages in (("vmload_before_stgi", 2), ("lazy", 3)):
        found = costs.bill(run(ALL[name], through).trace, EPYC, Terms(cache=usual()))
        assert found.by_part()["cache"].events["cold operand"] == pages, name


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cache", [usual(), SMALL, Cache(100, 100, 10), Cache(4000, 7, 5000, prefetch=True)])
@pytest.mark.parametrize("share", [0.02, 0.3, 1])
def test_the_average_exit_of_a_share_is_that_of_a_long_replayed_sequence(name, cache, share):
    draw = random.Random(f"{name} {share}")
    words = ["user" if draw.random() < share else "kernel" for _ in range(8_000)]
    f = words.count("user") / len(words)
    replayed = replay(KINDS[name], words, cache)
    for event, times in per_exit(KINDS[name], f, cache).items():
        assert replayed[event] / len(words) == pytest.approx(times, rel=0.15, abs=2e-3), event


def test_no_exit_to_user_space_at_all_is_the_limit_of_few():
    for cache in (usual(), SMALL, Cache(100, 100, 10)):
        none, few = (per_exit(KINDS["lazy"], share, cache) for share in (0, 1e-7))
        for event in few:
            assert none.get(event, 0) == pytest.approx(few[event], abs=1e-6)


def test_a_sequence_is_replayed_without_running_anything_again():
    words = ["kernel", "user", "kernel", "sched"]
    found = LAZY.replay(words)
    assert found["VMRUN"] == 4
    assert found["VMSAVE"] == 4 + 2
    away = costs.exit_costs("lazy", KINDS["lazy"], EPYC, Terms(user_space=True)).replay(words)
    assert away["user space and back"] == 1
    with pytest.raises(ValueError, match="no exit 'idle' to replay; write kernel, user or sched"):
        costs.exit_costs("lazy", KINDS["lazy"], EPYC, Terms(cache=usual())).replay(["idle"])


# Exit mixes


def test_a_published_mix_is_its_two_counts():
    for row in rows("mixes"):
        if row["exits"]:
            share = float(row["puts"]) / float(row["exits"])
            assert float(row["share"]) == pytest.approx(share, rel=0.02), row["mix"]


def test_a_mix_of_reasons_alone_asks_for_the_share():
    with pytest.raises(costs.MixError, match=r"perf-io tells why guests left.*give that share yourself"):
        _ = costs.mix("perf-io").f
    assert costs.mix("perf-io").at(0.06).f == (0.06, 0.06, 0.06)


def test_a_mix_is_counted_or_made_of_reasons():
    mine = costs.counted("mine", 1000, 60, seconds=2, reasons={"HLT": 600, "I/O": 400})
    assert (mine.f.nominal, mine.per_second.nominal, mine.reasons) == (0.06, 500, {"HLT": 0.6, "I/O": 0.4})
    mine = costs.by_reason("mine", {"HLT": (0.5, 1), "MSR write": (0.5, 0)}, per_second=1000)
    assert mine.f.nominal == 0.5


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: costs.by_reason("mine", {"HLT": (0.5, 1), "I/O": (0.4, 0)}),
            "mine sums to 0.9 (HLT 0.5, I/O 0.4)",
        ),
        (lambda: costs.by_reason("mine", {"HLT": (1, 1.5)}), "mine, HLT: 1.5 of its exits reach vcpu_put"),
        (lambda: costs.mix("idle").at(1.2), "the mix idle: share 1.2, 1.2, 1.2; write 0 ≤ low"),
        (lambda: costs.counted("mine", 10, 11), "the mix mine: 11 of 10 exits cannot have reached vcpu_put"),
        (lambda: costs.mix("busy"), "no exit mix 'busy'; there is hung, polling-user"),
    ],
)
def test_a_wrong_mix_is_one_line_that_says_what_and_how(make, message):
    with pytest.raises(costs.MixError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.0003, 0.06, 1])
def test_a_mix_of_exits_costs_the_weighted_bills(share):
    expected = (1 - share) * LAZY.kernel.nominal + share * LAZY.user.nominal
    assert LAZY.ticks(share).nominal == pytest.approx(expected)


# Distributions


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    again = chance.draws_for(COSTS.values())
    assert (again.table == DRAWS.table).all()
    assert not (chance.draws_for(COSTS.values(), seed=1).table == DRAWS.table).all()


def test_an_event_s_draws_do_not_depend_on_what_else_is_drawn():
    few, many = (
        chance.Draws(EPYC, ["LTR", "VMSAVE"], 100),
        chance.Draws(EPYC, ["VMSAVE", "RDMSR", "LTR"], 100),
    )
    for event in ("LTR", "VMSAVE"):
        assert (few.cost({event: 1}) == many.cost({event: 1})).all()
    alone, tied = chance.Draws(EPYC, ["VMLOAD"], 100), chance.Draws(EPYC, ["WRGSBASE", "VMLOAD"], 100)
    assert (alone.cost({"VMLOAD": 1}) == tied.cost({"VMLOAD": 1})).all()


@pytest.mark.parametrize("name", costs.names())
def test_every_draw_lies_in_its_price_s_interval(name):
    prices = costs.prices(name)
    draws = chance.Draws(prices, prices, 500)
    for event, at in draws.column.items():
        low, _, high = prices[event][:3]
        assert low - 1e-9 <= draws.table[:, at].min() <= draws.table[:, at].max() <= high + 1e-9, event


def test_core_cycles_of_one_list_share_one_draw_of_the_ratio():
    zen5 = costs.prices("zen5")
    draws = chance.Draws(zen5, ["WRGSBASE", "MOV Sreg,r null"])
    assert np.corrcoef(draws.table.T)[0, 1] > 0.3
    ratio = draws.uniform("core_per_tick", zen5.ratio)
    cycles = draws.cost({"WRGSBASE": 1}) * ratio
    assert 42 <= cycles.min() <= cycles.max() <= 45


def test_two_prices_of_one_published_difference_keep_to_it():
    gap = DRAWS.cost({"WRGSBASE": 1, "VMLOAD": -1})
    assert gap.mean() == pytest.approx(-24, abs=4)
    assert gap.std() < 8
    free = chance.Draws(costs.prices("zen5"), ["WRGSBASE", "VMLOAD"]).cost({"WRGSBASE": 1, "VMLOAD": -1})
    assert free.std() > 15


def test_a_changed_price_is_no_longer_tied():
    changed = EPYC.but(VMLOAD=(250, 300, 350))
    gap = chance.Draws(changed, ["WRGSBASE", "VMLOAD"]).cost({"WRGSBASE": 1, "VMLOAD": -1})
    assert gap.max() < -150


def test_a_price_that_both_paths_pay_adds_nothing_to_their_difference():
    dear = EPYC.but(VMSAVE=(100, 5000, 9000))
    a, b = (costs.exit_costs(name, KINDS[name], dear) for name in ("lazy", "vmload_before_stgi"))
    found = chance.difference(a, b, costs.mix("haswell"), chance.draws_for([a, b]))
    usual_one = chance.difference(LAZY, MERGED, costs.mix("haswell"), DRAWS)
    assert found.ticks == pytest.approx(usual_one.ticks)


def test_the_median_of_a_bill_lies_between_its_5_and_95_percent_and_these_in_its_interval():
    for path in COSTS.values():
        found = chance.spread(DRAWS.cost(path.at(0.06)))
        ticks = path.ticks(0.06)
        assert ticks.low < found.low < found.median < found.high < ticks.high


def test_a_bill_is_a_distribution_too():
    bill = LAZY.user
    found = chance.of_bill(bill)
    assert bill.low < found.low < found.median < found.high < bill.high
    assert found == pytest.approx(chance.spread(DRAWS.cost(bill.events)))


def test_lazy_wins_on_the_hosts_at_work_and_loses_on_the_idle_guest_of_2020():
    signs = {
        name: chance.difference(LAZY, MERGED, costs.mix(name), DRAWS)
        for name in ("haswell", "idle", "hlt-loop")
    }
    assert signs["haswell"].sign == "lazy cheaper"
    assert signs["haswell"].ticks.median == pytest.approx(-20, abs=5)
    assert signs["idle"].sign == "open"
    assert signs["hlt-loop"].sign == "vmload_before_stgi cheaper"


def test_since_2023_lazy_wins_nowhere():
    since = COSTS["since_2023"]
    for name in ("hung", "haswell", "idle"):
        assert chance.difference(LAZY, since, costs.mix(name), DRAWS).cheaper < 0.05


def test_the_border_lies_where_the_samples_put_it():
    found = chance.border(LAZY, MERGED, DRAWS)
    assert found.wins == "below"
    assert found.nominal == pytest.approx(0.375, abs=0.005)
    assert 0.17 < found.share.low < found.share.median < found.share.high < 0.62
    assert str(chance.border(MERGED, LAZY, DRAWS)).startswith("above 0.37")
    assert str(chance.border(LAZY, COSTS["since_2023"], DRAWS)) == "never"


def test_with_a_cache_there_is_no_single_border():
    cached = costs.exit_costs("lazy", KINDS["lazy"], EPYC, Terms(cache=usual()))
    with pytest.raises(costs.PriceError, match="not straight in f"):
        chance.border(cached, MERGED, DRAWS)


def test_a_share_that_is_an_interval_is_drawn_like_a_price():
    wide = chance.difference(LAZY, MERGED, costs.mix("idle").at(0.486, 0.1, 0.9), DRAWS)
    narrow = chance.difference(LAZY, MERGED, costs.mix("idle"), DRAWS)
    assert wide.ticks.high - wide.ticks.low > 1.5 * (narrow.ticks.high - narrow.ticks.low)


def test_a_load_is_ticks_a_second_and_percent_of_a_core_where_the_rate_is_known():
    load = chance.load(MERGED, costs.mix("hung"), DRAWS)
    assert load.per_second.median == pytest.approx(615_942 * load.per_exit.median, rel=0.01)
    assert load.percent.median == pytest.approx(100 * load.per_second.median / 2000e6, rel=0.05)
    assert chance.load(MERGED, costs.mix("haswell"), DRAWS).percent is None


def test_a_sweep_says_the_same_as_each_mix_alone():
    paths, shares = list(COSTS.values()), [0, 0.06, 0.5, 1]
    found = chance.sweep(paths, shares, DRAWS)
    assert found.shape == (4, len(paths), 3)
    one = chance.spread(DRAWS.cost(paths[2].at(0.06)))
    assert found[1, 2] == pytest.approx(one, rel=1e-3)


def test_counts_that_two_paths_share_are_not_in_their_difference():
    assert less({"LTR": 1, "VMLOAD": 2}, {"LTR": 1, "STI": 1}) == {"VMLOAD": 2, "STI": -1}


# The calibration


@pytest.fixture(scope="module")
def calibration():
    return targets.calibrate(KINDS)


def test_every_target_is_predicted_or_an_identity_and_at_most_one_is_an_expected_failure(calibration):
    assert calibration.good, [one for one in calibration.outcomes if one.status == targets.FAILED]
    assert len(calibration.outcomes) == len(rows("targets"))


def test_a_prediction_uses_no_estimate_that_goes_back_to_its_target():
    for target in rows("targets"):
        prices = targets._without(target, costs.prices(target["price_list"]))
        for event in targets._events(target) if prices else ():
            used = [
                row
                for row in rows("estimates")
                if (row["price_list"], row["event"]) == (target["price_list"], event)
                and float(row["nominal"]) == prices[event].nominal
            ]
            assert any(target["target"] not in row["uses"].split() for row in used), (target["target"], event)


def test_what_an_estimate_uses_are_targets():
    known = {row["target"] for row in rows("targets")}
    sources = {row["id"] for row in rows("sources")}
    for row in rows("estimates"):
        assert known.issuperset(row["uses"].split()), row
        assert sources.issuperset(row["source"].split()), row


def test_an_identity_is_met_and_not_counted_as_predicted(calibration):
    identities = [one for one in calibration.outcomes if one.status == targets.IDENTITY]
    assert {one.target for one in identities} >= {"xen_sequence", "vmexit_user_space", "vmexit_emulation"}
    assert all(one.predicted is None and one.low <= one.fitted - one.value <= one.high for one in identities)


def test_the_expected_failure_says_why(calibration):
    (one,) = [one for one in calibration.outcomes if one.status == targets.EXPECTED]
    assert one.target == "load_after"
    assert "two published numbers contradict each other" in one.reason
    assert not one.low <= one.residual <= one.high


def test_a_list_that_misses_a_target_fails_and_one_that_meets_the_expected_failure_fails_too():
    wrong = {"epyc-2020": EPYC.but(VMLOAD=(100, 120, 140))}
    found = {one.target: one.status for one in targets.calibrate(KINDS, wrong).outcomes}
    assert found["run_v2"] == found["after_wrgsbase"] == targets.FAILED
    row = {"expected": "failure", "reason": "why"}
    assert targets._status(row, met=True, held=True) == targets.FAILED


def test_the_free_parameters_are_counted_and_the_summary_says_it(calibration):
    assert len(calibration.free) == len(set(calibration.free)) > 10
    assert f"{len(calibration.free)} free parameters" in calibration.summary()
    assert "0 failed" in calibration.summary()
