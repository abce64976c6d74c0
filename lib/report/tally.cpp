#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "lib/report/report.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxGroups = 512;
constexpr std::size_t kOriginsShown = 3;
constexpr std::size_t kMaxKeptBytes = 512;  // of an origin or reason: a path may be as long as it likes

template <std::size_t N>
std::uint64_t sum(const std::array<std::uint64_t, N>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

// The reason often begins with the origin ("a/b: Permission denied"), or with "open a/b": said once is
// enough.
std::string_view without_origin(std::string_view reason, std::string_view origin) {
  if (!origin.empty() && reason.starts_with(origin) && reason.substr(origin.size()).starts_with(": ")) {
    return reason.substr(origin.size() + 2);
  }
  return reason;
}

}  // namespace

std::uint64_t FindingTally::total() const { return sum(counts_); }

std::optional<Severity> FindingTally::worst() const {
  for (std::size_t i = counts_.size(); i > 0; --i) {
    if (counts_[i - 1] > 0) return static_cast<Severity>(i - 1);
  }
  return std::nullopt;
}

std::string FindingTally::text() const {
  std::vector<std::string> parts;
  for (std::size_t i = counts_.size(); i > 0; --i) {
    if (counts_[i - 1] == 0) continue;
    parts.push_back(with_commas(counts_[i - 1]) + ' ' + std::string(to_text(static_cast<Severity>(i - 1))));
  }
  return parts.empty() ? std::string("none") : join(parts, ", ");
}

std::uint64_t ChangeTally::total() const { return sum(counts_); }

std::string ChangeTally::kinds() const {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const auto kind = static_cast<ChangeKind>(i);
    parts.push_back(kind == ChangeKind::runtime_stub
                        ? counted(counts_[i], "runtime stub", "runtime stubs")
                        : with_commas(counts_[i]) + ' ' + std::string(to_text(kind)));
  }
  return join(parts, ", ");
}

std::string ChangeTally::text() const {
  const std::string parts = kinds();
  return counted(total(), "change", "changes") + (parts.empty() ? "" : ": ") + parts;
}

void GapTally::add(Impact impact, std::string_view artifact, Errc code, std::string_view origin,
                   std::string_view reason) {
  ++counts_[static_cast<std::size_t>(impact)];
  const auto rank = 2 - static_cast<int>(impact);  // worst first
  auto key = std::tuple(rank, std::string(artifact), code);
  if (groups_.size() >= kMaxGroups && !groups_.contains(key)) {
    ++beyond_;
    return;
  }
  Group& group = groups_[std::move(key)];
  if (++group.count == 1) group.reason = without_origin(reason, origin).substr(0, kMaxKeptBytes);
  if (group.origins.size() < kOriginsShown && !origin.empty()) {
    group.origins.emplace_back(origin.substr(0, kMaxKeptBytes));
  }
}

void GapTally::add(const GapLog& log) {
  std::array<std::uint64_t, 3> kept{};
  for (const Gap& gap : log.kept()) {
    add(gap);
    ++kept[static_cast<std::size_t>(gap.impact)];
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::uint64_t all = std::max(log.count(static_cast<Impact>(i)), kept[i]);
    counts_[i] += all - kept[i];
    counted_ += all - kept[i];
  }
}

std::uint64_t GapTally::total() const { return sum(counts_); }

std::string GapTally::text() const {
  std::vector<std::string> parts;
  if (const auto lost = count(Impact::lost); lost > 0) parts.push_back(with_commas(lost) + " lost");
  if (const auto weak = count(Impact::degraded); weak > 0) parts.push_back(with_commas(weak) + " degraded");
  if (const auto notes = count(Impact::note); notes > 0) parts.push_back(counted(notes, "note", "notes"));
  return parts.empty() ? std::string("none") : join(parts, ", ");
}

std::vector<std::string> GapTally::lines(std::size_t most) const {
  std::vector<std::string> lines;
  std::uint64_t untold = beyond_;
  for (const auto& [key, group] : groups_) {
    if (lines.size() >= most) {
      untold += group.count;
      continue;
    }
    const auto impact = static_cast<Impact>(2 - std::get<0>(key));
    std::string line = pad_right(std::string(to_text(impact)), 8) + ' ' + safe(std::get<1>(key));
    if (group.count > 1) line += " (" + with_commas(group.count) + ')';
    line += ": ";
    if (!group.origins.empty()) {
      std::vector<std::string> shown;
      for (const std::string& origin : group.origins) shown.push_back(safe(origin));
      line += join(shown, ", ");
      if (group.count > group.origins.size()) line += ", ...";
      line += ": ";
    }
    lines.push_back(line + safe(group.reason));
  }
  if (untold > 0) lines.push_back("... " + counted(untold, "more gap", "more gaps") + " of other kinds");
  if (counted_ > 0)
    lines.push_back("... " + counted(counted_, "more gap", "more gaps") + " that were only counted");
  return lines;
}

GapRecord record_of(const Gap& gap, Timestamp at) {
  return {gap.impact, gap.artifact, Bytes(gap.origin), gap.error.code, Bytes(gap.error.what), at};
}

std::vector<GapRecord> records_of(std::span<const Gap> gaps, Timestamp at) {
  std::vector<GapRecord> records;
  for (const Gap& gap : gaps) records.push_back(record_of(gap, at));
  return records;
}

std::string container_name(const Container& container) {
  const std::string own = container.name.empty() ? container.id.substr(0, 12) : container.name.raw;
  if (!container.pod) return own;
  const std::string pod =
      container.pod->ns.empty() ? container.pod->name : container.pod->ns + '/' + container.pod->name;
  return container.sandbox ? pod + " (sandbox)" : pod + '/' + own;
}

}  // namespace ctriage::report
