#include "lib/proc/facets.h"

#include <algorithm>
#include <cerrno>
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
  if (!text && text.error().number != ENAMETOOLONG) return std::move(text).error();
  into.path = text ? Bytes(*std::move(text)) : Bytes();

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

Result<std::string> Facets::read_own(std::string_view name) {
  return proc_.read_file_in_root(under(path_, name), kMaxProcTextBytes);
}

void Facets::read_credentials(Process& into) {
  auto text = read_text(proc_, stat_.pid, "status");
  if (!text) return lose("status", std::move(text).error());
  auto parsed = parse_status(*text, into);
  if (!parsed) return lose("status", std::move(parsed).error());
  if (path_ == std::to_string(stat_.pid)) return;
  // Credentials are a thread's own, and those of one that ended do nothing any more; nor has it memory.
  const std::int32_t container_pid = into.container_pid;
  auto living = read_own("status");
  auto replaced = living ? parse_status(*living, into) : Status(std::move(living).error());
  into.container_pid = container_pid;
  if (!replaced) lose("status", std::move(replaced).error());
}

void Facets::read_executable(Process& into) {
  if (!has_memory()) return;  // kernel threads and zombies run no program
  auto process = proc_.descend(path_);
  auto seen = process ? look_at_program(*process, into.exe) : Result<UniqueFd>(process.error());
  if (!seen) return lose("exe", std::move(seen).error());
  has_program_ = true;
}

// readlink(2) of /proc/PID/exe has room for a page, and directories can be nested deeper; maps has no such
// limit.
Status Facets::find_long_path(Process& into) {
  if (!has_program_ || !into.exe.path.empty()) return Done{};
  auto source = readers_.open(under(path_, "maps"), task_);
  if (source) {
    LineReader lines(**source, kMaxLineBytes);
    std::string_view line;
    for (auto more = lines.next(line); into.exe.path.empty(); more = lines.next(line)) {
      if (!more && more.error().code == Errc::limit) continue;
      if (!more || !*more) break;
      auto mapping = parse_maps_line(line);
      if (mapping && mapping->inode == into.exe.inode && mapping->path.view().starts_with('/')) {
        into.exe.path = std::move(mapping->path);
      }
    }
  }
  if (auto going = task_.check(); !going) return going;
  if (into.exe.path.empty()) {
    gaps_.push_back(gap_of("exe", origin_of(stat_.pid),
                           {Errc::limit, "its path is longer than a page, and no mapping shows it"},
                           Impact::degraded));
  }
  if (into.exe.deleted) into.exe.path = Bytes(std::string(without_deleted(into.exe.path.raw)));
  return Done{};
}

// A link of /proc whose path does not fit into a page is no less there.
void Facets::read_link(std::string_view name, Bytes& into) {
  auto text = proc_.read_link_beneath(under(path_, name));
  if (text) {
    into = Bytes(*std::move(text));
  } else if (text.error().number == ENAMETOOLONG) {
    gaps_.push_back(gap_of(name, origin_of(stat_.pid),
                           {Errc::limit, std::string(name) + ": its path is longer than a page"},
                           Impact::degraded));
  } else {
    lose(name, std::move(text).error());
  }
}

void Facets::check_executable(const Process& process) {
  if (!has_program_) return;
  const std::string name = under(path_, "exe");
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
  read_link("cwd", into.cwd);
  read_link("root", into.root);
}

