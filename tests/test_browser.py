"""A learner's JupyterLab in a real browser: notebooks run, the stepper walks by keyboard, progress is kept.

The pictures in build/screenshots/ are for eyes: look at them when a view has changed.
"""

import re

import pytest
from playwright.sync_api import expect

from browser import HERE, Notebook, Visit, chromium, errors, learners
from conftest import require
from course import copies

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def browser():
    with chromium(require("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner") / "work"
    copies.renew(HERE, folder)
    return folder


@pytest.fixture(scope="module")
def lab(browser, work):
    with learners(work, work.parent / "own") as address:
        yield address


@pytest.fixture
def opened(browser, lab, work):
    """Open a notebook in a page of its own; when the test is over, no page has anything to complain about."""
    visits = []

    def opened(name):
        visits.append(Visit(browser, lab))
        return Notebook(visits[-1], work, name)

    yield opened
    for visit in visits:
        visit.close()


def cut_off(notebook):
    """The outputs of which a part lies outside, to the right."""
    return notebook.panel.locator(".jp-OutputArea-output, .svm-pane .widget-html-content").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"
    )


def test_the_start_page_lists_every_notebook_and_what_was_done(opened, work):
    start = opened("00_start_here")
    assert errors(start.run_all()) == []
    table = start.panel.locator("table", has_text="The notebooks in reading order")
    assert table.locator("tbody tr").count() == len(list(work.glob("*.ipynb")))
    row = table.locator("tr", has_text="2 · VMSAVE and VMLOAD")
    expect(row).to_contain_text("○ open")
    opened("02_vmsave_vmload_path").run_all()
    start.run_all()
    expect(row).to_contain_text("◐ tried, 0 of")
    table.scroll_into_view_if_needed()
    start.visit.screenshot("start-page")
    assert cut_off(start) == []
    row.get_by_role("link").click()
    start.page.locator(".lm-TabBar-tab.lm-mod-current", has_text="02_vmsave_vmload_path").wait_for()


def test_an_unsolved_exercise_stops_at_its_first_test_and_says_what_is_missing(opened):
    exercise = opened("01_legacy_path")
    assert [error.get("ename", error) for error in errors(exercise.run_all())] == ["CheckFailed"]
    output = exercise.panel.locator(".jp-OutputArea-output").last
    output.scroll_into_view_if_needed()
    expect(output).to_have_text(re.compile("^CheckFailed: Not written yet"), use_inner_text=True)
    assert "In save_host_msrs, line 4" in output.inner_text()
    assert "svmlib" not in output.inner_text()
    exercise.visit.screenshot("exercise-unsolved")


def test_the_stepper_walks_by_keyboard(opened):
    lesson = opened("01_what_vmrun_leaves_behind")
    assert errors(lesson.run_all()) == []
    steps = lesson.panel.get_by_label("Steps").first
    pane = lesson.panel.locator(".svm-pane").first
    pane.scroll_into_view_if_needed()  # JupyterLab draws a cell when it is about to be seen
    expect(pane).to_contain_text("Step 0:", use_inner_text=True)
    first = pane.inner_text()
    steps.focus()
    for _ in range(9):
        lesson.page.keyboard.press("ArrowDown")
    expect(pane).to_contain_text("Step 9: VMRUN", use_inner_text=True)
    lesson.visit.screenshot("stepper-light")
    assert cut_off(lesson) == []
    ninth = pane.inner_text()
    lesson.page.keyboard.press("ArrowUp")
    expect(pane).to_contain_text("Step 8: VMLOAD", use_inner_text=True)
    lesson.page.keyboard.press("ArrowDown")
    expect(pane).to_have_text(ninth, use_inner_text=True)
    for _ in range(2):
        lesson.page.keyboard.press("ArrowDown")
    expect(pane).to_contain_text("Step 11: #VMEXIT", use_inner_text=True)
    cell = lesson.panel.locator(".jp-CodeCell", has=lesson.page.locator(".svm-pane")).first
    lesson.visit.screenshot("stepper", cell)  # the README's picture, course/images/stepper.png, is a copy
    lesson.page.keyboard.press("End")
    expect(pane).to_contain_text("shutdown", use_inner_text=True)
    lesson.visit.screenshot("stepper-end")
    assert cut_off(lesson) == []
    lesson.page.keyboard.press("Home")
    expect(pane).to_have_text(first, use_inner_text=True)
    assert cut_off(lesson) == []
    lesson.theme("JupyterLab Dark")
    expect(pane).to_contain_text("Step 0:", use_inner_text=True)
    lesson.visit.screenshot("stepper-dark")
    lesson.theme("JupyterLab Light")
