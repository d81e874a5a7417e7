# Text files as arrays of bytes in a C file: cmake -DFILES=a.css;b.js -DNAMES=cyc__a;cyc__b -DOUT=text.c -P embed_text.cmake
set(code "/* Made by cmake/embed_text.cmake. */\n#include <stddef.h>\n")
list(LENGTH FILES n)
math(EXPR last "${n} - 1")
foreach(i RANGE ${last})
  list(GET FILES ${i} file)
  list(GET NAMES ${i} name)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,){32})" "\\1\n" bytes "${bytes}")
  string(APPEND code "extern const unsigned char ${name}[];\nextern const size_t ${name}_n;\n"
    "const unsigned char ${name}[] = {\n${bytes}\n};\nconst size_t ${name}_n = sizeof ${name};\n")
endforeach()
file(WRITE ${OUT} "${code}")
