#include "lib/source/object_feed.h"

#include <algorithm>

#include "lib/archive/layer_reader.h"
#include "lib/core/text.h"
#include "lib/model/file_mode.h"
#include "lib/source/checkpoint/store.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;

ExtractedObject object_of(const archive::LayerReader::Entry& entry, const LayerObjects& layer) {
  ExtractedObject object = layer.like;
  const auto plain = plain_member_name(entry.path);
  const bool top = entry.path == "." || entry.path == "./";
  const std::string mountpoint = layer.below.empty() ? "/" : layer.below;
  object.path = Bytes(plain ? layer.below + "/" + *plain : top ? mountpoint : entry.path);
  object.type = type_of_mode(entry.mode);
  object.mode = entry.mode & 07777U;
  object.uid = entry.uid;
  object.gid = entry.gid;
  object.mtime = entry.mtime;
  if (!entry.hard_link_of.empty()) {
    const auto of = plain_member_name(entry.hard_link_of);
    object.type = FileType::regular;
    object.link_target = Bytes(of ? layer.below + "/" + *of : entry.hard_link_of);
  } else if (object.type == FileType::symlink) {
    object.link_target = Bytes(entry.link_target);
  }
  object.size_bytes = entry.regular ? entry.size_bytes : 0;
  return object;
}

}  // namespace

ObjectFeed::ObjectFeed(ObjectVisitor& to, const Task& task) : to_(to), task_(task), block_(kBlockBytes) {}

Status ObjectFeed::begin(ExtractedObject&& object) {
  next_ = 0;
  missing_.reset();
  return to_.begin(std::move(object));
}

void ObjectFeed::miss(Error why) {
  if (!missing_) missing_ = std::move(why);
}

Status ObjectFeed::copy(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (auto go_on = task_.check(); !go_on) return go_on;
  if (bytes.empty()) return Done{};
  if (offset < next_ || offset > UINT64_MAX - bytes.size()) {
    miss({Errc::malformed, "its parts lie one over the other"});
    return Done{};
  }
  next_ = offset + bytes.size();
  task_.passed(bytes.size());
  return to_.write(offset, bytes);
}

Status ObjectFeed::copy(archive::BytesAt& from, std::uint64_t at, std::uint64_t size, std::uint64_t offset) {
  for (std::uint64_t done = 0; done < size;) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    const auto room = std::span(block_).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(block_.size(), size - done)));
    auto got = from.read_at(at + done, room);
    if (!got) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      miss(std::move(got).error());
      return Done{};
    }
    if (*got == 0) {
      miss({Errc::truncated, with_commas(size - done) + " bytes are not there"});
      return Done{};
    }
    if (auto taken = copy(room.first(*got), offset + done); !taken) return taken;
    done += *got;
  }
  return Done{};
}

Status ObjectFeed::end(std::uint64_t size_bytes) {
  if (next_ > size_bytes && !missing_) miss({Errc::mismatch, "it has bytes behind its end"});
  return to_.end(std::max(size_bytes, next_), std::move(missing_));
}

Status feed_layer(ByteSource& tar, const LayerObjects& layer, ObjectVisitor& visitor, const Task& task,
                  std::optional<Error>& damage) {
  const auto damaged = [&](Error error) -> Status {
    if (auto go_on = task.check(); !go_on) return go_on;
    damage = std::move(error);
    return Done{};
  };
  auto reader = archive::LayerReader::open(tar);
  if (!reader) return damaged(std::move(reader).error());
  ObjectFeed feed(visitor, task);
  archive::LayerReader::Entry entry;
  for (;;) {
    if (auto go_on = task.check(); !go_on) return go_on;
    const auto more = (*reader)->next(entry);
    if (!more) return damaged(more.error());
    if (!*more) return Done{};
    const std::string_view base = std::string_view(entry.path).substr(entry.path.rfind('/') + 1);
    const bool empty = entry.regular && entry.size_bytes == 0;  // one with bytes is only called so
    if (layer.whiteouts && empty && base.starts_with(".wh.")) continue;
    ExtractedObject object = object_of(entry, layer);
    if (!entry.regular) {
      if (auto taken = visitor.entry(std::move(object)); !taken) return taken;
      continue;
    }
    const auto partial = layer.partial.find(object.path.raw);
    if (auto begun = feed.begin(std::move(object)); !begun) return begun;
    if (partial != layer.partial.end()) feed.miss({Errc::truncated, partial->second});
    std::optional<Error> broken;
    for (;;) {
      const auto stored = (*reader)->stored();
      if (!stored) {
        if (auto go_on = task.check(); !go_on) return go_on;
        broken = stored.error();
        feed.miss(stored.error());
        break;
      }
      if (stored->bytes.empty()) break;
      if (auto taken = feed.copy(stored->bytes, stored->offset); !taken) return taken;
    }
    if (auto ended = feed.end(entry.size_bytes); !ended) return ended;
    if (broken) return damaged(*std::move(broken));
  }
}

}  // namespace ctriage::source
