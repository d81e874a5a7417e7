/* Hashes of files: a gigabyte in a fraction of a second, without holding it. */
#include "cyclotomo/base.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* Large enough that calls cost nothing, small enough to stay in a cache. */
enum { PIECE_BYTES = 1 << 19 };

static cyc_status hash_pieces(XXH3_state_t *state, char *piece, int fd, int64_t offset, int64_t n_bytes,
                              const char *path)
{
	cyc_status st = CYC_OK;
	int64_t done = 0;
	while (n_bytes < 0 || done < n_bytes) {
		size_t want = PIECE_BYTES;
		if (n_bytes >= 0 && n_bytes - done < PIECE_BYTES) want = (size_t)(n_bytes - done);
		ssize_t n = pread(fd, piece, want, (off_t)(offset + done));
		if (n < 0 && errno == EINTR) continue;
		CYC_CHECK(n >= 0, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
		CYC_CHECK(n > 0 || n_bytes < 0, CYC_E_IO,
		          "'%s': expected %lld bytes from byte %lld on, found only %lld", path, (long long)n_bytes,
		          (long long)offset, (long long)done);
		if (n == 0) break;
		XXH3_64bits_update(state, piece, (size_t)n);
		done += n;
	}
done:
	return st;
}

cyc_status cyc_hash_file_part(uint64_t *h, const char *path, int64_t offset, int64_t n_bytes)
{
	cyc_status st = CYC_OK;
	int fd = -1;
	char *piece = NULL;
	XXH3_state_t *state = XXH3_createState();
	CYC_CHECK(state, CYC_E_NOMEM, "not enough memory to hash '%s'", path);
	XXH3_64bits_reset_withSeed(state, CYC_HASH_INIT);
	CYC_TRY(cyc_alloc(&piece, PIECE_BYTES, 1));
	CYC_TRY(cyc_open_regular(&fd, path));
	CYC_TRY(hash_pieces(state, piece, fd, offset, n_bytes, path));
	*h = XXH3_64bits_digest(state);
done:
	if (fd >= 0) close(fd);
	cyc_free(piece);
	XXH3_freeState(state);
	return st;
}

cyc_status cyc_hash_file(uint64_t *h, const char *path) { return cyc_hash_file_part(h, path, 0, -1); }
