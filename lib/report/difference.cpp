#include "lib/report/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/report/document.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kKindColumns = 10;
constexpr std::size_t kPidColumns = 8;
constexpr std::size_t kWhatColumns = 40;
constexpr std::size_t kDigestDigits = 12;
constexpr std::size_t kMostValue = 200;  // bytes of a value on the screen
constexpr std::string_view kEnvironment = "env ";

bool is_arguments(std::string_view field) { return field == "argv" || field == "args"; }

std::string arguments_text(std::string_view value) {
  std::vector<Bytes> arguments;
  for (const std::string_view argument : split(value, '\0')) arguments.emplace_back(std::string(argument));
  return safe_command(arguments, kMostValue);
}

// Secret-looking values are hidden, as in every overview.
std::string value_text(const std::string& field, const Bytes& value) {
  if (field.starts_with(kEnvironment) && is_secret_name(std::string_view(field).substr(kEnvironment.size())))
    return "(hidden)";
  if (is_arguments(field)) return arguments_text(value.view());
  if (value.empty()) return "\"\"";
  if (field.ends_with("sha256")) return safe(value.view().substr(0, kDigestDigits));
  if (value.raw.size() <= kMostValue) return safe(value.raw);
  return safe(value.view().substr(0, kMostValue)) + "...";
}

std::string field_text(const DifferingField& field) {
  const std::string name = safe(field.field);
  if (field.before && field.after)
    return name + " " + value_text(field.field, *field.before) + " -> " +
           value_text(field.field, *field.after);
  if (field.before) return name + " " + value_text(field.field, *field.before) + " -> none";
  return name + " none -> " + value_text(field.field, field.after ? *field.after : Bytes());
}

// What to say of a thing that only one of them has: some fields, in this order.
std::string alone_text(const Difference& difference) {
  static constexpr std::array kTold{
      "exe",    "exe deleted", "exe from", "uids",       "state", "held by", "type", "mode",  "owner", "size",
      "sha256", "target",      "is",       "protection", "kind",  "access",  "root", "image", "digest"};
  std::vector<std::string> parts;
  for (const std::string_view name : kTold) {
    const auto field = std::ranges::find(difference.differs, name, &DifferingField::field);
    if (field == difference.differs.end()) continue;
    const auto& value = field->after ? field->after : field->before;
    if (!value || value->empty()) continue;
    const std::string text = value_text(field->field, *value);
    if (name == "is" && text == "there") continue;
    if (name == "exe deleted" && text == "no") continue;
    if (name == "type" && text == "regular") continue;
    if (name == "target" && difference.kind == ComparedKind::descriptor) continue;
    if (name == "is" || name == "state" || name == "protection" || name == "kind" || name == "access") {
      parts.push_back(text);
    } else if (name == "exe deleted") {
      parts.emplace_back("deleted");
    } else if (name == "size") {
      const auto size = parse_number<std::uint64_t>(value->view());
      parts.push_back(size ? human_size(*size) : text);
    } else {
      parts.push_back(std::string(name) + " " + text);
    }
  }
  return join(parts, ", ");
}

std::string details_of(const Difference& difference) {
  std::vector<std::string> parts;
  if (difference.kind == ComparedKind::memory) {
    parts.push_back(fmt::format("{} of {} pages differ, the first at {}",
                                with_commas(difference.pages_different.value_or(0)),
                                with_commas(difference.pages_compared.value_or(0)),
                                JsonWriter::hex_text(difference.address.value_or(Hex{}))));
  } else if (difference.change == DifferenceChange::changed) {
    for (const DifferingField& field : difference.differs) parts.push_back(field_text(field));
  } else if (const std::string text = alone_text(difference); !text.empty()) {
    parts.push_back(text);
  }
  if (difference.unsure) parts.push_back("UNSURE: " + safe(difference.unsure->raw));
  return join(parts, ", ");
}

std::string what_of(const Difference& difference) {
  std::string text = difference.kind == ComparedKind::process ? arguments_text(difference.what.view())
                                                              : safe(difference.what.raw);
  if (difference.kind == ComparedKind::mapping && difference.address)
    text = JsonWriter::hex_text(*difference.address) + (text.empty() ? "" : " " + text);
  if (text.empty()) text = "?";
  return text;
}

std::string_view mark_of(const Difference& difference) {
  if (difference.unsure) return "?";
  return difference.change == DifferenceChange::added  ? "+"
         : difference.change == DifferenceChange::gone ? "-"
                                                       : "~";
}

// What is never cut: where it leaves no room, the details take lines of their own.
std::string line_of(const Difference& difference, const Style& style) {
  std::string head(mark_of(difference));
  head += ' ' + pad_right(std::string(to_text(difference.kind)), kKindColumns) + ' ';
  head += pad_right(difference.pid ? std::to_string(*difference.pid) : std::string(), kPidColumns);
  const std::string what = what_of(difference);
  const std::string details = details_of(difference);
  if (details.empty()) return head + what + '\n';
  const std::size_t room = style.width == 0 ? SIZE_MAX : style.width;
  const std::size_t at = std::max(display_width(what), kWhatColumns) + 2;
  const std::size_t indent = display_width(head);
  if (indent + at + display_width(details) <= room) return head + pad_right(what, at) + details + '\n';
  if (difference.change != DifferenceChange::changed || difference.kind == ComparedKind::memory)
    return head + what + '\n' + std::string(indent + 2, ' ') + details + '\n';
  std::string out = head + what + '\n';
  for (const DifferingField& field : difference.differs)
    out += std::string(indent + 2, ' ') + field_text(field) + '\n';
  if (difference.unsure)
    out += std::string(indent + 2, ' ') + "UNSURE: " + safe(difference.unsure->raw) + '\n';
  return out;
}

