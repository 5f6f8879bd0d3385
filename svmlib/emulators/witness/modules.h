/* Load the kernel modules that init was told of. */
#include "common.h"
#include <sys/syscall.h>

static void load_modules(char *names)
{
	for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		int file = must(open(name, O_RDONLY), name);

		must(syscall(SYS_finit_module, file, "", 0), name);
		close(file);
	}
}
