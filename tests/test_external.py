"""KVM's unit tests for SVM, restated: on the model, on QEMU and on Bochs (source kvm-unit-tests-svm).

What is a program is a row of external/kvm_unit_tests.csv or interrupts.csv.  Where the model or an emulator
shows something else than the source wants, external/differences.csv says what and why: a difference without a
row fails, and so does a row without a difference.  What no program can ask for, such as SMI and RFLAGS.TF in
the host, is asked of the model alone, below the rows.

The module is long because the suite is; what a test has there as its name stands in the docstring.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from types import SimpleNamespace

import pytest

from conftest import missing, require
from external.cases import (
    CASES,
    DIFFERENCES,
    known,
    observed,
    program,
    reached,
    shown,
    spelled,
    stores,
    switch,
)
from machines import PAGE, VMCB, cpu, legal_vmcb
from svmlib.data import rows
from svmlib.emulators import bochs, qemu, reference
from svmlib.emulators import layout as at
from svmlib.emulators.deviations import profile
from svmlib.emulators.outcomes import EmulatorError
from svmlib.emulators.programs import check
from svmlib.faults import Fault
from svmlib.instructions.intercepts import EXITCODES
from svmlib.instructions.svm import VMEXIT_INVALID
from svmlib.processor import RFLAGS_IF, RFLAGS_RF, RFLAGS_TF, Processor
from svmlib.vmcb import Vmcb

ENGINES = {"qemu72": qemu, "bochs27": bochs}
VMMCALL = EXITCODES["VMMCALL"]
#: Rows whose program stops an emulator: what it gives there is its last words.
LAST_WORDS = {
    (d.engine, case) for d in DIFFERENCES for case in CASES if d.gives.endswith("!") and d.cases == case
}

#: Differences (rows of differences.csv) that an emulator's profile of the model does without.
LEFT_OUT = (("bochs27", "cr3-pcide-*"), ("qemu72", "eventinj-exception-0"))

named = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


class TestRows:
    def test_each_is_a_program_and_cites_its_source(self):
        sources = {row["id"] for row in rows("sources")}
        for case in CASES.values():
            check(program(case))
            assert set(case.source.split()) <= sources, case
            assert case.source, case

    def test_the_guest_state_s_legality_has_the_suite_s_125_rows(self):
        groups = ("efer", "cr0", "cr3", "cr4", "dr6", "dr7", "msrpm", "iopm")
        names = [name for name in CASES if name.startswith(groups) and "pcide" not in name]
        names += [name for name in CASES if name.startswith(("vmrun-base", "vmload-high"))]
        assert len(names) == 125 - len(PAE_ROWS)

    def test_no_difference_is_left_that_is_none(self):
        sources = {row["id"] for row in rows("sources")}
        for difference in DIFFERENCES:
            assert set(difference.source.split()) <= sources, difference
            assert difference.reason
            about = [
                case
                for case in CASES.values()
                for what, value in case.wanted.items()
                if difference.concerns(case, difference.engine, what, value)
            ]
            assert about, difference
            assert spelled(difference.gives) != spelled(difference.expected), difference


#: The suite's rows for CR3[2:0] of a guest with legacy PAE paging: our guests are 64-bit code.
PAE_ROWS = (0, 1, 2)


class TestModel:
    @named
    def test_it_does_what_the_source_wants(self, case):
        assert observed(case, reference.run(program(case))) == known(case, "documented")

    def test_the_eight_steps_of_the_intercepts_in_one_run(self):
        steps = [case for name, case in CASES.items() if name.startswith("step-")]
        assert exits(steps, reference.run(in_one_run(steps))) == wanted_exits(steps)


@pytest.fixture(scope="module", params=ENGINES)
def emulated(request):
    """All rows on one emulator, in one boot: the profile's name, the runner, and the outcomes by row."""
    runner = ENGINES[request.param]
    require(runner.PROGRAM, f"On Debian 12: apt install {runner.PACKAGES}")
    try:
        runner.version()
    except EmulatorError as error:
        missing(str(error))
    names = [name for name in CASES if (request.param, name) not in LAST_WORDS]
    outcomes = runner.run([program(CASES[name]) for name in names])
    return SimpleNamespace(
        profile=request.param, runner=runner, outcomes=dict(zip(names, outcomes, strict=True))
    )


