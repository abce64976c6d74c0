#include "lib/runtime/kubelet.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/proc/proc.h"
#include "lib/runtime/processes.h"

namespace ctriage::runtime {
namespace {

constexpr std::string_view kDefaultRoot = "/var/lib/kubelet";
constexpr std::string_view kArtifact = "node.kubelet";
constexpr std::string_view kKey = "evictionHard";
constexpr std::size_t kMaxConfigBytes = 1 << 20;

Error not_understood(std::string_view text) {
  constexpr std::size_t kShown = 80;
  return {Errc::malformed, "eviction threshold not understood: " + std::string(text.substr(0, kShown))};
}

std::string_view unquoted(std::string_view text) {
  text = trim(text);
  const bool quoted =
      text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// A suffix of k8s.io/apimachinery resource.Quantity, or an exponent.
std::optional<double> factor_of(std::string_view suffix) {
  if (suffix.empty()) return 1;
  if (suffix == "m") return 0.001;
  constexpr std::string_view kUnits = "KMGTPE";
  const bool binary = suffix.size() == 2 && suffix[1] == 'i';
  const auto at = kUnits.find(suffix == "k" ? 'K' : suffix[0]);
  if (at != std::string_view::npos && (binary || (suffix.size() == 1 && suffix != "K"))) {
    return std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(at + 1));
  }
  if (suffix.size() > 1 && (suffix[0] == 'e' || suffix[0] == 'E')) {
    const auto exponent = parse_number<int>(suffix.substr(suffix[1] == '+' ? 2 : 1));
    if (exponent && *exponent >= -18 && *exponent <= 18) return std::pow(10.0, *exponent);
  }
  return std::nullopt;
}

// Rounded up: in doubt more stays free.
std::optional<Threshold> parse_quantity(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc{} || end != text.data() + digits || digits == 0) return std::nullopt;
  const std::string_view suffix = text.substr(digits);
  if (suffix == "%") {
    if (number > 100) return std::nullopt;
    return Threshold{static_cast<unsigned>(std::ceil(number)), 0};
  }
  const auto factor = factor_of(suffix);
  constexpr double kMost = 1e18;
  if (!factor || number * *factor > kMost) return std::nullopt;
  return Threshold{0, static_cast<std::uint64_t>(std::ceil(number * *factor))};
}

Status take(std::string_view signal, std::string_view quantity, Eviction& into) {
  const bool nodefs = signal == "nodefs.available";
  if (!nodefs && signal != "imagefs.available") return Done{};
  const auto parsed = parse_quantity(quantity);
  if (!parsed) return not_understood(std::string(signal) + " " + std::string(quantity));
  Threshold& threshold = nodefs ? into.nodefs : into.imagefs;
  threshold.percent = std::max(threshold.percent, parsed->percent);
  threshold.bytes = std::max(threshold.bytes, parsed->bytes);
  return Done{};
}

// All pairs, also behind one that cannot be understood; the first error is the answer.
Status take_pairs(const std::vector<std::string_view>& pairs, char between, Eviction& into) {
  Status first = Done{};
  for (const std::string_view pair : pairs) {
    if (trim(pair).empty()) continue;
    const auto at = pair.find(between);
    Status taken = at == std::string_view::npos
                       ? Status(not_understood(pair))
                       : take(unquoted(pair.substr(0, at)), unquoted(pair.substr(at + 1)), into);
    if (!taken && first) first = std::move(taken);
  }
  return first;
}

std::string_view without_comment(std::string_view line) {
  for (std::size_t at = line.find('#'); at != std::string_view::npos; at = line.find('#', at + 1)) {
    if (at == 0 || line[at - 1] == ' ' || line[at - 1] == '\t') return line.substr(0, at);
  }
  return line;
}

std::size_t indent_of(std::string_view line) { return std::min(line.find_first_not_of(" \t"), line.size()); }

// What follows the key: "{...}", over several lines too, else nothing and a block on the lines after.
Status take_value(std::string_view value, std::size_t indent, Eviction& into) {
  const std::string_view line = trim(without_comment(value.substr(0, value.find('\n'))));
  if (line.starts_with('{')) {
    const std::size_t open = value.find('{');
    const std::size_t close = value.find('}', open);
    if (close == std::string_view::npos) return not_understood(line);
    std::string flow;
    for (const std::string_view part : split(value.substr(open + 1, close - open - 1), '\n')) {
      flow.append(without_comment(part)).append(" ");
    }
    return take_pairs(split(flow, ','), ':', into);
  }
  if (line == "null" || line == "~") return Done{};
  if (!line.empty()) return not_understood(line);
  std::vector<std::string_view> pairs;
  const auto lines = split(value, '\n');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::string_view text = without_comment(lines[i]);
    if (trim(text).empty()) continue;
    if (indent_of(text) <= indent) break;
    pairs.push_back(text);
  }
  return take_pairs(pairs, ':', into);
}

