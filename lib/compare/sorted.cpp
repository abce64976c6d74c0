#include "lib/compare/sorted.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace ctriage::compare {

Status emit_sorted(const ListItems& list, const Emit<Item>& emit, std::size_t most_bytes) {
  std::optional<std::string> last;  // key: all up to it are out
  for (std::size_t pass = 0; pass < kMaxPasses; ++pass) {
    std::multimap<std::string, Item> kept;
    std::optional<std::string> from;  // the lowest key that found no room: it and what follows wait
    std::size_t size = 0;
    const Emit<Item> take = [&](Item&& item) -> Status {
      if (last && item.key <= *last) return Done{};
      if (from && item.key >= *from) return Done{};
      size += item.size_bytes();
      std::string key = item.key;
      kept.emplace(std::move(key), std::move(item));
      // All of one key stay together, or who comes later of it would be passed over.
      while (size > most_bytes && kept.begin()->first != kept.rbegin()->first) {
        from = kept.rbegin()->first;
        for (auto end = kept.equal_range(*from); end.first != end.second;) {
          size -= end.first->second.size_bytes();
          end.first = kept.erase(end.first);
        }
      }
      if (size > 4 * most_bytes) return Error{Errc::limit, "too many things of one name"};
      return Done{};
    };
    if (auto listed = list(take); !listed) return listed;
    for (auto group = kept.begin(); group != kept.end();) {
      std::vector<Item> same;
      const auto end = kept.upper_bound(group->first);
      for (; group != end; ++group) same.push_back(std::move(group->second));
      std::sort(same.begin(), same.end());
      last = same.front().key;
      for (Item& item : same) {
        if (auto done = emit(std::move(item)); !done) return done;
      }
    }
    if (!from) return Done{};
  }
  return Error{Errc::limit, "longer than " + std::to_string(kMaxPasses) + " passes over it reach"};
}

Status emit_ordered(const ListItems& list, const Emit<Item>& emit) {
  std::string last;
  return list([&](Item&& item) -> Status {
    if (item.key < last) return Error{Errc::mismatch, "a list that is not in its order"};
    last = item.key;
    return emit(std::move(item));
  });
}

}  // namespace ctriage::compare
