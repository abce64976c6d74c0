#pragma once
// What a collector works with: the snapshot it takes from, the bundle it writes to, and who evaluates on the
// way.
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/collect/collect.h"
#include "lib/core/limits.h"
#include "lib/memory/plan.h"
#include "lib/model/json.h"
#include "lib/model/shorten.h"
#include "lib/runtime/processes.h"
#include "lib/source/live/swap.h"

namespace ctriage::collect {

class Collection {
 public:
  Collection(source::LiveSnapshot& from, bundle::Writer& to, rules::Engine& rules, const Options& chosen,
             Progress& teller, Task& work)
      : snapshot(from), out(to), engine(rules), options(chosen), progress(teller), task(work) {}

  source::LiveSnapshot& snapshot;
  bundle::Writer& out;
  rules::Engine& engine;
  const Options& options;
  Progress& progress;
  Task& task;

  Counts counts;
  std::unique_ptr<bundle::Stream> findings;  // findings.jsonl
  std::vector<Finding> to_tell;              // found in this phase, told after its line

  struct Program {  // a running program whose bytes are taken
    std::string container;
    std::string member;
    std::int32_t pid = 0;
    std::string path;
    std::uint64_t size_bytes = 0;
  };
  std::map<std::pair<std::string, std::string>, Program> programs;  // by container and sha256: once each

  // Who has which file mapped as code, and what rules were asked about: by container.
  std::map<std::size_t, std::map<source::LibraryId, std::vector<std::int32_t>>> libraries;

  std::optional<std::vector<runtime::EngineProcess>> engines;  // list_engines()

  struct MemoryState {
    std::vector<MemoryMember> members;                               // those that could be read
    std::map<std::pair<std::size_t, std::int32_t>, std::size_t> at;  // by container and pid
    std::map<std::size_t, memory::SharedPages> shared;               // by container
    std::vector<std::string> left_out;                               // the first few, for people
    std::optional<source::Freezers> freezers;                        // made when the first is read
    std::optional<source::SwapRoom> swap;                            // the same
  } memory;

  [[nodiscard]] std::string path_of(const source::LiveContainer& container, std::string_view name) const {
    return "containers/" + container.member + "/" + std::string(name);
  }
  // Where bulk goes: "upper.tar" as "upper.tar.zst" unless compression is off.
  [[nodiscard]] std::string bulk_path(std::string path) const {
    return options.compression == Compression::zstd ? std::move(path) + ".zst" : std::move(path);
  }
  [[nodiscard]] bundle::Encoding bulk_encoding() const {
    return options.compression == Compression::zstd ? bundle::Encoding::zstd : bundle::Encoding::plain;
  }

  // One artifact as one line of a .jsonl stream. One that is too long for a line is shortened and told: it
  // must not cost us those that follow.
  template <class T>
  Status write(bundle::Stream& stream, const T& artifact) {
    constexpr std::size_t kOriginBytes = 200;  // says which one: members that name it come first
    std::string line = to_json(artifact);
    if (line.size() > kMaxJsonLineBytes) {
      task.gaps.add({Impact::lost,
                     "record",
                     line.substr(0, kOriginBytes),
                     {Errc::limit, "its record of " + std::to_string(line.size()) +
                                       " bytes is too long: texts and lists in it are cut"}});
      line = to_json(shortened(artifact));
    }
    return stream.write_line(line);
  }
  // Writes a finding to the bundle and remembers it for the screen.
  Status add_finding(Finding&& finding);
  // A stream could not be written to its end: a gap, and its outcome for the manifest. Passes on what must
  // end the run.
  Status ended_early(bundle::Stream& stream, std::string_view artifact, const std::string& path,
                     const Error& error);
  // Text of evidence that is small: one member, or a gap.
  Status add_file(const std::string& path, Result<std::string> text, std::string_view artifact,
                  std::string source);
};

// Exactly `size_bytes` of `in` into `out`, and their SHA-256; Errc::truncated when the file has become
// shorter.
Result<Digest> copy_file(ByteSource& in, std::uint64_t size_bytes, std::string_view name,
                         bundle::Stream& out);

// True for errors after which no collector can go on: stopped, timeout, full.
bool ends_the_run(const Error& error);

// Opens containers/<c>/<name>.jsonl, lets `list` emit artifacts into it, closes it. `each` sees every
// artifact first.
template <class T>
Status take_list(Collection& in, const source::LiveContainer& container, std::string_view name,
                 const std::function<Status(const Emit<T>&)>& list,
                 const std::function<Status(const T&)>& each) {
  const std::string path = in.path_of(container, std::string(name) + ".jsonl");
  auto stream = in.out.open(path, bundle::Encoding::jsonl, "procfs");
  if (!stream) return std::move(stream).error();
  bundle::Stream& out = **stream;
  const Emit<T> emit = [&](T&& artifact) -> Status {
    if (each) {
      if (auto status = each(artifact); !status) return status;
    }
    return in.write(out, artifact);
  };
  if (auto listed = list(emit); !listed)
    return in.ended_early(out, "container." + std::string(name), path, listed.error());
  return out.finish(bundle::Outcome::collected, "");
}

// Of a container that has ended there is no such list, which is not an empty one: said in the manifest.
bool is_gone(Collection& in, const source::LiveContainer& container, std::string_view name);

// The collectors, by what they read.
Status take_node(Collection& in);
Status take_node_config(Collection& in);
Status take_kernel_log(Collection& in);
Status take_newer(Collection& in);
Status take_containers(Collection& in);
Status take_posture(Collection& in);
Status take_processes(Collection& in);
Status take_threads(Collection& in);
Status take_descriptors(Collection& in);
Status take_mappings(Collection& in);
Status take_sockets(Collection& in);
Status take_mounts(Collection& in);
// What the state has of containers that were added after it, from this one on.
Status take_ended_state(Collection& in, std::size_t first);
Status take_network(Collection& in);
Status take_raw(Collection& in);
Status take_suspicious_memory(Collection& in);
Status take_other_memory(Collection& in);
// Bytes of memory that the processes have, as far as the limits go: which are suspicious is not known before.
std::uint64_t memory_bytes(const source::LiveSnapshot& snapshot, const MemoryOptions& memory);
Status take_programs(Collection& in);
Status take_libraries(Collection& in);
Status take_upper(Collection& in);
Status take_tmpfs(Collection& in);
Status take_volumes(Collection& in);
Status take_logs(Collection& in);
Status take_node_logs(Collection& in);
Status take_attachments(Collection& in);  // no collector: nothing of the target's

}  // namespace ctriage::collect