// Anyone can call a process "kubelet": only one in the node's own mount namespace and in no container's
// cgroup counts.
bool is_of_the_node(const Root& proc, std::int32_t pid) {
  const auto its = proc::read_namespace(proc, pid, "mnt");
  const auto node = proc::read_namespace(proc, proc::node_process(proc), "mnt");
  const auto text = proc::read_text(proc, pid, "cgroup");
  return its && node && *its == *node && text && !proc::is_in_container(*text);
}

std::int32_t find_running(const Root& proc) {
  const auto pids = proc::list_pids(proc);
  if (!pids) return 0;
  for (const std::int32_t pid : *pids) {
    const auto comm = proc::read_text(proc, pid, "comm");
    if (comm && trim(*comm) == "kubelet" && is_of_the_node(proc, pid)) return pid;
  }
  return 0;
}

void doubt(Task& task, const std::string& origin, Error error) {
  task.gaps.add({Impact::degraded, std::string(kArtifact), origin,
                 std::move(error).within("kubelet's thresholds may be higher than those we keep to")});
}

void read_config(const Root& proc, std::int32_t pid, const std::string& path, bool must_be, Eviction& into,
                 Task& task) {
  const auto root = proc.descend_magic(std::to_string(pid) + "/root");
  const auto text = root ? root->read_file_in_root(path, kMaxConfigBytes) : Result<std::string>(root.error());
  if (!text && text.error().code == Errc::not_found && !must_be) return;
  const Status taken = text ? parse_kubelet_config(*text, into) : Status(text.error());
  if (!taken) doubt(task, path, taken.error());
}

}  // namespace

std::uint64_t Threshold::of(std::uint64_t total_bytes) const {
  return std::max(total_bytes / 100 * percent, bytes);
}

Status parse_eviction_flag(std::string_view text, Eviction& into) {
  return take_pairs(split(unquoted(text), ','), '<', into);
}

Status parse_kubelet_config(std::string_view text, Eviction& into) {
  for (std::size_t at = text.find(kKey); at != std::string_view::npos; at = text.find(kKey, at + 1)) {
    const std::size_t line = text.rfind('\n', at) + 1;  // npos + 1 is 0
    std::string_view before = text.substr(line, at - line);
    std::string_view after = text.substr(at + kKey.size());
    if (!before.empty() && (before.back() == '"' || before.back() == '\'') &&
        after.starts_with(before.back())) {
      before.remove_suffix(1);
      after.remove_prefix(1);
    }
    // A key stands first on its line or, in JSON, behind a brace or a comma; comments hold none.
    if (before.find('#') != std::string_view::npos) continue;
    const std::string_view left = trim(before);
    if (!left.empty() && left.back() != '{' && left.back() != ',') continue;
    const std::size_t colon = after.find_first_not_of(" \t");
    if (colon == std::string_view::npos || after[colon] != ':') continue;
    std::string_view value = after.substr(colon + 1);
    const std::size_t begin = value.find_first_not_of(" \t\r\n");
    if (begin != std::string_view::npos && value[begin] == '{') value.remove_prefix(begin);
    return take_value(value, indent_of(text.substr(line)), into);
  }
  return Done{};
}

std::optional<Kubelet> find_kubelet(const Root& proc, Task& task) {
  Kubelet kubelet{std::string(kDefaultRoot), {}};
  const std::int32_t pid = find_running(proc);
  if (pid == 0) {
    const std::int32_t node = proc::node_process(proc);
    if (!Root::open(kubelet.root)) return std::nullopt;
    read_config(proc, node, kubelet.root + "/config.yaml", false, kubelet.eviction, task);
    return kubelet;
  }
  const std::string origin = "pid " + std::to_string(pid);
  const auto cmdline = proc::read_text(proc, pid, "cmdline");  // kubelet's own memory, not a target's
  if (!cmdline) {
    doubt(task, origin, cmdline.error());
    return kubelet;
  }
  const auto arguments = split_arguments(*cmdline);
  if (std::string root = value_of(arguments, "--root-dir"); !root.empty()) kubelet.root = std::move(root);
  const std::string flag = value_of(arguments, "--eviction-hard");
  if (auto taken = parse_eviction_flag(flag, kubelet.eviction); !taken) doubt(task, origin, taken.error());
  const std::string config = value_of(arguments, "--config");
  read_config(proc, pid, config.empty() ? kubelet.root + "/config.yaml" : config, !config.empty(),
              kubelet.eviction, task);
  if (const std::string drop_ins = value_of(arguments, "--config-dir"); !drop_ins.empty()) {
    doubt(task, drop_ins, {Errc::unsupported, "--config-dir is not read by this version"});
  }
  return kubelet;
}

}  // namespace ctriage::runtime
