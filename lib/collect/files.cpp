// Group "files": programs that are not in the image, then the UpperDir. Group "logs" has the same shape:
// bytes of an open file up to the size it had when it was first seen.
#include <algorithm>
#include <array>

#include "lib/collect/layer.h"
#include "lib/core/sys.h"

namespace ctriage::collect {
namespace {

using source::LiveContainer;

constexpr std::size_t kBlock = 1 << 20;

// The UpperDir as it is read: bytes to the layer, changes to changes.jsonl and to the rules.
class TakeUpper final : public ToLayer {
 public:
  TakeUpper(Collection& in, const LiveContainer& live, archive::LayerWriter& layer, bundle::Stream& changes)
      : ToLayer(layer), in_(in), live_(live), changes_(changes) {}

  Status change(FileChange&& change) override {
    ++in_.counts.changes;
    in_.progress.changed(change.kind);
    const Emit<Finding> found = [this](Finding&& finding) { return in_.add_finding(std::move(finding)); };
    if (auto status = in_.engine.evaluate(change, live_.container, in_.snapshot.name(), found); !status)
      return status;
    return in_.write(changes_, change);
  }

 private:
  Collection& in_;
  const LiveContainer& live_;
  bundle::Stream& changes_;
};

Status take_upper_of(Collection& in, LiveContainer& live) {
  const std::string path = in.bulk_path(in.path_of(live, "upper.tar"));
  const std::string changes_path = in.path_of(live, "changes.jsonl");
  if (!live.stack) {
    ++in.counts.layers_unread;
    in.out.not_collected(path, "UpperDir", live.no_stack);
    in.out.not_collected(changes_path, "UpperDir", live.no_stack);
    return Done{};
  }
  const LayerPaths paths{path, changes_path, "UpperDir " + live.stack->upper().name()};
  const WalkTree walk = [&](archive::LayerWriter& layer, bundle::Stream& changes) {
    TakeUpper visitor(in, live, layer, changes);
    return in.snapshot.walk_upper(live, visitor, in.task);
  };
  auto taken = take_layer(in, paths, "container.upper", walk);
  if (!taken) return std::move(taken).error();
  return Done{};
}

}  // namespace

Result<Digest> copy_file(ByteSource& in, std::uint64_t size_bytes, std::string_view name,
                         bundle::Stream& out) {
  const auto hash = std::make_shared<LateSha256>();
  std::vector<std::byte> block(kBlock);
  std::uint64_t at = 0;
  while (at < size_bytes) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, size_bytes - at));
    auto got = in.read(std::span(block).first(wanted));
    if (!got) return std::move(got).error();
    if (*got == 0) {
      return Error{Errc::truncated, std::string(name) + ": had " + std::to_string(size_bytes) +
                                        " bytes when first seen, ends at " + std::to_string(at)};
    }
    if (auto written = out.write_hashed(std::span(block).first(*got), hash); !written)
      return std::move(written).error();
    at += *got;
  }
  return hash->digest();
}

Status take_programs(Collection& in) {
  for (const auto& [key, program] : in.programs) {
    auto& containers = in.snapshot.containers();
    const auto live = std::find_if(containers.begin(), containers.end(), [&](const LiveContainer& c) {
      return c.container.id == program.container;
    });
    if (live == containers.end()) continue;
    const std::string path = in.bulk_path(in.path_of(*live, "executables/" + key.second));
    auto stream = in.out.open(path, in.bulk_encoding(),
                              "/proc/" + std::to_string(program.pid) + "/exe " + program.path);
    if (!stream) return std::move(stream).error();
    auto source = in.snapshot.open_program(*live, program.pid, program.path, in.task);
    auto copied = source ? copy_file(**source, program.size_bytes, program.path, **stream)
                         : Result<Digest>(std::move(source).error());
    if (!copied) {
      if (auto status = in.ended_early(**stream, "process.program", path, copied.error()); !status)
        return status;
      continue;
    }
    // Named by what ran when it was looked at: other bytes by now are evidence too, but not that.
    if (to_hex(*copied) != key.second) {
      const Error changed{Errc::changed, "its bytes have changed since it was hashed"};
      if (auto status = in.ended_early(**stream, "process.program", path, changed); !status) return status;
      continue;
    }
    if (auto status = (*stream)->finish(bundle::Outcome::collected, ""); !status) return status;
    ++in.counts.programs;
  }
  return Done{};
}

Status take_upper(Collection& in) {
  Status going = Done{};
  for (LiveContainer& live : in.snapshot.containers()) {
    if (live.alone) continue;  // a process of the host has no UpperDir
    if (going) {
      going = take_upper_of(in, live);
      continue;
    }
    const std::string path = in.bulk_path(in.path_of(live, "upper.tar"));
    in.task.gaps.add({Impact::lost, "container.upper", path, Error(going.error()).within("not reached")});
    in.out.not_collected(path, "UpperDir " + (live.stack ? live.stack->upper().name() : live.no_stack),
                         "not reached: " + going.error().what);
  }
  return going;
}

Status take_logs(Collection& in) {
  for (LiveContainer& live : in.snapshot.containers()) {
    if (live.ended && live.logs.empty()) {
      in.out.not_collected(in.path_of(live, "logs.jsonl"), live.container.log_dir.raw,
                           live.container.log_dir.empty()
                               ? "where its logs lie is not recorded where we looked"
                               : "there is none, or they are with another instance of the container");
      continue;
    }
    for (source::HeldLog& held : live.logs) {
      const std::string name = held.log.path.raw.substr(held.log.path.raw.rfind('/') + 1);
      held.log.stream = in.bulk_path(in.path_of(live, "logs/" + bundle::member_name(name)));
      auto stream = in.out.open(held.log.stream, in.bulk_encoding(), held.log.path.raw);
      if (!stream) return std::move(stream).error();
      FdSource source(std::move(held.file), held.log.path.raw, in.task);
      auto copied = copy_file(source, held.log.size_bytes, held.log.path.raw, **stream);
      if (!copied) {
        if (auto s = in.ended_early(**stream, "container.logs", held.log.stream, copied.error()); !s)
          return s;
        continue;
      }
      if (auto status = (*stream)->finish(bundle::Outcome::collected, ""); !status) return status;
      ++in.counts.logs;
    }
    const auto list = [&](const Emit<LogFile>& emit) {
      return in.snapshot.list_logs(live.container.id, emit, in.task);
    };
    if (auto status = take_list<LogFile>(in, live, "logs", list, nullptr); !status) return status;
  }
  return Done{};
}

Status take_attachments(Collection& in) {
  std::set<std::string> taken;
  for (const Attachment& attachment : in.options.attachments) {
    const std::string member = bundle::member_name(attachment.name);
    std::string path = "pod/attach/" + member;
    for (unsigned copy = 2; !taken.insert(path).second; ++copy)
      path = "pod/attach/" + std::to_string(copy) + "/" + member;
    auto stream = in.out.open(path, bundle::Encoding::plain, attachment.path);
    if (!stream) return std::move(stream).error();
    auto copied = copy_file(*attachment.bytes, attachment.size_bytes, attachment.path, **stream);
    auto ended = copied ? (*stream)->finish(bundle::Outcome::collected, "")
                        : in.ended_early(**stream, "attach", path, copied.error());
    if (!ended) return ended;
  }
  return Done{};
}

}  // namespace ctriage::collect
