#include "io/mrc_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- names */

typedef enum { EXT_UNKNOWN, EXT_VOLUME, EXT_STACK, EXT_OTHER_FORMAT } extension;

static extension extension_of(const char *text)
{
	static const struct {
		const char *name;
		extension kind;
	} KNOWN[] = {
		{ "mrc", EXT_VOLUME },        { "map", EXT_VOLUME },       { "rec", EXT_VOLUME },
		{ "ccp4", EXT_VOLUME },       { "mrcs", EXT_STACK },       { "st", EXT_STACK },
		{ "ali", EXT_STACK },         { "preali", EXT_STACK },     { "tif", EXT_OTHER_FORMAT },
		{ "tiff", EXT_OTHER_FORMAT }, { "eer", EXT_OTHER_FORMAT }, { "hdf", EXT_OTHER_FORMAT },
		{ "spi", EXT_OTHER_FORMAT },  { "img", EXT_OTHER_FORMAT }, { "gz", EXT_OTHER_FORMAT },
		{ "bz2", EXT_OTHER_FORMAT },
	};
	char lower[16] = "";
	for (size_t i = 0; text[i] && i + 1 < sizeof lower; i++) lower[i] = (char)tolower((unsigned char)text[i]);
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		if (strcmp(lower, KNOWN[i].name) == 0) return KNOWN[i].kind;
	}
	return EXT_UNKNOWN;
}

cyc_status cyc_mrc_split_name(char **path, int64_t *section, bool *is_stack, const char *name)
{
	cyc_status st = CYC_OK;
	char *p = NULL;
	*path = NULL;
	*section = 0;
	*is_stack = false;
	const char *rest = name;
	size_t n_digits = strspn(name, "0123456789");
	if (name[n_digits] == '@') {
		CYC_CHECK(n_digits >= 1 && n_digits <= 12, CYC_E_FORMAT,
		          "'%s': expected a section number before '@', counted from 1", name);
		*section = strtoll(name, NULL, 10);
		CYC_CHECK(*section >= 1, CYC_E_FORMAT, "'%s': sections are counted from 1", name);
		rest = name + n_digits + 1;
	}
	CYC_TRY(cyc_strdup(&p, rest));
	char *colon = strrchr(p, ':'), *slash = strrchr(p, '/'), *dot = strrchr(p, '.');
	bool has_suffix = colon && (!slash || colon > slash);
	const char *ext = has_suffix ? colon + 1 : dot && (!slash || dot > slash) ? dot + 1 : "";
	extension kind = extension_of(ext);
	if (kind == EXT_UNKNOWN || kind == EXT_OTHER_FORMAT) {
		st = cyc_error_raise(kind == EXT_UNKNOWN ? CYC_E_FORMAT : CYC_E_UNSUPPORTED, __FILE__, __LINE__,
		                     __func__,
		                     "'%s': '%s' is not the extension of an MRC file (.mrc .map .rec for volumes, "
		                     ".mrcs .st .ali for stacks)",
		                     name, ext);
		if (kind == EXT_UNKNOWN)
			cyc_error_hint("if it is an MRC file, write '%s:mrc' (volume) or '%s:mrcs' (stack)", name, name);
		else cyc_error_hint("convert the file to MRC first");
		goto done;
	}
	if (has_suffix) *colon = '\0';
	CYC_CHECK(p[0], CYC_E_FORMAT, "'%s' names no file", name);
	/* A numbered section makes a stack of any MRC file: whole-series stacks are often called .mrc. */
	*is_stack = kind == EXT_STACK || *section > 0;
	*path = p;
	p = NULL;
done:
	cyc_free(p);
	return st;
}

