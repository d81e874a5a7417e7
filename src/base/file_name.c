#include "cyclotomo/base.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_BYTES = 160 }; /* of a component: suffixes of jobs come behind it, and file systems end at 255 */

/* Neither hidden nor special nor too long, and nothing that a terminal or another system would mind. */
static bool is_plain(const char *name, size_t n)
{
	if (n == 0 || n > MAX_BYTES || name[0] == '.') return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') return false;
	}
	return true;
}

/* Where it is not plain: what can be kept of it, and a hash of the whole, so that other names get other
 * files. */
static cyc_status make_plain(char **out, const char *name)
{
	cyc_status st = CYC_OK;
	char *kept = NULL;
	size_t n = 0;
	CYC_TRY(cyc_alloc(&kept, MAX_BYTES + 1, 1));
	for (const char *c = name; *c && n < MAX_BYTES - 20; c++, n++) kept[n] = is_plain(c, 1) ? *c : '_';
	CYC_TRY(cyc_asprintf(out, "%s-%016" PRIx64, kept, cyc_hash_string(CYC_HASH_INIT, name)));
done:
	cyc_free(kept);
	return st;
}

cyc_status cyc_file_name(char **out, const char *name)
{
	return is_plain(name, strlen(name)) ? cyc_strdup(out, name) : make_plain(out, name);
}

bool cyc_is_plain_path(const char *path)
{
	for (const char *p = path;; p++) {
		size_t n = strcspn(p, "/");
		if (!is_plain(p, n)) return false;
		p += n;
		if (*p == '\0') return true;
	}
}

cyc_status cyc_file_path_name(char **out, const char *name)
{
	return cyc_is_plain_path(name) ? cyc_strdup(out, name) : make_plain(out, name);
}
