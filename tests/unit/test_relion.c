#include "cli/relion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---------------------------------------------------------------- the tables */

/* All options of RELION 5's programs, GUI spellings included. */
#define PROJECT "--i --p --t --mot --o "
#define REFERENCE                                                                                            \
	"--ref1 --ref2 --mask --fsc --freq_cutoff --fsc_thresh_width --use_SNR_weight --cutoff_fract "           \
	"--per_frame_noise --diag "
#define COMMON "--pipeline_control --theme"
/* What every call of a refinement has. */
#define REFINE "--auto_refine --split_random_halves --ctf"
static const struct {
	const char *program, *options;
} RELION[] = {
	{ "relion_tomo_reconstruct_particle",
	  PROJECT "--b --crop --bin --SNR --sym --nr_helical_asu --helical_rise --helical_twist --taper --whiten "
	          "--no_ctf --no_circle_crop --cutoff_fract --mem "
	          "--j --j_in --j_out --only_do_unfinished --no_backup --no_recon " COMMON },
	{ "relion_tomo_refine_ctf",
	  PROJECT REFERENCE "--b --only_do_unfinished --j --do_defocus --do_reg_defocus --lambda --d0 --d1 --ds "
	                    "--kmin --reset_to_common --do_scale "
	                    "--per_frame_scale --per_tomogram_scale --per_tomo_scale --do_even_aberrations --ne "
	                    "--do_odd_aberrations --no --min_frame --max_frame " COMMON },
	{ "relion_tomo_align", PROJECT REFERENCE
	  "--b --only_do_unfinished --j --r --it --shift_only --shift_only_by_particles --const_p --const_a "
	  "--const_s --range_reg --motion "
	  "--s_vel --s_div --abs_params --sq_exp_ker --max_ed --deformation --def_w --def_h --def_model "
	  "--def_reg --per_frame_deformation "
	  "--pad --no_whiten --hp --srp --min_frame --max_frame --aniso --per_tilt_aniso --whiten_abs " COMMON },
	{ "relion_tomo_subtomo",
	  PROJECT "--b --crop --bin --stack2d --float16 --max_dose --min_frames --dont_apply_offsets "
	          "--apply_orientations --no_ctf --no_ic --no_circle_crop "
	          "--circle_precrop --grid_precorr --cone_weight --cone_angle --cone_sig0 --whiten --taper "
	          "--no_center --env --SNR --multi --ctf --div --nrm --no_comb "
	          "--sum --no_writing --cutoff_fract --j --diag --only_do_unfinished --real_subtomo " COMMON },
	{ "relion_refine", "--ios --i --tomograms --trajectories --ref --o --continue --trust_ref_size "
	                   "--ref_angpix --auto_refine --split_random_halves --K --iter --grad --blush --helix "
	                   "--relax_sym --sym --ini_high --low_resol_join_halves --tau2_fudge --auto_iter_max "
	                   "--force_converge --firstiter_cc --random_seed --ctf "
	                   "--ctf_intact_first_peak --only_flip_phases --ctf_phase_flipped --pad_ctf "
	                   "--particle_diameter --flatten_solvent --zero_mask --solvent_mask --solvent_mask2 "
	                   "--lowpass_mask --solvent_correct_fsc --maskedge --norm --scale --pad --sigma "
	                   "--fix_sigma_noise --sigma2_fudge --nr_parts_sigma2noise --strict_highres_exp "
	                   "--strict_lowres_exp --subtomo_multi_thr --normalised_subtomo --skip_subtomo_multi "
	                   "--ctf3d_not_squared --NN --r_min_nn --dont_skip_gridding "
	                   "--gridding_iter --healpix_order --auto_local_healpix_order --oversampling "
	                   "--offset_range --offset_step --offset_range_x --offset_range_y "
	                   "--offset_range_z --offset --fix_sigma_offset --min_sigma2_offset --sigma_ang "
	                   "--sigma_rot --sigma_tilt --sigma_psi --limit_tilt --perturb "
	                   "--adaptive_fraction --maxsig --incr_size --coarse_size --minimum_angular_sampling "
	                   "--maximum_angular_sampling --auto_ignore_angles --auto_resol_angles "
	                   "--skip_align --j --pool --gpu --cpu --preread_images --scratch_dir "
	                   "--keep_free_scratch --reuse_scratch --keep_scratch --no_parallel_disc_io "
	                   "--dont_combine_weights_via_disc --dont_check_norm --verb " COMMON },
	{ "relion_postprocess", "--i --i2 --ios --o --angpix --half_maps --mtf_angpix --molweight --mask "
	                        "--force_mask --auto_mask --inimask_threshold --extend_inimask "
	                        "--width_mask_edge --mtf --auto_bfac --autob_lowres --autob_highres --adhoc_bfac "
	                        "--skip_fsc_weighting --low_pass --ampl_corr --randomize_at_fsc "
	                        "--randomize_at_A --filter_edge_width --interpolate --verb --random_seed "
	                        "--locres --locres_sampling --locres_maskrad --locres_edgwidth "
	                        "--locres_randomize_at --locres_minres " COMMON },
	{ "relion_mask_create",
	  "--i --o --and --or --and_not --or_not --ini_threshold --extend_inimask --width_soft_edge --invert "
	  "--lowpass --angpix --helix --z_percentage --j "
	  "--denovo --box_size --inner_radius --outer_radius --center_x --center_y --center_z " COMMON },
};
enum { N_RELION = sizeof RELION / sizeof *RELION };

static const cyc_relion_program *program(const char *name)
{
	const cyc_relion_program *p = cyc_relion_find(NULL, name);
	assert_non_null(p);
	return p;
}

