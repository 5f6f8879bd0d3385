"""Prices, bills and break-even: every event has a price, every price a source, and the samples come out."""

import csv
import io
import subprocess
import sys

import pytest

from svmlib import costs
from svmlib.costs.lists import read
from svmlib.costs.prices import LABELS
from svmlib.data import rows
from svmlib.kvm import Host, random_exits, run
from svmlib.kvm.run import typical_exits
from svmlib.paths import PATHS, lazy, vmload_before_stgi
from svmlib.trace import Step

EPYC = costs.prices("epyc-2020")
SOURCES = {row["id"] for row in rows("sources")}
PUBLISHED = {row["id"]: row for row in rows("published")}
EVERY_PATH = {**PATHS, "since_2023": vmload_before_stgi.since_2023}
# What the instructions record: all that a path can do through `cpu` and `vcpu`, and what stops it.
EVENTS = (
    *("RDMSR", "WRMSR", "VMSAVE", "VMLOAD", "VMRUN", "#VMEXIT", "CLGI", "STGI", "CLI", "STI", "SWAPGS"),
    *("RDFSBASE", "RDGSBASE", "WRFSBASE", "WRGSBASE", "SLDT", "LLDT", "STR", "LTR"),
    *("MOV r,Sreg", "MOV Sreg,r", "MOV r,m", "MOV m,r", "#UD", "#GP", "#PF", "shutdown"),
)


def step(event, operand=None, value=None, phase="vcpu_enter_exit", times=1):
    return Step(event, operand, value, (), (), (), (), 0, 0, "host", phase, times)


def bills(path, prices=EPYC):
    return {kind: costs.bill(steps, prices) for kind, steps in typical_exits(path, Host(seed=1)).items()}


def nominal(**ticks):
    """A price list of these events, each exactly that many ticks."""
    return costs.PriceList(
        "exact",
        {event: costs.Price(t, t, t, "ticks", "assumed", ("unpublished",)) for event, t in ticks.items()},
    )


def per_exit(prices, kernel, user):
    """Bills of an exit that does the events `kernel`, or `user`: words like "VMLOAD WRMSR"."""
    return {
        kind: costs.bill([step(event) for event in events.split()], prices)
        for kind, events in (("kernel", kernel), ("user", user))
    }


def published(name):
    row = PUBLISHED[name]
    return tuple(float(row[column]) for column in ("low", "value", "high"))


# The tables


@pytest.mark.parametrize(
    "row", rows("prices") + rows("published"), ids=lambda row: row.get("event") or row["id"]
)
def test_every_number_has_a_source_and_a_label_and_lies_in_its_interval(row):
    assert row["source"].split()
    assert SOURCES.issuperset(row["source"].split())
    assert row["label"] in LABELS
    assert row["note"]
    middle = float(row["nominal"] if "nominal" in row else row["value"])
    assert float(row["low"]) <= middle <= float(row["high"])


def test_every_source_says_where_it_is():
    for row in rows("sources"):
        assert all(row[column] for column in ("id", "title", "where", "date", "licence")), row


def test_source_ids_are_unique():
    assert len(SOURCES) == len(rows("sources"))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_that_a_path_can_emit_has_a_price_and_none_is_free(event):
    assert EPYC.of(step(event)).nominal > 0


@pytest.mark.parametrize("name", EVERY_PATH)
@pytest.mark.parametrize("fsgsbase", [True, False])
def test_every_step_of_a_reference_path_has_a_price(name, fsgsbase):
    for seed in range(5):
        host = Host(seed, fsgsbase=fsgsbase)
        result = run(EVERY_PATH[name], random_exits(seed, 20, host), host)
        for one in result.trace:
            if one.phase:
                assert EPYC.of(one).nominal > 0


def test_a_number_without_a_published_source_says_that_it_is_assumed():
    for event, price in EPYC.items():
        if "unpublished" in price.source:
            assert price.label == "assumed", event
            assert price.high >= 3 * price.nominal, f"{event}: nothing is known, so the interval is wide"


# One price


def test_a_variant_is_priced_before_its_event():
    assert EPYC.event(step("WRMSR", "TSC_AUX", 1)) == "WRMSR TSC_AUX"
    assert EPYC.event(step("WRMSR", "LSTAR", 1)) == "WRMSR"


@pytest.mark.parametrize(
    "selector, event", [(0, "MOV Sreg,r null"), (3, "MOV Sreg,r null"), (0x2B, "MOV Sreg,r")]
)
def test_a_null_selector_has_a_price_of_its_own(selector, event):
    assert EPYC.event(step("MOV Sreg,r", "FS", selector)) == event


