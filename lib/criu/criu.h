#pragma once
// Images of CRIU, the checkpoint of a tree of processes: FORMAT.md here. Everything is parsed from bytes in
// memory; where those come from is the caller's. Text of an image is a view into it: it lives as long as the
// image.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/values.h"

namespace ctriage::criu {

enum class Kind : std::uint8_t {
  inventory,
  pstree,
  core,
  ids,
  mm,
  pagemap,
  files,
  fdinfo,
  fs,
  remap_fpath,
  ghost_file,
  memfd,
  sk_queues,
  tcp_stream,
  mountpoints,
  cgroup,
  utsns,
  tty_info,
  reg_files,
  pipes,
  fifo,
  inetsk,
  unixsk,
  eventfd,
  eventpoll,
  inotify,
  signalfd,
  packetsk,
  tty,
  fanotify,
  netlinksk,
  ns_files,
  tunfile,
  ext_files,
  timerfd,
  pidfd,
  pipes_data,
  fifo_data,
  ipc_shm,
  ipc_msg,
  seccomp,
  sigacts,
  itimers,
  posix_timers,
  inotify_wd,
  fanotify_mark,
  eventpoll_tfd,
};

// The entries of one image file: magic numbers, then (u32 length, message, bytes that belong to it)*.
class ImageReader {
 public:
  // Errc::truncated, malformed (a magic of another kind: it may be encrypted), limit.
  static Result<ImageReader> open(std::string_view file, Kind kind);
  // True and the next message, or false at the end.
  Result<bool> next(std::string_view& message);
  // Bytes behind the message that next() gave.
  Result<std::string_view> take(std::uint64_t size);
  [[nodiscard]] std::uint64_t left() const { return rest_.size(); }

