#include "lib/report/search.h"

#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kShownBytes = 200;  // of a match; JSON has all
constexpr std::size_t kShownBefore = 16;
constexpr std::size_t kFlushBytes = 4 << 10;  // somebody is waiting for them

template <class T>
std::string pid_cell(const T& found) {
  return found.pid ? std::to_string(*found.pid) : "-";
}

template <class T>
std::string address_cell(const T& found) {
  if (found.address) return JsonWriter::hex_text(*found.address);
  return "+" + JsonWriter::hex_text(Hex{found.offset_bytes.value_or(0)});
}

template <class T>
std::string place_cell(const T& found) {
  std::string place = found.protection;
  if (found.kind != AreaKind::memory) place = std::string(to_text(found.kind));
  if (!found.path.empty()) place += (place.empty() ? "" : " ") + safe(found.path.raw);
  return place;
}

// A pid alone does not say which process it is where each container has one of that number.
void with_container(std::vector<Column>& columns, const SearchOptions& options) {
  if (options.containers.size() > 1) columns.insert(columns.begin(), {"CONTAINER", 12});
}
void with_container(std::vector<std::string>& cells, const std::string& id, const SearchOptions& options) {
  if (options.containers.size() <= 1) return;
  const auto known = options.containers.find(id);
  cells.insert(cells.begin(), known == options.containers.end() ? "-" : safe(known->second));
}

std::string match_cell(const MemoryMatch& match) {
  const std::string& before = match.before.raw;
  std::string text = safe(before.substr(before.size() - std::min(before.size(), kShownBefore)));
  text += "[" + safe(match.bytes.raw.substr(0, kShownBytes)) +
          (match.bytes.raw.size() > kShownBytes ? "...]" : "]");
  return text + safe(match.after.raw);
}

std::string searched_text(const SearchSummary& summary) {
  std::string text =
      human_size(summary.searched_bytes) + " of " + counted(summary.processes, "process", "processes");
  if (summary.objects > 0) text += " and " + counted(summary.objects, "object", "objects");
  return text;
}

std::string end_text(const SearchEnd& end, std::string_view one, std::string_view many,
                     const SearchOptions& options) {
  const SearchSummary& summary = end.summary;
  std::string out = "-- ";
  if (summary.matches > 0) {
    out += counted(summary.matches, one, many) + " in " + searched_text(summary);
    if (!summary.complete) out += ": NOT all of it could be read, see the gaps";
  } else if (summary.complete) {
    out += "no " + std::string(one) + " in " + searched_text(summary);
  } else {
    out += "no " + std::string(one) + " in what could be read, " + searched_text(summary) +
           ": that is NOT all, see the gaps";
  }
  out += ", " + seconds_text(summary.took_ns, 2) + "\n";
  if (options.many_patterns) {
    constexpr std::size_t kFew = 20;
    for (std::size_t i = 0; i < summary.counts.size() && i < kFew; ++i)
      out += pad_left(with_commas(summary.counts[i].matches), 12) + "  " +
             safe(summary.counts[i].pattern.raw) + "\n";
    if (summary.counts.size() > kFew)
      out += "              and " + counted(summary.counts.size() - kFew, "pattern", "patterns") + " more\n";
  }
  GapTally gaps;
  for (const GapRecord& gap : end.gaps) gaps.add(gap);
  if (gaps.total() > 0) out += gaps_block(gaps, options.every_gap, options.style);
  return out;
}

template <class T>
Status as_json(const std::function<Status(const Emit<T>&)>& run, const std::function<SearchEnd()>& end,
               std::string_view schema, std::string_view list, Format format, const Out& out) {
  Document document(format, out);
  document.begin(schema);
  auto done = document.many<T>(
      list, [&](const auto& take) { return run([&](T&& found) -> Status { return take(found); }); });
  if (!done) return done;
  const SearchEnd ended = end();
  if (format != Format::jsonl) {
    if (auto written = document.one("summary", ended.summary); !written) return written;
  }
  done = document.many<GapRecord>("gaps", [&](const auto& take) -> Status {
    for (const GapRecord& gap : ended.gaps) {
      if (auto taken = take(gap); !taken) return taken;
    }
    return Done{};
  });
  if (!done) return done;
  if (format == Format::jsonl) {
    if (auto written = document.one("summary", ended.summary); !written) return written;
  }
  return document.end();
}

// Rows, a block at a time; the head before the first.
class Rows {
 public:
  Rows(std::vector<Column> columns, const Style& style, const Out& out)
      : columns_(std::move(columns)), style_(style), out_(out) {}
  Status add(const std::vector<std::string>& cells) {
    if (!begun_) block_ += table_head(columns_);
    begun_ = true;
    block_ += table_row(columns_, cells, style_);
    return block_.size() < kFlushBytes ? Status(Done{}) : flush();
  }
  Status end(const std::string& text) {
    block_ += text;
    return flush();
  }

 private:
  Status flush() {
    auto written = out_(block_);
    block_.clear();
    return written;
  }
  std::vector<Column> columns_;
  const Style& style_;
  const Out& out_;
  std::string block_;
  bool begun_ = false;
};

}  // namespace

Status search_report(const std::function<Status(const Emit<MemoryMatch>&)>& run,
                     const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out) {
  if (options.format != Format::text)
    return as_json<MemoryMatch>(run, end, "ctriage.search/1", "matches", options.format, out);
  std::vector<Column> columns{{"PID", 7, true}, {"ADDRESS", 14}, {"IN", 24}};
  with_container(columns, options);
  if (options.many_patterns) columns.push_back({"PATTERN", 16});
  columns.push_back({"[MATCH]", 0, false, true});
  Rows rows(columns, options.style, out);
  auto done = run([&](MemoryMatch&& match) {
    std::vector<std::string> cells{pid_cell(match), address_cell(match), place_cell(match)};
    with_container(cells, match.container, options);
    if (options.many_patterns) cells.push_back(safe(match.pattern.raw));
    cells.push_back(match_cell(match));
    return rows.add(cells);
  });
  if (!done) return done;
  return rows.end(end_text(end(), "match", "matches", options));
}

Status strings_report(const std::function<Status(const Emit<FoundString>&)>& run,
                      const std::function<SearchEnd()>& end, const SearchOptions& options, const Out& out) {
  if (options.format != Format::text)
    return as_json<FoundString>(run, end, "ctriage.strings/1", "strings", options.format, out);
  std::vector<Column> columns{{"PID", 7, true}, {"ADDRESS", 14}, {"ENCODED", 7}, {"STRING", 0, false, true}};
  with_container(columns, options);
  Rows rows(columns, options.style, out);
  auto done = run([&](FoundString&& found) {
    std::vector<std::string> cells{pid_cell(found), address_cell(found), std::string(to_text(found.encoding)),
                                   safe(found.text)};
    with_container(cells, found.container, options);
    return rows.add(cells);
  });
  if (!done) return done;
  return rows.end(end_text(end(), "string", "strings", options));
}

}  // namespace ctriage::report
