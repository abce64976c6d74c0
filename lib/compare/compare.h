#pragma once
// What two sources do not have in common: see SEMANTICS.md beside this.
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/compare/serve.h"
#include "lib/core/task.h"
#include "lib/model/difference.h"

namespace ctriage::compare {

constexpr std::size_t kMaxGroupBytes = 4 << 20;  // of things of one key, of each side
constexpr std::size_t kMaxMatched = 262'144;     // processes that both have

struct CompareOptions {
  std::set<ComparedKind> kinds;  // those that are compared
  std::set<ComparedKind> asked;  // by name: compared also where it says little
  std::string container;         // by name, or the beginning of its id; empty: all
  std::int32_t pid = 0;          // as the container sees it, 0: all
  std::string salt;              // for digests of pages, see PagesRequest
  bool live_memory = false;      // page contents also where a side is live
};

class Comparer {
 public:
  Comparer(Side& before, Side& after, CompareOptions options)
      : sides_{&before, &after}, options_(std::move(options)) {}
  // The sources, which containers are compared with which, and how far they are one.
  Result<Comparison> begin(Task& task);
  // By container and kind, in the order of ComparedKind; memory of all containers last. What is not compared,
  // and the counts, are in `comparison` when it is done; what was missing of either source in the gaps.
  Status run(Comparison& comparison, const Emit<Difference>& emit, Task& task);

 private:
  enum class Sameness : std::uint8_t { same, unknown, another };
  struct Pair {
    const ServedContainer* before = nullptr;  // none: only the other has it
    const ServedContainer* after = nullptr;
    Sameness sameness = Sameness::unknown;
    std::set<std::int32_t> matched;  // processes that both have, as the container sees them
  };
  struct Group;

  Status match_containers(Comparison& comparison, Task& task);
  [[nodiscard]] bool is_meant(const ServedContainer& container) const;
  Status compare_container(const Pair& pair, Comparison& comparison, const Emit<Difference>& emit);
  Status compare_list(ComparedKind kind, Pair& pair, Comparison& comparison, const Emit<Difference>& emit,
                      Task& task);
  Status compare_pages(Comparison& comparison, const Emit<Difference>& emit, Task& task);
  // Why it is not, where it is not: by what the sources have.
  [[nodiscard]] std::optional<std::string> why_not(ComparedKind kind, const Pair& pair) const;
  [[nodiscard]] const Coverage& coverage(std::size_t side, ComparedKind kind) const;

  std::array<Side*, 2> sides_;
  CompareOptions options_;
  std::array<ServedSource, 2> served_;
  std::vector<Pair> pairs_;
};

constexpr std::array<std::string_view, 2> kSideNames{"A", "B"};
// Compared of processes that both have.
bool is_of_process(ComparedKind kind);
// What there is to say of a thing that only one has.
std::vector<DifferingField> described(const Item& item, DifferenceChange change);
// The fields of two things of one key that differ.
std::vector<DifferingField> differing_fields(const Item& before, const Item& after);

}  // namespace ctriage::compare
