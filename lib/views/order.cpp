#include "lib/views/order.h"

#include <set>
#include <tuple>

namespace ctriage::views {
namespace {

constexpr std::size_t kNodeBytes = 64;  // of a set, and what the allocator adds to strings

struct Earlier {
  static auto key(const Event& event) {
    return std::tie(event.at, event.kind, event.container, event.what, event.message, event.pid, event.path,
                    event.sha256);
  }
  bool operator()(const Event& one, const Event& other) const { return key(one) < key(other); }
};

std::size_t bytes_of(const Event& event) {
  return sizeof(Event) + kNodeBytes + event.what.capacity() + event.message.raw.capacity() +
         event.container.capacity() + (event.path ? event.path->raw.capacity() : 0) +
         (event.sha256 ? event.sha256->capacity() : 0);
}

}  // namespace

Status give_in_order(const ListEventsAgain& list, const OrderOptions& options, const Emit<Event>& emit,
                     Task& task) {
  std::optional<Event> last;  // given
  for (bool first = true;; first = false) {
    std::set<Event, Earlier> kept;
    std::size_t kept_bytes = 0;
    bool left_out = false;
    const Emit<Event> keep = [&](Event&& event) -> Status {
      event.at.seconds += options.skew_s;
      if (options.since && event.at < *options.since) return Done{};
      if (options.until && event.at >= *options.until) return Done{};
      if (last && !Earlier()(*last, event)) return Done{};
      if (left_out && Earlier()(*kept.rbegin(), event)) return Done{};
      const std::size_t bytes = bytes_of(event);
      if (kept.insert(std::move(event)).second) kept_bytes += bytes;
      while (kept_bytes > options.most_bytes && kept.size() > 1) {
        const auto latest = std::prev(kept.end());
        kept_bytes -= bytes_of(*latest);
        kept.erase(latest);
        left_out = true;
      }
      return Done{};
    };
    GapLog told;  // by the first time
    Task again = task.with(told);
    if (auto listed = list(keep, first ? task : again); !listed) return listed;
    while (!kept.empty()) {
      auto event = kept.extract(kept.begin());
      if (kept.empty()) last = event.value();
      if (auto given = emit(std::move(event.value())); !given) return given;
    }
    if (!left_out) return Done{};
  }
}

}  // namespace ctriage::views
