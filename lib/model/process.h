#pragma once
// Processes and what hangs on them.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/content.h"
#include "lib/model/fields.h"
#include "lib/model/kernel_state.h"

namespace ctriage {

enum class Origin : std::uint8_t { unknown, image, upper, memfd, tmpfs, volume, deleted, host };
constexpr auto enum_names(Origin) {
  return std::array<std::string_view, 8>{"unknown", "image",  "upper",   "memfd",
                                         "tmpfs",   "volume", "deleted", "host"};
}

enum class Membership : std::uint8_t { init, child, executed_in, entered, escaped, alone };
constexpr auto enum_names(Membership) {
  return std::array<std::string_view, 6>{"init", "child", "executed_in", "entered", "escaped", "alone"};
}

struct Executable {
  Bytes path;
  Origin origin = Origin::unknown;
  bool deleted = false;
  Hex device;
  Hex inode;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint64_t size_bytes = 0;
  std::optional<Timestamp> mtime;
  std::optional<Timestamp> btime;
  std::optional<std::string> sha256;
  std::optional<Content> content;
  std::optional<PackageOwner> package;
  std::optional<std::string> tool;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "/proc/PID/exe without \" (deleted)\"");
    v("origin", self.origin, "where the program comes from; image: bytes of an image layer");
    v("deleted", self.deleted, "no name leads to the running file any more");
    v("device", self.device, "major << 32 | minor of the file system");
    v("inode", self.inode, "inode number, as stat(2) gives it");
    v("mode", self.mode, "permission bits with setuid and setgid, decimal");
    v("uid", self.uid, "owner");
    v("size_bytes", self.size_bytes, "size of the running file");
    v("mtime", self.mtime, "content changed");
    v("btime", self.btime, "inode created");
    v("sha256", self.sha256, "of the running file, read through /proc/PID/exe");
    v("content", self.content, "what it is by its bytes, where they were looked at");
    v("package", self.package, "the package of the image that has a file of this name");
    v("tool", self.tool,
      "which tool of an operating system it is: sh, curl, nc; by its bytes' or its call's name");
  }
};

struct Credentials {  // real, effective, saved, file system
  std::vector<std::uint32_t> uids;
  std::vector<std::uint32_t> gids;
  std::vector<std::uint32_t> groups;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("uids", self.uids, "real, effective, saved, file system");
    v("gids", self.gids, "real, effective, saved, file system");
    v("groups", self.groups, "supplementary groups");
  }
};

struct Capabilities {  // capabilities(7)
  Hex inheritable;
  Hex permitted;
  Hex effective;
  Hex bounding;
  Hex ambient;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("inheritable", self.inheritable, "mask");
    v("permitted", self.permitted, "mask");
    v("effective", self.effective, "mask");
    v("bounding", self.bounding, "mask");
    v("ambient", self.ambient, "mask");
  }
};

struct NamespaceId {
  std::string type;
  Hex inode;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("type", self.type, "mnt, pid, net, ipc, uts, user, cgroup, time");
    v("inode", self.inode, "namespaces(7): equal means shared");
  }
};

struct Limit {
  std::string name;
  std::string soft;
  std::string hard;
  std::string units;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "as /proc/PID/limits calls it");
    v("soft", self.soft, "number or unlimited");
    v("hard", self.hard, "number or unlimited");
    v("units", self.units, "bytes, files, us, ...; empty for what has none");
  }
};

