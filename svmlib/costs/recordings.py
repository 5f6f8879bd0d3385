"""Recordings of real exits: perf kvm stat's table is a mix, trace-cmd's text a sequence to replay.

Three texts are read, told apart by what stands in them:

- the table that `perf kvm stat report` prints for VM exits (not those of --event=ioport or mmio, which
  count accesses).  It says why guests left and how often, but not what became of an exit;
- what `trace-cmd report` prints, with its plugin for KVM or without (-N), not with -R;
- tracefs' own file `trace`, which has the same lines with a column more.

The latter two need the events kvm_exit, kvm_userspace_exit and sched_switch.  An exit gives the host's
state back when its thread returns to user space or is scheduled out before it enters the guest again: KVM
calls vcpu_put() in both cases.  A vCPU is a thread; threads and CPUs are numbered as they appear.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .mixes import Mix, MixError, checked, counted

#: What becomes of an exit, named as in svmlib.kvm, and what that is.
KINDS = {
    "kernel": "handled in the kernel, and the guest entered again",
    "user": "went on to user space",
    "sched": "the thread was scheduled out",
}
#: How to make a recording that is read here, for messages.
RECORD = "trace-cmd record -e kvm:kvm_exit -e kvm:kvm_userspace_exit -e sched:sched_switch"
_READ = "this reads the output of perf kvm stat report and of trace-cmd report"

_BINARY = {b"PERFILE2": "perf kvm -i {} stat report", b"\x17\x08Dtracing": "trace-cmd report -i {}"}
_TABLE = re.compile(r"\s*(\S.*?)\s+Samples\s+Samples%\s+Time%\s")
_ROW = re.compile(
    r"\s*(\S.*?)\s+(\d+)\s+([\d.]+)%\s+([\d.]+)%\s+[\d.]+us\s+[\d.]+us\s+[\d.]+us \( ?\+- +[-\w.]+% \)"
)
_TOTAL = re.compile(r"Total Samples:(\d+), Total events handled time:[\d.]+us\.")
_EVENT = re.compile(
    r" *(?P<task>\S.*)-(?P<pid>\d+) +(?:\([ \d-]+\) +)?\[(?P<cpu>\d+)\] +(?:[^\s\d]\S{3,7} +)?"
    r"(?P<time>\d+\.\d+): +(?P<event>\w+): *(?P<what>.*)"
)
_BESIDE = re.compile(r"#.*|cpus=\d+|version = \d+|CPU \d+ is empty| => .*|\s*")
_LOST = re.compile(r"CPU:\d+ \[.*(?:LOST|DROPPED).*\]")
_REASON = re.compile(r"(?:vcpu \d+,? )?reason (?:EXIT_)?(\w+)")


class RecordingError(MixError):
    """A text that is no recording, or not a whole one: which line, and what to do."""


class Exit(NamedTuple):
    """One exit of a recorded sequence."""

    #: Why the guest left, as the kernel calls it, in lower case: "msr", "npf", "cpuid".
    reason: str
    #: What became of it: one of KINDS.
    kind: str
    #: The CPU and the vCPU, both numbered as they appear.
    cpu: int
    vcpu: int

    @property
    def word(self) -> str:
        """The exit as svmlib.kvm.exits reads it."""
        return self.kind + f"@{self.cpu}" * bool(self.cpu) + f"#{self.vcpu}" * bool(self.vcpu)


class Recording(NamedTuple):
    """What a file says: how often a guest left for which reason, and, if it tells, each exit in order."""

    #: "perf kvm stat" or "trace-cmd".
    format: str
    reasons: Mapping[str, int]
    #: The exits in order; empty for a table.
    exits: tuple[Exit, ...] = ()
    #: From the first event to the last; None for a table.
    seconds: float | None = None
    #: What a reader of the numbers should know, a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many exits there were."""
        return sum(self.reasons.values())

    @property
    def kinds(self) -> Counter[str]:
        """How many exits became what."""
        return Counter(exit_.kind for exit_ in self.exits)

    def mix(self, name: str) -> Mix:
        """Return the recording as a mix; of a table its share is not known."""
        if self.exits:
            puts = len(self.exits) - self.kinds["kernel"]
            counts = counted(name, len(self.exits), puts, self.seconds, self.reasons)
            return counts._replace(title=f"{self.total:,} recorded exits")
        reasons = {reason: count / self.total for reason, count in self.reasons.items()}
        return checked(Mix(name, f"a table of {self.total:,} exits", None, reasons=reasons, label="measured"))

    @property
    def share(self) -> float:
        """The share f of exits after which the host was given back; RecordingError for a table."""
        if not self.exits:
            raise RecordingError(
                "perf's table tells why guests left, but not the share f of exits after which vcpu_put() "
                "gave the host's state back: give f yourself (KVM counts both, host_state_reload and exits, "
                "in /sys/kernel/debug/kvm)"
            )
        return 1 - self.kinds["kernel"] / len(self.exits)


def read(file: Path | str) -> Recording:
    """Read a recording; RecordingError names the line that is wrong and says what to do, OSError as usual."""
    path = Path(file)
    data = path.read_bytes()
    for start, command in _BINARY.items():
        if data.startswith(start):
            raise RecordingError(
                f"{path} is the recording itself, not its text: {command.format(path)} > TEXT makes that"
            )
    text = data.decode("utf-8", errors="replace")
    try:
        return parse(text)
    except RecordingError as error:
        raise RecordingError(f"{path}, {error}") from None


