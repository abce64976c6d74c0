// What a process says of itself against what it is: arguments, names, rights, environment.
#include <algorithm>
#include <array>

#include "lib/core/hash.h"
#include "lib/core/path.h"
#include "lib/model/capabilities.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

constexpr std::size_t kMaxCommBytes = 15;  // TASK_COMM_LEN - 1
constexpr std::uint64_t kMaxScriptBytes = 16 << 20;
constexpr std::size_t kMaxResolvedNames = 10'000;
constexpr std::array kPath{"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/",
                           "/usr/bin/",        "/sbin/",          "/bin/"};

constexpr std::array<std::string_view, 4> kAnyonesPlaces{"/tmp", "/var/tmp", "/dev/shm", "/run"};

void name_more_rights(const Process& process, const Container& container, Seen& seen) {
  if (container.args.empty()) return;  // no spec was read
  std::uint64_t allowed = 0;
  for (std::string_view name : container.capabilities) {
    if (name.starts_with("CAP_")) name.remove_prefix(4);
    const auto* at = std::ranges::find(kCapabilityNames, name);
    if (at != kCapabilityNames.end()) allowed |= std::uint64_t{1} << (at - kCapabilityNames.begin());
  }
  const std::uint64_t more = process.capabilities.effective.value & ~allowed;
  if (more != 0 && process.membership != Membership::escaped) {
    seen.traits.emplace_back("more_capabilities");
    for (std::size_t bit = 0; bit < kCapabilityNames.size(); ++bit) {
      if ((more >> bit & 1) == 0) continue;
      seen.proof.raw += (seen.proof.empty() ? "" : " ") + std::string(kCapabilityNames[bit]);
    }
  }
  if (container.seccomp && process.seccomp == 0) seen.traits.emplace_back("seccomp_off");
  if (container.no_new_privs && !process.no_new_privs) seen.traits.emplace_back("may_gain_rights");
}

// Node ids: of a container with a user namespace the init tells what its ids are.
void name_other_user(const Process& process, const Scene& scene, Seen& seen) {
  if (scene.container.args.empty() || process.credentials.uids.size() < 2) return;
  const auto init = std::ranges::find_if(
      scene.processes, [](const auto& each) { return each.second.membership == Membership::init; });
  if (init == scene.processes.end() || init->second.credentials.uids.size() < 2) return;
  if (scene.container.uid != 0 && init->second.credentials.uids[0] == scene.container.uid &&
      process.credentials.uids[1] == 0) {
    seen.traits.emplace_back("root_unasked");
  }
}

void name_preload(const Process& process, const Container& container, Seen& seen) {
  for (const Bytes& entry : process.environ) {
    const std::string_view text = entry.view();
    if (!text.starts_with("LD_PRELOAD=") && !text.starts_with("LD_AUDIT=")) continue;
    if (text.find('=') + 1 == text.size()) continue;  // no value
    const bool of_spec = std::ranges::find(container.environ, entry) != container.environ.end();
    if (of_spec && std::ranges::find(seen.traits, "preload_of_spec") != seen.traits.end()) continue;
    seen.traits.emplace_back(of_spec ? "preload_of_spec" : "preload");
    seen.proof = Bytes(std::string(text.substr(0, 256)));
    if (!of_spec) return;
  }
}

// Where a name leads in the container; empty: nothing of that name, or it cannot be looked up.
const std::string& resolve(const std::string& path, Scene& scene, Task& task) {
  static const std::string nothing;
  if (const auto at = scene.resolved.find(path); at != scene.resolved.end()) return at->second;
  if (scene.resolved.size() >= kMaxResolvedNames) return nothing;
  GapLog aside;  // a name that leads nowhere is no gap
  Task looking = task.with(aside);
  std::string found;
  const auto opened = scene.snapshot.open_file({scene.container.id, "merged", path, true}, looking);
  if (opened) found = opened->entry.path.raw;
  return scene.resolved.emplace(path, std::move(found)).first->second;
}

