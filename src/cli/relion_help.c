#include "relion.h"

#include <string.h>

/* The sentence that describes how an option is treated; `mark` surrounds names of options. */
static void print_fate(FILE *f, const cyc_relion_option *o, const char *mark)
{
	const char *to = o->to ? o->to : o->name + 2;
	switch (o->becomes) {
	case CYC_RELION_SAME:
		fprintf(f, "%s--%s%s", mark, to, mark);
		if (o->passes_default) fprintf(f, ", %s unless given", o->value);
		break;
	case CYC_RELION_READ:
		if (o->to) fprintf(f, "%s--%s%s", mark, o->to, mark);
		break;
	case CYC_RELION_ALWAYS: fputs("nothing to do", f); break;
	case CYC_RELION_UNUSED: fputs("not used, with a warning", f); break;
	case CYC_RELION_INERT: fputs("no effect, as in RELION, with a warning", f); break;
	case CYC_RELION_UNSUPPORTED: fputs("refused: not supported yet", f); break;
	case CYC_RELION_OWN: fputs("the same", f); break;
	}
	if (o->note) fprintf(f, "%s%s", o->becomes == CYC_RELION_READ && !o->to ? "" : ": ", o->note);
}

/* "--a <px>, --b <px>" */
static void print_spellings(FILE *f, const cyc_relion_option *o, const char *mark)
{
	for (const char *name = o->name; *name;) {
		size_t n = strcspn(name, ",");
		fprintf(f, "%s%s%.*s%s%s%s", name == o->name ? "" : ", ", mark, (int)n, name, o->unit ? " " : "",
		        o->unit ? o->unit : "", mark);
		name += n + (name[n] == ',');
	}
}

void cyc_relion_print_help(FILE *f, const cyc_relion_program *p)
{
	fprintf(f,
	        "%s: %s, done by cyclotomo %s\n"
	        "\n"
	        "usage: %s [options]\n"
	        "\n"
	        "RELION's options, and after the arrow what cyclotomo does with them.\n",
	        p->name, p->summary, p->command, p->name);
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 0; i < all.n; i++) {
		const cyc_relion_option *o = &all.rows[i];
		if (o->is_hidden) continue;
		if (o->type == CYC_OPT_HEADING) {
			fprintf(f, "\n%s\n", o->name);
			continue;
		}
		fputs("  ", f);
		print_spellings(f, o, "");
		fprintf(f, "\n        %s", o->help);
		if (o->is_required) fputs(" [required]", f);
		else if (o->value && o->value[0]) fprintf(f, " [RELION's default: %s]", o->value);
		fputs("\n        -> ", f);
		print_fate(f, o, "");
		fputc('\n', f);
	}
	fprintf(f,
	        "\nOther options of 'cyclotomo %s' are accepted under their own names: see cyclotomo %s --help\n",
	        p->command, p->command);
}

void cyc_relion_print_markdown(FILE *f, const cyc_relion_program *p)
{
	fprintf(f,
	        "## %s\n\n%s; `cyclotomo %s`.\n\n| option | RELION's default | to RELION | here "
	        "|\n|---|---|---|---|\n",
	        p->name, p->summary, p->command);
	const cyc_relion_rows all = cyc_relion_rows_of(p);
	for (int i = 0; i < all.n; i++) {
		const cyc_relion_option *o = &all.rows[i];
		if (o->type == CYC_OPT_HEADING || o->is_hidden) continue;
		fputs("| ", f);
		print_spellings(f, o, "`");
		fprintf(f, " | %s | %s | ",
		        o->is_required ? "required"
		        : o->value     ? o->value
		                       : "",
		        o->becomes == CYC_RELION_OWN ? "unknown" : o->help);
		print_fate(f, o, "`");
		fputs(" |\n", f);
	}
	cyc_relion_print_tab(f, p);
}
