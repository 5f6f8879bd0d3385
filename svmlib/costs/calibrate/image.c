/* What only ring 0 can measure: a UEFI application, see measure.h.  It has never yet run on silicon.
 *
 * It runs in the firmware's 64-bit environment with interrupts off, executes SVM's instructions, accesses to MSRs and
 * system instructions with the values that they have anyway, and a guest of four instructions in the same address
 * space.  It prints on the console, which firmware may send to a serial port, and writes the same into REPORT.TXT on
 * the medium it came from; then it waits for a key and switches the machine off.
 *
 * names.h is generated from the tables in svmlib/data: MSR_*, VMCB_*, EXIT_*.
 */
#define BLOCKS 200
#define TURNS 1
#include <efi.h>
#include "measure.h"
#include "names.h"

#define EFER_SVME (1 << 12)
#define VM_CR_SVMDIS (1 << 4)
#define CR4_FSGSBASE (1 << 16)
#define DE_CFG 0xC0011029 /* bit 1: LFENCE waits for all before it */
#define PAGE 4096

static EFI_SYSTEM_TABLE *firmware;
static char report[16384];
static UINTN length;

static void put(const char *text)
{
	CHAR16 wide[3] = { 0 };

	for (; *text; text++) {
		if (length < sizeof report)
			report[length++] = *text;
		wide[0] = *text == '\n' ? '\r' : (CHAR16)*text;
		wide[1] = *text == '\n' ? '\n' : 0;
		firmware->ConOut->OutputString(firmware->ConOut, wide);
	}
}

