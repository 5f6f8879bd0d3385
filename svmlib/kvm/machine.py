"""The KVM_RUN loop around a path on several CPUs: schedule, enter, leave, return to user space, and look.

After 2020's svm_vcpu_run() (linux-svm-c-2021): what a path has to do itself is not done here; what it has to
leave alone is done between its functions, so that a mistake is met where a real host would meet it.
"""

import sys
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

from .. import profiles
from ..faults import Fault, Runaway, Shutdown
from ..instructions import Cpu, events
from ..instructions.intercepts import EXITCODES as CODES
from ..instructions.svm import HOST_SET, VMSAVE_SET
from ..memory import Memory
from ..processor import CALL_LIMIT, RFLAGS_IF, Processor
from ..registers import MSR, carried_by
from ..trace import Trace
from . import guest, linux
from .exits import ARRIVALS, EXITCODES, Exit, ExitRecord
from .host import ENDING, MACHINE_CHECK, Host, Task, boot, new_vmcb, task
from .invariants import Violation, broken, describe, left_behind
from .percpu import symbols
from .vcpu import Vcpu

#: What is compared when a vCPU is put: every register that VMRUN does not carry.
COMPARED = carried_by("VMSAVE") + carried_by("software")

_ENDED = {CODES[name] for name in ENDING} | {MACHINE_CHECK}
_compared = itemgetter(*COMPARED)
_HOST_RFLAGS = HOST_SET.names.index("RFLAGS")
_swapped = itemgetter(*guest.SWAPPED_BY_KVM)
_SWAPPED_AT = tuple(guest.REACH.index(name) for name in guest.SWAPPED_BY_KVM)
_saved = itemgetter(*[guest.REACH.index(name) for name in VMSAVE_SET.names])


class PathError(TypeError):
    """What was given as a path is none."""


class Broken(Exception):
    """A rule was broken; machine.violation says which.  Never leaves `Machine.step`."""


class Thread:
    """A user thread that runs a vCPU: where it is loaded, and the guest's registers that KVM keeps for it."""

    def __init__(self, machine: "Machine", number: int):
        self.task: Task = task(machine.host, number, machine.memory)
        self.states = guest.states(machine.host.seed, number)
        self.registers = guest.registers(machine.host.seed, number)
        self.turn = 0
        self.left = self.states[-1]
        self.swapped = itemgetter(*_SWAPPED_AT)(self.left)
        self.cpu: int | None = None
        self.in_period = False
        self.entries = 0
        vmcb_pa = new_vmcb(machine.memory, number, self.left)
        first = machine.processors[0]
        fields = {
            "_features": machine.host.features,
            "vmcb_pa": vmcb_pa,
            "cpu": 0,
            "guest_state_loaded": False,
        }
        self.vcpu = Vcpu(first, **fields)
        self.tsc_aux = 0x1000 + number


