/* For CYC_PORTABLE: functions that have another version since glibc 2.29, as older ones have them too. The
 * new versions leave out how errors were reported before; values are the same. The linker's --wrap sends the
 * calls of the program and of the libraries inside of it here. */

#if defined __x86_64__
#define OLDEST "GLIBC_2.2.5"
#elif defined __aarch64__
#define OLDEST "GLIBC_2.17"
#else
#error "the oldest versions of exp, log and pow are not known for this machine"
#endif

#define OLD_1(name)                                                                                          \
	double cyc_old_##name(double x);                                                                         \
	double __wrap_##name(double x);                                                                          \
	__asm__(".symver cyc_old_" #name ", " #name "@" OLDEST);                                                 \
	double __wrap_##name(double x) { return cyc_old_##name(x); }

OLD_1(exp)
OLD_1(exp2)
OLD_1(log)
OLD_1(log2)

double cyc_old_pow(double x, double y);
double __wrap_pow(double x, double y);
__asm__(".symver cyc_old_pow, pow@" OLDEST);
double __wrap_pow(double x, double y) { return cyc_old_pow(x, y); }
