/* Chooses a backend, owns its buffers, checks sizes, and opens guarded memory around each operation. */
#include "backends/backend.h"
#include "backends/cuda/loader.h"
#include "backends/device/device.h"
#include "backends/emulate/emulate.h"
#include "backends/trial.h"
#include "cyclotomo/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cyc_backend {
	struct cyc_backend_ops ops;
	void *self;
	int n_threads;
	bool is_device;     /* it has memory of its own */
	size_t batch_bytes; /* of images at one time */
	double spare_bytes; /* what a device has besides */
	bool is_uncounted;  /* by the profile */
};

struct cyc_buffer {
	cyc_backend *be;
	void *address, *host;                     /* host: NULL, or where the mapped part is */
	size_t bytes, mapped_first, mapped_bytes; /* of all, and of the mapped part */
	bool is_shown;                            /* address is the caller's */
};

/* ---------------------------------------------------------------- which there are */

typedef cyc_status (*creator)(void **self, int n_threads, const char *options);
typedef struct {
	const char *name, *bits; /* bits: the backend that gives the same */
	const struct cyc_backend_ops *ops;
	creator create; /* NULL: that of ops */
} row;
static const row ALL[] = {
	{ "cpu", "cpu", &cyc_backend_cpu, NULL },
	{ "strict", "cpu", &cyc_backend_strict, NULL },
	{ "emulate", "cpu", &cyc__device_ops, cyc__emulate_create },
	{ "cuda", "cuda", &cyc__device_ops, cyc__cuda_create },
};
enum { N_BACKENDS = sizeof ALL / sizeof *ALL };

/* The row of a name, which ends at a colon; options stand behind it. NULL: none of this name. */
static const row *find(const char *name, const char **options)
{
	size_t length = strcspn(name, ":");
	*options = name[length] ? name + length + 1 : "";
	for (int i = 0; i < N_BACKENDS; i++)
		if (strlen(ALL[i].name) == length && strncmp(ALL[i].name, name, length) == 0) return &ALL[i];
	return NULL;
}

static int g_place; /* of this process among those of its machine */
void cyc_backend_set_place(int place) { g_place = place; }

/* Of a list that is separated by commas, the item of this process; the list is repeated. */
static cyc_status own_item(char *item, size_t size, const char *list)
{
	cyc_status st = CYC_OK;
	int n = cyc_backend_n_devices(list), i = g_place % n;
	for (; i > 0; i--) list += strcspn(list, ",") + 1;
	size_t length = strcspn(list, ",");
	CYC_CHECK(length < size && (length > 0 || n == 1), CYC_E_USAGE,
	          "a list of devices is numbers that are separated by commas, as in cuda:0,2");
	memcpy(item, list, length);
	item[length] = '\0';
done:
	return st;
}

/* Tests are run with another backend under the name of cpu, whose bits strict and emulate have. */
static const char *stand_in(const char *name)
{
	const char *other = getenv("CYCLOTOMO_CPU_BACKEND");
	return strcmp(name, "cpu") == 0 && other && other[0] ? other : name;
}

static cyc_status create(cyc_backend *be, const char *name)
{
	cyc_status st = CYC_OK;
	const char *options, *shown;
	char own[32];
	const row *r = find(stand_in(name), &options);
	CYC_CHECK(
		r, CYC_E_DEVICE,
		"there is no compute backend '%s' in this program; it has cpu, cuda, auto, and strict and emulate "
		"for tests",
		name);
	CYC_CHECK(!options[0] || r->create, CYC_E_USAGE, "the backend %s has no options: '%s'", r->name, name);
	shown = stand_in(name) == name ? r->name : "cpu";
	be->ops = *r->ops;
	be->ops.name = shown;
	if (r->create) be->ops.create = r->create;
	CYC_TRY(own_item(own, sizeof own, options));
	/* Where processes share a machine and no numbers are given, each has the next device. */
	if (!own[0] && g_place > 0 && r->ops == &cyc__device_ops) snprintf(own, sizeof own, "next:%d", g_place);
	CYC_TRY(be->ops.create(&be->self, be->n_threads, own));
	be->is_device = r->ops == &cyc__device_ops;
	if (strcmp(r->name, "cuda") == 0) cyc_profile_set_device(cyc__device_name(be->self));
	else cyc_profile_set_device(shown);
done:
	return st;
}

/* "auto" has found a device that a job cannot use: from then on it is the cpu in this process, so that keys
 * and results agree. */
static bool g_auto_is_cpu;

