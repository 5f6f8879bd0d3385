"""Bytes of instructions, as other assemblers make them."""

import pytest

from svmlib.emulators.assembler import PLAIN, Assembler, Mem


class TestAssembler:
    @pytest.mark.parametrize(
        "name,code",
        [
            ("vmrun", "0f01d8"),
            ("vmmcall", "0f01d9"),
            ("vmload", "0f01da"),
            ("vmsave", "0f01db"),
            ("stgi", "0f01dc"),
            ("clgi", "0f01dd"),
            ("swapgs", "0f01f8"),
            ("invlpga", "0f01df"),
            ("rdtscp", "0f01f9"),
            ("syscall", "0f05"),
            ("sysretq", "480f07"),
            ("rdmsr", "0f32"),
            ("wrmsr", "0f30"),
            ("iretq", "48cf"),
        ],
    )
    def test_instructions_without_operands(self, name, code):
        assert PLAIN[name].hex() == code

    @pytest.mark.parametrize(
        "name,register,code",
        [
            ("rdfsbase", "rax", "f3480faec0"),
            ("rdgsbase", "rax", "f3480faec8"),
            ("wrfsbase", "r8", "f3490faed0"),
            ("wrgsbase", "rcx", "f3480faed9"),
            ("rdpid", "rax", "f3480fc7f8"),
            ("sldt", "eax", "0f00c0"),
            ("str", "eax", "0f00c8"),
            ("lldt", "r8d", "410f00d0"),
            ("ltr", "eax", "0f00d8"),
        ],
    )
    def test_instructions_with_a_register(self, name, register, code):
        a = Assembler()
        a.unary(name, register)
        assert a.finish().hex() == code

    @pytest.mark.parametrize(
        "to,source,code",
        [
            ("rax", "r8", "4c89c0"),
            ("eax", "ecx", "89c8"),
            ("eax", 0x12345678, "b878563412"),
            ("r14", 1 << 47, "49be0000000000800000"),
            ("r9", 5, "41b905000000"),
            ("fs", "r8d", "418ee0"),
            ("eax", "gs", "8ce8"),
            ("cr3", "rax", "0f22d8"),
            ("rax", "cr2", "0f20d0"),
            ("dr7", "rax", "0f23f8"),
            ("cr8", "rax", "440f22c0"),
            ("rax", "cr8", "440f20c0"),
            ("dr3", "r8", "410f23d8"),
            ("ss", "r8d", "418ed0"),
            ("rax", "dr6", "0f21f0"),
            ("rax", Mem("r8"), "498b8000000000"),
            ("rbx", Mem("rsp", 16), "488b9c2410000000"),
            ("r13", Mem("r15", 24), "4d8baf18000000"),
            (Mem("r12", 8), "rax", "4989842408000000"),
            (Mem("r8"), "r9b", "45888800000000"),
            (Mem("r8"), "r9w", "6645898800000000"),
            ("al", Mem("r8", 0, "gs"), "65418a8000000000"),
        ],
    )
    def test_moves(self, to, source, code):
        a = Assembler()
        a.mov(to, source)
        assert a.finish().hex() == code

    def test_a_jump_reaches_back_and_ahead(self):
        a = Assembler(0x1000)
        a.label("top")
        a.jump("end", "ne")
        a.jump("top")
        a.label("end")
        assert a.finish().hex() == "0f8505000000" + "e9f5ffffff"
        assert a.labels == {"top": 0x1000, "end": 0x100B}

    def test_other_forms(self):
        a = Assembler()
        a.arithmetic("or", "rax", "rdx")
        a.arithmetic("add", "r12", 16)
        a.shift("shl", "rdx", 32)
        a.test("ecx", 3)
        a.lea("rax", Mem("rip", "here"))
        a.label("here")
        a.push("r13")
        a.push(0x10)
        a.pop("rcx")
        a.interrupt(0x81)
        a.jump("r14")
        a.table("lidt", Mem("rax", 2))
        assert a.finish().hex() == (
            "4809d04981c41000000048c1e220f7c103000000488d05000000004155681000000059cd8141ffe60f019802000000"
        )

    def test_a_label_that_is_never_placed_is_named(self):
        a = Assembler()
        a.jump("nowhere")
        with pytest.raises(KeyError, match="nowhere"):
            a.finish()

    def test_a_label_is_placed_once(self):
        a = Assembler()
        a.label("here")
        with pytest.raises(ValueError, match="'here' is placed twice"):
            a.label("here")
