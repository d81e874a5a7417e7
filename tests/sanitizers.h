/* Whether the test is built with sanitizers, under which it leaves out repetitions that reach no other code.
 */
#ifndef CYC_TESTS_SANITIZERS_H
#define CYC_TESTS_SANITIZERS_H

#include <stdbool.h>

#ifdef CYC_SANITIZED
static const bool IS_SANITIZED = true;
#else
static const bool IS_SANITIZED = false;
#endif

#endif
