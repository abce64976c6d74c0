#include "lib/report/archives.h"

#include <algorithm>
#include <set>

#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

std::string name_of(const ListedArchive& archive) {
  std::string name;
  if (archive.pod) name = safe(archive.pod_namespace.value_or("")) + "/" + safe(*archive.pod) + "/";
  name += safe(archive.container.empty() ? short_id(archive.container_id) : archive.container.raw);
  return name.empty() ? "-" : name;
}

}  // namespace

std::string archives_text(const ArchiveList& list, bool every_gap, const Style& style) {
  GapTally gaps;
  for (const GapRecord& gap : list.gaps) gaps.add(gap);
  std::set<std::string> paths;
  std::size_t bundles = 0;
  std::size_t damaged = 0;
  constexpr std::size_t kMaxNameColumns = 60;
  std::size_t width = 23;
  for (const ListedArchive& archive : list.archives) {
    if (paths.insert(archive.path.raw).second && archive.kind == ArchiveKind::bundle) ++bundles;
    if (archive.error) ++damaged;
    width = std::max(width, std::min(kMaxNameColumns, display_width(name_of(archive))));
  }
  std::string out;
  const std::vector<Column> columns{{"", 1},           {"NAMESPACE/POD/CONTAINER", width},
                                    {"ENGINE", 10},    {"TAKEN (UTC)", 21},
                                    {"SIZE", 6, true}, {"PATH", 0, false, true}};
  if (!list.archives.empty()) out += table_head(columns);
  for (const ListedArchive& archive : list.archives) {
    out += table_row(
        columns,
        {archive.error ? "!" : "", name_of(archive), archive.engine.empty() ? "-" : safe(archive.engine),
         archive.taken_at ? date_seconds(*archive.taken_at) : "-", column_size(archive.size_bytes),
         safe(archive.path.raw)},
        style);
    if (archive.error) out += "    " + safe(archive.error->raw) + "\n";
  }
  out += list.archives.empty() ? "no checkpoints and no bundles"
                               : counted(paths.size() - bundles, "checkpoint", "checkpoints") + ", " +
                                     counted(bundles, "bundle", "bundles");
  if (damaged > 0) out += ", " + counted(damaged, "line with an error (!)", "lines with an error (!)");
  out += " in " + counted(list.files, "file", "files") + " and " +
         counted(list.directories, "directory", "directories") + "\n";
  out += gaps_block(gaps, every_gap, style);
  const auto first =
      std::ranges::find_if(list.archives, [](const ListedArchive& each) { return !each.error; });
  if (first == list.archives.end()) return out;
  return out + next_lines("next", {{"ctriage show " + shell_word(first->path.raw), "what was seen"}}, style);
}

Status archives_json(const ArchiveList& list, Format format, const Out& out) {
  if (format == Format::json) return out(document(list));
  Document lines(format, out);
  const auto each = [](const auto& items) {
    return [&items](const auto& take) -> Status {
      for (const auto& item : items) {
        if (auto taken = take(item); !taken) return taken;
      }
      return Done{};
    };
  };
  if (auto done = lines.many<ListedArchive>("archives", each(list.archives)); !done) return done;
  return lines.many<GapRecord>("gaps", each(list.gaps));
}

}  // namespace ctriage::report
