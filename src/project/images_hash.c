/* A hash that shows whether images are still the same, without reading them. */
#include "cyclotomo/record.h"

#include "backends/backend.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_BYTES = 1024 };

/* The header of a regular file; no bytes of anything else. */
static cyc_status read_header(char header[HEADER_BYTES], const char *path)
{
	int fd = -1;
	memset(header, 0, HEADER_BYTES);
	cyc_status st = cyc_open_regular(&fd, path);
	if (st == CYC_E_NOMEM) return st;
	if (st != CYC_OK) {
		cyc_error_clear();
		return CYC_OK;
	}
	ssize_t n = pread(fd, header, HEADER_BYTES, 0);
	close(fd);
	if (n < 0) memset(header, 0xff, HEADER_BYTES);
	return CYC_OK;
}

cyc_status cyc_image_hash(uint64_t *h, const char *name, const char *root, bool with_times)
{
	cyc_status st = CYC_OK;
	char *file = NULL, *path = NULL, header[HEADER_BYTES];
	int64_t section, state[4] = { -1, 0, 0, 0 };
	bool is_stack;
	struct stat s;
	*h = cyc_hash_string(*h, name);
	if (!name || !name[0]) return CYC_OK;
	CYC_TRY(cyc_mrc_split_name(&file, &section, &is_stack, name));
	CYC_TRY(cyc_path_join(&path, root, file));
	if (stat(path, &s) == 0) {
		state[0] = section;
		state[1] = (int64_t)s.st_size;
		if (with_times) {
			state[2] = (int64_t)s.st_mtim.tv_sec;
			state[3] = (int64_t)s.st_mtim.tv_nsec;
		}
		CYC_TRY(read_header(header, path));
		*h = cyc_hash(*h, header, sizeof header);
	}
	*h = cyc_hash(*h, state, sizeof state);
done:
	cyc_free(file);
	cyc_free(path);
	return st;
}

cyc_status cyc_images_hash(uint64_t *h, const cyc_tomogram_set *tomograms, const cyc_particle_set *particles,
                           const char *root, bool with_times)
{
	cyc_status st = CYC_OK;
	for (int32_t i = 0; i < tomograms->n_series; i++) {
		const cyc_tilt_series *ts = &tomograms->series[i];
		if (particles->series_first[i + 1] == particles->series_first[i]) continue;
		if (ts->stack) CYC_TRY(cyc_image_hash(h, ts->stack, root, with_times));
		for (int32_t f = 0; f < ts->n_tilts && !ts->stack; f++)
			CYC_TRY(cyc_image_hash(h, ts->tilts[f].image, root, with_times));
	}
done:
	return st;
}

const char *cyc_backend_of_bits(const char *backend) { return cyc_backend_bits(backend); }

cyc_status cyc_input_file_hash(uint64_t *h, const char *name, const char *root)
{
	cyc_status st = CYC_OK;
	char *path = NULL;
	uint64_t content;
	*h = cyc_hash_string(*h, name);
	if (!name) return CYC_OK;
	CYC_TRY(cyc_path_join(&path, root, name));
	CYC_TRY(cyc_hash_file(&content, path));
	*h = cyc_hash(*h, &content, sizeof content);
done:
	cyc_free(path);
	return st;
}
