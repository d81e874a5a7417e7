#include "cyclotomo/project.h"
#include "project/labels.h"

#include <errno.h>
#include <string.h>

/* Labels and the members they fill, in the order RELION writes them. */
static const struct {
	const char *label;
	size_t offset;
} MEMBERS[] = {
	{ CYC_RLN_TOMO_PARTICLES_FILE, offsetof(cyc_optimisation_set, particles) },
	{ CYC_RLN_TOMO_TOMOGRAMS_FILE, offsetof(cyc_optimisation_set, tomograms) },
	{ CYC_RLN_TOMO_TRAJECTORIES_FILE, offsetof(cyc_optimisation_set, trajectories) },
	{ CYC_RLN_TOMO_MANIFOLDS_FILE, offsetof(cyc_optimisation_set, manifolds) },
	{ CYC_RLN_TOMO_REFERENCE_MAP1_FILE, offsetof(cyc_optimisation_set, reference_map1) },
	{ CYC_RLN_TOMO_REFERENCE_MAP2_FILE, offsetof(cyc_optimisation_set, reference_map2) },
	{ CYC_RLN_TOMO_REFERENCE_MASK_FILE, offsetof(cyc_optimisation_set, reference_mask) },
	{ CYC_RLN_TOMO_REFERENCE_FSC_FILE, offsetof(cyc_optimisation_set, reference_fsc) },
};
enum { N_MEMBERS = sizeof MEMBERS / sizeof MEMBERS[0] };

static char **member(const cyc_optimisation_set *s, int i)
{
	/* The struct is all char pointers; const goes with the caller's use. */
	return (char **)((uintptr_t)s + MEMBERS[i].offset);
}

void cyc_optimisation_set_destroy(cyc_optimisation_set **s)
{
	if (!s || !*s) return;
	for (int i = 0; i < N_MEMBERS; i++) cyc_free(*member(*s, i));
	cyc_free(*s);
	*s = NULL;
}

static cyc_status replace(char **where, const char *text)
{
	cyc_status st = CYC_OK;
	char *copy = NULL;
	CYC_TRY(cyc_strdup(&copy, text));
	cyc_free(*where);
	*where = copy;
done:
	return st;
}

/* Only the first block is read: another one that names files would be passed over. */
static cyc_status require_one_block(const cyc_star *star, const char *path)
{
	cyc_status st = CYC_OK;
	for (int32_t k = 1; k < cyc_star_n_blocks(star); k++) {
		const cyc_star_block *b = cyc_star_block_at(star, k);
		for (int i = 0; i < N_MEMBERS; i++) {
			if (cyc_star_column(b, MEMBERS[i].label) < 0) continue;
			st = cyc_error_raise(CYC_E_FORMAT, __FILE__, __LINE__, __func__,
			                     "'%s': block '%s' names files as well (_%s): only one block can be used",
			                     path, cyc_star_block_name(b), MEMBERS[i].label);
			cyc_error_hint("keep one block, with the files that belong together");
			return st;
		}
	}
	return st;
}

cyc_status cyc_optimisation_set_read(cyc_optimisation_set **out, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_optimisation_set *s = NULL;
	*out = NULL;
	CYC_TRY(cyc_star_read(&star, path));
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	/* A list without a name as RELION writes it, or the one-row table of its picker. */
	const cyc_star_block *b = cyc_star_block_at(star, 0);
	CYC_TRY(cyc_star_check_unique(b));
	CYC_TRY(require_one_block(star, path));
	CYC_CHECK(b && cyc_star_n_rows(b) == 1, CYC_E_FORMAT,
	          "'%s' is not an optimisation set: expected one block with one row, found %lld rows", path,
	          b ? (long long)cyc_star_n_rows(b) : 0LL);
	for (int i = 0; i < N_MEMBERS; i++) {
		const char *text = cyc_star_text_of(b, 0, MEMBERS[i].label);
		/* RELION's way of saying that there is none. */
		bool is_named = text && text[0] && strcmp(text, "None") != 0;
		if (is_named) CYC_TRY(replace(member(s, i), text));
	}
	if (!s->particles && !s->tomograms) {
		st = cyc_error_raise(CYC_E_FORMAT, __FILE__, __LINE__, __func__,
		                     "'%s' is not an optimisation set: it has neither _%s nor _%s", path,
		                     CYC_RLN_TOMO_PARTICLES_FILE, CYC_RLN_TOMO_TOMOGRAMS_FILE);
		cyc_error_hint("give particles and tomograms separately with --p and --t");
		goto done;
	}
	*out = s;
	s = NULL;
done:
	cyc_optimisation_set_destroy(&s);
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc_optimisation_set_write(const cyc_optimisation_set *s, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_star *star = NULL;
	cyc_star_block *b;
	CYC_TRY(cyc_star_create(&star));
	CYC_TRY(cyc_star_add_block(&b, star, "", CYC_STAR_LIST));
	for (int i = 0; i < N_MEMBERS; i++) {
		const char *text = *member(s, i);
		if (text) CYC_TRY(cyc_star_list_set_text(b, MEMBERS[i].label, text));
	}
	CYC_TRY(cyc_star_write(star, path));
done:
	cyc_star_destroy(&star);
	return st;
}

cyc_status cyc_optimisation_set_copy(cyc_optimisation_set **out, const cyc_optimisation_set *s)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *c = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&c, 1, sizeof *c));
	for (int i = 0; i < N_MEMBERS; i++) {
		if (*member(s, i)) CYC_TRY(cyc_strdup(member(c, i), *member(s, i)));
	}
	*out = c;
	c = NULL;
