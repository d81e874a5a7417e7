#include "run_json.h"

#include "cyclotomo/git_state.h"
#include "cyclotomo/profile.h"
#include "cyclotomo/ranks.h"
#include "cyclotomo/version.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);
	return n >= m && strcmp(s + n - m, suffix) == 0;
}

static cyc_status put_file(cyc_json *j, const char *root, const cyc_run_file *f, bool with_hash)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *data = NULL;
	size_t n = 0;
	struct stat s;
	CYC_TRY(cyc_path_join(&path, root, f->path));
	cyc_json_begin_object(j, NULL);
	cyc_json_text(j, "what", f->label);
	cyc_json_text(j, "path", f->path);
	if (stat(path, &s) == 0) cyc_json_int(j, "bytes", (int64_t)s.st_size);
	if (with_hash && has_suffix(path, ".star")) {
		char hash[24];
		CYC_TRY(cyc_read_file(&data, &n, path));
		snprintf(hash, sizeof hash, "%016" PRIx64, cyc_hash(CYC_HASH_INIT, data, n));
		cyc_json_text(j, "xxh3_64", hash);
	}
	cyc_json_end_object(j);
done:
	cyc_free(path);
	cyc_free(data);
	return st;
}

static void put_costs(cyc_json *j, const cyc_run *run)
{
	cyc_costs costs;
	double wall_s = cyc_console_seconds();
	cyc_costs_get(&costs);
	cyc_json_int(j, "threads", run->common->n_threads);
	if (cyc_profile_device()[0]) cyc_json_text(j, "device", cyc_profile_device());
	cyc_json_double(j, "wall_s", wall_s);
	cyc_json_int(j, "peak_memory_bytes", cyc_peak_memory_bytes());
	if (cyc_profile_device_bytes() > 0)
		cyc_json_int(j, "peak_device_memory_bytes", (int64_t)cyc_profile_device_bytes());
	cyc_json_int(j, "warnings", cyc_log_n_different_warnings());
	cyc_costs_json(j, &costs, wall_s, run->common->n_threads);
}

/* What each rank did for the jobs that ranks shared. */
static void put_ranks(cyc_json *j)
{
	int n;
	const cyc_rank_report *ranks = cyc_ranks_reports(&n);
	if (n == 0) return;
	cyc_json_text(j, "transport", cyc_ranks_transport());
	cyc_json_begin_array(j, "ranks");
	for (int r = 0; r < n; r++) {
		cyc_json_begin_object(j, NULL);
		cyc_json_text(j, "host", ranks[r].host);
		cyc_json_text(j, "device", ranks[r].device);
		cyc_json_int(j, "most_threads_of_a_loop", ranks[r].n_threads);
		cyc_json_double(j, "cpu_s", ranks[r].cpu_s);
		cyc_json_double(j, "busy_in_loops_s", ranks[r].busy_s);
		cyc_json_double(j, "waited_s", ranks[r].waited_s);
		cyc_json_double(j, "sent_bytes", ranks[r].sent_bytes);
		cyc_json_int(j, "peak_memory_bytes", ranks[r].peak_memory_bytes);
		cyc_json_end_object(j);
	}
	cyc_json_end_array(j);
}

cyc_status cyc_run_json_write(const char *path, const cyc_run *run)
{
	cyc_status st = CYC_OK;
	cyc_json j = { 0 };
	char *text = NULL;
	struct utsname host;
	cyc_json_begin_object(&j, NULL);
	cyc_json_text(&j, "program", "cyclotomo");
	cyc_json_text(&j, "version", CYCLOTOMO_VERSION);
	cyc_json_text(&j, "git", CYCLOTOMO_GIT_STATE);
	cyc_json_text(&j, "command", run->command->usage.name);
	cyc_json_begin_array(&j, "argv");
	cyc_json_text(&j, NULL, "cyclotomo");
	for (int i = 0; i < run->argc; i++) cyc_json_text(&j, NULL, run->argv[i]);
	cyc_json_end_array(&j);
	if (run->called_as) cyc_json_text(&j, "called_as", run->called_as);
	cyc_options_json(&j, "options", run->target, run->options.rows, run->options.n);
	if (uname(&host) == 0) {
		cyc_json_text(&j, "host", host.nodename);
		cyc_json_text(&j, "machine", host.machine);
	}
	put_costs(&j, run);
	put_ranks(&j);
	cyc_json_begin_array(&j, "inputs");
	for (int32_t i = 0; i < run->n_inputs; i++)
		CYC_TRY(put_file(&j, run->common->root, &run->inputs[i], true));
	cyc_json_end_array(&j);
	cyc_json_begin_array(&j, "outputs");
	for (int32_t i = 0; i < run->n_outputs; i++)
		CYC_TRY(put_file(&j, run->common->root, &run->outputs[i], true));
	cyc_json_end_array(&j);
	cyc_json_end_object(&j);
	CYC_TRY(cyc_json_finish(&text, &j));
	CYC_TRY(cyc_write_file(path, text, strlen(text)));
done:
	cyc_json_deinit(&j);
	cyc_free(text);
	return st;
}
