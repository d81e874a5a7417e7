/* Warnings, each once, with advice. */
#include "summary/page.h"

#include <string.h>

/* Advice for warnings by a part of their text. tests/cli/test_page.sh looks for each part in the messages of
 * the program. */
static const struct {
	const char *part, *advice;
} ADVICE[] = {
	{ "half maps are not independent", "Check for particles in both half-sets (cyclotomo separate), or for "
	                                   "shared images; no number on this page can be trusted until then." },
	{ "reaches the border of the box", "Run the cycle with a larger --crop and a mask of that size, or make "
	                                   "a tighter mask: a higher --threshold, smaller "
	                                   "--extend or --soft-edge." },
	{ "phase-randomised FSC is still",
	  "Make a softer or wider mask: cyclotomo mask with a larger --extend and --soft-edge." },
	{ "without the mask the resolution is better",
	  "Check that --mask-fsc is the right mask and covers the particle." },
	{ "no mask is given", "Make one from the map of this run with cyclotomo mask, and give it with "
	                      "--mask-align and --mask-fsc." },
	{ "bad: the image is constant",
	  "Nothing to do: its contrast scale is now 0 and it is no longer used. Inspect the image." },
	{ "bad with probability",
	  "Nothing to do: its contrast scale is now 0 and it is no longer used. If there are "
	  "many, inspect the images." },
	{ "all particles are",
	  "Nothing to do: its shift is corrected. If there are many, align the tilt series again." },
	{ "its defocus is beyond the search",
	  "Correct its defocus in the tilt table, or search further with --defocus-range." },
	{ "are not found, neither where",
	  "Inspect the image; if it shows nothing, exclude it with a contrast scale of 0." },
	{ "held-out images agree less",
	  "Nothing to do: the series keeps its alignment. The usual reason is too few or wrong particles." },
	{ "do not agree better after the shifts", "Nothing to do: the series keeps its alignment." },
	{ "the predicted particles are not found",
	  "Inspect these images; the usual reason is too few or too faint particles." },
	{ "they are not used as a prior of the Y tilts",
	  "Correct rlnTomoNominalStageTiltAngle in the tilt table." },
	{ " has the other sign; it is used with the sign",
	  "Change the sign of that column; results do not depend on it." },
	{ "a contrast scale of 0", "Nothing to do if these tilts were excluded on purpose." },
	{ "negative contrast scale",
	  "Nothing to do if these tilts were excluded on purpose; set the scale to 1 to use a tilt again." },
	{ "The refinement is rejected",
	  "Nothing to do: the run continued from the state before. To accept it anyway use --accept-worse." },
	{ "was it corrected for gain and defects", "Check the gain correction and defect map of these images." },
	{ "another unit",
	  "Nothing to do: its weight was corrected. It is safer to process all series in the same way, "
	  "so that they have one grey scale." },
	{ "no B-factor can be fitted", "Give one with --bfactor, or use more particles." },
	{ "the pixel size limits the resolution", "If the images were binned, continue with smaller pixels." },
	{ "cannot be locked", "Make sure that no other run uses the folder." },
	{ "threads could be started", "Nothing to do; the run takes longer." },
	{ "check --deep --fix",
	  "Check its findings, then start again from the corrected project that it writes." },
	{ "cyclotomo separate",
	  "Remove one of each pair with cyclotomo separate, or run with --duplicates remove." },
};

static const char *advice_for(const char *text)
{
	for (size_t i = 0; i < sizeof ADVICE / sizeof *ADVICE; i++)
		if (strstr(text, ADVICE[i].part)) return ADVICE[i].advice;
	return NULL;
}

static void put_warning(FILE *f, const char *text, const char *advice)
{
	fputs("<li><p>", f);
	cyc__put_escaped(f, text);
	fputs("</p>", f);
	if (advice) {
		fputs("<p class=\"do\">", f);
		cyc__put_escaped(f, advice);
		fputs("</p>", f);
	}
}

static void put_own(FILE *f, const cyc__cycle *c, bool *is_first)
{
	char text[900];
#define PUT(words, advice)                                                                                   \
	do {                                                                                                     \
		if (*is_first) fputs("<ul class=\"warnings\">", f);                                                  \
		*is_first = false;                                                                                   \
		put_warning(f, words, advice);                                                                       \
		fputs("</li>\n", f);                                                                                 \
	} while (0)
	for (int32_t i = 0; i < c->n_steps; i++) {
		const cyc__step *s = &c->steps[i];
		if (!(s->n_images_outside > 0.0) || s->kind != CYC__RECONSTRUCT || s->i_turn > 0) continue;
		snprintf(text, sizeof text, "%.0f particle windows %s and were left out.", s->n_images_outside,
		         c->o->whole_windows ? "are partly outside their tilt image (--whole-windows)"
		                             : "are so far outside their tilt image that the particle is cut off");
		PUT(text, "Nothing to do if there are particles near the edges of the images.");
	}
	cyc__inputs_describe_duplicates(text, sizeof text, &c->in, c->o);
	if (text[0]) PUT(text, NULL);
	if (!c->in.mask_fsc)
		PUT("No mask was given: the resolution is underestimated, and the references contain solvent noise.",
		    advice_for("no mask is given"));
#undef PUT
}

cyc_status cyc__put_warnings(const cyc__page *p)
{
	cyc_status st = CYC_OK;
	FILE *f = p->f;
	const cyc__cycle *c = p->c;
	bool is_first = true;
	fputs("<section id=\"warnings\"><h2>Warnings</h2>\n", f);
	put_own(f, c, &is_first);
	for (int32_t i = 0; i < c->n_steps; i++) {
		for (int32_t k = 0; k < c->steps[i].n_warnings; k++) {
			const char *text = c->steps[i].warnings[k];
			if (cyc__was_warned_before(c, i, text)) continue;
			if (is_first) fputs("<ul class=\"warnings\">", f);
			is_first = false;
			put_warning(f, text, advice_for(text));
			fputs("<small>first by ", f);
			CYC_TRY(cyc__put_link(f, c, c->steps[i].dir, c->steps[i].name));
			fputs("</small></li>\n", f);
		}
	}
	fputs(is_first ? "<p>None.</p>\n" : "</ul>\n", f);
	CYC_TRY(cyc__put_bad_tilts(f, c));
	fputs("</section>\n", f);
done:
	return st;
}
