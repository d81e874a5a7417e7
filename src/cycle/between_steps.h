/**
 * @file between_steps.h
 * What the cycle does beside its steps: particles in new weights, a look at the metadata, the pipeline file.
 */
#ifndef CYC_CYCLE_BETWEEN_STEPS_H
#define CYC_CYCLE_BETWEEN_STEPS_H

#include "run/run.h"

/**
 * Where a refinement left the particles other weights (cycParticleProbability), or fewer of them, its maps
 * differ from those before it by who is in them too: fill c->before_set with the state before, in the new
 * weights, as files in the folder of the step.
 */
CYC_MUST_CHECK cyc_status cyc__reweight(cyc__cycle *c, const cyc__step *s);
/**
 * Compare the metadata of the state the run is in with its images, unless an earlier state could tell
 * already; findings become warnings. They are kept in the post-processing step's metadata.txt, so that a
 * resumed run repeats them.
 */
CYC_MUST_CHECK cyc_status cyc__check_metadata(cyc__cycle *c);
/** RUN/default_pipeline.star for the steps so far; c->status is that of the newest. */
CYC_MUST_CHECK cyc_status cyc__pipeline_write(const cyc__cycle *c);

#endif
