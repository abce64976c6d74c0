#pragma once
// The Snapshot of what runs on this node: a pod, a container, or one process. Nothing is entered, attached or
// mounted.
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/core/root.h"
#include "lib/model/snapshot.h"
#include "lib/overlay/overlay.h"
#include "lib/proc/proc.h"
#include "lib/runtime/runtime.h"
#include "lib/source/live/libraries.h"
#include "lib/source/live/volumes.h"
#include "lib/source/remembered.h"
#include "lib/source/target.h"

namespace ctriage::source {

// Says of each gap once that it is new, whoever asks: members are looked for more than once, and by several
// threads.
class ToldOnce {
 public:
  bool is_new(const Gap& gap) {
    const std::lock_guard lock(mutex_);
    return told_.insert(gap.artifact + " " + gap.origin + " " + gap.error.what).second;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> told_;
};

// The node as this process sees it: a procfs, readers for what may stick, the clock. Opened before any
// thread.
struct Node {
  Root proc;
  proc::Readers readers;
  proc::Clock clock;
  std::int32_t host = 1;           // a process in the node's own namespaces
  Root::AccessTimes touched = {};  // what was opened without O_NOATIME
  std::int32_t ourselves = 0;      // our pid in `proc`; 0: not known
  bool whole = true;               // else only the processes of the container we are in are seen
  std::unique_ptr<ToldOnce> told = std::make_unique<ToldOnce>();  // gaps of looking for members
  // What may still be held open: by programs, and by tmpfs and UpperDir files, which get what programs leave.
  std::size_t descriptors = 0;
  std::size_t descriptors_for_files = 0;
  UniqueFd conntrack = {};  // netlink socket for the node's flows; none: why not
  std::optional<Error> no_conntrack = {};
  // The / of a disk that nothing runs on: then `proc` is of who looks, and no part of the evidence.
  std::optional<Root> disk = {};
  Bytes disk_name = {};
  std::size_t share = 1;  // of the memory for what is held: with how many others that hold

  // The node's /, whether it runs or not.
  [[nodiscard]] Result<Root> root() const {
    return disk ? disk->duplicate() : proc.descend_magic(host_link("root"));
  }
  [[nodiscard]] std::string host_link(std::string_view name) const {
    return std::to_string(host) + "/" + std::string(name);
  }
};
// `root`: where the node's own / is mounted with its procfs; empty: our own procfs, or in a container with a
// pid namespace of its own /host. Errc::unsupported where there is no procfs: a disk. Enters the sandbox, in
// which clones of layers may be made until forbid_clones().
Result<std::unique_ptr<Node>> open_node(Task& task, const std::string& root = {});
// The same for a disk that nothing runs on, mounted at `root`.
Result<std::unique_ptr<Node>> open_disk_node(Task& task, const std::string& root);
// What helps where Node::whole is false.
constexpr std::string_view kNodeNotSeen =
    "this is a container that does not see the processes of the node: it needs hostPID, or the node's / at "
    "/host (kubectl debug node/NODE -it --image=IMAGE --profile=sysadmin has both) or where --root says";

enum class Reach : std::uint8_t {  // how the bytes of a running program may be had: reach.h
  hold,                            // the container's own layers, tmpfs, memory: opened in the hold
  later,                           // a volume on a local disk: opened when its turn comes
  aside,  // a network file system, an overlay of others: by a reader that can be killed
  never,  // FUSE: its server may be the intruder, and who waits for it cannot always be killed
};

// A file that is run: by all processes that run it from the same mount.
struct HeldProgram {
  UniqueFd file;  // open for reading where `reach` is hold, else O_PATH
  Reach reach = Reach::hold;
  std::string lies_on;   // "fuse.sshfs at /mnt", for messages
  bool crowded = false;  // no descriptor was left to keep it with the container
};

struct HeldProcess {
  std::uint64_t start_ticks = 0;
  Membership membership = Membership::child;
  std::shared_ptr<HeldProgram> program;  // none for kernel threads and zombies
  bool crowded = false;  // no descriptor was left for its program: it is opened when its turn comes
  bool gone = false;     // ended before it could be read: told once
  bool ended = false;    // a zombie when it was found
  std::pair<std::uint64_t, std::uint64_t> runs;  // device and inode of its program, when that was read
};

struct HeldLog {
  LogFile log;
  UniqueFd file;
};

struct HeldTmpfs {
  std::string mountpoint;
  bool directory = true;     // else one file that is a mount by itself
  std::optional<Root> root;  // O_PATH on the mount's top
};

struct LiveContainer {
  Container container;
  std::string member;    // its folder in a bundle: containers/<member>/
  std::string raw_spec;  // config.json, empty without an engine
  std::int32_t shim_pid = 0;
  std::shared_ptr<const std::set<std::int32_t>> inits;  // first processes of the node's containers
  bool alone = false;                                   // one process, not a container
  bool ended = false;                                   // nothing runs: it has what its engine keeps of it
  bool hold_tried = false;                              // what it has was opened, as far as that went
  bool init_gone = false;                               // its first process ended while we looked
  std::vector<Mount> mounts;
  std::uint64_t mount_namespace = 0;  // of its first process; 0: not known
  Hex root_device;                    // of the mount that is its root directory
  std::optional<overlay::Stack> stack;
  std::string no_stack;       // why there is none
  bool layers_named = false;  // was tried
  overlay::Held held;
  std::map<std::int32_t, HeldProcess> processes;
  struct ProgramId {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint32_t mount = 0;
    auto operator<=>(const ProgramId&) const = default;
  };
  std::map<ProgramId, std::shared_ptr<HeldProgram>> programs;
  std::map<std::uint64_t, Reach> detached;  // file systems that are in no mount table, by device
  std::vector<HeldLog> logs;
  std::vector<HeldTmpfs> tmpfs;  // its own: tmpfs.h
  std::vector<Volume> volumes;   // it may write to: volumes.h
  std::vector<Gap> volume_gaps;  // what of its mounts is none of the three, told when volumes are taken
  std::map<LibraryId, Library> libraries;  // mapped as code: libraries.h
  std::size_t library_path_bytes = 0;
  bool libraries_full = false;  // told
};

// What is read once where many containers are opened at about the same time.
class Survey {
 public:
  explicit Survey(const Root& proc, overlay::Stack::Use use = overlay::Stack::Use::contents)
      : census(std::make_shared<proc::Census>(proc)), layers(use), proc_(proc) {}
  // For another thread: the same census, which has been read.
  [[nodiscard]] Survey sibling() const { return {proc_, layers, census}; }
  // The mount table of a process, that of another one in the same mount namespace and root directory.
  Result<const std::vector<Mount>*> mounts_of(std::int32_t pid, Task& task);
  // The mount of such a process with this id.
  Result<const Mount*> mount_of(std::int32_t pid, std::uint32_t id, Task& task);
  // Its root directory.
  Result<std::shared_ptr<const Root>> root_of(std::int32_t pid);
  std::shared_ptr<proc::Census> census;
  overlay::Stack::Use layers;

