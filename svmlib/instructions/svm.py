"""VMRUN and #VMEXIT, VMSAVE and VMLOAD, CLGI and STGI and the rest: what each moves and when it faults.

The rules are read from two emulators and from KVM (sources bochs-svm, qemu-svm-helper, linux-svm-c-2021); the
manual itself was not at hand.  What they agree on was also run on both (emulators-run).  A long module: the
eight instructions share what they check and what they move.
"""

from functools import lru_cache
from struct import Struct

from ..faults import Fault, Shutdown
from ..memory import MAXPHYADDR, PAGE, canonical
from ..processor import (
    CR0_ET,
    CR0_PG,
    CR4_LA57,
    EFER_LMA,
    EFER_LME,
    EFER_SVME,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    Processor,
)
from ..profiles import Switches
from ..registers import REGISTERS, carried_by
from ..vmcb import CONTROL, Layout
from . import events, legality, sev_es
from .intercepts import EXITCODES, Intercepted, intercept
from .msr import linear_bits

#: EXITCODE of a VMRUN that refuses its VMCB.
VMEXIT_INVALID = EXITCODES["VMEXIT_INVALID"]
_INVALID_LOW = 0xFFFF_FFFF
#: INTERCEPT_WORD4 bit 0: a VMCB must ask for VMRUN itself to be intercepted.
INTERCEPT_VMRUN = 1
#: MISC_CTL bit 0 and MISC_CTL2 bit 1: nested paging, virtual VMLOAD and VMSAVE.
NESTED_PAGING, VIRTUAL_VMLOAD = 1 << 0, 1 << 1

VMSAVE_SET = Layout(carried_by("VMSAVE"))
VMRUN_SET = Layout([name for name in carried_by("VMRUN") if REGISTERS[name].vmcb is not None])

_PLACE = {name: index for index, name in enumerate(VMSAVE_SET.names)}
#: Bases that VMLOAD sign-extends from bit 47, or 56 with five-level paging (kvm-unit-tests-svm).
_SIGN_EXTENDED = tuple(
    _PLACE[name] for name in ("FS.base", "GS.base", "LDTR.base", "TR.base", "KernelGSBase")
)
_ATTRIBS = tuple(_PLACE[name] for name in _PLACE if name.endswith(".attrib"))
_ENTRY_POINTS = (_PLACE["LSTAR"], _PLACE["CSTAR"])
_SYSENTER = (_PLACE["SYSENTER_ESP"], _PLACE["SYSENTER_EIP"])

_VMRUN_BASES = tuple(name for name in VMRUN_SET.names if name.endswith(".base"))

_HOST_BACK = tuple(name for name in VMRUN_SET.names if REGISTERS[name].after_exit == "host")
#: What VMRUN keeps of the host, in the order of Processor.saved_host, and #VMEXIT brings back.
HOST_SET = Layout(_HOST_BACK)
_BACK = (*HOST_SET.names, "DR6", "DR7")
_DR7_OFF = 0x400
#: INT_CTL, INT_STATE; EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO; EVENTINJ: what #VMEXIT writes to control.
_EXIT = Struct("<QQQQ")
_EXIT_AT = CONTROL["EXITCODE"][0]
_INT_CTL, _INT_STATE, _EVENTINJ = (CONTROL[name][0] for name in ("INT_CTL", "INT_STATE", "EVENTINJ"))
_V_TPR = 0xF
#: PAT is the guest's own with nested paging alone; #VMEXIT stores it then alone (bochs-svm).
_PAT = slice(REGISTERS["PAT"].vmcb, (REGISTERS["PAT"].vmcb or 0) + 8)


def require_svm(p: Processor, what: str) -> None:
    """Raise #UD unless EFER.SVME is set, then #GP(0) outside ring 0 (bochs-svm: in this order)."""
    if not p.regs["EFER"] & EFER_SVME:
        raise Fault("#UD", f"{what} while EFER.SVME is clear")
    if p.regs["CPL"]:
        raise Fault("#GP", f"{what} at CPL {p.regs['CPL']}; it is for ring 0", 0)


def _address(p: Processor, rax: int) -> int:
    """Return the part of rAX that names the page: EAX alone outside long mode (linux-svm-ops)."""
    if p.regs["EFER"] & EFER_LMA or not isinstance(rax, int):
        return rax
    return rax & 0xFFFF_FFFF


