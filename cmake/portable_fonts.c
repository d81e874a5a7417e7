/* For CYC_PORTABLE: figures have letters on machines without fonts, too. The program brings a font in
 * ../share/cyclotomo/fonts; the linker's --wrap sends the call by which figures choose theirs here. */
#include <fontconfig/fontconfig.h>

#include <cairo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void __real_cairo_select_font_face(cairo_t *cr, const char *family, cairo_font_slant_t slant,
                                   cairo_font_weight_t weight);
void __wrap_cairo_select_font_face(cairo_t *cr, const char *family, cairo_font_slant_t slant,
                                   cairo_font_weight_t weight);

static void add_fonts(void)
{
	char program[4000], path[4096];
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
	if (n <= 0) return;
	program[n] = '\0';
	/* PREFIX/bin/cyclotomo */
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(program, '/');
		if (!slash) return;
		*slash = '\0';
	}
	snprintf(path, sizeof path, "%s/share/cyclotomo/fonts/fonts.conf", program);
	if (access("/etc/fonts/fonts.conf", R_OK) != 0 && access(path, R_OK) == 0)
		setenv("FONTCONFIG_FILE", path, 0);
	snprintf(path, sizeof path, "%s/share/cyclotomo/fonts", program);
	if (access(path, R_OK) == 0) FcConfigAppFontAddDir(NULL, (const FcChar8 *)path);
}

void __wrap_cairo_select_font_face(cairo_t *cr, const char *family, cairo_font_slant_t slant,
                                   cairo_font_weight_t weight)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, add_fonts);
	__real_cairo_select_font_face(cr, family, slant, weight);
}
