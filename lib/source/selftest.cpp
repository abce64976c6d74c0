#include "lib/source/selftest.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/sys_memory.h"
#include "lib/core/text.h"
#include "lib/proc/memory.h"
#include "lib/proc/network.h"
#include "lib/source/live/cgroups.h"
#include "lib/source/live/freezer_trial.h"
#include "lib/source/live/live.h"

namespace ctriage::source {
namespace {

struct Capability {
  unsigned bit;
  std::string_view name;
};
constexpr Capability kPtrace{19, "CAP_SYS_PTRACE"};
// Layers of others; their files without a new access time; the node's flows; processes; clones of layers and
// a procfs of our own; the kernel's log.
constexpr std::array<Capability, 6> kCapabilities{{{2, "CAP_DAC_READ_SEARCH"},
                                                   {3, "CAP_FOWNER"},
                                                   {12, "CAP_NET_ADMIN"},
                                                   kPtrace,
                                                   {21, "CAP_SYS_ADMIN"},
                                                   {34, "CAP_SYSLOG"}}};

SelftestCheck made(std::string name, Ability ability, std::string found, std::string without = {}) {
  return {std::move(name), ability, Bytes(std::move(found)), std::move(without)};
}

bool has(std::uint64_t effective, const Capability& capability) {
  return (effective >> capability.bit & 1) != 0;
}

SelftestCheck check_rights(const Result<std::uint64_t>& effective) {
  const std::string user = "uid " + std::to_string(sys::geteuid());
  const std::string without = "what belongs to others cannot be read, or reading it changes access times";
  if (!effective) return made("rights", Ability::limited, user + ", " + effective.error().what, without);
  std::string missing;
  for (const std::string& name : missing_capabilities(*effective))
    missing += (missing.empty() ? ", without " : ", ") + name;
  if (missing.empty()) return made("rights", Ability::works, user + ", with every capability that is used");
  const bool none = missing_capabilities(*effective).size() == kCapabilities.size();
  return made("rights", none ? Ability::missing : Ability::limited, user + missing, without);
}

SelftestCheck check_openat2() {
  const auto opened = sys::openat2(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_NO_MAGICLINKS);
  if (opened) return made("openat2", Ability::works, "names of evidence are resolved by the kernel");
  return made("openat2", Ability::missing, opened.error().what,
              "no file of a container is opened: Linux 5.6 has it");
}

SelftestCheck check_clone() {
  const auto root = Root::open("/");
  const auto clone = root ? root->clone_read_only() : Result<Root>(root.error());
  if (clone) return made("clone", Ability::works, "a detached read-only clone of / that nobody sees");
  return made("clone", Ability::missing, clone.error().what,
              "layers are read in place: access times of links may change (Linux 5.12 and CAP_SYS_ADMIN)");
}

SelftestCheck check_landlock() {
  const auto abi = sys::landlock_abi();
  if (abi) return made("landlock", Ability::works, "ABI " + std::to_string(*abi));
  return made("landlock", Ability::missing, abi.error().what,
              "views of bundles and archives confine system calls only, not files");
}

// What open_node has told of itself.
SelftestCheck check_told(const GapLog& gaps, std::string name, std::string_view artifact, Ability otherwise,
                         std::string found, std::string without) {
  for (const Gap& gap : gaps.kept()) {
    if (gap.artifact == artifact) return made(std::move(name), otherwise, gap.error.what, std::move(without));
  }
  return made(std::move(name), Ability::works, std::move(found));
}

SelftestCheck check_conntrack(const Node& node, Task& task) {
  const std::string without = "flows of a pod are not in its bundle";
  if (node.no_conntrack) return made("conntrack", Ability::missing, node.no_conntrack->what, without);
  // Nobody's: the kernel lists them all, and none is kept.
  const auto listed = proc::list_flows(
      node.conntrack.get(), {}, [](Flow&&) -> Status { return Done{}; }, task);
  if (!listed) return made("conntrack", Ability::missing, listed.error().what, without);
  return made("conntrack", Ability::works, "the node's flows are listed");
}

SelftestCheck check_pagemap(const Node& node) {
  const std::string name = std::to_string(node.ourselves) + "/pagemap";
  auto file = node.proc.open_beneath(name);
  const std::string without = "nobody's memory can be read";
  if (!file) return made("pagemap", Ability::missing, file.error().what, without);
  proc::Pagemap pagemap(*std::move(file), name);
  const auto here = reinterpret_cast<std::uintptr_t>(&kCapabilities) / sys::page_size() * sys::page_size();
  std::vector<proc::PageRun> runs;
  const auto scanned = pagemap.scan(here, here + sys::page_size(), 1, runs);
  if (scanned) return made("pagemap", Ability::works, "PAGEMAP_SCAN");
  const auto table = pagemap.read_table(here, here + sys::page_size(), 1, runs);
  if (!table) return made("pagemap", Ability::missing, table.error().what, without);
  return made("pagemap", Ability::limited, "the table of /proc/PID/pagemap: " + scanned.error().what,
              "large reservations take longer; pages of zeros and guards are not told apart (Linux 6.7)");
}

// A page of ours that nobody may touch, as an intruder hides his in.
class HiddenPage {
 public:
  static constexpr std::byte kMark{0xc7};
  HiddenPage() {
    auto page = sys::map_shared(sys::page_size());
    if (!page) {
      why_ = page.error();
      return;
    }
    page_ = *page;
    std::ranges::fill(page_, kMark);
    if (auto hidden = sys::forbid_access(page_); !hidden) why_ = std::move(hidden).error();
  }
  ~HiddenPage() { sys::unmap(page_); }
  HiddenPage(const HiddenPage&) = delete;
  HiddenPage& operator=(const HiddenPage&) = delete;
  [[nodiscard]] const std::optional<Error>& why() const { return why_; }
  [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uintptr_t>(page_.data()); }

