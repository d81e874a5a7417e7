#include "cyclotomo/stacks.h"

#include "cyclotomo/tilt.h"
#include "project/labels.h"
#include "project/name_map.h"

#include <math.h>
#include <string.h>

static void free_names(char **names, int64_t n)
{
	for (int64_t i = 0; i < n && names; i++) cyc_free(names[i]);
	cyc_free(names);
}

void cyc_stacks_close(cyc_stacks **p)
{
	cyc_stacks *s = *p;
	if (!s) return;
	free_names(s->data_files, s->particles->n);
	free_names(s->weight_files, s->particles->n);
	cyc_free(s->is_premultiplied);
	cyc_free(s->n_views);
	cyc_free(s->has_all_tilts);
	cyc_free(s->has_multiplicity);
	cyc_free(s->origins_A);
	cyc_free(s->data_info);
	cyc_free(s);
	*p = NULL;
}

/* Binning, pixel size and premultiplication of the optics groups that have particles. */
static cyc_status read_optics(cyc_stacks *s)
{
	cyc_status st = CYC_OK;
	const cyc_particle_set *set = s->particles;
	cyc_star_block *b;
	bool *used = NULL, is_first = true;
	CYC_TRY(cyc_star_require(&b, set->star, "optics"));
	CYC_TRY(cyc_alloc(&s->is_premultiplied, set->n_optics, sizeof *s->is_premultiplied));
	CYC_TRY(cyc_alloc(&used, set->n_optics, sizeof *used));
	for (int64_t i = 0; i < set->n; i++) used[set->particles[i].i_optics] = true;
	for (int32_t g = 0; g < set->n_optics; g++) {
		double binning, pixel_size_A, box_px, premultiplied;
		if (!used[g]) continue;
		CYC_TRY(cyc_star_double_or(&binning, b, g, CYC_RLN_TOMO_SUBTOMOGRAM_BINNING, 1));
		CYC_TRY(cyc_star_double_or(&pixel_size_A, b, g, CYC_RLN_IMAGE_PIXEL_SIZE,
		                           binning * set->optics[g].pixel_size_A));
		CYC_TRY(cyc_star_double_of(&box_px, b, g, CYC_RLN_IMAGE_SIZE));
		CYC_TRY(cyc_star_double_of(&premultiplied, b, g, CYC_RLN_CTF_DATA_ARE_CTF_PREMULTIPLIED));
		if (!(binning > 0 && pixel_size_A > 0 && box_px >= 8 && box_px < 32768 && fmod(box_px, 2) == 0)) {
			st = cyc_star_raise(CYC_E_DATA, b, g,
			                    "binning %g, pixel size %g Å, box %g px: the first two must be positive, the "
			                    "box even and at least 8",
			                    binning, pixel_size_A, box_px);
			goto done;
		}
		if (premultiplied != 0 && premultiplied != 1) {
			st = cyc_star_raise(CYC_E_DATA, b, g, "_%s must be 0 or 1, found %g",
			                    CYC_RLN_CTF_DATA_ARE_CTF_PREMULTIPLIED, premultiplied);
			goto done;
		}
		s->is_premultiplied[g] = premultiplied != 0;
		if (is_first) {
			s->binning = binning;
			s->pixel_size_A = pixel_size_A;
			s->box_px = (int32_t)box_px;
		}
		is_first = false;
		if (s->box_px != (int32_t)box_px || fabs(s->pixel_size_A - pixel_size_A) > 1e-3 * pixel_size_A ||
		    fabs(s->binning - binning) > 1e-3 * binning) {
			st = cyc_star_raise(CYC_E_SHAPE, b, g,
			                    "images have %g px of %g Å, binned by %g, but those of the first optics "
			                    "group %d px of %g Å, binned by %g",
			                    box_px, pixel_size_A, binning, s->box_px, s->pixel_size_A, s->binning);
			cyc_error_hint("extract all particles with the same box and binning");
			goto done;
		}
	}
done:
	cyc_free(used);
	return st;
}