static void all_options_are_known(void **state)
{
	(void)state;
	for (int i = 0; i < N_RELION; i++) {
		char words[4096], *next = NULL;
		const cyc_relion_program *p = program(RELION[i].program);
		assert_true((size_t)snprintf(words, sizeof words, "%s", RELION[i].options) < sizeof words);
		for (char *w = strtok_r(words, " ", &next); w; w = strtok_r(NULL, " ", &next)) {
			if (cyc_relion_find_option(p, w) < 0) fail_msg("%s does not know %s", p->name, w);
		}
	}
}

/* And none that RELION has not, but for what is marked as cyclotomo's own. */
static void no_other_options(void **state)
{
	(void)state;
	for (int i = 0; i < N_RELION; i++) {
		const cyc_relion_program *p = program(RELION[i].program);
		for (int k = 0; k < cyc_relion_rows_of(p).n; k++) {
			const cyc_relion_option *o = &cyc_relion_rows_of(p).rows[k];
			if (o->type == CYC_OPT_HEADING || o->becomes == CYC_RELION_OWN || strcmp(o->name, "--j") == 0)
				continue;
			for (const char *name = o->name; *name;) {
				char word[64];
				size_t n = strcspn(name, ",");
				snprintf(word, sizeof word, " %.*s ", (int)n, name);
				char all[4096];
				snprintf(all, sizeof all, " %s ", RELION[i].options);
				if (!strstr(all, word)) fail_msg("%s has no option%s", p->name, word);
				name += n + (name[n] == ',');
			}
		}
	}
}

static void tables_are_complete(void **state)
{
	(void)state;
	assert_true(cyc_relion_n_programs() >= N_RELION);
	for (int i = 0; i < cyc_relion_n_programs(); i++) {
		const cyc_relion_program *p = cyc_relion_program_at(i);
		for (int k = 0; k < cyc_relion_rows_of(p).n; k++) {
			const cyc_relion_option *o = &cyc_relion_rows_of(p).rows[k];
			if (o->type == CYC_OPT_HEADING) continue;
			bool needs_note = o->becomes == CYC_RELION_UNUSED || o->becomes == CYC_RELION_ALWAYS;
			if (!o->help || (needs_note && !o->note) || (o->becomes == CYC_RELION_SAME && !o->to) ||
			    (o->passes_default && !o->value) || (o->type == CYC_OPT_FLAG && o->value) ||
			    (o->is_required && !o->unit))
				fail_msg("%s %s: something is missing", p->name, o->name);
			if (o->type != CYC_OPT_FLAG && o->type != CYC_OPT_INT && o->type != CYC_OPT_DOUBLE &&
			    o->type != CYC_OPT_TEXT)
				fail_msg("%s: type", o->name);
			char first[64];
			snprintf(first, sizeof first, "%.*s", (int)strcspn(o->name, ","), o->name);
			if (cyc_relion_find_option(p, first) != k) fail_msg("%s %s stands twice", p->name, o->name);
		}
		for (int k = 0; k < p->n_variables; k++) {
			const cyc_job_variable *v = &p->variables[k];
			bool is_plain = v->becomes == CYC_JOB_VALUE || v->becomes == CYC_JOB_FLAG;
			if (is_plain && (!v->option || cyc_relion_find_option(p, v->option) < 0))
				fail_msg("%s: variable %s", p->name, v->variable);
		}
	}
}

static void names(void **state)
{
	(void)state;
	bool is_mpi = true;
	assert_ptr_equal(cyc_relion_find(&is_mpi, "relion_tomo_align"), program("relion_tomo_align"));
	assert_false(is_mpi);
	assert_ptr_equal(cyc_relion_find(&is_mpi, "/opt/bin/relion_postprocess_mpi"),
	                 program("relion_postprocess"));
	assert_true(is_mpi);
	const char *const OTHERS[] = {
		"relion_tomo_alig", "relion_tomo_align2",          "relion_tomo_align_mpi2",
		"cyclotomo",        "relion_tomo_align/cyclotomo", ""
	};
	for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) assert_null(cyc_relion_find(NULL, OTHERS[i]));
	assert_null(cyc_relion_find(NULL, NULL));
	assert_ptr_equal(cyc_relion_find_job("relion.framealigntomo"), program("relion_tomo_align"));
	assert_ptr_equal(cyc_relion_find_job("relion.postprocess.tomo"), program("relion_postprocess"));
	assert_null(cyc_relion_find_job("relion.postprocessing"));
}

/* ---------------------------------------------------------------- translation */

static char g_log[4096];
static void keep_warnings(void *user, cyc_log_level level, const char *text)
{
	(void)user;
	if (level == CYC_LOG_WARN) snprintf(g_log + strlen(g_log), sizeof g_log - strlen(g_log), "%s\n", text);
}