/* "auto": a GPU if there is one that can be used. Without a plug-in nothing is said. */
static cyc_status create_any(cyc_backend *be, bool is_quiet)
{
	if (g_auto_is_cpu) return create(be, "cpu");
	cyc_status st = create(be, "cuda");
	if (st == CYC_OK || st == CYC_E_NOMEM) return st;
	if (cyc__cuda_is_installed() && !is_quiet)
		cyc_info("Computing on the processor: %s", cyc_error_get()->message);
	cyc_error_clear();
	return create(be, "cpu");
}

static cyc_status open_backend(cyc_backend **out, const char *name, int n_threads, bool is_quiet)
{
	cyc_status st = CYC_OK;
	cyc_backend *be = NULL;
	*out = NULL;
	if (!name || !name[0]) name = "cpu";
	CYC_TRY(cyc_alloc(&be, 1, sizeof *be));
	be->n_threads = n_threads < 1 ? 1 : n_threads;
	be->batch_bytes = CYC_BATCH_BYTES;
	be->spare_bytes = HUGE_VAL;
	if (strcmp(name, "auto") == 0) CYC_TRY(create_any(be, is_quiet));
	else CYC_TRY(create(be, name));
	*out = be;
	be = NULL;
done:
	cyc_backend_close(&be);
	return st;
}

cyc_status cyc_backend_open(cyc_backend **out, const char *name, int n_threads)
{
	cyc_status st = CYC_OK;
	CYC_TRY(open_backend(out, name, n_threads, false));
	if (strcmp((*out)->ops.name, "cuda") == 0) cyc_info("Computing on %s", cyc__device_name((*out)->self));
done:
	return st;
}

/* ---------------------------------------------------------------- for a job */

/* Of what is free: pieces do not fill memory to the end, and cuFFT has tables. */
static const double USABLE = 0.9;
enum { LEAST_BATCH_BYTES = 1 << 20 };

/* Batches as large as the memory of the device allows. @param[out] needed  bytes */
static cyc_status fit(double *needed, cyc_backend *be, const cyc_device_plan *plan, size_t least_batch_bytes)
{
	cyc_status st = CYC_OK;
	double room, bytes;
	CYC_TRY(cyc__device_room(&room, be->self));
	for (bytes = plan->bytes(plan->job, be->batch_bytes);
	     bytes > USABLE * room && be->batch_bytes > least_batch_bytes;
	     bytes = plan->bytes(plan->job, be->batch_bytes))
		be->batch_bytes /= 2;
	if (bytes > USABLE * room) {
		cyc_error_raise(CYC_E_DEVICE_NOMEM, __FILE__, __LINE__, __func__,
		                "about %.3g GB of memory are needed on %s", bytes / 1e9, cyc__device_name(be->self));
		cyc_error_hint("%s; '--backend cpu' takes the host's memory", plan->less);
		st = CYC_E_DEVICE_NOMEM;
		goto done;
	}
	be->spare_bytes = USABLE * room - bytes;
	*needed = bytes + fmin(plan->more_bytes, be->spare_bytes);
done:
	return st;
}

static void say(const cyc_backend *be, const cyc_device_plan *plan, double needed)
{
	const char *name = cyc__device_name(be->self);
	if (plan->is_least || strcmp(be->ops.name, "cpu") == 0) return; /* a stand-in says nothing of itself */
	if (be->batch_bytes < CYC_BATCH_BYTES)
		cyc_info("Computing on %s: about %.3g GB are needed there, with batches of %zu MB", name,
		         needed / 1e9, be->batch_bytes >> 20);
	else cyc_info("Computing on %s: about %.3g GB are needed there", name, needed / 1e9);
}

void cyc__backend_count(cyc_backend *be, bool is_counted) { be->is_uncounted = !is_counted; }

/* A GPU that has passed is not tried again in this process. */
static cyc_status try_once(cyc_backend *be, const char *name)
{
	static char passed[64];
	if (strcmp(be->ops.name, "cuda") != 0 || strcmp(name, passed) == 0) return CYC_OK;
	cyc_status st = cyc__backend_try(be, cyc__device_name(be->self));
	cyc_profile_set_device(cyc__device_name(be->self)); /* and not the cpu, which it was compared with */
	if (st == CYC_OK) snprintf(passed, sizeof passed, "%s", name);
	return st;
}

cyc_status cyc_backend_open_for(cyc_backend **out, const char *name, int n_threads,
                                const cyc_device_plan *plan)
{
	cyc_status st = CYC_OK;
	if (!name || !name[0]) name = "cpu";
	CYC_TRY(open_backend(out, name, n_threads, false));
	if (!(*out)->is_device) goto done;
	double needed = 0;
	st = fit(&needed, *out, plan, LEAST_BATCH_BYTES);
	if (st == CYC_OK) st = try_once(*out, name);
	if (st == CYC_OK) say(*out, plan, needed);
	bool is_unusable = st == CYC_E_DEVICE_NOMEM || st == CYC_E_DEVICE || st == CYC_E_UNSUPPORTED;
	if (!is_unusable || strcmp(name, "auto") != 0) goto done;
	cyc_info("Computing on the processor: %s", cyc_error_get()->message);
	cyc_error_clear();
	cyc_backend_close(out);
	g_auto_is_cpu = true;
	CYC_TRY(open_backend(out, "cpu", n_threads, false));
done:
	if (st != CYC_OK) cyc_backend_close(out);
	return st;
}