static uint64_t rdmsr(uint32_t number)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t number, uint64_t value)
{
	asm volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* -- what the tests use: set up once */

static uint8_t *vmcb, *cold_page;
static uint64_t cr0, cr3, cr4, dr6, dr7, fs_base, gs_base;
static uint16_t data_selector, ldt_selector, tss_selector;
static struct __attribute__((packed)) {
	uint16_t limit;
	uint64_t base;
} gdtr, idtr;
static uint64_t gdt[64], tss[13];

#define CR_DR(name, number, value)                                                                                     \
	INSTRUCTION(mov_r_##name, "mov %%" #name ", %%rax")                                                            \
	INSTRUCTION(mov_##name##_r, "mov %0, %%" #name, "r"(value))
CR_DR(cr0, 0, cr0)
CR_DR(cr3, 3, cr3)
CR_DR(cr4, 4, cr4)
CR_DR(dr6, 6, dr6)
CR_DR(dr7, 7, dr7)

/* The value is the one that is there. */
#define MSR(name)                                                                                                      \
	TEST(rdmsr_##name,                                                                                             \
	     asm volatile(REPEATED("rdmsr") ::"c"(MSR_##name) : "rax", "rdx", "r8", "cc", "memory"))                   \
	static uint64_t wrmsr_##name(void)                                                                             \
	{                                                                                                              \
		uint64_t value = rdmsr(MSR_##name), from = start();                                                    \
                                                                                                                       \
		asm volatile(REPEATED("wrmsr") ::"c"(MSR_##name), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))   \
			     : "r8", "cc", "memory");                                                                  \
		return stop() - from;                                                                                  \
	}
#define EACH_MSR(do)                                                                                                   \
	do(STAR) do(LSTAR) do(CSTAR) do(SFMASK) do(KERNEL_GS_BASE) do(FS_BASE) do(GS_BASE) do(SYSENTER_CS)             \
	do(SYSENTER_ESP) do(SYSENTER_EIP) do(TSC_AUX)
EACH_MSR(MSR)

/* 100 times VMSAVE, VMLOAD or INVLPGA, which take their operands in RAX and ECX. */
#define IN_RAX(name, instruction, rax, rcx)                                                                            \
	TEST(name, asm volatile(REPEATED(instruction) ::"a"(rax), "c"(rcx) : "r8", "cc", "memory"))
IN_RAX(vmsave, "vmsave %%rax", vmcb, 0)
IN_RAX(vmload, "vmload %%rax", vmcb, 0)
IN_RAX(invlpga, "invlpga %%rax, %%ecx", cold_page, 1)

/* Once, the page's lines flushed to memory before. */
#define COLD(name, instruction)                                                                                        \
	static uint64_t name(void)                                                                                     \
	{                                                                                                              \
		uint64_t from;                                                                                         \
                                                                                                                       \
		asm volatile("vmsave %%rax" ::"a"(cold_page) : "memory");                                              \
		for (int line = 0; line < PAGE; line += 64)                                                            \
			asm volatile("clflush (%0)" ::"r"(cold_page + line) : "memory");                               \
		asm volatile("mfence" ::: "memory");                                                                   \
		from = start();                                                                                        \
		asm volatile(instruction ::"a"(cold_page) : "memory");                                                 \
		return stop() - from;                                                                                  \
	}
COLD(vmsave_cold, "vmsave %%rax")
COLD(vmload_cold, "vmload %%rax")

INSTRUCTION(stgi, "stgi")
static uint64_t clgi(void)
{
	uint64_t from = start(), to;

	asm volatile(REPEATED("clgi")::: "r8", "cc", "memory");
	to = stop();
	asm volatile("stgi");
	return to - from;
}
INSTRUCTION(clgi_stgi, "clgi; stgi")
INSTRUCTION(cli, "cli")
INSTRUCTION(sti_cli, "sti; cli") /* no interrupt is taken between the two */
INSTRUCTION(swapgs, "swapgs")
INSTRUCTION(rdfsbase, "rdfsbase %%rax")
INSTRUCTION(rdgsbase, "rdgsbase %%rax")
INSTRUCTION(wrfsbase, "wrfsbase %0", "r"(fs_base))
INSTRUCTION(wrgsbase, "wrgsbase %0", "r"(gs_base))
INSTRUCTION(mov_sreg_r, "mov %0, %%gs", "r"((uint32_t)data_selector))
INSTRUCTION(mov_sreg_null, "mov %0, %%gs", "r"(0))
INSTRUCTION(sldt, "sldt %%eax")
INSTRUCTION(str, "str %%eax")
INSTRUCTION(sgdt, "sgdt %0", "m"(gdtr))
INSTRUCTION(sidt, "sidt %0", "m"(idtr))
INSTRUCTION(lgdt, "lgdt %0", "m"(gdtr))
INSTRUCTION(lidt, "lidt %0", "m"(idtr))
INSTRUCTION(lldt, "lldt %w0", "r"((uint32_t)ldt_selector))
INSTRUCTION(lldt_null, "lldt %w0", "r"(0))
/* As KVM does it: the descriptor is marked available first, for LTR marks it busy. */
INSTRUCTION(ltr, "andb $0xFD, %1; ltr %w0", "r"((uint32_t)tss_selector), "m"(((uint8_t *)gdt)[tss_selector + 5]))
TEST(cpuid_0, uint32_t out[4]; cpuid(0, out))
TEST(cpuid_1, uint32_t out[4]; cpuid(1, out))

/* -- the guest: it tells its time and leaves */

extern const char guest[];
asm("guest: lfence; rdtsc; lfence; vmmcall");

static uint64_t wrong_exit;

#define FIELD(type, offset) (*(volatile type *)(vmcb + (offset)))

struct times {
	uint64_t before, inside, after;
};

static struct times world_switch(void)
{
	struct times t;
	uint64_t high;

	FIELD(uint64_t, VMCB_RIP) = (uint64_t)guest;
	asm volatile("clgi" ::: "memory");
	t.before = start();
	asm volatile("vmrun %%rax" : "=d"(high) : "a"(vmcb) : "rcx", "cc", "memory");
	t.after = stop();
	asm volatile("stgi" ::: "memory");
	t.inside = high << 32 | (uint32_t)FIELD(uint64_t, VMCB_RAX);
	if (FIELD(uint64_t, VMCB_EXITCODE) != EXIT_VMMCALL)
		wrong_exit = FIELD(uint64_t, VMCB_EXITCODE);
	return t;
}

static uint64_t vmrun(void)
{
	struct times t = world_switch();

	return t.inside - t.before;
}

static uint64_t vmexit(void)
{
	struct times t = world_switch();

	return t.after - t.inside;
}

static uint64_t vmrun_vmexit(void)
{
	struct times t = world_switch();

	return t.after - t.before;
}

static void segment(int selector_at, uint16_t selector, uint16_t attributes)
{
	FIELD(uint16_t, selector_at) = selector;
	FIELD(uint16_t, selector_at + VMCB_CS_ATTRIB - VMCB_CS_SELECTOR) = attributes;
	FIELD(uint32_t, selector_at + VMCB_CS_LIMIT - VMCB_CS_SELECTOR) = 0xFFFFFFFF;
}

/* The guest has this program's own address space, at ring 0, interrupts off. */
static void write_vmcb(void)
{
	uint16_t code;

	asm("mov %%cs, %0" : "=r"(code));
	FIELD(uint32_t, VMCB_INTERCEPT_WORD4) = 1 << (EXIT_VMRUN & 31) | 1 << (EXIT_VMMCALL & 31);
	FIELD(uint32_t, VMCB_ASID) = 1;
	segment(VMCB_CS_SELECTOR, code, 0xA9B); /* 64-bit code */
	segment(VMCB_SS_SELECTOR, data_selector, 0xC93);
	segment(VMCB_DS_SELECTOR, data_selector, 0xC93);
	segment(VMCB_ES_SELECTOR, data_selector, 0xC93);
	FIELD(uint32_t, VMCB_GDTR_LIMIT) = gdtr.limit;
	FIELD(uint64_t, VMCB_GDTR_BASE) = gdtr.base;
	FIELD(uint32_t, VMCB_IDTR_LIMIT) = idtr.limit;
	FIELD(uint64_t, VMCB_IDTR_BASE) = idtr.base;
	FIELD(uint64_t, VMCB_EFER) = rdmsr(MSR_EFER);
	FIELD(uint64_t, VMCB_CR0) = cr0;
	FIELD(uint64_t, VMCB_CR3) = cr3;
	FIELD(uint64_t, VMCB_CR4) = cr4;
	FIELD(uint64_t, VMCB_DR6) = dr6;
	FIELD(uint64_t, VMCB_DR7) = dr7;
	FIELD(uint64_t, VMCB_RFLAGS) = 2;
	FIELD(uint64_t, VMCB_RSP) = (uint64_t)vmcb; /* unused */
}

/* -- all tests; those of one feature stand together at the end */

#define RDMSR_WRMSR(name) { "RDMSR " #name, REPEAT, rdmsr_##name }, { "WRMSR " #name, REPEAT, wrmsr_##name },
static struct test tests[] = {
	{ "empty", ONE, empty },
	{ "ADD", REPEAT, add },
	{ "LFENCE", REPEAT, lfence },
	{ "RDTSCP", REPEAT, rdtscp },
	{ "MOV r,Sreg", REPEAT, mov_r_sreg },
	{ "MOV Sreg,r", REPEAT, mov_sreg_r },
	{ "MOV Sreg,r null", REPEAT, mov_sreg_null },
	{ "CPUID 0", ONE, cpuid_0 },
	{ "CPUID 1", ONE, cpuid_1 },
	{ "CLI", REPEAT, cli },
	{ "STI CLI", REPEAT, sti_cli },
	{ "SWAPGS", REPEAT, swapgs },
	{ "SLDT", REPEAT, sldt },
	{ "STR", REPEAT, str },
	{ "SGDT", REPEAT, sgdt },
	{ "SIDT", REPEAT, sidt },
	{ "LGDT", REPEAT, lgdt },
	{ "LIDT", REPEAT, lidt },
	{ "LLDT", REPEAT, lldt },
	{ "LLDT null", REPEAT, lldt_null },
	{ "LTR", REPEAT, ltr },
	{ "MOV r,CRn CR0", REPEAT, mov_r_cr0 },
	{ "MOV r,CRn CR3", REPEAT, mov_r_cr3 },
	{ "MOV r,CRn CR4", REPEAT, mov_r_cr4 },
	{ "MOV CRn,r CR0", REPEAT, mov_cr0_r },
	{ "MOV CRn,r CR3", REPEAT, mov_cr3_r },
	{ "MOV CRn,r CR4", REPEAT, mov_cr4_r },
	{ "MOV r,DRn DR6", REPEAT, mov_r_dr6 },
	{ "MOV r,DRn DR7", REPEAT, mov_r_dr7 },
	{ "MOV DRn,r DR6", REPEAT, mov_dr6_r },
	{ "MOV DRn,r DR7", REPEAT, mov_dr7_r },
	EACH_MSR(RDMSR_WRMSR)
	{ "VMSAVE", REPEAT, vmsave },
	{ "VMLOAD", REPEAT, vmload },
	{ "VMSAVE cold", ONE, vmsave_cold },
	{ "VMLOAD cold", ONE, vmload_cold },
	{ "CLGI", REPEAT, clgi },
	{ "STGI", REPEAT, stgi },
	{ "CLGI STGI", REPEAT, clgi_stgi },
	{ "INVLPGA", REPEAT, invlpga },
	{ "VMRUN", ONE, vmrun },
	{ "#VMEXIT", ONE, vmexit },
	{ "VMRUN #VMEXIT", ONE, vmrun_vmexit },
	{ "RDFSBASE", REPEAT, rdfsbase },
	{ "RDGSBASE", REPEAT, rdgsbase },
	{ "WRFSBASE", REPEAT, wrfsbase },
	{ "WRGSBASE", REPEAT, wrgsbase },
};
#define FSGSBASE_TESTS 4

/* Zeroed pages of the firmware's memory, which is mapped at its physical address. */
static void *pages(UINTN bytes)
{
	EFI_PHYSICAL_ADDRESS at = 0xFFFFFFFF;
	UINTN count = (bytes + PAGE - 1) / PAGE;

	if (firmware->BootServices->AllocatePages(AllocateMaxAddress, EfiBootServicesData, count, &at))
		return NULL;
	for (UINTN i = 0; i < count * PAGE / 8; i++)
		((uint64_t *)at)[i] = 0;
	return (void *)at;
}

/* A descriptor of 16 bytes behind the firmware's own; its selector. */
static uint16_t descriptor(uint64_t base, uint64_t limit, uint64_t type)
{
	uint16_t selector = gdtr.limit + 1;

	gdt[selector / 8] = limit | (base & 0xFFFFFF) << 16 | (0x80 | type) << 40 | (base >> 24 & 0xFF) << 56;
	gdt[selector / 8 + 1] = base >> 32;
	gdtr.limit += 16;
	return selector;
}

/* Why this machine cannot be measured, or NULL. */
static const char *unfit(void)
{
	uint32_t out[4];

	cpuid(0, out);
	if (out[1] != 0x68747541 || out[3] != 0x69746E65 || out[2] != 0x444D4163) /* AuthenticAMD */
		return "this is no processor of AMD";
	cpuid(0x80000001, out);
	if (!(out[2] & 1 << 2))
		return "this processor has no SVM, or a hypervisor hides it";
	if (rdmsr(MSR_VM_CR) & VM_CR_SVMDIS)
		return "the firmware has switched SVM off: look for SVM or virtualization in its setup";
	return NULL;
}

/* SVM on, a GDT of our own, FSGSBASE where there is any; the number of tests that are possible, or 0. */
static int prepare(void)
{
	uint32_t leaf7[4], hypervisor[4], always[4];
	uint64_t *old, *hsave = pages(PAGE);
	int count = sizeof tests / sizeof *tests;

	vmcb = pages(PAGE);
	cold_page = pages(PAGE);
	asm("sgdt %0" : "=m"(gdtr));
	asm("sidt %0" : "=m"(idtr));
	if (!hsave || !vmcb || !cold_page || gdtr.limit + 1u + 32 > sizeof gdt)
		return 0;
	old = (uint64_t *)gdtr.base;
	for (int i = 0; i < (gdtr.limit + 1) / 8; i++)
		gdt[i] = old[i];
	gdtr.base = (uint64_t)gdt;
	tss_selector = descriptor((uint64_t)tss, sizeof tss - 1, 9);
	ldt_selector = descriptor((uint64_t)tss, sizeof tss - 1, 2); /* no entry of it is ever used */
	asm volatile("lgdt %0" ::"m"(gdtr) : "memory");
	asm("mov %%ss, %0" : "=r"(data_selector));

	cpuid(1, hypervisor);
	cpuid(0x80000021, always);
	if (!(hypervisor[2] >> 31) && !(always[0] & 1 << 2))
		wrmsr(DE_CFG, rdmsr(DE_CFG) | 2);
	cpuid(7, leaf7);
	asm("mov %%cr4, %0" : "=r"(cr4));
	if (leaf7[1] & 1)
		asm volatile("mov %0, %%cr4" ::"r"(cr4 |= CR4_FSGSBASE));
	else
		count -= FSGSBASE_TESTS;
	asm("mov %%cr0, %0" : "=r"(cr0));
	asm("mov %%cr3, %0" : "=r"(cr3));
	asm("mov %%dr6, %0" : "=r"(dr6));
	asm("mov %%dr7, %0" : "=r"(dr7));
	fs_base = rdmsr(MSR_FS_BASE);
	gs_base = rdmsr(MSR_GS_BASE);

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, (uint64_t)hsave);
	asm volatile("ltr %w0" ::"r"((uint32_t)tss_selector)); /* VMSAVE and VMLOAD then move one that is there */
	asm volatile("vmsave %%rax" ::"a"(vmcb) : "memory");
	write_vmcb();
	return count;
}

static void run_tests(int count)
{
	uint32_t *samples = pages(sizeof *samples * SAMPLES * count);
	uint64_t from, ticks;

	if (!samples) {
		put("# failed: no memory\n");
		return;
	}
	from = start();
	firmware->BootServices->Stall(100000);
	ticks = stop() - from;
	asm volatile("cli");
	for (int round = 0; round < ROUNDS; round++)
		measure(tests, count, samples, round);
	asm volatile("sti");
	put_count("tsc khz", ticks / 100);
	if (wrong_exit) {
		put("# failed: the guest left with exit code ");
		put_number(wrong_exit);
		put(", not at its VMMCALL\n");
		return;
	}
	put_tests(tests, count, samples);
}

/* REPORT.TXT in place of an older one. */
static EFI_STATUS save(EFI_HANDLE image)
{
	EFI_GUID of_image = EFI_LOADED_IMAGE_PROTOCOL_GUID, of_files = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
	EFI_BOOT_SERVICES *services = firmware->BootServices;
	EFI_LOADED_IMAGE *loaded;
	EFI_FILE_IO_INTERFACE *files;
	EFI_FILE *root, *file;
	EFI_STATUS status;
	UINT64 mode = EFI_FILE_MODE_READ | EFI_FILE_MODE_WRITE;

	if ((status = services->HandleProtocol(image, &of_image, (void **)&loaded)) ||
	    (status = services->HandleProtocol(loaded->DeviceHandle, &of_files, (void **)&files)) ||
	    (status = files->OpenVolume(files, &root)))
		return status;
	if (!root->Open(root, &file, u"\\REPORT.TXT", mode, 0))
		file->Delete(file);
	if (!(status = root->Open(root, &file, u"\\REPORT.TXT", mode | EFI_FILE_MODE_CREATE, 0))) {
		status = file->Write(file, &length, report);
		file->Close(file);
	}
	root->Close(root);
	return status;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	EFI_TIME now;
	const char *why;
	int count;
	UINTN which;

	firmware = table;
	firmware->BootServices->SetWatchdogTimer(0, 0, 0, NULL);
	put_machine("image");
	if (!firmware->RuntimeServices->GetTime(&now, NULL))
		put_date(now.Year, now.Month, now.Day);
	if (virtual)
		put("# A hypervisor or an emulator is below: these are no prices of a processor.\n");
	if ((why = unfit())) {
		put("# failed: ");
		put(why);
		put("\n");
	} else {
		put("# Measuring, a few seconds ...\n");
		count = prepare();
		if (count)
			run_tests(count);
		else
			put("# failed: no memory, or a firmware with a large GDT\n");
	}
	put(save(image) ? "# REPORT.TXT could not be written.\n" : "# The same is in REPORT.TXT.\n");
	put("# Press a key to switch off.\n");
	firmware->BootServices->WaitForEvent(1, &firmware->ConIn->WaitForKey, &which);
	firmware->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
	return EFI_SUCCESS;
}
