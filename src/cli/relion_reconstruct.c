#include "relion.h"

#include "cyclotomo/reconstruct.h"

#include <stdlib.h>
#include <string.h>

cyc_status cyc_cmd_reconstruct(int argc, char **argv);

static const char THREADS[] = "as many threads as RELION would run: j, or j_in x j_out; all work on one sum";

static const cyc_relion_option OPTIONS[] = {
	{ .name = "Images", .type = CYC_OPT_HEADING },
	{ .name = "--no_ctf",
	  .type = CYC_OPT_FLAG,
	  .help = "Neither CTF nor dose weights.",
	  .becomes = CYC_RELION_SAME,
	  .to = "no-ctf",
	  .note = "also under the _mpi name, where RELION forgets it" },
	{ .name = "Work", .type = CYC_OPT_HEADING },
	{ .name = "--mem",
	  .type = CYC_OPT_DOUBLE,
	  .unit = "<GB>",
	  .help = "Memory for sums: fewer of them.",
	  .value = "-1",
	  .becomes = CYC_RELION_ALWAYS,
	  .note = "there is one sum per half-set, whatever the number of threads" },
	CYC_RELION_THREADS_OPTION("6"),
	{ .name = "--j_in",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Threads inside an insertion.",
	  .value = "3",
	  .becomes = CYC_RELION_READ,
	  .to = "threads",
	  .note = THREADS },
	{ .name = "--j_out",
	  .type = CYC_OPT_INT,
	  .unit = "<n>",
	  .help = "Particles inserted at once.",
	  .value = "2",
	  .becomes = CYC_RELION_READ,
	  .to = "threads",
	  .note = THREADS },
	CYC_RELION_COMMON_OPTIONS,
};

static cyc_status translate(cyc_relion_call *c)
{
	cyc_status st = CYC_OK;
	bool has_j = cyc_relion_is_given(c, "--j"),
		 has_inner = cyc_relion_is_given(c, "--j_in") || cyc_relion_is_given(c, "--j_out");
	int64_t n = (int64_t)cyc_relion_number(c, "--j"),
			inner = (int64_t)cyc_relion_number(c, "--j_in") * (int64_t)cyc_relion_number(c, "--j_out");
	/* What is asked for counts, RELION's own numbers only where nothing is. */
	if (has_inner && (inner > n || !has_j)) n = inner;
	/* data_*.mrc and weight_*.mrc are among RELION's outputs. */
	if (!cyc_relion_is_given(c, "--no_recon")) CYC_TRY(cyc_relion_emit(c, "write-sums", NULL));
	CYC_TRY(cyc_relion_emit(c, "exclude-negative-scales", NULL));
	CYC_TRY(cyc_relion_emit_threads(c, n));
done:
	return st;
}

static const cyc_job_variable VARIABLES[] = {
	CYC_JOB_PROJECT_VARIABLES,
	{ .variable = "box_size", .becomes = CYC_JOB_VALUE, .option = "--b", .what = "box" },
	{ .variable = "crop_size", .becomes = CYC_JOB_VALUE, .option = "--crop", .what = "cropped box" },
	{ .variable = "binning", .becomes = CYC_JOB_VALUE, .option = "--bin", .what = "binning" },
	{ .variable = "snr",
	  .becomes = CYC_JOB_READ,
	  .option = "--SNR",
	  .what = "signal-to-noise ratio for a Wiener filter" },
	{ .variable = "sym_name", .becomes = CYC_JOB_VALUE, .option = "--sym", .what = "symmetry" },
	{ .variable = "do_helix",
	  .becomes = CYC_JOB_READ,
	  .what = "helical reconstruction",
	  .fate = CYC_JOB_REFUSED,
	  .note = "by job2cmd; the options that the GUI passes (--nr_helical_asu, --helical_rise, "
	          "--helical_twist) are honoured" },
	{ .variable = "helical_*",
	  .becomes = CYC_JOB_READ,
	  .what = "helical symmetry",
	  .fate = CYC_JOB_HONOURED,
	  .note = "only with do_helix" },
	{ .variable = "nr_threads", .becomes = CYC_JOB_READ, .option = "--j", .what = "threads" },
};

static cyc_status map_job(cyc_relion_job *j)
{
	cyc_status st = CYC_OK;
	const char *threads = cyc_job_text(j, "nr_threads"), *snr = cyc_job_text(j, "snr");
	if (cyc_job_is_yes(j, "do_helix")) {
		st = cyc_error_raise(CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
		                     "helical reconstruction jobs (do_helix Yes) are not supported here");
		cyc_error_hint(
			"write the command by hand, with --nr_helical_asu, --helical_rise and --helical_twist");
		goto done;
	}
	CYC_TRY(cyc_job_emit_project(j));
	CYC_TRY(cyc_job_emit(j, "--o", j->folder));
	if (strtod(snr, NULL) > 0.0) CYC_TRY(cyc_job_emit(j, "--SNR", snr));
	if (j->is_continued) CYC_TRY(cyc_job_emit(j, "--only_do_unfinished", NULL));
	if (threads[0]) {
		CYC_TRY(cyc_job_emit(j, "--j", threads));
		CYC_TRY(cyc_job_emit(j, "--j_out", threads));
		CYC_TRY(cyc_job_emit(j, "--j_in", "1"));
	}
done:
	return st;
}

extern const cyc_relion_program cyc_relion_reconstruct_particle;
const cyc_relion_program cyc_relion_reconstruct_particle = {
	.name = "relion_tomo_reconstruct_particle",
	.summary = "Reconstruct half maps and a merged map from the tilt images",
	.command = "reconstruct",
	.run = cyc_cmd_reconstruct,
	.table = &cyc_reconstruct_table,
	CYC_RELION_TABLES(OPTIONS, VARIABLES),
	.translate = translate,
	.job_type = "relion.reconstructparticletomo",
	.map_job = map_job,
};
