#include "io/star_internal.h"

#include <string.h>

/* ---------------------------------------------------------------- memory of a document */

struct cyc__chunk {
	cyc__chunk *next;
	size_t pad;
};

/* Under AddressSanitizer every text gets an own chunk, so that it sees reads past the end of one. */
#if defined(__SANITIZE_ADDRESS__)
#define ONE_CHUNK_EACH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_CHUNK_EACH 1
#endif
#endif
#ifndef ONE_CHUNK_EACH
#define ONE_CHUNK_EACH 0
#endif

static const size_t CHUNK_MIN = 4096, CHUNK_MAX = 1 << 20;

cyc_status cyc__star_memory(void *out, cyc_star *s, size_t n, size_t size)
{
	cyc_status st = CYC_OK;
	cyc__chunk *c = NULL;
	char *p = NULL;
	CYC_CHECK(size == 0 || n < SIZE_MAX / 4 / size, CYC_E_NOMEM,
	          "not enough memory for %zu x %zu bytes of '%s'", n, size, s->name);
	size_t bytes = (n * size + 15) / 16 * 16;
	if (ONE_CHUNK_EACH || !s->chunks || s->chunk_size - s->chunk_used < bytes) {
		size_t next = s->chunk_size < CHUNK_MIN ? CHUNK_MIN : s->chunk_size * 2;
		if (next > CHUNK_MAX) next = CHUNK_MAX;
		size_t room = ONE_CHUNK_EACH || bytes > next / 2 ? (ONE_CHUNK_EACH ? n * size : bytes) : next;
		CYC_TRY(cyc_alloc_(&c, 1, sizeof *c + room, "the values of a STAR file"));
		p = (char *)c + sizeof *c;
		if (room != next && s->chunks) {
			/* A large piece of its own goes behind the chunk that still has room. */
			c->next = s->chunks->next;
			s->chunks->next = c;
		} else {
			c->next = s->chunks;
			s->chunks = c;
			s->chunk_size = room;
			s->chunk_used = bytes < room ? bytes : room;
		}
	} else {
		p = (char *)s->chunks + sizeof *c + s->chunk_used;
		s->chunk_used += bytes;
	}
	memcpy(out, &p, sizeof p);
done:
	return st;
}

cyc_status cyc__star_keep_text(const char **out, cyc_star *s, const char *text, size_t n)
{
	cyc_status st = CYC_OK;
	char *p = NULL;
	CYC_TRY(cyc__star_memory(&p, s, n + 1, 1));
	memcpy(p, text, n);
	p[n] = '\0';
	*out = p;
done:
	return st;
}

cyc_status cyc_star_create(cyc_star **out)
{
	cyc_status st = CYC_OK;
	cyc_star *s = NULL;
	*out = NULL;
	CYC_TRY(cyc_alloc(&s, 1, sizeof *s));
	CYC_TRY(cyc_strdup(&s->name, ""));
	*out = s;
	s = NULL;
done:
	cyc_star_destroy(&s);
	return st;
}

void cyc_star_destroy(cyc_star **s)
{
	if (!s || !*s) return;
	for (cyc__chunk *c = (*s)->chunks; c;) {
		cyc__chunk *next = c->next;
		cyc_free(c);
		c = next;
	}
	cyc_free((*s)->name);
	cyc_free((*s)->text);
	cyc_free((*s)->comment);
	cyc_free((*s)->blocks);
	cyc_free((*s)->hash);
	cyc_free(*s);
	*s = NULL;
}

const char *cyc_star_name(const cyc_star *s) { return s->name; }

cyc_status cyc_star_set_name(cyc_star *s, const char *name)
{
	cyc_status st = CYC_OK;
	char *copy = NULL;
	CYC_TRY(cyc_strdup(&copy, name));
	cyc_free(s->name);
	s->name = copy;
done:
	return st;
}

cyc_status cyc_star_set_comment(cyc_star *s, const char *text)
{
	cyc_status st = CYC_OK;
	char *copy = NULL;
	if (text) CYC_TRY(cyc_strdup(&copy, text));
	cyc_free(s->comment);
	s->comment = copy;
done:
	return st;
}

/* ---------------------------------------------------------------- blocks */

