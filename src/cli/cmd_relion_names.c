#include "relion.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

cyc_status cyc_cmd_relion_names(int argc, char **argv);

typedef struct {
	cyc_common_options common;
	const char *dir;
	bool is_forced;
} names_args;

#define ARG(type, name, member, ...) CYC_OPTION(names_args, type, name, member, __VA_ARGS__)
static const cyc_option OPTIONS[] = {
	ARG(ARG, "DIR", dir, .help = "Folder for the links; created if necessary."),
	ARG(FLAG, "force", is_forced, .help = "Replace links that point elsewhere; files are never replaced."),
	CYC_COMMON_OPTIONS(names_args, common),
};
static const cyc_command COMMAND =
	CYC_COMMAND_DEF("relion-names", "Make links by which RELION's GUI and scripts call cyclotomo",
                    "  cyclotomo relion-names ~/cyclotomo-as-relion\n"
                    "  PATH=~/cyclotomo-as-relion:$PATH relion\n"
                    "makes links with the names of RELION's programs (also with _mpi) to this program. "
                    "Called by such a name it takes RELION's\n"
                    "options; <name> --help lists them and how each is handled.",
                    OPTIONS);

static const char *const SUFFIX[] = { "", "_mpi" };
enum { N_SUFFIXES = sizeof SUFFIX / sizeof *SUFFIX };

/* The program that runs, by its real name. Free with cyc_free(). */
static cyc_status own_path(char **out)
{
	cyc_status st = CYC_OK;
	char *path = realpath("/proc/self/exe", NULL);
	CYC_CHECK(path, CYC_E_IO, "this program's own file cannot be found: %s", strerror(errno));
	CYC_TRY(cyc_strdup(out, path));
done:
	free(path);
	return st;
}

/* May the link be made, or is it there already? */
static cyc_status check_place(bool *is_there, const char *path, const char *program, bool is_forced)
{
	cyc_status st = CYC_OK;
	struct stat s;
	char *real = NULL;
	*is_there = false;
	if (lstat(path, &s) != 0) {
		CYC_CHECK(errno == ENOENT, CYC_E_IO, "cannot read '%s': %s", path, strerror(errno));
		goto done;
	}
	CYC_CHECK(S_ISLNK(s.st_mode), CYC_E_IO,
	          "'%s' exists and is not a link: it may be RELION's own program; choose another folder", path);
	real = realpath(path, NULL);
	*is_there = real && strcmp(real, program) == 0;
	if (!*is_there && !is_forced) {
		st = cyc_error_raise(CYC_E_IO, __FILE__, __LINE__, __func__, "'%s' is a link to %s", path,
		                     real ? real : "a file that does not exist");
		cyc_error_hint("choose another folder, or replace such links with --force");
	}
done:
	free(real);
	return st;
}

/* Under another name first, so that the link is always there or always right. */
static cyc_status make_link(const char *path, const char *program)
{
	cyc_status st = CYC_OK;
	char *new_path = NULL;
	CYC_TRY(cyc_asprintf(&new_path, "%s.tmp%ld", path, (long)getpid()));
	CYC_CHECK(symlink(program, new_path) == 0, CYC_E_IO, "cannot make the link '%s': %s", path,
	          strerror(errno));
	if (rename(new_path, path) != 0) {
		int error = errno;
		unlink(new_path);
		CYC_RAISE(CYC_E_IO, "cannot make the link '%s': %s", path, strerror(error));
	}
done:
	cyc_free(new_path);
	return st;
}

/* All places are looked at before the first link is made. */
static cyc_status link_all(const char *dir, bool is_forced)
{
	cyc_status st = CYC_OK;
	char *program = NULL, *path = NULL, *name = NULL;
	CYC_TRY(own_path(&program));
	for (int pass = 0; pass < 2; pass++) {
		if (pass == 1) CYC_TRY(cyc_make_dirs(dir));
		for (int i = 0; i < cyc_relion_n_programs() * N_SUFFIXES; i++) {
			bool is_there = false;
			CYC_TRY(cyc_asprintf(&name, "%s%s", cyc_relion_program_at(i / N_SUFFIXES)->name,
			                     SUFFIX[i % N_SUFFIXES]));
			CYC_TRY(cyc_path_join(&path, dir, name));
			CYC_TRY(check_place(&is_there, path, program, is_forced));
			if (pass == 1 && !is_there) CYC_TRY(make_link(path, program));
			if (pass == 1) printf("%s\n", path);
			cyc_free(path);
			cyc_free(name);
			path = name = NULL;
		}
	}
	cyc_info("put %s at the front of PATH: RELION's GUI and scripts then call %s by these names", dir,
	         program);
done:
	cyc_free(program);
	cyc_free(path);
	cyc_free(name);
	return st;
}

cyc_status cyc_cmd_relion_names(int argc, char **argv)
{
	cyc_status st = CYC_OK;
	names_args a = { 0 };
	cyc_run run = { 0 };
	char *dir = NULL;
	CYC_TRY(cyc_run_begin(&run, &COMMAND, &a, &a.common, argc, argv));
	if (run.is_help) goto done;
	CYC_TRY(cyc_path_join(&dir, a.common.root, a.dir));
	CYC_TRY(link_all(dir, a.is_forced));
done:
	cyc_free(dir);
	return cyc_run_end(&run, st);
}
