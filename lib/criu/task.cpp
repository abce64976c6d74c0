// Tasks: inventory.proto, pstree.proto, core.proto, creds.proto, mm.proto, vma.proto, fs.proto of CRIU 4.2.
#include "lib/core/limits.h"
#include "lib/criu/criu.h"
#include "lib/criu/message.h"
#include "lib/criu/single.h"

namespace ctriage::criu {
namespace {

constexpr std::uint32_t kUnsetLoginUid = UINT32_MAX;

// Capabilities are two words, the low one first.
void add_words(Message& in, std::uint64_t& mask, std::vector<std::uint32_t>& words) {
  in.append(words);
  mask = 0;
  for (std::size_t i = 0; i < words.size() && i < 2; ++i) mask |= std::uint64_t{words[i]} << (32 * i);
}

Result<TaskIds> parse_ids_message(std::string_view message) {
  TaskIds ids;
  Message in(message);
  while (in.next()) {
    constexpr std::uint32_t kFirstNamespace = 5;
    const std::uint32_t field = in.field();
    if (field == 2) ids.files = in.number32();
    if (field >= kFirstNamespace && field < kFirstNamespace + ids.namespaces.size())
      ids.namespaces[field - kFirstNamespace] = in.number32();
  }
  return whole(in, std::move(ids), "task_kobj_ids_entry");
}

Result<Creds> parse_creds(std::string_view message) {
  Creds creds;
  std::array<std::vector<std::uint32_t>, 5> words;
  Message in(message);
  while (in.next()) {
    in.take(1, creds.uids[0]);
    in.take(2, creds.gids[0]);
    in.take(3, creds.uids[1]);
    in.take(4, creds.gids[1]);
    in.take(5, creds.uids[2]);
    in.take(6, creds.gids[2]);
    in.take(7, creds.uids[3]);
    in.take(8, creds.gids[3]);
    if (in.field() == 9) add_words(in, creds.inheritable, words[0]);
    if (in.field() == 10) add_words(in, creds.permitted, words[1]);
    if (in.field() == 11) add_words(in, creds.effective, words[2]);
    if (in.field() == 12) add_words(in, creds.bounding, words[3]);
    in.take(14, creds.groups);
    in.take(15, creds.lsm_profile);
    in.take(18, creds.no_new_privs);
    if (in.field() == 19) add_words(in, creds.ambient, words[4]);
  }
  return whole(in, std::move(creds), "creds_entry");
}

Result<std::vector<Rlimit>> parse_limits(std::string_view message) {
  constexpr std::size_t kMaxRlimits = 64;  // RLIM_NLIMITS is 16
  std::vector<Rlimit> limits;
  Message in(message);
  bool fine = true;
  while (in.next()) {
    if (in.field() != 1 || limits.size() >= kMaxRlimits) continue;
    Message limit(in.bytes());
    Rlimit& read = limits.emplace_back();
    while (limit.next()) {
      limit.take(1, read.current);
      limit.take(2, read.maximum);
    }
    fine = fine && limit.ok();
  }
  if (!fine) return damaged("rlimit_entry");
  return whole(in, std::move(limits), "task_rlimits_entry");
}

Status parse_task_part(std::string_view message, Core& core) {
  core.is_task = true;
  Message in(message);
  while (in.next()) {
    in.take(1, core.task_state);
    in.take(2, core.exit_code);
    in.take(5, core.blocked_signals);
    in.take(6, core.comm);
    if (in.field() == 7) {
      auto timers = parse_timers(in.bytes());
      if (!timers) return std::move(timers).error();
      core.timers = *std::move(timers);
    }
    if (in.field() == 8) {
      auto limits = parse_limits(in.bytes());
      if (!limits) return std::move(limits).error();
      core.limits = *std::move(limits);
    }
    in.take(9, core.cgroup_set);
    in.take(11, core.seccomp);  // before it was one of each thread
    in.take(12, core.seccomp_filter);
    if (in.field() == 13) {
      const std::uint32_t uid = in.number32();
      if (uid != kUnsetLoginUid) core.login_uid = uid;
    }
    in.take(14, core.oom_score_adj);
    if (in.field() == 15) {
      auto action = parse_signal_action(in.bytes(), core.actions.size());
      if (!action) return std::move(action).error();
      core.actions.push_back(*action);
    }
  }
  if (!in.ok()) return damaged("task_core_entry");
  return Done{};
}

Status parse_thread_part(std::string_view message, Core& core) {
  Message in(message);
  while (in.next()) {
    if (in.field() == 10) {
      auto creds = parse_creds(in.bytes());
      if (!creds) return std::move(creds).error();
      core.creds = *std::move(creds);
    }
    in.take(11, core.seccomp);
    in.take(12, core.seccomp_filter);
    in.take(13, core.comm);
    in.take(16, core.cgroup_set);
  }
  if (!in.ok()) return damaged("thread_core_entry");
  return Done{};
}

Result<Vma> parse_vma(std::string_view message) {
  Vma vma;
  Message in(message);
  while (in.next()) {
    in.take(1, vma.start);
    in.take(2, vma.end);
    in.take(3, vma.offset_bytes);
    in.take(4, vma.object);
    in.take(5, vma.protection);
    in.take(6, vma.flags);
    in.take(7, vma.status);
  }
  if (in.ok() && vma.end <= vma.start) return Error{Errc::malformed, "vma_entry: ends before it begins"};
  return whole(in, vma, "vma_entry");
}

// elf(5), auxiliary vector: AT_PAGESZ.
std::optional<std::uint32_t> page_bytes_of(const std::vector<std::uint64_t>& auxv) {
  constexpr std::uint64_t kAtPageSize = 6;
  for (std::size_t i = 0; i + 1 < auxv.size(); i += 2) {
    const std::uint64_t value = auxv[i + 1];
    if (auxv[i] != kAtPageSize) continue;
    const bool plausible = value >= 4096 && value <= (1U << 20) && (value & (value - 1)) == 0;
    if (plausible) return static_cast<std::uint32_t>(value);
  }
  return std::nullopt;
}

}  // namespace

Result<Inventory> parse_inventory(std::string_view file) {
  auto message = only_entry(file, Kind::inventory);
  if (!message) return std::move(message).error();
  Inventory inventory;
  Message in(*message);
  while (in.next()) {
    in.take(1, inventory.version);
    in.take(10, inventory.tcp_close);
    in.take(15, inventory.compression);
  }
  return whole(in, inventory, "inventory_entry");
}

Result<TreeEntry> parse_tree_entry(std::string_view message) {
  TreeEntry entry;
  Message in(message);
  while (in.next()) {
    in.take(1, entry.pid);
    in.take(2, entry.ppid);
    in.take(3, entry.pgid);
    in.take(4, entry.sid);
    in.take(5, entry.threads);
  }
  const auto is_pid = [](std::uint32_t pid) { return pid > 0 && pid <= kMaxProcesses; };
  if (in.ok() && !is_pid(entry.pid))
    return Error{Errc::malformed, "pstree_entry: pid " + std::to_string(entry.pid)};
  for (const std::uint32_t tid : entry.threads) {
    if (!is_pid(tid)) return Error{Errc::malformed, "pstree_entry: thread " + std::to_string(tid)};
  }
  return whole(in, std::move(entry), "pstree_entry");
}

Result<TaskIds> parse_ids(std::string_view file) {
  auto message = only_entry(file, Kind::ids);
  if (!message) return std::move(message).error();
  return parse_ids_message(*message);
}

Result<Core> parse_core(std::string_view file) {
  auto message = only_entry(file, Kind::core);
  if (!message) return std::move(message).error();
  Core core;
  Message in(*message);
  while (in.next()) {
    Status part = Done{};
    in.take(1, core.machine);
    if (in.field() == 3) part = parse_task_part(in.bytes(), core);
    if (in.field() == 4) {
      auto ids = parse_ids_message(in.bytes());
      if (!ids) return std::move(ids).error();
      core.ids = *ids;
    }
    if (in.field() == 5) part = parse_thread_part(in.bytes(), core);
    if (!part) return std::move(part).error();
  }
  return whole(in, std::move(core), "core_entry");
}

std::string_view machine_name(std::uint32_t machine) {
  constexpr std::array<std::string_view, 9> kNames{"",      "x86_64", "arm",         "aarch64", "ppc64le",
                                                   "s390x", "mips64", "loongarch64", "riscv64"};
  return machine < kNames.size() ? kNames[machine] : std::string_view{};
}

Result<Memory> parse_memory(std::string_view file) {
  auto message = only_entry(file, Kind::mm);
  if (!message) return std::move(message).error();
  Memory memory;
  Message in(*message);
  while (in.next()) {
    in.take(8, memory.arg_start);
    in.take(9, memory.arg_end);
    in.take(10, memory.env_start);
    in.take(11, memory.env_end);
    in.take(12, memory.exe_file);
    in.take(13, memory.auxv);
    if (in.field() == 14) {
      auto vma = parse_vma(in.bytes());
      if (!vma) return std::move(vma).error();
      memory.vmas.push_back(*vma);
    }
  }
  memory.page_bytes = page_bytes_of(memory.auxv);
  return whole(in, std::move(memory), "mm_entry");
}

Result<FsEntry> parse_fs(std::string_view file) {
  auto message = only_entry(file, Kind::fs);
  if (!message) return std::move(message).error();
  FsEntry entry;
  Message in(*message);
  while (in.next()) {
    in.take(1, entry.cwd);
    in.take(2, entry.root);
  }
  return whole(in, entry, "fs_entry");
}

}  // namespace ctriage::criu
