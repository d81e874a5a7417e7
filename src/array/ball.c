#include "cyclotomo/array.h"

#include <math.h>

cyc_status cyc_ball_create(cyc_ball **out, int32_t radius, int32_t top)
{
	cyc_status st = CYC_OK;
	cyc_ball *b = NULL;
	*out = NULL;
	CYC_ASSERT(radius >= 0 && top >= 0 && top <= radius);
	CYC_TRY(cyc_alloc(&b, 1, sizeof *b));
	b->radius = radius;
	b->top = top;
	size_t side = (size_t)(2 * top + 1);
	CYC_TRY(cyc_alloc(&b->first, side * side + 1, sizeof *b->first));
	for (int32_t z = -top; z <= top; z++)
		for (int32_t y = -top; y <= top; y++) {
			size_t row = cyc_ball_row(b, z, y);
			int64_t left = (int64_t)radius * radius - (int64_t)z * z - (int64_t)y * y;
			b->first[row + 1] = b->first[row] + (left < 0 ? 0 : (size_t)sqrt((double)left) + 1);
		}
	b->count = b->first[side * side];
	*out = b;
	b = NULL;
done:
	cyc_ball_destroy(&b);
	return st;
}

void cyc_ball_destroy(cyc_ball **p)
{
	cyc_ball *b = *p;
	if (!b) return;
	cyc_free(b->first);
	cyc_free(b);
	*p = NULL;
}

double cyc_ball_count(double radius)
{
	/* Half the volume, and half a voxel for each row. */
	return 2.0 / 3.0 * CYC_PI * radius * radius * radius + 0.5 * CYC_PI * radius * radius;
}