class TestEmulators:
    def test_they_do_what_the_source_wants_but_for_the_table(self, emulated):
        shown = {name: observed(CASES[name], outcome) for name, outcome in emulated.outcomes.items()}
        assert shown == {name: known(CASES[name], emulated.profile) for name in shown}

    def test_the_model_as_one_of_them_does_what_it_does(self, emulated):
        """In the profile that svmlib emulate and fuzz compare with; LEFT_OUT names what that has not."""
        as_it = profile(emulated.profile)
        other = {
            name
            for name, outcome in emulated.outcomes.items()
            if observed(CASES[name], reference.run(program(CASES[name]), as_it))
            != observed(CASES[name], outcome)
        }
        left_out = {
            name
            for name in CASES
            for engine, cases in LEFT_OUT
            if engine == emulated.profile and fnmatchcase(name, cases)
        }
        assert other == left_out

    def test_a_row_that_stops_one_still_does(self, emulated):
        for engine, name in LAST_WORDS:
            if engine == emulated.profile:
                with pytest.raises(EmulatorError) as stopped:
                    emulated.runner.run([program(CASES[name])], timeout=20)
                assert known(CASES[name], engine)["EXITCODE"] in str(stopped.value)

    def test_the_eight_steps_of_the_intercepts_in_one_run(self, emulated):
        steps = [case for name, case in CASES.items() if name.startswith("step-")]
        (outcome,) = emulated.runner.run([in_one_run(steps)])
        assert exits(steps, outcome) == wanted_exits(steps)


def in_one_run(cases):
    """The rows' VMRUNs one after another in one program, the VMCB as it was at the start before each."""
    return [operation for case in cases for operation in [("vmcb",), *switch(case)]]


def wanted_exits(cases):
    return [case.wanted["EXITCODE"] for case in cases]


def exits(cases, outcome):
    """What the VMRUNs of such a program ended in."""
    found, entries = [], shown(outcome)
    for case in cases:
        vmrun = len(stores(at.VMCB, case.set)) + reached(case) + 1
        found.append(entries[vmrun])
        entries = entries[vmrun + 1 :]
    return found


# -- The suite's tests of interrupts and GIF, on the model


INTR = ("INTR", 0x55)
#: What may wait, and the EXITCODE's name of its intercept.
EVENTS = {INTR: "INTR", "NMI": "NMI", "SMI": "SMI", "INIT": "INIT"}
V_GIF, V_INTR_MASKING, V_GIF_ENABLE = 1 << 9, 1 << 24, 1 << 25


class Host:
    """A host with a guest: what the machine took and on which side, and what the guest is to do."""

    def __init__(self, *, intercepts: str = "", **fields: int):
        self.c, self.p = cpu()
        self.vmcb = legal_vmcb(self.p, **fields)
        self.intercept(intercepts)
        self.taken: list[tuple[object, str]] = []
        self.steps: list[str] = []
        self.p.on_event = self._take

    def intercept(self, names: str) -> None:
        """Intercept VMRUN and VMMCALL, as every test of the suite does, and `names`."""
        self.vmcb["INTERCEPTS"] = sum(1 << EXITCODES[name] for name in {"VMRUN", "VMMCALL", *names.split()})

    def _take(self, p: Processor, event: object) -> None:
        self.taken.append((event, p.side))
        p.nmi_masked = False  # the handler is short, and ends in IRET

    def nop(self) -> None:
        """An instruction that changes nothing."""
        self.c.sldt()

    def run(self, *steps: Callable[[], object]) -> int:
        """VMRUN; the guest takes `steps`, then VMMCALL.  Returns the EXITCODE."""
        self.steps = []

        def guest(p: Processor, rax: int) -> None:
            for step in steps:
                step()
                self.steps.append(getattr(step, "__name__", ""))

        self.p.guest = guest
        self.c.vmrun(VMCB)
        return self.vmcb["EXITCODE"]

    def send(self, event: object) -> Callable[[], object]:
        """The step by which `event` comes to wait, as an APIC's message to itself."""
        return lambda: (self.p.pending.append(event), self.nop())

    def switch(self, *steps: Callable[[], object]) -> int:
        """As the suite's mix tests run a guest: IF set, which should not matter, and GIF clear."""
        self.c.sti()
        self.c.clgi()
        exitcode = self.run(*steps)
        assert self.taken == []
        self.c.stgi()
        return exitcode


