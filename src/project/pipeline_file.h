/**
 * @file pipeline_file.h
 * default_pipeline.star of a project: jobs, the files they read and write, and the number of the next job.
 *
 * Other programs (RELION's GUI, pipeliner and schemer, other runs of this program) change the file too. Each
 * change is therefore a short one: open (which locks, as RELION does), change, save, close. What is not
 * changed stays as it was.
 *
 * A lock is the folder .relion_lock in the project; making it is atomic. One that this program left when it
 * was killed is recognised by the process named in it, and removed.
 */
#ifndef CYC_PROJECT_PIPELINE_FILE_H
#define CYC_PROJECT_PIPELINE_FILE_H

#include "cyclotomo/project.h"

/** Start from a zeroed struct. */
typedef struct {
	char *root, *path;
	cyc_star *star;
	cyc_star_block *general, *processes, *nodes, *input_edges, *output_edges; /**< borrowed from star */
	bool is_locked;
} cyc_pipeline_file;

/** An empty pipeline whose next job is number 1; nothing is read or locked. */
CYC_MUST_CHECK cyc_status cyc_pipeline_create(cyc_pipeline_file *p);
/**
 * Lock the project's pipeline and read it; without a file it is an empty one.
 * @param[in] root    project folder, "" or NULL: the current one
 * @param[in] wait_s  how long to wait for a lock of somebody else
 * @return CYC_E_IO if it stays locked; CYC_E_FORMAT if the file is no pipeline of RELION 4 or 5;
 * CYC_E_CANCELLED. cyc_pipeline_close() also after a failure.
 */
CYC_MUST_CHECK cyc_status cyc_pipeline_open(cyc_pipeline_file *p, const char *root, double wait_s);
/** Write it (by renaming a complete file), and tell an open GUI of the change. */
CYC_MUST_CHECK cyc_status cyc_pipeline_save(const cyc_pipeline_file *p);
/** Unlock and free. */
void cyc_pipeline_close(cyc_pipeline_file *p);

/** Number that no job of the pipeline and no job folder of the project (also in its Trash) has, and that is
 * not below the pipeline's counter. */
CYC_MUST_CHECK cyc_status cyc_pipeline_free_number(int32_t *job, const cyc_pipeline_file *p);
/** The counter as the file has it, without a lock; 1 without a file. For plans. */
CYC_MUST_CHECK cyc_status cyc_pipeline_peek(int32_t *job, const char *root);
/** The counter becomes at least this. */
CYC_MUST_CHECK cyc_status cyc_pipeline_count_to(cyc_pipeline_file *p, int32_t next_job);
/** Has another job than `process` this number, in the pipeline or as a folder of the project or its Trash? */
bool cyc_pipeline_is_taken(const cyc_pipeline_file *p, int32_t job, const char *process);
/** Status of the job of this name ("Polish/job030/"), borrowed; NULL: there is none. */
const char *cyc_pipeline_status(const cyc_pipeline_file *p, const char *process);
/** Add a job, or change its status ("Running", "Succeeded", "Failed", "Aborted"); an alias stays. */
CYC_MUST_CHECK cyc_status cyc_pipeline_set(cyc_pipeline_file *p, const char *process, const char *type_label,
                                           const char *status);
/** The file's name with the job in place of its alias: "Select/good/a.star" to "Select/job024/a.star". */
CYC_MUST_CHECK cyc_status cyc_pipeline_file_name(char **out, const cyc_pipeline_file *p, const char *file);
/** A file that a job reads: an edge, and a node of this type where it is not known yet. */
CYC_MUST_CHECK cyc_status cyc_pipeline_add_input(cyc_pipeline_file *p, const char *process, const char *file,
                                                 const char *type_label);
/** A file that a job writes. @param[in] depth  rlnPipeLineNodeTypeLabelDepth: 1, or 99 for half maps */
CYC_MUST_CHECK cyc_status cyc_pipeline_add_output(cyc_pipeline_file *p, const char *process, const char *file,
                                                  const char *type_label, int depth);
/** The part of a pipeline that is about one job, as job_pipeline.star has it. */
CYC_MUST_CHECK cyc_status cyc_pipeline_of_job(cyc_pipeline_file *out, const cyc_pipeline_file *p,
                                              const char *process);

#endif
