#include "lib/source/object_memory.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::size_t kMaxTold = 1'000;

}  // namespace

CodeObjects::CodeObjects(ObjectVisitor& to, Task& task) : to_(to), task_(task), block_(kBlockBytes) {}

Status CodeObjects::finish() {
  if (!std::exchange(open_, false)) return Done{};
  return to_.end(next_ - begin_, std::nullopt);
}

Status CodeObjects::enter(MemoryArea&& area) {
  if (auto done = finish(); !done) return done;
  area_ = std::move(area);
  const std::string& protection = area_.protection;
  code_ = area_.kind == AreaKind::memory && protection.size() == 4 && protection[2] == 'x' &&
          protection[3] == 'p' && area_.address && area_.path.view().starts_with('/');
  // Of a file without a name all pages are memory's: which were written to cannot be told.
  if (code_ && area_.path.view().ends_with(" (deleted)")) {
    code_ = false;
    if (told_.size() < kMaxTold && told_.insert(area_.path.raw).second)
      task_.gaps.add(
          {Impact::note,
           "extract.code",
           area_.path.raw,
           {Errc::unsupported,
            "has no name: its patched pages are not told from its own, which deleted and memfd have"}});
  }
  return Done{};
}

Status CodeObjects::filled(std::uint64_t address, std::size_t count) {
  if (!code_) return Done{};
  if (open_ && address != next_) {
    if (auto done = finish(); !done) return done;
  }
  if (!open_) {
    ExtractedObject object;
    object.container = area_.container;
    object.kind = ObjectKind::code;
    object.what = "pages";
    object.path = area_.path;
    object.pids = {area_.pid};
    object.address = Hex{address};
    object.offset_bytes = area_.offset_bytes + (address - area_.start);
    object.protection = area_.protection;
    if (auto begun = to_.begin(std::move(object)); !begun) return begun;
    open_ = true;
    begin_ = address;
  }
  next_ = address + count;
  return to_.write(address - begin_, std::span<const std::byte>(block_).first(count));
}

}  // namespace ctriage::source
