#include "cyclotomo/project.h"
#include "project/labels.h"

/* A document of one block as text at the end of the file. */
static cyc_status append(cyc_trajectory_file *t, const cyc_star *s)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t n;
	CYC_TRY(cyc_star_print(&text, &n, s));
	fwrite(text, 1, n, t->out.f); /* an error shows at the commit */
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_trajectory_file_open(cyc_trajectory_file *t, const char *path, int64_t n_particles)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b;
	*t = (cyc_trajectory_file){ 0 };
	CYC_TRY(cyc_star_create(&t->names));
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&b, s, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(b, CYC_RLN_PARTICLE_NUMBER, n_particles));
	CYC_TRY(cyc_star_add_block(&b, t->names, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_outfile_open(&t->out, path));
	CYC_TRY(append(t, s));
done:
	cyc_star_destroy(&s);
	return st;
}

cyc_status cyc_trajectory_file_add(cyc_trajectory_file *t, const char *name,
                                   const double (*displacement_A)[3], int32_t n_tilts)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *b;
	int32_t column[3];
	CYC_TRY(cyc_star_add_block(&b, t->names, name, CYC_STAR_TABLE)); /* refuses a second one */
	CYC_TRY(cyc_star_create(&s));
	CYC_TRY(cyc_star_add_block(&b, s, name, CYC_STAR_TABLE));
	for (int k = 0; k < 3; k++) CYC_TRY(cyc_star_ensure_column(&column[k], b, CYC_LABELS_ORIGIN[k], "0"));
	for (int32_t f = 0; f < n_tilts; f++) {
		int64_t row;
		CYC_TRY(cyc_star_add_row(&row, b));
		for (int k = 0; k < 3; k++) CYC_TRY(cyc_star_set_double(b, row, column[k], displacement_A[f][k]));
	}
	CYC_TRY(append(t, s));
done:
	cyc_star_destroy(&s);
	return st;
}

cyc_status cyc_trajectory_file_commit(cyc_trajectory_file *t)
{
	cyc_star_destroy(&t->names);
	return cyc_outfile_commit(&t->out);
}

void cyc_trajectory_file_abandon(cyc_trajectory_file *t)
{
	cyc_star_destroy(&t->names);
	cyc_outfile_abandon(&t->out);
}