class Machine:
    """CPUs, memory, threads, and one path that switches between host and guest on all of them."""

    def __init__(self, path: Any, host: Host):
        """Boot `host`.  PathError where `path` lacks a function; see svmlib.paths for what a path is."""
        self.functions = functions_of(path)
        self.host = host
        self.trace = Trace()
        self.memory = Memory()
        self.violation: Violation | None = None
        self.records: list[ExitRecord] = []
        features = profiles.cpu().but(null_clears_base=host.null_clears_base)
        new = partial(Processor, memory=self.memory, trace=self.trace, features=features)
        self.processors = [new(n) for n in range(host.cpus)]
        self.cpus = [Cpu(p) for p in self.processors]
        self.kernel = linux
        #: What a host kernel remembers elsewhere than in registers and memory: plain values, by name.
        self.kept: dict[str, Any] = {}
        #: The arrivals of the exit that runs and are still to come, and the step at which it began.
        self.coming: list[tuple[str, int]] = []
        self.began = 0
        names = symbols(host.cpus, host.seed)
        for p in self.processors:
            boot(p, host)
            p.symbols = names
            p.on_fault = partial(self.kernel.exception, self)
            p.on_event = self._event
            p.guest = self._astray
            self.trace.start[p.index] = dict(p.regs)
            self.trace.host[p.index] = [(0, self.trace.start[p.index])]
        self.threads = [Thread(self, n) for n in range(host.vcpus)]
        #: An ordinary thread for each CPU, which gets it when a vCPU's time slice is over.
        self.others = [task(host, host.vcpus + n, self.memory) for n in range(host.cpus)]
        self.current: list[Thread | None] = [None] * host.cpus
        self.trace.guest = {name: set() for name in guest.REACH}
        for thread in self.threads:
            for state in thread.states:
                for name, value in zip(guest.REACH, state, strict=True):
                    self.trace.guest[name].add(value)
            self.trace.guest.setdefault("TSC_AUX", set()).add(thread.tsc_aux)

    def host_state(self, n: int) -> dict[str, int]:
        """Return the registers that CPU `n` has in the host, as of its current thread."""
        return self.trace.host[n][-1][1]

    def kernel_stack(self, n: int) -> int:
        """Return the kernel's stack pointer on CPU `n`."""
        return self.host_state(n)["RSP"]

    def run(self, exits: list[Exit]) -> bool:
        """Let the exits happen in order; False as soon as a rule is broken, which `violation` then tells."""
        for exit_ in exits:
            first = len(self.trace)
            self.step(exit_)
            self.records.append(ExitRecord(*exit_, first, len(self.trace)))
            if self.violation:
                return False
        return True

    def step(self, exit_: Exit) -> bool:
        """Let one exit happen, without a record of it; False if it breaks a rule."""
        timed = [(name, at) for name, at in exit_.arrivals if at is not None]
        if timed:
            self.coming, self.began = timed, len(self.trace)
            for p in self.processors:
                p.between = self._between
        try:
            self._enter(exit_)
        except Shutdown as stop:
            # The path may have caught it, or no rule may name it yet: a stopped CPU breaks one anyway.
            self._violate_once("alive", exit_.cpu, f"The machine stopped: {stop}")
        except Fault as fault:
            self._violate_once("alive", exit_.cpu, f"The kernel died of an unexpected {fault}.")
        except Runaway as runaway:
            self.trace.limit = sys.maxsize
            self._violate_once("window", exit_.cpu, f"The machine hung: {runaway}.")
        except Broken:
            pass
        finally:
            self.trace.phase, self.trace.limit = "", sys.maxsize
            if timed:
                self.coming = []
                for p in self.processors:
                    p.between = None
        return self.violation is None

    # -- one entry

    def _enter(self, exit_: Exit) -> None:
        thread, p = self.threads[exit_.vcpu], self.processors[exit_.cpu]
        if p.between:
            p.between(p)
        self._schedule(thread, p)
        cpu = self.cpus[p.index]
        object.__setattr__(thread.vcpu, "_processor", p)
        if not thread.in_period:
            thread.vcpu.cpu = p.index
            self._call("vcpu_load", cpu, thread)
        self._call("prepare_switch_to_guest", cpu, thread)
        if not thread.in_period:
            cpu.wrmsr(MSR.TSC_AUX, thread.tsc_aux)
            thread.in_period = True
        self._switch(exit_, thread, p, cpu)
        self._leave_by(exit_, thread, p)

    def _leave_by(self, exit_: Exit, thread: Thread, p: Processor) -> None:
        """What becomes of an exit whose handling in the kernel is over."""
        if exit_.kind == "user":
            self._put(thread, p)
            self.kernel.user_space(self, thread, p)
        elif exit_.kind == "sched":
            self._schedule_out(thread)
            self.kernel.other_thread(self, self.others[p.index], p)

    def _switch(self, exit_: Exit, thread: Thread, p: Processor, cpu: Cpu) -> None:
        regs = p.regs
        cpu.cli()
        cpu.clgi()
        host = _swapped(regs)
        names = guest.SWAPPED_BY_KVM
        regs.update(zip(names, thread.swapped, strict=True))
        p.record("registers in", None, None, names, host, thread.swapped)
        thread.entries = 0
        first = len(self.trace)
        p.guest = partial(self._guest, exit_, thread)
        self._call("vcpu_enter_exit", cpu, thread)
        p.guest = self._astray
        thread.swapped = _swapped(regs)
        regs.update(zip(names, host, strict=True))
        p.record("registers out", None, None, names, thread.swapped, host)
        if thread.entries != 1 and not (thread.entries == 0 and self._ended_by_event(first)):
            ran = "never ran" if not thread.entries else f"ran {thread.entries} times"
            self.violate(
                "window", p, "", f"The guest {ran} between CLGI and STGI: vcpu_enter_exit has to run it once."
            )
        if regs["RFLAGS"] & RFLAGS_IF:
            why = (
                "An interrupt arrived at STGI, inside the run path: IF was still set there (CLI is missing)."
            )
            self.violation = describe(self, p, "window", "RFLAGS", why, regs["RFLAGS"] & ~RFLAGS_IF)
            raise Broken
        cpu.stgi()
        self.kernel.own_data(self, p)
        cpu.sti()

    def _ended_by_event(self, first: int) -> bool:
        """Whether, since step `first`, an event that waited ended the guest's run before it began."""
        codes = [step.value for step in self.trace[first:] if step.event == "#VMEXIT"]
        return len(codes) == 1 and codes[0] in _ENDED

    def _guest(self, exit_: Exit, thread: Thread, p: Processor, vmcb_pa: int) -> int:
        regs = p.regs
        found = guest.values(regs)
        if found != thread.left:
            at = next(i for i, pair in enumerate(zip(found, thread.left, strict=True)) if pair[0] != pair[1])
            name = guest.REACH[at]
            why = f"The guest found {name} other than it left it, and went on with that."
            self.violation = describe(self, p, "guest_state", name, why, thread.left[at])
            raise Broken
        if regs["TSC_AUX"] != thread.tsc_aux:
            why = "RDTSCP in the guest names a CPU that is not the guest's: TSC_AUX is not as KVM set it."
            self.violation = describe(self, p, "guest_state", "TSC_AUX", why, thread.tsc_aux)
            raise Broken
        if p.saved_host and not p.saved_host[_HOST_RFLAGS] & RFLAGS_IF:
            why = "No interrupt could end the guest's run: IF was clear at VMRUN (STI is missing)."
            self.violation = describe(self, p, "window", "", why, 0)
            raise Broken
        new = thread.states[thread.turn]
        regs.update(thread.registers[thread.turn])
        thread.turn = (thread.turn + 1) % guest.STATES
        thread.left = new
        thread.entries += 1
        phase, self.trace.phase = self.trace.phase, ""
        p.record("guest", exit_.kind, None, guest.REACH, found, new)
        self.trace.phase = phase
        if exit_.nmi:
            p.pending.append("NMI")
        p.pending += [ARRIVALS[name] for name, at in exit_.arrivals if at is None]
        return EXITCODES[exit_.kind]

    def _astray(self, p: Processor, vmcb_pa: int) -> int:
        self.violation = broken(
            self, p, "window", "", "A guest ran outside vcpu_enter_exit, where GIF is set."
        )
        raise Broken

    # -- what arrives

    def _event(self, p: Processor, event: Any) -> None:
        """Let the host kernel take `event`; its steps are the kernel's, not the path's."""
        trace = self.trace
        phase, limit = trace.phase, trace.limit
        trace.phase, trace.limit = "", sys.maxsize
        self.kernel.take(self, p, event)
        trace.phase, trace.limit = phase, limit

    def _between(self, p: Processor) -> None:
        """Between two instructions: what was to arrive by now waits, and is taken if it may be."""
        done = len(self.trace) - self.began
        while self.coming and self.coming[0][1] <= done:
            p.pending.append(ARRIVALS[self.coming.pop(0)[0]])
            events.arrive(p)

    # -- around it

    def _schedule(self, thread: Thread, p: Processor) -> None:
        """Make `thread` the current one on `p`: scheduled out where it was, and whoever was here likewise."""
        if thread.cpu is not None and thread.cpu != p.index:
            self._schedule_out(thread)
        here = self.current[p.index]
        if here is thread:
            return
        if here is not None:
            self._schedule_out(here)
        self.kernel.switch_to(self, thread.task, p)
        self.current[p.index] = thread
        thread.cpu = p.index
        self.host_has(p)

    def _schedule_out(self, thread: Thread) -> None:
        if thread.cpu is None:
            return
        p = self.processors[thread.cpu]
        if thread.in_period:
            self._put(thread, p)
        self.current[p.index] = None
        thread.cpu = None

    def _put(self, thread: Thread, p: Processor) -> None:
        """vcpu_put(): the path restores the rest; CPU and VMCB must then hold the host's, the guest's."""
        self._call("prepare_host_switch", self.cpus[p.index], thread)
        thread.in_period = False
        host = self.host_state(p.index)
        if _compared(p.regs) != _compared(host):
            for name in COMPARED:
                if p.regs[name] != host[name] and not _means_nothing(name, p.regs):
                    self.violation = left_behind(self, p, name)
                    raise Broken
        saved = VMSAVE_SET.read(VMSAVE_SET.image(self.memory.page(thread.vcpu._fields["vmcb_pa"])))
        left = _saved(thread.left)
        if saved == left:
            return
        for name, found, expected in zip(VMSAVE_SET.names, saved, left, strict=True):
            if found != expected:
                why = f"The guest's {name} is lost: when the vCPU was put its VMCB held {found:#x}."
                self.violation = describe(self, p, "guest_state", name, why, expected)._replace(value=found)
                raise Broken

    def host_has(self, p: Processor) -> None:
        """What CPU `p` holds now is the host's: what its thread has, and has to find again."""
        self.trace.host[p.index].append((len(self.trace), dict(p.regs)))

    # -- the path

    def _call(self, name: str, cpu: Cpu, thread: Thread) -> None:
        function = self.functions.get(name)
        if function is None:
            return
        trace = self.trace
        trace.phase = name
        trace.limit = len(trace.steps) + CALL_LIMIT
        function(cpu, thread.vcpu)
        trace.phase = ""
        trace.limit = sys.maxsize
        if self.violation or cpu._processor.shutdown:
            raise cpu._processor.shutdown or Broken

    def violate(self, invariant: str, p: Processor, register: str, why: str) -> None:
        """End the run: `register` of `p` breaks the rule `invariant`, as somebody notices it now."""
        self.violation = broken(self, p, invariant, register, why)
        raise Broken

    def _violate_once(self, invariant: str, n: int, why: str) -> None:
        if self.violation is None:
            self.violation = broken(self, self.processors[n], invariant, "", why)


def _means_nothing(name: str, regs: dict[str, int]) -> bool:
    """Whether `name` is the limit, or LDTR's base, of a segment not present: no instruction looks at it.

    CPUs without NullSelectorClearsBase keep the guest's limit there when a null selector is loaded (xen-svm).
    """
    segment, _, part = name.partition(".")
    unused = part == "limit" or name == "LDTR.base"
    return unused and not regs[f"{segment}.attrib"] & 0x80


FUNCTIONS = ("vcpu_load", "prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch")


def functions_of(path: Any) -> dict[str, Callable[[Cpu, Vcpu], None]]:
    """Return a path's functions by name; PathError names one that is missing (vcpu_load alone may be)."""
    found = {name: getattr(path, name, None) for name in FUNCTIONS}
    for name, function in found.items():
        if function is None and name == "vcpu_load":
            continue
        if not callable(function):
            label = getattr(path, "__name__", type(path).__name__)
            what = (
                "has no function"
                if function is None
                else f"has {type(function).__name__} instead of a function"
            )
            raise PathError(
                f"the path {label} {what} {name}(cpu, vcpu); a path is {', '.join(FUNCTIONS[1:])}"
            )
    return {name: function for name, function in found.items() if function is not None}