static cyc_status find_file(char **file, cyc_mrc_info *info, const cyc_star_block *b, int64_t row,
                            int32_t column, const char *root)
{
	cyc_status st = CYC_OK;
	const char *name = cyc_star_text(b, row, column);
	if (!name[0]) {
		st = cyc_star_raise(CYC_E_DATA, b, row, "_%s is empty", cyc_star_label(b, column));
		goto done;
	}
	CYC_TRY(cyc_mrc_join_name(file, root, name));
	st = cyc_mrc_read_info(info, *file);
	if (st == CYC_E_IO)
		cyc_error_hint("paths in STAR files are relative to the project folder: give it with --root; without "
		               "--from-stacks a box (--b) is cut from the tilt images");
	CYC_TRY(st);
done:
	return st;
}

static cyc_status open_particle(cyc_stacks *s, const cyc_star_block *b, int64_t i, int32_t data_column,
                                int32_t weight_column, const char *root)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &s->particles->particles[i];
	cyc_mrc_info *info = &s->data_info[i], weights;
	int32_t N = s->box_px, nz = N;
	CYC_TRY(find_file(&s->data_files[i], info, b, p->row, data_column, root));
	if (s->are_2d) {
		int32_t n_tilts = s->tomograms->series[p->i_series].n_tilts;
		for (int32_t f = 0; f < n_tilts; f++) s->n_views[i] += p->visible_frames[f] != 0;
		s->has_all_tilts[i] = info->nz == n_tilts;
		nz = s->has_all_tilts[i] ? n_tilts : s->n_views[i];
	}
	CYC_CHECK(info->nx == N && info->ny == N && info->nz == nz, CYC_E_SHAPE,
	          "'%s' has %d x %d x %d voxels; expected %d x %d (%s) x %d (%s%s)", s->data_files[i], info->nx,
	          info->ny, info->nz, N, N, CYC_RLN_IMAGE_SIZE, nz, s->are_2d ? "ones in " : "",
	          s->are_2d ? CYC_RLN_TOMO_VISIBLE_FRAMES : CYC_RLN_IMAGE_SIZE);
	if (s->are_2d) goto done;
	CYC_TRY(find_file(&s->weight_files[i], &weights, b, p->row, weight_column, root));
	CYC_CHECK(
		weights.nx == N / 2 + 1 && weights.ny == N && (weights.nz == 2 * N || weights.nz == N), CYC_E_SHAPE,
		"'%s' has %d x %d x %d voxels; expected %d x %d x %d, the half transform of a CTF, or twice as many "
		"slices, the second half of them multiplicities",
		s->weight_files[i], weights.nx, weights.ny, weights.nz, N / 2 + 1, N, N);
	s->has_multiplicity[i] = weights.nz == 2 * N;
done:
	return st;
}

/* Pixel sizes of headers are rounded by many programs; more than this is another one. */
static const double SAME_PIXEL_SIZE = 1e-2;

static void warn_of_headers(const cyc_stacks *s)
{
	int64_t n = 0, first = 0;
	for (int64_t i = 0; i < s->particles->n; i++) {
		double a = s->data_info[i].pixel_size_A;
		if (!(a > 0) || fabs(a / s->pixel_size_A - 1) <= SAME_PIXEL_SIZE) continue;
		if (n++ == 0) first = i;
	}
	if (n > 0)
		cyc_warn("the headers of %lld extracted images have another pixel size than the optics table of '%s' "
		         "(%.4g Å): '%s' (row %lld) has %.4g Å; that of the table is used",
		         (long long)n, s->particles->path, s->pixel_size_A, s->data_files[first],
		         (long long)s->particles->particles[first].row + 1, s->data_info[first].pixel_size_A);
}

/* Particles that no tilt shows take part in nothing; if all are such, a list was lost. */
static cyc_status check_visible(const cyc_stacks *s)
{
	cyc_status st = CYC_OK;
	int64_t n = 0, first = 0;
	for (int64_t i = 0; i < s->particles->n && s->are_2d; i++)
		if (s->n_views[i] == 0 && n++ == 0) first = i;
	if (n == 0) return CYC_OK;
	CYC_CHECK(n < s->particles->n, CYC_E_DATA,
	          "'%s': no particle is visible in any tilt: _%s is 0 throughout", s->particles->path,
	          CYC_RLN_TOMO_VISIBLE_FRAMES);
	cyc_warn("'%s': particles that are visible in no tilt take no part: %lld (_%s is 0 throughout, first in "
	         "row %lld)",
	         s->particles->path, (long long)n, CYC_RLN_TOMO_VISIBLE_FRAMES,
	         (long long)s->particles->particles[first].row + 1);
done:
	return st;
}

