#pragma once
// What the images of one container say, as artifacts. Everything is read once; mappings and descriptors,
// which may be many, again when they are listed.
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/limits.h"
#include "lib/criu/criu.h"
#include "lib/model/pages.h"
#include "lib/model/process.h"
#include "lib/source/checkpoint/layout.h"
#include "lib/source/checkpoint/memory.h"

namespace ctriage::source {

struct CheckpointTask {
  std::uint32_t pid = 0;
  std::uint32_t files_id = 0;
  std::uint32_t page_bytes = 0;
  bool has_memory = false;  // a zombie has none
};

// Images have major << 20 | minor of a device.
Hex device_of(std::uint32_t device);

class CheckpointTasks {
  friend class CheckpointCore;

 public:
  // What cannot be read is a gap; an error only when it is time to end.
  static Result<CheckpointTasks> read(const CheckpointPart& part, const Task& task);

  std::vector<Process> processes;  // by pid
  std::vector<Thread> threads;     // by pid, then as the image has them
  std::vector<Socket> sockets;
  std::vector<Mount> mounts;
  std::vector<SeccompFilter> filters;  // by number
  std::string machine;
  std::string node;
  std::vector<std::string> deleted_names;  // of files whose content is in ghost-file images, by their remap
  bool tcp_closed = false;
  bool lost = false;  // an image could not be read
  // Private memory of the processes.
  std::uint64_t present_pages = 0;
  std::set<std::string> pages_files;  // in which they lie
  bool pages_lost = false;            // those are not of that size, or a page map could not be read
  std::size_t nameless_files = 0;     // deleted ones whose content is not there

  Status list_mappings(const Emit<Mapping>& emit, const Task& task);
  Status list_descriptors(const Emit<Descriptor>& emit, const Task& task);
  // Pages that walk() hands over, in an order of its caller's.
  struct Pages {
    std::string of;    // as of CheckpointMemory::page_map()
    std::string file;  // in which they lie
    std::uint32_t page_bytes = 0;
    std::int32_t pid = 0;                   // of shared memory the first that maps it; 0: nobody does
    std::uint32_t shared = 0;               // shared memory, by CRIU's number
    std::set<std::int32_t> mapped_by = {};  // of a shared object: all who map it
  };
  // Of each process, then each piece of shared memory. A page map that cannot be read is a gap: it was told
  // for processes.
  std::vector<Pages> list_pages(const Task& task);
  Status walk(const Pages& pages, std::uint64_t space, MemoryVisitor& visitor, const Task& task);
  // Files without a name whose content is there: their names by image, "ghost-file-1.img".
  [[nodiscard]] const std::map<std::string, std::string>& ghost_names() const { return ghost_names_; }
  // What a raw image of queues or a file holds: "ghost-file-1.img" -> the file's name.
  [[nodiscard]] std::string name_of_image(const std::string& image) const;
  // Which bytes of an image of queues are which packet or which way of a connection; in their order, none
  // over another. Of other images nothing. An error: what comes behind is damaged, or `take` said so.
  using TakeStretch = std::function<Status(std::uint64_t at, std::uint64_t size, std::string name)>;
  Status each_stretch(const std::string& image, std::string_view text, const TakeStretch& take) const;

  // Of the archive: as of CheckpointStore, and where in it a file begins.
  [[nodiscard]] bool is_in_order() const { return store_.is_in_order(); }
  [[nodiscard]] std::uint64_t place_of(const std::string& file) const {
    const StoredFile* found = store_.find(file);
    return found == nullptr ? 0 : found->offset;
  }

  // Where the pages of a process lie. Errc::not_found: no such process, or one without memory.
  Result<criu::PageMap> page_map(std::int32_t pid);
  // Up to into.size() bytes of one state at `address`; `map` is that of the process.
  Result<MemoryChunk> read_memory(std::int32_t pid, const criu::PageMap& map, std::uint64_t address,
                                  std::span<std::byte> into);

 private:
  friend class CheckpointObjects;
  using FileKey = std::pair<criu::FileKind, std::uint32_t>;
  explicit CheckpointTasks(const CheckpointPart& part)
      : store_(*part.images), dir_(part.image_dir), id_(part.container.id), memory_(store_, dir_) {}