std::string source_line(std::string_view label, const Source& source, const std::string& typed) {
  std::string text = safe(typed) + "   " + source.kind;
  if (!source.node.empty()) text += " of " + safe(source.node.raw);
  if (source.kind == "live") {
    text += ", now";
  } else if (source.taken_at) {
    text += ", taken " + date_seconds(*source.taken_at);
  }
  return labelled(label, text);
}

// What was not compared, by reason; of what was, why it is not whole.
std::string compared_text(const Comparison& comparison) {
  std::map<std::pair<bool, std::string>, std::vector<std::string>> reasons;
  const bool several = comparison.containers.size() > 1;
  for (const ComparedList& list : comparison.compared) {
    if (list.compared && list.why.empty()) continue;
    std::string name(to_text(list.kind));
    if (several && !list.container.empty()) name += " of " + safe(list.container.raw);
    reasons[{list.compared, safe(list.why.raw)}].push_back(std::move(name));
  }
  std::string text;
  for (const auto& [reason, names] : reasons) {
    constexpr std::size_t kFew = 8;
    std::vector<std::string> few(names.begin(),
                                 names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kFew)));
    if (names.size() > kFew) few.push_back(std::to_string(names.size() - kFew) + " more");
    text += std::string(reason.first ? "-- only partly compared: " : "-- not compared: ") + join(few, ", ") +
            (reason.second.empty() ? "" : ": " + reason.second) + '\n';
  }
  return text;
}

std::string memory_text(const Comparison& comparison) {
  std::string text;
  for (const ComparedList& list : comparison.compared) {
    if (list.kind != ComparedKind::memory || !list.compared) continue;
    text += fmt::format("-- memory of {}: {} in both, {} of them differ", safe(list.container.raw),
                        counted(list.before - std::min(list.before, list.gone), "page", "pages"),
                        with_commas(list.changed));
    if (list.gone + list.added > 0)
      text += fmt::format("; {} only in A, {} only in B: not compared", with_commas(list.gone),
                          with_commas(list.added));
    text += '\n';
  }
  return text;
}

}  // namespace

Result<Outcome> difference_text(Comparison& comparison, const ListDifferences& list,
                                const DifferenceOptions& options, const Style& style, const Out& out,
                                Task& task) {
  std::string head =
      source_line("A", comparison.before, options.before) + source_line("B", comparison.after, options.after);
  for (const ComparedContainer& container : comparison.containers) {
    if (container.warning) head += labelled("WARNING", safe(container.warning->raw));
  }
  if (comparison.containers.empty()) head += labelled("WARNING", "A and B have no container in common");
  if (auto done = out(head); !done) return std::move(done).error();

  std::array<std::uint64_t, enum_names(DifferenceChange{}).size()> counts{};
  std::uint64_t unsure = 0;
  std::string container;
  auto listed = list(comparison, [&](Difference&& difference) -> Status {
    std::string text;
    if (difference.container != container) {
      container = difference.container;
      text = labelled("container", safe(difference.container_name.raw) + "  " + safe(short_id(container)));
    }
    if (difference.unsure) {
      ++unsure;
    } else {
      ++counts[static_cast<std::size_t>(difference.change)];
    }
    return out(text + line_of(difference, style));
  });
  if (!listed) return std::move(listed).error();

  const auto of = [&](DifferenceChange change) { return counts[static_cast<std::size_t>(change)]; };
  const std::uint64_t total =
      of(DifferenceChange::gone) + of(DifferenceChange::added) + of(DifferenceChange::changed);
  std::string text = "-- " + (total == 0 ? std::string("no differences in what was compared")
                                         : counted(total, "difference", "differences"));
  if (total > 0)
    text += fmt::format(": {} only in A (-), {} only in B (+), {} changed (~)",
                        with_commas(of(DifferenceChange::gone)), with_commas(of(DifferenceChange::added)),
                        with_commas(of(DifferenceChange::changed)));
  if (unsure > 0) text += "; " + with_commas(unsure) + " that may be none (?)";
  text += '\n' + memory_text(comparison) + compared_text(comparison);
  task.gaps.finish();
  GapTally gaps;
  gaps.add(task.gaps);
  text += "-- gaps: " + gaps.text() + '\n' + gap_lines(gaps, options.every_gap, style);
  if (auto done = out(text); !done) return std::move(done).error();
  return Outcome{std::nullopt, gaps.count(Impact::lost)};
}

Result<Outcome> difference_json(Comparison& comparison, const ListDifferences& list, Format format,
                                const Out& out, Task& task) {
  Document document(format, out);
  document.begin("ctriage.comparison/1");
  auto done = document.one("before", comparison.before);
  if (done) done = document.one("after", comparison.after);
  const auto all = [](const auto& items) {
    return [&items](const auto& take) -> Status {
      for (const auto& item : items) {
        if (auto taken = take(item); !taken) return taken;
      }
      return Done{};
    };
  };
  if (done) done = document.many<ComparedContainer>("containers", all(comparison.containers));
  if (done) {
    done = document.many<Difference>("differences", [&](const auto& take) {
      return list(comparison, [&](Difference&& difference) { return take(difference); });
    });
  }
  if (done) done = document.many<ComparedList>("compared", all(comparison.compared));
  task.gaps.finish();
  const auto gaps = records_of(task.gaps.kept(), task.now ? task.now() : Timestamp{});
  if (done) done = document.many<GapRecord>("gaps", all(gaps));
  if (done) done = document.end();
  if (!done) return std::move(done).error();
  return Outcome{std::nullopt, task.gaps.count(Impact::lost)};
}

}  // namespace ctriage::report
