#include "lib/report/list.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lib/core/text.h"
#include "lib/model/json.h"
#include "lib/model/kinds.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kManyRows = 24;     // up to here all rows are shown
constexpr std::size_t kMaxPlainRows = 8;  // of many: that many with nothing to remark
constexpr std::size_t kMaxNameColumns = 60;

std::string mark_text(Mark mark) {
  constexpr std::array<std::string_view, 5> kTexts{"", "!", "!!", "?", "*"};
  return std::string(kTexts[static_cast<std::size_t>(mark)]);
}

bool is_foreign(Origin origin) { return origin != Origin::image && origin != Origin::unknown; }

// Where something runs that the image does not have, "image" would only hide it.
std::string runs_text(const ListRow& row) {
  std::vector<std::string> parts;
  const bool foreign = std::ranges::any_of(row.runs, is_foreign);
  for (const Origin origin : row.runs) {
    if (foreign && !is_foreign(origin)) continue;
    parts.push_back(origin == Origin::unknown ? "?" : std::string(to_text(origin)));
  }
  if (row.executed_in) parts.emplace_back("exec");
  return parts.empty() ? std::string("-") : join(parts, ",");
}

std::string rights_text(const Container& container) {
  std::vector<std::string> parts;
  for (const std::string& right : container.rights) parts.push_back(safe(right));
  return parts.empty() ? std::string("-") : join(parts, ",");
}

std::string age_text(const Container& container, Timestamp now) {
  const auto& since = container.started_at ? container.started_at : container.created_at;
  if (!since) return "-";
  return human_duration(std::max<std::int64_t>(0, now.seconds - since->seconds));
}

bool is_live(const Container& container) {
  return container.state == ContainerState::running || container.state == ContainerState::paused;
}

// "14 running in 11 pods, 1 exited, 1 recovered"; sandboxes are counted apart, since they are not what was
// asked.
std::string counts_text(std::span<const ListRow> rows) {
  std::array<std::uint64_t, enum_names(ContainerState{}).size()> states{};
  std::set<std::string> pods;
  std::uint64_t sandboxes = 0;
  for (const ListRow& row : rows) {
    if (row.container.sandbox) {
      ++sandboxes;
      continue;
    }
    ++states[static_cast<std::size_t>(row.container.state)];
    if (row.container.pod && is_live(row.container))
      pods.insert(row.container.pod->ns + '/' + row.container.pod->name);
  }
  std::vector<std::string> parts;
  const auto running = states[static_cast<std::size_t>(ContainerState::running)];
  std::string first = with_commas(running) + " running";
  if (!pods.empty()) first += " in " + counted(pods.size(), "pod", "pods");
  parts.push_back(first);
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto state = static_cast<ContainerState>(i);
    if (state != ContainerState::running && states[i] > 0) {
      parts.push_back(with_commas(states[i]) + ' ' + std::string(to_text(state)));
    }
  }
  if (sandboxes > 0) parts.push_back(counted(sandboxes, "sandbox", "sandboxes"));
  return join(parts, ", ");
}

std::vector<Column> columns_for(std::span<const ListRow> rows, const ListOptions& options,
                                const Style& style) {
  std::size_t name = 30;
  std::size_t runs = 5;
  std::size_t rights = 6;
  for (const ListRow& row : rows) {
    if (row.container.sandbox && !options.sandboxes) continue;
    runs = std::max(runs, std::min<std::size_t>(24, display_width(runs_text(row))));
    rights = std::max(rights, std::min<std::size_t>(24, display_width(rights_text(row.container))));
    name = std::max(name, std::min(kMaxNameColumns, display_width(safe(container_name(row.container)))));
  }
  std::vector<Column> columns{{"", 2},          {"NAMESPACE/POD/CONTAINER", name},
                              {"STATE", 9},     {"AGE", 6},
                              {"RST", 4, true}, {"PROC", 5, true}};
  if (options.size) columns.push_back({"UPPER", 6, true});
  columns.push_back({"RUNS", runs});
  columns.push_back({"RIGHTS", rights, false, true});
  std::size_t used = 12;
  for (const Column& column : columns) used += column.width + 1;
  if (style.width == 0 || used <= style.width) {
    columns.back().whole = false;
    columns.push_back({"ID", 12, false, true});  // the first to go on a narrow terminal
  }
  return columns;
}

std::string row_text(const ListRow& row, const std::vector<Column>& columns, const ListHead& head,
                     const ListOptions& options, const Style& style) {
  const Container& container = row.container;
  std::vector<std::string> cells{
      mark_text(row.mark()),
      safe(container_name(container)),
      std::string(to_text(container.state)),
      age_text(container, head.now),
      container.state == ContainerState::recovered ? "-" : std::to_string(container.attempt),
      row.processes ? with_commas(*row.processes) : "-"};
  if (options.size) cells.push_back(row.upper_bytes ? column_size(*row.upper_bytes) : "-");
  cells.push_back(runs_text(row));
  cells.push_back(rights_text(container));
  cells.push_back(row.ourselves ? "(this is us)" : short_id(container.id));
  cells.resize(columns.size());
  const std::string line = table_row(columns, cells, style);
  return row.mark() == Mark::look_now && style.color
             ? painted(Severity::high, line.substr(0, 2), style) + line.substr(2)
             : line;
}