 private:
  ImageReader(std::string_view rest, Kind kind) : rest_(rest), kind_(kind) {}
  std::string_view rest_;
  Kind kind_;
  std::uint64_t entries_ = 0;
};

// Namespaces and tables of a task by numbers of CRIU's: equal means shared. 0: not recorded.
struct TaskIds {
  std::uint32_t files = 0;
  // pid, net, ipc, uts, mnt, user, cgroup, time
  std::array<std::uint32_t, 8> namespaces{};
};
constexpr std::array<std::string_view, 8> kNamespaceTypes{"pid", "net",  "ipc",    "uts",
                                                          "mnt", "user", "cgroup", "time"};

struct Inventory {
  std::uint32_t version = 0;  // 1: v1.0, 2: v1.1, 3: v1.2 (compressed pages)
  bool tcp_close = false;     // connections were not saved
  std::uint32_t compression = 0;
};
Result<Inventory> parse_inventory(std::string_view file);

struct TreeEntry {
  std::uint32_t pid = 0, ppid = 0, pgid = 0, sid = 0;
  std::vector<std::uint32_t> threads;
};
Result<TreeEntry> parse_tree_entry(std::string_view message);

struct Creds {
  std::array<std::uint32_t, 4> uids{};  // real, effective, saved, file system
  std::array<std::uint32_t, 4> gids{};
  std::uint64_t inheritable = 0, permitted = 0, effective = 0, bounding = 0, ambient = 0;
  std::vector<std::uint32_t> groups;
  std::optional<std::string> lsm_profile;
  bool no_new_privs = false;
};

struct Rlimit {
  std::uint64_t current = 0, maximum = 0;  // UINT64_MAX: unlimited
};

struct SignalAction {  // sigaction(2)
  std::uint32_t signal = 0;
  std::uint64_t handler = 0;  // 0: SIG_DFL, 1: SIG_IGN, else where the function lies
  std::uint64_t flags = 0;
};
struct IntervalTimer {  // setitimer(2); all zero: not armed
  std::uint64_t interval_ns = 0, remaining_ns = 0;
};
struct PosixTimer {  // timer_create(2)
  std::uint32_t id = 0, clock = 0, signal = 0;
  std::uint32_t notify = 0;  // SIGEV_*
  std::optional<std::int32_t> tid;
  std::uint64_t interval_ns = 0, remaining_ns = 0;
};
struct Timers {
  std::array<IntervalTimer, 3> interval{};  // real, virtual, prof
  std::vector<PosixTimer> posix;
};

enum class TaskState : std::uint8_t { alive = 1, dead = 2, stopped = 3, zombie = 6 };

struct Core {  // of a thread; what is of the whole task stands with the first one
  std::uint32_t machine = 0;
  bool is_task = false;
  std::uint32_t task_state = 0;  // TaskState
  std::uint32_t exit_code = 0;
  std::string comm;
  std::vector<Rlimit> limits;  // by number of RLIMIT_*, getrlimit(2)
  std::optional<std::uint32_t> login_uid;
  std::int32_t oom_score_adj = 0;
  std::optional<TaskIds> ids;
  std::optional<std::uint32_t> cgroup_set;
  std::optional<Creds> creds;
  std::uint32_t seccomp = 0;
  std::optional<std::uint32_t> seccomp_filter;  // the last one that was set: its number in seccomp.img
  std::uint64_t blocked_signals = 0;            // by bit: signal 1 is the lowest
  std::vector<SignalAction> actions;
  Timers timers;
};
Result<Core> parse_core(std::string_view file);
Result<TaskIds> parse_ids(std::string_view file);

// Registers of a stopped thread, in sets as ptrace(2) PTRACE_GETREGSET gives them on its machine, whatever
// machine this is.
struct Registers {
  std::vector<std::uint64_t> general;  // struct user_regs_struct of x86-64, struct user_pt_regs of aarch64
  std::string floating;                // NT_PRFPREG: struct user_fpregs_struct, struct user_fpsimd_state
  std::string extended;                // NT_X86_XSTATE: the standard form of XSAVE; empty: none
  std::optional<std::uint64_t> tls;    // aarch64: tpidr_el0
  bool compat = false;                 // x86: a 32-bit program
};
struct ThreadState {                   // what a core dump has of a thread beside what Core has
  std::uint32_t machine = 0;           // of Core::machine
  std::optional<Registers> registers;  // none: not in the image, or of a machine that we do not know
  std::uint32_t task_flags = 0;        // PF_*, of the first thread
  std::uint64_t blocked_signals = 0;   // by bit: signal 1 is the lowest
  std::uint64_t pending_signals = 0;   // of this thread alone
  std::uint64_t task_pending_signals = 0;
};
constexpr std::uint32_t kMachineX86 = 1;
constexpr std::uint32_t kMachineAarch64 = 3;
Result<ThreadState> parse_thread_state(std::string_view core_file);
// "x86_64" of Core::machine; empty: not known.
std::string_view machine_name(std::uint32_t machine);

// What CRIU before 2.0 had in images of their own, by process. Of intervals there are three, in the order of
// Timers::interval.
Result<SignalAction> parse_signal_action(std::string_view message, std::size_t index);
Result<IntervalTimer> parse_interval_timer(std::string_view message);
Result<PosixTimer> parse_posix_timer(std::string_view message);
// Of core: timers of its kinds.
Result<Timers> parse_timers(std::string_view message);

struct Vma {
  std::uint64_t start = 0, end = 0, offset_bytes = 0;
  std::uint64_t object = 0;                 // id of a file, or of shared memory
  std::uint32_t protection = 0, flags = 0;  // mmap(2)
  std::uint32_t status = 0;

