#include "lib/collect/plan.h"

#include <algorithm>

namespace ctriage::collect {
namespace {

constexpr double kBytesPerSecond = 400.0 * 1024 * 1024;
constexpr double kSecondsForState = 0.2;

bool is_named(const Collector& collector, std::span<const std::string> names) {
  return std::ranges::any_of(
      names, [&](const std::string& name) { return name == collector.name || name == collector.group; });
}

Status check_names(std::span<const std::string> names, std::string_view option) {
  std::string known;
  for (const Collector& collector : collectors()) {
    for (const std::string_view name : {collector.group, collector.name}) {
      if ((" " + known + " ").find(" " + std::string(name) + " ") == std::string::npos)
        known += (known.empty() ? "" : " ") + std::string(name);
    }
  }
  for (const std::string& name : names) {
    const bool found = std::ranges::any_of(collectors(), [&](const Collector& collector) {
      return collector.name == name || collector.group == name;
    });
    if (!found)
      return Error{Errc::malformed, std::string(option) + " " + name + ": no such group; there are " + known};
  }
  return Done{};
}

}  // namespace

Result<LeftOut> leave_out(std::span<const std::string> only, std::span<const std::string> skip,
                          MemoryMode memory) {
  if (auto good = check_names(only, "--only"); !good) return std::move(good).error();
  if (auto good = check_names(skip, "--skip"); !good) return std::move(good).error();
  LeftOut left_out;
  for (const Collector& collector : collectors()) {
    if (!only.empty() && !is_named(collector, only)) left_out.emplace(collector.name, "--only");
    if (is_named(collector, skip)) left_out.emplace(collector.name, "--skip");
    if (collector.group == kMemoryGroup && memory == MemoryMode::none)
      left_out.emplace(collector.name, "--memory none");
  }
  // What memory is told by wins over it where it was left out by name: nothing is undone in silence.
  const auto skipped = [&](const char* name) {
    const auto found = left_out.find(name);
    return found != left_out.end() && found->second == "--skip";
  };
  if (skipped("mappings") || skipped("processes")) {
    for (const Collector& collector : collectors()) {
      if (collector.group == kMemoryGroup)
        left_out.emplace(collector.name, "--skip of processes or mappings, which it needs");
    }
    left_out.emplace("libraries", "--skip of processes or mappings, which it needs");
  }
  const bool takes_memory = std::ranges::any_of(collectors(), [&](const Collector& collector) {
    return collector.group == kMemoryGroup && !left_out.contains(collector.name);
  });
  left_out.erase("containers");
  const bool takes_libraries = !left_out.contains("libraries");
  if (takes_memory || takes_libraries) left_out.erase("mappings");
  if (takes_memory || takes_libraries || !left_out.contains("programs")) left_out.erase("processes");
  return left_out;
}

void leave_out_gone(const source::LiveSnapshot& snapshot, LeftOut& left_out) {
  for (const Collector& collector : collectors()) {
    const bool gone = (collector.needs == Needs::processes && !snapshot.any_runs()) ||
                      (collector.needs == Needs::running_node && snapshot.node().disk);
    if (gone) left_out.insert_or_assign(std::string(collector.name), std::string(kGone));
  }
}

std::vector<PlanLine> plan_of(const source::LiveSnapshot& snapshot, const LeftOut& left_out,
                              const MemoryOptions& memory) {
  std::vector<PlanLine> plan;
  for (const Collector& collector : collectors()) {
    PlanLine line;
    line.collector = &collector;
    if (const auto found = left_out.find(collector.name); found != left_out.end()) {
      line.left_out = found->second;
    } else if (collector.estimate != nullptr) {
      line.bytes = collector.estimate(snapshot, memory);
    }
    plan.push_back(std::move(line));
  }
  return plan;
}

double estimated_seconds(std::span<const PlanLine> plan) {
  double bytes = 0;
  for (const PlanLine& line : plan) bytes += static_cast<double>(line.bytes.value_or(0));
  return kSecondsForState + bytes / kBytesPerSecond;
}

}  // namespace ctriage::collect