cyc_status cyc_backend_fit(cyc_backend *be, const cyc_device_plan *plan)
{
	cyc_status st = CYC_OK;
	double needed;
	if (!be->is_device) goto done;
	CYC_TRY(fit(&needed, be, plan, be->batch_bytes));
	say(be, plan, needed);
done:
	return st;
}

size_t cyc_backend_batch_bytes(const cyc_backend *be) { return be->batch_bytes; }
double cyc_backend_spare_bytes(const cyc_backend *be) { return be->spare_bytes; }

int cyc_backend_n_devices(const char *name)
{
	int n = 1;
	for (; name && *name; name++) n += *name == ',';
	return n;
}

cyc_status cyc_backend_check(const char *name)
{
	cyc_status st = CYC_OK;
	cyc_backend *be = NULL;
	int place = g_place, n = cyc_backend_n_devices(name);
	for (int i = 0; i < n; i++) {
		if (n > 1) g_place = i;
		CYC_TRY(open_backend(&be, name, 1, true));
		cyc_backend_close(&be);
	}
done:
	g_place = place;
	cyc_backend_close(&be);
	return st;
}

const char *cyc_backend_bits(const char *name)
{
	const char *options;
	cyc_backend *be = NULL;
	if (!name || !name[0]) return "cpu";
	if (strcmp(name, "auto") == 0 && open_backend(&be, name, 1, true) == CYC_OK) name = be->ops.name;
	const row *r = find(name, &options);
	cyc_backend_close(&be);
	return r ? r->bits : name;
}

void cyc_backend_close(cyc_backend **be)
{
	if (!*be) return;
	if ((*be)->self && (*be)->is_device) cyc_profile_add_device_bytes(cyc__device_peak_bytes((*be)->self));
	if ((*be)->self) (*be)->ops.destroy((*be)->self);
	cyc_free(*be);
	*be = NULL;
}

const char *cyc_backend_name(const cyc_backend *be) { return be->ops.name; }
int cyc_backend_n_threads(const cyc_backend *be) { return be->n_threads; }

cyc_status cyc_buffer_create(cyc_buffer **out, cyc_backend *be, size_t n, size_t size)
{
	cyc_status st = CYC_OK;
	cyc_buffer *b = NULL;
	*out = NULL;
	CYC_CHECK(size > 0 && n <= SIZE_MAX / 2 / size, CYC_E_NOMEM, "cannot allocate %zu x %zu bytes", n, size);
	CYC_TRY(cyc_alloc(&b, 1, sizeof *b));
	b->be = be;
	b->bytes = n > 0 ? n * size : 1;
	CYC_TRY(be->ops.alloc(be->self, &b->address, b->bytes));
	*out = b;
	b = NULL;
done:
	cyc_buffer_destroy(&b);
	return st;
}

/* Where the mapped part begins, for the backend. */
static void *mapped_address(const cyc_buffer *b) { return (char *)b->address + b->mapped_first; }

static cyc_status map_copy(cyc_buffer *b, bool is_discarded)
{
	cyc_status st = CYC_OK;
	void *host = NULL;
	CYC_TRY(cyc_alloc_(&host, b->mapped_bytes, 1, "a copy of device memory"));
	if (!is_discarded) CYC_TRY(b->be->ops.download(b->be->self, host, mapped_address(b), b->mapped_bytes));
	b->host = host;
	host = NULL;
done:
	cyc_free(host);
	return st;
}

static cyc_status map(void *host_out, cyc_buffer *b, size_t first, size_t n_bytes, bool is_discarded)
{
	cyc_status st = CYC_OK;
	const struct cyc_backend_ops *ops = &b->be->ops;
	CYC_CHECK(!b->host, CYC_E_INTERNAL, "a buffer is mapped twice");
	CYC_CHECK(n_bytes > 0 && n_bytes <= b->bytes && first <= b->bytes - n_bytes, CYC_E_INTERNAL,
	          "bytes %zu to %zu of a buffer of %zu", first, first + n_bytes, b->bytes);
	b->mapped_first = first;
	b->mapped_bytes = n_bytes;
	if (ops->map) CYC_TRY(ops->map(b->be->self, &b->host, mapped_address(b), n_bytes, is_discarded));
	else CYC_TRY(map_copy(b, is_discarded));
	memcpy(host_out, &b->host, sizeof b->host);
done:
	return st;
}

