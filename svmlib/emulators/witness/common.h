/* What the programs in the initramfs share: they speak through QEMU's debug console. */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <unistd.h>

#define CONSOLE 0xE9

static void say(const char *line)
{
	outsb(CONSOLE, line, strlen(line));
}

static void leave(void)
{
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
	for (;;)
		pause();
}

/* Hand `result` on, unless it is an error: then say so and switch the machine off. */
static int must(int result, const char *what)
{
	char line[200];

	if (result >= 0)
		return result;
	snprintf(line, sizeof line, "failed %s: %s\n", what, strerror(errno));
	say(line);
	leave();
	return -1;
}
