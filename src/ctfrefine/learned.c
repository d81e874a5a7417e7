#include "ctfrefine/learned.h"

#include "cyclotomo/record.h"

#include <stdlib.h>
#include <string.h>

static const char KIND[] = "ctf, learned";

cyc_status cyc_ctf_learned_write(const char *path, const cyc_ctf_learned *l, uint64_t key)
{
	cyc_status st = CYC_OK;
	cyc_text_stream o = { 0 };
	const cyc_ctf_widths *w = l->widths;
	CYC_TRY(cyc_text_stream_open(&o));
	fprintf(o.f, "%d\n%a %a %a %a %a %a %a %a %a %a %a\n", l->model->n_shells, w->shift_A, w->z_input_A,
	        w->z_trend_A, w->a_input_A, w->a_trend_A, w->s_input, w->s_trend, w->b_A2, w->bad_frac,
	        w->self_excess, *l->gauge);
	for (int32_t r = 0; r < l->model->n_shells; r++) fprintf(o.f, "%a\n", l->model->alpha[r]);
	for (int32_t g = 0; l->aberrations && g < l->aberrations->n_groups; g++) {
		const cyc_group_aberration *group = &l->aberrations->groups[g];
		fprintf(o.f, "%d %d %d\n", group->is_learned, group->is_rejected[CYC_EVEN],
		        group->is_rejected[CYC_ODD]);
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t k = 0; k < l->aberrations->basis[p].n; k++) fprintf(o.f, "%a\n", group->theta[p][k]);
	}
	fprintf(o.f, "end\n");
	CYC_TRY(cyc_text_stream_finish(&o));
	CYC_TRY(cyc_record_write_text(path, KIND, key, o.text));
done:
	cyc_text_stream_deinit(&o);
	return st;
}

cyc_status cyc_ctf_learned_open(char **text, const char *path, uint64_t key)
{
	return cyc_record_read_text(text, path, KIND, key, "starting from the beginning", NULL);
}

static double next_number(const char **at)
{
	char *end;
	double v = strtod(*at, &end);
	*at = end;
	return v;
}

void cyc_ctf_learned_read(bool *found, const cyc_ctf_learned *to, const char *text)
{
	int n_shells = 0, used = 0;
	cyc_ctf_widths *w = to->widths;
	double *const numbers[] = { &w->shift_A,   &w->z_input_A,   &w->z_trend_A, &w->a_input_A,
		                        &w->a_trend_A, &w->s_input,     &w->s_trend,   &w->b_A2,
		                        &w->bad_frac,  &w->self_excess, to->gauge };
	*found = false;
	if (sscanf(text, "%d\n%n", &n_shells, &used) < 1 || n_shells != to->model->n_shells) return;
	if (!strstr(text, "\nend\n")) return;
	const char *at = text + used;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) *numbers[i] = next_number(&at);
	for (int32_t r = 0; r < n_shells; r++) to->model->alpha[r] = next_number(&at);
	for (int32_t g = 0; to->aberrations && g < to->aberrations->n_groups; g++) {
		cyc_group_aberration *group = &to->aberrations->groups[g];
		group->is_learned = next_number(&at) != 0;
		for (int p = 0; p < CYC_N_PARITIES; p++) group->is_rejected[p] = next_number(&at) != 0;
		for (int p = 0; p < CYC_N_PARITIES; p++)
			for (int32_t k = 0; k < to->aberrations->basis[p].n; k++) group->theta[p][k] = next_number(&at);
	}
	if (to->aberrations) cyc_aberrations_update(to->aberrations);
	*found = true;
}
