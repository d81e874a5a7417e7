/* Names of files, which of them exist already, and the STAR files, which are written last. */
#include "extract/extract_internal.h"
#include "project/labels.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

cyc_status cyc__extract_file(char **name, const cyc_extract_job *j, int64_t i, const char *suffix)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &j->particles->particles[i];
	const char *tomogram = j->tomograms->series[p->i_series].file_name;
	bool has_folder = strchr(j->particles->particles[0].name, '/') != NULL;
	char *file = NULL;
	CYC_TRY(cyc_file_path_name(&file, p->name));
	CYC_TRY(cyc_asprintf(name, "%sSubtomograms/%s%s%s%s", j->out_dir, has_folder ? "" : tomogram,
	                     has_folder ? "" : "/", file, suffix));
done:
	cyc_free(file);
	return st;
}

double cyc__extract_file_bytes(const cyc_extract_job *j, int64_t i)
{
	double c = j->crop_px, voxel = j->o->float16 ? 2 : 4;
	if (j->o->stacks) return 1024 + c * c * j->selection.n_visible[i] * voxel;
	return 2 * 1024 + (c * c * c + (c / 2 + 1) * c * 2 * c) * voxel;
}

static bool is_older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static cyc_status is_written(bool *is_there, const cyc_extract_job *j, int64_t i, const char *suffix,
                             int32_t nx, int32_t nz)
{
	cyc_status st = CYC_OK;
	char *name = NULL, *path = NULL;
	struct stat s;
	CYC_TRY(cyc__extract_file(&name, j, i, suffix));
	CYC_TRY(cyc_path_join(&path, j->root, name));
	*is_there = stat(path, &s) == 0 && !is_older(&s.st_mtim, &j->begun) &&
	            cyc_mrc_is_sealed(path, nx, j->crop_px, nz, j->o->float16 ? 12 : 2, j->label);
done:
	cyc_free(name);
	cyc_free(path);
	return st;
}

cyc_status cyc__extract_find_done(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	int32_t c = j->crop_px;
	for (int64_t i = 0; i < j->particles->n; i++) {
		bool data = false, weights = false;
		if (!j->selection.is_kept[i]) continue;
		if (j->o->stacks) {
			CYC_TRY(is_written(&data, j, i, CYC__SUFFIX_STACK, c, j->selection.n_visible[i]));
			weights = data;
		} else {
			CYC_TRY(is_written(&data, j, i, CYC__SUFFIX_DATA, c, c));
			if (data) CYC_TRY(is_written(&weights, j, i, CYC__SUFFIX_WEIGHTS, c / 2 + 1, 2 * c));
		}
		j->is_done[i] = data && weights;
		j->result->n_kept += j->is_done[i];
	}
done:
	return st;
}

/* ---------------------------------------------------------------- particles.star */

static cyc_status set_optics(cyc_star_block *b, const cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	const cyc_extract_options *o = j->o;
	for (int64_t g = 0; g < cyc_star_n_rows(b); g++) {
		double pixel_size_A;
		/* The tomograms and the optics table agree in this, or the particles could not have been read. */
		CYC_TRY(cyc_star_double_or(&pixel_size_A, b, g, CYC_RLN_TOMO_TILT_SERIES_PIXEL_SIZE,
		                           j->box.pixel_size_A / o->binning));
		/* Volumes carry their weights with them; stacks of --no-ctf do not have any. */
		CYC_TRY(cyc_label_put(b, g, CYC_RLN_CTF_DATA_ARE_CTF_PREMULTIPLIED, !(o->stacks && o->no_ctf)));
		CYC_TRY(cyc_label_put(b, g, CYC_RLN_IMAGE_DIMENSIONALITY, o->stacks ? 2 : 3));
		CYC_TRY(cyc_label_put(b, g, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, o->binning));
		CYC_TRY(cyc_label_put(b, g, CYC_RLN_IMAGE_PIXEL_SIZE, o->binning * pixel_size_A));
		CYC_TRY(cyc_label_put(b, g, CYC_RLN_IMAGE_SIZE, j->crop_px));
	}
done:
	return st;
}

/* Coordinates at which the particle was cut out, and the remaining offset and orientation. */
static cyc_status set_pose(cyc_star_block *b, const cyc_particle *p, const cyc_extract_options *o)
{
	cyc_status st = CYC_OK;
	static const double NONE[3] = { 0 };
	const double place[3] = { p->position_A.x, p->position_A.y, p->position_A.z };
	CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_CENTRED, place));
	if (!o->keep_offsets) CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_ORIGIN, NONE));
	if (o->apply_orientations) {
		double angle[3];
		cyc_euler_from_matrix(&angle[0], &angle[1], &angle[2], p->R_tomo_ref);
		CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_SUBTOMOGRAM, angle));
		CYC_TRY(cyc_label_put_three(b, p->row, CYC_LABELS_ANGLE, NONE));
	}
done:
	return st;
}

