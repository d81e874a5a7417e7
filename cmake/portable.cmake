# CYC_PORTABLE: the libraries inside of the program, which needs nothing but glibc then. To be configured where glibc is old
# (tools/make_tarball.sh): what the program asks of it is what was there when it was built, but for what cmake/old_glibc.c replaces.

# What cairo draws with.
set(parts "")
foreach(name ${CAIRO_STATIC_LIBRARIES} ${FFTW3F_STATIC_LIBRARIES} ${XXHASH_STATIC_LIBRARIES} tmglib)
  if(NOT name MATCHES "^(m|dl|rt|pthread|gobject-2.0|glib-2.0|ffi|pcre)$")
    find_library(CYC_PART_${name} ${name} REQUIRED)
    list(APPEND parts ${CYC_PART_${name}})
  endif()
endforeach()
list(REMOVE_DUPLICATES parts)
target_link_libraries(cyclotomo PUBLIC -Wl,--start-group ${CYC_LAPACKE} ${parts} ${LAPACK_LIBRARIES} -Wl,--end-group ${CMAKE_DL_LIBS})
target_sources(cyclotomo_cli PRIVATE cmake/old_glibc.c cmake/portable_fonts.c)
target_include_directories(cyclotomo_cli PRIVATE ${CAIRO_INCLUDE_DIRS})
target_link_options(cyclotomo_cli PRIVATE -static-libgcc -Wl,--gc-sections 
  -Wl,--wrap=exp -Wl,--wrap=exp2 -Wl,--wrap=log -Wl,--wrap=log2 -Wl,--wrap=pow -Wl,--wrap=cairo_select_font_face)
# A font for figures on machines that have none.
set(fonts ${CMAKE_SYSROOT}/usr/share/fonts/truetype/dejavu)
install(FILES ${fonts}/DejaVuSans.ttf ${fonts}/DejaVuSans-Bold.ttf cmake/fonts.conf DESTINATION share/cyclotomo/fonts)
install(FILES ${CMAKE_SYSROOT}/usr/share/doc/fonts-dejavu-core/copyright DESTINATION share/cyclotomo/fonts)
