#include "lib/source/bundle/source.h"

#include "lib/core/limits.h"
#include "lib/model/json.h"
#include "lib/source/remembered.h"

namespace ctriage::source {
namespace {

constexpr std::string_view kContainers = "containers/";
constexpr std::string_view kPod = "pod/pod.json";
constexpr std::string_view kNewer = "node/newer.jsonl";
constexpr std::string_view kLines = ".jsonl";

// The streams that a facet is read from: one in the bundle, or one in each container's folder.
std::string_view stream_of(Facet facet) {
  switch (facet) {
    case Facet::containers:
      return "container.json";
    case Facet::processes:
      return "processes.jsonl";
    case Facet::threads:
      return "threads.jsonl";
    case Facet::mappings:
      return "mappings.jsonl";
    case Facet::descriptors:
      return "descriptors.jsonl";
    case Facet::sockets:
      return "sockets.jsonl";
    case Facet::mounts:
      return "mounts.jsonl";
    case Facet::layers:
      return "layers.jsonl";
    case Facet::changes:
      return "changes.jsonl";
    case Facet::logs:
      return "logs.jsonl";
    case Facet::findings:
      return "findings.jsonl";
    case Facet::gaps:
      return "gaps.jsonl";
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<BundleSnapshot>> BundleSnapshot::open(std::unique_ptr<bundle::Reader> reader,
                                                             std::string name, Task& task) {
  std::unique_ptr<BundleSnapshot> snapshot(new BundleSnapshot(std::move(reader), std::move(name)));
  for (const std::string& stream : snapshot->reader_->streams()) {
    if (!stream.starts_with(kContainers) ||
        !stream.ends_with("/" + std::string(stream_of(Facet::containers))))
      continue;
    // One container that cannot be read costs the others nothing.
    auto container = snapshot->read_container(stream, task);
    if (!container) {
      if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
      task.gaps.add({Impact::lost, "bundle.stream", stream, std::move(container).error()});
      continue;
    }
    const std::string folder = stream.substr(0, stream.size() - stream_of(Facet::containers).size());
    snapshot->folders_[container->id] = folder;
  }
  if (!snapshot->reader_->sealed()) {
    task.gaps.add({Impact::lost,
                   "bundle",
                   snapshot->name_,
                   {Errc::truncated, "the bundle is not sealed: collect did not end, or the file is cut"}});
  }
  return snapshot;
}

Coverage BundleSnapshot::covers(Facet facet) const {
  const std::string file(stream_of(facet));
  std::vector<std::string> streams;
  if (facet == Facet::findings || facet == Facet::gaps) {
    streams.push_back(file);
  } else {
    for (const auto& [id, folder] : folders_) streams.push_back(folder + file);
  }
  if (streams.empty()) return {Coverage::Level::none, "no container is in this bundle"};
  std::size_t there = 0;
  std::string why = reader_->sealed() ? "" : "the bundle is not sealed";
  for (const std::string& stream : streams) {
    there += reader_->has(stream);
    if (!reader_->has(stream)) why = stream + " is not in this bundle";
    const auto status = reader_->status(stream);
    if (status && status->outcome != bundle::Outcome::collected) why = stream + ": " + status->why;
  }
  if (there == 0) return {Coverage::Level::none, why};
  return {why.empty() ? Coverage::Level::whole : Coverage::Level::part, why};
}

Result<Source> BundleSnapshot::describe(Task& task) {
  auto stream = reader_->open("bundle.json", task);
  if (!stream) return std::move(stream).error().within(name_);
  auto text = read_all(**stream, kMaxJsonLineBytes);
  if (!text) return std::move(text).error().within("bundle.json");
  auto header = parse_artifact<BundleHeader>(*text);
  if (!header) return std::move(header).error().within("bundle.json");
  header->source.kind = "bundle";
  return std::move(header->source);
}

template <class T>
Status BundleSnapshot::list(const std::string& stream, const Emit<T>& emit, Task& task) {
  const bool first = listed_.insert(stream).second;
  if (first) return read_lines(stream, emit, task);
  Again again(task);
  return read_lines(stream, emit, again.task());
}

template <class T>
Status BundleSnapshot::read_lines(const std::string& stream, const Emit<T>& emit, Task& task) {
  auto source = reader_->open(stream, task);
  if (!source) return std::move(source).error().within(stream);
  LineReader lines(**source, kMaxJsonLineBytes);
  std::string_view line;
  for (;;) {
    auto more = lines.next(line);
    if (!more) {
      const bool ends = more.error().code != Errc::limit;
      const Errc code = more.error().code;
      if (code == Errc::stopped || code == Errc::timeout) return std::move(more).error();
      task.gaps.add({Impact::lost, "bundle.stream", stream, std::move(more).error()});
      if (ends) return Done{};
      continue;
    }
    if (!*more) return Done{};
    auto artifact = parse_artifact<T>(line);
    if (!artifact) {
      task.gaps.add({Impact::lost, "bundle.record", stream + "+" + std::to_string(lines.offset()),
                     std::move(artifact).error()});
      continue;
    }
    if (auto status = emit(std::move(*artifact)); !status) return status;
  }
}

template <class T>
Status BundleSnapshot::list_of(const std::string& container, std::string_view file, const Emit<T>& emit,
                               Task& task) {
  const auto folder = folders_.find(container);
  if (folder == folders_.end()) return Error{Errc::not_found, container + ": no such container in " + name_};
  const std::string stream = folder->second + std::string(file);
  if (!reader_->has(stream)) {
    if (!listed_.insert(stream).second) return Done{};  // told
    task.gaps.add({Impact::note, "bundle.stream", stream, {Errc::not_found, "not in this bundle"}});
    return Done{};
  }
  return list(stream, emit, task);
}

Result<Container> BundleSnapshot::read_container(const std::string& stream, Task& task) {
  auto source = reader_->open(stream, task);
  if (!source) return std::move(source).error();
  auto text = read_all(**source, kMaxJsonLineBytes);
  if (!text) return std::move(text).error();
  return parse_artifact<Container>(*text);
}

Status BundleSnapshot::list_containers(const Emit<Container>& emit, Task& task) {
  for (const auto& [id, folder] : folders_) {
    auto container = read_container(folder + std::string(stream_of(Facet::containers)), task);
    if (!container) return std::move(container).error();
    if (auto status = emit(*std::move(container)); !status) return status;
  }
  return Done{};
}

void BundleSnapshot::keep(const std::set<std::string>& ids) {
  std::erase_if(folders_, [&](const auto& folder) { return !ids.contains(folder.first); });
  narrowed_ = true;
}

Status BundleSnapshot::list_tree(const std::string& stream, const Emit<TreeFile>& emit, Task& task) {
  return list(stream, emit, task);
}

Status BundleSnapshot::list_ranges(const std::string& stream, const Emit<PageRange>& emit, Task& task) {
  return list(stream, emit, task);
}

std::vector<std::string> BundleSnapshot::tree_streams(const std::string& folder) const {
  std::vector<std::string> found;
  for (const std::string& stream : reader_->streams()) {
    const bool of_tree = stream.starts_with(folder + "tmpfs/") || stream.starts_with(folder + "volumes/");
    if (of_tree && stream.ends_with(kLines)) found.push_back(stream);
  }
  return found;
}

Status BundleSnapshot::list_trees(const std::string& id, const Emit<TreeFile>& emit, Task& task) {
  const auto folder = folders_.find(id);
  if (folder == folders_.end()) return Error{Errc::not_found, id + ": no such container in " + name_};
  const std::vector<std::string> streams = tree_streams(folder->second);
  if (streams.empty() && listed_.insert(folder->second + "tmpfs/").second)
    task.gaps.add({Impact::note,
                   "trees",
                   folder->second,
                   {Errc::not_found, "no list of a tmpfs or volume of it is in this bundle"}});
  for (const std::string& stream : streams) {
    if (auto listed = list(stream, emit, task); !listed) return listed;
  }
  return Done{};
}

Result<std::unique_ptr<ByteSource>> BundleSnapshot::open_log(const LogFile& log, Task& task) {
  return reader_->open(log.stream, task);
}

Status BundleSnapshot::list_custody(const Emit<CustodyAction>& emit, Task& task) {
  constexpr std::string_view kCustody = "custody.jsonl";
  return reader_->has(std::string(kCustody)) ? list(std::string(kCustody), emit, task) : Status(Done{});
}

Status BundleSnapshot::list_postures(const Emit<Posture>& emit, Task& task) {
  const std::string stream(kPod);
  if (!reader_->has(stream)) return Snapshot::list_postures(emit, task);
  auto source = reader_->open(stream, task);
  if (!source) return std::move(source).error().within(stream);
  auto text = read_all(**source, kMaxJsonLineBytes);
  auto pod = text ? parse_artifact<Pod>(*text) : Result<Pod>(text.error());
  if (!pod) {
    if (auto go_on = task.check(); !go_on) return go_on;
    task.gaps.add({Impact::lost, "bundle.stream", stream, std::move(pod).error()});
    return Done{};
  }
  for (Posture& posture : pod->containers) {
    if (narrowed_ && !folders_.contains(posture.container)) continue;
    if (auto status = emit(std::move(posture)); !status) return status;
  }
  return Done{};
}

Status BundleSnapshot::list_node_facts(const Emit<NodeFact>& emit, Task& task) {
  const std::string stream(kNewer);
  return reader_->has(stream) ? list(stream, emit, task) : Snapshot::list_node_facts(emit, task);
}

Status BundleSnapshot::list_processes(const std::string& id, const Emit<Process>& emit, Task& task) {
  return list_of(id, stream_of(Facet::processes), emit, task);
}
Status BundleSnapshot::list_threads(const std::string& id, const Emit<Thread>& emit, Task& task) {
  return list_of(id, stream_of(Facet::threads), emit, task);
}
Status BundleSnapshot::list_mappings(const std::string& id, const Emit<Mapping>& emit, Task& task) {
  return list_of(id, stream_of(Facet::mappings), emit, task);
}
Status BundleSnapshot::list_descriptors(const std::string& id, const Emit<Descriptor>& emit, Task& task) {
  return list_of(id, stream_of(Facet::descriptors), emit, task);
}
Status BundleSnapshot::list_sockets(const std::string& id, const Emit<Socket>& emit, Task& task) {
  return list_of(id, stream_of(Facet::sockets), emit, task);
}
Status BundleSnapshot::list_mounts(const std::string& id, const Emit<Mount>& emit, Task& task) {
  return list_of(id, stream_of(Facet::mounts), emit, task);
}
Status BundleSnapshot::list_layers(const std::string& id, const Emit<Layer>& emit, Task& task) {
  return list_of(id, stream_of(Facet::layers), emit, task);
}
Status BundleSnapshot::list_changes(const std::string& id, const Emit<FileChange>& emit, Task& task) {
  return list_of(id, stream_of(Facet::changes), emit, task);
}
Status BundleSnapshot::list_logs(const std::string& id, const Emit<LogFile>& emit, Task& task) {
  return list_of(id, stream_of(Facet::logs), emit, task);
}
Status BundleSnapshot::list_findings(const Emit<Finding>& emit, Task& task) {
  if (!reader_->has("findings.jsonl")) return Done{};
  if (!narrowed_) return list("findings.jsonl", emit, task);
  const Emit<Finding> of_kept = [&](Finding&& finding) -> Status {
    const bool kept = finding.container.empty() || folders_.contains(finding.container);
    return kept ? emit(std::move(finding)) : Status(Done{});
  };
  return list("findings.jsonl", of_kept, task);
}
Status BundleSnapshot::list_gaps(const Emit<GapRecord>& emit, Task& task) {
  if (!reader_->has("gaps.jsonl")) return Done{};
  return list("gaps.jsonl", emit, task);
}

}  // namespace ctriage::source
