// Page contents: digests of A's pages are kept, as many as fit, and B's are compared with them as they come;
// if A has more, both are walked through again.
#include <algorithm>

#include "lib/compare/compare.h"
#include "lib/compare/page_table.h"
#include "lib/core/text.h"

namespace ctriage::compare {
namespace {

struct Counts {
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  std::uint64_t both = 0;
  std::uint64_t different = 0;
};

// A mapping whose pages are being compared.
struct Open {
  PageArea area;
  std::uint64_t compared = 0;
  std::uint64_t different = 0;
  std::uint64_t first = 0;
};

}  // namespace

Status Comparer::compare_pages(Comparison& comparison, const Emit<Difference>& emit, Task& task) {
  std::array<PagesRequest, 2> requests;
  std::vector<Pair*> compared;
  const auto leave = [&](const Pair& pair, std::string why) {
    ComparedList list;
    list.kind = ComparedKind::memory;
    list.container = Bytes(pair.before->name);
    list.why = Bytes(std::move(why));
    comparison.compared.push_back(std::move(list));
  };
  for (Pair& pair : pairs_) {
    if (pair.before == nullptr || pair.after == nullptr) continue;
    if (const auto* live = comparison.before.kind == "live"  ? "A"
                           : comparison.after.kind == "live" ? "B"
                                                             : nullptr;
        live != nullptr && !options_.live_memory) {
      leave(pair, std::string(live) + " is live: reading its memory is asked for with --memory");
    } else if (pair.sameness == Sameness::another && !options_.asked.contains(ComparedKind::memory)) {
      leave(pair, "two containers: equal addresses say nothing; --memory compares them all the same");
    } else if (pair.matched.empty()) {
      leave(pair, "no process is in both");
    } else {
      compared.push_back(&pair);
      requests[0].containers.push_back(pair.before->id);
      requests[1].containers.push_back(pair.after->id);
    }
  }
  if (compared.empty()) return Done{};
  for (PagesRequest& request : requests) {
    request.pid = options_.pid;
    request.salt = options_.salt;
  }

  std::vector<Counts> counts(compared.size());
  std::optional<Open> open;
  const auto is_wanted = [&](const PageRun& run) {
    return run.area.container < compared.size() &&
           compared[run.area.container]->matched.contains(run.area.pid);
  };
  const auto close = [&]() -> Status {
    const std::optional<Open> done = std::exchange(open, std::nullopt);
    if (!done || done->different == 0) return Done{};
    const Pair& pair = *compared[done->area.container];
    Difference difference;
    difference.container = pair.before->id;
    difference.container_name = Bytes(pair.before->name);
    difference.kind = ComparedKind::memory;
    difference.pid = done->area.pid;
    difference.what = Bytes(done->area.protection + (done->area.path.empty() ? "" : " " + done->area.path));
    difference.address = Hex{done->first};
    difference.pages_compared = done->compared;
    difference.pages_different = done->different;
    return emit(std::move(difference));
  };
  const auto compare_run = [&](const PageTable& table, const PageRun& run) -> Status {
    const bool same = open && open->area == run.area;
    if (!same) {
      if (auto done = close(); !done) return done;
      open = Open{run.area, 0, 0, 0};
    }
    Counts& its = counts[run.area.container];
    table.compare(run, [&](std::uint64_t address, bool equal) {
      ++its.both;
      ++open->compared;
      if (equal) return;
      if (open->different++ == 0) open->first = address;
      ++its.different;
    });
    return Done{};
  };

  std::string why;
  std::array<bool, 2> unreadable{};
  const auto note_cut = [&](std::size_t side) {
    const auto cut = sides_[side]->cut();
    if (!cut || unreadable[side]) return;
    unreadable[side] = true;
    why += (why.empty() ? "" : "; ") + sides_[side]->name() + ": " + cut->what;
    if (cut->code != Errc::unsupported)
      task.gaps.add({Impact::lost, "compare.memory", sides_[side]->name(), *cut});
  };
  PageTable table;
  bool more = true;
  for (std::size_t pass = 0; more && pass < kMaxPagePasses; ++pass) {
    more = false;
    if (auto asked = sides_[0]->begin_pages(requests[0]); !asked) return asked;
    std::vector<Counts> seen(compared.size());
    for (;;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto run = sides_[0]->next_pages();
      if (!run) return std::move(run).error();
      if (!*run) break;
      if (!is_wanted(**run)) continue;
      counts[(*run)->area.container].before += pass == 0 ? (*run)->digests.size() : 0;
      // The first pass counts to the end, those that follow stop when the table is full.
      if (!more && !table.add(**run)) more = true;
      if (more && pass > 0) {
        if (auto ended = sides_[0]->give_up(); !ended) return ended;
        break;
      }
    }
    note_cut(0);
    if (table.pages() == 0 && pass > 0) break;
    if (auto asked = sides_[1]->begin_pages(requests[1]); !asked) return asked;
    for (;;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto run = sides_[1]->next_pages();
      if (!run) return std::move(run).error();
      if (!*run) break;
      if (!is_wanted(**run)) continue;
      counts[(*run)->area.container].after += pass == 0 ? (*run)->digests.size() : 0;
      if (auto done = compare_run(table, **run); !done) return done;
    }
    if (auto done = close(); !done) return done;
    note_cut(1);
    if (more && !table.clear()) break;
  }
  if (more) {
    const Error beyond{Errc::limit, "more memory, or in more pieces, than is compared: the rest is not"};
    why += (why.empty() ? "" : "; ") + beyond.what;
    task.gaps.add({Impact::lost, "compare.memory", "A", beyond});
  }
  for (std::size_t i = 0; i < compared.size(); ++i) {
    const Counts& its = counts[i];
    ComparedList list;
    list.kind = ComparedKind::memory;
    list.container = Bytes(compared[i]->before->name);
    list.before = its.before;
    list.after = its.after;
    list.changed = its.different;
    list.gone = its.before - std::min(its.before, its.both);
    list.added = its.after - std::min(its.after, its.both);
    list.compared = its.before > 0 && its.after > 0;
    if (!list.compared && why.empty())
      list.why = Bytes(std::string(its.before == 0 ? "A" : "B") + " has no memory of it");
    else
      list.why = Bytes(why);
    comparison.compared.push_back(std::move(list));
  }
  return Done{};
}

}  // namespace ctriage::compare
