/* How anything is measured and printed, in user mode and in the image alike; needs no library.
 *
 * A test is a function that returns the TSC ticks of one block: REPEAT executions of an instruction, or ONE.  Before
 * the block LFENCE;RDTSC;LFENCE, after it RDTSCP;LFENCE, so that nothing outside it is counted and nothing inside is
 * missed.  All tests run in turn, ROUNDS times BLOCKS blocks each, so that a slow change of the clock meets all alike;
 * the first blocks of a round warm up and do not count.  The ticks of an empty block, their median, are subtracted.
 *
 * The program that includes this defines put(), which prints a string.  What it prints is read by report.py.
 */
#include <stdint.h>

#ifndef BLOCKS
#define BLOCKS 2000
#define TURNS 10
#endif
#define ROUNDS 5
#define WARM (BLOCKS / 20)
#define SAMPLES (ROUNDS * BLOCKS)
#define REPEAT (TURNS * 100)
#define ONE 1

static void put(const char *text);

struct test {
	const char *event; /* as in the price lists */
	int times;         /* executions in a block */
	uint64_t (*block)(void);
};

static inline uint64_t start(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t stop(void)
{
	uint32_t low, high;

	asm volatile("rdtscp; lfence" : "=a"(low), "=d"(high)::"rcx", "memory");
	return (uint64_t)high << 32 | low;
}

/* An instruction REPEAT times: turns of a hundred, for code of a thousand might not stay in the cache. */
#define TEXT(number) #number
#define AS_TEXT(number) TEXT(number)
#define REPEATED(instruction)                                                                                          \
	"mov $" AS_TEXT(TURNS) ", %%r8d\n1:\n.rept 100\n" instruction "\n.endr\ndec %%r8d\njnz 1b\n"

#define TEST(name, ...)                                                                                                \
	static uint64_t name(void)                                                                                     \
	{                                                                                                              \
		uint64_t from = start();                                                                               \
		__VA_ARGS__;                                                                                           \
		return stop() - from;                                                                                  \
	}
#define INSTRUCTION(name, instruction, ...)                                                                            \
	TEST(name, asm volatile(REPEATED(instruction)::__VA_ARGS__ : "rax", "rcx", "rdx", "r8", "cc", "memory"))

TEST(empty, )
INSTRUCTION(lfence, "lfence")
INSTRUCTION(rdtscp, "rdtscp")
INSTRUCTION(add, "add %%rcx, %%rax") /* each waits for the one before it: one core cycle on every AMD64 */
INSTRUCTION(mov_r_sreg, "mov %%gs, %%eax")

static void put_number(uint64_t number)
{
	char text[21], *at = text + 20;

	*at = 0;
	do
		*--at = '0' + number % 10;
	while (number /= 10);
	put(at);
}

static void put_hundredths(int64_t hundredths)
{
	if (hundredths < 0) {
		put("-");
		hundredths = -hundredths;
	}
	put_number(hundredths / 100);
	put(hundredths % 100 < 10 ? ".0" : ".");
	put_number(hundredths % 100);
}

static void put_line(const char *name, const char *text)
{
	put(name);
	put(": ");
	put(text);
	put("\n");
}

static void put_count(const char *name, uint64_t number)
{
	put(name);
	put(": ");
	put_number(number);
	put("\n");
}

static void put_date(int year, int month, int day)
{
	put("date: ");
	put_number(year);
	put(month < 10 ? "-0" : "-");
	put_number(month);
	put(day < 10 ? "-0" : "-");
	put_number(day);
	put("\n");
}

static void cpuid(uint32_t leaf, uint32_t out[4])
{
	asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

/* Text from three registers of CPUID, by their places in `out`. */
static void put_text(const char *name, uint32_t leaf, int first, int second, int third)
{
	uint32_t out[4], text[4];

	cpuid(leaf, out);
	text[0] = out[first];
	text[1] = out[second];
	text[2] = out[third];
	text[3] = 0;
	put_line(name, (const char *)text);
}

static int virtual; /* a hypervisor says that it is there */

static void put_machine(const char *made_by)
{
	uint32_t out[4], text[13] = { 0 };

	put("svmlib-calibrate 1\n");
	put_line("made by", made_by);
	put_text("vendor", 0, 1, 3, 2);
	cpuid(1, out);
	put_count("family", (out[0] >> 8 & 15) + (out[0] >> 20 & 255));
	put_count("model", (out[0] >> 4 & 15) | (out[0] >> 12 & 0xF0));
	put_count("stepping", out[0] & 15);
	virtual = out[2] >> 31;
	if (virtual)
		put_text("hypervisor", 0x40000000, 1, 2, 3);
	else
		put_line("hypervisor", "none");
	for (int i = 0; i < 3; i++)
		cpuid(0x80000002 + i, text + 4 * i);
	put_line("name", (const char *)text);
}

/* The TSC moves in steps: the greatest common divisor of some differences. */
static uint64_t tsc_step(void)
{
	uint64_t step = 0, before = start();

	for (int i = 0; i < 1000; i++) {
		uint64_t now = start(), a = now - before, b = step;

		while (b) {
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
		step = a;
		before = now;
	}
	return step;
}

static void sort(uint32_t *numbers)
{
	for (int gap = SAMPLES / 2; gap; gap /= 2)
		for (int i = gap; i < SAMPLES; i++) {
			uint32_t number = numbers[i];
			int at = i;

			for (; at >= gap && numbers[at - gap] > number; at -= gap)
				numbers[at] = numbers[at - gap];
			numbers[at] = number;
		}
}

/* One turn of all tests; `samples` holds SAMPLES numbers for each. */
static void measure(const struct test *tests, int count, uint32_t *samples, int round)
{
	for (int t = 0; t < count; t++)
		for (int i = -WARM; i < BLOCKS; i++) {
			uint64_t ticks = tests[t].block();

			if (i >= 0)
				samples[t * SAMPLES + round * BLOCKS + i] = ticks < UINT32_MAX ? ticks : UINT32_MAX;
		}
}

/* A line for each test: ticks for one execution, the empty block of tests[0] subtracted. */
static void put_tests(const struct test *tests, int count, uint32_t *samples)
{
	static const int percent[] = { 0, 5, 50, 95, 100 };
	int64_t overhead;

	sort(samples);
	overhead = samples[SAMPLES / 2];
	put_count("tsc step", tsc_step());
	put_count("blocks", SAMPLES);
	put_count("overhead", overhead);
	put("event: times min 5% median 95% max\n");
	for (int t = 1; t < count; t++) {
		uint32_t *sorted = samples + t * SAMPLES;

		sort(sorted);
		put(tests[t].event);
		put(": ");
		put_number(tests[t].times);
		for (int p = 0; p < 5; p++) {
			int64_t ticks = sorted[(int64_t)(SAMPLES - 1) * percent[p] / 100];

			put(" ");
			put_hundredths((ticks - overhead) * 100 / tests[t].times);
		}
		put("\n");
	}
	put_count("end", count - 1);
}
