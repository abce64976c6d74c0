// Who is a shim? An intruder wants to be listed as one: a shim's working directory becomes evidence. What
// cannot be had from inside a container is what counts, all of it:
//
//   - the program is called containerd-shim*  (the exe link; comm and argv can be set by anybody)
//   - real, effective, saved and file system uid are 0, in our user namespace
//   - it is in no pid namespace below that of our procfs, which a process of an ordinary container is
//   - its mount namespace is the node's, or (microk8s and others start containerd in one of its own) its
//   cgroup
//     names no container: a process in a pod with hostPID shares the pid namespace, but stays in its pod's
//     cgroup
//   - its working directory is ".../io.containerd.runtime.v2.task/NAMESPACE/ID" in its own mount namespace
//
// Who passes is root on the node outside of any container, and could start a real shim as well. What passes
// the first and fails another test is a gap: a rootless containerd, or somebody who plays shim.
#include "lib/runtime/shims.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kProgram = "containerd-shim";
constexpr std::string_view kTaskDirectory = "/io.containerd.runtime.v2.task/";
constexpr std::string_view kArtifact = "runtime.shim";

std::string_view last_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_gone(const Error& error) { return error.code == Errc::not_found || error.code == Errc::vanished; }

// Processes whose exe link we may not read. Without CAP_SYS_PTRACE that is most of the node, and whether one
// of them is a shim cannot be known. With it what is still closed (to a security module, say) is of no
// interest unless it is named like a shim: a real one keeps its name.
struct Closed {
  std::uint64_t processes = 0;
  std::uint64_t call_themselves_shim = 0;

  void add(const Root& process) {
    ++processes;
    const auto comm = process.read_file_in_root("comm", kMaxProcTextBytes);
    if (comm && comm->starts_with(kProgram)) ++call_themselves_shim;
  }
  void tell(GapLog& gaps) const {
    constexpr std::uint64_t kPtrace = std::uint64_t{1} << 19U;  // CAP_SYS_PTRACE, capabilities(7)
    const auto ours = sys::effective_capabilities();
    const bool may = ours && (*ours & kPtrace) != 0;
    const std::uint64_t unknown = may ? call_themselves_shim : processes;
    if (unknown == 0) return;
    std::string what = "whether they run containers is not known: the exe link is closed to us";
    if (call_themselves_shim > 0)
      what += ", and " + with_commas(call_themselves_shim) + " of them named " + std::string(kProgram);
    gaps.add({Impact::lost, std::string(kArtifact), counted(unknown, "process", "processes"),
              Error{Errc::denied, what + " (needs CAP_SYS_PTRACE)"}});
  }
};

// Whether /proc/PID/exe says shim. exe is not there for kernel threads and what has ended.
bool is_called_shim(const Root& process, Closed& closed) {
  const auto exe = process.read_link_beneath("exe");
  if (exe) return last_name(proc::without_deleted(*exe)).starts_with(kProgram);
  if (exe.error().code == Errc::denied) closed.add(process);
  return false;
}

// NSpid has one number per pid namespace that the process is visible in, outermost first, proc_pid_status(5):
// a single one means that it is in no other than this procfs. Needs no rights over pid 1, which reading its
// ns links does.
bool is_in_outer_pid_namespace(std::string_view status) {
  constexpr std::string_view kKey = "\nNSpid:";  // a newline in Name, the line above, is escaped
  const auto at = status.find(kKey);
  if (at == std::string_view::npos) return false;
  const std::string_view line = status.substr(at + kKey.size());
  return split_fields(line.substr(0, line.find('\n'))).size() == 1;
}

Status check_shim(const Root& proc, const Root& process) {
  const auto text = process.read_file_in_root("status", kMaxProcTextBytes);
  if (!text) return text.error();
  Process status;
  if (auto parsed = proc::parse_status(*text, status); !parsed) return parsed;
  const auto& uids = status.credentials.uids;
  if (uids.empty() || std::any_of(uids.begin(), uids.end(), [](std::uint32_t uid) { return uid != 0; })) {
    return Error{Errc::unsupported,
                 "does not run as root of the node: a rootless containerd is not read yet"};
  }
  if (!is_in_outer_pid_namespace(*text)) {
    return Error{
        Errc::mismatch,
        "is in a pid namespace of its own: plays shim in a container, or is of a node in a container"};
  }
  const auto its = process.read_link_beneath("ns/mnt");
  if (!its) return its.error();
  const auto ours = proc.read_link_beneath(std::to_string(proc::node_process(proc)) + "/ns/mnt");
  if (ours && *its == *ours) return Done{};
  const auto cgroup = process.read_file_in_root("cgroup", kMaxProcTextBytes);
  if (!cgroup) return cgroup.error();
  if (proc::is_in_container(*cgroup)) return Error{Errc::mismatch, "is in a container's cgroup: plays shim"};
  return Done{};
}

