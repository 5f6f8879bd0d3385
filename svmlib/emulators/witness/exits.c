/* The first program of the initramfs that records exits: load KVM, run each recording's commands, hand files over.
 *
 * From the kernel's command line, as environment: MODULES, the files to load in their order, with commas between.
 * What to do stands in the file /commands, one line each: "run WORDS" runs a program and waits, its output in /output;
 * "send NAME FILE" writes "file NAME LENGTH" and the bytes to the debug console; "write FILE TEXT" writes a line.  The
 * last line on the console is "done", or "failed WHAT: WHY".
 */
#include "modules.h"
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void run(char *words)
{
	char *argv[40], what[100];
	int status, n = 0;
	pid_t child;

	snprintf(what, sizeof what, "%s", words);
	for (char *word = strtok(words, " "); word && n < 39; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
	child = must(fork(), "fork");
	if (!child) {
		int output = must(open("/output", O_CREAT | O_TRUNC | O_WRONLY, 0644), "/output");

		dup2(output, 1);
		dup2(output, 2); /* perf prints its tables there where it has no terminal */
		execv(argv[0], argv);
		must(-1, argv[0]);
	}
	waitpid(child, &status, 0);
	errno = 0;
	must(status ? -1 : 0, what);
}

/* Read to the end first: tracefs tells no length before. */
static void hand_over(const char *name, const char *path)
{
	static char bytes[1 << 24];
	char line[200];
	int file = must(open(path, O_RDONLY), path);
	size_t length = 0;

	for (int n = 1; n; length += n)
		n = must(read(file, bytes + length, sizeof bytes - length), path);
	snprintf(line, sizeof line, "file %s %zu\n", name, length);
	say(line);
	outsb(CONSOLE, bytes, length);
	close(file);
}

/* Word by word, as set_event takes them. */
static void write_line(const char *path, const char *text)
{
	int file = must(open(path, O_WRONLY | O_TRUNC), path);

	for (size_t done = 0; done < strlen(text);)
		done += must(write(file, text + done, strlen(text) - done), path);
	close(file);
}

int main(void)
{
	char *modules = getenv("MODULES"), line[1000];
	FILE *commands;

	must(iopl(3), "iopl");
	must(modules ? 0 : -1, "MODULES on the command line");
	must(mount("none", "/dev", "devtmpfs", 0, NULL), "mount /dev");
	must(mount("none", "/proc", "proc", 0, NULL), "mount /proc");
	must(mount("none", "/sys", "sysfs", 0, NULL), "mount /sys");
	must(mount("none", "/sys/kernel/debug", "debugfs", 0, NULL), "mount debugfs");
	must(mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL), "mount tracefs");
	mkdir("/tmp", 0777);
	load_modules(modules);
	setenv("HOME", "/", 1);
	commands = fopen("/commands", "r");
	must(commands ? 0 : -1, "/commands");
	while (fgets(line, sizeof line, commands)) {
		char *rest = strchr(line, ' '), *end = strchr(line, '\n');

		*end = 0;
		*rest++ = 0;
		end = strchr(rest, ' ');
		if (!strcmp(line, "run")) {
			run(rest);
			continue;
		}
		*end++ = 0;
		if (!strcmp(line, "send"))
			hand_over(rest, end);
		else
			write_line(rest, end);
	}
	say("done\n");
	leave();
	return 0;
}
