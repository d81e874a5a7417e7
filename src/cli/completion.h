/**
 * @file completion.h
 * Completion of command lines by bash and zsh, from the tables of options. `cyclotomo completion SHELL`
 * prints a whole script: its head, a part for each command, which the command prints from its own table, and
 * its end.
 */
#ifndef CYC_CLI_COMPLETION_H
#define CYC_CLI_COMPLETION_H

#include "options.h"

/** The part of bash's script for one command: a branch of `case $command`. */
void cyc_completion_print_bash(FILE *f, const void *target, const cyc_option *rows, int n,
                               const cyc_usage *usage);
/** The part of zsh's script for one command: a branch of `case $words[1]`. */
void cyc_completion_print_zsh(FILE *f, const void *target, const cyc_option *rows, int n,
                              const cyc_usage *usage);

#endif