/* Particles with the same images: each after the first is counted again, perhaps in the other half-set. */
static cyc_status warn_of_shared_files(const cyc_stacks *s)
{
	cyc_status st = CYC_OK;
	cyc__name_map names = { 0 };
	int64_t n = 0, first[2] = { 0, 0 };
	for (int64_t i = 0; i < s->particles->n; i++) {
		int64_t found;
		CYC_TRY(cyc__name_map_add(&found, &names, s->data_files[i], i));
		if (found == i || n++ > 0) continue;
		first[0] = found;
		first[1] = i;
	}
	if (n > 0)
		cyc_warn("'%s': particles that share the images of another one: %lld (rows %lld and %lld both name "
		         "'%s'); in "
		         "two half-sets they make the resolution too optimistic",
		         s->particles->path, (long long)n, (long long)s->particles->particles[first[0]].row + 1,
		         (long long)s->particles->particles[first[1]].row + 1, s->data_files[first[0]]);
done:
	cyc__name_map_deinit(&names);
	return st;
}

/* Particles that were never extracted have no images. */
static cyc_status require_images(int32_t *column, const cyc_star_block *b)
{
	cyc_status st = cyc_star_require_column(column, b, CYC_RLN_IMAGE_NAME);
	if (st != CYC_OK) cyc_error_hint("these particles have not been extracted: run 'cyclotomo extract'");
	return st;
}

cyc_status cyc_stacks_open(cyc_stacks **out, const cyc_particle_set *particles,
                           const cyc_tomogram_set *tomograms, const char *root)
{
	cyc_status st = CYC_OK;
	cyc_stacks *s = NULL;
	cyc_star_block *b;
	int32_t data, weights = -1;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	s->particles = particles;
	s->tomograms = tomograms;
	s->are_2d = particles->are_2d_stacks;
	CYC_TRY(cyc_alloc(&s->n_views, particles->n, sizeof *s->n_views));
	CYC_TRY(cyc_alloc(&s->has_all_tilts, particles->n, sizeof *s->has_all_tilts));
	CYC_TRY(cyc_alloc(&s->has_multiplicity, particles->n, sizeof *s->has_multiplicity));
	CYC_TRY(cyc_alloc(&s->origins_A, particles->n, sizeof *s->origins_A));
	CYC_TRY(cyc_alloc(&s->data_files, particles->n, sizeof *s->data_files));
	CYC_TRY(cyc_alloc(&s->weight_files, particles->n, sizeof *s->weight_files));
	CYC_TRY(cyc_alloc(&s->data_info, particles->n, sizeof *s->data_info));
	CYC_TRY(cyc_star_require(&b, particles->star, "particles"));
	CYC_TRY(require_images(&data, b));
	CYC_TRY(read_optics(s));
	if (s->are_2d) CYC_TRY(cyc_star_require_column(&weights, b, CYC_RLN_TOMO_VISIBLE_FRAMES));
	else CYC_TRY(cyc_star_require_column(&weights, b, CYC_RLN_CTF_IMAGE));
	for (int64_t i = 0; i < particles->n; i++)
		CYC_TRY_CTX(open_particle(s, b, i, data, weights, root), "'%s': particle '%s'", particles->path,
		            particles->particles[i].name);
	CYC_TRY(check_visible(s));
	CYC_TRY(warn_of_shared_files(s));
	warn_of_headers(s);
	CYC_TRY(cyc_particle_origins(s->origins_A, particles));
	*out = s;
	s = NULL;
done:
	cyc_stacks_close(&s);
	return st;
}