/* The line of cyclotomo that a line of RELION becomes; its error message, or NULL. Free with cyc_free(). */
static cyc_status translate(char **out, const char *line)
{
	char words[2048], *argv[64], *next = NULL;
	int argc = 0;
	bool is_mpi = false;
	cyc_relion_call call = { 0 };
	*out = NULL;
	g_log[0] = '\0';
	cyc_log_set_sink(keep_warnings, NULL, CYC_LOG_INFO);
	snprintf(words, sizeof words, "%s", line);
	for (char *w = strtok_r(words, " ", &next); w; w = strtok_r(NULL, " ", &next)) argv[argc++] = w;
	const cyc_relion_program *p = cyc_relion_find(&is_mpi, argv[0]);
	assert_non_null(p);
	cyc_status st = cyc_relion_translate(&call, p, is_mpi, argc, argv);
	if (st == CYC_OK) assert_int_equal(cyc_shell_line(out, call.n_words, call.words), CYC_OK);
	if (st == CYC_OK) assert_null(call.words[call.n_words]);
	cyc_relion_call_deinit(&call);
	cyc_log_set_sink(NULL, NULL, CYC_LOG_INFO);
	return st;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "a --c 1 --b" becomes "a --b --c 1": the order of options has no meaning. */
static void sort_options(char *line)
{
	char copy[1024], *parts[64], *at = copy;
	size_t n = 0;
	snprintf(copy, sizeof copy, "%s", line);
	for (char *next; at && n < 64; at = next) {
		next = strstr(at, " --");
		if (next) *next = '\0';
		if (next) next++;
		parts[n++] = at;
	}
	qsort(parts + 1, n - 1, sizeof *parts, by_text);
	line[0] = '\0';
	for (size_t i = 0; i < n; i++) strcat(strcat(line, i ? " " : ""), parts[i]);
}

static void expect(const char *relion, const char *cyclotomo)
{
	char *line = NULL, *wanted = NULL;
	assert_int_equal(translate(&line, relion), CYC_OK);
	assert_int_equal(cyc_strdup(&wanted, cyclotomo), CYC_OK);
	sort_options(line);
	sort_options(wanted);
	assert_string_equal(line, wanted);
	cyc_free(line);
	cyc_free(wanted);
}

static void expect_failure(const char *relion, cyc_status st, const char *text)
{
	char *line = NULL;
	assert_int_equal(translate(&line, relion), st);
	if (!strstr(cyc_error_get()->message, text) && !strstr(cyc_error_get()->hint, text))
		fail_msg("'%s' is not in: %s / %s", text, cyc_error_get()->message, cyc_error_get()->hint);
	cyc_free(line);
}

static void lines_of_relion(void **state)
{
	(void)state;
	expect("relion_tomo_reconstruct_particle --p p.star --t t.star --mot m.star --b 192 --crop 112 --sym O "
	       "--o R/ --j 2 --j_out 2 --j_in 1",
	       "reconstruct --particles p.star --tomograms t.star --trajectories m.star --output R/ --box 192 "
	       "--crop 112 --symmetry O --write-sums "
	       "--exclude-negative-scales --threads 2");
	expect("relion_tomo_refine_ctf --p p.star --t t.star --ref1 1.mrc --ref2 2.mrc --mask m.mrc --fsc f.star "
	       "--b 192 --o J/ --do_defocus --do_reg_defocus "
	       "--d0 -2500 --d1 2500 --do_scale --per_frame_scale --max_frame 30 --j 2",
	       "ctfrefine --particles p.star --tomograms t.star --output J/ --ref1 1.mrc --ref2 2.mrc --mask "
	       "m.mrc --fsc f.star --box 192 --do-defocus --do-scale "
	       "--defocus-range 2500 --max-tilt 30 --exclude-negative-scales --threads 2");
	assert_string_equal(g_log, "");
	expect("relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_scale --per_tomo_scale "
	       "--do_even_aberrations --ne 6 --do_odd_aberrations --j 2",
	       "ctfrefine --optimisation-set s.star --output J/ --box 64 --do-even-aberrations --even-order 6 "
	       "--do-odd-aberrations --do-scale --scale-model tomogram "
	       "--exclude-negative-scales --threads 2");
	expect("relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_scale --j 2",
	       "ctfrefine --optimisation-set s.star --output J/ --box 64 --do-scale --scale-model global "
	       "--exclude-negative-scales --threads 2");
	expect("relion_tomo_align --i s.star --b 64 --o J/ --motion --j 3",
	       "polish --optimisation-set s.star --output J/ --box 64 --range 20 --motion --velocity-sigma 0.5 "
	       "--exclude-negative-scales "
	       "--threads 3");
	expect("relion_tomo_align --i s.star --b 64 --o J/ --r 5 --shift_only --shift_only_by_particles --j 3",
	       "polish --optimisation-set s.star --output J/ --box 64 --range 5 --shift-only "
	       "--shift-only-by-particles --velocity-sigma 0.5 "
	       "--exclude-negative-scales --threads 3");
	expect("relion_tomo_align --i s.star --b 64 --o J/ --deformation --def_model Fourier --def_w 4 --def_h 2 "
	       "--def_reg 0.1 --per_frame_deformation --min_frame 2 "
	       "--max_frame 30 --j 1",
	       "polish --optimisation-set s.star --output J/ --box 64 --range 20 --velocity-sigma 0.5 "
	       "--deformation --deformation-model Fourier "
	       "--deformation-grid-x 4 --deformation-grid-y 2 --deformation-regulariser 0.1 "
	       "--deformation-per-tilt --first-tilt 2 --last-tilt 30 "
	       "--exclude-negative-scales --threads 1");
	expect("relion_tomo_subtomo --i s.star --b 192 --crop 96 --stack2d --float16 --max_dose 50 --min_frames "
	       "1 --o EX/ --j 2",
	       "extract --optimisation-set s.star --output EX/ --stacks --float16 --box 192 --crop 96 --max-dose "
	       "50 --min-frames 1 --exclude-negative-scales --threads 2");
	expect("relion_tomo_subtomo --p p.star --t t.star --b 64 --o EX/ --bin 2 --no_ctf --no_ic --cone_weight "
	       "--cone_angle 20 --only_do_unfinished --j 1",
	       "extract --particles p.star --tomograms t.star --output EX/ --box 64 --bin 2 --no-ctf "
	       "--no-inversion --cone-weight --cone-angle 20 --resume "
	       "--exclude-negative-scales --threads 1");
	assert_string_equal(g_log, "");
	/* As the GUI writes it. */
	expect("relion_refine --o R/job034/run " REFINE
	       " --ios s.star --ref h/half1.mrc --trust_ref_size --ini_high 4 --dont_combine_weights_via_disc "
	       "--scratch_dir /ssd --pool 30 --pad 2 --particle_diameter 230 --flatten_solvent --zero_mask "
	       "--solvent_mask m.mrc --solvent_correct_fsc --oversampling 1 "
	       "--healpix_order 5 --auto_local_healpix_order 4 --offset_range 5 --offset_step 2 --sym C6 "
	       "--low_resol_join_halves 40 --norm --scale --j 6",
	       "refine --optimisation-set s.star --ref h/half1.mrc --symmetry C6 --lowpass 4 --join 40 "
	       "--particle-diameter 230 --mask m.mrc --healpix-order 5 "
	       "--local-from 4 --oversampling 1 --offset-range 5 --offset-step 2 --output R/job034/ "
	       "--exclude-negative-scales --threads 6");
	assert_string_equal(g_log, "");
	expect("relion_refine --o run " REFINE " --i p.star --tomograms t.star --trajectories m.star --ref a.mrc "
	       "--firstiter_cc --auto_iter_max 3 --random_seed 7 --verb 0 "
	       "--continue R/run_it003_optimiser.star",
	       "refine --particles p.star --tomograms t.star --trajectories m.star --ref a.mrc --join -1 "
	       "--iterations 3 --healpix-order 2 --offset-range 6 "
	       "--output ./ --resume --no-fsc-correction --no-scale --seed 7 --quiet "
	       "--exclude-negative-scales --threads 1");
	assert_string_equal(g_log, "");
	expect("relion_postprocess --i h1.mrc --i2 h2.mrc --o PP/p --auto_bfac --autob_lowres 15 --angpix -1",
	       "postprocess --half1 h1.mrc --half2 h2.mrc --output PP/p --pixel-size -1 --bfactor-low 15 "
	       "--auto-bfactor --threads 1");
	expect("relion_postprocess --i h1.mrc --adhoc_bfac -80 --skip_fsc_weighting --low_pass 5 --verb 0 "
	       "--random_seed 7",
	       "postprocess --half1 h1.mrc --skip-fsc-weighting --lowpass 5 --adhoc-bfactor "
	       "-80 --seed 7 --quiet --threads 1");
	expect("relion_mask_create --i m.mrc --lowpass 12 --extend_inimask 3 --width_soft_edge 5 --invert --or "
	       "b.mrc",
	       "mask --input m.mrc --extend 3 --soft-edge 5 --invert --lowpass 12 --or b.mrc "
	       "--threshold 0.01 --threads 1");
	expect("relion_mask_create --denovo --box_size 64 --outer_radius 20 --o s.mrc",
	       "mask --output s.mrc --denovo --box-size 64 --outer-radius 20 --threads 1");
}

/* RELION sharpens only when asked to; its mask threshold is a number; nothing becomes automatic by leaving an
 * option out. */
static void defaults_of_relion(void **state)
{
	(void)state;
	expect("relion_postprocess --i h1.mrc --o P",
	       "postprocess --half1 h1.mrc --output P --adhoc-bfactor 0 --threads 1");
	expect("relion_postprocess --i h1.mrc --o P --auto_bfac --adhoc_bfac 0",
	       "postprocess --half1 h1.mrc --output P --auto-bfactor --threads 1");
	expect_failure("relion_postprocess --i h1.mrc --auto_bfac --adhoc_bfac -100", CYC_E_USAGE,
	               "exclude each other");
	expect("relion_tomo_reconstruct_particle --i s.star --b 64 --o R/ --no_recon --j_in 2 --j_out 4",
	       "reconstruct --optimisation-set s.star --output R/ --box 64 --no-maps --exclude-negative-scales "
	       "--threads 8");
	expect("relion_tomo_reconstruct_particle --i s.star --b 64 --o R/ --no_recon",
	       "reconstruct --optimisation-set s.star --output R/ --box 64 --no-maps --exclude-negative-scales "
	       "--threads 6");
	expect("relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_defocus --max_frame 0 --j 1",
	       "ctfrefine --optimisation-set s.star --output J/ --box 64 --do-defocus --exclude-negative-scales "
	       "--threads 1");
	expect_failure("relion_tomo_refine_ctf --i s.star --b 64 --o J/", CYC_E_USAGE, "nothing to refine");
}

static void warnings(void **state)
{
	(void)state;
	char *line = NULL;
	const char *refine = "relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_defocus --lambda 0.1 --ds 200 "
						 "--d0 -1000 --d1 2000 --diag --do_scale";
	assert_int_equal(translate(&line, refine), CYC_OK);
	assert_non_null(strstr(line, "--defocus-range 2000 "));
	const char *const TEXTS[] = { "--lambda is not used: ", "--ds is not used: ", "--diag is not used: ",
		                          "from -2000 to 2000" };
	for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
		if (!strstr(g_log, TEXTS[i])) fail_msg("no '%s' in %s", TEXTS[i], g_log);
	cyc_free(line);
	assert_int_equal(translate(&line, "relion_tomo_align --i s.star --b 64 --o J/ --aniso --pad 2"), CYC_OK);
	assert_non_null(strstr(g_log, "--aniso has no effect"));
	assert_non_null(strstr(g_log, "--pad is not used"));
	cyc_free(line);
	/* --gpu with its value, without one at the end, and before another option. */
	const char *const GPU[] = { "--gpu 0:1", "--gpu", "--gpu --norm" };
	for (size_t i = 0; i < sizeof GPU / sizeof *GPU; i++) {
		char text[256];
		snprintf(text, sizeof text,
		         "relion_refine --o R/run " REFINE
		         " --ios s.star --ref a.mrc --scale --solvent_correct_fsc %s",
		         GPU[i]);
		assert_int_equal(translate(&line, text), CYC_OK);
		assert_non_null(strstr(g_log, "--gpu is not used: "));
		cyc_free(line);
	}
	/* Local searches from the start take no single width, as RELION's do not. */
	assert_int_equal(
		translate(&line, "relion_refine --o R/it " REFINE
	                     " --ios s.star --ref a.mrc --sigma_tilt 10 --healpix_order 4 --perturb 0.5 --pad 1"),
		CYC_OK);
	const char *const REFINE_TEXTS[] = { "--sigma_tilt is not used: ", "--pad is not used: ",
		                                 "start with 'run_', in the folder R/" };
	for (size_t i = 0; i < sizeof REFINE_TEXTS / sizeof *REFINE_TEXTS; i++)
		if (!strstr(g_log, REFINE_TEXTS[i])) fail_msg("no '%s' in %s", REFINE_TEXTS[i], g_log);
	assert_null(strstr(g_log, "--perturb"));
	assert_null(strstr(line, "sigma"));
	cyc_free(line);
	/* What RELION does without being asked needs no option. */
	assert_int_equal(translate(&line, "relion_tomo_align --i s.star --b 64 --o J/ --pad 1.0 --hp -1 --def_w "
	                                  "3 --def_model spline --it 10000 --range_reg 0"),
	                 CYC_OK);
	assert_string_equal(g_log, "");
	cyc_free(line);
	assert_int_equal(translate(&line, "relion_mask_create --i m.mrc --or b.mrc --and c.mrc"), CYC_OK);
	assert_non_null(strstr(line, "--and c.mrc"));
	assert_null(strstr(line, "b.mrc"));
	assert_non_null(strstr(g_log, "--or is not used"));
	cyc_free(line);
	assert_int_equal(
		translate(&line, "relion_postprocess --i a_half1.mrc --random_seed -1 --extend_inimask 4"), CYC_OK);
	assert_non_null(strstr(g_log, "seed from the clock"));
	assert_non_null(strstr(g_log, "--extend_inimask has no effect"));
	cyc_free(line);
}

static void refusals(void **state)
{
	(void)state;
	const char *const NOT_YET[] = { "--range_reg 1", "--abs_params", "--no_whiten", "--hp 2", "--srp 1" };
	for (size_t i = 0; i < sizeof NOT_YET / sizeof *NOT_YET; i++) {
		char line[256], name[64];
		snprintf(line, sizeof line, "relion_tomo_align --i s.star --b 64 --o J/ %s", NOT_YET[i]);
		snprintf(name, sizeof name, "%.*s", (int)strcspn(NOT_YET[i], " "), NOT_YET[i]);
		expect_failure(line, CYC_E_UNSUPPORTED, name);
		expect_failure(line, CYC_E_UNSUPPORTED, "not supported yet");
	}
	/* Other jobs of relion_refine, and half of a call. */
	expect_failure("relion_refine --o C/run --ios s.star --ref a.mrc --ctf --K 3 --iter 25",
	               CYC_E_UNSUPPORTED, "--K");
	expect_failure("relion_refine --o C/run --ios s.star --ref a.mrc --ctf --K 1", CYC_E_UNSUPPORTED,
	               "without --auto_refine");
	expect_failure("relion_refine --o C/run --ios s.star --ref a.mrc --auto_refine --split_random_halves",
	               CYC_E_UNSUPPORTED, "without --ctf");
	expect_failure("relion_refine --o C/run " REFINE " --ref a.mrc", CYC_E_USAGE, "no particles");
	expect_failure("relion_refine --o C/run " REFINE " --ref a.mrc --continue C/run_it004_optimiser.star",
	               CYC_E_USAGE, "options of the first call");
	expect_failure("relion_refine --o C/run " REFINE " --ios s.star", CYC_E_USAGE, "--ref <map> is missing");
	expect_failure("relion_refine --o C/run " REFINE " --ios s.star --ref a.mrc --sigma_tilt 10",
	               CYC_E_UNSUPPORTED, "--sigma_tilt");
	expect_failure("relion_refine --o C/run " REFINE
	               " --ios s.star --ref a.mrc --healpix_order 4 --sigma_rot 3 --sigma_tilt 3 --sigma_psi 3",
	               CYC_E_UNSUPPORTED, "--sigma_ang");
	expect_failure("relion_refine --o C/run " REFINE " --ios s.star --ref a.mrc --blush", CYC_E_UNSUPPORTED,
	               "--blush");
	expect_failure("relion_refine --o C/run " REFINE " --ios s.star --ref a.mrc --pool", CYC_E_USAGE,
	               "--pool needs a value");
	expect_failure("relion_tomo_subtomo --i s.star --b 64 --o E/ --min_frames 0", CYC_E_UNSUPPORTED,
	               "--min_frames 0");
	expect_failure("relion_tomo_subtomo --i s.star --b 64 --o E/ --min_frames -1", CYC_E_USAGE,
	               "must not be negative");
	expect_failure("relion_tomo_subtomo --i s.star --b 64 --o E/ --real_subtomo --stack2d", CYC_E_UNSUPPORTED,
	               "--real_subtomo");
	expect_failure(
		"relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_scale --per_tomo_scale --per_frame_scale",
		CYC_E_USAGE, "exclude each other");
	expect_failure("relion_postprocess --i h.mrc --auto_mask", CYC_E_UNSUPPORTED, "relion_mask_create");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --motion --shift_only", CYC_E_USAGE,
	               "exclude each other");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --motoin", CYC_E_USAGE,
	               "did you mean --motion?");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ 17", CYC_E_USAGE, "unexpected word '17'");
	expect_failure("relion_tomo_align --i s.star --b 64x --o J/", CYC_E_USAGE,
	               "--b must be a whole number <px>, got '64x'");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --r five", CYC_E_USAGE,
	               "--r must be a number <px>, got 'five'");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --r nan", CYC_E_USAGE, "--r must be a number");
	expect_failure("relion_tomo_align --i s.star --b 99999999999 --o J/", CYC_E_USAGE,
	               "--b must be a whole number");
	expect_failure("relion_tomo_align --i --b 64 --o J/", CYC_E_USAGE, "--i needs a value");
	expect_failure("relion_tomo_align --i s.star --o J/ --b", CYC_E_USAGE, "--b needs a value");
	expect_failure("relion_tomo_align --i s.star --b 64", CYC_E_USAGE, "--o <folder> is missing");
	expect_failure("relion_tomo_align --i s.star --o J/", CYC_E_USAGE, "--b <px> is missing");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --b 96", CYC_E_USAGE,
	               "--b is given twice, as 64 and as 96");
	expect_failure("relion_tomo_refine_ctf --i s.star --b 64 --o J/ --do_defocus --d0 10 --d1 -10",
	               CYC_E_USAGE, "--d0 must be below --d1");
	expect_failure("relion_tomo_align --i s.star --b 64 --o J/ --j 0", CYC_E_USAGE, "at least one thread");
	char *line = NULL;
	assert_int_equal(translate(&line, "relion_tomo_align --i s.star --b 64 --o J/ --b 64"), CYC_OK);
	cyc_free(line);
}

