/**
 * @file between_steps.h
 * Tasks of the cycle between its steps: particles with new weights, a check of the metadata, the pipeline
 * file.
 */
#ifndef CYC_CYCLE_BETWEEN_STEPS_H
#define CYC_CYCLE_BETWEEN_STEPS_H

#include "run/run.h"

/**
 * If a refinement changed the weights of particles (cycParticleProbability), or removed some, its maps also
 * differ from the earlier ones by their particles: fill c->before_set with the earlier state in the new
 * weights, as files in the folder of the step.
 */
CYC_MUST_CHECK cyc_status cyc__reweight(cyc__cycle *c, const cyc__step *s);
/**
 * Compare the metadata of the run's current state with its images, unless an earlier state gave a clear
 * answer; findings become warnings. They are kept in the post-processing step's metadata.txt, so that a
 * resumed run repeats them.
 */
CYC_MUST_CHECK cyc_status cyc__check_metadata(cyc__cycle *c);
/** RUN/default_pipeline.star for the steps so far; c->status is that of the newest. */
CYC_MUST_CHECK cyc_status cyc__pipeline_write(const cyc__cycle *c);

#endif