struct Process {
  std::string container;
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::int32_t container_pid = 0;
  std::int32_t ppid = 0;
  std::int32_t pgrp = 0;
  std::int32_t session = 0;
  Hex tty;
  Membership membership = Membership::child;
  Bytes comm;
  std::string state;
  std::vector<Bytes> argv;
  std::vector<Bytes> environ;
  Executable exe;
  std::optional<Executable> script;
  Bytes cwd;
  Bytes root;
  std::optional<Timestamp> started_at;
  Credentials credentials;
  Capabilities capabilities;
  bool no_new_privs = false;
  std::int32_t seccomp = 0;
  std::optional<Bytes> lsm_label;
  std::int32_t tracer_pid = 0;
  std::optional<std::uint32_t> login_uid;
  std::int32_t oom_score_adj = 0;
  std::uint32_t threads = 0;
  std::uint64_t rss_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t swap_bytes = 0;
  std::uint64_t cpu_ticks = 0;
  std::vector<Bytes> cgroups;
  std::vector<NamespaceId> namespaces;
  std::vector<Limit> limits;
  std::optional<std::uint32_t> seccomp_filters;
  std::optional<Signals> signals;
  std::vector<Timer> timers;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id, or pid-N for a process without an engine");
    v("pid", self.pid, "the node's pid when live, the container's offline");
    v("start_ticks", self.start_ticks, "clock ticks after boot, proc_pid_stat(5) field 22");
    v("container_pid", self.container_pid, "pid in its innermost pid namespace");
    v("ppid", self.ppid, "parent");
    v("pgrp", self.pgrp, "process group");
    v("session", self.session, "session leader");
    v("tty", self.tty, "controlling terminal: major << 32 | minor, 0x0: none");
    v("membership", self.membership,
      "init, child; executed_in: started by the runtime's exec; entered: from outside, by setns(2); escaped: "
      "of the "
      "container's cgroup but in the host's mount namespace; alone: not in a container");
    v("comm", self.comm, "name, 15 bytes, settable by the process");
    v("state", self.state, "R, S, D, Z, T, t, X, I as proc_pid_stat(5)");
    v("argv", self.argv, "arguments; memory of the process, so it can lie");
    v("environ", self.environ, "NAME=value as the process was started");
    v("exe", self.exe, "the running program");
    v("script", self.script, "what its interpreter runs: the file that argv names");
    v("cwd", self.cwd, "working directory");
    v("root", self.root, "root directory");
    v("started_at", self.started_at, "boot time + start_ticks, where recorded");
    v("credentials", self.credentials, "user and group ids in the node's view");
    v("capabilities", self.capabilities, "capabilities(7)");
    v("no_new_privs", self.no_new_privs, "prctl(2) PR_SET_NO_NEW_PRIVS");
    v("seccomp", self.seccomp, "0 off, 1 strict, 2 filter");
    v("lsm_label", self.lsm_label, "AppArmor profile or SELinux context");
    v("tracer_pid", self.tracer_pid, "who ptraces it, 0: nobody");
    v("login_uid", self.login_uid, "audit login uid, where one is set");
    v("oom_score_adj", self.oom_score_adj, "-1000..1000");
    v("threads", self.threads, "number of threads");
    v("rss_bytes", self.rss_bytes, "resident memory");
    v("virtual_bytes", self.virtual_bytes, "mapped address space");
    v("swap_bytes", self.swap_bytes, "anonymous memory in swap");
    v("cpu_ticks", self.cpu_ticks, "user + system time in clock ticks");
    v("cgroups", self.cgroups, "lines of /proc/PID/cgroup");
    v("namespaces", self.namespaces, "namespaces(7)");
    v("limits", self.limits, "getrlimit(2)");
    v("seccomp_filters", self.seccomp_filters, "how many filters it has, one behind the other");
    v("signals", self.signals, "signal(7); absent: not recorded");
    v("timers", self.timers, "armed timers; live: those of timer_create(2), without their times");
  }
};

struct Thread {
  std::string container;
  std::int32_t pid = 0;
  std::int32_t tid = 0;
  std::uint64_t start_ticks = 0;
  Bytes comm;
  std::string state;
  std::uint64_t cpu_ticks = 0;
  std::optional<Bytes> syscall;
  std::optional<Bytes> wchan;
  std::vector<std::uint32_t> seccomp_filters;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("pid", self.pid, "process");
    v("tid", self.tid, "thread");
    v("start_ticks", self.start_ticks, "clock ticks after boot");
    v("comm", self.comm, "name");
    v("state", self.state, "as of Process");
    v("cpu_ticks", self.cpu_ticks, "user + system time in clock ticks");
    v("syscall", self.syscall,
      "/proc/PID/task/TID/syscall: number, arguments, stack and instruction pointer");
    v("wchan", self.wchan, "kernel function it waits in");
    v("seccomp_filters", self.seccomp_filters,
      "of a checkpoint: numbers of the container's filters, the last that was set first");
  }
};