static void pipeline_and_ranks(void **state)
{
	(void)state;
	expect("relion_mask_create --i m.mrc --pipeline_control MaskCreate/job001/ --theme dark",
	       "mask --input m.mrc --threshold 0.01 --threads 1 --pipeline-control "
	       "MaskCreate/job001/");
	/* A dry run leaves no flags. */
	expect("relion_mask_create --i m.mrc --pipeline_control MaskCreate/job001/ --dry-run --root x",
	       "mask --input m.mrc --dry-run --root x --threshold 0.01 --threads 1");
	int n = cyc_n_processors();
	char *line = NULL, wanted[32];
	setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
	snprintf(wanted, sizeof wanted, "--threads %d", n >= 2 ? 2 : 1);
	assert_int_equal(translate(&line, "relion_mask_create_mpi --i m.mrc --j 1"), CYC_OK);
	if (!strstr(line, wanted)) fail_msg("no '%s' in %s", wanted, line);
	cyc_free(line);
	/* Without the _mpi in the name the launcher's variables mean nothing. */
	assert_int_equal(translate(&line, "relion_mask_create --i m.mrc --j 1"), CYC_OK);
	assert_non_null(strstr(line, "--threads 1"));
	cyc_free(line);
	unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
}

/* ---------------------------------------------------------------- job.star */

