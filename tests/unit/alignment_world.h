/**
 * @file alignment_world.h
 * A small alignment for the tests of polishing: one tilt series of 400 x 300 px, and all that an alignment
 * borrows. The test says before it includes this how many tilts (T), particles (N), maps (N_MAPS) and samples
 * of a map along an edge (GRID) there are, and how far these are apart (STEP_PX).
 */
#ifndef CYC_ALIGNMENT_WORLD_H
#define CYC_ALIGNMENT_WORLD_H

typedef struct {
	cyc_tilt_series ts;
	cyc_tilt tilts[T];
	cyc_projection projections[T];
	cyc_vec3 positions[N];
	int32_t order[T];
	double sigma[T], dose[T], weight[N], strength[T], sharpness[T];
	cyc_pair pairs[N * T];
	float maps[N_MAPS][GRID * GRID];
	cyc_motion_model *motion;
	cyc_alignment a;
} world;

static world w;

/* A zeroed world with its series; the tilts come next. */
static void begin_world(void)
{
	memset(&w, 0, sizeof w);
	w.ts = (cyc_tilt_series){ .name = "test",
		                      .pixel_size_A = 1.7,
		                      .n_tilts = T,
		                      .tilts = w.tilts,
		                      .image_nx = 400,
		                      .image_ny = 300,
		                      .size_px = { 400, 300, 200 } };
}

/* A tilt, recorded as number `order`, with steps of sigma [Å] per root of a dose. */
static void place_tilt(int f, cyc_tilt tilt, int32_t order, double sigma_A)
{
	w.tilts[f] = tilt;
	w.order[f] = order;
	w.sigma[f] = sigma_A;
	w.strength[f] = w.sharpness[f] = 1;
	ASSERT_OK(cyc_projection_of_tilt(&w.projections[f], &w.ts, f));
}

/* Particle p, at random, within about `width_y_A` along y. */
static void place_particle(int p, double width_y_A, double weight)
{
	cyc_rng r = cyc_rng_make(3, 0, (uint64_t)p);
	double x = 200 * cyc_rng_normal(&r), y = width_y_A * cyc_rng_normal(&r);
	w.positions[p] = (cyc_vec3){ x, y, 60 * cyc_rng_normal(&r) };
	w.weight[p] = weight;
}

/* The alignment of all that, with angles, shifts and positions to be found; w.motion may be NULL. */
static cyc_alignment alignment_of_world(double amplitude)
{
	return (cyc_alignment){
		.n_tilts = T,
		.n_particles = N,
		.ts = &w.ts,
		.projections = w.projections,
		.positions_A = w.positions,
		.order = w.order,
		.step_sigma_A = w.sigma,
		.motion = w.motion,
		.grid = { GRID, STEP_PX },
		.pairs = w.pairs,
		.particle_weight = w.weight,
		.tilt_strength = w.strength,
		.sharpness = w.sharpness,
		.stage_sign = 1,
		.amplitude = amplitude,
		.agreement = amplitude,
		.dispersion = 1,
		.do_angles = true,
		.do_shifts = true,
		.do_positions = true,
		.widths = { .angle_input_rad = 0.003, .angle_trend_rad = 0.002, .shift_A = 2, .position_A = 3 },
		.n_threads = 1,
		.speed = 1
	};
}

static void drop_world(void)
{
	cyc_alignment_deinit(&w.a);
	cyc_motion_model_destroy(&w.motion);
}

#endif
