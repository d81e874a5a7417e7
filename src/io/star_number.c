#include "io/star_internal.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The "C" locale: a user's decimal comma must not change what a file means. */
static locale_t g_locale;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static void make_locale(void) { g_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }
static locale_t c_locale(void)
{
	pthread_once(&g_once, make_locale);
	return g_locale;
}

static bool parse_double_slowly(double *out, const char *text)
{
	char *end = NULL;
	locale_t c = c_locale();
	double v = c ? strtod_l(text, &end, c) : strtod(text, &end);
	if (end == text) return false;
	while (cyc__is_blank(*end)) end++;
	if (*end || !(v - v == 0.0)) return false;
	*out = v;
	return true;
}

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/*
 * A decimal of up to 19 digits whose digits as an integer are below 2^53, times a power of ten up to 10^22,
 * is the correctly rounded result of one multiplication or division: both operands are exact. All else goes
 * to strtod.
 */
bool cyc__parse_double(double *out, const char *text)
{
	static const double POWER[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
		                            1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
	const char *p = text;
	bool is_negative = *p == '-';
	if (*p == '-' || *p == '+') p++;
	uint64_t digits = 0;
	int n_digits = 0, exponent = 0;
	for (; is_digit(*p); p++, n_digits++) digits = digits * 10 + (uint64_t)(*p - '0');
	if (*p == '.') {
		const char *point = p++;
		for (; is_digit(*p); p++) digits = digits * 10 + (uint64_t)(*p - '0');
		exponent = (int)(point + 1 - p);
		n_digits -= exponent;
	}
	if (n_digits == 0 || n_digits > 19) return parse_double_slowly(out, text);
	if (*p == 'e' || *p == 'E') {
		bool is_small = *++p == '-';
		if (*p == '-' || *p == '+') p++;
		if (!is_digit(p[0]) || (is_digit(p[0]) && is_digit(p[1]) && is_digit(p[2])))
			return parse_double_slowly(out, text);
		int e = *p++ - '0';
		if (is_digit(*p)) e = e * 10 + (*p++ - '0');
		exponent += is_small ? -e : e;
	}
	if (*p || digits >= UINT64_C(1) << 53 || exponent < -22 || exponent > 22)
		return parse_double_slowly(out, text);
	double v = (double)digits;
	v = exponent < 0 ? v / POWER[-exponent] : v * POWER[exponent];
	*out = is_negative ? -v : v;
	return true;
}

bool cyc__parse_int(int64_t *out, const char *text)
{
	const char *p = text;
	bool is_negative = *p == '-';
	if (*p == '-' || *p == '+') p++;
	uint64_t v = 0;
	int n = 0;
	for (; is_digit(*p) && n < 19; p++, n++) v = v * 10 + (uint64_t)(*p - '0');
	if (n > 0 && !*p && v <= INT64_MAX) {
		*out = is_negative ? -(int64_t)v : (int64_t)v;
		return true;
	}
	/* Programs that hold all numbers as floats write 4000.000000. */
	double d;
	if (!cyc__parse_double(&d, text) || fabs(d) > 9007199254740992.0 || d != floor(d)) return false;
	*out = (int64_t)d;
	return true;
}

/* snprintf of one number in the "C" locale. */
static void print_number(char *out, size_t size, const char *fmt, int precision, double v)
{
	locale_t c = c_locale(), old = c ? uselocale(c) : (locale_t)0;
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
	snprintf(out, size, fmt, precision, v);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
	if (c) uselocale(old);
}

void cyc__format_double(char *out, double v)
{
	char text[400];
	double a = fabs(v);
	/* Three digits of exponent do not fit RELION's field: too small is zero, too large loses a digit of the
	 * mantissa. */
	if (a < 1e-99) v = a = 0.0;
	int decimals = v < 0.0 ? 5 : 6;
	if (a > 0.0 && (a < 0.001 || a > 100000.0)) {
		print_number(text, sizeof text, "%.*e", a >= 1e100 ? decimals - 1 : decimals, v);
	} else {
		print_number(text, sizeof text, "%.*f", decimals, v);
		text[12] = '\0';
	}
	memcpy(out, text, strlen(text) + 1);
}

void cyc__format_significant(char *out, double v, int n_digits)
{
	print_number(out, CYC__NUMBER_TEXT, "%.*g", n_digits, v);
}
