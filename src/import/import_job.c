/* Import from begin to end. */
#include "import/import_internal.h"

#include <string.h>

void cyc_import_options_default(cyc_import_options *o)
{
	*o = (cyc_import_options){ .root = "" };
	cyc_options_set_defaults(o, &cyc_import_table);
}

/* ---------------------------------------------------------------- options */

static cyc_status need(bool is_there, const char *what, const char *option)
{
	if (is_there) return CYC_OK;
	return cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__,
	                       "these files do not contain %s: give it with %s", what, option);
}

static cyc_status need_positive(bool is_there, double v, const char *what, const char *option)
{
	cyc_status st = CYC_OK;
	CYC_TRY(need(is_there, what, option));
	CYC_CHECK(v > 0, CYC_E_USAGE, "%s must be positive, got %g (%s)", what, v, option);
done:
	return st;
}

static cyc_status check_views(const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	CYC_TRY(need(o->images != NULL, "the location of the raw tilt stacks", "--images"));
	if (o->xf) CYC_TRY(need(o->tilts != NULL, "the tilt angles", "--tilt-angles"));
	CYC_TRY(
		need_positive(o->has_pixel_size, o->pixel_size_A, "the pixel size of the raw stack", "--pixel-size"));
	CYC_TRY(need_positive(o->has_voltage, o->voltage_kV, "the voltage", "--voltage"));
	CYC_TRY(need(o->has_cs, "the spherical aberration", "--cs"));
	CYC_TRY(need(o->has_amplitude_contrast, "the amplitude contrast", "--amplitude-contrast"));
	CYC_CHECK(o->amplitude_contrast_frac >= 0 && o->amplitude_contrast_frac <= 1, CYC_E_USAGE,
	          "the amplitude contrast must be from 0 to 1, got %g", o->amplitude_contrast_frac);
	CYC_TRY(need(o->has_hand, "the hand of the defocus (1 or -1)", "--hand"));
	CYC_CHECK(o->hand == 1 || o->hand == -1, CYC_E_USAGE, "--hand must be 1 or -1, got %d", o->hand);
	CYC_TRY(need(o->axes != CYC_IMPORT_AXES_UNKNOWN,
	             "the kind of volume in which the particles were picked (relion, rotx, yz or raw)",
	             "--tomogram-axes"));
	CYC_TRY(need(o->mdoc || o->exposures || o->no_dose, "the dose before each tilt",
	             "--mdoc, --exposures, or --no-dose for no dose weighting"));
	CYC_TRY(need(o->ctf || o->has_defocus, "the defocus", "--ctf, or --defocus for all tilts"));
done:
	return st;
}

/* Options that say nothing here would be taken for ones that do. */
static cyc_status refuse(bool is_given, const char *option, const char *because)
{
	if (!is_given) return CYC_OK;
	return cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "%s cannot be used %s", option,
	                       because);
}

static cyc_status check_matrices(const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	static const char BECAUSE[] = "with --tomograms, which has it";
	CYC_TRY(refuse(o->has_pixel_size, "--pixel-size", BECAUSE));
	CYC_TRY(refuse(o->has_voltage, "--voltage", BECAUSE));
	CYC_TRY(refuse(o->has_cs, "--cs", BECAUSE));
	CYC_TRY(refuse(o->has_amplitude_contrast, "--amplitude-contrast", BECAUSE));
	CYC_TRY(refuse(o->has_hand, "--hand", BECAUSE));
	CYC_TRY(refuse(o->ctf || o->has_defocus, "--ctf", BECAUSE));
	CYC_TRY(refuse(o->mdoc || o->exposures || o->no_dose, "--mdoc, --exposures or --no-dose", BECAUSE));
	CYC_TRY(refuse(o->flat_scales, "--flat-scales", BECAUSE));
	CYC_TRY(refuse(o->tomogram_size != NULL, "--tomogram-size", BECAUSE));
	CYC_TRY(refuse(o->axes != CYC_IMPORT_AXES_UNKNOWN, "--tomogram-axes", BECAUSE));
	CYC_CHECK((o->images != NULL) + (o->averages != NULL) + o->stacks_only <= 1, CYC_E_USAGE,
	          "only one of --images, --averages and --stacks-only can be used");
done:
	return st;
}

static cyc_status check_options(const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	CYC_CHECK((o->tomograms != NULL) + (o->xf != NULL) + (o->aln != NULL) == 1, CYC_E_USAGE,
	          "one alignment is needed: --tomograms (Warp, M, RELION-4), --xf (IMOD) or --aln (AreTomo)");
	CYC_TRY(need(o->particles != NULL, "the particle positions", "--particles"));
	CYC_CHECK(o->binning > 0, CYC_E_USAGE, "--binning must be positive, got %g", o->binning);
	if (o->tomograms) CYC_TRY(check_matrices(o));
	else CYC_TRY(check_views(o));
	static const char ONLY_TOMOGRAMS[] = "without --tomograms", ONLY_XF[] = "without --xf";
	CYC_TRY(refuse(!o->tomograms && o->warp, "--warp", ONLY_TOMOGRAMS));
	CYC_TRY(refuse(!o->tomograms && o->averages, "--averages", ONLY_TOMOGRAMS));
	CYC_TRY(refuse(!o->tomograms && o->stacks_only, "--stacks-only", ONLY_TOMOGRAMS));
	CYC_TRY(refuse(!o->xf && (o->tilts || o->x_tilts || o->tilt_com),
	               "--tilt-angles, --x-tilts or --tilt-com", ONLY_XF));
	CYC_TRY(refuse(!o->aln && o->has_alpha, "--alpha-offset", "without --aln"));
	CYC_TRY(refuse((o->mdoc != NULL) + (o->exposures != NULL) + o->no_dose > 1,
	               "more than one of --mdoc, --exposures and --no-dose", "at once"));
	CYC_TRY(refuse(o->has_dose && !o->mdoc, "--dose-per-tilt",
	               "without --mdoc, which has the order of the tilts"));
	CYC_TRY(refuse(o->ctf && o->has_defocus, "--defocus", "with --ctf"));
	CYC_CHECK(!o->has_dose || o->dose_e_per_A2 >= 0, CYC_E_USAGE, "--dose-per-tilt must not be negative");
done:
	return st;
}

