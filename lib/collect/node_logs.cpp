// Group "node": what the node's engines wrote about the pod. Of text logs the lines that name it, of the
// journal whole files, which have more than text and which only systemd's own tools read well.
#include <algorithm>
#include <array>
#include <set>

#include "lib/collect/node_view.h"
#include "lib/core/stream.h"
#include "lib/core/sys.h"
#include "lib/source/live/node_facts.h"
#include "lib/source/live/reach.h"

namespace ctriage::collect {
namespace {

constexpr std::uint64_t kMaxReadBytes = 256 << 20;     // of one text log, from its end
constexpr std::uint64_t kMaxLineBytesKept = 32 << 20;  // of one text log: lines about the pod
constexpr std::uint64_t kMaxJournalBytes = 256 << 20;  // of all journal files
constexpr std::size_t kMaxJournals = 1'000;
constexpr std::size_t kBlock = 1 << 20;

constexpr std::array<std::string_view, 12> kTextLogs = {
    "/var/log/syslog",
    "/var/log/syslog.1",
    "/var/log/messages",
    "/var/log/messages.1",
    "/var/log/daemon.log",
    "/var/log/daemon.log.1",
    "/var/log/kubelet.log",
    "/var/log/containerd.log",
    "/var/log/crio.log",
    "/var/lib/rancher/rke2/agent/logs/kubelet.log",
    "/var/lib/rancher/rke2/agent/containerd/containerd.log",
    "/var/lib/rancher/k3s/agent/containerd/containerd.log"};
constexpr std::array<std::string_view, 2> kJournals = {"/run/log/journal", "/var/log/journal"};

// What names the pod or one of its containers in a line.
std::vector<std::string> names_of(const Collection& in) {
  std::set<std::string> names;
  for (const source::LiveContainer& live : in.snapshot.containers()) {
    const Container& container = live.container;
    if (container.engine == "none") continue;
    names.insert(container.id);
    if (!container.pod) continue;
    names.insert(container.pod->sandbox_id);
    names.insert(container.pod->uid);
    if (!container.pod->name.empty()) names.insert(container.pod->ns + "/" + container.pod->name);
  }
  names.erase("");
  return {names.begin(), names.end()};
}

class TakeLogs {
 public:
  TakeLogs(Collection& in, const Root& root, const source::NodeMounts& table)
      : in_(in),
        root_(root),
        table_(table),
        names_(names_of(in)),
        began_(source::pod_began(in.snapshot.node(), in.snapshot.containers())) {}

  Status take() {
    if (names_.empty()) return Done{};  // no engine knows of it
    for (const std::string_view path : kTextLogs) {
      if (table_.asks_server(path)) continue;
      auto file = root_.open_in_root(path);
      if (auto taken = text_log(std::string(path), std::move(file)); !taken) return taken;
    }
    if (auto taken = outputs(); !taken) return taken;
    return journals();
  }

 private:
  void gap(Impact impact, const std::string& path, Error error) {
    in_.task.gaps.add({impact, "node.logs", path, std::move(error)});
  }

  // Where an engine's output goes to a file, that is its log.
  Status outputs() {
    auto engines = list_engines(in_);
    if (!engines) return std::move(engines).error();
    const Root& proc = in_.snapshot.node().proc;
    for (const runtime::EngineProcess& engine : *engines) {
      for (const char* number : {"1", "2"}) {
        const std::string link = std::to_string(engine.pid) + "/fd/" + number;
        const auto target = proc.read_link_beneath(link);
        if (!target || !target->starts_with('/') || table_.asks_server(*target)) continue;
        auto pinned = proc.pin_magic(link);
        const auto info = pinned ? file_info(pinned->get(), *target) : Result<FileInfo>(pinned.error());
        if (!info && info.error().code == Errc::io) gap(Impact::lost, *target, info.error());
        if (!info || !info->is_regular()) continue;
        if (auto taken = text_log(*target, proc.open_pinned(pinned->get(), *target)); !taken) return taken;
      }
    }
    return Done{};
  }

  Status text_log(const std::string& path, Result<UniqueFd> file) {
    if (!file) {
      if (file.error().code != Errc::not_found) gap(Impact::lost, path, std::move(file).error());
      return Done{};
    }
    const auto info = file_info(file->get(), path);
    if (!info) {
      gap(Impact::lost, path, info.error());
      return Done{};
    }
    if (!seen_.insert({info->device(), info->inode}).second) return Done{};
    const std::uint64_t size = info->size_bytes;
    std::uint64_t begin = 0;
    if (size > kMaxReadBytes) {
      begin = size - kMaxReadBytes;
      gap(Impact::note, path,
          {Errc::limit, "only its last " + std::to_string(kMaxReadBytes) + " bytes are read"});
      if (auto moved = sys::lseek(file->get(), static_cast<std::int64_t>(begin), SEEK_SET, path); !moved) {
        gap(Impact::lost, path, moved.error());
        return Done{};
      }
    }
    return lines_of(path, *std::move(file), size - begin);
  }

