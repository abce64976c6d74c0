#pragma once
// What of the node changed since the pod began, held against what its containers may reach. Private to
// lib/verdict and its tests.
#include <string>
#include <vector>

#include "lib/model/node.h"
#include "lib/model/posture.h"
#include "lib/model/seen.h"

namespace ctriage::verdict {

constexpr std::size_t kMaxNodeFacts = 20'000;  // that are judged
constexpr std::size_t kManyAtOnce = 10;        // files, none kAtOnceSeconds behind the one before: as when
constexpr std::int64_t kAtOnceSeconds = 120;   // a package manager runs

// What lets a container at the whole node; empty: nothing that is known. "app is privileged".
std::string why_mighty(const Posture& posture);

class NodeLook {
 public:
  NodeLook(std::vector<Posture> postures, const std::vector<NodeFact>& facts);
  // Traits: in_grant (a writable part of the node in a container holds the path), target_in_grant (of a
  // setting: the program that it names), by_capability, many_at_once (and `count` of them; of what packages
  // bring, one stands for all). `proof`: by which container, how.
  [[nodiscard]] Seen look_at(const NodeFact& fact) const;
  // Of a file with many_at_once: the same for those that changed with it.
  [[nodiscard]] std::size_t burst_of(const NodeFact& fact) const;

 private:
  [[nodiscard]] std::string grant_of(std::string_view path) const;

  std::vector<Posture> postures_;
  std::string mighty_;
  struct Burst {
    std::int64_t from = 0;  // seconds
    std::int64_t to = 0;
    std::uint64_t count = 0;
  };
  std::vector<Burst> bursts_;  // ascending
};

// Facts of a pod that need no other artifact. Traits: mighty, runtime_socket, node_in_reach.
Seen look_at(const Posture& posture);

}  // namespace ctriage::verdict
