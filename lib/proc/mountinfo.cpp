// /proc/PID/mountinfo, proc_pid_mountinfo(5), fs/proc_namespace.c show_mountinfo:
//
//   line = id " " parent " " major ":" minor " " root " " mountpoint " " options { " " tag } " - " fstype " "
//   source " "
//          super_options
//
// Blank, tab, newline, backslash (and # on some kernels) are written as \ooo in root, mountpoint, fstype and
// source, so a blank always separates. Super options come from the file system, which may forget to escape:
// they are the rest of it.
#include <cerrno>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/detail.h"
#include "lib/proc/proc.h"

namespace ctriage::proc {
namespace {

Error bad(std::string_view what) { return {Errc::malformed, std::string("mountinfo: ").append(what)}; }

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// Up to the next blank, which is taken too; two blanks in a row enclose an empty source. Not there: ok turns
// false.
std::string_view take(std::string_view& rest, bool& ok) {
  const std::size_t blank = rest.find(' ');
  if (blank == std::string_view::npos) {
    ok = false;
    return {};
  }
  const std::string_view field = rest.substr(0, blank);
  rest.remove_prefix(blank + 1);
  return field;
}

}  // namespace

std::string unescape_octal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && text.size() - i > 3 && text[i + 1] <= '3' &&
                        is_octal(text[i + 1]) && is_octal(text[i + 2]) && is_octal(text[i + 3]);
    if (!escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

Result<Mount> parse_mountinfo_line(std::string_view line) {
  Mount mount;
  bool ok = true;
  std::string_view rest = line;
  const auto id = parse_number<std::uint32_t>(take(rest, ok));
  const auto parent = parse_number<std::uint32_t>(take(rest, ok));
  const std::string_view device = take(rest, ok);
  const std::string_view root = take(rest, ok);
  const std::string_view mountpoint = take(rest, ok);
  const std::string_view options = take(rest, ok);
  if (!ok) return Error{Errc::truncated, "mountinfo: ends before the options"};
  if (!id || !parent) return bad("no mount id");
  const std::size_t colon = device.find(':');
  if (colon == std::string_view::npos) return bad("no device");
  const auto major = parse_number<std::uint32_t>(device.substr(0, colon));
  const auto minor = parse_number<std::uint32_t>(device.substr(colon + 1));
  if (!major || !minor) return bad("no device");

  for (std::string_view tag = take(rest, ok); ok && tag != "-"; tag = take(rest, ok)) {
    mount.propagation.emplace_back(unescape_octal(tag));
  }
  const std::string_view fstype = take(rest, ok);
  const std::string_view source = take(rest, ok);
  if (!ok) return Error{Errc::truncated, "mountinfo: ends before the super options"};

  mount.id = *id;
  mount.parent_id = *parent;
  mount.device = device_id(*major, *minor);
  mount.root = Bytes(unescape_octal(root));
  mount.mountpoint = Bytes(unescape_octal(mountpoint));
  mount.options = Bytes(unescape_octal(options));
  mount.fstype = Bytes(unescape_octal(fstype));
  mount.source = Bytes(unescape_octal(source));
  mount.super_options = Bytes(std::string(rest));
  return mount;
}

namespace {

// Up to this much of one table; fs.mount-max allows 100,000 mounts with paths of a page each.
class MountTable {
 public:
  explicit MountTable(std::optional<std::uint32_t> wanted) : wanted_(wanted) {}

  void take(Mount&& mount) {
    const std::size_t cost = sizeof(Mount) + mount.root.raw.size() + mount.mountpoint.raw.size() +
                             mount.source.raw.size() + mount.super_options.raw.size();
    if (mounts_.size() < kMaxMounts && bytes_ + cost <= kMaxMountBytes) {
      bytes_ += cost;
      mounts_.push_back(std::move(mount));
    } else if (wanted_ && mount.id == *wanted_) {
      found_ = std::move(mount);
    } else {
      if (mount.mountpoint.raw == "/") {
        dropped_ += last_root_.has_value();
        last_root_ = std::move(mount);
      } else {
        ++dropped_;
      }
    }
  }
  std::vector<Mount> finish() && {
    if (found_) mounts_.push_back(*std::move(found_));
    if (last_root_) mounts_.push_back(*std::move(last_root_));
    return std::move(mounts_);
  }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  static constexpr std::size_t kMaxMounts = 16'384;
  static constexpr std::size_t kMaxMountBytes = 8 << 20;

  std::optional<std::uint32_t> wanted_;
  std::vector<Mount> mounts_;
  std::size_t bytes_ = 0;
  std::optional<Mount> found_;
  std::optional<Mount> last_root_;
  std::uint64_t dropped_ = 0;
};

// EINVAL: a process that ends has let go of its mounts, fs/proc_namespace.c mounts_open_common.
Error no_mounts(Error error, std::int32_t pid) {
  if (is_gone(error) || error.number == EINVAL) {
    return Error{Errc::vanished, origin_of(pid) + ": no such process", error.number};
  }
  return name_capability(std::move(error));
}

}  // namespace

Result<std::vector<Mount>> read_mounts(const Root& proc, std::int32_t pid, Task& task,
                                       std::optional<std::uint32_t> wanted) {
  auto process = proc.descend(live_path(proc, pid));
  if (!process) return no_mounts(std::move(process).error(), pid);
  return read_own_mounts(*process, pid, task, wanted);
}

Result<std::vector<Mount>> read_own_mounts(const Root& process, std::int32_t pid, Task& task,
                                           std::optional<std::uint32_t> wanted) {
  const std::string name = "mountinfo";
  const std::string origin = origin_of(pid) + "/mountinfo";
  auto file = process.open_in_root(name);
  if (!file) return no_mounts(std::move(file).error(), pid);
  FdSource source(*std::move(file), name, task);
  LineReader lines(source, kMaxLineBytes);
  MountTable table(wanted);
  std::uint64_t number = 0;
  for (;;) {
    std::string_view line;
    auto more = lines.next(line);
    if (!more) {
      if (auto going = task.check(); !going) return std::move(going).error();
      const bool skipped = more.error().code == Errc::limit;
      if (!skipped && number == 0) return no_mounts(std::move(more).error(), pid);
      task.gaps.add(gap_of("mounts", origin, std::move(more).error()));
      ++number;
      if (skipped) continue;
      break;
    }
    if (!*more) break;
    ++number;
    if (line.empty()) continue;
    auto mount = parse_mountinfo_line(line);
    if (!mount) {
      task.gaps.add(gap_of("mounts", origin + " line " + std::to_string(number), std::move(mount).error()));
      continue;
    }
    table.take(*std::move(mount));
  }
  if (table.dropped() > 0) {
    task.gaps.add(gap_of("mounts", origin,
                         {Errc::limit, std::to_string(table.dropped()) + " of " + std::to_string(number) +
                                           " mounts are not listed: the table is too large"}));
  }
  return std::move(table).finish();
}

}  // namespace ctriage::proc
