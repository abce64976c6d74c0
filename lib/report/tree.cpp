#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "lib/report/show_internal.h"
#include "lib/report/text.h"

namespace ctriage::report {
namespace {

constexpr std::size_t kMaxIndentLevels = 12;  // deeper ones are drawn at this depth
constexpr std::size_t kMaxRemarks = 3;
constexpr std::size_t kHeadColumns = 27;  // before COMMAND

std::string tree_line(const TreeProcess& process, std::size_t depth, const Style& style) {
  std::string line = fmt::format("{:>7} {:<6} {:<8}{:>5} ", process.pid, user_text(process.uid), process.from,
                                 column_size(process.rss_bytes));
  if (depth > 0) line.append(3 * (std::min(depth, kMaxIndentLevels) - 1), ' ').append("`- ");
  line += process.command;
  // A remark says why to look at the line, so the command yields to it; remarks that leave it no room are
  // dropped.
  std::vector<std::string> remarks = process.remarks;
  const auto crowded = [&] {
    return display_width(join(remarks, "; ")) + 2 + kHeadColumns + 20 > style.width;
  };
  while (style.width != 0 && !remarks.empty() && crowded()) remarks.pop_back();
  if (remarks.empty()) return fit(line, style.width) + '\n';
  const std::string remark = join(remarks, "; ");
  const std::size_t needs = display_width(remark) + 2;
  if (style.width == 0) return line + "  " + remark + '\n';
  return pad_right(fit(line, style.width - needs), std::min<std::size_t>(72, style.width - needs)) + "  " +
         remark + '\n';
}

}  // namespace

void Tree::add(const Process& process) {
  ++total;
  threads += process.threads;
  memory_bytes += process.rss_bytes;
  if (processes.size() >= kMaxTreeProcesses) return;
  TreeProcess kept;
  kept.pid = process.pid;
  kept.ppid = process.ppid;
  const auto& uids = process.credentials.uids;
  kept.uid = uids.size() > 1 ? uids[1] : uids.empty() ? 0 : uids[0];
  kept.rss_bytes = process.rss_bytes;
  kept.from = from_text(process.exe);
  // The program that runs first, since argv[0] is whatever the process likes; then what it says of itself.
  kept.command = process.exe.path.empty() ? '[' + safe(process.comm.raw) + ']'
                                          : safe(process.exe.path.raw.substr(0, 256));
  if (process.argv.size() > 1) {
    kept.command += ' ' + safe_command({process.argv.begin() + 1, process.argv.end()}, 160);
  }
  if (process.membership == Membership::executed_in) kept.remarks.emplace_back("exec from outside");
  if (process.membership == Membership::entered) kept.remarks.emplace_back("ENTERED from outside");
  if (process.membership == Membership::escaped) kept.remarks.emplace_back("ESCAPED: node's mount namespace");
  if ((process.exe.mode & 06000U) != 0)
    kept.remarks.emplace_back((process.exe.mode & 04000U) != 0 ? "setuid" : "setgid");
  if (process.tracer_pid != 0) kept.remarks.push_back(fmt::format("traced by {}", process.tracer_pid));
  if (process.threads > 1) kept.remarks.push_back(fmt::format("{} threads", process.threads));
  for (const Bytes& variable : process.environ) {
    const auto equals = variable.raw.find('=');
    if (equals == std::string::npos || equals > 128 || !is_secret_name(variable.view().substr(0, equals)))
      continue;
    kept.remarks.push_back("env " + safe(variable.view().substr(0, equals)) + " (hidden)");
    break;
  }
  processes.push_back(std::move(kept));
}

std::string tree_text(const Tree& tree, const Style& style) {
  std::unordered_map<std::int32_t, std::vector<std::size_t>> children;
  std::unordered_map<std::int32_t, std::size_t> by_pid;
  for (std::size_t i = 0; i < tree.processes.size(); ++i) by_pid.emplace(tree.processes[i].pid, i);
  std::vector<std::size_t> roots;
  for (std::size_t i = 0; i < tree.processes.size(); ++i) {
    const TreeProcess& process = tree.processes[i];
    if (by_pid.contains(process.ppid) && process.ppid != process.pid) {
      children[process.ppid].push_back(i);
    } else {
      roots.push_back(i);
    }
  }

  std::string out = "    PID USER   FROM      RSS COMMAND\n";
  std::vector<bool> drawn(tree.processes.size());
  const auto draw = [&](std::size_t from) {
    std::vector<std::pair<std::size_t, std::size_t>> open{{from, 0}};  // process, depth
    while (!open.empty()) {
      const auto [at, depth] = open.back();
      open.pop_back();
      if (drawn[at]) continue;
      drawn[at] = true;
      out += tree_line(tree.processes[at], depth, style);
      const auto below = children.find(tree.processes[at].pid);
      if (below == children.end()) continue;
      for (auto child = below->second.rbegin(); child != below->second.rend(); ++child) {
        open.emplace_back(*child, depth + 1);
      }
    }
  };
  for (const std::size_t root : roots) draw(root);
  // What is left hangs in a ring, which no kernel makes but a forged bundle can: shown all the same.
  for (std::size_t i = 0; i < drawn.size(); ++i) draw(i);
  if (tree.total > tree.processes.size()) {
    out += fmt::format("        ... {} not shown: --json\n",
                       counted(tree.total - tree.processes.size(), "more process", "more processes"));
  }
  return out;
}

void SocketSummary::add(const Socket& socket) {
  const bool internet = socket.family.starts_with("tcp") || socket.family.starts_with("udp");
  std::string what = internet && socket.family.starts_with("udp") ? "udp" : safe(socket.family);
  if (socket.family.starts_with("tcp")) {
    what = socket.state == "LISTEN"        ? "listen"
           : socket.state == "ESTABLISHED" ? "established"
                                           : "tcp " + safe(socket.state);
  }
  if (counts.size() < 64 || counts.contains(what)) ++counts[what];
  if (what != "listen" && what != "established") return;
  std::string remark =
      what == "listen" ? "LISTEN " + safe(socket.local.raw) : "tcp > " + safe(socket.remote.raw);
  if (socket.receive_queue_bytes > 0 && what == "established") {
    remark += fmt::format(", {} B unread", socket.receive_queue_bytes);
  }
  for (const std::int32_t pid : socket.pids) {
    auto& remarks = remarks_by_pid[pid];
    if (remarks.size() < kMaxRemarks) remarks.push_back(remark);
  }
}

std::string SocketSummary::text() const {
  std::vector<std::string> parts;
  for (const char* first : {"listen", "established"}) {
    if (const auto found = counts.find(first); found != counts.end()) {
      parts.push_back(with_commas(found->second) + ' ' + found->first);
    }
  }
  for (const auto& [what, count] : counts) {
    if (what != "listen" && what != "established") parts.push_back(with_commas(count) + ' ' + what);
  }
  return parts.empty() ? std::string("none") : join(parts, ", ");
}

}  // namespace ctriage::report
