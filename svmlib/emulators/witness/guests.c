/* A virtual machine of two vCPUs whose exits are worth recording: a busy one that is moved between CPUs, an idle one.
 *
 * guests ROUNDS: in each round a vCPU executes CPUID, reads an MSR, rings a doorbell that the kernel answers, writes
 * to a port and to memory that user space answers, then halts until its APIC's timer.  The idle one halts eight times
 * a round.  Their threads have the names that QEMU gives.  At the end it says on the debug console what KVM counted:
 * "counter NAME VALUE", of exits and of returns to the host's state.
 */
#define _GNU_SOURCE
#include "common.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define GUEST 0x1000
#define MEMORY 0x10000
#define DOORBELL 0x500
#define VCPUS 2

/* Real mode.  EBP: rounds; EDI: halts a round; the stack lies below the code, the timer's vector is 0x20. */
extern const uint8_t guest[], handler[], guest_end[];
asm(".pushsection .rodata\n"
    ".code16\n"
    "guest:\n"
    "	mov $0x80F, %ecx; mov $0x1FF, %eax; xor %edx, %edx; wrmsr\n" /* x2APIC on, spurious vector 0xFF */
    "	mov $0x832, %ecx; mov $0x20, %eax; wrmsr\n"                  /* its timer: one shot, vector 0x20 */
    "	mov $0x83E, %ecx; mov $0xB, %eax; wrmsr\n"                   /* divided by 1 */
    "1:	mov $8, %esi\n"
    "2:	xor %eax, %eax; cpuid\n"
    "	mov $0x1B, %ecx; rdmsr\n"
    "	mov $0x500, %dx; out %al, %dx\n"
    "	dec %esi; jnz 2b\n"
    "	out %al, $0x10\n"
    "	mov $0xB000, %ax; mov %ax, %ds; movb $1, 0\n"
    "	mov %edi, %esi\n"
    "3:	mov $0x838, %ecx; mov $2000000, %eax; xor %edx, %edx; wrmsr\n"
    "	sti; hlt; cli\n"
    "	dec %esi; jnz 3b\n"
    "	dec %ebp; jnz 1b\n"
    "	out %al, $0x11\n"
    "handler:\n"
    "	mov $0x80B, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr\n" /* end of interrupt */
    "	iret\n"
    "guest_end:\n"
    ".code64\n"
    ".popsection");

static int kvm, vm, vcpus[VCPUS];
static uint32_t rounds;

static int new_vcpu(int number)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[100];
	} cpuid;
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = { .rip = GUEST, .rsp = GUEST, .rflags = 2, .rbp = rounds, .rdi = number ? 8 : 1 };
	struct kvm_sregs sregs;
	int vcpu = must(ioctl(vm, KVM_CREATE_VCPU, number), "KVM_CREATE_VCPU");

	cpuid.head.nent = 100;
	must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	must(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.apic_base |= 0xC00; /* enabled, in x2APIC's mode */
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	must(ioctl(vcpu, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
	return vcpu;
}

static void new_vm(void)
{
	uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY, .userspace_addr = (uintptr_t)memory };
	struct kvm_ioeventfd doorbell = { .addr = DOORBELL, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO };

	must(memory == MAP_FAILED ? -1 : 0, "mmap");
	memcpy(memory + GUEST, guest, guest_end - guest);
	*(uint16_t *)(memory + 4 * 0x20) = GUEST + (handler - guest);
	kvm = must(open("/dev/kvm", O_RDWR), "/dev/kvm");
	vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	doorbell.fd = must(eventfd(0, 0), "eventfd");
	must(ioctl(vm, KVM_IOEVENTFD, &doorbell), "KVM_IOEVENTFD");
	for (int number = 0; number < VCPUS; number++)
		vcpus[number] = new_vcpu(number);
}

/* KVM_RUN until the guest writes to port 0x11; user space does nothing but enter again. */
static void *run(void *argument)
{
	int number = (intptr_t)argument;
	int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	struct kvm_run *state = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpus[number], 0);
	char name[16];

	must(state == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	snprintf(name, sizeof name, "CPU %d/KVM", number);
	prctl(PR_SET_NAME, name);
	do {
		must(ioctl(vcpus[number], KVM_RUN, 0), "KVM_RUN");
		if (state->exit_reason != KVM_EXIT_IO && state->exit_reason != KVM_EXIT_MMIO) {
			snprintf(name, sizeof name, "reason %u", state->exit_reason);
			errno = 0;
			must(-1, name);
		}
	} while (state->exit_reason != KVM_EXIT_IO || state->io.port != 0x11);
	return NULL;
}

static void count(const char *name, long *value)
{
	char path[100];
	FILE *file;

	snprintf(path, sizeof path, "/sys/kernel/debug/kvm/%s", name);
	file = fopen(path, "r");
	must(file && fscanf(file, "%ld", value) == 1 ? 0 : -1, path);
	fclose(file);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "exits", "host_state_reload" };
	long before[2], after[2];
	pthread_t threads[VCPUS];
	char line[100];
	cpu_set_t cpus;

	must(iopl(3), "iopl");
	rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	new_vm();
	for (int i = 0; i < 2; i++)
		count(names[i], &before[i]);
	for (intptr_t number = 0; number < VCPUS; number++)
		must(-pthread_create(&threads[number], NULL, run, (void *)number), "pthread_create");
	for (int turn = 0; pthread_tryjoin_np(threads[0], NULL); turn++) { /* the busy one changes its CPU */
		CPU_ZERO(&cpus);
		CPU_SET(turn % 2, &cpus);
		pthread_setaffinity_np(threads[0], sizeof cpus, &cpus);
		usleep(10000);
	}
	pthread_join(threads[1], NULL);
	for (int i = 0; i < 2; i++) {
		count(names[i], &after[i]);
		snprintf(line, sizeof line, "counter %s %ld\n", names[i], after[i] - before[i]);
		say(line);
	}
	return 0;
}
