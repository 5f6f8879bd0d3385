"""Loads and stores, plain and through FS and GS: where they go, what they fault with; a stopped processor."""

import pytest

from machines import LMA, PAGE, cpu
from svmlib.faults import Fault, Shutdown
from svmlib.memory import DIRECT_MAP

HERE = DIRECT_MAP + PAGE
SIZES = (1, 2, 4, 8)
PLAIN = ("load", "store")
THROUGH = ("load_fs", "store_fs", "load_gs", "store_gs")


def access(c, name, address, size=8):
    """Load or store, by the method's name."""
    return getattr(c, name)(address, *([0x11] if name.startswith("store") else []), size)


@pytest.mark.parametrize("size", SIZES)
def test_a_store_changes_as_many_bytes_as_it_says_and_a_load_reads_them_back(size):
    c, p = cpu(**{"FS.base": HERE, "GS.base": HERE})
    for store, load in (("store", "load"), ("store_fs", "load_fs"), ("store_gs", "load_gs")):
        p.memory.write(PAGE + 16, (1 << 64) - 1)
        at = HERE + 16 if store == "store" else 16
        getattr(c, store)(at, 0x1122_3344_5566_7788, size)
        mask = (1 << 8 * size) - 1
        assert getattr(c, load)(at, size) == 0x1122_3344_5566_7788 & mask
        assert p.memory.read(PAGE + 16) == (1 << 64) - 1 & ~mask | 0x1122_3344_5566_7788 & mask


@pytest.mark.parametrize("name", THROUGH)
def test_an_access_through_fs_or_gs_goes_wherever_that_base_points(name):
    c, p = cpu(**{f"{name[-2:].upper()}.base": HERE - 8})
    p.memory.write(PAGE, 0x77)
    access(c, name, 8)
    assert p.memory.read(PAGE) == (0x11 if name.startswith("store") else 0x77)


def test_outside_long_mode_an_address_has_32_bits():
    c, p = cpu(**{"GS.base": 0xFFFF_FFFF, "EFER": 0})
    p.memory.direct_map = 0
    p.memory.write(7, 0x1234)
    assert c.load_gs(8) == 0x1234
    p.regs["EFER"] = LMA
    with pytest.raises(Fault, match=r"#PF.*0x100000007"):
        c.load_gs(8)


@pytest.mark.parametrize("cpl,write,code", [(0, 0, 0), (0, 1, 2), (3, 0, 4), (3, 1, 6)])
@pytest.mark.parametrize("through", ["", "_fs", "_gs"])
def test_a_page_fault_says_who_did_what(through, cpl, write, code):
    c, p = cpu(CPL=cpl, **{"FS.base": 0x5000, "GS.base": 0x5000})
    name = ("load", "store")[write] + through
    with pytest.raises(Fault) as fault:
        access(c, name, 8 if through else 0x5008)
    assert (fault.value.vector, fault.value.error_code, fault.value.address) == ("#PF", code, 0x5008)
    assert p.regs["CR2"] == 0x5008
    assert (f"{through[1:]}:0x8" in str(fault.value)) == bool(through)


@pytest.mark.parametrize("name", [*PLAIN, *THROUGH])
@pytest.mark.parametrize("size", [0, 3, 16, None, "8"])
def test_no_instruction_moves_another_number_of_bytes(name, size):
    c, p = cpu()
    with pytest.raises(ValueError, match=f"{name}: no instruction moves {size!r} bytes at once; it is 1, 2"):
        access(c, name, HERE, size)
    assert len(p.trace) == 0


@pytest.mark.parametrize("name", [*PLAIN, *THROUGH])
@pytest.mark.parametrize("address", [None, "GS", 1.0])
def test_an_address_is_a_number(name, address):
    c, p = cpu()
    with pytest.raises(TypeError, match=f"{name}: {address!r} is not a number"):
        access(c, name, address)
    assert len(p.trace) == 0


@pytest.mark.parametrize("value", [None, "0x11", 1.5])
def test_a_value_is_a_number_too(value):
    c, p = cpu()
    for name in ("store", "store_fs", "store_gs"):
        with pytest.raises(TypeError, match=f"{name}: {value!r} is not a number"):
            getattr(c, name)(HERE, value)
    assert len(p.trace) == 0


def test_store_register_stores_a_general_register_and_no_other():
    c, p = cpu(R15=0xF00D)
    c.store_register(HERE, "R15")
    assert p.memory.read(PAGE) == 0xF00D
    for name in ("RIP", "LSTAR", "r15"):
        with pytest.raises(KeyError, match=f"no general register '{name}'; there are RAX, RBX"):
            c.store_register(HERE, name)
    with pytest.raises(TypeError, match="store_register: None is not a number"):
        c.store_register(None, "R15")


def test_a_field_that_the_kernel_named_is_named_in_the_trace_and_in_the_fault():
    c, p = cpu(**{"GS.base": HERE})
    p.symbols[-0x10 - 1] = "pcpu_hot.current_task"
    c.load_gs(0x10)
    assert p.trace[-1].operand == "pcpu_hot.current_task"
    p.regs["GS.base"] = 0x5000
    with pytest.raises(Fault, match=r"the load or store of pcpu_hot\.current_task"):
        c.store_gs(0x10, 1)


def test_a_processor_that_has_shut_down_executes_nothing_more():
    c, p = cpu()
    stopped = p.stop("a triple fault")
    steps = len(p.trace)
    for name in ("clgi", "swapgs", "sti"):
        with pytest.raises(Shutdown) as again:
            getattr(c, name)()
        assert again.value is stopped
    assert len(p.trace) == steps


def test_between_two_instructions_whoever_waits_for_it_is_called():
    c, p = cpu()
    seen = []
    p.between = lambda p: seen.append(p.trace[-1].event)
    c.clgi()
    with pytest.raises(Fault):
        c.load(0x5000)
    c.stgi()
    assert seen == ["CLGI", "STGI"]


def test_lsl_meets_a_gdt_that_is_not_mapped():
    c, p = cpu(**{"GDTR.base": 0x5000})
    assert c.lsl(0) == 0
    with pytest.raises(Fault, match="#PF"):
        c.lsl(8)
    p.regs["GDTR.limit"] = 0
    assert c.lsl(8) == 0
