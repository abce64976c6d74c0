# Debian's headers, as in every other build, so that the compiler's cache has the objects of the release build already; but
# the archives that deploy/package/libraries.sh made, each with what it needs itself.
set_target_properties(fmt::fmt PROPERTIES IMPORTED_LOCATION_NONE ${CTRIAGE_STATIC_LIBRARIES}/libfmt.a)
set_target_properties(CURL::libcurl PROPERTIES IMPORTED_LOCATION_RELEASE ${CTRIAGE_STATIC_LIBRARIES}/libcurl.a
                      INTERFACE_LINK_LIBRARIES "-lssh2;-lcares;OpenSSL::SSL;OpenSSL::Crypto;-lz")
set_target_properties(PkgConfig::LIBARCHIVE PROPERTIES INTERFACE_LINK_LIBRARIES
                      "${CTRIAGE_STATIC_LIBRARIES}/libarchive.a;-llzma;-lzstd;-llz4;-lbz2;-lz")
set(CMAKE_CXX_STANDARD_LIBRARIES "-llzma -lbz2 -lz") # libmagic's, which libyara's archive wants
