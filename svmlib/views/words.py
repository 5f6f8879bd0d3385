"""A step in words: what was executed, what that does, and what it wrote to memory."""

from collections.abc import Collection, Iterable

from ..memory import PAGE
from ..trace import Step
from .fields import written

_READS = ("RDMSR", "MOV r,m", "MOV r,Sreg", "SLDT", "STR", "RDFSBASE", "RDGSBASE")
_CARRIED = "FS, GS, LDTR, TR, KernelGSBase, the SYSCALL and the SYSENTER registers"

_MEANS = {
    "RDMSR": "reads a model-specific register",
    "WRMSR": "writes a model-specific register",
    "VMSAVE": f"stores {_CARRIED} in memory; no register changes",
    "VMLOAD": f"loads {_CARRIED} from memory, whoever's they are",
    "VMRUN": "swaps the state that VMRUN carries and sets GIF: from here on the guest executes",
    "#VMEXIT": "the guest has left: VMRUN's part of the host is back, GIF is clear; the rest is the guest's",
    "CLGI": "clears GIF: NMI, INTR and SMI wait",
    "STGI": "sets GIF: an NMI that waited arrives now",
    "CLI": "clears IF",
    "STI": "sets IF",
    "SWAPGS": "exchanges GS.base and KernelGSBase",
    "RDFSBASE": "reads FS.base",
    "RDGSBASE": "reads GS.base",
    "WRFSBASE": "writes FS.base",
    "WRGSBASE": "writes GS.base",
    "MOV r,Sreg": "reads a segment selector",
    "MOV Sreg,r": "loads a segment register: selector and, from the descriptor, the rest",
    "SLDT": "reads LDTR's selector",
    "LLDT": "loads LDTR: selector and, from the GDT, the rest",
    "STR": "reads TR's selector",
    "LTR": "loads TR from the GDT and marks the TSS busy there",
    "MOV r,m": "loads from memory",
    "MOV m,r": "stores to memory",
    "registers in": "KVM loads the guest's general registers, debug registers, XCR0, PKRU and SPEC_CTRL",
    "registers out": "KVM keeps those of the guest and loads the host's",
    "guest": "the guest overwrites every register it can reach, then leaves",
    "NMI": "delivered: the stack comes from the TSS that TR names; the handler reads per-CPU data by GS",
    "IRET": "the handler returns",
    "SYSRET": "back in user space",
    "SYSCALL": "into the kernel again",
    "user code": "the host's thread moves its own FS and GS bases, as it may",
    "switch_to": "the host's scheduler puts a thread on this CPU",
    "switch_out": "the host's scheduler takes a thread off this CPU and keeps its segments",
    "#MC": "a machine check, delivered as an NMI is",
    "INTR": "an interrupt: on the stack in use, or from user space on RSP0; the handler reads per-CPU data",
    "#DF": "a fault while another event was delivered",
    "LSL": "reads a segment's limit: the kernel keeps the CPU's number in one",
    "XGETBV": "reads XCR0",
    "RDPKRU": "reads PKRU",
    "SYSENTER": "into the kernel again, where and on which stack its MSRs say",
    "SYSEXIT": "back in user space",
    "LKGS": "loads GS's selector, its base into KernelGSBase",
    "ERETU": "back in user space; the two GS bases are exchanged",
    "ERETS": "the handler returns",
    "nested VMRUN": "KVM enters the guest's guest: its half of the state takes the place of the guest's",
    "nested #VMEXIT": "KVM goes back to the guest from its guest",
    "emulated VMSAVE": "KVM stores for the guest what VMSAVE would",
    "emulated VMLOAD": "KVM loads for the guest what VMLOAD would",
    "shutdown": "the processor executes nothing any more",
}


def vmcbs_of(trace: Iterable[Step]) -> set[int]:
    """Return the physical addresses that VMRUN is given."""
    return {step.operand for step in trace if step.event == "VMRUN" and isinstance(step.operand, int)}


def page_name(step: Step, vmcbs: Collection[int]) -> str:
    """Name the page that an SVM instruction works on; `vmcbs` are the pages that VMRUN is given."""
    if step.event not in ("VMSAVE", "VMLOAD", "VMRUN", "#VMEXIT") or not isinstance(step.operand, int):
        return ""
    return "VMCB" if step.operand in vmcbs else "host save page"


def operation(step: Step, page: str = "") -> str:
    """Write the step as one line: event, operand, value, with an arrow the way the value went."""
    operand = f"{step.operand:#x}" if isinstance(step.operand, int) else step.operand or ""
    if page:
        operand += f" ({page})"
    if step.event == "shutdown":
        return step.event
    if step.event.startswith("#") and step.event != "#VMEXIT":
        return f"{step.event}: {operand}"
    text = f"{step.event} {operand}".strip()
    if step.times > 1:
        text += f" ×{step.times}"
    if step.value is None:
        return text
    sign = {"#VMEXIT": "EXITCODE", "NMI": "on stack"}.get(step.event, "→" if step.event in _READS else "←")
    return f"{text} {sign} {step.value:#x}"


def meaning(step: Step) -> str:
    """Say what an event does, in one line; nothing for one that speaks for itself."""
    return _MEANS.get(step.event, "")


def phase_name(step: Step) -> str:
    """Name the path's function, or the kernel around it."""
    return step.phase or "the kernel around the path"


def memory_written(step: Step, page: str) -> str:
    """Say how many bytes the step stored, and where; "" where it stored none."""
    if not step.memory:
        return ""
    where = written(step)
    size = sum(stop - start for start, stop in where)
    first = step.memory[0][0]
    unit = "byte" if size == 1 else "bytes"
    name = f", {page}" if page else ""
    at = f"{where[0][0]:#x}" if len(where) == 1 else f"{len(where)} places from {where[0][0]:#x}"
    return f"{size} {unit} → page {first - first % PAGE:#x}{name}, at {at}"