 private:
  std::span<std::byte> page_;
  std::optional<Error> why_;
};

SelftestCheck check_memory(Node& node, const Task& task) {
  const std::string without = "nobody's memory can be read: dump and collect have none";
  const HiddenPage page;
  if (page.why()) return made("memory", Ability::limited, page.why()->what, "not tried");
  auto memory = proc::Memory::open(node.readers, std::to_string(node.ourselves), task);
  if (!memory) return made("memory", Ability::missing, memory.error().what, without);
  const auto asked = memory->ask(page.address(), 1, false);
  const auto window = asked ? memory->take() : Result<proc::Window>(asked.error());
  if (!window) return made("memory", Ability::missing, window.error().what, without);
  const proc::Outcome outcome = window->pages.front();
  if (outcome == proc::Outcome::read &&
      std::ranges::count(window->bytes, HiddenPage::kMark) == static_cast<std::ptrdiff_t>(sys::page_size()))
    return made("memory", Ability::works, "a PROT_NONE page of our own is read through /proc/PID/mem");
  if (outcome == proc::Outcome::unreadable)
    return made(
        "memory", Ability::limited,
        "a PROT_NONE page of our own is refused: " + system_error(window->number, "read").what,
        "memory that its process may not read itself is not had: proc_mem.force_override of the kernel");
  return made("memory", Ability::missing, "a page of our own did not come", without);
}

}  // namespace

std::vector<std::string> missing_capabilities(std::uint64_t effective) {
  std::vector<std::string> missing;
  for (const Capability& capability : kCapabilities) {
    if (!has(effective, capability)) missing.emplace_back(capability.name);
  }
  return missing;
}

SelftestCheck check_yama(const Result<std::string>& scope, bool may_ptrace) {
  const std::string without = "processes cannot be looked into";
  if (!scope) {
    const bool there = scope.error().code != Errc::not_found;
    return made("yama", there ? Ability::limited : Ability::works, there ? scope.error().what : "not there",
                there ? "not known" : "");
  }
  const auto level = parse_number<unsigned>(trim(*scope));
  if (!level) return made("yama", Ability::limited, "ptrace_scope is no number", "not known");
  const std::string found = "ptrace_scope " + std::to_string(*level);
  if (*level >= 3) return made("yama", Ability::missing, found + ": nobody may", without);
  if (*level > 0 && !may_ptrace)
    return made("yama", Ability::limited, found, without + " without CAP_SYS_PTRACE");
  return made("yama", Ability::works, found);
}

SelftestCheck check_freezer(const std::vector<Mount>& mounts, const TryFreezer& attempt) {
  std::string found;
  bool works = false;
  for (const CgroupMount& hierarchy : cgroup_mounts(mounts, kFreezerController)) {
    const auto tried = attempt(hierarchy.mountpoint, hierarchy.freezer());
    works = works || tried.has_value();
    found += std::string(found.empty() ? "" : ", ") + (hierarchy.v2 ? "v2 at " : "v1 at ") +
             hierarchy.mountpoint + (tried ? "" : " (" + tried.error().what + ")");
  }
  const std::string without = "processes go on while their memory is read";
  if (found.empty()) return made("freezer", Ability::missing, "no cgroup is mounted that has one", without);
  if (works) return made("freezer", Ability::works, found + "; a process of ours stood still");
  return made("freezer", Ability::limited, found, without);
}

std::vector<SelftestCheck> selftest(const std::string& root, Task& task) {
  const auto effective = sys::effective_capabilities();
  std::vector<SelftestCheck> checks{check_rights(effective), check_openat2(), check_clone(),
                                    check_landlock()};
  GapLog told;
  Task aside = task.with(told);
  auto opened = open_node(aside, root);
  if (!opened) {
    checks.push_back(made("node", Ability::missing, opened.error().what, "no live container is seen"));
    return checks;
  }
  Node& node = **opened;
  checks.push_back(node.whole
                       ? made("node", Ability::works, "its processes are seen")
                       : made("node", Ability::limited, "only the processes of this container are seen",
                              std::string(kNodeNotSeen)));
  checks.push_back(check_told(told, "procfs", "node.procfs", Ability::limited,
                              "one of our own that nobody sees",
                              "what is mounted over /proc, or hidepid, may hide processes"));
  checks.push_back(check_told(told, "sandbox", "sandbox", Ability::limited,
                              "system calls are filtered (seccomp)",
                              "a hostile file that breaks a parser may do more"));
  checks.push_back(check_yama(node.proc.read_file_in_root("sys/kernel/yama/ptrace_scope", kMaxProcTextBytes),
                              effective && has(*effective, kPtrace)));
  checks.push_back(check_pagemap(node));
  checks.push_back(check_memory(node, aside));
  checks.push_back(check_conntrack(node, aside));
  const auto mounts = proc::read_mounts(node.proc, node.host, aside);
  const auto root_of_node = node.proc.descend_magic(node.host_link("root"));
  const auto attempt = [&](const std::string& mountpoint, proc::SwitchKind kind) -> Status {
    const auto top = root_of_node ? root_of_node->descend_in_root(mountpoint.substr(1))
                                  : Result<Root>(root_of_node.error());
    return top ? try_freezer(*top, kind) : Status(top.error());
  };
  checks.push_back(mounts ? check_freezer(*mounts, attempt)
                          : made("freezer", Ability::limited, mounts.error().what, "not known"));
  for (const Gap& gap : told.kept()) {  // the others are what a check found
    if (gap.artifact != "node.procfs" && gap.artifact != "sandbox") task.gaps.add(gap);
  }
  return checks;
}

}  // namespace ctriage::source
