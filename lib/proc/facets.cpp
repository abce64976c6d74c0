#include "lib/proc/facets.h"

#include <algorithm>
#include <span>
#include <utility>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"

namespace ctriage::proc {
namespace {

std::string_view without_line_end(std::string_view text) {  // SELinux ends its context with a NUL
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.remove_suffix(1);
  return text;
}

}  // namespace

// The link's text is "path", or "path (deleted)" when the name that was run leads there no more. With links
// left it may also be a name that ends so by itself: looking that up could hang in a FUSE of the attacker's,
// so it stays as the kernel gave it.
Result<UniqueFd> look_at_program(const Root& process, Executable& into) {
  constexpr std::string_view kName = "exe";
  auto text = process.read_link_beneath(kName);
  if (!text) return std::move(text).error();
  into.path = Bytes(*std::move(text));

  auto pinned = process.pin_magic(kName);
  if (!pinned) return pinned;
  auto info = file_info(pinned->get(), kName);
  if (!info) return std::move(info).error();
  into.device = Hex{info->device()};
  into.inode = Hex{info->inode};
  into.mode = info->mode & 07777U;
  into.uid = info->uid;
  into.size_bytes = info->size_bytes;
  into.mtime = info->mtime;
  into.btime = info->btime;
  into.deleted = info->nlink == 0;
  if (into.deleted) into.path = Bytes(std::string(without_deleted(into.path.raw)));
  return pinned;
}

void Facets::lose(std::string_view facet, Error error) {
  gaps_.push_back(gap_of(facet, origin_of(stat_.pid), std::move(error)));
}

void Facets::read_credentials(Process& into) {
  auto text = read_text(proc_, stat_.pid, "status");
  if (!text) return lose("status", std::move(text).error());
  auto parsed = parse_status(*text, into);
  if (!parsed) lose("status", std::move(parsed).error());
}

void Facets::read_executable(Process& into) {
  if (!has_memory()) return;  // kernel threads and zombies run no program
  auto process = proc_.descend(std::to_string(stat_.pid));
  auto seen = process ? look_at_program(*process, into.exe) : Result<UniqueFd>(process.error());
  if (!seen) return lose("exe", std::move(seen).error());
  looked_at_ = true;
}

void Facets::check_executable(const Process& process) {
  if (!looked_at_) return;
  const std::string name = under(process.pid, "exe");
  auto pinned = proc_.pin_magic(name);
  if (!pinned) return;  // it ended: the caller sees that
  auto info = file_info(pinned->get(), name);
  if (!info || (Hex{info->device()} == process.exe.device && Hex{info->inode} == process.exe.inode)) {
    return;
  }
  gaps_.push_back(
      gap_of("exe", origin_of(process.pid),
             {Errc::changed, "started another program while it was read; facts of both may be mixed"},
             Impact::degraded));
}

void Facets::read_links(Process& into) {
  if (stat_.has_ended()) return;
  auto cwd = proc_.read_link_beneath(under(stat_.pid, "cwd"));
  if (cwd) {
    into.cwd = Bytes(*std::move(cwd));
  } else {
    lose("cwd", std::move(cwd).error());
  }
  auto root = proc_.read_link_beneath(under(stat_.pid, "root"));
  if (root) {
    into.root = Bytes(*std::move(root));
  } else {
    lose("root", std::move(root).error());
  }
}

void Facets::read_small(Process& into) {
  auto cgroup = read_text(proc_, stat_.pid, "cgroup");
  if (cgroup) {
    each_whole_line(*cgroup, [&](std::string_view line) { into.cgroups.emplace_back(std::string(line)); });
  } else if (!is_gone(cgroup.error())) {
    lose("cgroup", std::move(cgroup).error());
  }
  auto limits = read_text(proc_, stat_.pid, "limits");
  if (limits) {
    into.limits = parse_limits(*limits);
  } else {
    lose("limits", std::move(limits).error());
  }
  auto score = read_text(proc_, stat_.pid, "oom_score_adj");
  const auto adjusted = score ? parse_number<std::int32_t>(trim(*score)) : std::nullopt;
  if (adjusted) {
    into.oom_score_adj = *adjusted;
  } else {
    lose("oom_score_adj",
         score ? Error{Errc::malformed, "oom_score_adj: no number"} : std::move(score).error());
  }
  // Not there without audit; 2^32-1 until pam_loginuid(8) or an attacker sets it.
  auto login = read_text(proc_, stat_.pid, "loginuid");
  if (login) {
    const auto uid = parse_number<std::uint32_t>(trim(*login));
    if (uid && *uid != UINT32_MAX) into.login_uid = *uid;
  } else if (!is_gone(login.error())) {
    lose("loginuid", std::move(login).error());
  }
  // EINVAL: no security module that labels processes.
  auto label = read_text(proc_, stat_.pid, "attr/current");
  if (label) {
    into.lsm_label = Bytes(std::string(without_line_end(*label)));
  } else if (!is_gone(label.error()) && label.error().number != EINVAL &&
             label.error().number != EOPNOTSUPP) {
    lose("lsm_label", std::move(label).error());
  }
}

void Facets::read_namespaces(Process& into) {
  if (stat_.has_ended()) return;
  auto directory = proc_.descend(under(stat_.pid, "ns"));
  if (!directory) return lose("namespaces", std::move(directory).error());
  auto types = list_names(*directory, "");
  if (!types) return lose("namespaces", std::move(types).error());
  std::size_t missing = 0;
  std::optional<Error> first;
  for (const std::string& type : types->names) {
    auto inode = read_namespace(proc_, stat_.pid, type);
    if (inode) {
      into.namespaces.push_back({type, *inode});
      continue;
    }
    // pid_for_children is empty between unshare(2) and the first fork(2).
    if (type == "pid_for_children" && is_gone(inode.error())) continue;
    ++missing;
    if (!first) first = std::move(inode).error();
  }
  if (first) lose("namespaces", std::move(*first).within(std::to_string(missing) + " of them"));
}

// NUL-terminated strings, proc_pid_cmdline(5): memory of the process, which may have been overwritten with
// anything.
Status Facets::read_vector(std::string_view name, std::string_view facet, std::vector<Bytes>& into) {
  std::string text;
  std::optional<Error> error;
  bool over = false;
  auto source = readers_.open(under(stat_.pid, name), task_);
  if (!source) {
    error = std::move(source).error();
  } else {
    std::string block(64 << 10, '\0');
    for (;;) {
      auto got = (*source)->read(std::as_writable_bytes(std::span(block)));
      if (!got) {
        error = std::move(got).error();
        break;
      }
      if (*got == 0) break;
      const std::size_t room = kMaxCmdlineBytes - text.size();
      over = *got > room;
      text.append(block, 0, std::min(*got, room));
      if (over) break;
    }
  }
  if (auto going = task_.check(); !going) return going;  // else a timeout is this process's own

  std::string_view rest = text;
  while (!rest.empty() && into.size() < kMaxArguments) {
    const std::size_t end = rest.find('\0');
    into.emplace_back(std::string(rest.substr(0, end)));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  const bool many = !rest.empty();
  if (error) {
    lose(facet, *std::move(error));
  } else if (over || many) {
    const std::string what = over ? "more than " + std::to_string(kMaxCmdlineBytes) + " bytes"
                                  : "more than " + std::to_string(kMaxArguments) + " strings";
    gaps_.push_back(gap_of(facet, origin_of(stat_.pid),
                           {Errc::limit, std::string(name) + ": " + what + "; the first are kept"},
                           Impact::degraded));
  }
  return Done{};
}

Status Facets::read_strings(Process& into) {
  if (!has_memory()) return Done{};
  auto arguments = read_vector("cmdline", "cmdline", into.argv);
  if (!arguments) return arguments;
  return read_vector("environ", "environ", into.environ);
}

void Facets::finish(const Stat& now) {
  bool told = false;
  for (Gap& gap : gaps_) {
    // Became a zombie meanwhile: one gap for all that went with it. Links of one that ends can answer EACCES.
    if (now.has_ended() && !stat_.has_ended() && (is_gone(gap.error) || gap.error.code == Errc::denied)) {
      if (!std::exchange(told, true)) {
        task_.gaps.add({Impact::lost,
                        "proc.process",
                        gap.origin,
                        {Errc::vanished, "ended while it was read; its program and memory are gone"}});
      }
      continue;
    }
    task_.gaps.add(gap);
  }
  gaps_.clear();
}

}  // namespace ctriage::proc
