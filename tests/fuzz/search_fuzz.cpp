// A file of indicators, then a NUL, then bytes that are searched: with Vectorscan and without the same is
// found.
#include <atomic>
#include <cstdlib>
#include <string_view>

#include "lib/search/scanner.h"

namespace {

using namespace ctriage;
using namespace ctriage::search;

std::vector<std::pair<std::uint64_t, std::string>> find_all(const std::vector<Pattern>& patterns,
                                                            std::string_view bytes, bool prefilter) {
  GapLog gaps;
  const std::atomic<bool> stop{false};
  const Task task{gaps, stop, [] { return Timestamp{}; }};
  std::vector<std::pair<std::uint64_t, std::string>> found;
  Scanner scanner(
      patterns, {prefilter, 1},
      [&](MemoryMatch&& match) -> Status {
        found.emplace_back(match.address->value, match.pattern.raw + "\n" + match.bytes.raw);
        return Done{};
      },
      task);
  if (!scanner.enter({}) || !scanner.take(0, std::as_bytes(std::span(bytes.data(), bytes.size()))) ||
      !scanner.finish())
    std::abort();
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), size);
  Patterns patterns({size % 2 == 1, size % 3 == 1});
  if (!patterns.add_file(input.substr(0, end)) || patterns.all().empty()) return 0;
  constexpr std::size_t kFew = 64;
  if (patterns.all().size() > kFew) return 0;
  const std::string_view bytes = input.substr(std::min(end + 1, size));
  if (find_all(patterns.all(), bytes, true) != find_all(patterns.all(), bytes, false)) std::abort();
  return 0;
}