@pytest.mark.parametrize("event", EVENTS, ids=str)
class TestGif:
    def test_what_comes_while_gif_is_clear_waits_for_stgi(self, event):
        host = Host()
        host.c.sti()
        host.c.clgi()
        host.p.pending.append(event)
        host.nop()
        host.nop()
        assert host.taken == []
        host.c.stgi()
        host.nop()
        assert host.taken == [(event, "host")]

    def test_it_waits_through_a_guest_whose_vmcb_intercepts_it_and_comes_at_the_host_s_stgi(self, event):
        host = Host(intercepts=EVENTS[event], RFLAGS=RFLAGS_IF)
        host.c.sti()
        host.c.clgi()
        host.p.pending.append(event)
        assert host.run(host.nop) == EXITCODES[EVENTS[event]]
        assert (host.steps, host.taken, host.p.pending) == ([], [], [event])
        host.c.stgi()
        assert host.taken == [(event, "host")]

    def test_it_comes_while_the_guest_runs(self, event):
        """The suite's init intercept, and the second stage of interrupt and nmi."""
        host = Host(intercepts=EVENTS[event], RFLAGS=RFLAGS_IF)
        host.c.clgi()
        assert host.run(host.nop, host.send(event), host.nop) == EXITCODES[EVENTS[event]]
        assert (len(host.steps), host.taken) == (1, [])

    def test_without_the_intercept_it_is_the_guest_s(self, event):
        """The first stage of interrupt and nmi."""
        host = Host(RFLAGS=RFLAGS_IF)
        host.c.clgi()
        assert host.run(host.send(event), host.nop) == VMMCALL
        assert host.taken == [(event, "guest")]


class TestInterruptFlag:
    def test_an_interrupt_waits_for_if_and_for_the_instruction_behind_sti(self):
        host = Host()
        host.p.pending.append(INTR)
        host.nop()
        host.c.sti()
        assert host.taken == []
        host.nop()
        assert host.taken == [(INTR, "host")]

    def test_cli_behind_sti_leaves_no_window(self):
        host = Host()
        host.p.pending.append(INTR)
        host.c.sti()
        host.c.cli()
        host.nop()
        assert host.taken == []

    @pytest.mark.parametrize("event", ["NMI", "SMI", "INIT"])
    def test_the_others_do_not_ask_for_if(self, event):
        host = Host()
        host.p.pending.append(event)
        host.nop()
        assert host.taken == [(event, "host")]


class TestPendingEvent:
    def test_an_interrupt_that_waits_ends_the_guest_before_it_begins(self):
        """The suite's pending_event."""
        host = Host(intercepts="INTR", INT_CTL=V_INTR_MASKING)
        host.p.pending.append(INTR)
        host.c.clgi()
        host.c.sti()
        assert host.run(host.nop) == EXITCODES["INTR"]
        host.c.cli()
        host.c.stgi()
        assert (host.steps, host.taken) == ([], [])
        host.c.sti()
        host.nop()
        host.c.cli()
        assert host.taken == [(INTR, "host")]
        host.intercept("")
        host.vmcb["INT_CTL"] = 0
        host.c.clgi()
        host.c.sti()
        assert host.run(host.nop) == VMMCALL
        assert (host.steps, len(host.taken)) == (["nop"], 1)

    def test_without_masking_the_guest_s_if_decides_and_with_it_the_host_s(self):
        """The suite's pending_event_cli."""
        host = Host()
        sti_nop_cli = (host.c.sti, host.nop, host.c.cli)
        host.p.pending.append(INTR)
        host.c.clgi()
        assert host.run(host.nop, lambda: host.taken.append("still waiting"), *sti_nop_cli) == VMMCALL
        assert host.taken == ["still waiting", (INTR, "guest")]
        host.taken.clear()
        host.vmcb["INT_CTL"] = V_INTR_MASKING
        host.p.pending.append(INTR)
        assert host.run(*sti_nop_cli) == VMMCALL
        assert host.taken == []
        host.c.stgi()
        for step in sti_nop_cli:
            step()
        assert host.taken == [(INTR, "host")]


