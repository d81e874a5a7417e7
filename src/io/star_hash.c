#include "io/star_internal.h"

#include <string.h>

/* Written values may be padded; read back they are not. */
static uint64_t hash_trimmed(uint64_t h, const char *text)
{
	size_t n;
	while (cyc__is_blank(*text)) text++;
	n = strlen(text);
	while (n > 0 && cyc__is_blank(text[n - 1])) n--;
	return cyc_hash(cyc_hash(h, text, n), "", 1);
}

static uint64_t hash_block(uint64_t h, const cyc_star_block *b)
{
	const int64_t size[3] = { b->kind, b->n_columns, b->n_rows };
	h = cyc_hash(hash_trimmed(h, b->name), size, sizeof size);
	for (int32_t c = 0; c < b->n_columns; c++) h = hash_trimmed(h, b->labels[c]);
	for (int64_t i = 0; i < b->n_rows; i++)
		for (int32_t c = 0; c < b->n_columns; c++) h = hash_trimmed(h, b->values[i * b->stride + c]);
	return h;
}

uint64_t cyc_star_hash(uint64_t h, const cyc_star *s, const char *without)
{
	for (int32_t i = 0; i < s->n_blocks; i++) {
		if (without && strcmp(s->blocks[i]->name, without) == 0) continue;
		h = hash_block(h, s->blocks[i]);
	}
	return h;
}
