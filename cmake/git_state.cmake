# Write OUT with the commit that SOURCE is at ("unknown" outside of git), only if it has changed.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE state OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  set(state unknown)
endif()
set(text "#ifndef CYCLOTOMO_GIT_STATE_H\n#define CYCLOTOMO_GIT_STATE_H\n#define CYCLOTOMO_GIT_STATE \"${state}\"\n")
string(APPEND text "#define CYCLOTOMO_COMPILER \"${COMPILER}\"\n#define CYCLOTOMO_BUILD_TYPE \"${BUILD_TYPE}\"\n#endif\n")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUT} "${text}")
endif()