struct Mapping {  // one line of /proc/PID/maps, proc_pid_maps(5)
  std::string container;
  std::int32_t pid = 0;
  Hex start;
  Hex end;  // one past the last address
  std::string protection;
  std::uint64_t offset_bytes = 0;  // into the mapped file
  Hex device;
  Hex inode;
  Bytes path;
  std::optional<Origin> origin;
  std::optional<std::string> sha256;
  std::optional<std::uint64_t> dumped_bytes;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("pid", self.pid, "process");
    v("start", self.start, "first address");
    v("end", self.end, "one past the last address");
    v("protection", self.protection, "rwxp or rwxs with - for what is not allowed");
    v("offset_bytes", self.offset_bytes, "into the mapped file");
    v("device", self.device, "major << 32 | minor");
    v("inode", self.inode, "0: anonymous");
    v("path", self.path, "mapped file, [heap], [stack] or empty");
    v("origin", self.origin,
      "of a file that is mapped as code and is not the process's own program: where it comes from, as of "
      "exe; "
      "absent: no such mapping, or not looked at");
    v("sha256", self.sha256, "of that file; absent: not read, as what the image has");
    v("dumped_bytes", self.dumped_bytes, "of a checkpoint: pages of it that are there");
  }
};

struct Descriptor {
  std::string container;
  std::int32_t pid = 0;
  std::int32_t fd = 0;
  std::int32_t tid = 0;
  Bytes target;
  std::string kind;
  Hex flags;
  std::uint64_t position_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t nlink = 0;
  Hex inode;
  Hex device;
  bool deleted = false;
  std::vector<Watch> watches;
  std::optional<BpfMap> bpf_map;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("pid", self.pid, "process");
    v("fd", self.fd, "number");
    v("tid", self.tid, "0, or the thread that has a descriptor table of its own, unshare(2) CLONE_FILES");
    v("target", self.target, "/proc/PID/fd/N");
    v("kind", self.kind, "regular, directory, character, block, fifo, socket, memfd, anon, other");
    v("flags", self.flags, "open(2) flags");
    v("position_bytes", self.position_bytes, "file offset");
    v("size_bytes", self.size_bytes, "of a regular file");
    v("nlink", self.nlink, "names of the inode");
    v("inode", self.inode, "socket inode for sockets");
    v("device", self.device, "major << 32 | minor");
    v("deleted", self.deleted, "no name leads to it any more");
    v("watches", self.watches, "of inotify, fanotify and epoll: what they wait for");
    v("bpf_map", self.bpf_map, "of a map of bpf(2)");
  }
};

struct Socket {
  std::string container;
  std::string family;
  std::string state;
  Bytes local;
  Bytes remote;
  Hex inode;
  std::uint32_t uid = 0;
  std::uint64_t receive_queue_bytes = 0;
  std::uint64_t send_queue_bytes = 0;
  Hex network_namespace;
  std::vector<std::int32_t> pids;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("family", self.family, "tcp, tcp6, udp, udp6, raw, raw6, unix, packet, netlink");
    v("state", self.state, "LISTEN, ESTABLISHED, ... or empty");
    v("local", self.local, "address:port, or the path of a unix socket (@ for abstract)");
    v("remote", self.remote, "address:port");
    v("inode", self.inode, "socket inode: descriptors refer to it");
    v("uid", self.uid, "owner");
    v("receive_queue_bytes", self.receive_queue_bytes, "received and not read");
    v("send_queue_bytes", self.send_queue_bytes, "sent and not acknowledged");
    v("network_namespace", self.network_namespace, "inode of the network namespace");
    v("pids", self.pids, "members that hold it open; none: a process outside does, or it is orphaned");
  }
};

struct Mount {  // one line of /proc/PID/mountinfo, proc_pid_mountinfo(5)
  std::string container;
  std::uint32_t id = 0;
  std::uint32_t parent_id = 0;
  Hex device;
  Bytes root;
  Bytes mountpoint;
  Bytes options;
  std::vector<Bytes> propagation;
  Bytes fstype;
  Bytes source;
  Bytes super_options;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("id", self.id, "mount id");
    v("parent_id", self.parent_id, "id of the mount it is mounted on");
    v("device", self.device, "major << 32 | minor");
    v("root", self.root, "directory of the file system that is mounted");
    v("mountpoint", self.mountpoint, "in the container");
    v("options", self.options, "per mount");
    v("propagation", self.propagation, "shared:N, master:N, ...");
    v("fstype", self.fstype, "file system");
    v("source", self.source, "device or name");
    v("super_options", self.super_options, "per file system; overlay: lowerdir, upperdir, workdir");
  }
};

}  // namespace ctriage
