#pragma once
// What every source answers and every view asks. Values only: no terminal, no clock, no path of ours.
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/model/file.h"
#include "lib/model/finding.h"
#include "lib/model/gap.h"
#include "lib/model/process.h"

namespace ctriage {

// The same path can lie in several places with other bytes in each, so a file is never named by path alone.
enum class Place : std::uint8_t { upper, program, log };
struct FileKey {
  std::string container;
  Place place = Place::upper;
  Bytes path;  // in the container; a program by its sha256; a log by its stream
};

enum class Facet : std::uint8_t {
  containers,
  processes,
  threads,
  mappings,
  descriptors,
  sockets,
  mounts,
  layers,
  changes,
  logs,
  findings,
  gaps,
};
constexpr auto enum_names(Facet) {
  return std::array<std::string_view, 12>{"containers",  "processes", "threads",  "mappings",
                                          "descriptors", "sockets",   "mounts",   "layers",
                                          "changes",     "logs",      "findings", "gaps"};
}

struct Coverage {
  enum class Level : std::uint8_t { none, part, whole } level = Level::none;
  std::string why;
};

// One caller at a time. Lists come in canonical order (id; pid; address; path bytewise by component), so that
// two snapshots compare by a merge in constant memory. What covers() calls none, the base answers with its
// gap.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  [[nodiscard]] virtual Coverage covers(Facet facet) const = 0;  // none is not empty
  virtual Result<Source> describe(Task& task) = 0;
  virtual Status list_containers(const Emit<Container>& emit, Task& task);
  virtual Status list_processes(const std::string& container, const Emit<Process>& emit, Task& task);
  virtual Status list_threads(const std::string& container, const Emit<Thread>& emit, Task& task);
  virtual Status list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task);
  virtual Status list_descriptors(const std::string& container, const Emit<Descriptor>& emit, Task& task);
  virtual Status list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task);
  virtual Status list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task);
  virtual Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task);
  virtual Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task);
  virtual Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task);
  virtual Status list_findings(const Emit<Finding>& emit, Task& task);
  virtual Status list_gaps(const Emit<GapRecord>& emit, Task& task);  // those recorded in the source itself
  virtual Result<std::unique_ptr<ByteSource>> open_file(const FileKey& file, Task& task);
};

}  // namespace ctriage
