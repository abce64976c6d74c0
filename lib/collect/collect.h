#pragma once
// The triage: everything a table of collectors knows how to take from a live snapshot, in order of
// volatility, into one bundle.
//
//   hold      open what would be gone with the container; read nothing yet
//   1 state   processes, sockets, network, mounts, ... ; synced, its digest told; findings so far
//   2 memory  of suspicious processes
//   3 files   programs and libraries that are not in the image, tmpfs, the UpperDir
//   4 volumes that the containers may write to
//   5 logs    of the containers
//   6 node    what outlives the pod: configuration, kernel log, what is newer than the pod, the engines' logs
//   7 memory  of the other processes
//   ending    the examiner's files, findings, gaps, custody, SUMMARY.txt, seal
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/bundle/writer.h"
#include "lib/collect/memory_choice.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"
#include "lib/model/snapshot.h"
#include "lib/rules/rules.h"
#include "lib/source/live/live.h"

namespace ctriage::collect {

enum class Compression : std::uint8_t { zstd, none };

// Collectors that are not to run, by name, and the option that says so.
using LeftOut = std::map<std::string, std::string, std::less<>>;

// Who takes the evidence and what for: into bundle.json as it was typed.
struct Case {
  std::string id;  // also begins the bundle's name
  std::string item;
  std::string examiner;
  std::string authority;
  std::string note;
};
struct Attachment {  // a file of the examiner's, into attach/
  std::string path;  // as typed
  std::string name;  // its last component
  std::unique_ptr<ByteSource> bytes;
  std::uint64_t size_bytes = 0;
};

constexpr std::uint64_t kVolumeMaxBytes = 8 << 20;

struct Options {
  std::string tool;                       // name and version, for bundle.json
  std::vector<std::string> command_line;  // as typed, for bundle.json
  Compression compression = Compression::zstd;
  unsigned workers = 2;
  std::uint64_t max_bytes = UINT64_MAX;  // of the bundle
  LeftOut left_out;
  MemoryOptions memory;
  std::uint64_t volume_max_bytes = kVolumeMaxBytes;  // of a file in a volume that is no program
  Case about;
  std::vector<Attachment> attachments;
  std::string name;  // of the bundle; empty: bundle_name() at the start
  // Asked before each collector of what is not gone with a process. An error leaves that one out, as lost:
  // who takes the bundle is too slow.
  std::function<Status(const struct Collector&)> may_take;
  std::vector<bundle::AgeRecipient> recipients;  // none: not encrypted
  std::shared_ptr<bundle::Signer> signer;        // none: not signed
};

struct MemoryCounts {
  std::uint64_t chosen = 0;     // processes whose memory was to be taken
  std::uint64_t processes = 0;  // of which a core is in the bundle
  std::uint64_t bytes = 0;      // of memory in those
  std::uint64_t left_out = 0;   // processes, by plan
  std::int64_t frozen_ns = 0;   // they stood still, all together
};

struct Counts {
  std::uint64_t containers = 0;
  std::uint64_t ended = 0;  // of them
  std::uint64_t processes = 0;
  std::uint64_t sockets = 0;
  std::uint64_t changes = 0;
  std::uint64_t layers_unread = 0;  // containers whose changes cannot be known
  std::uint64_t programs = 0;       // taken because they are not in the image
  std::uint64_t libraries = 0;      // mapped ones, taken
  std::uint64_t tmpfs = 0;
  std::uint64_t volumes = 0;       // listed
  std::uint64_t volume_files = 0;  // names in them
  std::uint64_t volume_newer = 0;  // of those newer than the container
  std::uint64_t logs = 0;
  std::uint64_t findings = 0;
  MemoryCounts suspicious_memory;
  MemoryCounts other_memory;
};

struct PhaseEnd {
  unsigned number = 0;
  std::string name;
  std::int64_t took_ns = 0;
  std::string text;              // "9 processes, 31 sockets"
  std::optional<Digest> digest;  // of the bundle's bytes so far; the state phase has one
};

struct Summary {
  std::string path;        // of the bundle, relative to the output directory
  std::string not_sealed;  // why it is still NAME.part, else empty
  std::uint64_t size_bytes = 0;
  Digest manifest_digest{};
  std::string signed_by;  // fingerprint; empty: there is no signature
  Counts counts;
  source::HoldCounts held;
  std::int64_t took_ns = 0;
  std::int64_t cpu_ns = 0;
  std::int64_t state_ns = 0;  // from the start until the state was synced
  std::int64_t hold_ns = 0;
  std::int64_t resident_growth_bytes = 0;  // of the members that were there before and after
  std::uint64_t degraded = 0;              // gaps, all that were counted
  std::uint64_t notes = 0;
  std::uint64_t lost = 0;                    // gaps of impact "lost", failures of the ending included
  std::vector<std::string> memory_left_out;  // the first few processes, and why
};

// Who is told while it runs. lib/collect knows no terminal.
struct Progress {
  virtual ~Progress() = default;
  // Everything is held; what follows takes about that.
  virtual void held(const source::HoldCounts& counts, const source::LiveSnapshot& snapshot, Timestamp at) = 0;
  virtual void phase_ended(const PhaseEnd& phase) = 0;
  virtual void found(const Finding& finding) = 0;
  virtual void changed(ChangeKind kind) = 0;
  virtual void gap(const Gap& gap) = 0;
  // The text of SUMMARY.txt: what is known before the seal.
  virtual std::string summary_text(const Summary& summary) = 0;
};

// What it is gone with: the order of taking, RFC 3227.
enum class Volatility : std::uint8_t { process, container, pod, node };
constexpr auto enum_names(Volatility) {
  return std::array<std::string_view, 4>{"process", "container", "pod", "node"};
}

// What there must be for it: of a container that has ended there are records, layers and logs.
enum class Needs : std::uint8_t { records, processes, running_node };

struct Collector {
  std::string_view name;   // "processes"
  std::string_view group;  // "state", "files", "logs"; --only and --skip name either; may come twice
  Volatility volatility;
  std::string_view what;  // one line for people
  // Bytes before compression, about, of a snapshot that holds; none: not known before they are read.
  std::uint64_t (*estimate)(const source::LiveSnapshot& snapshot, const MemoryOptions& memory);
  Status (*take)(class Collection& collection);
  Needs needs = Needs::records;
};
constexpr std::string_view kMemoryGroup = "memory";
// In the order they run: the most volatile first, but the bulk of memory last.
std::span<const Collector> collectors();

// Where the bundle goes: a directory, in which it grows as NAME.part, or a pipe.
using Output = std::variant<const Root*, UniqueFd*>;

// Takes it all into `output`. An error only when there is no bundle: what could not be taken is a gap. The
// gaps that `task` has kept so far go into the bundle first; those of the run reach it and `progress` as they
// come.
Result<Summary> collect(source::LiveSnapshot& snapshot, const Output& output, rules::Engine& engine,
                        const Options& options, Progress& progress, Task& task);

// NAME of the bundle: <case>_<node>_<pod or container>_<time>, parts made safe by bundle::member_name.
std::string bundle_name(const std::string& case_id, const Source& source,
                        const source::LiveSnapshot& snapshot);

}  // namespace ctriage::collect