static uint32_t slot_of(const cyc_star *s, const char *name)
{
	uint32_t i = (uint32_t)cyc_hash_string(CYC_HASH_INIT, name) & (uint32_t)(s->hash_size - 1);
	while (s->hash[i] && strcmp(s->blocks[s->hash[i] - 1]->name, name) != 0)
		i = (i + 1) & (uint32_t)(s->hash_size - 1);
	return i;
}

static void fill_hash(cyc_star *s)
{
	if (s->hash) memset(s->hash, 0, (size_t)s->hash_size * sizeof *s->hash);
	for (int32_t i = 0; i < s->n_blocks; i++) {
		uint32_t slot = slot_of(s, s->blocks[i]->name);
		s->blocks[i]->is_repeated = false;
		if (!s->hash[slot]) s->hash[slot] = i + 1;
		else s->blocks[s->hash[slot] - 1]->is_repeated = true;
	}
}

static cyc_status make_room_for_block(cyc_star *s)
{
	cyc_status st = CYC_OK;
	int32_t *hash = NULL;
	if (s->n_blocks < s->block_capacity) return CYC_OK;
	CYC_CHECK(s->block_capacity < INT32_MAX / 8, CYC_E_UNSUPPORTED, "'%s' has too many blocks", s->name);
	int32_t capacity = s->block_capacity ? s->block_capacity * 2 : 4;
	CYC_TRY(cyc_alloc(&hash, (size_t)capacity * 2, sizeof *hash));
	CYC_TRY(cyc_realloc(&s->blocks, (size_t)s->block_capacity, (size_t)capacity, sizeof *s->blocks));
	s->block_capacity = capacity;
	cyc_free(s->hash);
	s->hash = hash;
	hash = NULL;
	s->hash_size = capacity * 2;
	fill_hash(s);
done:
	cyc_free(hash);
	return st;
}

cyc_status cyc__star_append_block(cyc_star_block **out, cyc_star *s, const char *name, cyc_star_kind kind)
{
	cyc_status st = CYC_OK;
	cyc_star_block *b = NULL;
	CYC_TRY(make_room_for_block(s));
	CYC_TRY(cyc__star_memory(&b, s, 1, sizeof *b));
	b->star = s;
	b->name = name;
	b->kind = kind;
	if (kind == CYC_STAR_LIST) {
		CYC_TRY(cyc__star_reserve(b, 0, 1));
		b->n_rows = 1;
	}
	uint32_t slot = slot_of(s, name);
	if (!s->hash[slot]) s->hash[slot] = s->n_blocks + 1;
	else s->blocks[s->hash[slot] - 1]->is_repeated = true;
	s->blocks[s->n_blocks++] = b;
	*out = b;
done:
	return st;
}

cyc_status cyc_star_add_block(cyc_star_block **out, cyc_star *s, const char *block, cyc_star_kind kind)
{
	cyc_status st = CYC_OK;
	const char *name = NULL;
	size_t n = strlen(block);
	*out = NULL;
	CYC_CHECK(!cyc_star_find(s, block), CYC_E_INTERNAL, "'%s' already has a block '%s'", s->name, block);
	CYC_CHECK(!strpbrk(block, "\n\r"), CYC_E_INTERNAL, "a block name cannot have a line break");
	CYC_CHECK(n == 0 || !(cyc__is_blank(block[0]) || cyc__is_blank(block[n - 1])), CYC_E_INTERNAL,
	          "block name '%s' starts or ends with a blank", block);
	CYC_TRY(cyc__star_keep_text(&name, s, block, n));
	CYC_TRY(cyc__star_append_block(out, s, name, kind));
done:
	return st;
}

int32_t cyc_star_n_blocks(const cyc_star *s) { return s->n_blocks; }

cyc_star_block *cyc_star_block_at(const cyc_star *s, int32_t i)
{
	return i >= 0 && i < s->n_blocks ? s->blocks[i] : NULL;
}

cyc_star_block *cyc_star_find(const cyc_star *s, const char *block)
{
	if (!s->hash) return NULL;
	int32_t i = s->hash[slot_of(s, block)];
	return i ? s->blocks[i - 1] : NULL;
}

