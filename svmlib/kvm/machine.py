"""The KVM_RUN loop around a path on several CPUs: schedule, enter, leave, return to user space, and look.

After 2020's svm_vcpu_run() (linux-svm-c-2021): what a path has to do itself is not done here; what it has to
leave alone is done between its functions, so that a mistake is met where a real host would meet it.  What the
host kernels do differently is in kernels/.  A long module: one loop, and every rule that is looked at in it.
"""

import sys
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

from ..faults import Fault, Runaway, Shutdown
from ..instructions import Cpu, events, sev_es
from ..instructions.intercepts import EXITCODES as CODES
from ..instructions.svm import HOST_SET, VMSAVE_SET
from ..memory import DIRECT_MAP, Memory
from ..processor import CALL_LIMIT, RFLAGS_IF, Processor
from ..registers import MSR, carried_by
from ..trace import Trace
from . import guest, kernels, nested, svm_ops
from .boot import boot
from .exits import ARRIVALS, EXITCODES, MORE_ARRIVALS, NESTED_KINDS, Exit, ExitRecord
from .host import ENDING, MACHINE_CHECK, TASKS, Host, Task
from .invariants import Violation, broken, describe, left_behind
from .vcpu import Vcpu

#: What is compared when a vCPU is put: every register that VMRUN does not carry.  A kernel leaves some out.
COMPARED = carried_by("VMSAVE") + carried_by("software")
#: Registers of a CPU's own, not of its thread's, that stay the guest's until user space needs them.
_LAZY = ("TSC_AUX", "FRED_RSP0")
#: What the code around VMRUN may find changed after it, and what it may not: the ABI's.
_CALLER_SAVED = ("RCX", "RDX", "RSI", "RDI", "R8", "R9", "R10", "R11")
_CALLEE_SAVED = ("RBX", "RBP", "R12", "R13", "R14", "R15")

_ENDED = {CODES[name] for name in ENDING} | {MACHINE_CHECK}
_HOST_RFLAGS = HOST_SET.names.index("RFLAGS")
_saved = itemgetter(*[guest.REACH.index(name) for name in VMSAVE_SET.names])


class PathError(TypeError):
    """What was given as a path is none."""


class Broken(Exception):
    """A rule was broken; machine.violation says which.  Never leaves `Machine.step`."""


class Thread:
    """A user thread that runs a vCPU: where it is loaded, and the guest's registers that KVM keeps for it."""

    def __init__(self, machine: "Machine", number: int):
        host, begun = machine.host, machine.booted.guests[number]
        self.task: Task = machine.booted.tasks[number]
        self.states = guest.states(host.seed, number, machine.wide)
        self.registers = guest.registers(host.seed, number, machine.wide)
        self.turn = 0
        self.left = self.states[-1]
        #: Registers that this guest has on this host beyond guest.REACH, always with the same value.
        self.beyond = begun.beyond
        #: Whether it is an SEV-ES guest; the registers that the run loop swaps for it, and their values.
        self.encrypted = begun.fields["sev_es"]
        self.names = machine.swapped_names(self.encrypted)
        self.swapped = tuple([begun.left[name] for name in self.names])
        self.cpu: int | None = None
        self.in_period = False
        self.entries = 0
        self.tsc_aux = begun.tsc_aux
        #: The vCPU's number; whether its L2 runs, and the half of its state that then waits.
        self.number, self.l2 = number, False
        self.other = nested.other_half(host, number)
        self.vcpu = Vcpu(machine.processors[0], **begun.fields)


