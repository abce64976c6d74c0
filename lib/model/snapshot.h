#pragma once
// What every source answers and every view asks. Values only: no terminal, no clock, no path of ours.
#include <memory>
#include <string>
#include <vector>

#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/model/coverage.h"
#include "lib/model/file.h"
#include "lib/model/finding.h"
#include "lib/model/gap.h"
#include "lib/model/pages.h"
#include "lib/model/process.h"
#include "lib/model/tree.h"

namespace ctriage {

struct OpenedFile {
  FileEntry entry;
  std::unique_ptr<ByteSource> bytes;  // of a regular file, else none: entry.file.size_bytes of them, unless
                                      // the file has changed since
};

// One caller at a time. Of a live node, containers come by (pod namespace, pod, sandbox id, sandbox first,
// name, id), and in them processes by pid, threads by (pid, tid), mappings by (pid, address), descriptors by
// pid, layers from the image's lowest up, changes by path bytewise by component, findings in the order of
// their numbers; sockets, mounts and logs as the kernel and the directory gave them. A bundle's containers
// come by id and everything in them in the order it was written down: a forged bundle in any. What covers()
// calls none, the base answers with its gap.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  [[nodiscard]] virtual Coverage covers(Facet facet) const = 0;  // none is not empty
  // For people: how complete the evidence is, in the words of its kind. The base names the facets.
  [[nodiscard]] virtual std::vector<CompletenessRow> completeness() const;
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
  // The files in a directory, or the one file that the key names; links are followed inside the container.
  // Errc::not_found, and unsupported where this source has no such layer.
  virtual Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task);
  // What the key names, whatever it is; bytes from their beginning.
  virtual Result<OpenedFile> open_file(const FileKey& key, Task& task);
  // Processes by pid and address, then what belongs to none; of a compressed checkpoint in the order of the
  // archive. What could not be read is a gap; an error of the visitor ends it. Errc::unsupported where this
  // source has no memory, not_found: no such process.
  virtual Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task);
  virtual Status list_findings(const Emit<Finding>& emit, Task& task);
  virtual Status list_gaps(const Emit<GapRecord>& emit, Task& task);  // those recorded in the source itself
};

}  // namespace ctriage
