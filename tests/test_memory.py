"""Physical memory, canonical addresses, and the one mapping there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import EDGES, cpu
from svmlib.faults import AddressError, Fault, Shutdown
from svmlib.memory import DIRECT_MAP, PAGE, Memory, canonical, is_canonical

U64 = st.integers(0, (1 << 64) - 1)


@pytest.mark.parametrize("value", EDGES, ids=hex)
def test_an_address_is_canonical_when_sign_extension_leaves_it(value):
    assert canonical(value) == EDGES[value]
    assert is_canonical(value) is (value == EDGES[value])


@given(U64)
def test_sign_extension_repeats_bit_47_and_keeps_the_bits_below(value):
    extended = canonical(value)
    assert is_canonical(extended)
    assert extended & 0xFFFF_FFFF_FFFF == value & 0xFFFF_FFFF_FFFF
    assert extended >> 47 in (0, 0x1FFFF)
    assert canonical(extended) == extended


@pytest.mark.parametrize("value", [-1, 1 << 64, -(1 << 47)])
def test_what_is_no_64_bit_number_is_not_canonical(value):
    assert not is_canonical(value)


def test_a_page_begins_with_zeros_and_keeps_what_is_written():
    memory = Memory()
    assert memory.page(0x5000) == bytearray(PAGE)
    old = memory.write(0x5008, 0x1122_3344_5566_7788)
    assert old == bytes(8)
    assert memory.page(0x5000)[8:16] == bytes.fromhex("8877665544332211")
    assert memory.read(0x5008, 4) == 0x5566_7788
    assert memory.write(0x5008, 0xFFFF_AB, 1) == b"\x88"
    assert memory.read(0x5008) == 0x1122_3344_5566_77AB


@pytest.mark.parametrize("pa", [1, 0xFFF, 0x5001, 1 << 30, 1 << 40, -4096])
def test_no_page_begins_at_an_address_beyond_ram_or_inside_a_page(pa):
    with pytest.raises(AddressError, match=rf"{pa:#x} is not the start of a page of RAM \(0 to 0x40000000\)"):
        Memory().page(pa)


@given(st.integers(0, (1 << 30) - 8))
def test_all_ram_is_mapped_at_the_direct_map(pa):
    if pa % PAGE <= PAGE - 8:
        assert Memory().translate(DIRECT_MAP + pa) == pa


@pytest.mark.parametrize("linear", [0, 0x5E9_0000, DIRECT_MAP - 8, DIRECT_MAP + (1 << 30), (1 << 64) - 8])
def test_nothing_else_is_mapped(linear):
    with pytest.raises(Fault, match=f"nothing is mapped at {linear:#x}") as fault:
        Memory().translate(linear)
    assert (fault.value.vector, fault.value.error_code, fault.value.address) == ("#PF", 0, linear)


@pytest.mark.parametrize("linear", [value for value in EDGES if EDGES[value] != value], ids=hex)
def test_an_address_that_is_not_canonical_is_a_general_protection_fault(linear):
    with pytest.raises(Fault, match=f"{linear:#x} is not canonical") as fault:
        Memory().translate(linear)
    assert (fault.value.vector, fault.value.error_code) == ("#GP", 0)


def test_the_last_bytes_of_ram_are_mapped_and_not_one_more():
    memory = Memory()
    top = DIRECT_MAP + (1 << 30)
    assert memory.translate(top - 8) == (1 << 30) - 8
    assert memory.translate(top - 1, 1) == (1 << 30) - 1
    with pytest.raises(Fault, match="nothing is mapped"):
        memory.translate(top - 4)


@pytest.mark.parametrize("size,last", [(2, 0xFFE), (4, 0xFFC), (8, 0xFF8)])
def test_the_model_keeps_an_access_inside_a_page_and_says_so(size, last):
    memory = Memory()
    assert memory.translate(DIRECT_MAP + last, size) == last
    with pytest.raises(Fault, match="cross a page; the model keeps accesses inside one"):
        memory.translate(DIRECT_MAP + last + 1, size)


def test_a_store_is_what_a_load_finds_and_both_are_on_the_trace():
    c, p = cpu()
    c.store(DIRECT_MAP + 0x7010, 0x1234_5678_9ABC_DEF0, 4)
    assert c.load(DIRECT_MAP + 0x7010) == 0x9ABC_DEF0
    stored, loaded = p.trace
    assert (stored.event, stored.memory) == ("MOV m,r", ((0x7010, bytes(4), bytes.fromhex("f0debc9a")),))
    assert (loaded.event, loaded.operand, loaded.value) == ("MOV r,m", DIRECT_MAP + 0x7010, 0x9ABC_DEF0)


def test_gs_relative_access_goes_through_the_base_that_is_there():
    c, p = cpu(**{"GS.base": DIRECT_MAP + 0x8000, "KernelGSBase": DIRECT_MAP + 0x9000})
    c.store_gs(0x10, 7)
    assert p.memory.read(0x8010) == 7
    c.swapgs()
    assert c.load_gs(0x10) == 0
    c.swapgs()
    assert c.load_gs(0x10) == 7


def test_a_gs_relative_fault_names_field_and_base():
    c, p = cpu(**{"GS.base": 0x5E9_0000})
    for issue in (lambda: c.load_gs(0x108), lambda: c.store_gs(0x108, 1)):
        with pytest.raises(Fault, match="the load or store of gs:0x108") as fault:
            issue()
        assert (fault.value.vector, fault.value.address) == ("#PF", 0x5E9_0108)
    assert [step.event for step in p.trace] == ["#PF", "#PF"]


@pytest.mark.parametrize("address", [None, "0x1000", 1.5])
def test_an_address_that_is_no_number_is_named(address):
    c, _ = cpu()
    for issue in (lambda: c.load(address), lambda: c.store(address, 0), lambda: c.load_gs(address)):
        with pytest.raises(TypeError, match=f"{address!r} is not a number, and addresses and values are"):
            issue()
    with pytest.raises(TypeError, match="store: None is not a number"):
        c.store(DIRECT_MAP, None)


@pytest.mark.parametrize("size", [0, 3, 16, -8, None])
def test_no_instruction_moves_an_odd_number_of_bytes(size):
    c, _ = cpu()
    with pytest.raises(ValueError, match=f"no instruction moves {size} bytes at once; it is 1, 2, 4 or 8"):
        c.load(DIRECT_MAP, size)


def test_a_fault_is_written_with_vector_and_error_code():
    assert str(Fault("#GP", "why", 0)) == "#GP(0): why"
    assert str(Fault("#NP", "why", 0x28)) == "#NP(0x28): why"
    assert str(Fault("#UD", "why")) == "#UD: why"
    assert not issubclass(Shutdown, Fault)
