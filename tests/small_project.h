/* A project of two tilt series and five particles, as text; written into the test's folder. Include after
 * temp_dir.h. */
#ifndef CYC_TESTS_SMALL_PROJECT_H
#define CYC_TESTS_SMALL_PROJECT_H

#include "cyclotomo/project.h"

#define TOMOGRAMS_HEAD                                                                                       \
	"data_global\n\nloop_\n_rlnTomoName\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_"     \
	"rlnTomoTiltSeriesPixelSize\n"                                                                           \
	"_rlnTomoHand\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n_rlnOpticsGroupName\n_myOwnColumn\n"
#define TOMOGRAMS                                                                                            \
	TOMOGRAMS_HEAD                                                                                           \
	"_rlnTomoTiltSeriesStarFile\n"                                                                           \
	"TS_01 300 2.7 0.1 2.0 -1 100 100 60 og1 \"my own\" Import/job001/tilt_series/TS_01.star\n"              \
	"TS_02 300 2.7 0.1 2.0 1 200 100 60 og2 other Import/job001/tilt_series/TS_02.star\n"
#define TILTS_HEAD                                                                                           \
	"loop_\n_rlnMicrographName\n_rlnMicrographPreExposure\n_rlnTomoXTilt\n_rlnTomoYTilt\n_rlnTomoZRot\n_"    \
	"rlnTomoXShiftAngst\n"                                                                                   \
	"_rlnTomoYShiftAngst\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnCtfScalefactor\n_rlnMyColumn\n"
#define TS_01                                                                                                \
	"data_TS_01\n\n" TILTS_HEAD "frames/a1.mrc 6 3 25 80 5 -7 30000 29000 45 0.9 p\n"                        \
	"frames/a2.mrc 0 3 0 80 4 -6 31000 30000 -30 1 q\nframes/a3.mrc 3 3 -25 80 3 -5 32000 31000 10 0 r\n"
#define TS_02                                                                                                \
	"data_TS_02\n\n" TILTS_HEAD                                                                              \
	"1@frames/b.mrcs 1.5 0 -3 10 0 0 30000 30000 0 1 s\n2@frames/b.mrcs 1.5 0 3 10 0 0 30000 30000 0 1 t\n"
#define OPTICS                                                                                               \
	"data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_rlnTomoTiltSeriesPixelSize\n_"  \
	"rlnOddZernike\n"                                                                                        \
	"1 og1 300 2.0 []\n2 og2 300.0005 2.0 [0.5,-1]\n\n"
#define PARTICLES_HEAD                                                                                       \
	"data_particles\n\nloop_\n_rlnTomoName\n_rlnTomoParticleName\n_rlnOpticsGroup\n_"                        \
	"rlnCenteredCoordinateXAngst\n"                                                                          \
	"_rlnCenteredCoordinateYAngst\n_rlnCenteredCoordinateZAngst\n_rlnRandomSubset\n"
#define PARTICLES                                                                                            \
	"data_general\n_rlnTomoSubTomosAre2DStacks 1\n\n" OPTICS PARTICLES_HEAD                                  \
	"TS_02 TS_02/1 2 1 2 3 1\nTS_01 TS_01/1 1 12 -9 8 2\nTS_02 TS_02/2 2 4 5 6 2\nTS_01 TS_01/7 1 0 0 0 "    \
	"1\nTS_01 x 1 -1 -2 -3 1\n"
#define MOTION_TABLE(name) "data_" name "\n\nloop_\n_rlnOriginXAngst\n_rlnOriginYAngst\n_rlnOriginZAngst\n"
/* clang-format off */
#define MOTION \
	"data_general\n_rlnParticleNumber 5\n\n" \
	MOTION_TABLE("TS_01/1") "1 2 3\n0 0 0\n4 5 6\n\n" \
	MOTION_TABLE("TS_02/1") "7 8 9\n0 0 0\n\n" \
	MOTION_TABLE("TS_02/2") "0 0 0\n0 0 1\n\n" \
	MOTION_TABLE("extra") "1 1 1\n\n" \
	MOTION_TABLE("x") "0 0 0\n0 0 0\n0 0 0\n\n" \
	MOTION_TABLE("TS_01/7") "0 0 0\n0 0 0\n-0.5 0 0\n"
/* clang-format on */

static inline void small_project_image(const char *name, int nz)
{
	cyc_volume *v = NULL;
	ASSERT_OK(cyc_volume_create(&v, 128, 120, nz, 2.0));
	for (int z = 0; z < nz; z++) v->data[(size_t)z * 128 * 120] = (float)(z + 1);
	ASSERT_OK(cyc_mrc_write(temp_path(name), v, 2, NULL));
	cyc_volume_destroy(&v);
}

static inline void small_project_write(void)
{
	temp_write("tomograms.star", TOMOGRAMS);
	temp_write("Import/job001/tilt_series/TS_01.star", TS_01);
	temp_write("Import/job001/tilt_series/TS_02.star", TS_02);
	temp_write("particles.star", PARTICLES);
	temp_write("motion.star", MOTION);
	small_project_image("frames/a1.mrc", 1);
	small_project_image("frames/a2.mrc", 1);
	small_project_image("frames/a3.mrc", 1);
	small_project_image("frames/b.mrcs", 2);
}

#endif
