/*
 * The program never links CUDA: its libraries are large, and it must run where there are none. The plug-in
 * libcyclotomo_cuda.so has them, and is opened when somebody asks for the backend.
 */
#include "backends/cuda/loader.h"

#include "backends/device/device.h"
#include "cyclotomo/version.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN "libcyclotomo_cuda.so"

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static const cyc_device_api *g_api; /* stays open until the process ends */

/* Where the plug-in may lie: what CYCLOTOMO_CUDA_PLUGIN names, else beside the program or in the library
 * folders of its prefix. NULL if it is in none; the system's search path is left then. */
static cyc_status find_plugin(char **out)
{
	cyc_status st = CYC_OK;
	static const char *const PLACES[] = { "", "../lib/cyclotomo/", "../lib/", "../lib64/cyclotomo/" };
	const char *named = getenv("CYCLOTOMO_CUDA_PLUGIN");
	char exe[4096], *folder = NULL;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	*out = NULL;
	if (named && named[0]) {
		CYC_TRY(cyc_strdup(out, named));
		goto done;
	}
	exe[n > 0 ? n : 0] = 0;
	CYC_TRY(cyc_path_dir(&folder, exe));
	for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES && folder[0]; i++) {
		CYC_TRY(cyc_reprintf(out, "%s%s" PLUGIN, folder, PLACES[i]));
		if (cyc_path_exists(*out)) goto done;
	}
	cyc_free(*out);
	*out = NULL;
done:
	cyc_free(folder);
	return st;
}

/* Both sides must have been built from one source. */
static bool is_of_this_program(const cyc_device_api *api)
{
#define CYC_KERNEL_BYTES(name, lanes) [CYC_KERNEL_##name] = sizeof(cyc_##name##_args),
	static const int32_t BYTES[CYC_N_KERNELS] = { CYC_KERNEL_LIST(CYC_KERNEL_BYTES) };
	return api && api->abi == CYC_DEVICE_ABI && strcmp(api->version, CYCLOTOMO_VERSION) == 0 &&
	       memcmp(api->kernel_bytes, BYTES, sizeof BYTES) == 0;
}

static cyc_status load(void)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	cyc_device_plugin entry = NULL;
	CYC_TRY(find_plugin(&path));
	void *library = dlopen(path ? path : PLUGIN, RTLD_NOW | RTLD_LOCAL);
	CYC_CHECK(library, CYC_E_UNSUPPORTED, "the backend cuda needs the plug-in " PLUGIN ": %s", dlerror());
	void *symbol = dlsym(library, CYC_DEVICE_PLUGIN);
	memcpy(&entry, &symbol, sizeof entry);
	const cyc_device_api *api = entry ? entry(CYC_DEVICE_ABI) : NULL;
	if (is_of_this_program(api)) g_api = api;
	else dlclose(library);
	CYC_CHECK(g_api, CYC_E_UNSUPPORTED, "the plug-in %s belongs to another version of this program",
	          path ? path : PLUGIN);
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__cuda_create(void **self, int n_threads, const char *options)
{
	cyc_status st = CYC_OK;
	pthread_mutex_lock(&g_mutex);
	if (!g_api) st = load();
	pthread_mutex_unlock(&g_mutex);
	if (st == CYC_OK) CYC_TRY(cyc__device_create(self, g_api, n_threads, options));
done:
	if (st == CYC_E_UNSUPPORTED) cyc_error_hint("'--backend cpu' needs no GPU");
	return st;
}

bool cyc__cuda_is_installed(void)
{
	char *path = NULL;
	bool is_found = false;
	pthread_mutex_lock(&g_mutex);
	is_found = g_api != NULL;
	pthread_mutex_unlock(&g_mutex);
	if (is_found) return true;
	if (find_plugin(&path) != CYC_OK) cyc_error_clear();
	is_found = path && cyc_path_exists(path);
	cyc_free(path);
	return is_found;
}