def test_core_cycles_become_ticks_by_the_ratio_and_its_interval():
    price = EPYC["LLDT"]
    assert price.unit == "core cycles"
    assert price[:3] == (34 / 2, 35 / 1.5, 200 / 1)


# The bill


def test_a_bill_counts_each_step_as_often_as_it_happened():
    bill = costs.bill([step("MOV m,r", times=10), step("RDMSR", "STAR"), step("MOV m,r")], EPYC)
    assert bill.events == {"MOV m,r": 11, "RDMSR": 1}
    assert bill.instructions == 12
    assert bill.nominal == 11 * EPYC["MOV m,r"].nominal + EPYC["RDMSR"].nominal


def test_the_exit_of_the_guest_costs_ticks_but_is_no_instruction():
    bill = costs.bill([step("VMRUN"), step("#VMEXIT")], EPYC)
    assert bill.instructions == 1
    assert bill.nominal == EPYC["VMRUN"].nominal + EPYC["#VMEXIT"].nominal


def test_the_kernel_around_a_path_is_not_on_its_bill():
    assert costs.bill([step("STGI", phase=""), step("switch_to", phase="")], EPYC).total == (0, 0, 0)


@pytest.mark.parametrize("path", EVERY_PATH.values(), ids=EVERY_PATH)
def test_the_parts_of_a_bill_add_up_to_it(path):
    for bill in bills(path).values():
        parts = bill.by_part()
        assert list(parts) == ["save", "enter/exit", "restore"]
        sums = [sum(bound) for bound in zip(*(part.total for part in parts.values()), strict=True)]
        assert sums == pytest.approx(bill.total)
        assert sum(part.instructions for part in parts.values()) == bill.instructions
        assert bill.low < bill.nominal < bill.high


def test_a_bill_reads_as_an_aligned_table_with_its_legend():
    text = str(bills(lazy)["user"])
    table = text.partition("\n\n")[0].splitlines()
    assert table[0].split() == ["event", "times", "ticks", "low–high", "known"]
    assert len({line.rindex(" ◐ ") for line in table if "◐" in line}) == 1
    assert table[-1].startswith("total")
    assert "◐ derived: computed from published numbers" in text
    assert "TSC ticks, price list epyc-2020" in text


def test_a_bill_in_a_notebook_says_every_label_in_words_and_no_colour():
    html = bills(lazy)["user"]._repr_html_()
    assert '<th scope="row">#VMEXIT</th>' in html
    assert html.count("○ assumed") >= 2
    assert "color" not in html


def test_a_bill_lists_the_titles_of_its_sources():
    listed = costs.bill([step("VMSAVE")], EPYC).sources()
    assert len(listed) == 1
    assert "an estimate of what VMSAVE takes" in listed[0]


# The published samples.  Where prices were derived from a figure, meeting it is an identity and no success.


@pytest.mark.parametrize(
    "path, without, figure",
    [
        (vmload_before_stgi.since_2023, {}, "run_interval_vmload"),
        (lazy, {"LTR": 1}, "run_interval_wrgsbase"),
    ],
    ids=["VMLOAD on every exit", "WRGSBASE on every exit"],
)
def test_the_run_interval_is_within_a_clock_step_of_the_samples_an_identity(path, without, figure):
    bill = bills(path)["kernel"].by_part()["enter/exit"]
    ticks = bill.nominal - EPYC.total(without).nominal
    low, _, high = published(figure)
    assert low <= ticks <= high


def test_wrgsbase_and_vmload_differ_by_the_published_24_ticks_an_identity():
    assert EPYC["WRGSBASE"].nominal - EPYC["VMLOAD"].nominal == published("lazy_every_exit")[1]


def test_one_vmload_is_the_published_64_ticks_on_the_way_to_user_space_an_identity():
    assert EPYC["VMLOAD"].nominal == published("lazy_each_put")[1]


@pytest.mark.parametrize("event, ticks", [("RDMSR", 862), ("WRMSR", 1452)])
def test_eleven_msr_accesses_are_the_profile_s_share_an_identity(event, ticks):
    assert 11 * EPYC[event].nominal == pytest.approx(ticks, rel=0.01)


def test_the_run_interval_is_the_sum_of_its_pieces_an_identity():
    pieces = ["WRGSBASE", "VMLOAD", "VMSAVE", "STI", "CLI", "VMRUN", "#VMEXIT"]
    assert sum(EPYC[event].nominal for event in pieces) == published("run_interval_wrgsbase")[1]


