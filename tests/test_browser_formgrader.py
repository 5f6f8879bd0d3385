"""An instructor's JupyterLab in a real browser: nbgrader's formgrader shows the marks of the sample class."""

import pytest
from playwright.sync_api import expect

from browser import WINDOW, Visit, chromium, instructors
from conftest import require

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("sample_class"),  # which is graded once, by one worker
]
EXERCISE, STUDENT = "01_legacy_path", "as_kvm"
# The page of a submission asks a CDN for MathJax and goes on without it. Our notebooks have no formulas.
KNOWN = (r"https://cdnjs\.cloudflare\.com/ajax/libs/mathjax/", "MathJax is not defined")


@pytest.fixture(scope="module")
def visit(sample_class, tmp_path_factory):
    own = tmp_path_factory.mktemp("instructor")
    with chromium(require("browser")) as browser, instructors(sample_class[0], own) as address:
        visit = Visit(browser, address, KNOWN)
        visit.open("lab")
        yield visit
        visit.close()


@pytest.fixture(scope="module")
def formgrader(visit):
    """The formgrader's frame, opened from JupyterLab's menu."""
    visit.page.locator(".lm-MenuBar-item", has_text="Nbgrader").click()
    visit.page.locator(".lm-Menu-item", has=visit.page.get_by_text("Formgrader", exact=True)).click()
    return visit.page.frame_locator("iframe[src*=formgrader]")


def test_the_list_of_submissions_has_the_marks_of_the_table(visit, formgrader, sample_class):
    rows = {who: row for (who, what), row in sample_class[1].items() if what == EXERCISE}
    listed = formgrader.locator("tr", has=formgrader.get_by_text(EXERCISE, exact=True))
    listed.locator(".num-submissions a").click()
    lines = formgrader.locator("tbody tr", has=formgrader.locator("td.student-id"))
    expect(lines).to_have_count(len(rows))
    visit.screenshot("formgrader-submissions")
    cells = [line.locator("td").all_inner_texts() for line in lines.all()]
    shown = {line[1].strip(): line[4].split("/")[0].strip() for line in cells}
    assert shown == {
        who: f"{row.automatic + row.by_hand + row.bonus:g}" if row.cells else "" for who, row in rows.items()
    }


def test_a_written_answer_stands_below_its_rubric(visit, formgrader):
    formgrader.get_by_role("link", name="Manual Grading").click()
    formgrader.locator(f"a[href$='/gradebook/{EXERCISE}']").click()
    formgrader.locator(f"a[href$='/gradebook/{EXERCISE}/{EXERCISE}']").click()
    formgrader.get_by_role("link", name="Submission #1", exact=True).wait_for()
    formgrader.get_by_text("Show All Names").click()
    formgrader.get_by_role("link", name=STUDENT, exact=True).click()
    rubric = formgrader.get_by_text("Mark scheme", exact=True)
    rubric.scroll_into_view_if_needed()
    visit.screenshot("formgrader-answer")
    answer = formgrader.locator(".nbgrader_cell", has=formgrader.locator("input#msrs_last.score"))
    expect(answer).to_contain_text("FS.base")
    below = answer.bounding_box()["y"] - rubric.bounding_box()["y"]
    assert 0 < below < WINDOW["height"]
    expect(formgrader.locator("input#test_put.score")).to_have_attribute("placeholder", "4")
