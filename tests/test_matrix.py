"""The matrix: every design on every kind of host, as data/matrix.csv has it and as the explorer finds it."""

import json

import pytest

from svmlib import __main__ as command_line
from svmlib.kvm import INVARIANTS
from svmlib.kvm.hosts import HOSTS
from svmlib.matrix import as_csv, cell, designs, recorded
from svmlib.paths import DESIGNS

TABLE = recorded()
#: Hosts of which the others of the table are repetitions for a path; those are explored by make explore.
DISTINCT = ("zen1+fsgsbase", "zen2-fsgsbase", "i386", "fred", "xen", "freebsd", "netbsd")
PAIRS = [
    (d, kind) for d, one in DESIGNS.items() for kind in DISTINCT if TABLE[d, kind].rule or kind in one.hosts
]


def test_the_table_has_every_design_on_every_host():
    assert list(TABLE) == [(design, kind) for design in designs() for kind in HOSTS]
    assert designs() == list(DESIGNS)


def test_every_design_is_safe_on_the_hosts_it_is_meant_for():
    unsafe = [(d, kind) for d, design in DESIGNS.items() for kind in design.hosts if TABLE[d, kind].rule]
    assert unsafe == []


def test_what_is_unsafe_says_the_rule_the_exits_and_why():
    broken = [one for one in TABLE.values() if one.rule]
    assert len(broken) > 60
    assert all(one.rule in INVARIANTS and one.exits and one.because for one in broken)
    assert all(not one.exits and not one.because for one in TABLE.values() if not one.rule)


@pytest.mark.parametrize("design,kind", PAIRS, ids=[f"{design}-{kind}" for design, kind in PAIRS])
def test_the_explorer_finds_what_the_table_has(design, kind):
    assert cell(design, kind) == TABLE[design, kind]


@pytest.mark.parametrize("design", ["upstream", "sev_es"])
def test_only_what_fills_the_host_s_page_survives_an_sev_es_guest(design):
    kind = "sev_es+v_tsc_aux"
    assert cell(design, kind) == TABLE[design, kind]
    assert bool(TABLE[design, kind].rule) is (design == "upstream")


def test_it_is_printed_as_a_table_with_its_reasons(capsys):
    assert command_line.main(["matrix"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 110
    (row,) = [line for line in lines if line.startswith("sev_es ")]
    assert set(row.split()[1:]) == {"safe"}
    assert any("No interrupt could end the guest's run" in line for line in lines)


def test_one_cell_is_explored_anew_and_compared(capsys):
    assert command_line.main(["matrix", "--run", "--design", "legacy", "--host", "fred", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["exits"]) == ("alive", "user")


def test_the_file_is_what_the_command_writes():
    text = as_csv(list(TABLE.values()))
    assert text.startswith("design,host,rule,exits,because,source\n")
    assert text.count("\n") == len(TABLE) + 1