 private:
  Survey(const Root& proc, overlay::Stack::Use use, std::shared_ptr<proc::Census> read)
      : census(std::move(read)), layers(use), proc_(proc) {}
  struct Place {
    std::uint64_t mount_namespace = 0;
    std::uint64_t device = 0;  // of its root directory
    std::uint64_t inode = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Table {
    std::vector<Mount> mounts;
    std::unordered_map<std::uint32_t, std::size_t> by_id;
  };
  Result<const Table*> table_of(std::int32_t pid, Task& task);
  const Root& proc_;
  std::map<Place, Table> tables_;
  std::map<std::int32_t, const Table*> table_of_;  // pids are shims' and the node's, which outlive us mostly
  std::map<std::int32_t, std::shared_ptr<const Root>> roots_;
};

// A container with its mounts, members and layers. Errc::vanished when its first process is gone.
// `inits`: inits_of() the containers that the node has, its own among them or not.
Result<LiveContainer> open_container(Node& node, runtime::Found found,
                                     std::shared_ptr<const std::set<std::int32_t>> inits, Survey& survey,
                                     Task& task);
// First processes of all containers.
std::shared_ptr<const std::set<std::int32_t>> inits_of(const std::vector<runtime::Found>& all);

struct HoldCounts {
  std::uint64_t files = 0;
  std::uint64_t programs = 0;
  std::uint64_t tmpfs = 0;
  std::uint64_t logs = 0;
  std::int64_t took_ns = 0;
  bool complete = true;
};

class LiveSnapshot final : public Snapshot {
 public:
  // Of containers that have ended: a gap, or what is left of them, by add_ended().
  enum class Ended : std::uint8_t { told, taken };
  // A pod or container by name. Errc::not_found and mismatch as resolve_target; denied names the capability.
  // After an error the node is the caller's still.
  static Result<std::unique_ptr<LiveSnapshot>> open(std::unique_ptr<Node>& node, const TargetQuery& query,
                                                    Task& task, Ended ended = Ended::told);
  // The same of the records of a disk: open_disk_node(). All that there is has ended.
  static Result<std::unique_ptr<LiveSnapshot>> open_disk(std::unique_ptr<Node> node, const TargetQuery& query,
                                                         Task& task);
  // "pid:N": the container of N if its mount namespace is not the host's, else that process alone.
  static Result<std::unique_ptr<LiveSnapshot>> open_pid(std::unique_ptr<Node> node, std::int32_t pid,
                                                        Task& task);

  // Before forbid_clones(), for who takes them.
  void find_volumes(Task& task);
  // Opens what would be gone with the container (programs, UpperDir files, tmpfs, logs) before anything is
  // read. Once for each container; gives the sum.
  HoldCounts hold(Task& task);
  // With Ended::taken: the containers of the target that have ended, with their layers; of a whole pod those
  // too that another instance has replaced. After what is gone with a process, since it reads what the
  // engines recorded. Then clones of layers are forbidden, if they were not yet.
  void add_ended(Task& task);
  [[nodiscard]] bool ended_pending() const { return ended_pending_; }
  [[nodiscard]] bool any_runs() const;

