#include "lib/runtime/shims.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "lib/proc/proc.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kTaskDirectory = "/io.containerd.runtime.v2.task/";
constexpr std::string_view kArtifact = "runtime.shim";

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

Result<std::vector<BundleSet>> find_bundle_sets(const std::vector<EngineProcess>& processes, Task& task) {
  std::vector<BundleSet> sets;
  for (const EngineProcess& process : processes) {
    if (process.role != Role::shim) continue;
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    std::string id;
    auto set = open_bundle_set(process.directory, id);
    if (!set) {
      // A shim between fork and its chdir, and the short-lived "containerd-shim delete", have no bundle to
      // show.
      if (set.error().is_gone()) continue;
      const std::string origin = "pid " + std::to_string(process.pid);
      task.gaps.add({set.error().code == Errc::unsupported ? Impact::note : Impact::lost,
                     std::string(kArtifact), origin, Error(set.error()).within(origin)});
      continue;
    }
    auto known = std::find_if(sets.begin(), sets.end(), [&](const BundleSet& other) {
      return other.identity.same_inode(set->identity);
    });
    if (known == sets.end()) known = sets.insert(sets.end(), *std::move(set));
    known->shims.try_emplace(id, process.pid);
  }
  return sets;
}

}  // namespace ctriage::runtime
