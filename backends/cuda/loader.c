/*
 * The program never links CUDA: its libraries are large, and it must run where there are none. The plug-in
 * libcyclotomo_cuda.so has them, and is opened when the backend is requested.
 */
#include "backends/cuda/loader.h"

#include "backends/device/device.h"
#include "cyclotomo/version.h"

#include <pthread.h>
#include <string.h>

#define PLUGIN "libcyclotomo_cuda.so"

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static const cyc_device_api *g_api; /* stays open until the process ends */

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
	char reason[512];
	cyc_device_plugin entry = NULL;
	void *symbol = cyc_plugin_symbol(PLUGIN, CYC_DEVICE_PLUGIN, reason, sizeof reason);
	CYC_CHECK(symbol, CYC_E_UNSUPPORTED, "the backend cuda needs the plug-in " PLUGIN ": %s", reason);
	memcpy(&entry, &symbol, sizeof entry);
	const cyc_device_api *api = entry(CYC_DEVICE_ABI);
	CYC_CHECK(is_of_this_program(api), CYC_E_UNSUPPORTED,
	          "the plug-in " PLUGIN " belongs to another version of this program");
	g_api = api;
done:
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

bool cyc__cuda_is_installed(void) { return cyc_plugin_exists(PLUGIN); }
