#include "lib/source/live/watched.h"

#include <algorithm>
#include <cerrno>
#include <set>

#include "lib/core/hash.h"
#include "lib/core/one_mount.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/overlay/tree.h"
#include "lib/source/live/programs.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMaxHomes = 256;
constexpr std::uint64_t kMaxKeptBytes = 64 << 10;    // of one file
constexpr std::uint64_t kMaxHashedBytes = 64 << 20;  // of one file
constexpr std::size_t kBlockBytes = 1 << 20;         // names of one directory
constexpr std::string_view kArtifact = "node.newer";

// Of what lies in a home's .ssh, private keys are not ours to copy.
bool is_public_in_ssh(std::string_view name) {
  return name.starts_with("authorized_keys") || name == "rc" || name == "environment" || name == "config";
}

class Look {
 public:
  Look(const Root& root, const NewerOptions& options, const Emit<NewerFile>& emit, Task& task)
      : root_(root), options_(options), emit_(emit), task_(task) {}

  Status place(const Watched& watched) {
    const auto slash = watched.path.rfind('/');
    const std::string name = watched.path.substr(slash + 1);
    const auto parent = resolved(slash == 0 ? "/" : watched.path.substr(0, slash));
    if (!parent || server_at(*parent + "/" + name)) return Done{};
    auto dir = root_.descend_in_root(*parent);
    if (!dir) {
      if (!dir.error().is_gone() && dir.error().number != ENOTDIR) gap(Impact::lost, *parent, dir.error());
      return Done{};
    }
    return entry(*dir, name, watched.path, watched, watched.depth, true);
  }

 private:
  void gap(Impact impact, const std::string& path, Error error) {
    task_.gaps.add({impact, std::string(kArtifact), path, std::move(error)});
  }