def test_the_break_even_of_2020_lies_where_the_samples_put_it():
    found = costs.break_even(bills(lazy), bills(vmload_before_stgi))
    low, _, high = published("lazy_break_even")
    assert found.wins == "below"
    assert low < found.share < high
    assert found.low <= low
    assert high <= found.high


def test_replacing_vmload_by_wrmsr_gs_base_is_within_what_the_profile_leaves_open():
    found = costs.break_even(bills(PATHS["hybrid"]), bills(vmload_before_stgi))
    low, _, high = published("hybrid_every_exit")
    assert low <= found.every_exit.nominal <= high


def test_the_hybrid_saves_what_the_commit_message_says_within_the_interval():
    saved = costs.difference(bills(PATHS["legacy"]), bills(PATHS["hybrid"]), 1)
    assert saved.low < published("kvm_run_before")[1] - published("kvm_run_after")[1] < saved.high


def test_the_legacy_restore_is_what_the_profile_gives_vcpu_put_mostly_an_identity():
    assert bills(PATHS["legacy"])["user"].by_part()["restore"].nominal == pytest.approx(1577, rel=0.05)


def test_vmload_is_about_one_wrmsr():
    assert 1 / 2.5 < EPYC["VMLOAD"].nominal / EPYC["WRMSR"].nominal < 2.5


# Break-even


def test_a_path_that_saves_on_every_exit_and_pays_on_each_put_wins_below_a_share():
    prices = nominal(WRGSBASE=40, VMLOAD=64)
    found = costs.break_even(
        per_exit(prices, "WRGSBASE", "WRGSBASE VMLOAD"), per_exit(prices, "VMLOAD", "VMLOAD")
    )
    assert found.wins == "below"
    assert found.share == found.low == found.high == pytest.approx(0.375)
    assert (found.every_exit.nominal, found.each_put.nominal) == (-24, 64)
    assert str(found) == "below 0.38 (0.38–0.38)"


def test_the_other_one_wins_above_it():
    prices = nominal(WRGSBASE=40, VMLOAD=64)
    found = costs.break_even(
        per_exit(prices, "VMLOAD", "VMLOAD"), per_exit(prices, "WRGSBASE", "WRGSBASE VMLOAD")
    )
    assert found.wins == "above"
    assert found.share == found.low == found.high == pytest.approx(0.375)


@pytest.mark.parametrize(
    "a, b, wins", [("STI", "VMLOAD", "always"), ("VMLOAD", "STI", "never"), ("STI", "STI", "never")]
)
def test_a_path_that_is_cheaper_on_both_exits_always_wins(a, b, wins):
    found = costs.break_even(per_exit(EPYC, a, a), per_exit(EPYC, b, b))
    assert found.wins == wins
    assert str(found) == f"{wins} ({wins}–{wins})"
    assert found.share == (1 if wins == "always" else 0)


def test_a_price_that_both_paths_pay_does_not_widen_the_interval():
    few = costs.break_even(per_exit(EPYC, "WRGSBASE", "WRGSBASE VMLOAD"), per_exit(EPYC, "VMLOAD", "VMLOAD"))
    more = costs.break_even(
        per_exit(EPYC, "WRGSBASE LTR", "WRGSBASE LTR VMLOAD"), per_exit(EPYC, "VMLOAD LTR", "VMLOAD LTR")
    )
    assert few == more


def test_the_interval_is_that_of_the_corners_of_all_prices():
    a, b = bills(lazy), bills(vmload_before_stgi)
    found = costs.break_even(a, b)
    shares = []
    for vmload in EPYC["VMLOAD"][0], EPYC["VMLOAD"][2]:
        for wrgsbase in EPYC["WRGSBASE"][0], EPYC["WRGSBASE"][2]:
            for access in EPYC["MOV r,m"][0], EPYC["MOV r,m"][2]:
                prices = nominal(**{"VMLOAD": vmload, "WRGSBASE": wrgsbase, "MOV r,m": access})
                every = prices.total({"WRGSBASE": 1, "VMLOAD": -1, "MOV r,m": -1}).nominal
                put = prices.total({"VMLOAD": 1, "MOV r,m": 3}).nominal
                shares.append(min(1, max(0, -every / put)))
    assert (found.low, found.high) == pytest.approx((min(shares), max(shares)))