// A program of the image that has lost its name has it in its layer still: only the kernel's word tells.
std::string_view name_of(const Executable& exe) {
  constexpr std::string_view kDeleted = " (deleted)";
  std::string_view path = exe.path.view();
  if (exe.origin == Origin::deleted && path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  return path;
}

// argv[0] names a program that is there and is another one.
void name_other_program(const Process& process, Scene& scene, Seen& seen, Task& task) {
  if (!scene.image) return;  // where links of the image lead is not known
  std::string_view name = process.argv.front().view();
  if (name.starts_with('-')) name.remove_prefix(1);
  if (name.empty() || name.find(' ') != name.npos || name.find(':') != name.npos) return;  // a title
  const std::string_view runs = name_of(process.exe);
  if (name == runs || base_name(name) == base_name(runs)) return;
  if (scene.known.is_multicall(process.exe.path.view())) return;  // its applets are all itself
  const auto is_other = [&](const std::string& path) {
    const std::string& leads_to = resolve(path, scene, task);
    return !leads_to.empty() && leads_to != process.exe.path.raw;
  };
  if (name.find('/') != name.npos) {
    if (name.starts_with('/') && is_other(std::string(name)))
      seen.traits.emplace_back("name_of_other_program");
    return;
  }
  bool other = false;
  for (const char* directory : kPath) {
    const std::string& leads_to = resolve(std::string(directory).append(name), scene, task);
    if (leads_to == process.exe.path.raw) return;
    other = other || !leads_to.empty();
  }
  if (other) seen.traits.emplace_back("name_of_other_program");
}

void name_masks(const Process& process, Scene& scene, Seen& seen, Task& task) {
  if (process.exe.path.empty()) return;  // a kernel thread, or it cannot be known
  const bool claims =
      process.argv.empty() ? false : scene.known.is_kernel_thread_name(process.argv.front().view());
  if (claims || scene.known.is_kernel_thread_name(process.comm.view())) {
    seen.traits.emplace_back("kernel_thread_name");
    return;
  }
  if (process.argv.empty()) return;
  name_other_program(process, scene, seen, task);
  // The kernel takes comm from the name that was executed: the program's, a link's, a script's.
  const auto fits = [&](std::string_view path) {
    return base_name(path).substr(0, kMaxCommBytes) == process.comm.view();
  };
  const bool known =
      fits(name_of(process.exe)) || std::ranges::any_of(process.argv, [&](const Bytes& word) {
        return fits(word.view()) || (word.view().starts_with('-') && fits(word.view().substr(1)));
      });
  if (!known && !process.comm.empty()) seen.traits.emplace_back("name_set");
}

Result<std::string> hash_file(OpenedFile& opened) {
  if (!opened.bytes || opened.entry.file.size_bytes > kMaxScriptBytes) return Error{Errc::limit, "too large"};
  const auto digest = hash_all(*opened.bytes);
  if (!digest) return digest.error();
  return to_hex(*digest);
}

// Where a path of the container leads by its mounts; nothing: into its layers.
const Mount* mount_of(std::string_view path, const std::vector<Mount>& mounts) {
  const Mount* best = nullptr;
  for (const Mount& mount : mounts) {
    if (mount.mountpoint.view() == "/" || !is_at_or_below(path, mount.mountpoint.view())) continue;
    if (best == nullptr || best->mountpoint.raw.size() <= mount.mountpoint.raw.size()) best = &mount;
  }
  return best;
}

std::optional<Executable> find_script(const Process& process, std::string_view family, Scene& scene,
                                      Task& task) {
  const std::string_view named = script_argument(family, process.argv);
  if (named.empty() || (!named.starts_with('/') && !process.cwd.view().starts_with('/'))) return std::nullopt;
  Executable script;
  script.path = Bytes(absolute_path(process.cwd.view(), named));
  const std::string& path = script.path.raw;
  GapLog aside;  // where a file does not lie is no gap
  Task looking = task.with(aside);
  const auto look = [&](const char* layer) -> Result<OpenedFile> {
    return scene.snapshot.open_file({scene.container.id, layer, path, true}, looking);
  };
  if (const Mount* mount = mount_of(path, scene.mounts)) {
    const std::string_view type = mount->fstype.view();
    if (type == "proc" || type == "sysfs" || type == "devpts") return std::nullopt;
    script.origin = type == "tmpfs" || type == "ramfs" ? Origin::tmpfs : Origin::volume;
  }
  auto found = look("merged");
  // Told by the directory of now, which is not the one it was started in: there is no telling what was meant.
  // Where anyone may write, a name that is gone is news all the same.
  if (!found && found.error().code == Errc::not_found && !named.starts_with('/') &&
      std::ranges::none_of(kAnyonesPlaces,
                           [&](std::string_view place) { return is_at_or_below(process.cwd.view(), place); }))
    return std::nullopt;
  if (script.origin == Origin::unknown && found) {
    // What lies in the UpperDir and not in the image, or over it, is not the image's.
    auto upper = look("upper");
    if (upper && upper->entry.gone) upper = Error{Errc::not_found, path};
    script.origin = upper ? Origin::upper : Origin::image;
    if (!upper && upper.error().code != Errc::not_found) script.origin = Origin::unknown;
  } else if (script.origin == Origin::unknown && scene.image && found.error().code == Errc::not_found) {
    script.origin = Origin::deleted;
    script.deleted = true;
  }
  if (found) {
    const FileState& file = found->entry.file;
    if (file.type != FileType::regular) return std::nullopt;  // a directory, a pipe: nothing to name
    script.mode = file.mode;
    script.uid = file.uid;
    script.size_bytes = file.size_bytes;
    script.mtime = file.mtime;
    script.btime = file.btime;
    if (script.origin != Origin::image) {
      if (auto digest = hash_file(*found)) script.sha256 = *std::move(digest);
    }
  }
  return script;
}

}  // namespace

Seen look_at(Process& process, Scene& scene, Task& task) {
  Seen seen;
  const std::string_view called = process.argv.empty() ? std::string_view() : process.argv.front().view();
  const std::string_view program = scene.known.is_multicall(process.exe.path.view())
                                       ? called.substr(called.starts_with('-') ? 1 : 0)
                                       : process.exe.path.view();
  std::string family(base_name(program));
  if (const auto tool = scene.known.find_tool(program)) {
    process.exe.tool = tool->name;
    seen.tool_group = tool->group;
  } else if (process.exe.origin != Origin::image && process.exe.origin != Origin::unknown) {
    // Brought along under a name of its own, busybox mostly, and called as the tool that it is to be.
    if (const auto called_as = scene.known.find_tool(called.substr(called.starts_with('-') ? 1 : 0))) {
      process.exe.tool = called_as->name;
      seen.tool_group = called_as->group;
    }
  }
  process.script = find_script(process, family, scene, task);
  name_masks(process, scene, seen, task);
  name_more_rights(process, scene.container, seen);
  name_other_user(process, scene, seen);
  name_preload(process, scene.container, seen);
  return seen;
}

}  // namespace ctriage::verdict