cyc_status cyc_stacks_views(cyc_stack_view *views, const cyc_stacks *s, int64_t i)
{
	cyc_status st = CYC_OK;
	const cyc_particle *p = &s->particles->particles[i];
	const cyc_tilt_series *ts = &s->tomograms->series[p->i_series];
	int32_t n = 0;
	for (int32_t f = 0; f < ts->n_tilts && n < s->n_views[i]; f++) {
		cyc_projection projection = { .pixel_size_A = ts->pixel_size_A };
		if (!p->visible_frames[f]) continue;
		CYC_TRY(cyc_projection_linear(&projection.linear, ts, f));
		cyc_stack_view *v = &views[n++];
		v->i_tilt = f;
		v->R_img_part = cyc_mat3_mul(projection.linear, p->R_tomo_part);
		v->extra_defocus_A = cyc_particle_extra_defocus_A(&projection, ts, p);
		/* The offset moves data towards the reference: the particle itself lies the other way. */
		cyc_vec3 d = cyc_mat3_apply(v->R_img_part, s->origins_A[i]);
		v->shift_x_px = -d.x / s->pixel_size_A;
		v->shift_y_px = -d.y / s->pixel_size_A;
	}
done:
	return st;
}

/* An image that is listed but says nothing: it was cut outside of the tilt image, or is damaged. */
static cyc_status require_contrast(const float *image, const cyc_stacks *s, int64_t i, int32_t f)
{
	cyc_status st = CYC_OK;
	const cyc_tilt_series *ts = &s->tomograms->series[s->particles->particles[i].i_series];
	size_t pixels = (size_t)s->box_px * (size_t)s->box_px, x = 1;
	if (ts->tilts[f].scale == 0) return CYC_OK;
	while (x < pixels && image[x] == image[0]) x++;
	CYC_CHECK(x < pixels, CYC_E_DATA,
	          "'%s': the image of tilt %d (of 1 to %d) is %s everywhere, though %s lists it",
	          s->data_files[i], f + 1, ts->n_tilts, image[0] == 0 ? "zero" : "constant",
	          CYC_RLN_TOMO_VISIBLE_FRAMES);
done:
	return st;
}

cyc_status cyc_stacks_read(float *images, const cyc_stacks *s, int64_t i)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int64_t section;
	bool is_stack;
	CYC_CHECK(s->are_2d, CYC_E_INTERNAL, "the particles are volumes");
	CYC_TRY(cyc_mrc_split_name(&path, &section, &is_stack, s->data_files[i]));
	const cyc_particle *p = &s->particles->particles[i];
	for (int32_t k = 0, f = 0; k < s->n_views[i]; f++) {
		if (!p->visible_frames[f]) continue;
		float *image = images + (size_t)k * (size_t)s->box_px * (size_t)s->box_px;
		CYC_TRY(cyc_mrc_read_section(image, &s->data_info[i], path, s->has_all_tilts[i] ? f : k));
		CYC_TRY(require_contrast(image, s, i, f));
		k++;
	}
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_stacks_read_volume(float *data, float *weight, float *multiplicity, const cyc_stacks *s,
                                  int64_t i)
{
	cyc_status st = CYC_OK;
	cyc_volume *v = NULL;
	size_t n = cyc_half_count3(s->box_px);
	CYC_CHECK(!s->are_2d, CYC_E_INTERNAL, "the particles are stacks");
	CYC_TRY(cyc_mrc_read(&v, s->data_files[i]));
	CYC_CHECK(cyc_volume_is_cubic(v) && v->nx == s->box_px, CYC_E_SHAPE,
	          "'%s' has changed since it was opened", s->data_files[i]);
	memcpy(data, v->data, cyc_volume_count(v) * sizeof *data);
	cyc_volume_destroy(&v);
	CYC_TRY(cyc_mrc_read(&v, s->weight_files[i]));
	bool has_multiplicity = cyc_volume_count(v) == 2 * n;
	CYC_CHECK(has_multiplicity == s->has_multiplicity[i] && (has_multiplicity || cyc_volume_count(v) == n),
	          CYC_E_SHAPE, "'%s' has changed since it was opened", s->weight_files[i]);
	memcpy(weight, v->data, n * sizeof *weight);
	if (multiplicity && has_multiplicity) memcpy(multiplicity, v->data + n, n * sizeof *multiplicity);
done:
	cyc_volume_destroy(&v);
	return st;
}