@pytest.mark.parametrize("share", [0, 0.0035, 0.06, 0.5, 1])
def test_the_difference_at_a_share_mixes_the_two_exits(share):
    a, b = bills(lazy), bills(vmload_before_stgi)
    found = costs.difference(a, b, share)
    expected = sum(
        weight * (a[kind].nominal - b[kind].nominal)
        for kind, weight in (("kernel", 1 - share), ("user", share))
    )
    assert found.nominal == pytest.approx(expected)
    assert found.low < found.nominal < found.high


# Bad input: one line that names the thing and what to do.


def table(*lines):
    head = "price_list,event,low,nominal,high,unit,label,source,note"
    return list(csv.DictReader(io.StringIO("\n".join([head, *lines]))))


GOOD = "mine,STI,0,4,20,ticks,assumed,unpublished,a guess"


@pytest.mark.parametrize(
    "lines, message",
    [
        (
            [GOOD, "mine,CLI,9,4,20,ticks,assumed,unpublished,-"],
            "line 3 (CLI): low 9, nominal 4, high 20; write 0 ≤ low",
        ),
        ([GOOD, "mine,CLI,0,4,3,ticks,assumed,unpublished,-"], "line 3 (CLI): low 0, nominal 4, high 3"),
        (["mine,CLI,0,0,3,ticks,assumed,unpublished,-"], "line 2 (CLI): low 0, nominal 0, high 3; write"),
        (["mine,CLI,0,nan,3,ticks,assumed,unpublished,-"], "line 2 (CLI): low 0, nominal nan"),
        (
            ["mine,CLI,0,many,3,ticks,assumed,unpublished,-"],
            "line 2 (CLI): could not convert string to float: 'many'",
        ),
        (
            ["mine,CLI,0,4"],
            "line 2 (CLI): could not convert string to float: ''; low, nominal and high have to be numbers",
        ),
        (
            ["mine,CLI,0,4,9,seconds,assumed,unpublished,-"],
            "line 2 (CLI): unknown unit 'seconds'; write ticks or core",
        ),
        (
            ["mine,CLI,0,4,9,ticks,heard,unpublished,-"],
            "line 2 (CLI): unknown label 'heard'; write published or",
        ),
        (
            [GOOD, "mine,CLI,0,4,9,ticks,assumed,nowhere,-"],
            "line 3 (CLI): unknown source: nowhere; add it to svmlib/data/",
        ),
        (["mine,CLI,0,4,9,ticks,assumed,,-"], "line 2 (CLI): unknown source: none given"),
        ([GOOD, GOOD], "line 3 (STI): this event has a price in mine already; keep one"),
        (
            ["mine,CLI,0,4,9,core cycles,assumed,unpublished,-"],
            "CLI is in core cycles, but its price list has no core_per",
        ),
        (
            ["mine,core_per_tick,1,1,1,ticks,assumed,unpublished,-"],
            "unknown unit 'ticks'; write core cycles per tick",
        ),
        (["other" + GOOD[4:]], "no price list 'mine'; there is other"),
    ],
)
def test_a_wrong_row_is_one_line_with_its_number_and_the_cure(lines, message):
    with pytest.raises(costs.PriceError) as caught:
        read("mine", table(*lines), SOURCES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_price_list_names_those_that_exist():
    with pytest.raises(costs.PriceError, match=r"no price list .zen9.; there is k8, family-15h, zen1"):
        costs.prices("zen9")


def test_a_missing_event_is_named_with_its_list():
    prices = read("mine", table(GOOD), SOURCES)
    with pytest.raises(costs.PriceError, match="the price list mine has no price for LTR; add a row"):
        costs.bill([step("STI"), step("LTR")], prices)


def test_bills_on_two_price_lists_are_not_compared():
    with pytest.raises(costs.PriceError, match="two price lists cannot be compared: epyc-2020 and exact"):
        costs.break_even(per_exit(EPYC, "STI", "STI"), per_exit(nominal(STI=4), "STI", "STI"))


def test_a_what_if_is_another_price_list():
    slow = EPYC["VMLOAD"]._replace(low=300, nominal=300, high=300)
    prices = costs.PriceList("slow VMLOAD", {**EPYC, "VMLOAD": slow})
    found = costs.break_even(bills(lazy, prices), bills(vmload_before_stgi, prices))
    assert found.every_exit.nominal < -200
    assert EPYC["VMLOAD"].nominal == 64


def test_a_bill_needs_no_third_party_package():
    code = """
import sys
from importlib.machinery import PathFinder
sys.path[:] = [one for one in sys.path if "site-packages" not in one]
from svmlib import costs
print(len(costs.prices("epyc-2020")))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(EPYC)