class Machine:
    """CPUs, memory, threads, and one path that switches between host and guest on all of them."""

    def __init__(self, path: Any, host: Host):
        """Begin on a freshly booted `host`.  PathError where `path`, see svmlib.paths, lacks a function."""
        self.functions = functions_of(path)
        self.host = host
        self.trace = Trace()
        self.kernel = kernels.of(host.kernel)
        self.wide = self.kernel.direct_map == DIRECT_MAP
        self.booted = boot(host)
        self.memory = Memory(direct_map=self.kernel.direct_map, sme=host.sme)
        self.booted.fill(self.memory)
        self.violation: Violation | None = None
        self.records: list[ExitRecord] = []
        new = partial(Processor, memory=self.memory, trace=self.trace, features=self.booted.features)
        self.processors = [new(n) for n in range(host.cpus)]
        self.cpus = [Cpu(p) for p in self.processors]
        #: What a host kernel remembers elsewhere than in registers and memory: plain values, by name.
        self.kept: dict[str, Any] = {}
        #: The arrivals of the exit that runs and are still to come, and the step at which it began.
        self.coming: list[tuple[str, int]] = []
        self.began = 0
        self._compare(path, host)
        self._connect()
        self.threads = [Thread(self, n) for n in range(host.vcpus)]
        #: An ordinary thread for each CPU, which gets it when a vCPU's time slice is over.
        self.others = self.booted.others
        self.current: list[Thread | None] = [None] * host.cpus

    def _connect(self) -> None:
        """Begin with the state that the host has booted to, and hear of what arrives."""
        self.trace.guest = self.booted.values
        for p, registers in zip(self.processors, self.booted.registers, strict=True):
            p.regs.update(registers)
            p.per_cpu = self.kernel.per_cpu
            p.symbols = self.booted.symbols
            p.on_fault = partial(self.kernel.exception, self)
            p.on_event = self._event
            p.guest = self._astray
            self.trace.start[p.index] = dict(registers)
            self.trace.host[p.index] = [(0, self.trace.start[p.index])]

    def disconnect(self) -> None:
        """Hear of nothing any more: then a machine that is not needed goes without a garbage collector."""
        for p in self.processors:
            p.on_fault = p.on_event = p.guest = p.between = None

    def _compare(self, path: Any, host: Host) -> None:
        """Work out which registers the path carries, and which are compared at vcpu_put and at user space."""
        self.carries = frozenset(getattr(path, "CARRIES", ()))
        late = {"TSC_AUX"} if "on_user_return" in self.functions else set()
        masks = tuple(f"DR{n}_ADDR_MASK" for n in range(4)) if host.debug_swap else ()
        self.at_put = tuple(name for name in self.kernel.at_put if name not in late) + masks
        self.at_user = self.kernel.at_user + masks
        self._put_values, self._user_values = itemgetter(*self.at_put), itemgetter(*self.at_user)

    def swapped_names(self, encrypted: bool) -> tuple[str, ...]:
        """Return the registers that the run loop swaps around VMRUN: what neither path nor hardware does."""
        features = self.processors[0].features
        on = {"", *(["DebugSwap"] if self.host.debug_swap else [])}
        hardware = {row.name for row in sev_es.ROWS if row.when in on} if encrypted else set()
        if encrypted and features.v_tsc_aux:
            hardware.add("TSC_AUX")
        names = (*guest.SWAPPED_BY_KVM, *self.kernel.beyond)
        return tuple(name for name in names if name not in self.carries and name not in hardware)

    def named(self, task: Task) -> str:
        """Name a thread of the host's for the trace."""
        return f"task {(task.address - self.memory.direct_map - TASKS) >> 12}"

    def host_state(self, n: int) -> dict[str, int]:
        """Return the registers that CPU `n` has in the host, as of its current thread."""
        return self.trace.host[n][-1][1]

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
        """Let one exit happen, without a record of it; False if it breaks a rule.

        Once the host reboots, nothing happens any more.
        """
        if self.kept.get("rebooting"):
            return True
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
        except svm_ops.Rebooting:
            self.kept["rebooting"] = True
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
        self.kept[f"last vCPU of CPU {p.index}"] = exit_.vcpu
        if p.between:
            p.between(p)
        self._schedule(thread, p)
        cpu = self.cpus[p.index]
        object.__setattr__(thread.vcpu, "_processor", p)
        if not thread.in_period:
            thread.vcpu.cpu = p.index
        if p.between:
            p.between(p)
        if not thread.in_period:
            self._call("vcpu_load", cpu, thread)
        self._call("prepare_switch_to_guest", cpu, thread)
        if not thread.in_period:
            if self._gives_tsc_aux(thread):
                cpu.wrmsr(MSR.TSC_AUX, thread.tsc_aux)
            thread.in_period = True
        self._switch(exit_, thread, p, cpu)
        self._leave_by(exit_, thread, p)

    def _leave_by(self, exit_: Exit, thread: Thread, p: Processor) -> None:
        """What becomes of an exit whose handling in the kernel is over."""
        if exit_.kind == "user":
            self._put(thread, p)
            self.kernel.user_space(self, thread, p)
        elif exit_.kind in NESTED_KINDS and thread.entries:
            nested.handle(self, thread, p, exit_.kind)
        elif exit_.kind == "sched":
            self._schedule_out(thread)
            self.kernel.other_thread(self, self.others[p.index], p)

    def _switch(self, exit_: Exit, thread: Thread, p: Processor, cpu: Cpu) -> None:
        regs = p.regs
        if self.kernel.cli_first:
            cpu.cli()
        svm_ops.clgi(cpu)
        names = thread.names
        host = tuple([regs[name] for name in names])
        regs.update(zip(names, thread.swapped, strict=True))
        p.record("registers in", None, None, names, host, thread.swapped)
        kept = {name: regs[name] for name in _CALLER_SAVED + _CALLEE_SAVED} if thread.encrypted else {}
        self._debugctl(cpu, 0)
        thread.entries = 0
        first = len(self.trace)
        p.guest = partial(self._guest, exit_, thread)
        self._call("vcpu_enter_exit", cpu, thread)
        p.guest = self._astray
        thread.swapped = tuple([regs[name] for name in names])
        regs.update(zip(names, host, strict=True))
        p.record("registers out", None, None, names, thread.swapped, host)
        if thread.encrypted:
            self._general_registers(p, kept)
        self._debugctl(cpu, self.host.debugctl)
        if thread.entries != 1 and not (thread.entries == 0 and self._ended_by_event(first)):
            ran = "never ran" if not thread.entries else f"ran {thread.entries} times"
            self.violate(
                "window", p, "", f"The guest {ran} between CLGI and STGI: vcpu_enter_exit has to run it once."
            )
        if self.kernel.closed_at_stgi and regs["RFLAGS"] & RFLAGS_IF:
            why = (
                "An interrupt arrived at STGI, inside the run path: IF was still set there (CLI is missing)."
            )
            self.violation = describe(self, p, "window", "RFLAGS", why, regs["RFLAGS"] & ~RFLAGS_IF)
            raise Broken
        cpu.stgi()
        cpu.sti()
        # The access ends STI's shadow: an interrupt that waits comes behind it.
        self.kernel.own_data(self, p)

    def _gives_tsc_aux(self, thread: Thread) -> bool:
        """Whether the run loop has to load the guest's TSC_AUX: neither the path nor the hardware does."""
        by_hardware = thread.encrypted and self.processors[0].features.v_tsc_aux
        return self.kernel.tsc_aux and "TSC_AUX" not in self.carries and not by_hardware

    def _debugctl(self, cpu: Cpu, value: int) -> None:
        """Switch DEBUGCTL by hand where host and guest differ in it (commit-433265870ab3)."""
        if self.host.debugctl and self.host.debugctl_switched:
            cpu.wrmsr(MSR.DEBUGCTL, value)

    def _general_registers(self, p: Processor, kept: dict[str, int]) -> None:
        """After an SEV-ES guest's exit: the ABI's own registers must be back; the others nobody expects."""
        for name in _CALLEE_SAVED:
            if p.regs[name] != kept[name]:
                why = f"The function around VMRUN returned with a {name} that is not its caller's."
                self.violation = describe(self, p, "host_state", name, why, kept[name])
                raise Broken
        p.update("registers out", None, None, {name: kept[name] for name in _CALLER_SAVED})

    def _ended_by_event(self, first: int) -> bool:
        """Whether, since step `first`, an event that waited ended the guest's run before it began."""
        steps = self.trace[first:]
        codes = [step.value for step in steps if step.event == "#VMEXIT" and step.operand != "type B"]
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
        self._guest_looks_beyond(thread, p)
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
        p.pending += [(ARRIVALS | MORE_ARRIVALS)[name] for name, at in exit_.arrivals if at is None]
        if exit_.kind in NESTED_KINDS:
            return nested.execute(self, thread, p, exit_.kind)
        return EXITCODES[exit_.kind]

    def _guest_looks_beyond(self, thread: Thread, p: Processor) -> None:
        """Let the guest look at registers that never change for it: TSC_AUX, DEBUGCTL and the like."""
        expected = dict(thread.beyond)
        if self.kernel.tsc_aux:
            expected["TSC_AUX"] = thread.tsc_aux
        if self.host.debugctl:
            expected["DEBUGCTL"] = 0
        whys = {
            "TSC_AUX": "RDTSCP in the guest names a CPU that is not its own: TSC_AUX is not as KVM set it.",
            "DEBUGCTL": "The guest runs with the host's DEBUGCTL, and dies of a #DB that it cannot explain.",
        }
        for name, value in expected.items():
            if p.regs[name] != value:
                why = whys.get(name, f"The guest found {name} other than it left it.")
                self.violation = describe(self, p, "guest_state", name, why, value)
                raise Broken

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
            p.pending.append((ARRIVALS | MORE_ARRIVALS)[self.coming.pop(0)[0]])
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
        self.kernel.switch_out(self, thread.task, p)
        self.current[p.index] = None
        thread.cpu = None

    def _put(self, thread: Thread, p: Processor) -> None:
        """vcpu_put(): the path restores the rest; CPU and VMCB must then hold the host's, the guest's."""
        self._call("prepare_host_switch", self.cpus[p.index], thread)
        thread.in_period = False
        if self._put_values(p.regs) != self._put_values(self.host_state(p.index)):
            self._find_left_behind(p, self.at_put)
        saved = VMSAVE_SET.read(VMSAVE_SET.image(self._saved_page(thread)))
        left = _saved(thread.left)
        if saved == left:
            return
        for name, found, expected in zip(VMSAVE_SET.names, saved, left, strict=True):
            if found != expected:
                why = f"The guest's {name} is lost: when the vCPU was put its VMCB held {found:#x}."
                self.violation = describe(self, p, "guest_state", name, why, expected)._replace(value=found)
                raise Broken

    def _saved_page(self, thread: Thread) -> bytearray:
        """Return the page that holds what VMSAVE carries of the guest, as a VMCB has it."""
        page = self.memory.page(thread.vcpu._fields["vmcb01_pa"])
        return sev_es.shifted(self.memory, sev_es.vmsa(page)) if thread.encrypted else page

    def _find_left_behind(self, p: Processor, names: tuple[str, ...]) -> None:
        host = self.host_state(p.index)
        for name in names:
            if p.regs[name] != host[name] and not _means_nothing(name, p.regs):
                self.violation = left_behind(self, p, name)
                raise Broken

    def on_user_return(self, p: Processor) -> None:
        """Call the path's `on_user_return`, if it has one and one of its vCPUs has run on this CPU."""
        number = self.kept.get(f"last vCPU of CPU {p.index}")
        if number is not None and "on_user_return" in self.functions:
            thread = self.threads[number]
            before = thread.vcpu._processor
            object.__setattr__(thread.vcpu, "_processor", p)
            self._call("on_user_return", self.cpus[p.index], thread)
            object.__setattr__(thread.vcpu, "_processor", before)

    def to_user(self, p: Processor) -> None:
        """User space comes next on `p`: it must find its own registers, and CPU and kernel theirs."""
        if self._user_values(p.regs) != self._user_values(self.host_state(p.index)):
            self._find_left_behind(p, self.at_user)

    def host_has(self, p: Processor) -> None:
        """What CPU `p` holds now is the host's: what its thread has, and has to find again."""
        held = dict(p.regs)
        if "on_user_return" in self.functions or self.kernel.beyond:
            held |= {name: self.host_state(p.index)[name] for name in _LAZY}
        self.trace.host[p.index].append((len(self.trace), held))

    # -- the path

    def _call(self, name: str, cpu: Cpu, thread: Thread) -> None:
        function = self.functions.get(name)
        if function is None:
            return
        trace = self.trace
        trace.phase = name
        trace.limit = len(trace.steps) + CALL_LIMIT
        p = cpu._processor
        function(cpu, thread.vcpu)
        trace.phase = ""
        trace.limit = sys.maxsize
        if self.violation or p.shutdown:
            raise p.shutdown or Broken
        if name in ("vcpu_enter_exit", "on_user_return"):  # GIF is clear in one, IF in the other
            return
        if not p.gif:
            self.violate("flags", p, "", f"GIF is clear after {name}: no NMI and no interrupt can arrive.")
        if not p.regs["RFLAGS"] & RFLAGS_IF:
            self.violate("flags", p, "", f"Interrupts are off after {name}, and nobody turns them on again.")

    def violate(self, invariant: str, p: Processor, register: str, why: str) -> None:
        """End the run: `register` of `p` breaks the rule `invariant`, as somebody notices it now."""
        self.violation = broken(self, p, invariant, register, why)
        raise Broken

    def end(self) -> None:
        """End the run: `violation` says why."""
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
_OPTIONAL = ("vcpu_load", "on_user_return")


def name_of(path: Any) -> str:
    """Return what a path is called."""
    return str(getattr(path, "__name__", type(path).__name__)).rpartition("svmlib.paths.")[2]


def functions_of(path: Any) -> dict[str, Callable[[Cpu, Vcpu], None]]:
    """Return a path's functions by name; PathError names one that is missing.

    `vcpu_load` and `on_user_return` may be.
    """
    found = {name: getattr(path, name, None) for name in (*FUNCTIONS, "on_user_return")}
    for name, function in found.items():
        if function is None and name in _OPTIONAL:
            continue
        if not callable(function):
            label = name_of(path)
            what = (
                "has no function"
                if function is None
                else f"has {type(function).__name__} instead of a function"
            )
            raise PathError(
                f"the path {label} {what} {name}(cpu, vcpu); a path is {', '.join(FUNCTIONS[1:])}"
            )
    return {name: function for name, function in found.items() if function is not None}
