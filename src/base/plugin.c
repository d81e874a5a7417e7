#include "cyclotomo/base.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* Folder of the program, with its final slash; "" if it cannot be told. */
static void program_dir(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(out, '/');
	if (slash) slash[1] = '\0';
	else out[0] = '\0';
}

void *cyc_plugin_symbol(const char *library, const char *symbol, char *reason, size_t size)
{
	/* Beside the program (a build folder), where an installation has it, and where the system looks. */
	static const char *const PLACES[] = { "", "../lib/cyclotomo/", "../lib/", NULL };
	char dir[1024], path[1400];
	void *found = NULL, *handle = NULL;
	program_dir(dir, sizeof dir);
	reason[0] = '\0';
	for (int i = 0; dir[0] && PLACES[i] && !handle; i++) {
		snprintf(path, sizeof path, "%s%s%s", dir, PLACES[i], library);
		if (access(path, R_OK) != 0) continue;
		handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (!handle) snprintf(reason, size, "%s", dlerror());
	}
	if (!handle) handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (handle) found = dlsym(handle, symbol);
	if (!found && !reason[0]) {
		const char *why = dlerror();
		snprintf(reason, size, "%s", why ? why : "not found");
	}
	return found;
}
