/* The only program in the kernel's initramfs: load KVM, run a tiny guest, tell what the kernel's functions are.
 *
 * Its arguments come from the kernel's command line, as environment: EXITS, how many exits of each kind in a row,
 * ROUNDS, how many times that, and MODULES, the files to load in their order, with commas between.  It answers
 * through the debug console, port 0xE9, one line each: "symbol ADDRESS NAME [MODULE]" for every function, "ready"
 * before the guest runs, "done" after it, or "failed WHAT: WHY".
 */
#include "modules.h"
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define GUEST 0x1000
#define TSC_AUX 0xC0000103u

/* Real mode, at physical GUEST: `rounds` times, `exits` times CPUID and `exits` times OUT; then HLT. */
static void write_guest(uint8_t *page, uint32_t exits, uint32_t rounds)
{
	static const uint8_t code[] = {
		0x66, 0xBF, 0, 0, 0, 0, /* mov edi, rounds */
		0x66, 0xBE, 0, 0, 0, 0, /* 0: mov esi, exits */
		0x66, 0x31, 0xC0,       /* 1: xor eax, eax */
		0x0F, 0xA2,             /* cpuid */
		0x66, 0x4E,             /* dec esi */
		0x75, 0xF7,             /* jnz 1b */
		0x66, 0xBE, 0, 0, 0, 0, /* mov esi, exits */
		0xE6, 0x10,             /* 2: out 0x10, al */
		0x66, 0x4E,             /* dec esi */
		0x75, 0xFA,             /* jnz 2b */
		0x66, 0x4F,             /* dec edi */
		0x75, 0xE1,             /* jnz 0b */
		0xF4,                   /* hlt */
	};

	memcpy(page, code, sizeof code);
	memcpy(page + 2, &rounds, 4);
	memcpy(page + 8, &exits, 4);
	memcpy(page + 23, &exits, 4);
}

static int new_vcpu(int kvm, uint32_t exits, uint32_t rounds)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[100];
	} cpuid = { .head.nent = 100 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { .head.nmsrs = 1, .entry = { .index = TSC_AUX, .data = 0x1000 } };
	struct kvm_regs regs = { .rip = GUEST, .rflags = 2 };
	struct kvm_sregs sregs;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .guest_phys_addr = GUEST, .memory_size = 4096 };
	int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int vcpu;

	must(page == MAP_FAILED ? -1 : 0, "mmap");
	write_guest(page, exits, rounds);
	region.userspace_addr = (uintptr_t)page;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	must(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	/* Another TSC_AUX than the host's 0: KVM writes the MSR only where the two differ. */
	must(ioctl(vcpu, KVM_SET_MSRS, &msrs) == 1 ? 0 : -1, "KVM_SET_MSRS TSC_AUX");
	return vcpu;
}

/* KVM_RUN until the guest halts; user space does nothing with a port but enter again. */
static void run(int kvm, int vcpu)
{
	int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	struct kvm_run *state = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

	must(state == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	do
		must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	while (state->exit_reason == KVM_EXIT_IO);
	if (state->exit_reason != KVM_EXIT_HLT) {
		errno = 0;
		must(-1, "the guest did not come to its HLT");
	}
}

/* The text symbols of /proc/kallsyms. */
static void print_symbols(void)
{
	FILE *all = fopen("/proc/kallsyms", "r");
	char line[600], name[500], module[100], out[700];
	unsigned long address;
	char type;

	must(all ? 0 : -1, "/proc/kallsyms");
	while (fgets(line, sizeof line, all)) {
		int found = sscanf(line, "%lx %c %499s %99s", &address, &type, name, module);

		if (found < 3 || !strchr("tTwW", type))
			continue;
		snprintf(out, sizeof out, "symbol %lx %s %s\n", address, name, found == 4 ? module : "");
		say(out);
	}
}

int main(void)
{
	const char *exits = getenv("EXITS"), *rounds = getenv("ROUNDS");
	char *modules = getenv("MODULES");
	int kvm, vcpu;

	must(iopl(3), "iopl");
	must(exits && rounds && modules ? 0 : -1, "EXITS, ROUNDS and MODULES on the command line");
	must(mount("none", "/dev", "devtmpfs", 0, NULL), "mount /dev");
	must(mount("none", "/proc", "proc", 0, NULL), "mount /proc");
	load_modules(modules);
	kvm = must(open("/dev/kvm", O_RDWR), "/dev/kvm");
	vcpu = new_vcpu(kvm, strtoul(exits, NULL, 10), strtoul(rounds, NULL, 10));
	print_symbols();
	say("ready\n");
	run(kvm, vcpu);
	say("done\n");
	leave();
	return 0;
}