  enum Status : std::uint32_t {
    stack = 1U << 1,
    vsyscall = 1U << 2,
    vdso = 1U << 3,
    heap = 1U << 5,
    file_private = 1U << 6,
    file_shared = 1U << 7,
    anonymous_shared = 1U << 8,
    anonymous_private = 1U << 9,
    sysv = 1U << 10,
    socket = 1U << 11,
    vvar = 1U << 12,
    aio_ring = 1U << 13,
    memfd = 1U << 14,
    shadow_stack = 1U << 15,
    guard = 1U << 16,
  };
};

struct Memory {
  std::uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  std::optional<std::uint32_t> exe_file;
  std::optional<std::uint32_t> page_bytes;  // AT_PAGESZ of the auxiliary vector
  std::vector<std::uint64_t> auxv;          // type and value, one after the other: getauxval(3)
  std::vector<Vma> vmas;
};
Result<Memory> parse_memory(std::string_view file);

struct FsEntry {
  std::uint32_t cwd = 0, root = 0;  // ids of files
};
Result<FsEntry> parse_fs(std::string_view file);

enum class FileKind : std::uint8_t {
  none,
  regular,
  pipe,
  fifo,
  inet,
  unix_socket,
  eventfd,
  eventpoll,
  inotify,
  signalfd,
  packet,
  tty,
  fanotify,
  netlink,
  ns,
  tun,
  external,
  timerfd,
  memfd,
  bpf_map,
  pidfd,
};

struct WatchEntry {         // of inotify(7), fanotify(7), epoll(7)
  std::uint32_t owner = 0;  // file id of who watches
  std::uint32_t events = 0;
  std::uint32_t device = 0;  // major << 20 | minor
  std::uint64_t inode = 0;
  std::optional<std::uint32_t> fd;     // epoll
  std::optional<std::uint32_t> mount;  // fanotify: all of it
  std::string path;                    // where it was found
};
struct BpfMapEntry {  // bpf(2)
  std::uint32_t type = 0, key_bytes = 0, value_bytes = 0, id = 0, max_entries = 0;
  bool frozen = false;
};
struct FileDetail {
  std::vector<WatchEntry> watches;
  BpfMapEntry map;  // of a bpf_map
};

struct FileEntry {  // an open file; what its kind has not stays empty
  std::uint32_t id = 0;
  FileKind kind = FileKind::none;
  std::uint32_t flags = 0;  // open(2)
  std::uint64_t position_bytes = 0;
  std::uint32_t owner = 0;  // fown uid
  // regular: absolute in the container; unix: as bound, abstract ones begin with a NUL
  std::string name;
  std::int64_t mount = -1;
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::uint32_t> mode;
  std::string build_id;  // as readelf(1) prints it
  // sockets
  std::uint64_t inode = 0;
  std::uint32_t family = 0, type = 0, protocol = 0, state = 0;  // socket(2), TCP_*
  std::uint16_t local_port = 0, remote_port = 0;
  std::vector<std::uint32_t> local, remote;  // 1 or 4 words, each in network order when written little-endian
  std::uint64_t peer = 0;                    // inode of a unix socket's other end
  bool deleted = false;                      // unix: its name is gone
  std::uint32_t port_id = 0;                 // netlink
  std::uint32_t net_ns = 0;
  // others
  std::uint64_t object = 0;            // pipe id, tty id, memfd inode id, namespace id
  std::uint32_t named_by = 0;          // tty: id of a regular file that has its path; 0: none
  std::shared_ptr<FileDetail> detail;  // of eventpoll, inotify, fanotify, bpf_map; else null
};
// One entry of files.img.
Result<FileEntry> parse_file_entry(std::string_view message);
// One of the images that CRIU before 3.4 wrote for each kind.
struct OldFiles {
  std::string_view name;
  Kind kind;
  FileKind file;
};
std::vector<OldFiles> old_file_images();
Result<FileEntry> parse_old_file(FileKind kind, std::string_view message);
// Of inotify-wd, fanotify-mark and eventpoll-tfd, which CRIU before 2.0 wrote beside those.
Result<WatchEntry> parse_watch(FileKind of, std::string_view message);

struct FdEntry {
  std::uint32_t file = 0, flags = 0, fd = 0;  // flags: FD_CLOEXEC
  FileKind kind = FileKind::none;             // ids are of one kind: another may have the same
};
Result<FdEntry> parse_fd(std::string_view message);

struct Remap {  // a file that was open and had no name any more
  enum class Type : std::uint8_t { linked, ghost, procfs };
  std::uint32_t file = 0, remap = 0;
  Type type = Type::linked;
};
Result<Remap> parse_remap(std::string_view message);

struct GhostFile {  // its content follows the entry, or chunks of it: each a GhostChunk and its bytes
  std::uint32_t uid = 0, gid = 0, mode = 0;
  std::optional<Timestamp> mtime;
  bool chunks = false;
  std::optional<std::uint64_t> size_bytes;  // where there are chunks: what is between them are holes
  std::string link_target;
};
Result<GhostFile> parse_ghost(std::string_view message);
struct GhostChunk {
  std::uint64_t size_bytes = 0, offset_bytes = 0;
};
Result<GhostChunk> parse_ghost_chunk(std::string_view message);

struct MemfdInode {
  std::string name;
  std::uint64_t id = 0, size_bytes = 0;
  std::uint32_t uid = 0;
  std::uint32_t shared_memory = 0;  // its pages: pagemap-shmem-<this>.img
};
Result<MemfdInode> parse_memfd(std::string_view message);

struct QueuedPacket {
  std::uint32_t receiver = 0;  // file id
  std::uint64_t length_bytes = 0;
  std::optional<std::uint32_t> pid, uid;  // who sent it, where the receiver had asked to be told
  std::vector<std::uint32_t> passed;      // ids of files that were sent along
};
Result<QueuedPacket> parse_packet(std::string_view message);

struct PipeData {  // of a pipe or FIFO; its bytes follow
  std::uint32_t pipe = 0;
  std::uint64_t length_bytes = 0;
};
Result<PipeData> parse_pipe_data(std::string_view message);

// System V. What belongs to a segment follows it, padded to 4 bytes, unless its pages are those of shared
// memory of its id; messages follow their queue, each with its bytes, padded to 8.
struct IpcObject {
  std::uint32_t key = 0, id = 0, uid = 0, gid = 0, mode = 0;
};
struct IpcSegment {
  IpcObject about;
  std::uint64_t size_bytes = 0;
  bool in_pagemaps = false;
};
Result<IpcSegment> parse_ipc_segment(std::string_view message);
struct IpcQueue {
  IpcObject about;
  std::uint64_t messages = 0;
};
Result<IpcQueue> parse_ipc_queue(std::string_view message);
struct IpcMessage {
  std::int64_t type = 0;
  std::uint64_t size_bytes = 0;
};
Result<IpcMessage> parse_ipc_message(std::string_view message);

struct TcpStream {
  std::uint64_t receive_bytes = 0, send_bytes = 0;
};
Result<TcpStream> parse_tcp_stream(std::string_view message);

struct MountEntry {
  std::uint32_t id = 0, parent = 0, flags = 0;
  std::uint32_t device = 0;  // major << 20 | minor
  std::string fstype, root, mountpoint, source, options;
  std::uint32_t shared = 0, master = 0;
  bool external = false;
  std::string external_key;
};
Result<MountEntry> parse_mount(std::string_view message);

struct CgroupSet {
  std::uint32_t id = 0;
  std::vector<std::string> lines;  // "cpu,cpuacct:/path"
};
Result<std::vector<CgroupSet>> parse_cgroups(std::string_view file);

struct UtsNames {
  std::string node, domain;
};
Result<UtsNames> parse_uts(std::string_view file);

struct TtyInfo {
  std::uint32_t id = 0, session = 0, rdev = 0, index = 0;
  bool is_pty = false;
};
Result<TtyInfo> parse_tty_info(std::string_view message);

// Memory: which pages lie where.
struct PageRun {
  enum class State : std::uint8_t {
    present,  // in the pages file
    parent,   // in the image directory before this one
    lazy,     // left on the other machine
  };
  std::uint64_t address = 0;  // of shared memory: offset in it
  std::uint64_t pages = 0;
  std::uint64_t offset_bytes = 0;  // in the pages file, of present ones
  State state = State::present;
};

struct PageMap {
  std::uint32_t pages_id = 0;  // pages-<id>.img
  std::uint32_t page_bytes = 0;
  std::uint64_t present_pages = 0, parent_pages = 0, lazy_pages = 0;
  bool compressed = false;    // then nothing is known of where pages lie: runs is empty
  std::vector<PageRun> runs;  // in order of address, none over another

  [[nodiscard]] std::uint64_t present_bytes() const { return present_pages * page_bytes; }
  // The run that has the address; null: a page that was not dumped.
  [[nodiscard]] const PageRun* find(std::uint64_t address) const;
  // Where the next run after the address begins; UINT64_MAX: there is none.
  [[nodiscard]] std::uint64_t next_after(std::uint64_t address) const;
  // Present and parent pages in [start, end), in bytes.
  [[nodiscard]] std::uint64_t bytes_in(std::uint64_t start, std::uint64_t end) const;
};
Result<PageMap> parse_pagemap(std::string_view file, std::uint32_t page_bytes);

}  // namespace ctriage::criu
