"""The tables behind the prices: measurements, samples, lists and the rule by which a list is put together."""

import math
from itertools import pairwise

import pytest

from svmlib import costs
from svmlib.costs import lists
from svmlib.costs.prices import LABELS, OWN_UNITS, UNITS
from svmlib.data import rows

SOURCES = {row["id"] for row in rows("sources")}
MEASURED = rows("measurements")
UNITS_OF_MEASUREMENTS = {*UNITS, *OWN_UNITS.values(), "ns", "cache lines", "words"}
CITING = ("measurements", "samples", "profile", "versions", "mixes", "cache", "terms", "published")
EPYC = costs.prices("epyc-2020")


@pytest.mark.parametrize("table", CITING)
def test_every_row_names_sources_that_exist(table):
    for row in rows(table):
        assert row["source"].split(), row
        assert SOURCES.issuperset(row["source"].split()), row


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: f"{row['event']} on {row['cpu']}")
def test_a_measurement_is_an_interval_in_a_known_unit_and_says_how_it_was_taken(row):
    assert row["label"] in LABELS
    assert row["unit"] in UNITS_OF_MEASUREMENTS
    assert row["confidence"] in {"H", "M", "L"}
    assert row["verified"] in {"yes", "no"}
    assert row["method"]
    numbers = [row[column] for column in ("low", "nominal", "high")]
    if row["unit"] == "words":
        assert numbers == ["", "", ""]
    else:
        low, nominal, high = map(float, numbers)
        assert 0 <= low <= nominal <= high


def test_a_source_has_title_author_date_and_place():
    for row in rows("sources"):
        assert all(row[column] for column in ("id", "title", "where", "date", "licence", "author")), row


def test_a_row_that_feeds_a_price_is_of_a_cpu_that_a_list_is_for():
    cpus = {row["cpu"] for row in rows("price_lists")}
    assert {row["cpu"] for row in MEASURED if row["prices"]} <= cpus


# The samples of 16 December 2020

MARKS = ("ioctl_entry", "pre_vmrun", "post_vmrun", "ioctl_exit")


def intervals(build):
    """Mean interval between the markers of a build's two samples."""
    found = [[int(row[mark]) for mark in MARKS] for row in rows("samples") if row["build"] == build]
    each = [[b - a for a, b in pairwise(stamps)] for stamps in found]
    return [sum(column) / len(column) for column in zip(*each, strict=True)]


@pytest.mark.parametrize("build, word", [("v2", "vmload"), ("wrgsbase", "wrgsbase")])
def test_the_published_intervals_are_the_means_of_the_time_stamps(build, word):
    published = {row["id"]: float(row["value"]) for row in rows("published")}
    names = [f"{part}_interval_{word}" for part in ("before", "run", "after")]
    assert intervals(build) == [published[name] for name in names]


def test_the_clock_of_the_samples_moved_in_steps_of_sixteen():
    stamps = [int(row[mark]) for row in rows("samples") for mark in MARKS]
    assert math.gcd(*stamps) == 16
    (step,) = [row for row in MEASURED if row["event"] == "RDTSCP step"]
    assert float(step["nominal"]) == 16


def test_the_profile_closes_load_and_put_save_what_the_whole_call_saves():
    share = {(row["symbol"], row["under"]): row for row in rows("profile")}
    total = {
        when: next(r for r in rows("published") if r["id"] == f"kvm_run_{when}")
        for when in ("before", "after")
    }
    call = share["kvm_arch_vcpu_ioctl_run", ""]
    ticks = {
        when: sum(float(share[part, "kvm_arch_vcpu_ioctl_run"][when]) for part in ("vcpu_load", "vcpu_put"))
        / float(call[when]) * float(total[when]["value"])
        for when in total
    }  # fmt: skip
    saved = float(total["before"]["value"]) - float(total["after"]["value"])
    assert ticks["before"] - ticks["after"] == pytest.approx(saved, abs=5)


# The rule


@pytest.mark.parametrize("name", lists.names())
def test_every_list_prices_every_event_of_the_list_that_all_go_back_to(name):
    prices = costs.prices(name)
    assert set(EPYC) <= set(prices)
    for event, price in prices.items():
        assert 0 <= price.low <= price.nominal <= price.high, event
        assert SOURCES.issuperset(price.source), event
    assert prices.ratio.low > 0
    assert prices.clock.unit == "MHz"


def test_a_list_s_own_measurement_comes_before_its_neighbour_s_price():
    zen5 = costs.prices("zen5")
    assert zen5["WRGSBASE"].label == "measured"
    assert zen5["WRGSBASE"][:3] == pytest.approx((42 / 1.60, 43.5 / 1.55, 45 / 1.51))
    assert costs.prices("k8")["VMLOAD"].nominal == 160


