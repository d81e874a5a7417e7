/**
 * @file record.h
 * What unfinished and finished results were made from, and whether they are whole: the files that a resumed
 * job believes.
 *
 * A record is a file of parts (arrays) after a header: format, program version, kind, sizes, the key of
 * everything that the parts depend on, and a hash of their bytes. It is used as a whole or not at all: one
 * that is damaged, of another version or of another key is as good as none, with a warning. See
 * docs/dev/records.md.
 *
 * Marks of files record whether outputs are unchanged: size and hash of each.
 */
#ifndef CYCLOTOMO_RECORD_H
#define CYCLOTOMO_RECORD_H

#include "cyclotomo/project.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- records */

/** An array: `count` elements of `size` bytes. */
typedef struct {
	const void *data;
	size_t size, count;
} cyc_record_part;
enum { CYC_RECORD_MAX_PARTS = 64 };

/**
 * Write a record: under a temporary name, then renamed.
 * @param[in] kind  up to 31 characters; a meaning of its parts that changes gets another name
 * @param[in] key   hash of everything that the parts depend on
 */
CYC_MUST_CHECK cyc_status cyc_record_write(const char *path, const char *kind, uint64_t key,
                                           const cyc_record_part *parts, int32_t n_parts);

typedef struct cyc_record cyc_record;
/**
 * Open a record for reading if all of it can be used: every byte has been checked.
 * @param[out] out          NULL if no usable one exists; close with cyc_record_close()
 * @param[in]  consequence  end of the warning that gives the reason: "starting from the beginning"
 * @param[in,out] n_other   where many records may be of other input: these are counted here instead of a
 * warning each; or NULL
 * @return CYC_E_NOMEM; a faulty file is not an error
 */
CYC_MUST_CHECK cyc_status cyc_record_open(cyc_record **out, const char *path, const char *kind, uint64_t key,
                                          const char *consequence, int64_t *n_other);
/** Whether part i has `count` elements of `size` bytes. */
bool cyc_record_has(const cyc_record *r, int32_t i, size_t size, size_t count);
/** Elements of part i; 0 if they are not of `size` bytes or there is no such part. */
size_t cyc_record_count(const cyc_record *r, int32_t i, size_t size);
/** Copy part i; CYC_E_FORMAT unless cyc_record_has() it. */
CYC_MUST_CHECK cyc_status cyc_record_read(const cyc_record *r, int32_t i, void *data, size_t size,
                                          size_t count);
/** Warn that a record, although it opened, lacks the expected parts; it is not used. */
void cyc_record_warn_unusable(const cyc_record *r, const char *consequence);
void cyc_record_close(cyc_record **r);

/** A text that grows in memory. Zeroed: nothing. */
typedef struct {
	FILE *f;    /**< write here */
	char *text; /**< after cyc_text_stream_finish() */
	size_t n;
} cyc_text_stream;
CYC_MUST_CHECK cyc_status cyc_text_stream_open(cyc_text_stream *s);
/** End of writing. CYC_E_NOMEM if anything could not be kept. */
CYC_MUST_CHECK cyc_status cyc_text_stream_finish(cyc_text_stream *s);
void cyc_text_stream_deinit(cyc_text_stream *s);

/** A record of one text. */
CYC_MUST_CHECK cyc_status cyc_record_write_text(const char *path, const char *kind, uint64_t key,
                                                const char *text);
/** Its text (free with cyc_free()); NULL if no usable one exists. Parameters as in
 * cyc_record_open(). */
CYC_MUST_CHECK cyc_status cyc_record_read_text(char **text, const char *path, const char *kind, uint64_t key,
                                               const char *consequence, int64_t *n_other);

/* ---------------------------------------------------------------- what results depend on */

/**
 * Hash of the tilt images of all series with particles, continuing `h`: names, sizes and headers.
 * @param[in] with_times  their times of change too; results that are to be the same on a copy of the project
 * go without
 * @return CYC_E_NOMEM; images that cannot be read count as such and are reported where they are used
 */
CYC_MUST_CHECK cyc_status cyc_images_hash(uint64_t *h, const cyc_tomogram_set *tomograms,
                                          const cyc_particle_set *particles, const char *root,
                                          bool with_times);
/** The same of one image or stack, as named in a STAR file. */
CYC_MUST_CHECK cyc_status cyc_image_hash(uint64_t *h, const char *name, const char *root, bool with_times);
/** Continue `h` with name and content of a file that a result depends on; NULL: none. CYC_E_IO if it cannot
 * be read. */
CYC_MUST_CHECK cyc_status cyc_input_file_hash(uint64_t *h, const char *name, const char *root);

/** The backend whose bits a backend's results have, for keys: "strict" computes as "cpu" does, "auto" as the
 * one it finds. */
const char *cyc_backend_of_bits(const char *backend);

/* ---------------------------------------------------------------- marks of files */

typedef struct {
	char *name; /**< relative to the root */
	int64_t n_bytes;
	uint64_t hash; /**< of the content */
} cyc_file_mark;
/** Zeroed: empty. */
typedef struct {
	int32_t n;
	cyc_file_mark *items;
} cyc_file_marks;
void cyc_file_marks_deinit(cyc_file_marks *m);
/** Add a name, unless the list has it; cyc_file_marks_take() takes size and hash. */
CYC_MUST_CHECK cyc_status cyc_file_marks_add(cyc_file_marks *m, const char *name);
/**
 * Add all files in a folder and those below it, sorted by name; without hidden ones, unfinished ones (".tmp")
 * and folders named "temp", which belong to unfinished runs.
 * @param[in] is_wanted  called with the name below the folder; NULL: all
 */
CYC_MUST_CHECK cyc_status cyc_file_marks_add_folder(cyc_file_marks *m, const char *root, const char *folder,
                                                    bool (*is_wanted)(const char *name));
/** Take size and hash of every file. CYC_E_IO naming the first that cannot be read. */
CYC_MUST_CHECK cyc_status cyc_file_marks_take(cyc_file_marks *m, const char *root, int n_threads);
/** Hash of names, sizes and hashes. */
uint64_t cyc_file_marks_hash(uint64_t h, const cyc_file_marks *m);
/** How a file differs from its mark. */
typedef enum { CYC_FILE_SAME, CYC_FILE_CHANGED, CYC_FILE_MISSING } cyc_file_state;
/**
 * Compare files with their marks.
 * @param[out] states  m->n, by the caller
 * @return CYC_E_NOMEM; a file that cannot be read counts as changed
 */
CYC_MUST_CHECK cyc_status cyc_file_marks_compare(cyc_file_state *states, const cyc_file_marks *m,
                                                 const char *root, int n_threads);

#ifdef __cplusplus
}
#endif
#endif
