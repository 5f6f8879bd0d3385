/* A plugin for QEMU's TCG (plugin API version 1, QEMU 7.2): what the host executes from #VMEXIT to the next VMRUN.
 *
 * It writes to the file of its argument out=FILE, one line each:
 *   insn ADDRESS NAME                        an instruction of those it lists, when QEMU translates it
 *   trip KIND KERNEL USER ADDRESS@N ...      a round trip that ends in a VMRUN: why the guest left, how many
 *                                            instructions at kernel and at user addresses, those it lists in their
 *                                            order, each with its number counted from #VMEXIT
 * API version 1 shows no registers; the numbers of MSRs come from elsewhere.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of QEMU's documented API, what is used here. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
						  void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned int, void *),
						   enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum qemu_plugin_op, void *,
						       uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

#define VMRUN_BYTES 3
#define LISTED 2000

struct place {
	uint64_t address;
	const char *name;
};

static FILE *out;
static uint64_t after_vmrun;              /* where the host goes on after a #VMEXIT */
static bool in_guest, in_host, overflow;  /* neither: no VMRUN was executed yet */
static const char *left_by = "other";     /* the guest's last instruction, of those that are told apart */
static uint64_t executed[2];              /* since #VMEXIT, at user and at kernel addresses */
static size_t listed;
static struct { uint64_t address, number; } list[LISTED];

/* -- which instructions are listed */

static const char *const SEGMENT[8] = { "ES", "CS", "SS", "DS", "FS", "GS", "?", "?" };

static const char *text(const char *format, const char *operand)
{
	char *made = malloc(32);

	snprintf(made, 32, format, operand);
	return made;
}

static const char *group_0f01(uint8_t modrm)
{
	static const char *const memory[8] = { "SGDT", "SIDT", "LGDT", "LIDT" };

	switch (modrm) {
	case 0xD0: return "XGETBV";
	case 0xD1: return "XSETBV";
	case 0xD8: return "VMRUN";
	case 0xD9: return "VMMCALL";
	case 0xDA: return "VMLOAD";
	case 0xDB: return "VMSAVE";
	case 0xDC: return "STGI";
	case 0xDD: return "CLGI";
	case 0xDF: return "INVLPGA";
	case 0xEE: return "RDPKRU";
	case 0xEF: return "WRPKRU";
	case 0xF8: return "SWAPGS";
	case 0xF9: return "RDTSCP";
	}
	return modrm < 0xC0 ? memory[modrm >> 3 & 7] : NULL;
}

static const char *group_0fae(uint8_t modrm, bool f3)
{
	static const char *const base[8] = { "RDFSBASE", "RDGSBASE", "WRFSBASE", "WRGSBASE" };
	static const char *const memory[8] = { "FXSAVE", "FXRSTOR", NULL, NULL, "XSAVE", "XRSTOR", "XSAVEOPT" };

	if (modrm >= 0xC0)
		return f3 ? base[modrm >> 3 & 7] : NULL;
	return f3 ? NULL : memory[modrm >> 3 & 7];
}

static const char *group_0fc7(uint8_t modrm, bool f3)
{
	static const char *const memory[8] = { NULL, NULL, NULL, "XRSTORS", "XSAVEC", "XSAVES" };

	if (modrm >= 0xC0)
		return f3 && (modrm >> 3 & 7) == 7 ? "RDPID" : NULL;
	return memory[modrm >> 3 & 7];
}

static const char *two_bytes(uint8_t opcode, uint8_t modrm, bool f3, bool rex_r)
{
	static const char *const group_0f00[8] = { "SLDT", "STR", "LLDT", "LTR" };
	char number[3] = { '0' + (modrm >> 3 & 7) + (rex_r ? 8 : 0), 0 };

	switch (opcode) {
	case 0x00: return group_0f00[modrm >> 3 & 7];
	case 0x01: return group_0f01(modrm);
	case 0x05: return "SYSCALL";
	case 0x06: return "CLTS";
	case 0x07: return "SYSRET";
	case 0x20: return text("MOV r,CR%s", number);
	case 0x21: return text("MOV r,DR%s", number);
	case 0x22: return text("MOV CR%s,r", number);
	case 0x23: return text("MOV DR%s,r", number);
	case 0x30: return "WRMSR";
	case 0x31: return "RDTSC";
	case 0x32: return "RDMSR";
	case 0x34: return "SYSENTER";
	case 0x35: return "SYSEXIT";
	case 0xA0: return "PUSH FS";
	case 0xA1: return "POP FS";
	case 0xA2: return "CPUID";
	case 0xA8: return "PUSH GS";
	case 0xA9: return "POP GS";
	case 0xAE: return group_0fae(modrm, f3);
	case 0xB2: return "LSS";
	case 0xB4: return "LFS";
	case 0xB5: return "LGS";
	case 0xC7: return group_0fc7(modrm, f3);
	}
	return NULL;
}

