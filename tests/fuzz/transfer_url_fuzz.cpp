// Places and netrc files: any bytes give a place that can be printed, or an error that does not repeat them.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/transfer/secrets.h"
#include "lib/transfer/url.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool from_file : {false, true}) {
    const auto url = ctriage::transfer::parse_url(text, from_file);
    if (!url) continue;
    const std::string place = ctriage::transfer::place_of(*url);
    if (!url->query.empty() && place.find('?') != std::string::npos) __builtin_trap();
    // What is printed is read as the same place.
    const auto again = ctriage::transfer::parse_url(place, false);
    const bool file = url->scheme == ctriage::transfer::Scheme::file;
    if (!file && (!again || again->host != url->host || again->path != url->path)) __builtin_trap();
  }
  const auto login = ctriage::transfer::login_of(text, "host", "");
  return static_cast<int>(login.user.size() & 0);
}
