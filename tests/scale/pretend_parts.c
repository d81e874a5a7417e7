/* Pretends to be the parts of a polishing: deals the series as they do, and leaves records of made-up results
 * and notes as they would. What a job does with the metadata and the records of a large project can then be
 * tried without computing anything. pretend_parts ROOT JOB_FOLDER N      after `polish --part 0/N` there,
 * whose note has the key
 */
#include "cyclotomo/parts.h"
#include "polish/polish_output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the header of a record has its key. */
enum { KEY_AT = 80 };

static cyc_status read_key(uint64_t *key, const char *out, const char *n)
{
	cyc_status st = CYC_OK;
	char *path = NULL, *data = NULL;
	size_t bytes;
	CYC_TRY(cyc_asprintf(&path, "%stemp/part0of%s.record", out, n));
	CYC_TRY(cyc_read_file(&data, &bytes, path));
	CYC_CHECK(bytes > KEY_AT + sizeof *key, CYC_E_FORMAT, "'%s' is too short", path);
	memcpy(key, data + KEY_AT, sizeof *key);
done:
	cyc_free(path);
	cyc_free(data);
	return st;
}

/* Small changes that follow from the series and the number of the tilt or particle. */
static cyc_status leave_record(const char *out, const cyc_tilt_series *ts, int32_t n_particles, uint64_t key)
{
	cyc_status st = CYC_OK;
	cyc_polished r = { 0 };
	char *path = NULL;
	uint64_t seed = cyc_hash_string(CYC_HASH_INIT, ts->name);
	CYC_TRY(cyc_polished_create(&r, ts->n_tilts, n_particles));
	r.is_taken = true;
	r.outcome = CYC_POLISH_BETTER;
	r.n_images = (int64_t)n_particles * ts->n_tilts;
	r.heldout_after = 10;
	r.heldout_error = 2;
	for (int32_t f = 0; f < ts->n_tilts; f++)
		r.tilts[f].shift_A[0] = 0.01 * (double)((seed + (uint64_t)f) % 100);
	for (int32_t p = 0; p < n_particles; p++) r.offsets_A[p].x = 0.01 * (double)((seed + (uint64_t)p) % 77);
	for (size_t k = 0; k < 3 * (size_t)n_particles * (size_t)ts->n_tilts; k++)
		r.displacement_A[k] = 0.001 * (double)((seed + k) % 1000);
	CYC_TRY(cyc_asprintf(&path, "%stemp/%s.polish", out, ts->file_name));
	CYC_TRY(cyc_polished_write(path, &r, key));
done:
	cyc_free(path);
	cyc_polished_deinit(&r);
	return st;
}

static cyc_status pretend(const char *root, const char *out, const char *n)
{
	cyc_status st = CYC_OK;
	cyc_project_input in = { .optimisation_set = "optimisation_set.star", .root = root };
	cyc_optimisation_set *set = NULL;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *particles = NULL;
	cyc_share s = { 0 };
	cyc_part_outcome outcome;
	uint64_t key = 0;
	CYC_TRY(read_key(&key, out, n));
	CYC_TRY(cyc_project_resolve(&set, &in));
	CYC_TRY(cyc_project_read_tomograms(&tomograms, set, &in));
	CYC_TRY(cyc_particle_set_read(&particles, set->particles, set->trajectories, tomograms, root));
	for (int k = 1; k <= atoi(n); k++) {
		char part[32];
		snprintf(part, sizeof part, "%d/%s", k, n);
		CYC_TRY(cyc_share_create(&s, part, tomograms, particles));
		CYC_TRY(cyc_share_begin(&s, out, key, false));
		for (int32_t i = 0; i < tomograms->n_series; i++)
			if (s.is_own[i])
				CYC_TRY(leave_record(out, &tomograms->series[i],
				                     (int32_t)(particles->series_first[i + 1] - particles->series_first[i]),
				                     key));
		CYC_TRY(cyc_share_end(&outcome, &s, out, key));
		cyc_share_deinit(&s);
	}
	printf("%d parts of %d series pretended\n", atoi(n), tomograms->n_series);
done:
	cyc_share_deinit(&s);
	cyc_particle_set_destroy(&particles);
	cyc_tomogram_set_destroy(&tomograms);
	cyc_optimisation_set_destroy(&set);
	return st;
}

int main(int argc, char **argv)
{
	if (argc != 4) return 2;
	if (pretend(argv[1], argv[2], argv[3]) == CYC_OK) return 0;
	fprintf(stderr, "pretend_parts: %s\n", cyc_error_get()->message);
	return 1;
}