done:
	cyc_optimisation_set_destroy(&c);
	return st;
}

cyc_status cyc_optimisation_set_write_result(const char *root, const char *name,
                                             const cyc_optimisation_set *input, const cyc_set_changes *now)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set s = *input; /* borrows its names */
	char *path = NULL;
	const struct {
		char **name;
		const char *by;
		bool is_reference;
	} NAMES[] = { { &s.particles, now->particles, false },       { &s.tomograms, now->tomograms, false },
		          { &s.trajectories, now->trajectories, false }, { &s.reference_map1, now->half1, true },
		          { &s.reference_map2, now->half2, true },       { &s.reference_fsc, now->fsc, true } };
	for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
		if (NAMES[i].by || (NAMES[i].is_reference && !now->keeps_references))
			*NAMES[i].name = (char *)(uintptr_t)NAMES[i].by;
	if (!s.reference_mask) s.reference_mask = (char *)(uintptr_t)now->mask;
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY(cyc_optimisation_set_write(&s, path));
done:
	cyc_free(path);
	return st;
}

/* A file that only the set names has to be there, or nobody would know where its name comes from. */
static cyc_status check_named(const cyc_optimisation_set *s, const cyc_project_input *in,
                              const char *set_path)
{
	cyc_status st = CYC_OK;
	const char *const given[] = { in->particles, in->tomograms, in->trajectories };
	char *path = NULL;
	for (int i = 0; i < 3; i++) {
		const char *name = *member(s, i);
		if (!name || (given[i] && given[i][0])) continue;
		cyc_free(path);
		CYC_TRY(cyc_path_join(&path, in->root, name));
		if (cyc_path_exists(path)) continue;
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__,
		                     "cannot open '%s', which '%s' names as _%s: %s", path, set_path,
		                     MEMBERS[i].label, strerror(errno));
		cyc_error_hint("paths in STAR files are relative to the project folder: give it with --root; other "
		               "files can be given with --p, --t and --mot");
		goto done;
	}
done:
	cyc_free(path);
	return st;
}

cyc_status cyc_project_resolve(cyc_optimisation_set **out, const cyc_project_input *in)
{
	cyc_status st = CYC_OK;
	cyc_optimisation_set *s = NULL;
	char *path = NULL;
	*out = NULL;
	if (in->optimisation_set && in->optimisation_set[0]) {
		CYC_TRY(cyc_path_join(&path, in->root, in->optimisation_set));
		CYC_TRY(cyc_optimisation_set_read(&s, path));
	} else {
		CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	}
	if (in->particles && in->particles[0]) CYC_TRY(replace(&s->particles, in->particles));
	if (in->tomograms && in->tomograms[0]) CYC_TRY(replace(&s->tomograms, in->tomograms));
	if (in->trajectories && in->trajectories[0]) CYC_TRY(replace(&s->trajectories, in->trajectories));
	if (!s->particles || !s->tomograms) {
		st = cyc_error_raise(CYC_E_USAGE, __FILE__, __LINE__, __func__, "no %s file is given%s%s",
		                     s->particles ? "tomograms" : "particles", path ? ", and none is named by " : "",
		                     path ? path : "");
		cyc_error_hint("give an optimisation set (--i), or particles (--p) and tomograms (--t)");
		goto done;
	}
	if (path) CYC_TRY(check_named(s, in, path));
	*out = s;
	s = NULL;
done:
	cyc_free(path);
	cyc_optimisation_set_destroy(&s);
	return st;
}
