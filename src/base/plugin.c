#include "cyclotomo/base.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folder of the program, with its final slash; "" if it cannot be determined. */
static void program_dir(char *out, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(out, '/');
	if (slash) slash[1] = '\0';
	else out[0] = '\0';
}

/* Calls `visit` with each place that has the library, until it gives something. */
static void *first_place(const char *library, void *(*visit)(const char *path, void *arg), void *arg)
{
	/* Beside the program (a build folder), and where an installation has it; or only where somebody says. */
	static const char *const PLACES[] = { "", "../lib/cyclotomo/", "../lib/" };
	const char *folder = getenv("CYCLOTOMO_PLUGINS");
	char dir[1024], path[4096];
	void *found = NULL;
	if (folder && folder[0]) {
		snprintf(path, sizeof path, "%s/%s", folder, library);
		return access(path, R_OK) == 0 ? visit(path, arg) : NULL;
	}
	program_dir(dir, sizeof dir);
	for (size_t i = 0; dir[0] && i < sizeof PLACES / sizeof *PLACES && !found; i++) {
		snprintf(path, sizeof path, "%s%s%s", dir, PLACES[i], library);
		if (access(path, R_OK) == 0) found = visit(path, arg);
	}
	return found;
}

typedef struct {
	char *reason;
	size_t size;
} reason_of;

static void *open_place(const char *path, void *arg)
{
	const reason_of *r = arg;
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) snprintf(r->reason, r->size, "%s", dlerror());
	return handle;
}

void *cyc_plugin_symbol(const char *library, const char *symbol, char *reason, size_t size)
{
	reason_of r = { reason, size };
	void *found = NULL;
	const char *folder = getenv("CYCLOTOMO_PLUGINS");
	reason[0] = '\0';
	void *handle = first_place(library, open_place, &r);
	if (!handle && folder && folder[0]) {
		if (!reason[0]) snprintf(reason, size, "it is not in %s (CYCLOTOMO_PLUGINS)", folder);
		return NULL;
	}
	if (!handle) handle = dlopen(library, RTLD_NOW | RTLD_LOCAL); /* where the system looks */
	if (handle) found = dlsym(handle, symbol);
	if (!found && !reason[0]) {
		const char *why = dlerror();
		snprintf(reason, size, "%s", why ? why : "not found");
	}
	return found;
}

static void *see_place(const char *path, void *arg)
{
	(void)path;
	return arg;
}

bool cyc_plugin_exists(const char *library)
{
	int seen;
	return first_place(library, see_place, &seen) != NULL;
}
