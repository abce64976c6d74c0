// Records that lie in bolt databases:
//
//   containerd <root>/io.containerd.metadata.v1.bolt/meta.db         metadata/buckets.go
//     v1/<namespace>/containers/<id>/{createdat, image, spec, labels/<key>, extensions/<name>, ...}
//     v1/<namespace>/images/<name>/target/digest
//   Podman <graph root>/libpod/bolt_state.db                          libpod/boltdb_state_internal.go
//     ctr/<id>/{config, state}                                         JSON
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <utility>

#include "lib/core/cursor.h"
#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/runtime/bolt_file.h"
#include "lib/runtime/records.h"
#include "lib/runtime/shims.h"

namespace ctriage::runtime {
namespace {

constexpr std::size_t kMostKept = 16'384;     // containers of one database
constexpr std::size_t kMostBytes = 16 << 20;  // of their records, which are read one database at a time
// What the CRI plugin keeps of a container beside its spec, internal/cri/server/container_create.go.
constexpr std::string_view kCriMetadata = "io.cri-containerd.container.metadata";

void gap(Task& task, Impact impact, const std::string& file, Error error) {
  task.gaps.add({impact, "runtime.record", file, std::move(error).within(file)});
}

struct Record {
  std::string space;  // containerd's namespace
  std::string id;
  std::map<std::string, std::string> values;
  std::vector<Bytes> labels;
  std::string digest;  // of the image
};

// All that `take` reads in one transaction of the writer. Of a database that never stands still nothing is
// taken: it could be parts of several containers.
using Records = std::vector<Record>;
std::optional<Records> read_consistent(const Root& node, const std::string& file,
                                       const std::function<Status(Bolt&, Records&)>& take, Task& task) {
  Records records;
  const Status read = read_bolt(node, file, [&](Bolt& bolt) {
    records.clear();
    return take(bolt, records);
  });
  if (read) return records;
  if (read.error().code == Errc::not_found) return std::nullopt;
  gap(task, Impact::lost, file, read.error());
  if (read.error().code == Errc::mismatch) return std::nullopt;
  return records;
}

// Values of one container's bucket that we know what to do with.
Status read_values(Bolt& bolt, const Bolt::Bucket& bucket, std::size_t& bytes, Record& into) {
  return bolt.list(bucket, [&](const Bolt::Entry& entry) -> Status {
    if (entry.bucket && entry.key == "labels") {
      return bolt.list(*entry.bucket, [&](const Bolt::Entry& label) -> Status {
        bytes += label.key.size() + label.value.size();
        if (bytes > kMostBytes) return Error{Errc::limit, "labels of more than 16 MiB"};
        into.labels.emplace_back(std::string(label.key) + "=" + std::string(label.value));
        return Done{};
      });
    }
    if (entry.bucket && entry.key == "extensions") {
      auto about = bolt.find_value(*entry.bucket, kCriMetadata);
      if (!about) return std::move(about).error();
      if (!*about) return Done{};
      bytes += (*about)->size();
      if (bytes > kMostBytes) return Error{Errc::limit, "records of more than 16 MiB"};
      into.values[std::string(kCriMetadata)] = *std::move(*about);
      return Done{};
    }
    constexpr std::array<std::string_view, 5> kKnown{"createdat", "image", "spec", "config", "state"};
    if (entry.bucket || std::find(kKnown.begin(), kKnown.end(), entry.key) == kKnown.end()) return Done{};
    bytes += entry.value.size();
    if (bytes > kMostBytes) return Error{Errc::limit, "records of more than 16 MiB"};
    into.values[std::string(entry.key)] = std::string(entry.value);
    return Done{};
  });
}

// Each bucket below `parent` is a container.
Status read_containers(Bolt& bolt, const Bolt::Bucket& parent, const std::string& space, Records& into,
                       Task& task) {
  std::size_t bytes = 0;
  return bolt.list(parent, [&](const Bolt::Entry& entry) -> Status {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (!entry.bucket || !is_identifier(entry.key)) return Done{};
    if (into.size() >= kMostKept) return Error{Errc::limit, "more than 16,384 containers"};
    Record& record = into.emplace_back();
    record.space = space;
    record.id = std::string(entry.key);
    return read_values(bolt, *entry.bucket, bytes, record);
  });
}

Status read_digests(Bolt& bolt, const Bolt::Bucket& space, std::size_t begin, Records& into) {
  std::map<std::string, std::string> digests;  // each image once
  for (std::size_t i = begin; i < into.size(); ++i) {
    const std::string& image = into[i].values["image"];
    if (image.empty()) continue;
    auto known = digests.find(image);
    if (known == digests.end()) {
      const auto target = descend(bolt, space, {"images", image, "target"});
      if (!target) return target.error();
      auto digest = *target ? bolt.find_value(**target, "digest")
                            : Result<std::optional<std::string>>(std::optional<std::string>{});
      if (!digest) return std::move(digest).error();
      known = digests.emplace(image, digest->value_or("")).first;
    }
    into[i].digest = known->second;
  }
  return Done{};
}

Status read_metadata(Bolt& bolt, Records& into, Task& task) {
  const auto version = bolt.find_bucket(bolt.root(), "v1");
  if (!version) return version.error();
  if (!*version) return Done{};
  return bolt.list(**version, [&](const Bolt::Entry& space) -> Status {
    if (!space.bucket || !is_identifier(space.key)) return Done{};
    const auto containers = bolt.find_bucket(*space.bucket, "containers");
    if (!containers) return containers.error();
    if (!*containers) return Done{};
    const std::size_t begin = into.size();
    if (auto read = read_containers(bolt, **containers, std::string(space.key), into, task); !read)
      return read;
    return read_digests(bolt, *space.bucket, begin, into);
  });
}

// containerd does not record whether a container without a task has ever run; its CRI plugin does.
void read_status(const Root& node, const std::string& root, Container& into, Task& task) {
  into.state = ContainerState::exited;
  const std::string file = root + "/io.containerd.grpc.v1.cri/containers/" + into.id + "/status";
  const auto text = node.read_file_in_root(file, kMaxJsonBytes);
  if (!text && text.error().code == Errc::not_found) return;
  const Status parsed = text ? parse_cri_status(*text, into) : Status(text.error());
  if (!parsed) gap(task, Impact::lost, file, parsed.error());
}

void add_containerd_record(const EngineRoot& root, const std::string& file, Record& record,
                           std::vector<Found>& into, Task& task) {
  Found* known = find_container(into, record.id, root.path, record.space);
  Found found;
  if (known != nullptr) found = std::move(*known);
  Container& container = found.container;
  container.id = record.id;
  if (container.bundle_dir.empty()) {  // no shim leads to it
    const auto spec = value_of_any(record.values["spec"]);
    const Status parsed =
        spec ? parse_spec(*spec, container) : Status(Error{Errc::malformed, "its spec is no protobuf Any"});
    if (!parsed) gap(task, Impact::lost, file, Error(parsed.error()).within("container " + record.id));
    if (spec) found.raw_spec = std::string(*spec);
    container.engine = "containerd";
    container.engine_namespace = Bytes(record.space);
    container.engine_root = Bytes(root.path);
    if (container.init_pid == 0) read_status(root.node, root.path, container, task);
    container.root_dir = Bytes();  // relative to a bundle that is gone
    const auto about = value_of_any(record.values[std::string(kCriMetadata)]);
    const Status read = about && !about->empty() ? parse_cri_metadata(*about, container) : Status(Done{});
    if (!read) gap(task, Impact::degraded, file, Error(read.error()).within("container " + record.id));
  }
  if (auto created = parse_go_time(record.values["createdat"])) container.created_at = created;
  if (container.image.empty()) container.image = Bytes(record.values["image"]);
  if (container.image_digest.empty()) container.image_digest = Bytes(record.digest);
  if (container.labels.empty()) container.labels = std::move(record.labels);
  if (container.name.empty() && !container.sandbox) container.name = Bytes(record.id);
  container.record = Bytes(file);
  if (known != nullptr) {
    *known = std::move(found);
  } else {
    into.push_back(std::move(found));
  }
}

// The page does not say it: "/<namespace>/<id>" of ctr and nerdctl, a pod's are the kubelet's,
// "/docker/<id>".
std::string namespace_in_cgroup(const Container& container) {
  if (container.pod) return "k8s.io";
  const std::string& path = container.cgroup.raw;
  if (path.starts_with("/docker/") || path.find(":docker:") != std::string::npos) return "moby";
  const auto end = path.rfind('/');
  if (end == std::string::npos || end == 0 || path.substr(end + 1) != container.id) return {};
  std::string name = path.substr(path.rfind('/', end - 1) + 1);
  name.erase(name.rfind('/'));
  return is_identifier(name) ? name : std::string{};
}

bool is_dockers(const std::string& space) { return space == "moby" || space.starts_with("moby-"); }

// A container's own bucket as a page that was freed has it. The snapshot has the container's id for a name
// with every client of containerd's.
Status read_stray(Bolt& bolt, std::size_t& bytes, Records& into, Task& task) {
  return bolt.scan([&](std::span<const Bolt::Entry> entries) -> Status {
    if (auto go_on = task.check(); !go_on) return go_on;
    Record record;
    for (const Bolt::Entry& entry : entries) {
      constexpr std::array<std::string_view, 5> kKnown{"createdat", "image", "spec", "snapshotKey", "config"};
      if (entry.bucket || std::find(kKnown.begin(), kKnown.end(), entry.key) == kKnown.end()) continue;
      record.values[std::string(entry.key)] = std::string(entry.value);
      bytes += entry.value.size();
    }
    record.id = record.values["snapshotKey"];
    const bool whole = is_identifier(record.id) && !record.values["spec"].empty();
    if (!whole || into.size() >= kMostKept || bytes > kMostBytes) return Done{};
    into.push_back(std::move(record));
    return Done{};
  });
}

// Those that were removed: nobody can say whether what is left of one is whole, so what cannot be understood
// is not a loss. One that is known is an older state of it.
void add_removed(const EngineRoot& root, const std::string& file, std::vector<Found>& into, Task& task) {
  const auto fd = root.node.open_in_root(file);
  if (!fd) return;  // told when it was read
  auto bolt = Bolt::open([&](std::span<std::byte> to, std::uint64_t offset) {
    return sys::pread_full(fd->get(), to, offset, file);
  });
  if (!bolt) return;
  Records records;
  std::size_t bytes = 0;
  if (auto scanned = read_stray(*bolt, bytes, records, task); !scanned)
    gap(task, Impact::note, file, Error(scanned.error()).within("looking for removed containers"));
  for (Record& record : records) {
    const bool known = std::any_of(into.begin(), into.end(),
                                   [&](const Found& one) { return one.container.id == record.id; });
    if (known) continue;
    Found found;
    Container& container = found.container;
    container.id = record.id;
    const auto spec = value_of_any(record.values["spec"]);
    if (!spec || !parse_spec(*spec, container)) continue;
    container.engine = "containerd";
    container.engine_namespace = Bytes(namespace_in_cgroup(container));
    if (is_dockers(container.engine_namespace.raw)) container.engine = "docker";
    container.engine_root = Bytes(root.path);
    container.root_dir = Bytes();
    container.state = ContainerState::recovered;
    container.created_at = parse_go_time(record.values["createdat"]);
    if (container.image.empty()) container.image = Bytes(record.values["image"]);
    if (container.name.empty() && !container.sandbox) container.name = Bytes(record.id);
    container.record = Bytes(file);
    into.push_back(std::move(found));
  }
}

}  // namespace

std::optional<std::string_view> value_of_any(std::string_view bytes) {
  constexpr std::uint64_t kValue = 2;
  constexpr std::uint64_t kLengthDelimited = 2;
  ByteCursor in(std::as_bytes(std::span(bytes)));
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = in.u8();
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) break;
    }
    return value;
  };
  while (!in.at_end() && in.ok()) {
    const std::uint64_t key = varint();
    if ((key & 7U) != kLengthDelimited) return std::nullopt;  // an Any has no others
    const std::uint64_t size = varint();
    const std::string_view field = in.text(size);
    if (!in.ok()) return std::nullopt;
    if (key >> 3U == kValue) return field;
  }
  return std::nullopt;
}

