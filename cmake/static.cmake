# For CMAKE_PROJECT_INCLUDE, read after each project(): every library is taken as an archive, with what it needs itself.
# The program is loaded by the kernel alone: no interpreter, no library, no ld.so.preload of the node.
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(PKG_CONFIG_ARGN --static)
set(OPENSSL_USE_STATIC_LIBS ON)
