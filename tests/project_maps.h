/* Half maps of a simulated project. Include after project_fixture.h. */
#ifndef CYC_TESTS_PROJECT_MAPS_H
#define CYC_TESTS_PROJECT_MAPS_H

#include "cyclotomo/reconstruct.h"

/* Those of the present project's particles.star in R/, symmetry O: box 48, cropped to 32 px. */
static inline void reconstruct_project(void)
{
	cyc_reconstruct_options r;
	cyc_reconstruct_options_default(&r);
	r.input.root = g_root;
	r.input.optimisation_set = "optimisation_set.star";
	r.out_dir = "R";
	r.box_px = 48;
	r.crop_px = 32;
	r.taper_px = 3;
	r.symmetry = "O";
	r.n_threads = 2;
	ASSERT_OK(cyc_reconstruct_run(NULL, &r));
}

#endif
