"""The KVM_RUN loop around a path on several CPUs: schedule, enter, leave, return to user space, and look.

After 2020's svm_vcpu_run() (linux-svm-c-2021): what a path has to do itself is not done here; what it has to
leave alone is done between its functions, so that a mistake is met where a real host would meet it.
"""

import sys
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from .. import profiles
from ..faults import Fault, Runaway, Shutdown
from ..instructions import Cpu, svm, system
from ..instructions.svm import HOST_SET, VMSAVE_SET
from ..memory import Memory
from ..processor import CALL_LIMIT, RFLAGS_IF, Processor
from ..registers import MSR, carried_by
from ..trace import Trace
from . import entry, guest
from .host import Host, Task, boot, load_task, new_vmcb, task
from .invariants import Violation, broken, describe, left_behind
from .percpu import area, symbols, this_cpu_read
from .vcpu import Vcpu

#: EXITCODEs: a CPUID is handled in the kernel, port I/O goes to user space.
EXITCODES = {"kernel": 0x72, "user": 0x7B}
#: What is compared when a vCPU is put: every register that VMRUN does not carry.
COMPARED = carried_by("VMSAVE") + carried_by("software")

_compared = itemgetter(*COMPARED)
_HOST_RFLAGS = HOST_SET.names.index("RFLAGS")
_swapped = itemgetter(*guest.SWAPPED_BY_KVM)
_SWAPPED_AT = tuple(guest.REACH.index(name) for name in guest.SWAPPED_BY_KVM)
_saved = itemgetter(*[guest.REACH.index(name) for name in VMSAVE_SET.names])


class Exit(NamedTuple):
    """One entry of a vCPU, and how it ends."""

    #: "kernel": handled in the kernel and entered again; "user": goes on to user space.
    kind: str = "kernel"
    #: Whether an NMI becomes pending while GIF is clear.
    nmi: bool = False
    #: The CPU it runs on; a vCPU found on another one is scheduled out there first.
    cpu: int = 0
    vcpu: int = 0

    def __str__(self) -> str:
        """Write it as `exits` reads it."""
        suffix = "+nmi" * self.nmi + f"@{self.cpu}" * bool(self.cpu) + f"#{self.vcpu}" * bool(self.vcpu)
        return self.kind + suffix


class ExitRecord(NamedTuple):
    """An exit that ran: what it was, and its steps, trace[first:last]."""

    kind: str
    nmi: bool
    cpu: int
    vcpu: int
    first: int
    last: int


class PathError(TypeError):
    """What was given as a path is none."""


class _Broken(Exception):
    """A rule was broken; machine.violation says which.  Never leaves this module."""


