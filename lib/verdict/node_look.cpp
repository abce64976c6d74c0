#include "lib/verdict/node_look.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "lib/core/path.h"
#include "lib/model/capabilities.h"

namespace ctriage::verdict {
namespace {

// With these a process of the node's root gets at any file of the node, or into its kernel:
// open_by_handle_at, mount, modules, ports and memory, other processes.
constexpr std::array<std::string_view, 5> kMighty{"DAC_READ_SEARCH", "SYS_MODULE", "SYS_RAWIO", "SYS_ADMIN",
                                                  "BPF"};
constexpr std::array<std::string_view, 8> kRuntimeSockets{
    "/run/containerd", "/var/run/containerd", "/run/docker.sock", "/var/run/docker.sock",
    "/run/crio",       "/var/run/crio",       "/run/podman",      "/run/k3s/containerd"};

// What packages bring: of the others no number of files that changed with it makes one harmless.
constexpr std::array<std::string_view, 7> kDelivered{"programs", "units", "udev",   "modules",
                                                     "profile",  "cron",  "runtime"};

bool has(std::uint64_t mask, std::string_view capability) {
  const auto at = std::ranges::find(kCapabilityNames, capability);
  return at != kCapabilityNames.end() && (mask >> (at - kCapabilityNames.begin()) & 1U) != 0;
}

// The program that a setting names: "|/bin/x %p", "/bin/x", "interpreter /bin/x" in lines.
std::string_view program_of(std::string_view value) {
  constexpr std::string_view kInterpreter = "interpreter ";
  if (const auto at = value.find(kInterpreter); at != value.npos)
    value.remove_prefix(at + kInterpreter.size());
  if (value.starts_with('|')) value.remove_prefix(1);
  value = value.substr(0, value.find_first_of(" \t\n"));
  return value.starts_with('/') ? value : std::string_view();
}

}  // namespace

std::string why_mighty(const Posture& posture) {
  if (!posture.host_user_namespace) return {};
  if (posture.privileged) return posture.name.raw + " is privileged";
  for (const std::string_view name : kMighty) {
    if (has(posture.capabilities.effective.value, name))
      return posture.name.raw + " has CAP_" + std::string(name);
  }
  if (posture.host_pid && has(posture.capabilities.effective.value, "SYS_PTRACE"))
    return posture.name.raw + " sees the node's processes and has CAP_SYS_PTRACE";
  return {};
}

NodeLook::NodeLook(std::vector<Posture> postures, const std::vector<NodeFact>& facts)
    : postures_(std::move(postures)) {
  for (const Posture& posture : postures_) {
    if (mighty_.empty()) mighty_ = why_mighty(posture);
  }
  std::vector<std::int64_t> changed;
  for (const NodeFact& fact : facts) {
    if (fact.newer && fact.file) changed.push_back(fact.file->ctime.seconds);
  }
  std::ranges::sort(changed);
  for (const std::int64_t at : changed) {
    if (bursts_.empty() || at - bursts_.back().to > kAtOnceSeconds) bursts_.push_back({at, at, 0});
    bursts_.back().to = at;
    ++bursts_.back().count;
  }
}

std::size_t NodeLook::burst_of(const NodeFact& fact) const {
  const auto at = std::ranges::lower_bound(bursts_, fact.file->ctime.seconds, {}, &Burst::to);
  return static_cast<std::size_t>(at - bursts_.begin());
}

std::string NodeLook::grant_of(std::string_view path) const {
  for (const Posture& posture : postures_) {
    for (const Grant& grant : posture.grants) {
      if (grant.kind != GrantKind::host_path || !grant.writable) continue;
      if (is_at_or_below(path, grant.source.view()))
        return posture.name.raw + " may write to " + grant.source.raw + ", mounted at " +
               grant.destination.raw;
    }
  }
  return {};
}

Seen NodeLook::look_at(const NodeFact& fact) const {
  Seen seen;
  std::string proof = grant_of(fact.path.view());
  if (!proof.empty()) seen.traits.emplace_back("in_grant");
  if (fact.kind == NodeFactKind::setting && fact.value) {
    const std::string_view program = program_of(fact.value->view());
    const std::string by = program.empty() ? std::string() : grant_of(program);
    if (!by.empty()) seen.traits.emplace_back("target_in_grant");
    if (!by.empty()) proof = by;
  }
  if (!mighty_.empty()) seen.traits.emplace_back("by_capability");
  if (proof.empty()) proof = mighty_;
  if (fact.newer && fact.file) {
    const std::size_t burst = burst_of(fact);
    const bool delivered = std::ranges::find(kDelivered, fact.group) != kDelivered.end();
    if (delivered && burst < bursts_.size() && bursts_[burst].count >= kManyAtOnce) {
      seen.traits.emplace_back("many_at_once");
      seen.count = bursts_[burst].count;
    }
  }
  seen.proof = Bytes(proof.empty() ? "no way to it from the pod is known" : std::move(proof));
  return seen;
}

Seen look_at(const Posture& posture) {
  Seen seen;
  std::string proof = why_mighty(posture);
  if (!proof.empty()) seen.traits.emplace_back("mighty");
  for (const Grant& grant : posture.grants) {
    if (grant.kind != GrantKind::host_path) continue;
    const std::string_view source = grant.source.view();
    const bool socket = std::ranges::any_of(kRuntimeSockets, [&](std::string_view at) {
      return is_at_or_below(source, at) || is_at_or_below(at, source);
    });
    const auto add = [&](std::string_view trait) {
      if (std::ranges::find(seen.traits, trait) == seen.traits.end()) seen.traits.emplace_back(trait);
      if (seen.proof.empty()) seen.proof = Bytes(grant.source.raw + " at " + grant.destination.raw);
    };
    if (socket) add("runtime_socket");
    if (grant.writable) add("node_in_reach");
  }
  if (!proof.empty()) seen.proof = Bytes(std::move(proof));
  return seen;
}

}  // namespace ctriage::verdict
