# The compile options every target of ours carries, and the shapes of target there are. A program links the libraries it
# uses and, itself, ctriage_sys: the objects that make the system calls. Libraries never do, so that a twin of a program
# can link ctriage_sys_faulty instead.
add_library(ctriage_options INTERFACE)
target_compile_options(ctriage_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor)
if(CMAKE_BUILD_TYPE STREQUAL "Debug" OR CTRIAGE_SANITIZE)
  target_compile_options(ctriage_options INTERFACE -Werror)
endif()
if(CTRIAGE_SANITIZE)
  target_compile_options(ctriage_options INTERFACE -fsanitize=${CTRIAGE_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(ctriage_options INTERFACE -fsanitize=${CTRIAGE_SANITIZE})
  if(CTRIAGE_SANITIZE MATCHES "undefined")
    # UBSan's tables hold millions of pointers: at a fixed address none is relocated each time a program starts.
    target_link_options(ctriage_options INTERFACE -no-pie)
  endif()
endif()
if(CTRIAGE_FUZZ)
  target_compile_options(ctriage_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# ctriage_library(<module> SOURCES <file>... DEPS <target>...): a static library of one folder below lib/.
function(ctriage_library module)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(ctriage_${module} STATIC ${ARG_SOURCES})
  target_include_directories(ctriage_${module} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(ctriage_${module} PUBLIC ${ARG_DEPS} PRIVATE ctriage_options)
endfunction()

# ctriage_cheap_to_compile(<target>): under sanitizers, less than half the time for what is made of other libraries'
# templates and reads no evidence itself. Pointers through null end such a program all the same, under ASan.
function(ctriage_cheap_to_compile target)
  if(CTRIAGE_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  endif()
  if(CTRIAGE_SANITIZE MATCHES "undefined")
    target_compile_options(${target} PRIVATE -fno-sanitize=null,alignment,vptr)
  endif()
endfunction()

# ctriage_test(<name> SOURCES <file>... DEPS <target>... [LABELS <label>...]): one GoogleTest program, one ctest entry.
function(ctriage_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ctriage_sys ctriage_options GTest::gtest GTest::gmock GTest::gtest_main)
  ctriage_cheap_to_compile(${name}) # GoogleTest's templates
  target_compile_definitions(${name} PRIVATE CTRIAGE_TESTDATA="${PROJECT_SOURCE_DIR}/testdata")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "unit;${ARG_LABELS}" TIMEOUT 900)
endfunction()

# ctriage_fuzz(<module> DEPS <target>...): tests/fuzz/<module>_fuzz.cpp. Built with libFuzzer under CTRIAGE_FUZZ;
# otherwise with a driver that replays tests/fuzz/corpus/<module>, so that every crash we ever had is in ctest.
function(ctriage_fuzz module)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  set(name ${module}_fuzz)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/${name}.cpp)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ctriage_sys ctriage_options)
  if(CTRIAGE_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cpp)
    add_test(NAME ${name} COMMAND ${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${module})
    set_tests_properties(${name} PROPERTIES LABELS "fuzz" TIMEOUT 120)
  endif()
endfunction()
