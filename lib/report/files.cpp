#include "lib/report/files.h"

#include <algorithm>

#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string type_letter(FileType type) {
  switch (type) {
    case FileType::directory:
      return "d";
    case FileType::symlink:
      return "l";
    case FileType::character:
      return "c";
    case FileType::block:
      return "b";
    case FileType::fifo:
      return "p";
    case FileType::socket:
      return "s";
    default:
      return "-";
  }
}

std::string gone_text(const std::string& gone) {
  if (gone == "whiteout") return "deleted: the image's file";
  if (gone == "opaque") return "opaque: what the image had below is hidden";
  if (gone == "unlinked") return "deleted while it was open";
  return safe(gone);
}

// No source but a live one has all of a directory.
bool has_all(const GapLog& gaps) {
  return std::ranges::none_of(gaps.kept(), [](const Gap& gap) {
    return gap.artifact == "container.files" || gap.artifact == "checkpoint.files";
  });
}

}  // namespace

Result<Outcome> ls_text(Snapshot& snapshot, const FileKey& key, bool every_gap, const Style& style,
                        const Out& out, Task& task) {
  const std::vector<Column> columns{{"MODE", 6},        {"OWNER", 11},
                                    {"SIZE", 6, true},  {"CONTENT CHANGED (UTC)", 21},
                                    {"LAYER", 5, true}, {"NAME", 0, false, true}};
  bool begun = false;
  const Emit<FileEntry> row = [&](FileEntry&& entry) -> Status {
    if (!std::exchange(begun, true)) {
      if (auto written = out(table_head(columns)); !written) return written;
    }
    const FileState& file = entry.file;
    std::string name = safe(entry.path.raw);
    if (file.link_target) name += " -> " + safe(file.link_target->raw);
    if (entry.gone) name += "   (" + gone_text(*entry.gone) + ")";
    if (entry.partial) name += "   (not all of it: " + safe(*entry.partial) + ")";
    std::vector<std::string> cells{type_letter(file.type) + mode_text(file.mode),
                                   std::to_string(file.uid) + ":" + std::to_string(file.gid),
                                   column_size(file.size_bytes),
                                   date_seconds(file.mtime),
                                   entry.layer ? std::to_string(*entry.layer) : "-",
                                   name};
    // Of a whiteout, and of a directory that only names below it tell of, nothing is recorded.
    if (entry.stored_in && file.mode == 0 && file.mtime == Timestamp{})
      cells = {entry.gone ? "-" : type_letter(file.type), "-", "-", "-", "-", name};
    return out(table_row(columns, cells, style));
  };
  auto listed = snapshot.list_files(key, row, task);
  if (!listed) return std::move(listed).error();
  if (!begun) {
    if (auto written =
            out(has_all(task.gaps) ? "an empty directory\n" : "nothing in it that this source has\n");
        !written)
      return std::move(written).error();
  }
  GapTally gaps;
  gaps.add(task.gaps);
  if (gaps.total() > 0) {
    if (auto written = out(gaps_block(gaps, every_gap, style)); !written) return std::move(written).error();
  }
  return Outcome{{}, task.gaps.count(Impact::lost)};
}

Result<Outcome> ls_json(Snapshot& snapshot, const FileKey& key, Format format, const Out& out, Task& task) {
  Document document(format, out);
  document.begin("ctriage.ls/1");
  auto done = document.many<FileEntry>("files", [&](const auto& take) {
    const Emit<FileEntry> each = [&](FileEntry&& entry) { return take(entry); };
    return snapshot.list_files(key, each, task);
  });
  if (done) {
    done = document.many<GapRecord>("gaps", [&](const auto& take) -> Status {
      for (const GapRecord& gap : records_of(task.gaps.kept(), task.now())) {
        if (auto taken = take(gap); !taken) return taken;
      }
      return Done{};
    });
  }
  if (done) done = document.end();
  if (!done) return std::move(done).error();
  return Outcome{{}, task.gaps.count(Impact::lost)};
}

}  // namespace ctriage::report
