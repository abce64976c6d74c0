#pragma once
// The node's kubelet, as far as it decides where a bundle may lie: its root directory, and how full a disk
// may become before it evicts pods.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::runtime {

struct Threshold {  // what must stay available
  unsigned percent = 0;
  std::uint64_t bytes = 0;
  [[nodiscard]] std::uint64_t of(std::uint64_t total_bytes) const;
};

// Hard thresholds, never less careful than kubelet's defaults
// (pkg/kubelet/apis/config/v1beta1/defaults_linux.go).
struct Eviction {
  Threshold nodefs{10, 0};
  Threshold imagefs{15, 0};
};

struct Kubelet {
  std::string root;
  Eviction eviction;
};
// The running one, else the default root where it exists. Thresholds that it may have and that could not be
// read or understood are a gap.
std::optional<Kubelet> find_kubelet(const Root& proc, Task& task);

// What follows raises `into` and never lowers it. Errc::malformed for thresholds that cannot be understood;
// those that can are taken.
//
//   flag    = signal "<" quantity { "," signal "<" quantity }                 --eviction-hard
//   config  = "evictionHard:" and a block or a flow mapping of signal: quantity; the file may be JSON, too
//   signal  = "nodefs.available" | "imagefs.available" | others, which do not matter here
//   quantity = number "%" | number [ "Ki" ... "Ei" | "k" ... "E" | "m" ] | number "e" exponent
Status parse_eviction_flag(std::string_view text, Eviction& into);
Status parse_kubelet_config(std::string_view text, Eviction& into);

}  // namespace ctriage::runtime