#define JOB(type, is_continued, values)                                                                      \
	"data_job\n_rlnJobTypeLabel " type "\n_rlnJobIsContinue " is_continued                                   \
	"\n_rlnJobIsTomo 0\n\ndata_joboptions_values\nloop_\n"                                                   \
	"_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\n" values
#define QUEUE                                                                                                \
	"do_queue No\nmin_dedicated 1\nnr_mpi 5\nnr_threads 4\nqsub sbatch\nqsubscript x.sh\nqueuename cpu\n"

static cyc_status map_job(char **out, const char *text)
{
	cyc_star *star = NULL;
	cyc_relion_job job = { 0 };
	*out = NULL;
	g_log[0] = '\0';
	cyc_log_set_sink(keep_warnings, NULL, CYC_LOG_INFO);
	assert_int_equal(cyc_star_parse(&star, text, strlen(text), "job.star"), CYC_OK);
	cyc_status st = cyc_relion_job_map(&job, star, "A/job001/");
	if (st == CYC_OK) assert_int_equal(cyc_shell_line(out, job.n_words, job.words), CYC_OK);
	cyc_relion_job_deinit(&job);
	cyc_star_destroy(&star);
	cyc_log_set_sink(NULL, NULL, CYC_LOG_INFO);
	return st;
}