cyc_status cyc_star_check_unique(const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	if (!b || !b->is_repeated) return CYC_OK;
	const cyc_star *s = b->star;
	const cyc_star_block *other = b;
	int n = 0;
	for (int32_t i = 0; i < s->n_blocks; i++) {
		if (strcmp(s->blocks[i]->name, b->name) != 0) continue;
		if (++n == 2) other = s->blocks[i];
	}
	st = cyc_error_raise(
		CYC_E_DATA, __FILE__, __LINE__, __func__,
		"'%s' has %d blocks '%s' (their rows start in line %lld and line %lld): only one can be used",
		s->name, n, b->name, (long long)(b->n_rows > 0 ? b->lines[0] : 0),
		(long long)(other->n_rows > 0 ? other->lines[0] : 0));
	cyc_error_hint("files joined with cat have each block twice: put all rows under one header, for example "
	               "with relion_star_handler --combine or the starfile package");
	return st;
}

cyc_status cyc_star_require(cyc_star_block **out, const cyc_star *s, const char *block)
{
	cyc_status st = CYC_OK;
	char there[256] = "";
	*out = cyc_star_find(s, block);
	if (*out) return cyc_star_check_unique(*out);
	for (int32_t i = 0; i < s->n_blocks; i++) {
		size_t n = strlen(there);
		if (n + strlen(s->blocks[i]->name) + 8 > sizeof there) {
			snprintf(there + n, sizeof there - n, ", ...");
			break;
		}
		snprintf(there + n, sizeof there - n, "%s'%s'", i ? ", " : "", s->blocks[i]->name);
	}
	CYC_RAISE(CYC_E_FORMAT, "'%s' has no block '%s'; it has %s", s->name, block,
	          there[0] ? there : "no block at all");
done:
	return st;
}

cyc_status cyc_star_add_copy(cyc_star_block **out, cyc_star *s, const cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	cyc_star_block *c = NULL;
	const char *name = NULL;
	*out = NULL;
	CYC_TRY(cyc__star_keep_text(&name, s, b->name, strlen(b->name)));
	CYC_TRY(cyc__star_append_block(&c, s, name, b->kind));
	CYC_TRY(cyc__star_reserve(c, b->n_columns, b->n_rows));
	for (int32_t j = 0; j < b->n_columns; j++)
		CYC_TRY(cyc__star_keep_text(&c->labels[j], s, b->labels[j], strlen(b->labels[j])));
	for (int64_t i = 0; i < b->n_rows; i++) {
		for (int32_t j = 0; j < b->n_columns; j++) {
			const char *text = b->values[i * b->stride + j];
			CYC_TRY(cyc__star_keep_text(&c->values[i * c->stride + j], s, text, strlen(text)));
		}
		c->lines[i] = b->lines[i];
	}
	c->n_columns = b->n_columns;
	c->n_rows = b->n_rows;
	*out = c;
done:
	if (st != CYC_OK && c) {
		/* The document goes back to what it was; the block is the last one. */
		s->n_blocks--;
		fill_hash(s);
	}
	return st;
}

cyc_status cyc_star_copy(cyc_star **out, const cyc_star *s)
{
	cyc_status st = CYC_OK;
	cyc_star *c = NULL;
	cyc_star_block *b = NULL;
	*out = NULL;
	CYC_TRY(cyc_star_create(&c));
	CYC_TRY(cyc_star_set_name(c, s->name));
	CYC_TRY(cyc_star_set_comment(c, s->comment));
	for (int32_t i = 0; i < s->n_blocks; i++) CYC_TRY(cyc_star_add_copy(&b, c, s->blocks[i]));
	*out = c;
	c = NULL;
done:
	cyc_star_destroy(&c);
	return st;
}

void cyc_star_remove_block(cyc_star *s, const char *block)
{
	int32_t n = 0;
	for (int32_t i = 0; i < s->n_blocks; i++) {
		if (strcmp(s->blocks[i]->name, block) != 0) s->blocks[n++] = s->blocks[i];
	}
	if (n == s->n_blocks) return;
	s->n_blocks = n;
	fill_hash(s);
}

/* ---------------------------------------------------------------- shape of a block */

const char *cyc_star_block_name(const cyc_star_block *b) { return b->name; }
cyc_star_kind cyc_star_block_kind(const cyc_star_block *b) { return b->kind; }
int32_t cyc_star_n_columns(const cyc_star_block *b) { return b->n_columns; }
int64_t cyc_star_n_rows(const cyc_star_block *b) { return b->n_rows; }

const char *cyc_star_label(const cyc_star_block *b, int32_t column)
{
	return column >= 0 && column < b->n_columns ? b->labels[column] : NULL;
}

