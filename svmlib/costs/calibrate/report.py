"""What the programs print, read back: the machine, and a distribution of ticks for each event.

A report begins with its version, then "NAME: VALUE" lines of the machine, then a line an event, then how
many there were.  What a console adds is passed over: lines before it, carriage returns, escape sequences; and
so are lines that begin with "#", but for "# failed: WHY".
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from .building import CalibrationError

_START = "svmlib-calibrate 1"
_ESCAPE = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]|\r")
_EVENT = re.compile(r"(\S.*): (\d+)" + r" (-?\d+\.\d\d)" * 5)
_NUMBERS = ("family", "model", "stepping", "tsc khz", "tsc step", "blocks", "overhead")
_WORDS = ("made by", "vendor", "name", "hypervisor", "date", "event", "end")
_NAMED = re.compile(rf"({'|'.join((*_NUMBERS, *_WORDS))}): (.*)")
_IMAGE, _NONE = "image", "none"
#: In ticks: CPUID waits for all before it.  Leaf 0 takes 48 core cycles on K8 and no more than 147 since, an
#: exit to a hypervisor 1018 ticks and more (data/measurements.csv): outside these bounds something hides.
_FASTEST_CPUID, _SLOWEST_CPUID = 20, 1000


class Measured(NamedTuple):
    """The ticks that one execution took, over all blocks; an empty block's are subtracted."""

    #: Executions in a block; between them nothing waits for the end of the one before, unless it must.
    times: int
    least: float
    low: float
    median: float
    high: float
    most: float


class Report(NamedTuple):
    """A program's report."""

    #: "user mode" or "image".
    made_by: str
    vendor: str
    family: int
    model: int
    stepping: int
    name: str
    #: The day, as ISO 8601 has it, by the machine's own clock; "undated" where it has none.
    date: str
    #: How the hypervisor calls itself, or "none".
    hypervisor: str
    tsc_khz: int
    #: The TSC moves in steps of this.
    tsc_step: int
    blocks: int
    overhead: int
    events: Mapping[str, Measured]

    def __str__(self) -> str:
        """Write it as a table, beside the price list of the processor's generation."""
        from .text import as_text

        return as_text(self)

    @property
    def machine(self) -> str:
        """The processor in a few words."""
        return f"{self.name}, family {self.family} model {self.model} stepping {self.stepping}"

    @property
    def virtual(self) -> bool:
        """Whether a hypervisor says that it is there."""
        return self.hypervisor != _NONE

    @property
    def refused(self) -> str:
        """Why the numbers must not become prices, or ""."""
        if self.hypervisor.startswith("TCG"):
            return "QEMU's TCG emulated the processor: the ticks are the emulator's"
        if self.virtual and self.made_by == _IMAGE:
            return f"a hypervisor ({self.hypervisor}) carried out the privileged instructions"
        cpuid = self.events.get("CPUID 0")
        if cpuid and cpuid.median < _FASTEST_CPUID:
            return "a CPUID took less time than any processor needs, so an emulator hides below"
        if cpuid and cpuid.median > _SLOWEST_CPUID and self.made_by == _IMAGE:
            return "a CPUID took as long as an exit, so a hypervisor hides below"
        return ""

    @property
    def core_per_tick(self) -> tuple[float, float, float]:
        """Core cycles in a tick, low, median and high: a chain of ADDs takes a core cycle each."""
        chain = self.events["ADD"]
        return 1 / chain.high, 1 / chain.median, 1 / chain.low


def parse(text: str) -> Report:
    """Read a report; CalibrationError names the line that is wrong, or says what the program said."""
    lines = [line.rstrip() for line in _ESCAPE.sub("", text).split("\n")]
    # A console may have put firmware's words on the same line.
    first = next((number for number, line in enumerate(lines) if line.endswith(_START)), None)
    if first is None:
        raise CalibrationError(
            f"no report: there is no line {_START!r}; give REPORT.TXT, or what the console said"
        )
    named: dict[str, str] = {}
    events: dict[str, Measured] = {}
    for number, line in enumerate(lines[first + 1 :], first + 2):
        if line.startswith("# failed: "):
            raise CalibrationError(f"the program could not measure: {line.removeprefix('# failed: ')}")
        if found := _EVENT.fullmatch(line):
            events[found[1]] = Measured(int(found[2]), *(float(found[column]) for column in range(3, 8)))
        elif found := _NAMED.fullmatch(line):
            named[found[1]] = found[2].strip()
            if found[1] == "end":
                break
        elif line and not line.startswith("#"):
            raise CalibrationError(f"line {number} is none of a report: {line[:60]!r}; copy it again")
    if named.get("end") != str(len(events)):
        raise CalibrationError(
            f"the report is cut off or lacks lines: {len(events)} events are left; copy it again"
        )
    return _report(named, events)


def _report(named: dict[str, str], events: dict[str, Measured]) -> Report:
    try:
        family, model, stepping, khz, step, blocks, overhead = (int(named[name]) for name in _NUMBERS)
        report = Report(
            named["made by"], named["vendor"], family, model, stepping, named["name"],
            named.get("date", "undated"), named["hypervisor"], khz, step, blocks, overhead, events,
        )  # fmt: skip
    except KeyError as error:
        raise CalibrationError(f"the report has no line {error.args[0]!r}; copy it again") from None
    except ValueError as error:
        raise CalibrationError(f"the report has a wrong number ({error}); copy it again") from None
    if "ADD" not in events or events["ADD"].low <= 0:
        raise CalibrationError("the report has no chain of ADDs, or one that took no time; measure again")
    return report
