#include "lib/report/diff.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/text.h"
#include "lib/report/diff_internal.h"
#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kKindColumns = 12;
constexpr std::size_t kPathColumns = 40;

std::string owner(const FileState& state) { return fmt::format("{}:{}", state.uid, state.gid); }

bool differs(const FileChange& change, std::string_view what) {
  return std::ranges::find(change.differs, what) != change.differs.end();
}

std::string added_details(const FileState& state) {
  std::vector<std::string> parts;
  if ((state.mode & 04000U) != 0 && state.type == FileType::regular)
    parts.push_back("SETUID " + user_text(state.uid));
  if ((state.mode & 02000U) != 0 && state.type == FileType::regular)
    parts.push_back("SETGID " + std::to_string(state.gid));
  if (state.type != FileType::regular) parts.emplace_back(to_text(state.type));
  if (state.link_target) parts.push_back("-> " + safe(state.link_target->raw));
  if (state.type != FileType::symlink) parts.push_back("mode " + mode_text(state.mode));
  parts.push_back("owner " + owner(state));
  if (state.type == FileType::regular) parts.push_back(human_size(state.size_bytes));
  return join(parts, ", ");
}

std::string from_to(std::string_view what, const std::string& before, const std::string& after) {
  return fmt::format("{} {} -> {}", what, before, after);
}

std::string names_of(const std::vector<XattrRecord>& xattrs) {
  std::vector<std::string> names;
  for (const XattrRecord& xattr : xattrs) {
    if (names.size() == 8) {
      names.emplace_back("...");
      break;
    }
    names.push_back(safe(xattr.name.raw));
  }
  return names.empty() ? std::string("none") : join(names, ", ");
}

bool is_quiet(const FileChange& change) {
  return change.kind == ChangeKind::runtime_stub || change.kind == ChangeKind::unchanged;
}

// The path is never cut: where it leaves no room, the details take a line of their own.
std::string change_line(const FileChange& change, const Style& style) {
  const std::string kind = pad_right(std::string(to_text(change.kind)), kKindColumns) + ' ';
  const std::string path = safe(change.path.raw);
  const std::string details = change_details(change);
  if (details.empty()) return kind + path + '\n';
  const std::size_t indent = kKindColumns + 1;
  const std::size_t room = style.width == 0 ? SIZE_MAX : style.width;
  const std::size_t at = std::max(display_width(path), std::min(kPathColumns, room / 3)) + 2;
  if (indent + at + display_width(details) <= room) return kind + pad_right(path, at) + details + '\n';
  return kind + path + '\n' + std::string(indent + 2, ' ') + details + '\n';
}

}  // namespace

std::string change_details(const FileChange& change) {
  std::vector<std::string> parts;
  if (change.before && change.after) {
    const FileState& before = *change.before;
    const FileState& after = *change.after;
    if (before.type != after.type)
      parts.push_back(from_to("type", std::string(to_text(before.type)), std::string(to_text(after.type))));
    const bool becomes_setuid = (after.mode & ~before.mode & 04000U) != 0;
    if (becomes_setuid && after.type == FileType::regular) parts.push_back("SETUID " + user_text(after.uid));
    if (before.mode != after.mode)
      parts.push_back(from_to("mode", mode_text(before.mode), mode_text(after.mode)));
    if (owner(before) != owner(after)) parts.push_back(from_to("owner", owner(before), owner(after)));
    if (before.link_target != after.link_target && after.link_target) {
      parts.push_back("-> " + safe(after.link_target->raw));
    }
    if (differs(change, "content") ||
        (before.size_bytes != after.size_bytes && after.type == FileType::regular)) {
      parts.push_back(before.size_bytes == after.size_bytes
                          ? "same size, other bytes"
                          : from_to("size", with_commas(before.size_bytes), with_commas(after.size_bytes)));
    }
    if (differs(change, "xattrs")) parts.emplace_back("xattrs");
    if (differs(change, "mtime") && !differs(change, "content"))
      parts.push_back(from_to("mtime", date_seconds(before.mtime), date_seconds(after.mtime)));
  } else if (change.after) {
    parts.push_back(added_details(*change.after));
  } else if (change.before) {
    parts.push_back("was " + added_details(*change.before));
  }
  if (change.program && change.kind != ChangeKind::deleted) parts.emplace_back("program");
  if (change.renamed_from) parts.push_back("the image's " + safe(change.renamed_from->raw));
  if (change.hidden_by) parts.push_back("gone with " + safe(change.hidden_by->raw));
  if (change.hard_link_of) parts.push_back("same file as " + safe(change.hard_link_of->raw));
  if (change.layer && change.kind != ChangeKind::added)
    parts.push_back(fmt::format("from layer {}", *change.layer));
  if (change.explained) parts.push_back(safe(*change.explained));
  if (change.partial) parts.push_back("PARTLY TAKEN: " + safe(*change.partial));
  return join(parts, ", ");
}