  Status lines_of(const std::string& path, UniqueFd file, std::uint64_t size) {
    FdSource source(std::move(file), path, in_.task);
    LineReader lines(source, kMaxLineBytes);
    std::unique_ptr<bundle::Stream> stream;
    std::string member;
    std::uint64_t kept = 0;
    std::string_view line;
    for (;;) {
      auto more = lines.next(line);
      if (!more) {
        if (auto going = in_.task.check(); !going) return going;
        const bool skipped = more.error().code == Errc::limit;
        gap(Impact::lost, path, std::move(more).error());
        if (skipped) continue;
        break;
      }
      if (!*more || lines.offset() >= size) break;  // what is written while we read is not waited for
      const bool ours = std::ranges::any_of(
          names_, [&](const std::string& name) { return line.find(name) != std::string_view::npos; });
      if (!ours) continue;
      kept += line.size() + 1;
      if (kept > kMaxLineBytesKept) {
        gap(Impact::lost, path,
            {Errc::limit, "more than " + std::to_string(kMaxLineBytesKept) + " bytes about the pod"});
        break;
      }
      if (!stream) {
        member = in_.bulk_path("node/logs/" + bundle::member_name(path.substr(1)));
        auto opened = in_.out.open(member, in_.bulk_encoding(), "lines about the pod in " + path);
        if (!opened) return std::move(opened).error();
        stream = *std::move(opened);
      }
      const std::string text = std::string(line) + "\n";
      if (auto written = stream->write(std::as_bytes(std::span(text.data(), text.size()))); !written)
        return in_.ended_early(*stream, "node.logs", member, written.error());
    }
    if (!stream) return Done{};
    return stream->finish(bundle::Outcome::collected, "");
  }

  struct Journal {
    std::string path;
    FileInfo info;
    UniqueFd file;
  };

  // systemd-journald.service(8): <directory>/<machine id>/NAME.journal, and NAME.journal~ of a crash.
  Status journals() {
    std::vector<Journal> found;
    for (const std::string_view top : kJournals) {
      if (table_.asks_server(top)) continue;
      auto directory = root_.descend_in_root(top);
      if (!directory) {
        // Where there is none, no journal is kept.
        if (directory.error().code != Errc::not_found) gap(Impact::lost, std::string(top), directory.error());
        continue;
      }
      auto machines = list_names(*directory, "", kBlock);
      if (!machines) {
        gap(Impact::lost, std::string(top), std::move(machines).error());
        continue;
      }
      for (const std::string& machine : machines->names)
        journals_in(*directory, machine, std::string(top) + "/" + machine, found);
    }
    std::ranges::sort(found, [](const Journal& a, const Journal& b) { return b.info.mtime < a.info.mtime; });
    std::uint64_t left = kMaxJournalBytes;
    for (Journal& journal : found) {
      if (journal.info.size_bytes > left) {
        gap(Impact::note, journal.path,
            {Errc::limit,
             "not taken: with it the journal has more than " + std::to_string(kMaxJournalBytes) + " bytes"});
        continue;
      }
      left -= journal.info.size_bytes;
      if (auto taken = take_journal(journal); !taken) return taken;
    }
    return Done{};
  }

  void journals_in(const Root& top, const std::string& machine, const std::string& path,
                   std::vector<Journal>& found) {
    auto directory = top.descend(machine);
    if (!directory) return;  // a file beside them
    auto names = list_names(*directory, "", kBlock);
    if (!names) {
      gap(Impact::lost, path, std::move(names).error());
      return;
    }
    for (const std::string& name : names->names) {
      const std::string at = path + "/" + name;
      if (!name.ends_with(".journal") && !name.ends_with(".journal~")) continue;
      const auto info = directory->stat_beneath(name);
      if (!info) gap(Impact::lost, at, info.error());
      if (!info || !info->is_regular()) continue;
      if (info->mtime < began_) continue;  // closed before the pod was made
      if (found.size() >= kMaxJournals) {
        gap(Impact::lost, at, {Errc::limit, "more than " + std::to_string(kMaxJournals) + " journal files"});
        return;
      }
      auto file = directory->open_beneath(name);
      if (!file) {
        gap(Impact::lost, at, std::move(file).error());
        continue;
      }
      found.push_back({at, *info, *std::move(file)});
    }
  }

  Status take_journal(Journal& journal) {
    const std::string member = in_.bulk_path("node/logs/" + bundle::member_name(journal.path.substr(1)));
    auto stream = in_.out.open(member, in_.bulk_encoding(), journal.path);
    if (!stream) return std::move(stream).error();
    FdSource source(std::move(journal.file), journal.path, in_.task);
    std::vector<std::byte> block(kBlock);
    for (std::uint64_t at = 0; at < journal.info.size_bytes;) {
      const auto wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, journal.info.size_bytes - at));
      auto got = source.read(std::span(block).first(wanted));
      if (got && *got == 0) got = Error{Errc::truncated, journal.path + ": became shorter"};
      const Status written =
          got ? (*stream)->write(std::span(block).first(*got)) : Status(std::move(got).error());
      if (!written) return in_.ended_early(**stream, "node.logs", member, written.error());
      at += *got;
    }
    return (*stream)->finish(bundle::Outcome::collected, "");
  }

  Collection& in_;
  const Root& root_;
  const source::NodeMounts& table_;
  const std::vector<std::string> names_;
  const Timestamp began_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

}  // namespace

Status take_node_logs(Collection& in) {
  const source::Node& node = in.snapshot.node();
  auto root = node.root();
  if (!root) return std::move(root).error().within("the node's root directory (needs CAP_SYS_PTRACE)");
  auto table = source::node_mounts(in.snapshot.node(), in.task);
  if (!table) return std::move(table).error();
  return TakeLogs(in, *root, *table).take();
}

}  // namespace ctriage::collect
