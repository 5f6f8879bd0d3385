"""VMRUN's legality, row by row of data/vmrun_checks.csv: what each refuses, and which profile looks at it."""

import pytest

from machines import LMA, LME, PAE, PE, PG, SVME, VMCB, cpu, legal_vmcb
from svmlib import profiles
from svmlib.data import rows
from svmlib.instructions.svm import VMEXIT_INVALID

TABLE = {row["check"]: row for row in rows("vmrun_checks")}
CPUID_EXIT = 0x72
MSR_INTERCEPT, PORT_INTERCEPT = 1 << 28, 1 << 27
LONG = {"EFER": SVME | LME, "CR0": PG | PE, "CR4": PAE}
#: The fields that break one row and no other.
BREAKS = {
    "intercept": {"INTERCEPT_WORD4": 2},
    "asid": {"ASID": 0},
    "efer_svme": {"EFER": LME | LMA},
    "efer_reserved": {"EFER": SVME | 1 << 9},
    "cr0_high": {"CR0": PG | PE | 1 << 32},
    "cr0_nw": {"CR0": PG | PE | 1 << 29},
    "cr4_high": {"CR4": PAE | 1 << 32},
    "cr4_reserved": {"CR4": PAE | 1 << 13},
    "dr6_high": {"DR6": 1 << 32},
    "dr7_high": {"DR7": 0x400 | 1 << 32},
    "long_pae": LONG | {"CR4": 0},
    "long_pe": LONG | {"CR0": PG},
    "long_cs": LONG | {"CS_attrib": 0xE9B},
    "cr3_reserved": LONG | {"CR3": 1 << 52},
    "msrpm": {"INTERCEPT_WORD3": MSR_INTERCEPT, "MSRPM_BASE": (1 << 40) - 0x1000},
    "iopm": {"INTERCEPT_WORD3": PORT_INTERCEPT, "IOPM_BASE": (1 << 40) - 0x2000},
    "eventinj": {"EVENTINJ": 1 << 31 | 3 << 8 | 2},
    "nested_paging": {"MISC_CTL": 1},
    "pat": {"MISC_CTL": 1, "PAT": 0x02},
}
#: What the host is like where that matters.
HOST = {"nested_paging": {"CR0": PE}}


def entered(check, profile="documented", **switched):
    """VMRUN of a VMCB that breaks `check`, on a machine of that profile; the VMCB behind it and the step."""
    c, p = cpu(**HOST.get(check, {}))
    p.options = profiles.profile(profile).but(**{f"vmrun_checks_{name}": on for name, on in switched.items()})
    vmcb = legal_vmcb(p, **BREAKS.get(check, {}))
    p.guest = lambda p, pa: CPUID_EXIT
    c.vmrun(VMCB)
    return vmcb, p.trace[-1]


def test_every_row_has_a_vmcb_that_breaks_it():
    assert set(BREAKS) == set(TABLE)


def test_a_vmcb_that_breaks_none_is_entered():
    vmcb, _ = entered("")
    assert vmcb["EXITCODE"] == CPUID_EXIT


@pytest.mark.parametrize("check", TABLE)
def test_each_row_is_refused_with_its_sentence(check):
    vmcb, exit_ = entered(check)
    assert (vmcb["EXITCODE"], exit_.operand) == (VMEXIT_INVALID, TABLE[check]["sentence"])


@pytest.mark.parametrize("check", TABLE)
def test_each_vmcb_breaks_its_row_alone(check):
    vmcb, _ = entered(check, **{check: False})
    assert vmcb["EXITCODE"] == CPUID_EXIT


@pytest.mark.parametrize("profile", ["qemu72", "bochs27"])
@pytest.mark.parametrize("check", TABLE)
def test_a_profile_looks_at_what_the_table_says_of_it(check, profile):
    vmcb, _ = entered(check, profile)
    refused = vmcb["EXITCODE"] & 0xFFFF_FFFF == 0xFFFF_FFFF
    assert refused == (TABLE[check][profile] == "1")