std::string change_block(const FileChange& change) {
  constexpr std::size_t kLabel = 12;
  constexpr std::size_t kSide = 40;
  std::string out = "   " + safe(change.path.raw) + "   " + std::string(to_text(change.kind)) + '\n';
  const auto row = [&](std::string_view label, const auto& text) {
    const std::string before = change.before ? text(*change.before) : std::string("-");
    const std::string after = change.after ? text(*change.after) : std::string("-");
    if (before == "-" && after == "-") return;
    std::string line = "   " + pad_right(std::string(label), kLabel) + ' ';
    if (std::max(display_width(before), display_width(after)) >
        kSide) {  // digests and targets: one below the other
      out += line + before + '\n' + std::string(kLabel + 1, ' ') +
             (before == after ? "   same\n" : "-> " + after + '\n');
      return;
    }
    line += pad_right(before, kSide) + ' ' + after;
    out += line + (before != after && change.before && change.after ? "  *" : "") + '\n';
  };
  const auto optional_time = [](const std::optional<Timestamp>& at) {
    return at ? to_rfc3339(*at) : std::string("-");
  };
  out += "   " + pad_right("", kLabel) + ' ' +
         pad_right(change.layer ? fmt::format("BEFORE (layer {})", *change.layer) : "BEFORE", kSide) +
         " AFTER\n";
  if (change.layer_digest) {
    out += "   " + pad_right("layer", kLabel) + ' ' + safe(*change.layer_digest) +
           (change.layer_made_by ? "  " + safe(change.layer_made_by->raw) : "") + '\n';
  }
  row("type", [](const FileState& s) { return std::string(to_text(s.type)); });
  row("mode", [](const FileState& s) { return mode_text(s.mode); });
  row("owner", [](const FileState& s) { return owner(s); });
  row("size", [](const FileState& s) { return with_commas(s.size_bytes) + " B"; });
  row("links", [](const FileState& s) { return std::to_string(s.nlink); });
  row("mtime", [](const FileState& s) { return to_rfc3339(s.mtime); });
  row("ctime", [](const FileState& s) { return to_rfc3339(s.ctime); });
  row("atime", [](const FileState& s) { return to_rfc3339(s.atime); });
  row("btime", [&](const FileState& s) { return optional_time(s.btime); });
  row("target",
      [](const FileState& s) { return s.link_target ? safe(s.link_target->raw) : std::string("-"); });
  row("sha256", [](const FileState& s) { return s.sha256 ? safe(*s.sha256) : std::string("-"); });
  row("xattrs", [](const FileState& s) { return names_of(s.xattrs); });
  if (const std::string details = change_details(change); !details.empty()) out += "   " + details + '\n';
  return out;
}

Status has_changes(const Snapshot& snapshot) {
  const Coverage coverage = snapshot.covers(Facet::changes);
  if (coverage.level != Coverage::Level::none) return Done{};
  return Error{Errc::unsupported, "file changes are not in this source" +
                                      (coverage.why.empty() ? std::string() : ": " + coverage.why)};
}

Result<Outcome> diff_text(Snapshot& snapshot, const DiffOptions& options, const Style& style, const Out& out,
                          Task& task) {
  if (auto known = has_changes(snapshot); !known) return std::move(known).error();
  ChangeTally shown;
  ChangeTally all;
  auto listed = snapshot.list_containers(
      [&](Container&& container) -> Status {
        if (auto done =
                out(labelled("container", safe(container_name(container)) + "  " + short_id(container.id) +
                                              "  " + safe(container.image.raw)));
            !done)
          return done;
        return snapshot.list_changes(
            container.id,
            [&](FileChange&& change) -> Status {
              all.add(change.kind);
              if (is_quiet(change) && !options.all) return Done{};
              shown.add(change.kind);
              return out(change_line(change, style));
            },
            task);
      },
      task);
  if (!listed) return std::move(listed).error();

  // total = each kind shown + what is not shown
  std::string text = "-- " + all.text();
  if (all.total() != shown.total()) {
    std::vector<std::string> hidden;
    const auto stubs = all.of(ChangeKind::runtime_stub);
    if (stubs > 0) hidden.push_back(counted(stubs, "runtime stub", "runtime stubs"));
    const auto same = all.of(ChangeKind::unchanged);
    if (same > 0) hidden.push_back(with_commas(same) + " unchanged");
    const std::string kinds = shown.kinds();
    text = "-- " + counted(all.total(), "change", "changes") + ": " + kinds + (kinds.empty() ? "" : "; ") +
           join(hidden, " and ") + " not shown: --all";
  }
  text += '\n';
  const Coverage coverage = snapshot.covers(Facet::changes);
  if (coverage.level == Coverage::Level::part) {
    text +=
        "-- only partly known" + (coverage.why.empty() ? std::string() : ": " + safe(coverage.why)) + '\n';
  }
  auto findings = judge(snapshot, options.judge, task);
  if (!findings) return std::move(findings).error();
  if (options.judge) text += "-- findings: " + findings->text() + '\n';
  auto gaps = gaps_of(snapshot, task);
  if (!gaps) return std::move(gaps).error();
  text += "-- gaps: " + gaps->text() + '\n' + gap_lines(*gaps, options.every_gap, style);
  if (auto done = out(text); !done) return std::move(done).error();
  return Outcome{findings->worst(), gaps->count(Impact::lost)};
}

}  // namespace ctriage::report
