"""Lessons: each runs top to bottom in a fresh kernel, is short and complete, and gives no exercise away."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest

from autograder.notebooks import ROOT, lesson, scripts
from svmlib import check
from svmlib.kvm import exits
from svmlib.kvm import run as run_path
from svmlib.progress import Row
from svmlib.views.contents import contents

LESSONS = scripts(ROOT / "course" / "lessons")
NAMES = [
    "00_start_here",
    "01_what_vmrun_leaves_behind",
    "01_why_order_matters",
    "02_one_page_for_the_host",
    "03_back_just_in_time",
    "04_what_waits_for_stgi",
    "05_what_to_throw_at_it",
    "06_how_much_and_how_sure",
]
EXERCISES = [
    "01_legacy_path",
    "02_vmsave_vmload_path",
    "03_lazy_restore_path",
    "04_the_gif_window",
    "05_find_the_bug",
    "06_what_it_costs",
]

each_lesson = pytest.mark.parametrize("script", LESSONS, ids=lambda path: path.stem)


def cells(script: Path, kind: str) -> list[str]:
    return [cell["source"] for cell in nbformat.reads(lesson(script), 4).cells if cell.cell_type == kind]


@pytest.fixture(scope="module")
def executed() -> dict[str, Any]:
    """Each lesson's notebook after a run in a kernel of its own, made once."""
    return {}


def run(script: Path, executed: dict[str, Any], folder: Path) -> Any:
    nbclient = pytest.importorskip("nbclient")
    if script not in executed:
        notebook = nbformat.reads(lesson(script), 4)
        client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
        executed[script] = client.execute()
    return executed[script]


def test_the_lessons_are_these() -> None:
    assert [path.stem for path in LESSONS] == NAMES


def test_a_lesson_sorts_before_its_exercise_on_the_start_page() -> None:
    kinds = [(name[:2], name not in NAMES, name) for name in NAMES + EXERCISES]
    order = [name for *_, name in sorted(kinds)]
    assert order.index("01_why_order_matters") + 1 == order.index("01_legacy_path")
    assert order.index("02_one_page_for_the_host") + 1 == order.index("02_vmsave_vmload_path")
    assert order.index("03_back_just_in_time") + 1 == order.index("03_lazy_restore_path")


@each_lesson
def test_the_committed_notebook_is_the_generated_one(script: Path) -> None:
    committed = ROOT / "course" / f"{script.stem}.ipynb"
    assert committed.read_bytes() == lesson(script).encode(), "repair with: python -m autograder.notebooks"


@each_lesson
def test_it_begins_with_what_it_gives_and_with_the_guard(script: Path) -> None:
    notebook = nbformat.reads(lesson(script), 4)
    first, second = notebook.cells[:2]
    assert "After this you can" in first.source
    assert len(re.findall(r"^- ", first.source, re.MULTILINE)) in (2, 3)
    assert f'check.begin("{script.stem}", svmlib="' in second.source
    assert "make course" in second.source
    assert 15 <= notebook.metadata.svmlib["minutes"] <= 30


@each_lesson
def test_its_cells_are_short_and_prose_comes_before_code(script: Path) -> None:
    for source in cells(script, "code"):
        lines = [line for line in source.splitlines() if line.strip()]
        assert len(lines) <= 15, source
    for source in cells(script, "markdown"):
        assert len(source.split()) <= 320, source[:80]


@each_lesson
def test_it_steps_a_trace_and_ends_in_three_questions(script: Path) -> None:
    assert any(re.search(r"^stepper\(", source, re.MULTILINE) for source in cells(script, "code"))
    last = cells(script, "markdown")[-1]
    assert "## Three quick questions" in last
    assert last.count("<details>") == last.count("</details>") == 3
    assert "**Next:**" in last


@each_lesson
def test_its_links_are_files_that_lie_beside_it(script: Path) -> None:
    for source in cells(script, "markdown"):
        for target in re.findall(r"\]\(([^)#]+)\)", source):
            assert target.removesuffix(".ipynb") in NAMES + EXERCISES, target


@each_lesson
def test_no_path_that_it_writes_out_survives(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exercise is not given away: what a lesson writes is broken or partial, and no source is shown."""
    written: list[Any] = []
    whole = check.path

    def path(**functions: Any) -> Any:
        written.append(whole(**functions))
        return written[-1]

    monkeypatch.setattr(check, "path", path)
    runpy.run_path(str(script))
    for each in written:
        assert run_path(each, exits("kernel", "user+nmi", "user@1", "user")).violation
    code = "\n".join(cells(script, "code"))
    assert "getsource" not in code
    assert not re.search(r"from svmlib\.paths\.?\w* import (prepare|vcpu)", code)


@each_lesson
def test_it_runs_top_to_bottom_without_a_word_on_stderr(
    script: Path, executed: dict[str, Any], tmp_path: Path
) -> None:
    notebook = run(script, executed, tmp_path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert not any(output.output_type == "error" for output in outputs)


@each_lesson
def test_it_shows_no_path_of_this_machine(script: Path, executed: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(run(script, executed, tmp_path))
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_the_start_page_s_table_says_how_far_in_glyph_and_word() -> None:
    rows = [
        Row("01_why_order_matters", "1 · Why <order> matters", "lesson", "moderate", 25, "tried", 3, 12),
        Row("01_legacy_path", "1 · The legacy path", "exercise", "easy", 35, "open", 0, 5),
        Row("02_vmsave_vmload_path", "2 · VMSAVE", "exercise", "moderate", 35, "done", 5, 5),
    ]
    table = contents(rows)
    assert '<a href="01_why_order_matters.ipynb">1 · Why &lt;order&gt; matters</a>' in table
    assert "◐ tried, 3 of 12 cells" in table
    assert "○ open" in table
    assert "● done" in table
    assert table.index("01_why_order_matters") < table.index("01_legacy_path")


def test_the_table_outside_a_work_folder_says_what_to_type() -> None:
    assert "make course" in contents([])
