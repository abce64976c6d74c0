#pragma once
// The shared libraries that programs of an image load, found as ld.so(8) of glibc and of musl find them, by
// files alone: what a program loads by itself (dlopen) cannot be known.
//
//   glibc  RPATH of who needs it and of who loaded that (unless it has a RUNPATH), LD_LIBRARY_PATH of the
//          image's configuration, RUNPATH, directories of /etc/ld.so.conf, the loader's own directories
//   musl   LD_LIBRARY_PATH, RPATH and RUNPATH of it and of who loaded it, /etc/ld-musl-ARCH.path, or /lib,
//          /usr/local/lib, /usr/lib
#include <string>

#include "lib/core/task.h"
#include "lib/image/packages.h"
#include "lib/model/container.h"
#include "lib/model/image_deps.h"

namespace ctriage::image {

constexpr std::size_t kMaxLoadedFiles = 20'000;
constexpr std::size_t kMaxDepsNames = 2'000'000;         // names that --all looks at
constexpr std::size_t kMaxElfKeptBytes = 24 << 20;       // of one file, while it is looked at
constexpr std::size_t kMaxLoaderDirectories = 256;       // of ld.so.conf and what it includes
constexpr std::size_t kMaxLoaderConfigBytes = 64 << 10;  // each file of them

// The program that the image's configuration (or the container's specification) starts, and with `all` every
// ELF program. Errc::not_found: there is none of it.
Result<ImageDepsResult> find_deps(Files& files, const Packages& packages, const Container& container,
                                  bool all, Task& task);

// Names in the words of a database, alternatives together: {{"libc6"}, {"mta", "exim4"}} of
// "libc6 (>= 2), mta | exim4". What is no name of a package (so:, cmd:, rpmlib(), conflicts) is left out;
// paths stay.
std::vector<std::vector<std::string>> parse_depends(std::string_view manager, std::string_view text);

}  // namespace ctriage::image