class TestMix:
    """An intercept without V_INTR_MASKING: mix_if, mix_gif, mix_gif2, mix_nmi, mix_smi of the suite."""

    @staticmethod
    def waiting(host: Host) -> Callable[[], object]:
        def check() -> None:
            assert host.taken == []

        return check

    def never(self) -> None:
        pytest.fail("the guest went on behind its exit")

    def test_if_set_by_the_guest_lets_the_interrupt_in(self):
        host = Host(intercepts="INTR")
        host.p.pending.append(INTR)
        steps = (host.nop, self.waiting(host), host.c.sti, host.nop, self.never)
        assert host.switch(*steps) == EXITCODES["INTR"]
        assert host.taken == [(INTR, "host")]
        assert host.vmcb["RFLAGS"] & RFLAGS_IF

    def test_gif_cleared_by_the_guest_holds_it_back_whatever_if(self):
        host = Host(intercepts="INTR")
        host.p.pending.append(INTR)
        c, waiting = host.c, self.waiting(host)
        steps = (host.nop, c.clgi, c.sti, host.nop, host.nop, waiting, c.stgi, self.never)
        assert host.switch(*steps) == EXITCODES["INTR"]
        assert host.taken == [(INTR, "host")]
        assert host.vmcb["RFLAGS"] & RFLAGS_IF

    @pytest.mark.parametrize("event", [INTR, "NMI", "SMI"], ids=str)
    def test_what_comes_while_the_guest_has_gif_clear_waits_for_its_stgi(self, event):
        host = Host(intercepts=EVENTS[event], RFLAGS=RFLAGS_IF)
        c, waiting = host.c, self.waiting(host)
        steps = (host.nop, c.cli, c.clgi, host.send(event), c.sti, host.nop, waiting, c.stgi, self.never)
        assert host.switch(*steps) == EXITCODES[EVENTS[event]]
        assert host.taken == [(event, "host")]
        assert host.vmcb["RFLAGS"] & RFLAGS_IF


class TestVirtualGif:
    """The suite's vgif: STGI and CLGI of a guest with V_GIF_ENABLE work on V_GIF."""

    def test_stgi_sets_it_and_clgi_clears_it_without_an_exit(self):
        host = Host()
        assert host.run() == VMMCALL
        host.vmcb["INT_CTL"] = V_GIF_ENABLE
        assert host.run(host.c.stgi) == VMMCALL
        assert host.vmcb["INT_CTL"] == V_GIF_ENABLE | V_GIF
        assert host.run(host.c.clgi) == VMMCALL
        assert host.vmcb["INT_CTL"] == V_GIF_ENABLE

    def test_the_machine_s_own_gif_stays_set_in_the_guest(self):
        host = Host(INT_CTL=V_GIF_ENABLE, intercepts="NMI")
        assert host.run(host.c.clgi, host.send("NMI")) == EXITCODES["NMI"]

    @pytest.mark.parametrize("name", ["STGI", "CLGI"])
    def test_an_intercept_comes_first(self, name):
        host = Host(INT_CTL=V_GIF_ENABLE, intercepts=name)
        assert host.run(getattr(host.c, name.lower())) == EXITCODES[name]
        assert host.vmcb["INT_CTL"] == V_GIF_ENABLE