int32_t cyc_star_column(const cyc_star_block *b, const char *label)
{
	for (int32_t j = 0; j < b->n_columns; j++) {
		if (strcmp(b->labels[j], label) == 0) return j;
	}
	return -1;
}

cyc_status cyc_star_require_column(int32_t *out, const cyc_star_block *b, const char *label)
{
	cyc_status st = CYC_OK;
	*out = cyc_star_column(b, label);
	CYC_CHECK(*out >= 0, CYC_E_FORMAT, "'%s': block '%s' has no column _%s", b->star->name, b->name, label);
done:
	return st;
}

cyc_status cyc__star_reserve(cyc_star_block *b, int32_t n_columns, int64_t n_rows)
{
	cyc_status st = CYC_OK;
	const char **labels = NULL, **values = NULL;
	int64_t *lines = NULL;
	int32_t stride = n_columns > b->stride ? n_columns : b->stride;
	int64_t capacity = n_rows > b->row_capacity ? n_rows : b->row_capacity;
	if (stride > b->stride) {
		CYC_TRY(cyc__star_memory(&labels, b->star, (size_t)stride, sizeof *labels));
		if (b->n_columns) memcpy(labels, b->labels, (size_t)b->n_columns * sizeof *labels);
	}
	if (stride > b->stride || capacity > b->row_capacity) {
		CYC_CHECK(stride == 0 || capacity <= INT64_MAX / 16 / stride, CYC_E_NOMEM,
		          "block '%s' of '%s' is too large", b->name, b->star->name);
		CYC_TRY(cyc__star_memory(&values, b->star, (size_t)capacity * (size_t)stride, sizeof *values));
		for (int64_t i = 0; i < b->n_rows && b->n_columns > 0; i++) {
			memcpy(values + i * stride, b->values + i * b->stride, (size_t)b->n_columns * sizeof *values);
		}
	}
	if (capacity > b->row_capacity) {
		CYC_TRY(cyc__star_memory(&lines, b->star, (size_t)capacity, sizeof *lines));
		if (b->n_rows) memcpy(lines, b->lines, (size_t)b->n_rows * sizeof *lines);
	}
	/* Nothing can fail from here on; what was replaced stays with the document until it is destroyed. */
	if (labels) b->labels = labels;
	if (values) b->values = values;
	if (lines) b->lines = lines;
	b->stride = stride;
	b->row_capacity = capacity;
done:
	return st;
}

cyc_status cyc_star_ensure_column(int32_t *out, cyc_star_block *b, const char *label, const char *fill)
{
	cyc_status st = CYC_OK;
	const char *kept = NULL, *text = NULL;
	*out = cyc_star_column(b, label);
	if (*out >= 0) return CYC_OK;
	CYC_CHECK(label[0] && !strpbrk(label, " \t\n\r\v\f#"), CYC_E_INTERNAL, "'%s' cannot be a label", label);
	CYC_CHECK(b->n_columns < INT32_MAX / 2, CYC_E_UNSUPPORTED, "block '%s' has too many columns", b->name);
	if (b->n_columns == b->stride) {
		/* Lists grow label by label: double; tables get a few columns at most. */
		int32_t more = b->kind == CYC_STAR_LIST ? b->stride + 8 : b->stride + 4;
		CYC_TRY(cyc__star_reserve(b, b->kind == CYC_STAR_LIST ? b->stride + more : more, 0));
	}
	CYC_TRY(cyc__star_keep_text(&kept, b->star, label, strlen(label)));
	CYC_TRY(cyc__star_keep_text(&text, b->star, fill, strlen(fill)));
	b->labels[b->n_columns] = kept;
	for (int64_t i = 0; i < b->n_rows; i++) b->values[i * b->stride + b->n_columns] = text;
	*out = b->n_columns++;
done:
	return st;
}

void cyc_star_remove_column(cyc_star_block *b, const char *label)
{
	int32_t j = cyc_star_column(b, label);
	if (j < 0) return;
	size_t n_after = (size_t)(b->n_columns - j - 1);
	memmove(b->labels + j, b->labels + j + 1, n_after * sizeof *b->labels);
	for (int64_t i = 0; i < b->n_rows; i++) {
		const char **row = b->values + i * b->stride;
		memmove(row + j, row + j + 1, n_after * sizeof *row);
	}
	b->n_columns--;
}