std::string legend(const std::set<Mark>& marks) {
  std::string out = "\nRUNS: where the running programs come from; anything but \"image\" deserves a look.\n";
  std::vector<std::string> parts;
  if (marks.contains(Mark::look_now)) parts.emplace_back("!! look now");
  if (marks.contains(Mark::powerful)) parts.emplace_back("! powerful");
  if (marks.contains(Mark::unverified)) parts.emplace_back("? from deleted records, unverified");
  if (marks.contains(Mark::ourselves)) parts.emplace_back("* this is us");
  return parts.empty() ? out : out + join(parts, "   ") + '\n';
}

}  // namespace

Mark ListRow::mark() const {
  if (ourselves) return Mark::ourselves;
  if (executed_in || std::ranges::any_of(runs, is_foreign)) return Mark::look_now;
  if (container.state == ContainerState::recovered) return Mark::unverified;
  return container.rights.empty() ? Mark::none : Mark::powerful;
}

std::string list_text(const ListHead& head, std::span<const ListRow> rows, std::span<const Gap> gaps,
                      const ListOptions& options, const Style& style) {
  GapTally missing;
  for (const Gap& gap : gaps) missing.add(gap);
  const std::string gap_text = gaps_block(missing, options.every_gap, style);
  // Who could not look cannot say that nothing runs.
  const bool unknown = rows.empty() && missing.count(Impact::lost) > 0;
  std::string out = "node " + safe(head.node.raw) + "  " + safe(head.machine);
  if (!head.engine.empty()) out += "  " + safe(head.engine.raw);
  out += "   " + (unknown ? "what runs here is not known" : counts_text(rows));
  const std::string now = clock_seconds(head.now);
  const std::size_t width = style.width == 0 ? 120 : style.width;
  if (display_width(out) + now.size() + 2 <= width) out = pad_right(out, width - now.size()) + now;
  out += '\n';

  const auto listed = static_cast<std::size_t>(std::ranges::count_if(
      rows, [&](const ListRow& row) { return options.sandboxes || !row.container.sandbox; }));
  if (listed == 0) {
    return out + (unknown ? "no containers seen: there may be some, see gaps\n" : "no containers found\n") +
           gap_text;
  }
  const auto columns = columns_for(rows, options, style);
  out += table_head(columns);
  std::set<Mark> marks;
  std::size_t plain = 0;
  std::size_t hidden = 0;
  std::string first;
  for (const ListRow& row : rows) {
    if (row.container.sandbox && !options.sandboxes) continue;
    marks.insert(row.mark());
    const bool remarkable = row.mark() != Mark::none;
    if (!remarkable && !options.all && listed > kManyRows && ++plain > kMaxPlainRows) {
      ++hidden;
      continue;
    }
    if ((first.empty() || (remarkable && marks.size() == 1)) && !row.ourselves && is_live(row.container))
      first = container_name(row.container);
    out += row_text(row, columns, head, options, style);
  }
  if (hidden > 0) out += fmt::format("   ... {} more with nothing to remark (--all)\n", hidden);
  out += legend(marks) + gap_text;

  const auto worst =
      std::ranges::find_if(rows, [](const ListRow& row) { return row.mark() == Mark::look_now; });
  if (worst != rows.end()) first = container_name(worst->container);
  if (first.empty()) return out;
  const std::string word = shell_word(first);  // names are the attacker's, and the line is there to be copied
  return out + next_lines("next",
                          {{"ctriage show " + word, "what runs there"},
                           {"ctriage collect " + word + " -o DIR", "take it"}},
                          style);
}

std::string list_json(const ListHead& head, std::span<const ListRow> rows, std::span<const Gap> gaps,
                      Format format) {
  std::string out;
  JsonWriter json(out);
  const auto row_members = [&json](const ListRow& row) {
    json.members(row.container);
    json.member_value("processes", row.processes);
    json.member_value("upper_bytes", row.upper_bytes);
    json.member_value("runs", row.runs);
    json.member_value("executed_in", row.executed_in);
    json.member_value("mark", row.mark());
  };
  if (format == Format::jsonl) {
    for (const ListRow& row : rows) {
      json.begin_object();
      json.member_value("schema", schema_of<Container>());
      row_members(row);
      json.end_object();
      out += '\n';
    }
    for (const Gap& gap : gaps) {
      json.begin_object();
      json.member_value("schema", schema_of<GapRecord>());
      json.members(record_of(gap, head.now));
      json.end_object();
      out += '\n';
    }
    return out;
  }
  json.begin_object();
  json.member_value("schema", std::string("ctriage.list/1"));
  json.member_value("node", head.node);
  json.member_value("machine", head.machine);
  json.member_value("engine", head.engine);
  json.member_value("at", head.now);
  json.key("containers");
  json.begin_array();
  for (const ListRow& row : rows) {
    json.begin_object();
    row_members(row);
    json.end_object();
  }
  json.end_array();
  json.key("gaps");
  json.begin_array();
  for (const Gap& gap : gaps) json.value(record_of(gap, head.now));
  json.end_array();
  json.end_object();
  return out += '\n';
}

}  // namespace ctriage::report