class TestHostFlags:
    """The suite's host_rflags: what RFLAGS holds when the host executes VMRUN.  Both emulators fail it."""

    def test_tf_traps_on_the_host_s_side_once_the_guest_is_through(self):
        host = Host()
        host.p.regs["RFLAGS"] |= RFLAGS_TF
        host.p.regs["RIP"] = 0x1111
        with pytest.raises(Fault) as trap:
            host.run(host.nop)
        assert trap.value.vector == "#DB"
        assert (host.steps, host.vmcb["EXITCODE"]) == (["nop"], VMMCALL)
        assert (host.p.side, host.p.gif, host.p.regs["RIP"]) == ("host", 0, 0x1111)
        assert [step.event for step in host.p.trace[-2:]] == ["#VMEXIT", "#DB"]

    def test_tf_of_the_host_is_not_the_guest_s(self):
        host = Host()
        host.p.regs["RFLAGS"] |= RFLAGS_TF
        with pytest.raises(Fault):
            host.run(lambda: host.steps.append(hex(host.p.regs["RFLAGS"] & RFLAGS_TF)))
        assert host.steps[0] == "0x0"

    def test_a_refused_vmcb_traps_too(self):
        host = Host(ASID=0)
        host.p.regs["RFLAGS"] |= RFLAGS_TF
        with pytest.raises(Fault, match="#DB"):
            host.run()
        assert host.vmcb["EXITCODE"] == VMEXIT_INVALID

    def test_rf_is_clear_afterwards(self):
        host = Host()
        host.p.regs["RFLAGS"] |= RFLAGS_RF
        assert host.run() == VMMCALL
        assert not host.p.regs["RFLAGS"] & RFLAGS_RF


class TestInTheGuest:
    def test_vmrun_exits(self):
        """The suite's vmrun."""
        host = Host()
        assert host.run(lambda: host.c.vmrun(VMCB)) == EXITCODES["VMRUN"]

    @pytest.mark.parametrize("vector", [0, 3, 14])
    def test_an_exception_is_injected_before_the_first_instruction(self, vector):
        """The last stage of exc_inject."""
        host = Host(EVENTINJ=1 << 31 | 3 << 8 | vector)
        assert host.run(lambda: host.taken.append("first")) == VMMCALL
        assert host.taken == [(("EXCEPTION", vector, 0), "guest"), "first"]
        assert not host.vmcb["EVENTINJ"] >> 31


# -- Virtual VMLOAD and VMSAVE (sources qemu-svm-helper, xen-svm): no CPU that the emulators show has them

TABLES, GUEST_PAGE = 0x50000, 0x7000
VIRTUAL, NESTED = 1 << 1, 1


class TestVirtualVmload:
    @pytest.fixture
    def host(self):
        """A host whose guest's GUEST_PAGE is PAGE, mapped through four levels of nested page tables."""
        host = Host(MISC_CTL=NESTED, MISC_CTL2=VIRTUAL, NESTED_CR3=TABLES, PAT=0x0007_0406_0007_0406)
        for level in range(3):
            host.p.memory.write(TABLES + 0x1000 * level, TABLES + 0x1000 * (level + 1) | 7)
        host.p.memory.write(TABLES + 0x3000 + 8 * (GUEST_PAGE >> 12), PAGE | 7)
        Vmcb(host.p.memory, PAGE)["STAR"] = 0x1111
        Vmcb(host.p.memory, GUEST_PAGE)["STAR"] = 0x2222
        return host

    def test_the_address_is_the_guest_s(self, host):
        assert host.run(lambda: host.c.vmload(GUEST_PAGE)) == VMMCALL
        assert host.p.regs["STAR"] == 0x1111
        host.p.regs["STAR"] = 0x3333
        assert host.run(lambda: host.c.vmsave(GUEST_PAGE)) == VMMCALL
        assert Vmcb(host.p.memory, PAGE)["STAR"] == 0x3333
        assert Vmcb(host.p.memory, GUEST_PAGE)["STAR"] == 0x2222

    def test_without_it_and_without_the_intercept_it_is_the_host_s(self, host):
        host.vmcb["MISC_CTL2"] = 0
        assert host.run(lambda: host.c.vmload(GUEST_PAGE)) == VMMCALL
        assert host.p.regs["STAR"] == 0x2222

    def test_a_page_that_the_guest_has_not_is_a_nested_page_fault(self, host):
        assert host.run(lambda: host.c.vmload(GUEST_PAGE + 0x1000)) == EXITCODES["NPF"]
        assert host.vmcb["EXITINFO2"] == GUEST_PAGE + 0x1000

    @pytest.mark.parametrize("name", ["VMLOAD", "VMSAVE"])
    def test_without_nested_paging_it_exits(self, host, name):
        host.vmcb["MISC_CTL"] = 0
        assert host.run(lambda: getattr(host.c, name.lower())(GUEST_PAGE)) == EXITCODES[name]