def _operand_page(p: Processor, what: str, rax: int) -> bytearray:
    """Return the page that rAX names, after the intercept and the #GP in the profile's order."""
    if p.intercepts and p.options.address_after_intercept:
        intercept(p, what)
    page = p.memory.pages.get(rax)
    if page is None:
        page = _checked_page(p, what, rax)
    if p.intercepts:
        intercept(p, what)
    return page


def _checked_page(p: Processor, what: str, rax: int) -> bytearray:
    if not isinstance(rax, int):
        raise Fault("#GP", f"{what}: rAX holds {rax!r}, not a physical address", 0)
    if rax % PAGE:
        raise Fault("#GP", f"{what}: {rax:#x} is not aligned to 4 KiB", 0)
    if rax >> MAXPHYADDR:
        raise Fault("#GP", f"{what}: {rax:#x} is beyond the {MAXPHYADDR} bits of a physical address", 0)
    if rax & ~p.memory.c_bit >= p.memory.size:
        raise Fault("#GP", f"{what}: there is no RAM at {rax:#x}; the model's ends at {p.memory.size:#x}", 0)
    return p.memory.page(rax)


def _moved_page(p: Processor, what: str, rax: int) -> tuple[bytearray, int]:
    """Return the page that VMLOAD or VMSAVE works on, and its physical address.

    In a guest that may execute them it is the host-physical page that rAX names (CVE-2021-3656).  Where the
    VMCB asks for virtual VMLOAD and VMSAVE, rAX is guest-physical; without nested paging or long mode that
    exits (qemu-svm-helper).
    """
    page = _operand_page(p, what, rax)
    if not p.intercepts:
        return page, rax
    control = p.control
    virtual = control.misc_ctl2 & VIRTUAL_VMLOAD and p.features.virtual_vmload
    long_mode = p.regs["EFER"] & EFER_LMA
    if (virtual or p.options.vmload_wants_nested) and not (control.misc_ctl & NESTED_PAGING and long_mode):
        raise Intercepted(EXITCODES[what])
    if virtual:
        rax = nested(p, rax, write=what == "VMSAVE")
        page = p.memory.page(rax)
    return page, rax


def nested(p: Processor, address: int, *, write: bool = False) -> int:
    """Walk the guest's nested page tables: return the host-physical address behind guest-physical `address`.

    4 KiB and 2 MiB pages.  Where an entry is absent, or read-only for a write, the guest exits with NPF:
    EXITINFO1 has bit 0 for present, 1 for a write, 2 for user and 32 for a final address, EXITINFO2 the
    address (qemu-svm-helper).
    """
    entry: int = p.control.nested_cr3
    for level in (39, 30, 21, 12):
        entry = p.memory.read((entry & 0xF_FFFF_FFFF_F000) + 8 * (address >> level & 511))
        if not entry & 1 or (write and not entry & 2):
            raise Intercepted(EXITCODES["NPF"], entry & 1 | write << 1 | 1 << 2 | 1 << 32, address)
        if level == 21 and entry >> 7 & 1:
            return entry & 0xF_FFFF_FFE0_0000 | address & 0x1F_FFFF
    return entry & 0xF_FFFF_FFFF_F000 | address & 0xFFF


def vmsave(p: Processor, rax: int) -> None:
    """VMSAVE: store what VMRUN leaves alone, 128 bytes, into the page at physical address `rax`.

    Any page will do: a VMCB, the host save page, plain memory.  #UD without EFER.SVME; #GP(0) outside ring 0
    and for an address that is not a page below 2**40.
    """
    require_svm(p, "VMSAVE")
    rax = _address(p, rax)
    page, pa = _moved_page(p, "VMSAVE", rax)
    p.record("VMSAVE", rax, None, (), (), (), VMSAVE_SET.write(page, VMSAVE_SET.values(p.regs), pa))