static const char REPEATED[] = "a repeated string instruction";

/* The name of a 64-bit instruction that is listed, REPEATED, or NULL. */
static const char *name_of(const uint8_t *code, size_t size)
{
	bool f2 = false, f3 = false, rex_r = false;
	size_t at = 0;

	for (; at < size && code[at] && strchr("\x66\xF2\xF3\x2E\x3E\x64\x65", code[at]); at++) {
		f2 |= code[at] == 0xF2;
		f3 |= code[at] == 0xF3;
	}
	if (at < size && code[at] >> 4 == 4)
		rex_r = code[at++] & 4;
	if (at >= size)
		return NULL;
	if ((f2 || f3) && code[at] && strchr("\x6C\x6D\x6E\x6F\xA4\xA5\xA6\xA7\xAA\xAB\xAC\xAD\xAE\xAF", code[at]))
		return REPEATED;
	switch (code[at]) {
	case 0x0F:
		return two_bytes(code[at + 1], at + 2 < size ? code[at + 2] : 0, f3, rex_r);
	case 0x8C:
		return text("MOV r,%s", SEGMENT[code[at + 1] >> 3 & 7]);
	case 0x8E:
		return text("MOV %s,r", SEGMENT[code[at + 1] >> 3 & 7]);
	case 0x9D: return "POPF";
	case 0xCD: return "INT";
	case 0xCF: return "IRET";
	case 0xFA: return "CLI";
	case 0xFB: return "STI";
	}
	return NULL;
}

/* -- what happens when one is executed */

static void count(uint64_t address)
{
	executed[address >> 63]++;
	if (listed == LISTED) {
		overflow = true;
		return;
	}
	list[listed].address = address;
	list[listed++].number = executed[0] + executed[1];
}

/* QEMU enters a repeated string instruction anew for every repetition: count it once. */
static void on_repeated(unsigned int vcpu, void *data)
{
	static uint64_t last, count_then;
	const struct place *place = data;

	if (place->address == last && executed[0] + executed[1] == count_then)
		return;
	executed[place->address >> 63]++;
	last = place->address;
	count_then = executed[0] + executed[1];
}

static void end_of_trip(void)
{
	if (in_host && !overflow) {
		fprintf(out, "trip %s %" PRIu64 " %" PRIu64, left_by, executed[1], executed[0]);
		for (size_t n = 0; n < listed; n++)
			fprintf(out, " %" PRIx64 "@%" PRIu64, list[n].address, list[n].number);
		fputc('\n', out);
	}
	in_host = false;
	in_guest = true;
	left_by = "other";
}

static void on_listed(unsigned int vcpu, void *data)
{
	const struct place *place = data;

	if (in_guest) /* its translation may be shared with the host's, its address is not the kernel's */
		return;
	count(place->address);
	if (!strcmp(place->name, "VMRUN"))
		end_of_trip();
}

static void on_vmexit(unsigned int vcpu, void *data)
{
	if (!in_guest)
		return;
	in_guest = false;
	in_host = true;
	overflow = false;
	listed = 0;
	executed[0] = executed[1] = 0;
}

/* Each CPUID and OUT of the guest leaves it: the last one since VMRUN is the reason. */
static void on_guest_exit(unsigned int vcpu, void *data)
{
	if (in_guest)
		left_by = data;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	for (size_t n = 0; n < qemu_plugin_tb_n_insns(tb); n++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		const char *name = name_of(code, size);
		struct place *place;

		if (after_vmrun && address == after_vmrun)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_vmexit, QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (size == 2 && code[0] == 0x0F && code[1] == 0xA2)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_guest_exit, QEMU_PLUGIN_CB_NO_REGS,
							       "cpuid");
		if (size == 2 && code[0] == 0xE6)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_guest_exit, QEMU_PLUGIN_CB_NO_REGS,
							       "out");
		if (!name) {
			qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
								   &executed[address >> 63], 1);
			continue;
		}
		place = malloc(sizeof *place);
		*place = (struct place){ address, name };
		if (name == REPEATED) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_repeated, QEMU_PLUGIN_CB_NO_REGS,
							       place);
			continue;
		}
		fprintf(out, "insn %" PRIx64 " %s\n", address, name);
		if (!strcmp(name, "VMRUN"))
			after_vmrun = address + VMRUN_BYTES;
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_listed, QEMU_PLUGIN_CB_NO_REGS, place);
	}
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
		fprintf(stderr, "plugin: give out=FILE, a file that can be written\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
