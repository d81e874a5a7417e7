#include "ctfrefine/sums_exchange.h"

#include "cyclotomo/ranks.h"

#include <string.h>

/* What is in front of the values of a tilt, or of one of its parts. */
typedef struct {
	int64_t n_particles;
	int32_t i_tilt; /* -1: stretch models follow, which are the last */
	int32_t is_blank, n_parts, i_optics, half;
	int32_t has_values;
} packed_head;

/* Bytes on their way: written, or only counted where there is no memory for them. */
typedef struct {
	char *bytes;
	size_t n;
} stream;

static void put(stream *to, const void *data, size_t n)
{
	if (to->bytes) memcpy(to->bytes + to->n, data, n);
	to->n += n;
}

static void put_tilt(stream *to, const cyc_tilt_sums *t, int32_t f, size_t values_bytes)
{
	const packed_head head = {
		t->n_particles, f, t->is_blank, t->n_parts, t->i_optics, t->half, t->cc != NULL
	};
	put(to, &head, sizeof head);
	if (t->cc) put(to, t->cc, values_bytes);
	for (int32_t i = 0; i < t->n_parts; i++) put_tilt(to, &t->parts[i], f, values_bytes);
}

static void put_sums(stream *to, const cyc_series_sums *sums, size_t values_bytes, int32_t n_stretch)
{
	const packed_head last = { .i_tilt = -1, .has_values = sums->stretch != NULL };
	bool is_reader = false;
	put(to, &sums->n_outside, sizeof sums->n_outside);
	for (int32_t f = 0; f < sums->n_tilts; f++) {
		if (!sums->tilts[f].cc && !sums->tilts[f].parts) continue;
		put_tilt(to, &sums->tilts[f], f, values_bytes);
		is_reader = true;
	}
	if (!is_reader || !sums->stretch) return;
	put(to, &last, sizeof last);
	put(to, sums->stretch, (size_t)n_stretch * sizeof *sums->stretch);
}

static void get(void *data, stream *from, size_t n)
{
	memcpy(data, from->bytes + from->n, n);
	from->n += n;
}

static cyc_status get_tilt(cyc_tilt_sums *t, stream *from, const packed_head *head,
                           const cyc_ctf_support *support)
{
	cyc_status st = CYC_OK;
	*t = (cyc_tilt_sums){ .n_particles = head->n_particles,
		                  .is_blank = head->is_blank != 0,
		                  .i_optics = head->i_optics,
		                  .half = head->half };
	if (head->has_values) {
		CYC_TRY(cyc_tilt_sums_create(t, (size_t)support->n));
		get(t->cc, from, CYC_N_SUMS * (size_t)support->n * sizeof *t->cc);
	}
	if (head->n_parts > 0) CYC_TRY(cyc_alloc(&t->parts, head->n_parts, sizeof *t->parts));
	for (; t->n_parts < head->n_parts; t->n_parts++) {
		packed_head part;
		get(&part, from, sizeof part);
		CYC_TRY(get_tilt(&t->parts[t->n_parts], from, &part, support));
	}
done:
	return st;
}

static cyc_status get_sums(cyc_series_sums *sums, stream *from, size_t n, const cyc_ctf_support *support,
                           int32_t n_stretch)
{
	cyc_status st = CYC_OK;
	int64_t n_outside;
	get(&n_outside, from, sizeof n_outside);
	sums->n_outside += n_outside;
	while (from->n < n) {
		packed_head head;
		get(&head, from, sizeof head);
		if (head.i_tilt >= 0) CYC_TRY(get_tilt(&sums->tilts[head.i_tilt], from, &head, support));
		else get(sums->stretch, from, (size_t)n_stretch * sizeof *sums->stretch);
	}
done:
	return st;
}

static cyc_status from_rank(int r, stream *own, size_t n, cyc_series_sums *sums,
                            const cyc_ctf_support *support, int32_t n_stretch)
{
	cyc_status st = CYC_OK;
	stream got = { 0 };
	bool is_sender = r == cyc_rank();
	if (!is_sender) CYC_TRY(cyc_alloc_(&got.bytes, n, 1, "sums of another rank"));
	CYC_TRY(cyc_ranks_broadcast(is_sender ? own->bytes : got.bytes, n, r));
	if (cyc_is_first_rank()) CYC_TRY(get_sums(sums, &got, n, support, n_stretch));
done:
	cyc_free(got.bytes);
	return st;
}

cyc_status cyc_series_sums_to_first_rank(cyc_series_sums *sums, const cyc_ctf_support *support,
                                         int32_t n_stretch)
{
	cyc_status st = CYC_OK;
	int n_ranks = cyc_ranks_in_job();
	int64_t *sizes = NULL;
	stream own = { 0 };
	size_t values_bytes = CYC_N_SUMS * (size_t)support->n * sizeof(float);
	if (n_ranks == 1) return CYC_OK;
	CYC_TRY(cyc_alloc(&sizes, n_ranks, sizeof *sizes));
	if (!cyc_is_first_rank()) {
		put_sums(&own, sums, values_bytes, n_stretch);
		sizes[cyc_rank()] = (int64_t)own.n;
		CYC_TRY(cyc_alloc_(&own.bytes, own.n, 1, "sums for rank 0"));
		own.n = 0;
		put_sums(&own, sums, values_bytes, n_stretch);
	}
	CYC_TRY(cyc_ranks_sum(sizes, (size_t)n_ranks));
	for (int r = 1; r < n_ranks; r++)
		if (sizes[r] > 0) CYC_TRY(from_rank(r, &own, (size_t)sizes[r], sums, support, n_stretch));
done:
	cyc_free(own.bytes);
	cyc_free(sizes);
	return st;
}