static void expect_job(const char *text, const char *wanted)
{
	char *line = NULL, *full = NULL;
	assert_int_equal(map_job(&line, text), CYC_OK);
	assert_int_equal(cyc_asprintf(&full, "%s --pipeline_control A/job001/", wanted), CYC_OK);
	assert_string_equal(line, full);
	cyc_free(full);
	cyc_free(line);
}

static void jobs(void **state)
{
	(void)state;
	expect_job(JOB("relion.reconstructparticletomo", "0",
	               "box_size 64\ncrop_size 32\nbinning 2\nsnr 0\nsym_name C6\nin_optimisation "
	               "s.star\nin_particles p.star\n"
	               "use_direct_entries No\nother_args \"--whiten --taper '5'\"\n" QUEUE),
	           "relion_tomo_reconstruct_particle --i s.star --o A/job001/ --j 4 --j_out 4 --j_in 1 --b 64 "
	           "--crop 32 --bin 2 --sym C6 --whiten --taper 5");
	assert_string_equal(g_log, "");
	expect_job(
		JOB("relion.ctfrefinetomo", "1",
	        "box_size 64\ndo_defocus Yes\nfocus_range 2000\ndo_reg_def Yes\nlambda 0.1\ndo_scale "
	        "Yes\ndo_frame_scale No\n"
	        "do_tomo_scale Yes\nin_halfmaps R/half1.mrc\nin_post f.star\nin_refmask m.mrc\nin_optimisation "
	        "s.star\n"
	        "in_particles p.star\nin_tomograms t.star\nin_trajectories \"\"\nuse_direct_entries Yes\n" QUEUE),
		"relion_tomo_refine_ctf --p p.star --t t.star --ref1 R/half1.mrc --ref2 R/half2.mrc --mask m.mrc "
		"--fsc f.star --o A/job001/ --d0 -2000 --d1 2000 "
		"--lambda 0.1 --only_do_unfinished --b 64 --do_defocus --do_reg_defocus --do_scale --per_tomo_scale "
		"--j 4");
	expect_job(JOB("relion.framealigntomo", "0",
	               "box_size 64\nmax_error 5\ndo_shift_align Yes\nshift_align_type \"Only "
	               "particles\"\ndo_motion No\nsigma_vel 0.2\n"
	               "sigma_div 5000\ndo_sq_exp_ker Yes\nin_halfmaps \"my half2/half2.mrc\"\nin_optimisation "
	               "s.star\n" QUEUE),
	           "relion_tomo_align --i s.star --ref1 'my half2/half1.mrc' --ref2 'my half2/half2.mrc' --o "
	           "A/job001/ --shift_only_by_particles --b 64 --r 5 --shift_only --j 4");
	expect_job(JOB("relion.pseudosubtomo", "1",
	               "binning 1\nbox_size 512\ncrop_size 192\ndo_float16 Yes\ndo_stack2d Yes\nmax_dose "
	               "50\nmin_frames 2\nin_optimisation "
	               "s.star\nuse_direct_entries No\n" QUEUE),
	           "relion_tomo_subtomo --i s.star --o A/job001/ --only_do_unfinished --b 512 --crop 192 --bin 1 "
	           "--max_dose 50 --min_frames 2 --stack2d --float16 --j 4");
	expect_job(
		JOB("relion.refine3d.tomo", "0",
	        "auto_faster No\nauto_local_sampling \"1.8 degrees\"\nctf_intact_first_peak "
	        "No\ndo_combine_thru_disc No\n"
	        "do_ctf_correction Yes\ndo_helix No\ndo_pad1 No\ndo_parallel_discio Yes\ndo_preread_images "
	        "No\ndo_solvent_fsc Yes\n"
	        "do_zero_mask Yes\nfn_mask m.mrc\nfn_ref R/half1.mrc\ngpu_ids \"\"\nhelical_rise_min "
	        "0\nin_optimisation s.star\n"
	        "ini_high 4\nnr_pool 30\noffset_range 5\noffset_step 1\nparticle_diameter 230\nrange_tilt 15\n"
	        "ref_correct_greyscale Yes\nsampling \"0.9 degrees\"\nscratch_dir /ssd\nsigma_tilt 10\nsym_name "
	        "C6\n"
	        "trust_ref_size Yes\nuse_gpu Yes\n" QUEUE),
		"relion_refine --ios s.star --o A/job001/run --auto_refine --split_random_halves --flatten_solvent "
		"--norm --scale --low_resol_join_halves 40 --pad 2 "
		"--ini_high 4 --solvent_correct_fsc --oversampling 1 --healpix_order 5 --auto_local_healpix_order 4 "
		"--offset_step 2 --sigma_tilt 10 "
		"--dont_combine_weights_via_disc --scratch_dir /ssd --gpu '' --ref R/half1.mrc --solvent_mask m.mrc "
		"--trust_ref_size --sym C6 --ctf "
		"--particle_diameter 230 --zero_mask --offset_range 5 --pool 30 --j 4");
	expect_job(JOB("relion.refine3d.tomo", "0",
	               "in_particles p.star\nin_tomograms t.star\nuse_direct_entries Yes\nfn_ref a.mrc\nsampling "
	               "\"7.5 degrees\"\n"
	               "do_ctf_correction Yes\nini_high 60\nfn_mask \"\"\ndo_solvent_fsc Yes\n"),
	           "relion_refine --i p.star --tomograms t.star --o A/job001/run --auto_refine "
	           "--split_random_halves --flatten_solvent --norm --scale "
	           "--low_resol_join_halves 40 --pad 2 --firstiter_cc --ini_high 60 --oversampling 1 "
	           "--healpix_order 2 --dont_combine_weights_via_disc --ref a.mrc --ctf");
	assert_string_equal(g_log, "");
	expect_job(JOB("relion.postprocess.tomo", "0",
	               "fn_in h1.mrc\nfn_mask m.mrc\nangpix -1\ndo_auto_bfac Yes\nautob_lowres 12\ndo_adhoc_bfac "
	               "No\nadhoc_bfac -1000\n"
	               "do_skip_fsc_weighting Yes\nlow_pass 5\nfn_mtf mtf.star\nmtf_angpix 0.8\n"),
	           "relion_postprocess --mtf_angpix 0.8 --o A/job001/postprocess --i h1.mrc --mask m.mrc "
	           "--angpix -1 --auto_bfac --autob_lowres 12 --skip_fsc_weighting "
	           "--low_pass 5 --mtf mtf.star");
	expect_job(JOB("relion.maskcreate", "0",
	               "fn_in a.mrc\nlowpass_filter 15\nangpix -1\ninimask_threshold 0.02\nextend_inimask "
	               "3\nwidth_mask_edge 4\ndo_helix Yes\n"
	               "helical_z_percentage 30.\nnr_threads 2\n"),
	           "relion_mask_create --o A/job001/mask.mrc --z_percentage 0.3 --i a.mrc --lowpass 15 --angpix "
	           "-1 --ini_threshold 0.02 --extend_inimask 3 "
	           "--width_soft_edge 4 --helix --j 2");
	assert_string_equal(g_log, "");
	expect_job(JOB("relion.maskcreate", "0", "fn_in a.mrc\nnew_in_6 7\n"),
	           "relion_mask_create --o A/job001/mask.mrc --i a.mrc");
	assert_non_null(strstr(g_log, "'new_in_6' is unknown"));
}