def test_a_neighbour_s_price_comes_with_a_wider_interval_and_says_where_from():
    zen2, zen1 = (costs.prices(name)["VMLOAD"] for name in ("zen2", "zen1"))
    assert zen2[:3] == pytest.approx((48 / 1.25, 64, 80 * 1.25))
    assert zen1[:3] == pytest.approx((48 / 1.25**2, 64, 80 * 1.25**2))
    assert {zen1.label, zen2.label} == {"assumed"}
    assert zen1.note.startswith("as on epyc-2020: ")


def test_core_cycles_of_a_neighbour_become_ticks_by_the_list_s_own_ratio():
    k8 = costs.prices("k8")
    assert k8["LLDT"][:3] == (34, 34, 34)
    assert costs.prices("family-15h")["LLDT"].nominal == pytest.approx(35 / 1.1)


def test_a_base_written_by_wrmsr_waits_for_nothing_from_zen_4_on():
    for name in ("zen4", "zen5"):
        prices = costs.prices(name)
        assert prices["WRMSR GS_BASE"].nominal == EPYC["WRMSR undrained"].nominal < prices["WRMSR"].nominal
    assert "WRMSR GS_BASE" not in costs.prices("zen3")


def test_a_figure_from_memory_enters_only_a_list_that_asks_for_it_and_says_so():
    assert costs.prices("k8")["RDMSR"].label == "assumed"
    asked = costs.prices("k8", unverified=True)["RDMSR"]
    assert asked.nominal == 87
    assert asked.note.startswith("unverified, from memory: ")
    assert costs.prices("k8", unverified=True).name == "k8 with figures from memory"
    assert costs.prices("zen5", unverified=True).name == "zen5"


def test_the_two_figures_for_vmload_stay_two():
    assert EPYC["VMLOAD"].nominal == 64
    assert costs.prices("epyc-2020-timed")["VMLOAD"].nominal == 270
    assert costs.prices("epyc-2020-timed")["WRGSBASE"] == EPYC["WRGSBASE"]


def test_the_builds_of_the_samples_and_of_the_commit_message_are_two_lists():
    commit = costs.prices("epyc-2020-commit")
    assert commit["VMSAVE in vcpu_load"].nominal == 440
    assert EPYC["VMSAVE"].nominal == 150
    assert commit["WRMSR"] == EPYC["WRMSR"]


def test_two_measurements_for_one_price_are_an_error_that_names_the_line(monkeypatch):
    doubled = (*MEASURED, next(row for row in MEASURED if row["prices"] == "LLDT"))
    monkeypatch.setattr(lists, "rows", lambda table: doubled if table == "measurements" else rows(table))
    with pytest.raises(
        costs.PriceError, match=rf"measurements.csv, line {len(doubled) + 1} \(LLDT\): another row"
    ):
        lists._measured("k8", unverified=False)


# A list of one's own


HEAD = ",".join(lists.COLUMNS)
STI = "STI,1,1,1,ticks,assumed,unpublished,-"


def written(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_a_list_too(tmp_path):
    path = written(tmp_path, f"{HEAD}\nmine,STI,1,4,20,ticks,measured,unpublished,my machine\n")
    assert costs.prices(str(path)).name == "mine"
    assert costs.prices(str(path))["STI"].nominal == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: no column price_list, event,"),
        ("event,low\nSTI,1\n", "line 1: no column price_list, nominal,"),
        (f"{HEAD}\n", "0 price lists in one file (no row); keep one"),
        (f"{HEAD}\na,{STI}\nb,{STI}\n", "2 price lists"),
        (f"{HEAD}\nmine,STI,1,4\n", "line 2: it ends too early; every line has 9 columns"),
        (f"{HEAD}\nmine,STI,5,4,6,ticks,assumed,unpublished,-\n", "line 2 (STI): low 5, nominal 4, high 6"),
        (f"{HEAD}\nmine,STI,1,4,6,ticks,assumed,nobody,-\n", "line 2 (STI): unknown source: nobody"),
        (f"{HEAD}\nmine,STI,1,4,6,core cycles,assumed,unpublished,-\n", "STI is in core cycles, but its"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_place_and_the_cure(tmp_path, text, message):
    with pytest.raises(costs.PriceError) as caught:
        lists.read_file(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line_that_names_the_lists():
    with pytest.raises(
        costs.PriceError, match=r"nowhere.csv cannot be read: .*; give a CSV file, or one of k8"
    ):
        costs.prices("nowhere.csv")


def test_a_changed_price_is_labelled_assumed_and_leaves_the_list_as_it_was():
    dear = EPYC.but(VMLOAD=(200, 300, 400))
    assert dear["VMLOAD"][:5] == (200, 300, 400, "ticks", "assumed")
    assert dear.name == "epyc-2020 with other VMLOAD"
    assert EPYC["VMLOAD"].nominal == 64
    with pytest.raises(costs.PriceError, match="VMLOAD: low 5, nominal 4, high 6; write 0"):
        EPYC.but(VMLOAD=(5, 4, 6))
