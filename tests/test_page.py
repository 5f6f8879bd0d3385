"""course/ground_truth.md: its tables are what the data says, byte for byte, and what it names is there."""

import re

import pytest

from svmlib.data import rows
from svmlib.emulators import page
from svmlib.emulators.programs import OPERANDS
from svmlib.instructions import Cpu

TEXT = page.PAGE.read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_data_prints(capsys):
    assert page.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_is_on_the_page_once():
    assert re.findall(r"<!-- table: (\S+) -->", TEXT) == list(page.TABLES)


@pytest.mark.parametrize("row", rows("deviations"), ids=lambda row: f"{row['name']}-{row['engine']}")
def test_every_deviation_is_a_line(row):
    (line,) = (
        line
        for line in TEXT.splitlines()
        if line.startswith(f"| {row['name']} | {page.ENGINES[row['engine']]} |")
    )
    assert [cell.strip() for cell in line.split(" | ")[3:6]] == [row["emulator"], row["model"], row["reason"]]


def test_every_instruction_is_an_operation_or_is_named_as_left_out():
    (left,) = re.findall(r"<!-- table: instructions -->\n\n(.*)\n\n<!-- end -->", TEXT)
    methods = {name for name in dir(Cpu) if name[0] != "_"}
    named = set(re.findall(r"`(\w+)`", left))
    assert named.isdisjoint(OPERANDS)
    assert named | set(OPERANDS) | {"iret", "vmmcall"} >= methods


def test_every_file_that_it_names_is_there():
    prose = re.sub(r"<!-- table: .*?<!-- end -->", "", TEXT, flags=re.DOTALL)
    named = [name for name in re.findall(r"`([^`\n]+)`", prose) if "/" in name and " " not in name]
    assert [name for name in named if not (page.ROOT / name).exists()] == []
    assert len(named) > 10


def test_readme_and_contributing_lead_to_it():
    for name in ("README.md", "CONTRIBUTING.md"):
        assert "course/ground_truth.md" in (page.ROOT / name).read_text(encoding="utf-8")


def test_prose_stays_and_a_stale_table_is_written_anew(tmp_path, capsys):
    file = tmp_path / "page.md"
    file.write_text("Before.\n\n<!-- table: checks -->\nstale\n<!-- end -->\n\nAfter.\n", encoding="utf-8")
    assert page.main([str(file), "--check"]) == 1
    assert "is stale: make notebooks prints its tables anew" in capsys.readouterr().err
    assert page.main([str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("Before.\n\n<!-- table: checks -->\n\n| VMRUN refuses where | model | QEMU 7.2 | ")
    assert text.endswith("|\n\n<!-- end -->\n\nAfter.\n")
    assert page.main([str(file), "--check"]) == 0


@pytest.mark.parametrize(
    "text,said",
    [
        (
            "<!-- table: nothing -->\n<!-- end -->\n",
            "there is no table 'nothing'; there are deviations, options",
        ),
        ("<!-- table: checks -->\n", "a table has no <!-- end --> behind it"),
        ("<!-- table: checks -->\n<!-- table: options -->\n<!-- end -->\n", "a table has no <!-- end -->"),
    ],
)
def test_a_page_whose_tables_cannot_be_printed_says_which(tmp_path, capsys, text, said):
    file = tmp_path / "page.md"
    file.write_text(text, encoding="utf-8")
    assert page.main([str(file)]) == 1
    assert said in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == text


def test_a_page_that_is_not_there_is_one_line(tmp_path, capsys):
    assert page.main([str(tmp_path / "none.md")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
