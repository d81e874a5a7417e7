#include "images/known_images.h"

#include "cyclotomo/base.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
	cyc_known_key key;
	void *bytes;
	size_t n_bytes;
} entry;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
/* Open addressing; capacity is a power of two, and at least a third of the places are free. */
static struct {
	entry *entries;
	size_t n, capacity, bytes;
} g_known;

cyc_known_image cyc_known_image_of(const cyc_tilt_series *ts, int32_t i_tilt)
{
	return (cyc_known_image){ .series = ts->name,
		                      .path = ts->image_path[i_tilt],
		                      .section = ts->image_section[i_tilt],
		                      .nx = ts->image_nx,
		                      .ny = ts->image_ny,
		                      .i_tilt = i_tilt,
		                      .keep_outliers = ts->keep_outliers,
		                      .erase_beads = ts->erase_beads,
		                      .pixel_size_A = ts->pixel_size_A };
}

static bool is_none(cyc_known_key key) { return key.a == 0 && key.b == 0; }

cyc_known_key cyc_known_key_of(const cyc_known_image *image)
{
	cyc_known_key key = { 0, 0 };
	struct stat s;
	if (stat(image->path, &s) != 0) return key;
	const int64_t state[] = { (int64_t)s.st_dev,
		                      (int64_t)s.st_ino,
		                      (int64_t)s.st_size,
		                      (int64_t)s.st_mtim.tv_sec,
		                      (int64_t)s.st_mtim.tv_nsec,
		                      (int64_t)s.st_ctim.tv_sec,
		                      (int64_t)s.st_ctim.tv_nsec,
		                      image->section,
		                      image->nx,
		                      image->ny,
		                      image->i_tilt,
		                      image->keep_outliers,
		                      image->erase_beads };
	uint64_t *const half[2] = { &key.a, &key.b };
	for (uint64_t i = 0; i < 2; i++) {
		uint64_t h = cyc_hash(CYC_HASH_INIT, &i, sizeof i);
		h = cyc_hash(h, state, sizeof state);
		h = cyc_hash(h, &image->pixel_size_A, sizeof image->pixel_size_A);
		*half[i] = cyc_hash_string(cyc_hash_string(h, image->series), image->path);
	}
	return key;
}

cyc_known_key cyc_known_part(cyc_known_key image, cyc_known_kind kind, int32_t detail)
{
	const int32_t part[2] = { (int32_t)kind, detail };
	if (is_none(image)) return image;
	return (cyc_known_key){ cyc_hash(image.a, part, sizeof part), cyc_hash(image.b, part, sizeof part) };
}

/* The place of the key, or the free one where it would be. */
static entry *place_of(entry *entries, size_t capacity, cyc_known_key key)
{
	size_t i = (size_t)key.a & (capacity - 1);
	while (entries[i].bytes && (entries[i].key.a != key.a || entries[i].key.b != key.b))
		i = (i + 1) & (capacity - 1);
	return &entries[i];
}

cyc_status cyc_known_find(void **bytes, size_t *n_bytes, cyc_known_key key)
{
	cyc_status st = CYC_OK;
	*bytes = NULL;
	*n_bytes = 0;
	if (is_none(key)) return CYC_OK;
	pthread_mutex_lock(&g_lock);
	const entry *e = g_known.n > 0 ? place_of(g_known.entries, g_known.capacity, key) : NULL;
	if (!e || !e->bytes) goto done;
	CYC_TRY(cyc_alloc(bytes, e->n_bytes, 1));
	memcpy(*bytes, e->bytes, e->n_bytes);
	*n_bytes = e->n_bytes;
done:
	pthread_mutex_unlock(&g_lock);
	return st;
}

/* A table of twice the size, if two thirds are taken. */
static cyc_status make_room(void)
{
	cyc_status st = CYC_OK;
	size_t more = g_known.capacity > 0 ? 2 * g_known.capacity : 256;
	entry *grown = NULL;
	if (3 * (g_known.n + 1) <= 2 * g_known.capacity) goto done;
	CYC_TRY(cyc_alloc(&grown, more, sizeof *grown));
	for (size_t i = 0; i < g_known.capacity; i++) {
		const entry *e = &g_known.entries[i];
		if (e->bytes) *place_of(grown, more, e->key) = *e;
	}
	cyc_free(g_known.entries);
	g_known.entries = grown;
	g_known.capacity = more;
done:
	return st;
}

static cyc_status keep(cyc_known_key key, const void *bytes, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	entry e = { .key = key, .n_bytes = n_bytes };
	CYC_TRY(make_room());
	entry *to = place_of(g_known.entries, g_known.capacity, key);
	if (to->bytes) goto done;
	CYC_TRY(cyc_alloc(&e.bytes, n_bytes, 1));
	memcpy(e.bytes, bytes, n_bytes);
	*to = e;
	g_known.n++;
	g_known.bytes += n_bytes + sizeof e;
done:
	return st;
}

cyc_status cyc_known_keep(cyc_known_key key, const void *bytes, size_t n_bytes)
{
	cyc_status st = CYC_OK;
	if (is_none(key) || n_bytes == 0) return CYC_OK;
	pthread_mutex_lock(&g_lock);
	if (g_known.bytes + n_bytes + sizeof(entry) <= CYC_KNOWN_BYTES) CYC_TRY(keep(key, bytes, n_bytes));
done:
	pthread_mutex_unlock(&g_lock);
	return st;
}

void cyc_known_forget(void)
{
	pthread_mutex_lock(&g_lock);
	for (size_t i = 0; i < g_known.capacity; i++) cyc_free(g_known.entries[i].bytes);
	cyc_free(g_known.entries);
	g_known.entries = NULL;
	g_known.n = g_known.capacity = g_known.bytes = 0;
	pthread_mutex_unlock(&g_lock);
}