/* ---------------------------------------------------------------- files */

/* Single files are compared one by one; those of patterns too, as what they match. */
cyc_status cyc_import_spare_inputs(const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	const char *const patterns[] = { o->xf,   o->aln,  o->images,    o->tilts, o->x_tilts,  o->tilt_com,
		                             o->warp, o->mdoc, o->exposures, o->ctf,   o->particles };
	enum { N = sizeof patterns / sizeof *patterns };
	const char *lead = o->xf ? o->xf : o->aln;
	cyc__names names = { 0 };
	char *files[N] = { NULL };
	cyc_project_input input = { .root = o->root, .particles = o->particles, .tomograms = o->tomograms };
	cyc_output_plan plan = { .kind = CYC_OUTPUT_IMPORT, .out = o->out_dir, .root = o->root };
	plan.reads_stacks = o->tomograms != NULL;
	if (o->particles && !strchr(o->particles, '*')) plan.input = &input;
	CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
	/* Missing inputs are reported by the run itself. */
	if (lead) st = cyc__find_names(&names, o->root, lead, "");
	if (st == CYC_E_NOMEM) goto done;
	if (st != CYC_OK) cyc_error_clear();
	st = CYC_OK;
	for (int32_t i = 0; i < names.n; i++) {
		for (int k = 0; k < N; k++)
			if (patterns[k]) CYC_TRY(cyc__fill_pattern(&files[k], patterns[k], names.names[i]));
		plan.files = (const char *const *)files;
		plan.n_files = N;
		CYC_TRY(cyc_outputs_spare_inputs(&plan, CYC_OUTPUT_ALL));
		for (int k = 0; k < N; k++) {
			cyc_free(files[k]);
			files[k] = NULL;
		}
	}
done:
	for (int k = 0; k < N; k++) cyc_free(files[k]);
	cyc__names_deinit(&names);
	return st;
}

static cyc_status write_set(const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set set = { 0 };
	char *path = NULL, *name = NULL;
	CYC_TRY(cyc_path_join(&set.particles, o->out_dir, "particles.star"));
	CYC_TRY(cyc_path_join(&set.tomograms, o->out_dir, "tomograms.star"));
	CYC_TRY(cyc_path_join(&name, o->out_dir, "optimisation_set.star"));
	CYC_TRY(cyc_path_join(&path, o->root, name));
	CYC_TRY(cyc_optimisation_set_write(&set, path));
done:
	cyc_free(set.particles);
	cyc_free(set.tomograms);
	cyc_free(path);
	cyc_free(name);
	return st;
}

/* Written, read as any job will read it, completed, and written again. */
static cyc_status write_particles(cyc_import_result *result, const cyc_star *list,
                                  const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc_tomogram_set *tomograms = NULL;
	cyc_particle_set *set = NULL;
	char *name = NULL, *path = NULL;
	CYC_TRY(cyc_path_join(&name, o->out_dir, "tomograms.star"));
	CYC_TRY(cyc_tomogram_set_read(&tomograms, name, o->root));
	cyc_free(name);
	name = NULL;
	CYC_TRY(cyc_path_join(&name, o->out_dir, "particles.star"));
	CYC_TRY(cyc_path_join(&path, o->root, name));
	CYC_TRY(cyc_star_write(list, path));
	CYC_TRY_CTX(cyc_particle_set_read(&set, name, NULL, tomograms, o->root), "particles of '%s'",
	            o->particles);
	CYC_TRY(cyc__finish_particles(result, set, tomograms, o));
	CYC_TRY(cyc_particle_set_write(set, NULL, path));
done:
	cyc_free(name);
	cyc_free(path);
	cyc_particle_set_destroy(&set);
	cyc_tomogram_set_destroy(&tomograms);
	return st;
}

cyc_status cyc_import_run(cyc_import_result *result, const cyc_import_options *o)
{
	cyc_status st = CYC_OK;
	cyc__imported tomograms = { 0 };
	cyc_star *list = NULL;
	*result = (cyc_import_result){ 0 };
	CYC_CHECK(o->dry_run || (o->out_dir && o->out_dir[0]), CYC_E_USAGE, "an output folder is needed (--o)");
	CYC_TRY(check_options(o));
	CYC_TRY(cyc_import_spare_inputs(o));
	CYC_TRY(o->tomograms ? cyc__tomograms_of_matrices(&tomograms, result, o)
	                     : cyc__tomograms_of_views(&tomograms, result, o));
	CYC_TRY(cyc__read_particle_list(&list, &tomograms, o));
	if (o->dry_run) goto done;
	CYC_TRY(cyc_tomogram_set_write(tomograms.set, o->out_dir, o->root, 0));
	CYC_TRY(write_particles(result, list, o));
	CYC_TRY(write_set(o));
done:
	cyc_star_destroy(&list);
	cyc__imported_deinit(&tomograms);
	return st;
}