  Status read_all(const CheckpointPart& part, const Task& task);
  bool read_inventory(const Task& task);
  void read_files(const Task& task);
  void read_remaps(const Task& task);
  void read_system(const Task& task);
  Status read_tree(const Task& task);
  void read_process(const criu::TreeEntry& entry, const Task& task);
  void read_threads(const criu::TreeEntry& entry, const Process& process, const criu::Core& first,
                    const Task& task);
  void read_memory(Process& into, CheckpointTask& about, const Task& task);
  void read_strings(Process& into, const criu::PageMap& map, const criu::Memory& memory, const Task& task);
  Status keep_strings(std::string_view text, std::vector<Bytes>& into);
  std::string read_text(std::uint32_t pid, const criu::PageMap& map, std::uint64_t start, std::uint64_t end,
                        const std::string& what, const Task& task);
  void read_places(Process& into, const Task& task);
  void read_mounts(std::uint32_t namespace_id, const Task& task);
  Status read_sockets(const Task& task);
  // What the kernel keeps for them: kernel.cpp.
  void read_old_signals(std::uint32_t pid, criu::Core& into, const Task& task);
  void take_signals(const criu::Core& core, Process& into, const Task& task);
  void read_filters(const Task& task);
  void share_filters();
  [[nodiscard]] std::vector<std::uint32_t> chain_of(std::uint32_t filter) const;
  void read_old_watches(const Task& task);
  void add_detail(const criu::FileEntry& entry, Descriptor& into) const;
  std::map<std::uint32_t, std::uint64_t> read_packets(const Task& task);
  void read_queues(Socket& into, const Task& task);
  Result<std::string> read_head(const std::string& name, criu::Kind kind);
  Status each_fd(const std::function<Status(const CheckpointTask&, const criu::FdEntry&)>& take,
                 const Task& task);
  void tell_unread(const Task& task);
  void find_origins(const CheckpointPart& part, const Task& task);
  Origin origin_of(const Process& process, const CheckpointPart& part,
                   const std::set<std::string>& changed) const;

  [[nodiscard]] bool has(const std::string& name) const { return store_.find(dir_ + name) != nullptr; }
  std::optional<std::string> image(const std::string& name, const Task& task);
  using TakeEntry = std::function<Status(std::string_view message, criu::ImageReader& reader)>;
  void each_entry(const std::string& name, criu::Kind kind, const TakeEntry& take, const Task& task);
  void lose(const std::string& name, Error error, const Task& task);
  [[nodiscard]] const criu::FileEntry* file(criu::FileKind kind, std::uint32_t id) const;
  [[nodiscard]] const criu::FileEntry* open_file(std::uint32_t id) const;
  Status each_packet(criu::ImageReader& reader, std::uint64_t image_bytes, const TakeStretch& take) const;
  Status each_pipe(criu::ImageReader& reader, std::uint64_t image_bytes, const TakeStretch& take) const;
  void name_executable(std::uint32_t id, Executable& into) const;
  Descriptor descriptor_of(const criu::FdEntry& fd) const;
  Mapping mapping_of(const criu::Vma& vma) const;
  // 0: the mapping is of no shared memory that has a number of CRIU's.
  [[nodiscard]] std::uint32_t shared_of(const criu::Vma& vma) const;

  CheckpointStore& store_;
  std::string dir_;
  std::string id_;
  CheckpointMemory memory_;
  std::vector<CheckpointTask> tasks_;
  std::map<FileKey, criu::FileEntry> files_;
  std::set<std::uint32_t> deleted_;                  // ids of regular files without a name
  std::map<std::uint32_t, criu::GhostFile> ghosts_;  // by id of the file
  std::map<std::string, std::string> ghost_names_;   // by image
  struct SharedVma {
    std::int32_t pid = 0;
    criu::Vma vma;
  };
  std::map<std::uint32_t, SharedVma> shared_;  // of shared memory the first mapping: list_pages()
  std::map<std::uint64_t, criu::MemfdInode> memfds_;
  std::map<std::uint32_t, criu::TtyInfo> ttys_;  // by id
  std::map<std::uint32_t, Hex> terminals_;       // device, by session
  std::map<std::uint32_t, std::vector<std::string>> cgroups_;
  std::set<std::string> external_mounts_;
  std::size_t text_room_bytes_ = 0;
  std::size_t timer_room_ = kMaxCriuTimers;
  std::size_t watch_room_ = kMaxCriuWatches;
  std::uint32_t machine_ = 0;          // criu::Core::machine of the first process
  std::uint32_t mount_namespace_ = 0;  // of the first process, whose mounts are read
};

}  // namespace ctriage::source
