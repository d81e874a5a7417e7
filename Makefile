# A thin wrapper; the build itself is CMake's.
.PHONY: all check demo format coverage asan clean
all:
	@tools/build.sh
check:
	@./check.sh
demo:
	@./demo.sh
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
asan:
	cmake --preset asan && cmake --build --preset asan && ctest --preset asan
coverage:
	cmake --preset coverage && cmake --build --preset coverage && ctest --preset coverage
	cd build-coverage && gcov -n $$(find . -path '*cyclotomo.dir*' -name '*.gcda') 2>/dev/null | grep -A1 "^File '.*/src/" | grep -v '^--'
clean:
	rm -rf build build-*
