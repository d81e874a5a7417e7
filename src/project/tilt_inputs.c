/* Values of tilts before any refinement: columns cycInput... of the tilt tables. */
#include "cyclotomo/project.h"

#include <string.h>

cyc_status cyc_tilt_input_get(bool *found, double *value, const cyc_tomogram_set *s, int32_t i_series,
                              int32_t i_tilt, const char *label)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t column;
	CYC_TRY(cyc_star_require(&b, s->series_star[i_series], s->series[i_series].name));
	column = cyc_star_column(b, label);
	*found = column >= 0;
	if (*found) CYC_TRY(cyc_star_double(value, b, i_tilt, column));
done:
	return st;
}

cyc_status cyc_tilt_input_keep(cyc_tomogram_set *s, int32_t i_series, const char *label, const char *of,
                               const char *otherwise)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b;
	int32_t from, to;
	char *text = NULL;
	CYC_TRY(cyc_star_require(&b, s->series_star[i_series], s->series[i_series].name));
	if (cyc_star_column(b, label) >= 0) goto done;
	CYC_TRY(cyc_star_ensure_column(&to, b, label, otherwise));
	from = cyc_star_column(b, of);
	for (int64_t row = 0; row < cyc_star_n_rows(b) && from >= 0; row++) {
		CYC_TRY(cyc_strdup(&text, cyc_star_text(b, row, from)));
		CYC_TRY(cyc_star_set_text(b, row, to, text));
		cyc_free(text);
		text = NULL;
	}
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_job_made_it(bool *yes, const char *path, const char *root, const char *type_label)
{
	cyc_status st = CYC_OK;
	char *dir = NULL, *star = NULL, *file = NULL, *text = NULL;
	size_t n = 0;
	*yes = false;
	CYC_TRY(cyc_path_dir(&dir, path));
	CYC_TRY(cyc_path_join(&star, dir, "job.star"));
	CYC_TRY(cyc_path_join(&file, root, star));
	if (!cyc_path_exists(file)) goto done;
	CYC_TRY(cyc_read_file(&text, &n, file));
	*yes = strstr(text, type_label) != NULL;
done:
	cyc_free(dir);
	cyc_free(star);
	cyc_free(file);
	cyc_free(text);
	return st;
}