static cyc_status unmap(cyc_buffer *b)
{
	const struct cyc_backend_ops *ops = &b->be->ops;
	void *host = b->host;
	b->host = NULL;
	if (ops->unmap) return ops->unmap(b->be->self, host, mapped_address(b), b->mapped_bytes);
	cyc_status st = ops->upload(b->be->self, mapped_address(b), host, b->mapped_bytes);
	cyc_free(host);
	return st;
}

void cyc_buffer_destroy(cyc_buffer **b)
{
	if (!*b) return;
	cyc_buffer *p = *b;
	if (p->host) (void)unmap(p);
	if (p->address && !p->is_shown) p->be->ops.free(p->be->self, p->address, p->bytes);
	cyc_free(p);
	*b = NULL;
}

size_t cyc_buffer_bytes(const cyc_buffer *b) { return b->bytes; }

cyc_status cyc_buffer_upload(cyc_buffer *b, const void *host, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(n_bytes <= b->bytes && !b->host, CYC_E_INTERNAL, "upload of %zu bytes to a%s buffer of %zu",
	          n_bytes, b->host ? " mapped" : "", b->bytes);
	CYC_TRY(b->be->ops.upload(b->be->self, b->address, host, n_bytes));
done:
	return st;
}

cyc_status cyc_buffer_show(cyc_buffer **b, cyc_backend *be, void *host, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	if (be->ops.uses_host_memory) {
		cyc_buffer_destroy(b);
		CYC_TRY(cyc_alloc(b, 1, sizeof **b));
		**b = (cyc_buffer){ .be = be, .address = host, .bytes = n_bytes, .is_shown = true };
		goto done;
	}
	if (*b && (*b)->bytes < n_bytes) cyc_buffer_destroy(b);
	if (!*b) CYC_TRY(cyc_buffer_create(b, be, n_bytes, 1));
	CYC_TRY(cyc_buffer_upload(*b, host, n_bytes));
done:
	return st;
}

cyc_status cyc_buffer_download(void *host, const cyc_buffer *b, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(n_bytes <= b->bytes && !b->host, CYC_E_INTERNAL, "download of %zu bytes from a%s buffer of %zu",
	          n_bytes, b->host ? " mapped" : "", b->bytes);
	CYC_TRY(b->be->ops.download(b->be->self, host, b->address, n_bytes));
done:
	return st;
}

cyc_status cyc_buffer_map(void *host_out, cyc_buffer *b) { return map(host_out, b, 0, b->bytes, false); }
cyc_status cyc_buffer_map_part(void *host_out, cyc_buffer *b, size_t first, size_t n_bytes)
{
	return map(host_out, b, first, n_bytes, false);
}
cyc_status cyc_buffer_map_discard(void *host_out, cyc_buffer *b)
{
	return map(host_out, b, 0, b->bytes, true);
}

cyc_status cyc_buffer_unmap(cyc_buffer *b)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(b->host, CYC_E_INTERNAL, "a buffer is unmapped that was not mapped");
	CYC_TRY(unmap(b));
done:
	return st;
}

/* ---------------------------------------------------------------- circle crop */

double cyc_circle_crop_weight(int32_t box_px, double r_px)
{
	double R = 0.5 * box_px;
	if (r_px >= R) return 0;
	return r_px < R - CYC_CIRCLE_EDGE_PX ? 1 : 0.5 - 0.5 * cos(CYC_PI * (R - r_px) / CYC_CIRCLE_EDGE_PX);
}

double cyc_circle_crop_power(int32_t box_px)
{
	double sum = 0;
	for (int32_t y = 0; y < box_px; y++)
		for (int32_t x = 0; x < box_px; x++)
			sum += cyc_square(cyc_circle_crop_weight(box_px, hypot(x - 0.5 * box_px, y - 0.5 * box_px)));
	return sum / ((double)box_px * box_px);
}

/* ---------------------------------------------------------------- operations */

enum { MAX_ARGUMENTS = 24 };
typedef struct {
	const cyc_buffer *buffers[MAX_ARGUMENTS];
	size_t needed[MAX_ARGUMENTS];
	int n;
	int64_t rows; /* of the profile: particle images, or maps */
	double work;  /* nominal operations, see profile.h */
} argument_list;

static void argument(argument_list *l, const cyc_buffer *b, size_t count, size_t size)
{
	if (!b) return;
	/* One too many is counted, not kept: begin() refuses the call. */
	if (l->n < MAX_ARGUMENTS) {
		l->buffers[l->n] = b;
		l->needed[l->n] = count * size;
	}
	l->n++;
}

