"""Where an emulator is known to differ: every row of the table is true, and none is missing."""

import json
from pathlib import Path

import pytest

from conftest import PROFILES, on_both
from svmlib import profiles
from svmlib.data import rows
from svmlib.emulators import layout as at
from svmlib.emulators import reference
from svmlib.emulators.boundaries import ILLEGAL, put
from svmlib.emulators.deviations import DEVIATIONS, profile
from svmlib.emulators.outcomes import decode, differences
from svmlib.emulators.programs import check

_FILE = Path(__file__).parent / "recorded" / "programs.json"
RECORDED = [case["program"] for case in json.loads(_FILE.read_text(encoding="utf-8"))]


class TestDeviations:
    def test_rows_and_rules_name_the_same(self):
        table = sorted((row["name"], row["engine"]) for row in rows("deviations"))
        assert table == sorted((rule.name, rule.engine) for rule in DEVIATIONS)

    def test_rows_are_complete_and_cite_sources(self):
        known = {row["id"] for row in rows("sources")}
        for row in rows("deviations"):
            assert all(row.values()), row
            assert set(row["source"].split()) <= known, row

    @pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.name}-{d.engine}")
    def test_a_probe_shows_its_rule(self, deviation):
        check(deviation.probe)
        with_rule = reference.run(deviation.probe, profile(deviation.engine))
        without = reference.run(deviation.probe, profile(deviation.engine, deviation.name))
        assert differences(deviation.probe, without, with_rule)

    @pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda d: f"{d.name}-{d.engine}")
    def test_the_record_has_every_probe(self, deviation):
        assert json.loads(json.dumps(deviation.probe)) in RECORDED

    @pytest.mark.parametrize("name", PROFILES)
    def test_a_profile_s_options_are_those_of_its_rows(self, name):
        documented, own = profiles.profile().__dict__, profiles.profile(name).__dict__
        told = {option for row in DEVIATIONS if row.engine == name for option in row.options}
        assert {option for option in own if own[option] != documented[option]} == told

    @on_both
    def test_every_row_still_differs(self, emulator):
        rules = [deviation for deviation in DEVIATIONS if deviation.engine == emulator.PROFILE]
        outcomes = emulator.run([rule.probe for rule in rules])
        for rule, theirs in zip(rules, outcomes, strict=True):
            without = reference.run(rule.probe, profile(emulator.PROFILE, rule.name))
            assert differences(rule.probe, without, theirs), rule.name
            assert not differences(rule.probe, reference.run(rule.probe, profile(emulator.PROFILE)), theirs)

    @on_both
    def test_vmrun_refuses_what_the_table_of_checks_says(self, emulator):
        maps = ("msrpm", "iopm")  # both emulators look at them in ways of their own: the row vmrun-maps
        table = {row["check"]: row[emulator.PROFILE] == "1" for row in rows("vmrun_checks")}
        asked = [(name, ILLEGAL[name]) for name in table if ILLEGAL[name] and name not in maps]
        programs = [
            [*(put(field, values[0]) for field, values in fields), ("vmrun", at.VMCB, [])]
            for _, fields in asked
        ]
        codes = [decode(outcome.state)["VMCB[EXITCODE]"] for outcome in emulator.run(programs)]
        assert {
            name: code & 0xFFFF_FFFF == 0xFFFF_FFFF for (name, _), code in zip(asked, codes, strict=True)
        } == {name: table[name] for name, _ in asked}
