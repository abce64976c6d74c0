#pragma once
// What the kernel keeps for a process beside its memory and files: signals, timers, system call filters, and
// what a descriptor watches.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

struct SignalHandler {  // sigaction(2)
  std::uint32_t signal = 0;
  Hex handler;
  Hex flags;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("signal", self.signal, "number, signal(7)");
    v("handler", self.handler, "address of the function");
    v("flags", self.flags, "SA_*");
  }
};

struct Signals {  // signal 1 is the lowest bit of each mask
  Hex blocked;
  Hex ignored;
  Hex caught;
  std::vector<SignalHandler> handlers;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("blocked", self.blocked, "mask, of the first thread");
    v("ignored", self.ignored, "mask");
    v("caught", self.caught, "mask of those with a handler");
    v("handlers", self.handlers, "of a checkpoint; a live kernel does not tell where they are");
  }
};

struct Timer {
  std::string kind;
  std::int32_t id = 0;
  std::optional<std::int32_t> clock;
  std::uint32_t signal = 0;
  std::string notify;
  std::optional<std::int32_t> tid;
  std::optional<std::uint64_t> interval_ns;
  std::optional<std::uint64_t> remaining_ns;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "real, virtual, prof: setitimer(2); posix: timer_create(2)");
    v("id", self.id, "of a posix timer");
    v("clock", self.clock, "of a posix timer: CLOCK_*, clock_gettime(2)");
    v("signal", self.signal, "that it sends");
    v("notify", self.notify, "signal, none, thread; empty for setitimer(2)");
    v("tid", self.tid, "the thread that is signalled, where it is one");
    v("interval_ns", self.interval_ns, "between two; 0: once; absent: not recorded");
    v("remaining_ns", self.remaining_ns, "until the next; absent: not recorded");
  }
};

struct SeccompRule {
  std::string action;
  bool by_arguments = false;
  std::vector<std::string> syscalls;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("action", self.action, "allow, errno N, kill process, ...; several: \"allow or errno 1\"");
    v("by_arguments", self.by_arguments, "which of them hangs on the call's arguments");
    v("syscalls", self.syscalls, "names");
  }
};

struct SeccompFilter {  // seccomp(2), a program of classic BPF
  std::uint32_t number = 0;
  std::optional<std::uint32_t> previous;
  std::vector<std::string> flags;
  std::uint32_t instructions = 0;
  std::vector<SeccompRule> rules;
  std::string otherwise;
  std::string other_machines;
  std::vector<std::string> listing;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("number", self.number, "threads refer to it");
    v("previous", self.previous, "the filter that was there before; all of a chain are asked");
    v("flags", self.flags, "SECCOMP_FILTER_FLAG_*, without that");
    v("instructions", self.instructions, "of the program");
    v("rules", self.rules,
      "what it answers to calls of the container's machine, those with its answer to unknown calls left out; "
      "empty: it answers all alike, or the machine's calls are not known here");
    v("otherwise", self.otherwise, "answer to all other calls; empty: could not be worked out");
    v("other_machines", self.other_machines, "answer to calls of another machine, such as 32-bit ones");
    v("listing", self.listing, "an instruction a line; jumps name the line");
  }
};

struct Watch {  // what inotify(7), fanotify(7), epoll(7) wait for
  std::string kind;
  Bytes path;
  std::optional<std::int32_t> fd;
  Hex events;
  Hex inode;
  Hex device;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "inotify, fanotify, fanotify mount, epoll");
    v("path", self.path, "where it is recorded");
    v("fd", self.fd, "of epoll: the descriptor");
    v("events", self.events, "IN_*, FAN_*, EPOLL*");
    v("inode", self.inode, "of what is watched");
    v("device", self.device, "major << 32 | minor");
  }
};

struct BpfMap {  // bpf(2)
  std::uint32_t type = 0;
  std::uint32_t key_bytes = 0;
  std::uint32_t value_bytes = 0;
  std::uint32_t max_entries = 0;
  std::optional<std::uint32_t> id;
  std::optional<bool> frozen;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("type", self.type, "BPF_MAP_TYPE_*");
    v("key_bytes", self.key_bytes, "of one key");
    v("value_bytes", self.value_bytes, "of one value");
    v("max_entries", self.max_entries, "most that it may have");
    v("id", self.id, "the kernel's number of it");
    v("frozen", self.frozen, "user space may not write to it");
  }
};

}  // namespace ctriage