  Coverage covers(Facet facet) const override;
  Result<Source> describe(Task& task) override;
  Status list_containers(const Emit<Container>& emit, Task& task) override;
  Status list_processes(const std::string& container, const Emit<Process>& emit, Task& task) override;
  Status list_threads(const std::string& container, const Emit<Thread>& emit, Task& task) override;
  Status list_mappings(const std::string& container, const Emit<Mapping>& emit, Task& task) override;
  Status list_descriptors(const std::string& container, const Emit<Descriptor>& emit, Task& task) override;
  Status list_sockets(const std::string& container, const Emit<Socket>& emit, Task& task) override;
  Status list_mounts(const std::string& container, const Emit<Mount>& emit, Task& task) override;
  Status list_layers(const std::string& container, const Emit<Layer>& emit, Task& task) override;
  Status list_changes(const std::string& container, const Emit<FileChange>& emit, Task& task) override;
  Status list_logs(const std::string& container, const Emit<LogFile>& emit, Task& task) override;
  Result<std::unique_ptr<ByteSource>> open_log(const LogFile& log, Task& task) override;
  Status list_trees(const std::string& container, const Emit<TreeFile>& emit, Task& task) override;
  Status list_postures(const Emit<Posture>& emit, Task& task) override;
  Status list_node_facts(const Emit<NodeFact>& emit, Task& task) override;
  Status list_files(const FileKey& key, const Emit<FileEntry>& emit, Task& task) override;
  Result<OpenedFile> open_file(const FileKey& key, Task& task) override;
  Status visit_memory(const MemoryQuery& query, MemoryVisitor& visitor, Task& task) override;

  // Containers of the pod that have ended, which no process leads to: not taken, and that is said. After the
  // hold: it reads what the engines recorded.
  void tell_ended(Task& task);

  // For a view, which asks for the same several times: processes and changes are read once for all of it.
  void remember() { remembers_ = true; }

  // The UpperDir with its contents, for a visitor that takes both. Errc::unsupported where there is no
  // overlay.
  Status walk_upper(LiveContainer& container, overlay::Visitor& visitor, Task& task);
  [[nodiscard]] std::vector<LiveContainer>& containers() { return containers_; }
  [[nodiscard]] const std::vector<LiveContainer>& containers() const { return containers_; }
  [[nodiscard]] Node& node() { return *node_; }
  [[nodiscard]] const Node& node() const { return *node_; }
  // The running program of a member, from its beginning.
  Result<std::unique_ptr<ByteSource>> open_program(LiveContainer& container, std::int32_t pid,
                                                   const std::string& name, const Task& task);
  // A file that members have mapped as code, from its beginning.
  Result<std::unique_ptr<ByteSource>> open_library(LiveContainer& container, const LibraryId& id, Task& task);
  // Once, where it was so: reading may have changed access times.
  void tell_access_times(Task& task);
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string engine_root() const;

 private:
  LiveSnapshot(std::unique_ptr<Node> node, std::string name)
      : node_(std::move(node)), name_(std::move(name)) {}
  template <class T, class List>
  Status list_each(const std::string& container, std::string_view facet, const Emit<T>& emit,
                   const List& list, Task& task);
  struct SocketOwners {
    std::map<std::uint64_t, std::vector<std::int32_t>> by_inode;
    // Network namespace -> members in it: pid, and the tid where only a thread of it is, else 0.
    std::map<std::uint64_t, std::vector<std::pair<std::int32_t, std::int32_t>>> members_of;
  };
  SocketOwners find_socket_owners(const LiveContainer& live, Task& task);
  Status read_processes(const std::string& container, const Emit<Process>& emit, Task& task);
  Status read_changes(const std::string& container, const Emit<FileChange>& emit, Task& task);
  [[nodiscard]] bool is_viewed() const { return remembers_; }
  LiveContainer* find(const std::string& container);
  // After the hold: it reads what the engine recorded.
  void name_layers(LiveContainer& live, Task& task);
  void add_ended_one(runtime::Found found, Task& task);
  bool hold_current_program(LiveContainer& live, HeldProcess& held, const Process& process, Task& task);
  void classify_program(LiveContainer& container, Process& process, Task& task);

  std::unique_ptr<Node> node_;
  std::string name_;
  std::vector<LiveContainer> containers_;
  bool volumes_found_ = false;
  std::set<std::string> trees_told_;  // containers whose gaps of trees were told
  bool remembers_ = false;
  bool access_times_told_ = false;
  bool ended_untold_ = false;          // records of ended containers were not looked at yet
  bool ended_pending_ = false;         // add_ended() is still to come
  bool add_ended_ = false;             // of the whole pod, not only those that were found
  std::vector<runtime::Found> ended_;  // found, not opened yet
  HoldCounts held_counts_;
  Remembered<Process> processes_{8 << 20};
  Remembered<FileChange> changes_{16 << 20};
  struct ProgramHash {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    Timestamp mtime;
    std::uint64_t size_bytes = 0;
    auto operator<=>(const ProgramHash&) const = default;
  };
  std::map<ProgramHash, std::string> program_hashes_;  // each program is read once
};

}  // namespace ctriage::source