cyc_status cyc_star_add_row(int64_t *out, cyc_star_block *b)
{
	cyc_status st = CYC_OK;
	CYC_CHECK(b->kind == CYC_STAR_TABLE, CYC_E_INTERNAL, "block '%s' is a list: it has one row", b->name);
	if (b->n_rows == b->row_capacity)
		CYC_TRY(cyc__star_reserve(b, 0, b->row_capacity ? b->row_capacity * 2 : 8));
	for (int32_t j = 0; j < b->n_columns; j++) b->values[b->n_rows * b->stride + j] = "";
	b->lines[b->n_rows] = 0;
	*out = b->n_rows++;
done:
	return st;
}

void cyc_star_keep_rows(cyc_star_block *b, const bool *keep)
{
	int64_t n = 0;
	for (int64_t i = 0; i < b->n_rows; i++) {
		if (!keep[i]) continue;
		if (n != i && b->n_columns > 0) {
			memmove(b->values + n * b->stride, b->values + i * b->stride,
			        (size_t)b->n_columns * sizeof *b->values);
		}
		b->lines[n++] = b->lines[i];
	}
	b->n_rows = n;
}

/* ---------------------------------------------------------------- values */

const char *cyc_star_text(const cyc_star_block *b, int64_t row, int32_t column)
{
	CYC_ASSERT(row >= 0 && row < b->n_rows && column >= 0 && column < b->n_columns);
	return b->values[row * b->stride + column];
}

int64_t cyc_star_row_line(const cyc_star_block *b, int64_t row)
{
	return row >= 0 && row < b->n_rows ? b->lines[row] : 0;
}

