"""deadlines.csv: one's own line, zones, excuses, and which of several attempts counts."""

import pytest

from autograder import release
from autograder.classes import deadlines
from autograder.classes.attempts import Attempt
from classes import utc

E = "01_swap"
HEAD = "exercise,student,due,excused,zone\n"


@pytest.fixture
def folder(tmp_path):
    return release.new(tmp_path / "class", zone="Europe/Berlin")


def read(folder, *lines):
    (folder / "deadlines.csv").write_text(HEAD + "".join(f"{line}\n" for line in lines), "utf-8")
    return deadlines.read(folder, [E], ["jane", "joerg"])


def attempt(when, *, exact=True, late=False, student="jane"):
    return Attempt(student, E, utc(when), exact, late, when, "", "")


def test_ones_own_line_comes_before_everybodys(folder):
    due = read(
        folder,
        f"{E},all,2026-12-01 23:59,,",
        f"{E},jane,2026-12-08 23:59,,America/New_York",
        f"{E},joerg,,yes,",
    )
    assert due.of(E, "anna") == (utc("2026-12-01 22:59"), False)
    assert due.of(E, "jane") == (utc("2026-12-09 04:59"), False)
    assert due.of(E, "joerg") == (utc("2026-12-01 22:59"), True)
    assert deadlines.Deadlines({}).of(E, "jane") == (None, False)


def test_summer_time_is_the_zones(folder):
    assert read(folder, f"{E},,2026-07-01 12:00,,").of(E).due == utc("2026-07-01 10:00")
    assert read(folder, f"{E},,2026-10-25 02:30,,").of(E).due == utc("2026-10-25 01:30")  # twice: the later


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("02_none,all,2026-12-01 23:59,,", 'exercise: "02_none" is not released here'),
        (f"{E},nobody,2026-12-01 23:59,,", 'student: nobody in students.csv is "nobody"'),
        (f"{E},all,1.12.2026,,", "due: a time is written 2026-12-01 23:59"),
        (f"{E},all,2026-13-01 23:59,,", "due: .*month must be in 1..12"),
        (f"{E},all,2026-12-01 23:59,maybe,", "excused: it is yes, no or blank"),
        (f"{E},all,2026-12-01 23:59,,Europe/Bern", "zone: .* is no time zone"),
        (f"{E},all,2026-03-29 02:30,,", "due: .* does not exist in Europe/Berlin"),
    ],
)
def test_a_line_that_means_nothing_is_named(folder, line, complaint):
    with pytest.raises(release.ReleaseError, match=rf"line 2, {complaint}"):
        read(folder, line)


def test_a_line_is_numbered_as_an_editor_does(folder):
    with pytest.raises(release.ReleaseError, match=r'line 5, excused: .* not "perhaps"'):
        read(folder, f"{E},all,2026-12-01 23:59,,", "", ",,,,", f"{E},jane,,perhaps,")


def test_a_file_without_the_line_of_names_is_refused(folder):
    (folder / "deadlines.csv").write_text(f"{E},all,2026-12-01 23:59,,\n", "utf-8")
    with pytest.raises(release.ReleaseError, match="first line names the columns"):
        deadlines.read(folder, [E], [])


def test_a_second_line_for_the_same_is_refused(folder):
    with pytest.raises(release.ReleaseError, match="line 3: a second line"):
        read(folder, f"{E},all,2026-12-01 23:59,,", f"{E},,2026-12-02 23:59,,")


def test_the_last_attempt_before_ones_own_deadline_counts(folder):
    due = read(folder, f"{E},all,2026-12-01 23:59,,", f"{E},jane,2026-12-03 23:59,,")
    made = ["2026-12-01 10:00", "2026-12-02 10:00", "2026-12-04 10:00"]
    hers = deadlines.choose([attempt(when) for when in made], due)
    his = deadlines.choose([attempt(when, student="joerg") for when in reversed(made)], due)
    assert (hers.when, hers.seconds_late) == (utc(made[1]), 0)
    assert hers.remarks == ("1 later attempt came after the deadline",)
    assert (his.when, his.seconds_late) == (utc(made[0]), 0)


def test_where_all_are_late_the_last_counts_and_says_how_late(folder):
    due = read(folder, f"{E},all,2026-12-01 23:59,,UTC")
    choice = deadlines.choose([attempt("2026-12-02 00:00"), attempt("2026-12-03 02:00")], due)
    assert (choice.seconds_late, choice.remarks) == (26 * 3600 + 60, ("late by 1 d 2 h",))


def test_the_second_of_the_deadline_is_in_time_and_the_next_is_late(folder):
    due = read(folder, f"{E},all,2026-12-01 23:59,,UTC")
    assert deadlines.choose([attempt("2026-12-01 23:59")], due).seconds_late == 0
    assert deadlines.choose([attempt("2026-12-01 23:59:01")], due).seconds_late == 1


def test_an_archive_without_times_counts_by_what_the_lms_said(folder):
    """Made two days after the deadline: what Canvas did not call late was in time, whenever that was."""
    due = read(folder, f"{E},all,2026-12-01 23:59,,UTC", f"{E},joerg,2026-12-05 23:59,,UTC")
    made = "2026-12-03 12:00"
    assert deadlines.choose([attempt(made, exact=False)], due).seconds_late == 0
    late = deadlines.choose([attempt(made, exact=False, late=True)], due)
    assert late.seconds_late > 0
    assert "its time is not known" in late.remarks[1]
    extended = deadlines.choose([attempt(made, exact=False, late=True, student="joerg")], due)
    assert extended.seconds_late == 0