cyc_status cyc_mrc_join_name(char **out, const char *root, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	size_t n_digits = strspn(name, "0123456789");
	int n_prefix = name[n_digits] == '@' ? (int)n_digits + 1 : 0;
	*out = NULL;
	CYC_TRY(cyc_path_join(&path, root, name + n_prefix));
	CYC_TRY(cyc_asprintf(out, "%.*s%s", n_prefix, name, path));
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- header */

/* Exactly n bytes from an offset, or an error that says how many there were. */
static cyc_status read_at(void *dst, int fd, size_t n, int64_t offset, const char *path)
{
	cyc_status st = CYC_OK;
	size_t have = 0;
	while (have < n) {
		ssize_t k = pread(fd, (char *)dst + have, n - have, (off_t)(offset + (int64_t)have));
		if (k < 0 && errno == EINTR) continue;
		CYC_CHECK(k >= 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
		CYC_CHECK(k > 0, CYC_E_FORMAT, "'%s' is truncated: expected %zu bytes at offset %lld, found %zu",
		          path, n, (long long)offset, have);
		have += (size_t)k;
	}
done:
	return st;
}

static int32_t word_i(const uint8_t *header, int i, bool is_swapped)
{
	uint8_t b[4];
	for (int k = 0; k < 4; k++) b[k] = header[4 * i + (is_swapped ? 3 - k : k)];
	int32_t v;
	memcpy(&v, b, sizeof v);
	return v;
}

static double word_f(const uint8_t *header, int i, bool is_swapped)
{
	int32_t bits = word_i(header, i, is_swapped);
	float v;
	memcpy(&v, &bits, sizeof v);
	return (double)v;
}

/* cell / intervals, 0 when the header does not give a usable one */
static double pixel_size(const uint8_t *header, int axis, bool is_swapped)
{
	double cell = word_f(header, 10 + axis, is_swapped);
	int32_t intervals = word_i(header, 7 + axis, is_swapped);
	if (!isfinite(cell) || cell <= 0.0 || intervals <= 0) return 0.0;
	return cell / (double)intervals;
}

static cyc_status parse_header(cyc_mrc_info *out, const uint8_t *header, int64_t file_bytes, const char *path)
{
	cyc_status st = CYC_OK;
	cyc_mrc_info m = { 0 };
	int64_t mode = word_i(header, 3, false), nx = word_i(header, 0, false);
	m.is_swapped = llabs(mode) > 65535 || llabs(nx) > 65535;
	m.nx = word_i(header, 0, m.is_swapped);
	m.ny = word_i(header, 1, m.is_swapped);
	m.nz = word_i(header, 2, m.is_swapped);
	m.mode = word_i(header, 3, m.is_swapped);
	int64_t extended = word_i(header, 23, m.is_swapped);
	CYC_CHECK(m.nx > 0 && m.ny > 0 && m.nz > 0 && m.nx < 1 << 24 && m.ny < 1 << 24, CYC_E_FORMAT,
	          "'%s' is not an MRC file: its header gives a size of %d x %d x %d", path, m.nx, m.ny, m.nz);
	size_t bytes = cyc__mrc_mode_bytes(m.mode);
	if (!bytes) {
		st = cyc_error_raise(
			CYC_E_UNSUPPORTED, __FILE__, __LINE__, __func__,
			"'%s' has MRC mode %d; 0 (int8), 1 (int16), 2 (float32), 6 (uint16) and 12 (float16) can be read",
			path, m.mode);
		cyc_error_hint("convert it, for example with IMOD: newstack -mode 2 in.mrc out.mrc");
		goto done;
	}
	CYC_CHECK(extended >= 0, CYC_E_FORMAT, "'%s': the extended header has a length of %lld bytes", path,
	          (long long)extended);
	m.data_offset_bytes = CYC__MRC_HEADER + extended;
	/* nx, ny < 2^24, nz < 2^31: the product can pass 2^63, so compare in floating point first. */
	double wanted = (double)m.data_offset_bytes + (double)m.nx * m.ny * m.nz * (double)bytes;
	CYC_CHECK(wanted <= (double)file_bytes, CYC_E_FORMAT,
	          "'%s' is truncated: %d x %d x %d voxels of mode %d need %.0f bytes, the file has %lld", path,
	          m.nx, m.ny, m.nz, m.mode, wanted, (long long)file_bytes);
	m.pixel_size_A = pixel_size(header, 0, m.is_swapped);
	m.pixel_size_y_A = pixel_size(header, 1, m.is_swapped);
	m.pixel_size_z_A = pixel_size(header, 2, m.is_swapped);
	*out = m;
done:
	return st;
}

static cyc_status read_header(cyc_mrc_info *out, const char *path, bool is_stack)
{
	cyc_status st = CYC_OK;
	int fd = -1;
	uint8_t header[CYC__MRC_HEADER];
	struct stat s;
	CYC_TRY(cyc_open_regular(&fd, path));
	CYC_CHECK(fstat(fd, &s) == 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
	CYC_CHECK(s.st_size >= CYC__MRC_HEADER, CYC_E_FORMAT,
	          "'%s' is truncated: an MRC header has %d bytes, the file has %lld", path, (int)CYC__MRC_HEADER,
	          (long long)s.st_size);
	CYC_TRY(read_at(header, fd, sizeof header, 0, path));
	CYC_TRY(parse_header(out, header, (int64_t)s.st_size, path));
	out->is_stack = is_stack;
done:
	if (fd >= 0) close(fd);
	return st;
}

cyc_status cyc_mrc_read_info(cyc_mrc_info *out, const char *name)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int64_t section;
	bool is_stack;
	CYC_TRY(cyc_mrc_split_name(&path, &section, &is_stack, name));
	CYC_TRY(read_header(out, path, is_stack));
	CYC_CHECK(section <= out->nz, CYC_E_DATA, "'%s': section %lld is requested, but the file has %d", name,
	          (long long)section, out->nz);
done:
	cyc_free(path);
	return st;
}

/* ---------------------------------------------------------------- data */

/* nz sections from `first` on; reads and checks piece by piece, so no second copy of the file is needed. */
static cyc_status read_sections(float *dst, const cyc_mrc_info *info, const char *path, int64_t first,
                                int32_t nz)
{
	cyc_status st = CYC_OK;
	int fd = -1;
	char piece[1 << 15];
	size_t bytes = cyc__mrc_mode_bytes(info->mode);
	size_t image = (size_t)info->nx * (size_t)info->ny, n = image * (size_t)nz;
	bool is_direct = info->mode == 2 && !info->is_swapped;
	CYC_CHECK(bytes > 0, CYC_E_INTERNAL, "mode %d", info->mode);
	CYC_TRY(cyc_open_regular(&fd, path));
	size_t step = is_direct ? (size_t)1 << 22 : sizeof piece / bytes;
	for (size_t i = 0; i < n; i += step) {
		size_t k = n - i < step ? n - i : step;
		int64_t offset = info->data_offset_bytes + ((int64_t)image * first + (int64_t)i) * (int64_t)bytes;
		CYC_TRY(read_at(is_direct ? (void *)(dst + i) : piece, fd, k * bytes, offset, path));
		if (!is_direct) cyc__mrc_to_float(dst + i, piece, k, info->mode, info->is_swapped);
		size_t bad = cyc__first_not_finite(dst + i, k);
		if (bad < k) {
			size_t at = (size_t)first * image + i + bad;
			CYC_RAISE(CYC_E_DATA, "'%s': voxel x %zu, y %zu, z %zu (counted from 0) is %s", path,
			          at % (size_t)info->nx, at / (size_t)info->nx % (size_t)info->ny, at / image,
			          isnan(dst[i + bad]) ? "NaN" : "infinite");
		}
	}
done:
	if (fd >= 0) close(fd);
	return st;
}

cyc_status cyc_mrc_read_section(float *dst, const cyc_mrc_info *info, const char *path, int64_t section)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(section >= 0 && section < info->nz, CYC_E_DATA,
	          "'%s': section %lld is requested, but the file has %d", path, (long long)section + 1, info->nz);
	CYC_TRY(read_sections(dst, info, path, section, 1));
done:
	return st;
}

/* Squares of larger values, summed, leave the range of float; no density is near it. */
static const float LARGEST = 1e15F;

CYC_SIMD static uint32_t any_beyond(const float *v, size_t n)
{
	uint32_t any = 0;
	for (size_t i = 0; i < n; i++) any |= fabsf(v[i]) <= LARGEST ? 0u : 1u;
	return any;
}

static cyc_status check_range(const cyc_volume *v, const char *name, size_t first, size_t count)
{
	cyc_status st = CYC_OK;
	size_t nx = (size_t)v->nx, ny = (size_t)v->ny;
	if (!any_beyond(v->data + first, count)) return CYC_OK;
	for (size_t i = first; i < first + count; i++) {
		if (fabsf(v->data[i]) <= LARGEST) continue;
		st = cyc_error_raise(
			CYC_E_DATA, __FILE__, __LINE__, __func__,
			"'%s': voxel x %zu, y %zu, z %zu (counted from 0) is %g; values must be within +-%g", name,
			i % nx, i / nx % ny, i / nx / ny, (double)v->data[i], (double)LARGEST);
		cyc_error_hint("the file is damaged, or the job that made it failed: make it again");
		break;
	}
	return st;
}

typedef struct {
	cyc_volume *v;
	const cyc_mrc_info *info;
	const char *path, *name;
	int64_t first;
} reading;

static cyc_status read_task(void *arg, int64_t z, int i_thread)
{
	(void)i_thread;
	cyc_status st = CYC_OK;
	const reading *a = arg;
	size_t plane = (size_t)a->v->nx * (size_t)a->v->ny, at = (size_t)z * plane;
	CYC_TRY(read_sections(a->v->data + at, a->info, a->path, a->first + z, 1));
	CYC_TRY(check_range(a->v, a->name, at, plane));
done:
	return st;
}

cyc_status cyc_mrc_read_threaded(cyc_volume **out, const char *name, int n_threads)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	int64_t section;
	bool is_stack;
	cyc_mrc_info info = { 0 };
	cyc_volume *v = NULL;
	*out = NULL;
	CYC_TRY(cyc_mrc_split_name(&path, &section, &is_stack, name));
	CYC_TRY(cyc_mrc_read_info(&info, name));
	int32_t nz = section ? 1 : info.nz;
	CYC_TRY_CTX(cyc_volume_create(&v, info.nx, info.ny, nz, info.pixel_size_A), "reading '%s'", name);
	reading a = { v, &info, path, name, section ? section - 1 : 0 };
	if (n_threads > 1) {
		CYC_TRY(cyc_parallel_for(nz, n_threads, read_task, &a));
	} else {
		CYC_TRY(read_sections(v->data, &info, path, a.first, nz));
		CYC_TRY(check_range(v, name, 0, cyc_volume_count(v)));
	}
	*out = v;
	v = NULL;
done:
	cyc_volume_destroy(&v);
	cyc_free(path);
	return st;
}