  // The directory that `path` is, links followed, without a step into what a server would have to answer for:
  // each name is looked up in the mount table before it is touched. Nothing: there is none, or it was told.
  std::optional<std::string> resolved(const std::string& path) {
    constexpr unsigned kMaxLinks = 40;  // path_resolution(7)
    std::string at;
    std::string rest = path;
    for (unsigned links = 0; !rest.empty();) {
      const auto slash = rest.find('/');
      const std::string name = rest.substr(0, slash);
      rest = slash == std::string::npos ? "" : rest.substr(slash + 1);
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        at.resize(at.empty() ? 0 : at.rfind('/'));
        continue;
      }
      const std::string next = at + "/" + name;
      if (server_at(next)) return std::nullopt;
      auto target = root_.read_link_beneath(std::string_view(next).substr(1));
      if (!target && target.error().number != EINVAL) {  // EINVAL: no link
        if (!target.error().is_gone() && target.error().number != ENOTDIR)
          gap(Impact::lost, next, std::move(target).error());
        return std::nullopt;
      }
      if (!target) {
        at = next;
        continue;
      }
      if (++links > kMaxLinks) {
        gap(Impact::lost, path, {Errc::outside, "more than 40 links"});
        return std::nullopt;
      }
      if (target->starts_with('/')) at.clear();
      rest = *target + "/" + rest;
    }
    return at.empty() ? "/" : at;
  }

  bool server_at(const std::string& path) {
    if (!options_.asks_server || !options_.asks_server(path)) return false;
    gap(Impact::degraded, path,
        {Errc::outside, "not looked at: a file system of a server is mounted here or above"});
    return true;
  }

  Status entry(const Root& dir, const std::string& name, const std::string& path, const Watched& watched,
               unsigned depth, bool top) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    if (++entries_ > options_.most_entries) {
      if (entries_ == options_.most_entries + 1)
        gap(Impact::lost, path,
            {Errc::limit, "more than " + std::to_string(options_.most_entries) + " entries in the places"});
      return Done{};
    }
    auto pinned = pin_on_mount(dir, name);
    if (!pinned && pinned.error().number == EXDEV && !server_at(path)) pinned = dir.pin_beneath(name);
    if (!pinned) {
      if (top && pinned.error().is_gone()) return Done{};
      if (pinned.error().number != EXDEV) gap(Impact::lost, path, std::move(pinned).error());
      return Done{};
    }
    auto info = file_info(pinned->get(), path);
    if (!info) {
      gap(Impact::lost, path, std::move(info).error());
      return Done{};
    }
    const bool newer = info->ctime >= options_.since || (info->btime && *info->btime >= options_.since);
    if (newer) {
      if (auto told = tell(dir, pinned->get(), name, path, *info, watched); !told) return told;
    }
    if (!info->is_directory() || depth == 0) return Done{};
    // /lib may be /usr/lib: each directory once.
    if (!seen_.insert({info->device(), info->inode}).second) return Done{};
    return directory(Root::adopt(*std::move(pinned), path), path, watched, depth);
  }

  Status directory(const Root& dir, const std::string& path, const Watched& watched, unsigned depth) {
    std::string after;
    for (;;) {
      auto block = list_names(dir, after, kBlockBytes);
      if (!block) {
        gap(Impact::lost, path, std::move(block).error());
        return Done{};
      }
      for (const std::string& name : block->names) {
        if (entries_ > options_.most_entries) return Done{};
        if (auto looked = entry(dir, name, path + "/" + name, watched, depth - 1, false); !looked)
          return looked;
      }
      if (!block->more || block->names.empty()) return Done{};
      after = block->names.back();
    }
  }

  Status tell(const Root& dir, int pinned, const std::string& name, const std::string& path,
              const FileInfo& info, const Watched& watched) {
    NewerFile found;
    found.fact.kind = NodeFactKind::file;
    found.fact.group = watched.group;
    found.fact.path = Bytes(path);
    found.fact.newer = true;
    found.fact.file = overlay::make_state(info, {});
    if (info.is_symlink()) {
      if (auto target = sys::readlinkat(pinned, "")) {
        found.fact.file->link_target = Bytes(*std::move(target));
      } else {
        gap(Impact::lost, path, std::move(target).error());
      }
    }
    if (info.is_regular() && watched.keep != Keep::name) read(dir, pinned, name, path, info, watched, found);
    return emit_(std::move(found));
  }

  void read(const Root& dir, int pinned, const std::string& name, const std::string& path,
            const FileInfo& info, const Watched& watched, NewerFile& found) {
    if (info.size_bytes > kMaxHashedBytes || info.size_bytes > options_.most_hashed_bytes - hashed_) {
      found.fact.partial = "too large to be hashed";
      gap(Impact::note, path, {Errc::limit, *found.fact.partial});
      return;
    }
    auto opened = dir.open_pinned(pinned, path);
    if (!opened) {
      found.fact.partial = "could not be opened";
      gap(Impact::lost, path, std::move(opened).error());
      return;
    }
    const bool in_ssh = watched.group == "keys" && path.find("/.ssh/") != std::string::npos;
    const bool small = info.size_bytes <= kMaxKeptBytes && info.size_bytes <= options_.most_bytes - kept_;
    if (watched.keep != Keep::bytes || (in_ssh && !is_public_in_ssh(name)) || !small) {
      hashed_ += info.size_bytes;
      auto digest = hash_file(opened->get(), path, task_);
      if (digest) {
        found.fact.file->sha256 = *std::move(digest);
      } else {
        gap(Impact::lost, path, std::move(digest).error());
      }
      if (watched.keep == Keep::bytes && !in_ssh) found.fact.partial = "too large to be kept";
      return;
    }
    std::string text(static_cast<std::size_t>(info.size_bytes), '\0');
    auto got = sys::pread_full(opened->get(), std::as_writable_bytes(std::span(text)), 0, path);
    if (!got) {
      found.fact.partial = "could not be read";
      gap(Impact::lost, path, std::move(got).error());
      return;
    }
    text.resize(*got);
    kept_ += *got;
    if (*got < info.size_bytes) {
      found.fact.partial = "became shorter while it was read";
      gap(Impact::lost, path, {Errc::truncated, *found.fact.partial});
    } else {
      found.fact.file->sha256 = sha256_hex(text);
    }
    found.bytes = std::move(text);
  }

  const Root& root_;
  const NewerOptions& options_;
  const Emit<NewerFile>& emit_;
  Task& task_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
  std::size_t entries_ = 0;
  std::uint64_t hashed_ = 0;
  std::uint64_t kept_ = 0;
};

void add(std::vector<Watched>& to, std::string_view group, std::initializer_list<std::string_view> paths,
         unsigned depth, Keep keep = Keep::bytes) {
  for (const std::string_view path : paths)
    to.push_back({std::string(group), std::string(path), depth, keep});
}

}  // namespace

std::vector<std::string> parse_homes(std::string_view passwd) {
  std::set<std::string> homes;
  for (const std::string_view line : split(passwd, '\n')) {
    const auto fields = split(line, ':');  // name:password:uid:gid:gecos:home:shell
    if (fields.size() < 7 || fields[5].size() < 2 || fields[5].front() != '/') continue;
    if (homes.size() < kMaxHomes) homes.emplace(fields[5].substr(0, fields[5].find_last_not_of('/') + 1));
  }
  return {homes.begin(), homes.end()};
}