static cyc_status set_files(cyc_star_block *b, const cyc_extract_job *j, int64_t i, char *flags)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &j->particles->particles[i];
	char *name = NULL;
	CYC_TRY(cyc__extract_file(&name, j, i, j->o->stacks ? CYC__SUFFIX_STACK : CYC__SUFFIX_DATA));
	CYC_TRY(cyc_label_put_text(b, p->row, CYC_RLN_IMAGE_NAME, name));
	if (j->o->stacks) {
		const uint8_t *visible = cyc__visible(&j->selection, i);
		char *at = flags;
		for (int32_t f = 0; f < j->tomograms->series[p->i_series].n_tilts; f++) {
			*at++ = f ? ',' : '[';
			*at++ = visible[f] ? '1' : '0';
		}
		strcpy(at, "]");
		CYC_TRY(cyc_label_put_text(b, p->row, CYC_RLN_TOMO_VISIBLE_FRAMES, flags));
	} else {
		cyc_free(name);
		name = NULL;
		CYC_TRY(cyc__extract_file(&name, j, i, CYC__SUFFIX_WEIGHTS));
		CYC_TRY(cyc_label_put_text(b, p->row, CYC_RLN_CTF_IMAGE, name));
	}
done:
	cyc_free(name);
	return st;
}

/* A document with the blocks of the input, `general` first. */
static cyc_status with_general(cyc_star **out, const cyc_star *from, bool are_2d_stacks)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	cyc_star_block *general, *b;
	CYC_TRY(cyc_star_create(&s));
	b = cyc_star_find(from, "general");
	if (b) CYC_TRY(cyc_star_add_copy(&general, s, b));
	else CYC_TRY(cyc_star_add_block(&general, s, "general", CYC_STAR_LIST));
	CYC_TRY(cyc_star_list_set_int(general, CYC_RLN_TOMO_SUB_TOMOS_ARE_2D_STACKS, are_2d_stacks));
	for (int32_t i = 0; i < cyc_star_n_blocks(from); i++) {
		const cyc_star_block *block = cyc_star_block_at(from, i);
		if (block == b || strcmp(cyc_star_block_name(block), "optics") != 0) continue;
		CYC_TRY(cyc_star_add_copy(&general, s, block));
	}
	for (int32_t i = 0; i < cyc_star_n_blocks(from); i++) {
		const cyc_star_block *block = cyc_star_block_at(from, i);
		if (block == b || strcmp(cyc_star_block_name(block), "optics") == 0) continue;
		CYC_TRY(cyc_star_add_copy(&general, s, block));
	}
	*out = s;
	s = NULL;
done:
	cyc_star_destroy(&s);
	return st;
}

static cyc_status write_particles(cyc_extract_job *j, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_particle_set *set = j->particles;
	cyc_star *s = NULL;
	cyc_star_block *b;
	char *flags = NULL;
	int32_t n_tilts = 0;
	for (int32_t i = 0; i < j->tomograms->n_series; i++)
		if (j->tomograms->series[i].n_tilts > n_tilts) n_tilts = j->tomograms->series[i].n_tilts;
	CYC_TRY(cyc_alloc(&flags, 2 * (size_t)n_tilts + 4, 1));
	CYC_TRY(cyc_star_require(&b, set->star, "optics"));
	CYC_TRY(set_optics(b, j));
	CYC_TRY(cyc_star_require(&b, set->star, "particles"));
	for (int k = 0; k < 3; k++) cyc_star_remove_column(b, CYC_LABELS_COORDINATE[k]);
	cyc_star_remove_column(b, j->o->stacks ? CYC_RLN_CTF_IMAGE : CYC_RLN_TOMO_VISIBLE_FRAMES);
	for (int64_t i = 0; i < set->n; i++) {
		if (!j->selection.is_kept[i]) continue;
		CYC_TRY(set_pose(b, &set->particles[i], j->o));
		CYC_TRY(set_files(b, j, i, flags));
	}
	CYC_TRY(with_general(&s, set->star, j->o->stacks));
	cyc_star *old = set->star;
	set->star = s;
	st = cyc_particle_set_write(set, j->selection.is_kept, path);
	set->star = old;
	CYC_TRY(st);
done:
	cyc_free(flags);
	cyc_star_destroy(&s);
	return st;
}

static cyc_status named(char **relative, char **path, const cyc_extract_job *j, const char *name)
{
	cyc_status st = CYC_OK;
	CYC_TRY(cyc_asprintf(relative, "%s%s", j->out_dir, name));
	cyc_free(*path);
	*path = NULL;
	CYC_TRY(cyc_path_join(path, j->root, *relative));
done:
	return st;
}

/* The notes of parts are not needed any more once all particles exist. */
static cyc_status forget_parts(const cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(cyc_parts_forget(j->out));
	CYC_TRY(cyc_path_join(&path, j->out, "temp"));
	rmdir(path); /* stays if something else is in it */
done:
	cyc_free(path);
	return st;
}

cyc_status cyc__extract_write_stars(cyc_extract_job *j)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	CYC_TRY(named(&j->result->particles, &path, j, "particles.star"));
	CYC_TRY(write_particles(j, path));
	const char *motion = j->input->trajectories;
	if (motion && motion[0] && j->selection.n_kept < j->particles->n) {
		CYC_TRY(named(&j->result->trajectories, &path, j, "motion.star"));
		CYC_TRY(cyc_trajectories_write(j->particles, j->tomograms, j->selection.is_kept, path));
	}
	/* Half maps, mask and FSC stay: where the particles are has not changed. Last: its being there says that
	 * all is. */
	const cyc_set_changes now = { .particles = j->result->particles,
		                          .trajectories = j->result->trajectories,
		                          .keeps_references = true };
	CYC_TRY(forget_parts(j));
	CYC_TRY(cyc_asprintf(&j->result->optimisation_set, "%soptimisation_set.star", j->out_dir));
	CYC_TRY(cyc_optimisation_set_write_result(j->root, j->result->optimisation_set, j->input, &now));
done:
	cyc_free(path);
	return st;
}