def parse(text: str) -> Recording:
    """Read a recording's text; RecordingError, beginning with the line's number."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if _TABLE.match(line):
            return _table(lines, number)
        if _EVENT.fullmatch(line):
            return _sequence(lines, whole=text.endswith("\n"))
    number = next((n for n, line in enumerate(lines, 1) if line.strip()), 1)
    raise _error(number, f"neither a table of perf nor a line of trace-cmd in this file; {_READ}", lines)


def _error(number: int, what: str, lines: list[str]) -> RecordingError:
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return RecordingError(f"line {number}: {what}" + (f" (it reads {line[:60]!r})" if line else ""))


# perf kvm stat


def _table(lines: list[str], head: int) -> Recording:
    counted = _TABLE.match(lines[head - 1])
    if counted and counted[1] != "VM-EXIT":
        what = f"a table of {counted[1]}: its rows are accesses, not exits; leave --event out"
        raise _error(head, what, lines)
    reasons: Counter[str] = Counter()
    for number, line in enumerate(lines[head:], head + 1):
        if total := _TOTAL.fullmatch(line.strip()):
            if int(total[1]) != reasons.total():
                what = f"the rows above make {reasons.total()}, so some are missing; print the table again"
                raise _error(number, what, lines)
            if not reasons:
                raise _error(number, "no exit in this table; record for longer, while a guest runs", lines)
            again = next(
                (n for n, other in enumerate(lines[number:], number + 1) if _TABLE.match(other)), None
            )
            if again:
                raise _error(again, "a second table; leave one in the file", lines)
            return Recording("perf kvm stat", dict(reasons.most_common()))
        if row := _ROW.fullmatch(line.rstrip()):
            reasons[row[1].lower()] += int(row[2])
        elif line.strip():
            raise _error(number, "no row of the table, or only a part of one; print the table again", lines)
    raise _error(len(lines), "the table ends here without its line of totals; print it again", lines)


# trace-cmd


class _Event(NamedTuple):
    line: int
    pid: str
    cpu: str
    time: float
    name: str
    what: str


def _events(lines: list[str]) -> Iterator[_Event]:
    for number, line in enumerate(lines, 1):
        if found := _EVENT.fullmatch(line):
            time = float(found["time"])
            yield _Event(number, found["pid"], found["cpu"], time, found["event"], found["what"])
        elif _LOST.fullmatch(line):
            what = "events were lost here, so what became of an exit is not known; record again with larger"
            raise _error(number, f"{what} buffers (-b 20000)", lines)
        elif not _BESIDE.fullmatch(line):
            raise _error(number, "no line of trace-cmd report, or only a part of one; print it again", lines)


class _Threads:
    """What each thread's latest exit has become so far, and all exits in order."""

    def __init__(self) -> None:
        self.exits: list[Exit] = []
        #: A thread -> the place of its latest exit in the list.
        self.latest: dict[str, int] = {}
        self.cpus: dict[str, int] = {}
        self.vcpus: dict[str, int] = {}

    def leaves_guest(self, event: _Event, reason: str) -> None:
        """A guest was left; until more is known, the kernel enters it again."""
        self.latest[event.pid] = len(self.exits)
        cpu = self.cpus.setdefault(event.cpu, len(self.cpus))
        vcpu = self.vcpus.setdefault(event.pid, len(self.vcpus))
        self.exits.append(Exit(reason.lower(), "kernel", cpu, vcpu))

    def gives_back(self, event: _Event) -> None:
        """A thread goes to user space or is scheduled out: the first time since it left its guest counts."""
        place = self.latest.get(event.pid)
        if place is not None and self.exits[place].kind == "kernel":
            self.exits[place] = self.exits[place]._replace(kind=_GIVES_BACK[event.name])

    def decided(self) -> tuple[Exit, ...]:
        """The exits without a thread's last one of which nothing is known yet."""
        open_ = {place for place in self.latest.values() if self.exits[place].kind == "kernel"}
        return tuple(exit_ for place, exit_ in enumerate(self.exits) if place not in open_)


_GIVES_BACK = {"kvm_userspace_exit": "user", "sched_switch": "sched"}


def _sequence(lines: list[str], *, whole: bool) -> Recording:
    if not whole:
        raise _error(len(lines), "cut off in the middle, for no newline ends it; print it again", lines)
    threads, seen, times = _Threads(), Counter[str](), []
    for event in _events(lines):
        seen[event.name] += 1
        times.append(event.time)
        if event.name == "kvm_exit":
            reason = _REASON.match(event.what)
            if not reason:
                raise _error(event.line, "kvm_exit without its reason; print it without -R", lines)
            threads.leaves_guest(event, reason[1])
        elif event.name in _GIVES_BACK:
            threads.gives_back(event)
    exits = threads.decided()
    notes = _judge(seen, len(threads.exits) - len(exits), lines)
    reasons = Counter(exit_.reason for exit_ in exits)
    return Recording("trace-cmd", dict(reasons.most_common()), exits, max(times) - min(times), notes)


def _judge(seen: Counter[str], undecided: int, lines: list[str]) -> tuple[str, ...]:
    """Say what is missing: RecordingError where nothing can be told, else notes."""
    if not seen["kvm_exit"]:
        raise _error(len(lines), f"no kvm_exit up to here; record with {RECORD}", lines)
    absent = [name for name in _GIVES_BACK if not seen[name]]
    if len(absent) == len(_GIVES_BACK):
        what = f"neither kvm_userspace_exit nor sched_switch up to here; record with {RECORD}"
        raise _error(len(lines), what, lines)
    if seen["kvm_exit"] == undecided:
        what = "no thread left its guest twice, so there is nothing to count; record for longer"
        raise _error(len(lines), what, lines)
    notes = [f"No {name} in it: if it was not recorded, the share f is too low." for name in absent]
    if undecided:
        several = "exits" if undecided > 1 else "exit"
        notes.append(f"What became of the last {undecided} {several} is not in it; left out.")
    return tuple(notes)
