// A letter that says which, then a database of dpkg, apk, or a header of rpm.
#include <atomic>
#include <string_view>

#include "lib/image/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ctriage;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  image::Packages packages;
  MemorySource source(input);
  if (data[0] == 'a') (void)image::parse_apk_installed(source, packages);
  if (data[0] == 'r') (void)image::parse_rpm_header(input, packages);
  if (data[0] == 'd') {
    (void)image::parse_dpkg_status(source, true, [](image::InstalledPackage&&) -> Status { return Done{}; });
  }
  (void)packages.find_owner("/bin/sh");
  return 0;
}