cyc_status cyc_star_raise(cyc_status code, const cyc_star_block *b, int64_t row, const char *fmt, ...)
{
	char text[CYC_ERROR_TEXT / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	int64_t line = cyc_star_row_line(b, row);
	if (line > 0) {
		return cyc_error_raise(code, __FILE__, __LINE__, __func__, "%s: line %lld (block '%s', row %lld): %s",
		                       b->star->name, (long long)line, b->name, (long long)row + 1, text);
	}
	return cyc_error_raise(code, __FILE__, __LINE__, __func__, "%s: block '%s', row %lld: %s", b->star->name,
	                       b->name, (long long)row + 1, text);
}

cyc_status cyc_star_double(double *out, const cyc_star_block *b, int64_t row, int32_t column)
{
	const char *text = cyc_star_text(b, row, column);
	if (cyc__parse_double(out, text)) return CYC_OK;
	return cyc_star_raise(CYC_E_FORMAT, b, row, "_%s must be a number, found '%s'", b->labels[column], text);
}

cyc_status cyc_star_int(int64_t *out, const cyc_star_block *b, int64_t row, int32_t column)
{
	const char *text = cyc_star_text(b, row, column);
	if (cyc__parse_int(out, text)) return CYC_OK;
	return cyc_star_raise(CYC_E_FORMAT, b, row, "_%s must be a whole number, found '%s'", b->labels[column],
	                      text);
}

cyc_status cyc_star_vector(double **out, int32_t *n, const cyc_star_block *b, int64_t row, int32_t column)
{
	cyc_status st = CYC_OK;
	const char *text = cyc_star_text(b, row, column);
	char *copy = NULL;
	double *v = NULL;
	size_t length = strlen(text), count = 0;
	*out = NULL;
	*n = 0;
	bool is_vector = length >= 2 && length < INT32_MAX && text[0] == '[' && text[length - 1] == ']';
	if (is_vector) {
		bool is_empty = true;
		for (size_t i = 1; i + 1 < length; i++) {
			count += text[i] == ',';
			if (!cyc__is_blank(text[i])) is_empty = false;
		}
		if (!is_empty) count++;
		CYC_TRY(cyc_strdup(&copy, text));
		CYC_TRY(cyc_alloc(&v, count, sizeof *v));
		copy[length - 1] = '\0';
		char *p = copy + 1;
		for (size_t i = 0; i < count && is_vector; i++) {
			char *comma = strchr(p, ',');
			if (comma) *comma = '\0';
			is_vector = cyc__parse_double(&v[i], p);
			p = comma ? comma + 1 : p + strlen(p);
		}
	}
	if (!is_vector) {
		st = cyc_star_raise(CYC_E_FORMAT, b, row, "_%s must be a list of numbers like [1,2,3], found '%s'",
		                    b->labels[column], text);
		goto done;
	}
	*out = v;
	*n = (int32_t)count;
	v = NULL;
done:
	cyc_free(copy);
	cyc_free(v);
	return st;
}

cyc_status cyc_star_double_or(double *out, const cyc_star_block *b, int64_t row, const char *label,
                              double fallback)
{
	int32_t column = cyc_star_column(b, label);
	*out = fallback;
	return column < 0 ? CYC_OK : cyc_star_double(out, b, row, column);
}

cyc_status cyc_star_double_of(double *out, const cyc_star_block *b, int64_t row, const char *label)
{
	int32_t column;
	cyc_status st = cyc_star_require_column(&column, b, label);
	return st == CYC_OK ? cyc_star_double(out, b, row, column) : st;
}

const char *cyc_star_text_of(const cyc_star_block *b, int64_t row, const char *label)
{
	int32_t column = cyc_star_column(b, label);
	return column < 0 ? NULL : cyc_star_text(b, row, column);
}

cyc_status cyc_star_set_text(cyc_star_block *b, int64_t row, int32_t column, const char *text)
{
	cyc_status st = CYC_OK;
	CYC_ASSERT(row >= 0 && row < b->n_rows && column >= 0 && column < b->n_columns);
	const char **value = &b->values[row * b->stride + column];
	/* The same text again costs no memory: texts are only given back with the whole document. */
	if (strcmp(*value, text) != 0) CYC_TRY(cyc__star_keep_text(value, b->star, text, strlen(text)));
done:
	return st;
}

cyc_status cyc_star_set_double(cyc_star_block *b, int64_t row, int32_t column, double v)
{
	cyc_status st = CYC_OK;
	char text[CYC__NUMBER_TEXT];
	CYC_CHECK(v - v == 0.0, CYC_E_NUMERIC,
	          "_%s of block '%s' would be %f, which cannot be written to a STAR file", b->labels[column],
	          b->name, v);
	cyc__format_double(text, v);
	CYC_TRY(cyc_star_set_text(b, row, column, text));
done:
	return st;
}

cyc_status cyc_star_set_int(cyc_star_block *b, int64_t row, int32_t column, int64_t v)
{
	char text[CYC__NUMBER_TEXT];
	snprintf(text, sizeof text, "%lld", (long long)v);
	return cyc_star_set_text(b, row, column, text);
}

cyc_status cyc_star_set_vector(cyc_star_block *b, int64_t row, int32_t column, const double *v, int32_t n)
{
	cyc_status st = CYC_OK;
	char *text = NULL;
	size_t used = 1;
	CYC_TRY(cyc_alloc(&text, (size_t)n * CYC__NUMBER_TEXT + 3, 1));
	text[0] = '[';
	for (int32_t i = 0; i < n; i++) {
		CYC_CHECK(v[i] - v[i] == 0.0, CYC_E_NUMERIC,
		          "_%s of block '%s' would contain %f, which cannot be written to a STAR file",
		          b->labels[column], b->name, v[i]);
		if (i) text[used++] = ',';
		cyc__format_significant(text + used, v[i], 12);
		used += strlen(text + used);
	}
	text[used] = ']';
	CYC_TRY(cyc_star_set_text(b, row, column, text));
done:
	cyc_free(text);
	return st;
}

cyc_status cyc_star_list_set_text(cyc_star_block *b, const char *label, const char *text)
{
	cyc_status st = CYC_OK;
	int32_t column;
	CYC_CHECK(b->kind == CYC_STAR_LIST, CYC_E_INTERNAL, "block '%s' is a table, not a list", b->name);
	CYC_TRY(cyc_star_ensure_column(&column, b, label, text));
	CYC_TRY(cyc_star_set_text(b, 0, column, text));
done:
	return st;
}

cyc_status cyc_star_list_set_double(cyc_star_block *b, const char *label, double v)
{
	cyc_status st = CYC_OK;
	int32_t column;
	CYC_TRY(cyc_star_ensure_column(&column, b, label, "0"));
	CYC_TRY(cyc_star_set_double(b, 0, column, v));
done:
	return st;
}

cyc_status cyc_star_list_set_int(cyc_star_block *b, const char *label, int64_t v)
{
	char text[CYC__NUMBER_TEXT];
	snprintf(text, sizeof text, "%lld", (long long)v);
	return cyc_star_list_set_text(b, label, text);
}