class _Thread:
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
        names = symbols(host.cpus, host.seed)
        for p in self.processors:
            boot(p, host)
            p.symbols = names
            p.on_fault = partial(entry.exception_entry, self)
            p.on_event = self._event
            p.guest = self._astray
            self.trace.start[p.index] = dict(p.regs)
            self.trace.host[p.index] = [(0, self.trace.start[p.index])]
        self.threads = [_Thread(self, n) for n in range(host.vcpus)]
        self.current: list[_Thread | None] = [None] * host.cpus
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
            except _Broken:
                pass
            finally:
                self.trace.phase, self.trace.limit = "", sys.maxsize
            self.records.append(ExitRecord(*exit_, first, len(self.trace)))
            if self.violation:
                return False
        return True

    # -- one entry

    def _enter(self, exit_: Exit) -> None:
        thread, p = self.threads[exit_.vcpu], self.processors[exit_.cpu]
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
        if exit_.kind == "user":
            self._put(thread, p, cpu)
            self._user_space(thread, p, cpu)

    def _switch(self, exit_: Exit, thread: _Thread, p: Processor, cpu: Cpu) -> None:
        regs = p.regs
        system.cli(p)
        svm.clgi(p)
        host = _swapped(regs)
        names = guest.SWAPPED_BY_KVM
        regs.update(zip(names, thread.swapped, strict=True))
        p.record("registers in", None, None, names, host, thread.swapped)
        thread.entries = 0
        p.guest = partial(self._guest, exit_, thread)
        self._call("vcpu_enter_exit", cpu, thread)
        p.guest = self._astray
        thread.swapped = _swapped(regs)
        regs.update(zip(names, host, strict=True))
        p.record("registers out", None, None, names, thread.swapped, host)
        if thread.entries != 1:
            ran = "never ran" if not thread.entries else f"ran {thread.entries} times"
            self._violate(
                "window", p, "", f"The guest {ran} between CLGI and STGI: vcpu_enter_exit has to run it once."
            )
        if regs["RFLAGS"] & RFLAGS_IF:
            why = (
                "An interrupt arrived at STGI, inside the run path: IF was still set there (CLI is missing)."
            )
            self.violation = describe(self, p, "window", "RFLAGS", why, regs["RFLAGS"] & ~RFLAGS_IF)
            raise _Broken
        svm.stgi(p)
        self._own_data(p, cpu)
        system.sti(p)

    def _guest(self, exit_: Exit, thread: _Thread, p: Processor, vmcb_pa: int) -> int:
        regs = p.regs
        found = guest.values(regs)
        if found != thread.left:
            at = next(i for i, pair in enumerate(zip(found, thread.left, strict=True)) if pair[0] != pair[1])
            name = guest.REACH[at]
            why = f"The guest found {name} other than it left it, and went on with that."
            self.violation = describe(self, p, "guest_state", name, why, thread.left[at])
            raise _Broken
        if regs["TSC_AUX"] != thread.tsc_aux:
            why = "RDTSCP in the guest names a CPU that is not the guest's: TSC_AUX is not as KVM set it."
            self.violation = describe(self, p, "guest_state", "TSC_AUX", why, thread.tsc_aux)
            raise _Broken
        if p.saved_host and not p.saved_host[_HOST_RFLAGS] & RFLAGS_IF:
            why = "No interrupt could end the guest's run: IF was clear at VMRUN (STI is missing)."
            self.violation = describe(self, p, "window", "", why, 0)
            raise _Broken
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
        return EXITCODES[exit_.kind]

    def _astray(self, p: Processor, vmcb_pa: int) -> int:
        self.violation = broken(
            self, p, "window", "", "A guest ran outside vcpu_enter_exit, where GIF is set."
        )
        raise _Broken

    def _own_data(self, p: Processor, cpu: Cpu) -> None:
        """Read per-CPU data as the kernel's C code does everywhere."""
        found = this_cpu_read(cpu, "cpu_number")
        base = p.regs["GS.base"]
        if base != area(p.index, self.host.seed):
            # What lies there may even be the right number: nothing but luck.
            why = f"The kernel on CPU {p.index} took itself for CPU {found:#x}: it read at GS.base {base:#x}."
            self._violate("per_cpu", p, "GS.base", why)

    def _event(self, p: Processor, event: str) -> None:
        entry.nmi(self, p)

    # -- around it

    def _schedule(self, thread: _Thread, p: Processor) -> None:
        """Make `thread` the current one on `p`: scheduled out where it was, and whoever was here likewise."""
        if thread.cpu is not None and thread.cpu != p.index:
            self._schedule_out(thread)
        here = self.current[p.index]
        if here is thread:
            return
        if here is not None:
            self._schedule_out(here)
        load_task(p, thread.task, self.host.seed)
        self.current[p.index] = thread
        thread.cpu = p.index
        self._host_has(p)

    def _schedule_out(self, thread: _Thread) -> None:
        if thread.cpu is None:
            return
        p = self.processors[thread.cpu]
        if thread.in_period:
            self._put(thread, p, self.cpus[p.index])
        self.current[p.index] = None
        thread.cpu = None

    def _put(self, thread: _Thread, p: Processor, cpu: Cpu) -> None:
        """vcpu_put(): the path restores the rest; CPU and VMCB must then hold the host's, the guest's."""
        self._call("prepare_host_switch", cpu, thread)
        thread.in_period = False
        host = self.host_state(p.index)
        if _compared(p.regs) != _compared(host):
            for name in COMPARED:
                if p.regs[name] != host[name] and not _means_nothing(name, p.regs):
                    self.violation = left_behind(self, p, name)
                    raise _Broken
        saved = VMSAVE_SET.read(VMSAVE_SET.image(self.memory.page(thread.vcpu._fields["vmcb_pa"])))
        left = _saved(thread.left)
        if saved == left:
            return
        for name, found, expected in zip(VMSAVE_SET.names, saved, left, strict=True):
            if found != expected:
                why = f"The guest's {name} is lost: when the vCPU was put its VMCB held {found:#x}."
                self.violation = describe(self, p, "guest_state", name, why, expected)._replace(value=found)
                raise _Broken

    def _user_space(self, thread: _Thread, p: Processor, cpu: Cpu) -> None:
        """Go to user space and come back: SWAPGS, and at times the thread has moved its bases meanwhile."""
        cpu.swapgs()
        p.record("SYSRET")
        if thread.turn % 2:
            moved = {name: (p.regs[name] ^ 0x55_5000) & ~0xFFF for name in ("FS.base", "GS.base")}
            p.update("user code", None, None, moved)
            registers = thread.task.registers | {
                "FS.base": moved["FS.base"],
                "KernelGSBase": moved["GS.base"],
            }
            thread.task = thread.task._replace(registers=registers)
        p.record("SYSCALL")
        cpu.swapgs()
        self._host_has(p)

    def _host_has(self, p: Processor) -> None:
        self.trace.host[p.index].append((len(self.trace), dict(p.regs)))

    # -- the path

    def _call(self, name: str, cpu: Cpu, thread: _Thread) -> None:
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
            raise cpu._processor.shutdown or _Broken

    def _violate(self, invariant: str, p: Processor, register: str, why: str) -> None:
        self.violation = broken(self, p, invariant, register, why)
        raise _Broken

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