std::string find_config_value(std::string_view text, std::string_view key) {
  for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    const std::size_t line = text.rfind('\n', at) + 1;  // npos + 1 is 0
    const std::string_view before = trim(text.substr(line, at - line));
    std::string_view after = text.substr(at + key.size());
    if (!before.empty() && before.back() != '"' && before.back() != '{' && before.back() != ',') continue;
    if (after.starts_with('"')) after.remove_prefix(1);
    after = trim(after.substr(0, after.find('\n')));
    if (!after.starts_with(':')) continue;
    after = trim(after.substr(1));
    if (after.starts_with('"')) return std::string(after.substr(1, after.find('"', 1) - 1));
    return std::string(trim(after.substr(0, after.find_first_of(",}#"))));
  }
  return {};
}

std::vector<Watched> watched_places(std::string_view passwd, const std::string& release,
                                    const std::string& kubelet_root, const std::string& static_pods) {
  std::vector<Watched> places;
  add(places, "preload", {"/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d"}, 1);
  add(places, "cron",
      {"/etc/crontab", "/etc/anacrontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily",
       "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron", "/var/spool/at", "/var/spool/atjobs"},
      3);
  add(places, "units",
      {"/etc/systemd", "/run/systemd/system", "/run/systemd/generator", "/usr/lib/systemd/system",
       "/lib/systemd/system", "/usr/local/lib/systemd", "/etc/init.d", "/etc/rc.local", "/etc/inittab",
       "/usr/lib/systemd/system-generators"},
      4);
  add(places, "udev",
      {"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"}, 1);
  add(places, "accounts",
      {"/etc/passwd", "/etc/group", "/etc/sudoers", "/etc/sudoers.d", "/etc/pam.d", "/etc/nsswitch.conf"}, 1);
  add(places, "accounts", {"/etc/shadow", "/etc/gshadow"}, 0, Keep::hash);
  add(places, "profile",
      {"/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/bashrc", "/etc/environment", "/etc/hosts",
       "/etc/resolv.conf"},
      1);
  add(places, "keys", {"/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d", "/etc/ssh/ssh_config"}, 1);
  std::set<std::string> homes{"/root"};
  for (std::string& home : parse_homes(passwd)) homes.insert(std::move(home));
  for (const std::string& home : homes) {
    places.push_back({"keys", home + "/.ssh", 1, Keep::bytes});
    for (const char* name : {"/.bashrc", "/.profile", "/.bash_profile", "/.bash_login", "/.zshrc"})
      places.push_back({"profile", home + name, 0, Keep::bytes});
  }
  add(places, "static_pods",
      {"/etc/kubernetes/manifests", "/var/lib/rancher/k3s/agent/pod-manifests",
       "/var/lib/rancher/rke2/agent/pod-manifests", "/etc/kubelet.d"},
      2);
  if (static_pods.starts_with('/')) places.push_back({"static_pods", static_pods, 2, Keep::bytes});
  add(places, "kubelet", {"/etc/default/kubelet", "/etc/sysconfig/kubelet", "/etc/kubernetes/kubelet"}, 2);
  add(places, "kubelet", {"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf"}, 0, Keep::hash);
  add(places, "kubelet", {"/usr/libexec/kubernetes/kubelet-plugins/volume/exec"}, 3, Keep::hash);
  for (const char* name : {"/config.yaml", "/kubeadm-flags.env"})
    places.push_back({"kubelet", kubelet_root + name, 0, Keep::bytes});
  add(places, "runtime",
      {"/etc/containerd", "/etc/crio", "/etc/docker", "/etc/containers", "/etc/cdi", "/var/run/cdi",
       "/usr/share/containers/oci/hooks.d"},
      3);
  add(places, "cni", {"/etc/cni/net.d"}, 1);
  add(places, "cni", {"/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"}, 1, Keep::hash);
  add(places, "modules", {"/etc/modules", "/etc/modules-load.d", "/etc/modprobe.d"}, 1);
  for (const char* name : {"/updates", "/extra", "/modules.dep"})
    places.push_back({"modules", "/lib/modules/" + release + name, 3, Keep::hash});
  add(places, "programs", {"/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"}, 1,
      Keep::hash);
  add(places, "bpf", {"/sys/fs/bpf"}, 4, Keep::name);
  return places;
}

Status list_newer(const Root& root, std::span<const Watched> places, const NewerOptions& options,
                  const Emit<NewerFile>& emit, Task& task) {
  Look look(root, options, emit, task);
  for (const Watched& watched : places) {
    if (auto looked = look.place(watched); !looked) return looked;
  }
  return Done{};
}

}  // namespace ctriage::source
