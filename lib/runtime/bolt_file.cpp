#include "lib/runtime/bolt_file.h"

#include <utility>

#include "lib/core/sys.h"

namespace ctriage::runtime {

Status read_bolt(const Root& node, const std::string& file, const std::function<Status(Bolt&)>& take) {
  constexpr int kTries = 4;
  const auto fd = node.open_in_root(file);
  if (!fd) return fd.error();
  const auto read = [&](std::span<std::byte> into, std::uint64_t offset) {
    return sys::pread_full(fd->get(), into, offset, file);
  };
  Status last = Done{};
  for (int i = 0; i < kTries; ++i) {
    auto bolt = Bolt::open(read);
    last = bolt ? take(*bolt) : Status(bolt.error());
    const Status unchanged = bolt ? bolt->is_unchanged() : Status(Done{});
    if (unchanged) return last;  // done, or damaged and not in motion
    if (last) last = unchanged;
  }
  return last;
}

Result<std::optional<Bolt::Bucket>> descend(Bolt& bolt, Bolt::Bucket from,
                                            const std::vector<std::string_view>& path) {
  for (const std::string_view name : path) {
    auto next = bolt.find_bucket(from, name);
    if (!next || !*next) return next;
    from = **std::move(next);
  }
  return std::optional<Bolt::Bucket>(std::move(from));
}

}  // namespace ctriage::runtime