void Facets::read_small(Process& into) {
  auto cgroup = read_own("cgroup");
  if (cgroup) {
    each_whole_line(*cgroup, [&](std::string_view line) { into.cgroups.emplace_back(std::string(line)); });
  } else if (!is_gone(cgroup.error())) {
    lose("cgroup", std::move(cgroup).error());
  }
  if (stat_.has_ended()) return;
  auto limits = read_own("limits");
  if (limits) {
    into.limits = parse_limits(*limits);
  } else {
    lose("limits", std::move(limits).error());
  }
  // Not there where the kernel is built without CONFIG_CHECKPOINT_RESTORE.
  auto timers = read_own("timers");
  if (timers) {
    into.timers = parse_timers(*timers);
  } else if (!is_gone(timers.error())) {
    lose("timers", std::move(timers).error());
  }
  auto score = read_own("oom_score_adj");
  const auto adjusted = score ? parse_number<std::int32_t>(trim(*score)) : std::nullopt;
  if (adjusted) {
    into.oom_score_adj = *adjusted;
  } else {
    lose("oom_score_adj",
         score ? Error{Errc::malformed, "oom_score_adj: no number"} : std::move(score).error());
  }
  // Not there without audit; 2^32-1 until pam_loginuid(8) or an attacker sets it.
  auto login = read_own("loginuid");
  if (login) {
    const auto uid = parse_number<std::uint32_t>(trim(*login));
    if (uid && *uid != UINT32_MAX) into.login_uid = *uid;
  } else if (!is_gone(login.error())) {
    lose("loginuid", std::move(login).error());
  }
  // EINVAL: no security module that labels processes.
  auto label = read_own("attr/current");
  if (label) {
    into.lsm_label = Bytes(std::string(without_line_end(*label)));
  } else if (!is_gone(label.error()) && label.error().number != EINVAL &&
             label.error().number != EOPNOTSUPP) {
    lose("lsm_label", std::move(label).error());
  }
}

void Facets::read_namespaces(Process& into) {
  if (stat_.has_ended()) return;
  auto directory = proc_.descend(under(path_, "ns"));
  if (!directory) return lose("namespaces", std::move(directory).error());
  auto types = list_names(*directory, "");
  if (!types) return lose("namespaces", std::move(types).error());
  std::size_t missing = 0;
  std::optional<Error> first;
  for (const std::string& type : types->names) {
    auto inode = read_namespace_at(proc_, path_, type);
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
Status Facets::read_vector(std::string_view name, std::string_view facet, std::vector<Bytes>& into,
                           std::optional<std::uint64_t>& whole) {
  std::string text;
  std::optional<Error> error;
  bool over = false;
  auto source = readers_.open(under(path_, name), task_);
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

  const bool many = !split_strings(text, into);
  if (error) {
    lose(facet, *std::move(error));
  } else if (over || many) {
    const std::string what = over ? "more than " + std::to_string(kMaxCmdlineBytes) + " bytes"
                                  : "more than " + std::to_string(kMaxArguments) + " strings";
    gaps_.push_back(gap_of(facet, origin_of(stat_.pid),
                           {Errc::limit, std::string(name) + ": " + what + "; the first are kept"},
                           Impact::degraded));
  } else {
    whole = text.size();
  }
  return Done{};
}

// Pages that their owner fills on demand (userfaultfd(2)) or took away read as the end of the file.
void Facets::check_strings(const Stat& now) {
  const auto check = [&](std::string_view facet, std::uint64_t start, std::uint64_t end,
                         const std::optional<std::uint64_t>& got, bool may_be_title) {
    if (!got || end <= start || *got >= end - start) return;
    // setproctitle(3) over the arguments: the kernel then gives one string and stops behind it, proc(5). What
    // a missing page cuts ends with that page.
    constexpr std::uint64_t kPage = 4096;
    if (may_be_title && *got > 0 && (start + *got) % kPage != 0) return;
    lose(facet, {Errc::truncated, std::string(facet) + ": " + std::to_string(*got) + " of " +
                                      std::to_string(end - start) +
                                      " bytes; the process keeps the rest of its memory from being read"});
  };
  if (now.arg_start == stat_.arg_start && now.arg_end == stat_.arg_end) {
    check("cmdline", now.arg_start, now.arg_end, got_arguments_, true);
  }
  if (now.env_start == stat_.env_start && now.env_end == stat_.env_end) {
    check("environ", now.env_start, now.env_end, got_variables_, false);
  }
}

Status Facets::read_strings(Process& into) {
  if (!has_memory()) return Done{};
  auto arguments = read_vector("cmdline", "cmdline", into.argv, got_arguments_);
  if (!arguments) return arguments;
  return read_vector("environ", "environ", into.environ, got_variables_);
}

void Facets::finish(const Stat& now) {
  if (!now.has_ended()) check_strings(now);
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
