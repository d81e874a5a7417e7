#include "run/pairs.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

cyc_status cyc__pairs_add(cyc__pairs *p, const char *name, const char *fmt, ...)
{
	cyc_status st = CYC_OK;
	char text[2048];
	cyc__pair pair = { 0 };
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	CYC_CHECK(n >= 0 && n < (int)sizeof text, CYC_E_USAGE, "the value of %s is longer than %zu characters",
	          name, sizeof text);
	CYC_TRY(cyc_strdup(&pair.name, name));
	CYC_TRY(cyc_strdup(&pair.value, text));
	CYC_TRY(cyc_realloc(&p->items, (size_t)p->n, (size_t)p->n + 1, sizeof *p->items));
	p->items[p->n++] = pair;
	pair = (cyc__pair){ 0 };
done:
	cyc_free(pair.name);
	cyc_free(pair.value);
	return st;
}

const char *cyc__pairs_get(const cyc__pairs *p, const char *name)
{
	for (int32_t i = 0; i < p->n; i++) {
		if (strcmp(p->items[i].name, name) == 0) return p->items[i].value;
	}
	return NULL;
}

void cyc__pairs_deinit(cyc__pairs *p)
{
	for (int32_t i = 0; i < p->n; i++) {
		cyc_free(p->items[i].name);
		cyc_free(p->items[i].value);
	}
	cyc_free(p->items);
	*p = (cyc__pairs){ 0 };
}

cyc__hash_text cyc__hash_format(uint64_t h)
{
	cyc__hash_text t;
	snprintf(t.text, sizeof t.text, "%016" PRIx64, h);
	return t;
}