static void guard(cyc_backend *be, const argument_list *l, bool is_entering)
{
	void (*f)(void *, void *, size_t) = is_entering ? be->ops.enter : be->ops.leave;
	for (int i = 0; f && i < l->n; i++) f(be->self, l->buffers[i]->address, l->buffers[i]->bytes);
}

static cyc_status begin(cyc_backend *be, const argument_list *l)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(l->n <= MAX_ARGUMENTS, CYC_E_INTERNAL, "an operation with %d arguments, there is room for %d",
	          l->n, MAX_ARGUMENTS);
	for (int i = 0; i < l->n; i++) {
		const cyc_buffer *b = l->buffers[i];
		CYC_CHECK(b->be == be && !b->host, CYC_E_INTERNAL, "argument %d is %s", i,
		          b->host ? "mapped" : "of another backend");
		CYC_CHECK(l->needed[i] <= b->bytes, CYC_E_INTERNAL, "argument %d has %zu bytes, %zu are needed", i,
		          b->bytes, l->needed[i]);
	}
	guard(be, l, true);
done:
	return st;
}

const void *cyc_buffer_address(const cyc_buffer *b) { return b ? b->address : NULL; }

/* What a call took, under the operation's name without its prefix. */
static void note(const char *function, const argument_list *l, double start_s, bool is_uncounted)
{
	cyc_profile_row call = { .name = function + strlen("cyc_op_"),
		                     .rows = l->rows,
		                     .seconds = cyc_clock_s() - start_s,
		                     .work = l->work };
	for (int i = 0; i < l->n; i++) call.bytes += (double)l->needed[i];
	if (!is_uncounted) cyc_profile_add(&call);
}

/* The body of every operation: check, open, call, close, count. */
#define OPERATE(call)                                                                                        \
	do {                                                                                                     \
		double start_s = cyc_clock_s();                                                                      \
		CYC_TRY(begin(be, &l));                                                                              \
		st = (call);                                                                                         \
		if (st == CYC_OK && be->ops.finish) st = be->ops.finish(be->self);                                   \
		guard(be, &l, false);                                                                                \
		if (st != CYC_OK) cyc_error_frame(st, __FILE__, __LINE__, __func__);                                 \
		note(__func__, &l, start_s, be->is_uncounted);                                                       \
	} while (0)

/* Nominal operations of a real transform of n values, of the coefficients of n half discs of a radius, and of
 * the two layers of voxels of a half ball that a slice of that radius meets. */
static double transform_work(double n) { return 2.5 * n * log2(n); }
static double disc(double n, double radius) { return 0.5 * n * CYC_PI * radius * radius; }
static double slab(double n, double radius) { return 2 * disc(n, radius); }
enum {
	SINE_WORK = 10,
	COMPLEX_PRODUCT = 6,
	TRILINEAR_WORK = 7 * 4,
	BILINEAR_WORK = 3 * 3 * 3,
	POSE_WORK = 220
};

cyc_status cyc_op_window(cyc_buffer *ft, cyc_backend *be, const cyc_buffer *image, int32_t nx, int32_t ny,
                         const double *at_px, int32_t n, const cyc_window_spec *spec)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	CYC_CHECK(spec->box_px > 1 && spec->box_px % 2 == 0 && spec->box_binned > 1 &&
	              spec->box_binned % 2 == 0 && spec->box_binned <= spec->box_px,
	          CYC_E_SHAPE, "window of %d px binned to %d px: both must be even, the second not larger",
	          spec->box_px, spec->box_binned);
	CYC_CHECK(spec->n_rows >= 0 && spec->n_rows <= spec->box_px && spec->n_rows % 2 == 0, CYC_E_SHAPE,
	          "%d rows of a window of %d px are not zero: an even number, not above the edge, was wanted",
	          spec->n_rows, spec->box_px);
	argument(&l, ft, (size_t)n * cyc_half_count2(spec->box_binned), sizeof(cyc_cfloat));
	argument(&l, image, (size_t)nx * (size_t)ny, sizeof(float));
	l.rows = n;
	l.work = n * transform_work(cyc_square((double)spec->box_px));
	OPERATE(be->ops.window(be->self, ft->address, cyc_buffer_address(image), nx, ny, at_px, n, spec));
done:
	return st;
}