// The directory of all bundles beside the shim's own. By path, since a link to ".." cannot be walked from a
// deleted directory, and then compared with what the kernel says the working directory is.
Result<BundleSet> open_bundle_set(const Root& process, std::string& id) {
  const auto cwd = process.read_link_beneath("cwd");
  if (!cwd) return cwd.error();
  BundlePath parts;
  if (!parse_bundle_path(proc::without_deleted(*cwd), parts)) {
    return Error{Errc::unsupported, "its working directory is not a bundle: " + *cwd};
  }
  auto node = process.descend_magic("root");
  if (!node) return std::move(node).error();
  const std::string_view whole = proc::without_deleted(*cwd);
  std::string path(whole.substr(0, whole.rfind('/')));
  auto directory = node->descend_in_root(path);
  if (!directory) return std::move(directory).error();
  auto identity = directory->stat_beneath("");
  if (!identity) return std::move(identity).error();
  if (!cwd->ends_with(proc::kDeleted)) {
    const auto own = process.descend_magic("cwd");
    if (!own) return own.error();
    const auto pinned = own->stat_beneath("");
    const auto named = directory->stat_beneath(parts.id);
    if (!pinned || !named || !pinned->same_inode(*named)) {
      return Error{Errc::mismatch, *cwd + ": its working directory is not what lies at that path now"};
    }
  }
  id = parts.id;
  return BundleSet{*std::move(directory), *std::move(node),       *identity,
                   std::move(path),       parts.engine_namespace, {}};
}

}  // namespace

bool is_identifier(std::string_view text) {
  constexpr std::size_t kLongest = 255;
  if (text.empty() || text.size() > kLongest || text.front() == '.') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

bool parse_bundle_path(std::string_view path, BundlePath& into) {
  const auto at = path.rfind(kTaskDirectory);
  if (at == std::string_view::npos || !path.starts_with('/')) return false;
  const std::string_view rest = path.substr(at + kTaskDirectory.size());
  const auto slash = rest.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view engine_namespace = rest.substr(0, slash);
  const std::string_view id = rest.substr(slash + 1);
  if (!is_identifier(engine_namespace) || !is_identifier(id)) return false;
  into = {std::string(path.substr(0, at)), std::string(engine_namespace), std::string(id)};
  return true;
}

Result<std::vector<BundleSet>> find_bundle_sets(const Root& proc, Task& task) {
  const auto pids = proc::list_pids(proc);
  if (!pids) return pids.error();
  std::vector<BundleSet> sets;
  Closed closed;
  for (const std::int32_t pid : *pids) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    const std::string name = std::to_string(pid);
    auto refuse = [&](Impact impact, const Error& error) {
      task.gaps.add({impact, std::string(kArtifact), "pid " + name, Error(error).within("pid " + name)});
    };
    const auto process = proc.descend(name);  // stays this process, whoever gets its number next
    if (!process) continue;                   // ended since it was listed
    if (!is_called_shim(*process, closed)) continue;
    if (const Status taken = check_shim(proc, *process); !taken) {
      const bool by_choice = taken.error().code == Errc::mismatch || taken.error().code == Errc::unsupported;
      if (!is_gone(taken.error())) refuse(by_choice ? Impact::note : Impact::lost, taken.error());
      continue;
    }
    std::string id;
    auto set = open_bundle_set(*process, id);
    if (!set) {
      // A shim between fork and its chdir, and the short-lived "containerd-shim delete", have no bundle to
      // show.
      if (!is_gone(set.error())) {
        refuse(set.error().code == Errc::unsupported ? Impact::note : Impact::lost, set.error());
      }
      continue;
    }
    auto known = std::find_if(sets.begin(), sets.end(), [&](const BundleSet& other) {
      return other.identity.same_inode(set->identity);
    });
    if (known == sets.end()) known = sets.insert(sets.end(), *std::move(set));
    known->shims.try_emplace(id, pid);
  }
  closed.tell(task.gaps);
  return sets;
}

}  // namespace ctriage::runtime
