#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/runtime/bolt.h"

using ctriage::Done;
using ctriage::Result;
using ctriage::Status;
using ctriage::runtime::Bolt;

namespace {

void walk(Bolt& bolt, const Bolt::Bucket& bucket, int depth, int& left) {
  const Status listed = bolt.list(bucket, [&](const Bolt::Entry& entry) -> Status {
    if (--left < 0) return ctriage::Error{ctriage::Errc::stopped, "enough"};
    if (entry.bucket && depth < 8) walk(bolt, *entry.bucket, depth + 1, left);
    return Done{};
  });
  (void)listed.has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  int reads = 20'000;  // a loop of pages ends by its own limit, which is more than a fuzzer should wait for
  auto bolt = Bolt::open([&](std::span<std::byte> into, std::uint64_t offset) -> Result<std::size_t> {
    if (--reads < 0) return ctriage::Error{ctriage::Errc::stopped, "enough"};
    if (offset >= bytes.size()) return std::size_t{0};
    const auto rest = bytes.subspan(static_cast<std::size_t>(offset));
    const std::size_t count = std::min(rest.size(), into.size());
    std::copy_n(rest.begin(), count, into.begin());
    return count;
  });
  if (!bolt) return 0;
  int left = 10'000;
  walk(*bolt, bolt->root(), 0, left);
  if (!bolt->is_unchanged() && reads >= 0) __builtin_trap();
  return 0;
}