cyc_status cyc_op_ctf(cyc_buffer *ctf, cyc_buffer *quadrature, cyc_backend *be, const cyc_ctf_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	size_t plane = cyc_half_count2(in->s);
	argument(&l, ctf, (size_t)in->n * plane, sizeof(float));
	argument(&l, quadrature, (size_t)in->n * plane, sizeof(float));
	argument(&l, in->turns, plane, sizeof(float));
	argument(&l, in->envelope, plane, sizeof(float));
	argument(&l, in->k2, plane, sizeof(float));
	l.rows = in->n;
	l.work = 2.0 * SINE_WORK * in->n * (double)plane;
	OPERATE(be->ops.ctf(be->self, ctf->address, quadrature ? quadrature->address : NULL, in));
done:
	return st;
}

cyc_status cyc_op_modulate(cyc_buffer *packed, cyc_backend *be, const cyc_modulate_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	size_t plane = cyc_half_count2(in->s);
	argument(&l, packed, (size_t)(in->first + in->n) * cyc_packed_count(in->s), sizeof(float));
	argument(&l, in->ft, (size_t)in->n * plane, sizeof(cyc_cfloat));
	argument(&l, in->ctf, (size_t)in->n * plane, sizeof(float));
	argument(&l, in->phase, plane, sizeof(cyc_cfloat));
	argument(&l, in->whiten, plane, sizeof(float));
	l.rows = in->n;
	l.work = 2.0 * COMPLEX_PRODUCT * in->n * (double)plane;
	OPERATE(be->ops.modulate(be->self, packed->address, in));
done:
	return st;
}

cyc_status cyc_op_particle_image(cyc_buffer *images, cyc_backend *be, const cyc_buffer *ft,
                                 const cyc_buffer *ctf, const cyc_buffer *phase, const cyc_buffer *whiten,
                                 const cyc_particle_image_spec *spec, int32_t n)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	int32_t s = spec->box_binned, c = spec->circle_px, edge = spec->edge_px;
	size_t plane = cyc_half_count2(s);
	CYC_CHECK(s > 1 && c > 1 && s % 2 == 0 && c % 2 == 0 && c <= s && (edge == c || edge == s), CYC_E_SHAPE,
	          "images of %d px with a circle of %d px from a box of %d px", edge, c, s);
	argument(&l, images, (size_t)n * (size_t)edge * (size_t)edge, sizeof(float));
	argument(&l, ft, (size_t)n * plane, sizeof(cyc_cfloat));
	argument(&l, ctf, (size_t)n * plane, sizeof(float));
	argument(&l, phase, plane, sizeof(cyc_cfloat));
	argument(&l, whiten, plane, sizeof(float));
	l.rows = n;
	l.work = n * (transform_work(cyc_square((double)s)) + 2.0 * COMPLEX_PRODUCT * (double)plane);
	OPERATE(be->ops.particle_image(be->self, images->address, cyc_buffer_address(ft), cyc_buffer_address(ctf),
	                               cyc_buffer_address(phase), cyc_buffer_address(whiten), spec, n));
done:
	return st;
}

cyc_status cyc_op_pack(cyc_buffer *packed, cyc_backend *be, const cyc_pack_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	size_t plane = cyc_half_count2(in->s);
	argument(&l, packed, (size_t)(in->first + in->n) * cyc_packed_count(in->s), sizeof(float));
	argument(&l, in->ft, (size_t)in->n * plane, sizeof(cyc_cfloat));
	argument(&l, in->ctf, (size_t)in->n * plane, sizeof(float));
	argument(&l, in->share, plane, sizeof(float));
	argument(&l, in->rest, plane, sizeof(float));
	l.rows = in->n;
	l.work = 1.0 * COMPLEX_PRODUCT * in->n * (double)plane;
	OPERATE(be->ops.pack(be->self, packed->address, in));
done:
	return st;
}

cyc_status cyc_op_slice_insert(cyc_buffer *sum, cyc_backend *be, const cyc_sum_spec *spec,
                               const cyc_buffer *packed, const cyc_slices *slices)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, sum, 3 * spec->ball->count, sizeof(int64_t));
	argument(&l, packed, (size_t)slices->n * cyc_packed_count(slices->s), sizeof(float));
	for (int32_t i = 0; i < slices->n; i++)
		CYC_CHECK(slices->radius[i] >= 0 && slices->radius[i] <= slices->s / 2, CYC_E_INTERNAL,
		          "slice %d: radius %d is not within 0 and %d", i, slices->radius[i], slices->s / 2);
	CYC_CHECK(spec->ball->top < slices->s / 2 && spec->limit > 0 && spec->limit <= CYC_MOST_ADDED,
	          CYC_E_INTERNAL, "sums of radius %d do not fit slices of %d px", spec->ball->radius, slices->s);
	for (int32_t i = 0; i < slices->n; i++) {
		if (slices->use && slices->use[i] != slices->select) continue;
		l.rows++;
		l.work += BILINEAR_WORK * slab(1, slices->radius[i]);
	}
	OPERATE(be->ops.slice_insert(be->self, sum->address, spec, cyc_buffer_address(packed), slices));