static void bad_jobs(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		cyc_status st;
		const char *message;
	} BAD[] = {
		{ JOB("relion.class3d", "0", "a b\n"), CYC_E_UNSUPPORTED, "relion.class3d" },
		{ JOB("relion.refine3d", "0", "fn_img p.star\nfn_ref a.mrc\n"), CYC_E_UNSUPPORTED,
		  "single-particle" },
		{ JOB("relion.refine3d.tomo", "0", "in_optimisation s.star\nsampling \"2 degrees\"\n"), CYC_E_DATA,
		  "sampling: '2 degrees'" },
		{ JOB("relion.maskcreate", "0", "input a.mrc\nthreshold 3\n"), CYC_E_DATA,
		  "none of the 2 variables" },
		{ JOB("relion.reconstructparticletomo", "0", "box_size 64\ndo_helix Yes\n"), CYC_E_UNSUPPORTED,
		  "helix" },
		{ JOB("relion.framealigntomo", "0", "box_size 64\nin_halfmaps a.mrc\n"), CYC_E_DATA, "'a.mrc'" },
		{ JOB("relion.postprocess", "0", "fn_in a.mrc\nother_args \"--o 'x\"\n"), CYC_E_DATA,
		  "a quote is not closed" },
		{ "data_job\n_rlnJobIsTomo "
		  "0\n\ndata_joboptions_values\nloop_\n_rlnJobOptionVariable\n_rlnJobOptionValue\na b\n",
		  CYC_E_FORMAT, "rlnJobTypeLabel" },
		{ "data_job\n_rlnJobTypeLabel relion.postprocess\n", CYC_E_FORMAT, "joboptions_values" },
		{ "data_particles\nloop_\n_rlnTomoName\nTS_01\n", CYC_E_FORMAT, "job" },
	};
	for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
		char *line = NULL;
		assert_int_equal(map_job(&line, BAD[i].text), BAD[i].st);
		if (!strstr(cyc_error_get()->message, BAD[i].message))
			fail_msg("'%s' is not in: %s", BAD[i].message, cyc_error_get()->message);
	}
}

