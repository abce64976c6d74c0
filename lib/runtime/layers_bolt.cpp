#include <set>

#include "lib/core/limits.h"
#include "lib/runtime/bolt_file.h"
#include "lib/runtime/layers.h"

namespace ctriage::runtime {
namespace {

struct SnapshotName {
  std::string snapshotter;
  std::string name;  // the snapshotter's own
};

Error no_record(const std::string& what) { return {Errc::not_found, what + ": no such record"}; }

Result<std::string> value_of(Bolt& bolt, const Bolt::Bucket& bucket, std::string_view key) {
  auto value = bolt.find_value(bucket, key);
  if (!value) return std::move(value).error();
  if (!*value) return no_record(std::string(key));
  return **std::move(value);
}

Result<Bolt::Bucket> bucket_at(Bolt& bolt, const std::vector<std::string_view>& path) {
  auto found = descend(bolt, bolt.root(), path);
  if (!found) return std::move(found).error();
  if (!*found) return no_record(std::string(path[path.size() - 2]) + "/" + std::string(path.back()));
  return **std::move(found);
}

Result<SnapshotName> read_name(Bolt& bolt, const std::string& space, const std::string& id) {
  auto container = bucket_at(bolt, {"v1", space, "containers", id});
  if (!container) return std::move(container).error();
  auto snapshotter = value_of(bolt, *container, "snapshotter");
  auto key = value_of(bolt, *container, "snapshotKey");
  if (!snapshotter || !key) return !snapshotter ? snapshotter.error() : key.error();
  auto snapshot = bucket_at(bolt, {"v1", space, "snapshots", *snapshotter, *key});
  if (!snapshot) return std::move(snapshot).error();
  auto name = value_of(bolt, *snapshot, "name");
  if (!name) return std::move(name).error();
  return SnapshotName{*std::move(snapshotter), *std::move(name)};
}

// encoding/binary.PutUvarint.
std::optional<std::uint64_t> parse_uvarint(std::string_view bytes) {
  std::uint64_t value = 0;
  unsigned shift = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (shift > 63) return std::nullopt;
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if ((byte & 0x80U) == 0) return value;
    shift += 7;
  }
  return std::nullopt;
}

// The numbers of the snapshot and of all below it, the top first.
Result<std::vector<std::uint64_t>> read_chain(Bolt& bolt, std::string name) {
  std::vector<std::uint64_t> chain;
  std::set<std::string> seen;
  while (!name.empty()) {
    if (!seen.insert(name).second) return Error{Errc::malformed, "snapshot " + name + " is below itself"};
    if (chain.size() >= kMaxLayers)
      return Error{Errc::limit, "more than " + std::to_string(kMaxLayers) + " snapshots below each other"};
    auto snapshot = bucket_at(bolt, {"v1", "snapshots", name});
    if (!snapshot) return std::move(snapshot).error();
    const auto id = value_of(bolt, *snapshot, "id");
    if (!id) return id.error();
    const auto number = parse_uvarint(*id);
    if (!number) return Error{Errc::malformed, "snapshot " + name + ": its id is no number"};
    chain.push_back(*number);
    auto parent = bolt.find_value(*snapshot, "parent");
    if (!parent) return std::move(parent).error();
    name = parent->value_or("");
  }
  return chain;
}

}  // namespace

Result<RootLayers> find_snapshot_layers(const Root& node, const std::string& root, const std::string& space,
                                        const std::string& id) {
  SnapshotName snapshot;
  const std::string meta = root + "/io.containerd.metadata.v1.bolt/meta.db";
  auto read = read_bolt(node, meta, [&](Bolt& bolt) -> Status {
    auto name = read_name(bolt, space, id);
    if (!name) return std::move(name).error();
    snapshot = *std::move(name);
    return Done{};
  });
  if (!read) return std::move(read).error().within(meta);
  if (snapshot.snapshotter != "overlayfs") {
    return Error{Errc::unsupported,
                 "its layers are the snapshotter " + snapshot.snapshotter + "'s, not overlayfs directories"};
  }
  const std::string own = root + "/io.containerd.snapshotter.v1.overlayfs";
  std::vector<std::uint64_t> chain;
  read = read_bolt(node, own + "/metadata.db", [&](Bolt& bolt) -> Status {
    auto numbers = read_chain(bolt, snapshot.name);
    if (!numbers) return std::move(numbers).error();
    chain = *std::move(numbers);
    return Done{};
  });
  if (!read) return std::move(read).error().within(own + "/metadata.db");
  RootLayers layers{own + "/snapshots", {}, {}};
  for (const std::uint64_t number : chain) {
    std::string directory = std::to_string(number) + "/fs";
    if (layers.upper.empty()) {
      layers.upper = std::move(directory);
    } else {
      layers.lowers.push_back(std::move(directory));
    }
  }
  return layers;
}

}  // namespace ctriage::runtime