std::optional<Timestamp> parse_go_time(std::string_view bytes) {
  constexpr std::int64_t kYearOneToUnix = 62'135'596'800;
  ByteCursor in(std::as_bytes(std::span(bytes)), std::endian::big);
  const std::uint8_t version = in.u8();
  const auto seconds = static_cast<std::int64_t>(in.u64());
  const std::uint32_t nanoseconds = in.u32();
  (void)in.u16();
  if (!in.ok() || (version != 1 && version != 2) || nanoseconds >= 1'000'000'000) return std::nullopt;
  if (seconds <= 0) return std::nullopt;  // Go's zero time
  return Timestamp{seconds - kYearOneToUnix, nanoseconds};
}

Status add_containerd_records(const EngineRoot& root, std::vector<Found>& into, Task& task) {
  const std::string file = root.path + "/io.containerd.metadata.v1.bolt/meta.db";
  auto records = read_consistent(
      root.node, file, [&](Bolt& bolt, Records& all) { return read_metadata(bolt, all, task); }, task);
  if (!records) return Done{};
  for (Record& record : *records) {
    if (auto go_on = task.check(); !go_on) return go_on;
    if (is_dockers(record.space)) continue;  // Docker has its own
    add_containerd_record(root, file, record, into, task);
  }
  return Done{};
}

Status add_removed_containers(const EngineRoot& root, std::vector<Found>& into, Task& task) {
  add_removed(root, root.path + "/io.containerd.metadata.v1.bolt/meta.db", into, task);
  return task.check();
}

void add_podman_bolt(const Root& node, const Storage& storage, std::vector<Found>& into, Task& task) {
  const std::string file = storage.graph_root + "/libpod/bolt_state.db";
  auto records = read_consistent(
      node, file,
      [&](Bolt& bolt, Records& all) -> Status {
        const auto containers = bolt.find_bucket(bolt.root(), "ctr");
        if (!containers) return containers.error();
        return *containers ? read_containers(bolt, **containers, "", all, task) : Status(Done{});
      },
      task);
  if (!records) return;
  for (Record& record : *records) {
    add_podman_record({record.id, std::move(record.values["config"]), std::move(record.values["state"])},
                      file, storage, into, task);
  }
}

}  // namespace ctriage::runtime