/* Each allocation in turn fails: a clear status, and nothing is lost (the sanitizers see to that). */
static void out_of_memory(void **state)
{
	(void)state;
	const char *const LINES[] = { "relion_tomo_align --i s.star --b 64 --o J/ --motion --j 3",
		                          "relion_tomo_align --i s.star --motoin" };
	for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++) {
		cyc_status wanted = i == 0 ? CYC_OK : CYC_E_USAGE, st = CYC_E_NOMEM;
		for (int64_t n = 1; st == CYC_E_NOMEM; n++) {
			char words[128], *argv[16], *next = NULL;
			int argc = 0;
			cyc_relion_call call = { 0 };
			snprintf(words, sizeof words, "%s", LINES[i]);
			for (char *w = strtok_r(words, " ", &next); w; w = strtok_r(NULL, " ", &next)) argv[argc++] = w;
			cyc_alloc_fail_at(n);
			st = cyc_relion_translate(&call, program(argv[0]), false, argc, argv);
			cyc_alloc_fail_at(0);
			cyc_relion_call_deinit(&call);
			assert_true(st == wanted || st == CYC_E_NOMEM);
			assert_true(n < 1000);
		}
	}
	const char *job =
		JOB("relion.framealigntomo", "0",
	        "box_size 64\nin_halfmaps a/half1.mrc\nother_args \"--it 3\"\nin_optimisation s.star\n" QUEUE);
	cyc_star *star = NULL;
	cyc_status st = CYC_E_NOMEM;
	assert_int_equal(cyc_star_parse(&star, job, strlen(job), "job.star"), CYC_OK);
	for (int64_t n = 1; st == CYC_E_NOMEM; n++) {
		cyc_relion_job j = { 0 };
		cyc_alloc_fail_at(n);
		st = cyc_relion_job_map(&j, star, "A/job001/");
		cyc_alloc_fail_at(0);
		cyc_relion_job_deinit(&j);
		assert_true(st == CYC_OK || st == CYC_E_NOMEM);
		assert_true(n < 1000);
	}
	cyc_star_destroy(&star);
}

static void shell_lines(void **state)
{
	(void)state;
	char
		*
			words[] = { (char *)"a", (char *)"b c",   (char *)"it's",
		                (char *)"",  (char *)"$HOME", (char *)"x-1,2" },
		   *line = NULL;
	assert_int_equal(cyc_shell_line(&line, 6, words), CYC_OK);
	assert_string_equal(line, "a 'b c' 'it'\\''s' '' '$HOME' x-1,2");
	cyc_free(line);
	assert_int_equal(cyc_shell_line(&line, 0, words), CYC_OK);
	assert_string_equal(line, "");
	cyc_free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_options_are_known),
		cmocka_unit_test(no_other_options),
		cmocka_unit_test(tables_are_complete),
		cmocka_unit_test(names),
		cmocka_unit_test(lines_of_relion),
		cmocka_unit_test(defaults_of_relion),
		cmocka_unit_test(warnings),
		cmocka_unit_test(refusals),
		cmocka_unit_test(pipeline_and_ranks),
		cmocka_unit_test(jobs),
		cmocka_unit_test(bad_jobs),
		cmocka_unit_test(shell_lines),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
