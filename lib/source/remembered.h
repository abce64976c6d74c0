#pragma once
// A view may ask for the same list several times: the tree, the rules, a section. What the first reading gave
// is kept while there is room, so that all of them see the same and the node is read once. What found no room
// is read again, and a gap that was told is not told twice: counts add up.
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>

#include "lib/core/task.h"
#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage::source {

// A task for reading something once more: gaps that the log keeps already do not reach it again.
class Again {
 public:
  explicit Again(Task& task);
  Again(const Again&) = delete;
  Again& operator=(const Again&) = delete;
  [[nodiscard]] Task& task() { return task_; }

 private:
  using Key = std::tuple<Impact, std::string, std::string, Errc>;
  std::set<Key> told_;
  GapLog log_;
  Task task_;
};

// Bytes an artifact takes beside its own size.
template <class T>
std::size_t heap_bytes(const T& item) {
  if constexpr (std::is_same_v<T, std::string>) {
    return item.capacity();
  } else if constexpr (std::is_same_v<T, Bytes>) {
    return item.raw.capacity();
  } else if constexpr (Artifact<const T>) {
    std::size_t sum = 0;
    auto each = [&sum](std::string_view, const auto& member, std::string_view) { sum += heap_bytes(member); };
    T::fields(item, each);
    return sum;
  } else if constexpr (requires { item.has_value(); }) {
    return item.has_value() ? heap_bytes(*item) : 0;
  } else if constexpr (requires { item.capacity(); }) {
    std::size_t sum = item.capacity() * sizeof(typename T::value_type);
    for (const auto& element : item) sum += heap_bytes(element);
    return sum;
  } else {
    return 0;
  }
}

template <class T>
class Remembered {
 public:
  using Read = std::function<Status(const Emit<T>&, Task&)>;
  explicit Remembered(std::size_t room_bytes) : room_bytes_(room_bytes) {}

  Status list(const std::string& container, const Emit<T>& emit, Task& task, const Read& read) {
    Kept& kept = of_[container];
    if (kept.whole) {
      for (const T& item : kept.items) {
        if (auto go_on = task.check(); !go_on) return go_on;
        if (auto done = emit(T(item)); !done) return done;
      }
      return Done{};
    }
    if (kept.read_before) {
      Again again(task);
      return read(emit, again.task());
    }
    kept.read_before = true;
    std::size_t took_bytes = 0;
    bool fits = true;
    const auto drop = [&] {
      fits = false;
      kept.items.clear();
      room_bytes_ += took_bytes;
      took_bytes = 0;
    };
    const Emit<T> keep = [&](T&& item) {
      const std::size_t bytes = fits ? sizeof(T) + heap_bytes(item) : 0;
      if (fits && bytes > room_bytes_) drop();
      if (fits) {
        kept.items.push_back(item);
        room_bytes_ -= bytes;
        took_bytes += bytes;
      }
      return emit(std::move(item));
    };
    auto done = read(keep, task);
    if (done && fits) {
      kept.whole = true;
    } else if (fits) {
      drop();
    }
    return done;
  }

 private:
  struct Kept {
    bool read_before = false;
    bool whole = false;
    std::deque<T> items;
  };
  std::size_t room_bytes_;
  std::map<std::string, Kept> of_;
};

}  // namespace ctriage::source
