/* What user mode can measure: base instructions, segment loads, fences, a CPUID exit, system calls; see measure.h.
 *
 * Each round runs on the next of the CPUs that the process may use, and stays there.
 */
#define _GNU_SOURCE
#include "measure.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>

#define FSGSBASE_FOR_USERS 2 /* HWCAP2's bit: the kernel has set CR4.FSGSBASE */

static void put(const char *text)
{
	fputs(text, stdout);
}

static uint64_t fs_base, gs_base, data_selector;

INSTRUCTION(rdfsbase, "rdfsbase %%rax")
INSTRUCTION(rdgsbase, "rdgsbase %%rax")
INSTRUCTION(wrfsbase, "wrfsbase %0", "r"(fs_base)) /* its own value: FS holds the thread's data */
INSTRUCTION(wrgsbase, "wrgsbase %0", "r"(gs_base))
INSTRUCTION(rd_wrgsbase, "rdgsbase %%rax; wrgsbase %%rax")
INSTRUCTION(mov_sreg_r, "mov %0, %%gs", "r"((uint32_t)data_selector))
INSTRUCTION(mov_sreg_null, "mov %0, %%gs", "r"(0))
TEST(cpuid_0, uint32_t out[4]; cpuid(0, out))
TEST(cpuid_1, uint32_t out[4]; cpuid(1, out))

static inline long call(long number, long first)
{
	long result;

	asm volatile("syscall" : "=a"(result) : "0"(number), "D"(first), "S"(0), "d"(0) : "rcx", "r11", "memory");
	return result;
}

TEST(syscall_invalid, call(0xFFFF, 0))
TEST(syscall_ioctl, call(SYS_ioctl, -1))
TEST(syscall_getpid, call(SYS_getpid, 0))

static const struct test tests[] = {
	{ "empty", ONE, empty },
	{ "ADD", REPEAT, add },
	{ "LFENCE", REPEAT, lfence },
	{ "RDTSCP", REPEAT, rdtscp },
	{ "MOV r,Sreg", REPEAT, mov_r_sreg },
	{ "MOV Sreg,r", REPEAT, mov_sreg_r },
	{ "MOV Sreg,r null", REPEAT, mov_sreg_null },
	{ "CPUID 0", ONE, cpuid_0 },
	{ "CPUID 1", ONE, cpuid_1 },
	{ "syscall invalid", ONE, syscall_invalid },
	{ "syscall ioctl on a closed file", ONE, syscall_ioctl },
	{ "syscall getpid", ONE, syscall_getpid },
	/* the last five need FSGSBASE */
	{ "RDFSBASE", REPEAT, rdfsbase },
	{ "RDGSBASE", REPEAT, rdgsbase },
	{ "WRFSBASE", REPEAT, wrfsbase },
	{ "WRGSBASE", REPEAT, wrgsbase },
	{ "RDGSBASE WRGSBASE", REPEAT, rd_wrgsbase },
};

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* Stay on the CPU that is number `round`, counted round, of those allowed at the start. */
static void pin(const cpu_set_t *allowed, int round)
{
	int skip = round % CPU_COUNT(allowed);

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && !skip--) {
			cpu_set_t one;

			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof one, &one);
			return;
		}
}

int main(void)
{
	int usable = getauxval(AT_HWCAP2) & FSGSBASE_FOR_USERS, count = sizeof tests / sizeof *tests - (usable ? 0 : 5);
	uint32_t *samples = calloc(count * SAMPLES, sizeof *samples);
	uint64_t since = nanoseconds(), from = start(), ticks;
	time_t now = time(NULL);
	struct tm *today = gmtime(&now);
	cpu_set_t allowed;

	if (!samples || sched_getaffinity(0, sizeof allowed, &allowed))
		return 1;
	asm("mov %%ss, %0" : "=r"(data_selector));
	if (usable)
		asm("rdfsbase %0; rdgsbase %1" : "=r"(fs_base), "=r"(gs_base));
	put_machine("user mode");
	put_date(today->tm_year + 1900, today->tm_mon + 1, today->tm_mday);
	for (int round = 0; round < ROUNDS; round++) {
		pin(&allowed, round);
		measure(tests, count, samples, round);
	}
	ticks = stop() - from;
	put_count("tsc khz", ticks * 1000000 / (nanoseconds() - since));
	if (!usable)
		put("# The kernel does not let user mode have FSGSBASE.\n");
	put_tests(tests, count, samples);
	free(samples);
	return 0;
}
