# What is installed beside the program and the library, and the packages made of it:
#   cpack -G DEB     cyclotomo_X.Y.Z_amd64.deb, in the build folder, and cyclotomo-mpi where MPI was found
#   cpack -G TGZ     a tarball; tools/make_tarball.sh makes the one that runs on older systems

# Man pages and completion, from the option tables of the program.
file(STRINGS src/cli/commands.def CYC_COMMAND_LINES REGEX "^CYC_COMMAND")
set(CYC_MADE ${CMAKE_CURRENT_BINARY_DIR}/made)
file(MAKE_DIRECTORY ${CYC_MADE})
add_custom_command(TARGET cyclotomo_cli POST_BUILD
  COMMAND cyclotomo_cli --help-man > ${CYC_MADE}/cyclotomo.1
  COMMAND cyclotomo_cli completion --shell bash > ${CYC_MADE}/cyclotomo
  COMMAND cyclotomo_cli completion --shell zsh > ${CYC_MADE}/_cyclotomo)
install(FILES ${CYC_MADE}/cyclotomo.1 DESTINATION share/man/man1)
foreach(line ${CYC_COMMAND_LINES})
  string(REGEX REPLACE "CYC_COMMAND\\(([a-z0-9-]+),.*" "\\1" command "${line}")
  add_custom_command(TARGET cyclotomo_cli POST_BUILD COMMAND cyclotomo_cli ${command} --help-man > ${CYC_MADE}/cyclotomo-${command}.1)
  install(FILES ${CYC_MADE}/cyclotomo-${command}.1 DESTINATION share/man/man1)
endforeach()
install(FILES ${CYC_MADE}/cyclotomo DESTINATION share/bash-completion/completions)
# Debian keeps what packages bring for zsh apart from what is installed by hand.
install(CODE "
  set(CYC_ZSH_DIR share/zsh/site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\" AND EXISTS /etc/debian_version)
    set(CYC_ZSH_DIR share/zsh/vendor-completions)
  endif()
  file(INSTALL \"${CYC_MADE}/_cyclotomo\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/\${CYC_ZSH_DIR}\")")

# Documents: the links between them stay right.
install(FILES README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff LICENSE DESTINATION share/doc/cyclotomo)
install(FILES LICENSE DESTINATION share/doc/cyclotomo RENAME copyright)
install(DIRECTORY docs DESTINATION share/doc/cyclotomo)
configure_file(cmake/cyclotomo.module.in ${CYC_MADE}/module @ONLY)
install(FILES ${CYC_MADE}/module DESTINATION share/cyclotomo/modulefiles/cyclotomo RENAME ${PROJECT_VERSION})

# For programs that use the library. It is static, so they link what it needs.
set(CYC_PC_LIBS "")
foreach(library ${CYC_LAPACKE} ${LAPACK_LIBRARIES})
  get_filename_component(name ${library} NAME)
  if(name MATCHES "^lib(.*)[.](so|a)$")
    list(APPEND CYC_PC_LIBS -l${CMAKE_MATCH_1})
  elseif(NOT CYC_PORTABLE)
    list(APPEND CYC_PC_LIBS ${library})
  endif()
endforeach()
list(REMOVE_DUPLICATES CYC_PC_LIBS)
string(JOIN " " CYC_PC_LIBS ${CYC_PC_LIBS} -lpthread -lm)
configure_file(cmake/cyclotomo.pc.in ${CYC_MADE}/cyclotomo.pc @ONLY)
install(FILES ${CYC_MADE}/cyclotomo.pc DESTINATION lib/pkgconfig)

set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_PACKAGE_NAME cyclotomo)
set(CPACK_PACKAGE_VENDOR "The cyclotomo authors")
set(CPACK_PACKAGE_CONTACT "The cyclotomo authors <cyclotomo@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Subtomogram refinement for cryo-electron tomography")
set(CPACK_PACKAGE_DESCRIPTION "Takes a RELION-5 subtomogram project and refines tilt geometry, particle positions,
beam-induced motion, CTFs and orientations until the half maps agree to a higher resolution.
The program, its library with headers, man pages, completion for bash and zsh, documents.")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_FILE_NAME cyclotomo-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The plug-in for MPI is a package of its own: the program needs no MPI.
set(CPACK_COMPONENTS_ALL program)
if(MPI_C_FOUND)
  list(APPEND CPACK_COMPONENTS_ALL mpi)
endif()
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME cyclotomo)
set(CPACK_COMPONENT_PROGRAM_DESCRIPTION "${CPACK_PACKAGE_DESCRIPTION}")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS "cyclotomo-mpi, gcc, pkg-config, libfftw3-dev, libopenblas-dev, liblapacke-dev, libcairo2-dev, libxxhash-dev")
set(CPACK_DEBIAN_MPI_PACKAGE_NAME cyclotomo-mpi)
set(CPACK_COMPONENT_MPI_DESCRIPTION "Plug-in of cyclotomo for ranks that mpirun or srun starts, on one machine or many.
Without it a run uses the processors of one machine.")
set(CPACK_DEBIAN_MPI_PACKAGE_DEPENDS "cyclotomo (= ${PROJECT_VERSION})")
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/cpack_by_generator.cmake)
include(CPack)