cyc_status cyc_mrc_read(cyc_volume **out, const char *name) { return cyc_mrc_read_threaded(out, name, 1); }

cyc_status cyc_mrc_read_map(cyc_volume **out, const char *name)
{
	return cyc_mrc_read_map_threaded(out, name, 1);
}

cyc_status cyc_mrc_read_map_threaded(cyc_volume **out, const char *name, int n_threads)
{
	cyc_status st = CYC_OK;
	cyc_mrc_info m = { 0 };
	*out = NULL;
	CYC_TRY(cyc_mrc_read_info(&m, name));
	CYC_CHECK(m.nx == m.ny && m.ny == m.nz, CYC_E_SHAPE,
	          "'%s': a map must be a cube, this one has %d x %d x %d voxels", name, m.nx, m.ny, m.nz);
	CYC_CHECK(m.nx % 2 == 0, CYC_E_SHAPE, "'%s': a map must have an even box, this one has %d", name, m.nx);
	if (m.pixel_size_A <= 0.0) {
		st = cyc_error_raise(CYC_E_DATA, __FILE__, __LINE__, __func__, "'%s': the header gives no pixel size",
		                     name);
		cyc_error_hint(
			"set the cell size in the header, for example with IMOD: alterheader -del 2.5,2.5,2.5 '%s'",
			name);
		goto done;
	}
	const double tolerance = 1e-3 * m.pixel_size_A;
	CYC_CHECK(fabs(m.pixel_size_y_A - m.pixel_size_A) <= tolerance &&
	              fabs(m.pixel_size_z_A - m.pixel_size_A) <= tolerance,
	          CYC_E_SHAPE, "'%s': pixel sizes differ along the axes: %g x %g x %g Å", name, m.pixel_size_A,
	          m.pixel_size_y_A, m.pixel_size_z_A);
	CYC_TRY(cyc_mrc_read_threaded(out, name, n_threads));
done:
	return st;
}