done:
	return st;
}

/* So much of a transform can be held: all that is beyond it is 0. */
static bool can_be_held(int32_t edge) { return edge > 0 && edge % 2 == 0; }

cyc_status cyc_op_slice_extract(cyc_buffer *ft, cyc_backend *be, const cyc_slice_extract_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, ft, (size_t)in->n * cyc_half_count2(in->s), sizeof(cyc_cfloat));
	argument(&l, in->reference, cyc_reference_count(in->edge), sizeof(cyc_cfloat));
	CYC_CHECK(in->edge <= in->m && (can_be_held(in->edge) || in->edge == in->m), CYC_E_INTERNAL,
	          "%d of %d samples of a reference are held", in->edge, in->m);
	l.rows = in->n;
	l.work = TRILINEAR_WORK * disc(in->n, in->radius);
	OPERATE(be->ops.slice_extract(be->self, ft->address, in));
done:
	return st;
}

cyc_status cyc_op_ctf_sums(cyc_buffer *sums, cyc_backend *be, const cyc_ctf_sums_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	size_t plane = cyc_half_count2(in->s), all = (size_t)in->n * plane;
	argument(&l, sums, CYC_N_SUMS * plane, sizeof(double));
	argument(&l, in->ft, all, sizeof(cyc_cfloat));
	argument(&l, in->prediction, all, sizeof(cyc_cfloat));
	argument(&l, in->ctf, all, sizeof(float));
	argument(&l, in->quadrature, all, sizeof(float));
	argument(&l, in->phase, plane, sizeof(cyc_cfloat));
	l.rows = in->n;
	l.work = (3.0 * COMPLEX_PRODUCT + 2 * CYC_N_SUMS) * disc(in->n, in->radius);
	OPERATE(be->ops.ctf_sums(be->self, sums->address, in));
done:
	return st;
}

cyc_status cyc_op_correlate(cyc_buffer *maps, cyc_buffer *curves, cyc_backend *be, const cyc_correlate_in *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	size_t plane = cyc_half_count2(in->s), n = (size_t)in->n, edge = (size_t)in->grid.n;
	CYC_CHECK(in->grid.n > 0 && in->grid.n % 2 == 1 && in->grid.step_px > 0 && in->radius >= 0 &&
	              in->radius < in->s / 2,
	          CYC_E_INTERNAL, "grid of %d points, radius %d", in->grid.n, in->radius);
	argument(&l, maps, n * edge * edge, sizeof(float));
	argument(&l, curves, n * CYC_N_CURVE, sizeof(double));
	argument(&l, in->ft, n * plane, sizeof(cyc_cfloat));
	argument(&l, in->prediction, n * plane, sizeof(cyc_cfloat));
	argument(&l, in->ctf, n * plane, sizeof(float));
	argument(&l, in->phase, plane, sizeof(cyc_cfloat));
	argument(&l, in->weight, plane, sizeof(float));
	argument(&l, in->self, plane, sizeof(float));
	l.rows = in->n;
	l.work = (4.0 * (double)(edge * edge) + 3 * COMPLEX_PRODUCT) * disc(in->n, in->radius);
	OPERATE(be->ops.correlate(be->self, maps->address, curves->address, in));
done:
	return st;
}

static void pose_arguments(argument_list *l, const cyc_pose_images *in)
{
	argument(l, in->fx, (size_t)in->n, sizeof(float));
	argument(l, in->fy, (size_t)in->n, sizeof(float));
	argument(l, in->shell, (size_t)in->n, sizeof(int32_t));
	argument(l, in->data, in->n_data, sizeof(cyc_cfloat));
	argument(l, in->weight, in->n_data, sizeof(float));
	argument(l, in->spread, (size_t)in->n_maps * ((size_t)in->box_px / 2 + 1), sizeof(float));
	for (int32_t i = 0; i < in->n_maps; i++)
		argument(l, in->maps[i], cyc_reference_count(in->edge[i]), sizeof(cyc_cfloat));
}

/* Whether buffers of images of n coefficients from `first` on, and of a reference, were given. */
static cyc_status check_image(const cyc_pose_images *in, int64_t first, int32_t n, int32_t i_map)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(n >= 0 && n <= in->n && first >= 0 && (size_t)first + (size_t)n <= in->n_data, CYC_E_INTERNAL,
	          "an image of %d coefficients from %lld on, of %zu", n, (long long)first, in->n_data);
	CYC_CHECK(i_map >= 0 && i_map < in->n_maps && in->n_maps <= CYC_MOST_POSE_MAPS && in->maps[i_map] &&
	              can_be_held(in->edge[i_map]) && in->zoom[i_map] > 0 &&
	              (in->spread || !in->has_spread[i_map]),
	          CYC_E_INTERNAL, "reference %d of %d", i_map, in->n_maps);