def vmload(p: Processor, rax: int) -> None:
    """VMLOAD: load FS, GS, TR, LDTR with their hidden parts, KernelGSBase, SYSCALL and SYSENTER registers.

    They come from the page at physical address `rax` as they lie there: no descriptor is read, no busy bit
    looked at, and no content faults; bases are sign-extended.  Nothing in the processor remembers whose
    values they are.  Faults as VMSAVE.
    """
    require_svm(p, "VMLOAD")
    rax = _address(p, rax)
    page, _ = _moved_page(p, "VMLOAD", rax)
    new, registers = vmload_image(VMSAVE_SET.image(page), p.options, linear_bits(p))
    old = VMSAVE_SET.values(p.regs)
    p.regs.update(registers)
    p.record("VMLOAD", rax, None, VMSAVE_SET.names, old, new)


# Images are decoded once: a run goes through few different ones, and each many times.
@lru_cache(maxsize=2048)
def vmload_image(image: bytes, options: Switches, bits: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return what VMLOAD makes of the bytes of a page, as values in VMSAVE_SET's order and by name."""
    values = list(VMSAVE_SET.read(image))
    for index in _SIGN_EXTENDED:
        values[index] = canonical(values[index], bits)
    for index in _ATTRIBS:
        values[index] &= 0xFFF
    values[_PLACE["SYSENTER_CS"]] &= 0xFFFF_FFFF
    for index in _SYSENTER:
        if options.vmload_sysenter_extends:
            values[index] = canonical(values[index], bits)
        elif not options.vmload_sysenter_raw:
            values[index] &= 0xFFFF_FFFF
    if options.vmload_extends_entry_points:
        for index in _ENTRY_POINTS:
            values[index] = canonical(values[index], bits)
    if options.vmload_sfmask_low32:
        values[_PLACE["SFMASK"]] &= 0xFFFF_FFFF
    return tuple(values), dict(zip(VMSAVE_SET.names, values, strict=True))


@lru_cache(maxsize=2048)
def _vmrun_image(
    image: bytes, control: legality.Control, options: Switches, la57: bool, host_paging: bool
) -> tuple[tuple[int, ...], dict[str, int], str | None]:
    """Decode a VMCB: the guest's registers as VMRUN loads them, and why it refuses them, if it does."""
    guest = dict(zip(VMRUN_SET.names, VMRUN_SET.read(image), strict=True))
    why = legality.illegal(legality.Vmcb(guest, control, la57, host_paging), options)
    long_mode = guest["EFER"] & EFER_LME and guest["CR0"] & CR0_PG
    guest["EFER"] = guest["EFER"] & ~EFER_LMA | (EFER_LMA if long_mode else 0)
    guest["CR0"] |= CR0_ET
    guest["RFLAGS"] |= 2
    guest["CPL"] &= 3
    if options.vmrun_extends_bases:
        for name in _VMRUN_BASES:
            guest[name] = canonical(guest[name], 57 if guest["CR4"] & CR4_LA57 and la57 else 48)
    return tuple(guest.values()), guest, why


def vmrun(p: Processor, rax: int) -> None:
    """VMRUN: keep the host's half that VMRUN carries, load the guest's from the VMCB at `rax`, set GIF.

    FS, GS, TR, LDTR and the rest of VMSAVE's set stay as they are.  A VMCB that `legality.illegal` refuses
    ends at once in #VMEXIT with EXITCODE VMEXIT_INVALID.  EVENTINJ is delivered first, then what waits.
    Long, since it is one instruction.
    Returns after the #VMEXIT, as on the machine; with RFLAGS.TF set in the host, in a #DB.  Faults as VMSAVE.
    """
    require_svm(p, "VMRUN")
    rax = _address(p, rax)
    page = _operand_page(p, "VMRUN", rax)
    regs = p.regs
    old = VMRUN_SET.values(regs)
    before, regs["RAX"] = regs["RAX"], rax
    p.saved_host = HOST_SET.values(regs)
    p.host_rflags, p.host_cr8 = regs["RFLAGS"], regs["CR8"]
    p.host_dr = regs["DR6"], regs["DR7"]
    control = legality.control(page)
    encrypted = control.misc_ctl & sev_es.SEV_ES
    vmsa_pa = sev_es.vmsa(page) if encrypted else 0
    held = sev_es.shifted(p.memory, vmsa_pa) if encrypted else page
    new, guest, why = _vmrun_image(
        VMRUN_SET.image(held), control, p.options, p.features.la57, regs["CR0"] >> 31 == 1
    )
    if why:
        p.record("VMRUN", rax, None, ("RAX",), (before,), (rax,))
        vmexit(p, rax, _INVALID_LOW if p.options.exitcode_low32 else VMEXIT_INVALID, why)
    else:
        cr2, pat = regs["CR2"], regs["PAT"]
        regs.update(guest)
        if not control.misc_ctl & NESTED_PAGING:
            regs["PAT"] = pat
        if p.options.vmrun_leaves_cr2:
            regs["CR2"] = cr2
        p.gif = 1
        p.record("VMRUN", rax, None, VMRUN_SET.names, old, new)
        p.vmsa_pa = vmsa_pa
        if encrypted:
            sev_es.load(p, "VMRUN", vmsa_pa, sev_es.type_b(p, vmsa_pa))
        _run_guest(p, rax, control)
    if p.saved_host is None and regs["RFLAGS"] & RFLAGS_TF:
        raise Fault("#DB", "RFLAGS.TF was set at VMRUN: a single step ends after it, on the host's side")


def _run_guest(p: Processor, rax: int, control: legality.Control) -> None:
    """Let the guest run until something ends it, then #VMEXIT."""
    p.side = "guest"
    shadow, p.shadow = p.shadow, 0 if p.options.vmrun_leaves_shadow else control.int_state & 1
    p.vmcb_pa, p.control, p.intercepts = rax, control, control.intercepts
    if control.int_ctl & events.V_INTR_MASKING:
        p.set("VMRUN", "V_TPR", None, "CR8", control.int_ctl & _V_TPR)
    intinfo = control.eventinj if control.eventinj & legality.EVENTINJ_VALID else 0
    try:
        if intinfo:
            events.inject(p, control)
            intinfo = 0
        code = _guest_s_exit(p, rax)
        if code is not None:
            vmexit(p, rax, code)
    except Intercepted as exit_:
        if intinfo:  # the host's shadow leaks into the guest's (linux-svm-c-2025, commit be45bc4eff33)
            p.shadow |= shadow
        vmexit(p, rax, exit_.exitcode, None, (exit_.info1, exit_.info2, intinfo))


def _guest_s_exit(p: Processor, rax: int) -> int | None:
    """Run the guest; return the EXITCODE it leaves with, or None where it stays, or raise Intercepted.

    A fault or a shutdown that it does not handle is an exit where the VMCB wants one.
    """
    if p.pending:
        events.arrive(p)
    if p.guest is None:
        return None
    try:
        code = p.guest(p, rax)
        if code is None:
            vmmcall(p)
    except Fault as fault:
        events.intercept_fault(p, fault)
        intercept(p, "SHUTDOWN")
        raise
    except Shutdown:
        if p.side == "guest" and p.intercepts >> EXITCODES["SHUTDOWN"] & 1:
            p.shutdown = None
            intercept(p, "SHUTDOWN")
        raise
    return code


def vmexit(
    p: Processor, rax: int, exitcode: int, why: str | None = None, info: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """#VMEXIT: clear GIF, store the guest's half into the VMCB at `rax`, load the host's back.

    What VMSAVE carries and what software carries is still the guest's; so are CR2 and DR6.  DR7 comes back
    disabled.  After VMEXIT_INVALID no guest state is stored.  `info` is EXITINFO1, EXITINFO2, EXITINTINFO.
    """
    if p.saved_host is None:
        raise RuntimeError("#VMEXIT without a VMRUN")
    page = p.memory.page(rax)
    p.gif = 0
    p.side = "host"
    regs = p.regs
    before = bytes(page[_EXIT_AT : _EXIT_AT + _EXIT.size])
    after = _EXIT.pack(exitcode, *info)
    page[_EXIT_AT : _EXIT_AT + _EXIT.size] = after
    stored = [(rax + _EXIT_AT, before, after)]
    debug = regs["DR6"], _DR7_OFF
    swapped: tuple[sev_es.Row, ...] | None = None
    if p.options.vmexit_restores_dr6:
        debug = p.host_dr[0], p.host_dr[1] & ~0xFF
    if p.control:
        if p.control.misc_ctl & sev_es.SEV_ES:
            swapped = sev_es.type_b(p, p.vmsa_pa)
            stored += sev_es.store_guest(p, p.vmsa_pa, (VMRUN_SET, VMSAVE_SET), swapped)
        else:
            if not p.control.misc_ctl & NESTED_PAGING:
                regs["PAT"] = int.from_bytes(page[_PAT], "little")
            stored += VMRUN_SET.write(page, VMRUN_SET.values(regs), rax)
        stored += _leave(p, rax, page)
    old = (*HOST_SET.values(regs), regs["DR6"], regs["DR7"])
    regs.update(zip(_BACK, (*p.saved_host, *debug), strict=True))
    if regs["RFLAGS"] & (RFLAGS_RF | RFLAGS_VM):
        regs["RFLAGS"] &= ~(RFLAGS_RF | RFLAGS_VM)
    p.saved_host = None
    p.record("#VMEXIT", why or rax, exitcode, _BACK, old, (*HOST_SET.values(regs), *debug), tuple(stored))
    if swapped is not None:
        sev_es.load(p, "#VMEXIT", regs["VM_HSAVE_PA"] + sev_es.HOST_AREA, swapped)


def _leave(p: Processor, rax: int, page: bytearray) -> list[tuple[int, bytes, bytes]]:
    """Write back what the guest changed of the control area, and forget it; return the memory written."""
    control = p.control
    int_ctl = control.int_ctl
    if int_ctl & events.V_INTR_MASKING:
        int_ctl = int_ctl & ~_V_TPR | p.regs["CR8"] & _V_TPR
        p.set("#VMEXIT", "V_TPR", None, "CR8", p.host_cr8)
    fields = (
        (_INT_CTL, 4, int_ctl),
        (_INT_STATE, 8, control.int_state & ~1 | p.shadow),
        (_EVENTINJ, 8, control.eventinj & ~legality.EVENTINJ_VALID),
    )
    p.shadow = 0
    p.vmcb_pa, p.control, p.intercepts = None, None, 0
    written = []
    for at, size, value in fields:
        new = value.to_bytes(size, "little")
        if page[at : at + size] != new:
            written.append((rax + at, bytes(page[at : at + size]), new))
            page[at : at + size] = new
    return written


def _virtual_gif(p: Processor) -> bool:
    return bool(p.control and p.features.vgif and p.control.int_ctl & events.V_GIF_ENABLE)


def _set_gif(p: Processor, what: str, gif: int) -> None:
    require_svm(p, what)
    if p.intercepts:
        intercept(p, what)
    if _virtual_gif(p):
        int_ctl = p.control.int_ctl & ~events.V_GIF | gif * events.V_GIF
        p.control = p.control._replace(int_ctl=int_ctl)
    else:
        p.gif = gif
    p.record(what)


def clgi(p: Processor) -> None:
    """CLGI: clear GIF, so that NMI, INTR, SMI and INIT wait.  Faults like VMSAVE, but for the address.

    In a guest with V_GIF_ENABLE it clears V_GIF in the VMCB's INT_CTL instead.
    """
    _set_gif(p, "CLGI", 0)


def stgi(p: Processor) -> None:
    """STGI: set GIF; what waited for it arrives here, before the next instruction.  As CLGI otherwise."""
    _set_gif(p, "STGI", 1)
    if p.pending:
        events.arrive(p)


def vmmcall(p: Processor) -> None:
    """VMMCALL: leave the guest for its host, at any CPL.  #UD where nobody intercepts it."""
    if not p.regs["EFER"] & EFER_SVME:
        raise Fault("#UD", "VMMCALL while EFER.SVME is clear")
    intercept(p, "VMMCALL")
    raise Fault("#UD", "VMMCALL that nobody intercepts")


def invlpga(p: Processor, address: int, asid: int) -> None:
    """INVLPGA: drop the translation of linear `address` in `asid` from the TLB, which the model has not.

    Faults as CLGI.
    """
    require_svm(p, "INVLPGA")
    intercept(p, "INVLPGA")
    p.record("INVLPGA", address, asid)


def skinit(p: Processor, eax: int) -> None:
    """SKINIT: refuse to start a secure loader at `eax`; the faults and the intercept are all there is here.

    #UD, for want of the extension, where CLGI would execute.  Neither emulator runs it.
    """
    require_svm(p, "SKINIT")
    intercept(p, "SKINIT")
    raise Fault("#UD", f"SKINIT {eax:#x}: the model has no secure loader")