bool cyc_mrc_is_written(const char *path, int32_t nx, int32_t ny, int32_t nz, int32_t mode, const char *label)
{
	uint8_t header[CYC__MRC_HEADER];
	char text[81] = "", wanted[81];
	const int32_t size[4] = { nx, ny, nz, mode };
	struct stat s;
	snprintf(wanted, sizeof wanted, "%s", label);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) return false;
	int64_t bytes = CYC__MRC_HEADER + (int64_t)nx * ny * nz * (int64_t)cyc__mrc_mode_bytes(mode);
	bool is_whole = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size == bytes &&
	                pread(fd, header, sizeof header, 0) == (ssize_t)sizeof header;
	close(fd);
	if (!is_whole) return false;
	memcpy(text, header + CYC__MRC_LABEL, 80);
	for (int i = 0; i < 4; i++)
		if (word_i(header, i, false) != size[i]) return false;
	return strcmp(text, wanted) == 0;
}

bool cyc_mrc_is_sealed(const char *path, int32_t nx, int32_t ny, int32_t nz, int32_t mode, const char *label)
{
	char text[81] = "", wanted[81];
	uint64_t hash;
	if (!cyc_mrc_is_written(path, nx, ny, nz, mode, label)) return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is_read = fd >= 0 && pread(fd, text, 80, CYC__MRC_LABEL + 80) == 80;
	if (fd >= 0) close(fd);
	if (!is_read || cyc_hash_file_part(&hash, path, CYC__MRC_HEADER, -1) != CYC_OK) {
		cyc_error_clear();
		return false;
	}
	cyc__mrc_seal(wanted, hash);
	return strcmp(text, wanted) == 0;
}