done:
	return st;
}

cyc_status cyc_op_pose_terms(cyc_buffer *sums, cyc_backend *be, const cyc_pose_images *images,
                             const cyc_pose_row *rows, int64_t n)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, sums, (size_t)n * CYC_N_POSE_TERMS, sizeof(double));
	for (int64_t i = 0; i < n; i++) {
		CYC_TRY(check_image(images, rows[i].first, rows[i].n, rows[i].map));
		CYC_CHECK(rows[i].reach >= 0 && rows[i].reach < images->box_px / 2, CYC_E_INTERNAL,
		          "row %lld reaches to %d in a box of %d px", (long long)i, rows[i].reach, images->box_px);
		l.work += POSE_WORK * (double)rows[i].n;
	}
	pose_arguments(&l, images);
	l.rows = n;
	OPERATE(be->ops.pose_terms(be->self, sums->address, images, rows, n));
done:
	return st;
}

int64_t cyc_pose_trials_count(const cyc_pose_trials *in)
{
	int64_t n = 0;
	for (int32_t i = 0; i < in->n; i++) n += (int64_t)in->trials[i].n_rotations * in->trials[i].n_offsets;
	return n;
}

static cyc_status check_trials(const cyc_pose_images *images, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	int64_t n_rotations = 0;
	for (int32_t i = 0; i < in->n; i++) {
		const cyc_pose_trial *t = &in->trials[i];
		CYC_CHECK(
			t->first_rotation == n_rotations && t->n_rotations > 0 && t->n_offsets > 0 &&
				t->first_offset >= 0 && t->first_offset + t->n_offsets <= in->n_offsets &&
				t->first_image >= 0 && t->n_images >= 0 && t->first_image + t->n_images <= in->n_images,
			CYC_E_INTERNAL, "trial %d: %d rotations from %d on, %d offsets from %d on, %d images from %d on",
			i, t->n_rotations, t->first_rotation, t->n_offsets, t->first_offset, t->n_images, t->first_image);
		n_rotations += t->n_rotations;
		for (int32_t f = t->first_image; f < t->first_image + t->n_images; f++)
			CYC_TRY(check_image(images, in->images[f].first, in->images[f].n, t->map));
	}
	CYC_CHECK(n_rotations == in->n_rotations, CYC_E_INTERNAL, "trials of %lld rotations, there are %d",
	          (long long)n_rotations, in->n_rotations);
done:
	return st;
}

cyc_status cyc_op_pose_scores(cyc_buffer *samples, int64_t *counts, cyc_backend *be,
                              const cyc_pose_images *images, const cyc_pose_trials *in)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, samples, (size_t)cyc_pose_trials_count(in), sizeof(cyc_pose_sample));
	CYC_TRY(check_trials(images, in));
	pose_arguments(&l, images);
	for (int32_t i = 0; i < in->n; i++) {
		const cyc_pose_trial *t = &in->trials[i];
		double each = (double)t->n_rotations * TRILINEAR_WORK +
		              (double)t->n_offsets * (SINE_WORK + 2 * COMPLEX_PRODUCT) +
		              4.0 * t->n_rotations * t->n_offsets;
		l.rows += t->n_images;
		for (int32_t k = 0; k < t->n_images; k++) l.work += each * in->images[t->first_image + k].n;
	}
	OPERATE(be->ops.pose_scores(be->self, samples->address, counts, images, in));
done:
	return st;
}

cyc_status cyc_op_fft3_forward(cyc_buffer *ft, cyc_backend *be, const cyc_buffer *real, int32_t s)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, ft, cyc_half_count3(s), sizeof(cyc_cfloat));
	argument(&l, real, (size_t)s * (size_t)s * (size_t)s, sizeof(float));
	l.rows = 1;
	l.work = transform_work(pow(s, 3));
	OPERATE(be->ops.fft3_forward(be->self, ft->address, cyc_buffer_address(real), s));
done:
	return st;
}

cyc_status cyc_op_fft3_inverse(cyc_buffer *real, cyc_backend *be, cyc_buffer *ft, int32_t s)
{
	cyc_status st = CYC_OK;
	argument_list l = { .n = 0 };
	argument(&l, real, (size_t)s * (size_t)s * (size_t)s, sizeof(float));
	argument(&l, ft, cyc_half_count3(s), sizeof(cyc_cfloat));
	l.rows = 1;
	l.work = transform_work(pow(s, 3));
	OPERATE(be->ops.fft3_inverse(be->self, real->address, ft->address, s));
done:
	return st;
}
