# Toolchain file: this machine's compiler, the headers and libraries of an older system in the folder CYC_SYSROOT
# (tools/make_tarball.sh).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_HOST_SYSTEM_PROCESSOR})
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CYC_SYSROOT)
set(CMAKE_SYSROOT ${CYC_SYSROOT})
set(CMAKE_C_COMPILER gcc)
# --sysroot alone leaves the folders that the compiler finds relative to itself in front.
file(GLOB gcc_folder ${CYC_SYSROOT}/usr/lib/gcc/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu/*)
set(libraries ${CYC_SYSROOT}/usr/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-B${libraries}/ -L${gcc_folder} -L${libraries} -L${CYC_SYSROOT}/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE ${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CYC_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${CYC_SYSROOT}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/pkgconfig:${CYC_SYSROOT}/usr/share/pkgconfig:${CYC_SYSROOT}/usr/lib/pkgconfig)
# The programs made here run here, too (newer glibc).
set(CMAKE_CROSSCOMPILING_EMULATOR env)
