// One list of both sources, in step, a group of equal keys at a time.
#include <algorithm>

#include "lib/compare/compare.h"
#include "lib/core/text.h"

namespace ctriage::compare {
namespace {

// The same moment of time in two forms: a tar header may have whole seconds only.
bool same_time(const std::string& one, const std::string& other) {
  Timestamp a;
  Timestamp b;
  if (!parse_rfc3339(one, a) || !parse_rfc3339(other, b)) return one == other;
  return a.seconds == b.seconds &&
         (a.nanoseconds == b.nanoseconds || a.nanoseconds == 0 || b.nanoseconds == 0);
}

bool same_value(const Field& one, const Field& other) {
  return one.value == other.value || (one.name == "mtime" && same_time(one.value, other.value));
}

}  // namespace

bool is_of_process(ComparedKind kind) {
  return kind == ComparedKind::mapping || kind == ComparedKind::descriptor;
}

std::vector<DifferingField> described(const Item& item, DifferenceChange change) {
  std::vector<DifferingField> fields;
  for (const Field& field : item.fields) {
    if (field.name.starts_with("env ")) continue;  // of a process that only one has: show tells it
    DifferingField one{field.name, std::nullopt, std::nullopt};
    (change == DifferenceChange::gone ? one.before : one.after) = Bytes(field.value);
    fields.push_back(std::move(one));
  }
  return fields;
}

std::vector<DifferingField> differing_fields(const Item& before, const Item& after) {
  std::vector<DifferingField> differs;
  for (const Field& field : before.fields) {
    const auto other = std::ranges::find(after.fields, field.name, &Field::name);
    if (other == after.fields.end()) {
      if (field.absence_counts) differs.push_back({field.name, Bytes(field.value), std::nullopt});
    } else if (!same_value(field, *other)) {
      differs.push_back({field.name, Bytes(field.value), Bytes(other->value)});
    }
  }
  for (const Field& field : after.fields) {
    if (field.absence_counts && before.find(field.name) == nullptr)
      differs.push_back({field.name, std::nullopt, Bytes(field.value)});
  }
  return differs;
}

namespace {

struct Settled {
  DifferenceChange change = DifferenceChange::changed;
  std::vector<DifferingField> differs;
};

// What it means that these two of one key are not alike; nothing: they are. A file that one of them deleted,
// or that neither the image nor the other has, is gone or added.
std::optional<Settled> settle(const Item& before, const Item& after) {
  if (before.like_absent && after.like_absent) return std::nullopt;
  auto differs = differing_fields(before, after);
  if (differs.empty()) return std::nullopt;
  const std::string* was = before.find("is");
  const std::string* is = after.find("is");
  if (was != nullptr && is != nullptr && (*was == "there") != (*is == "there")) {
    const DifferenceChange change = *is == "there" ? DifferenceChange::added : DifferenceChange::gone;
    return Settled{change, described(*is == "there" ? after : before, change)};
  }
  if (was != nullptr && is != nullptr && *was != "there") return std::nullopt;  // neither has it
  return Settled{DifferenceChange::changed, std::move(differs)};
}

// What is there in the source that has no such item in its list.
Item absent(const Item& listed) {
  Item item = listed;
  item.fields = listed.otherwise;
  item.like_absent = false;
  return item;
}

}  // namespace

// Things of one key, of both sides.
struct Comparer::Group {
  std::vector<Item> before;
  std::vector<Item> after;
};

namespace {

// One side of a list, a group of equal keys at a time.
class Groups {
 public:
  explicit Groups(Side& side) : side_(side) {}
  // Nothing at the end.
  Result<const std::string*> peek() {
    if (!next_ && !ended_) {
      auto item = side_.next();
      if (!item) return std::move(item).error();
      next_ = *std::move(item);
      ended_ = !next_;
      if (next_ && last_ && next_->key <= *last_)
        return Error{Errc::mismatch, side_.name() + ": a list that is not in its order"};
    }
    return next_ ? &next_->key : nullptr;
  }
  Status take(const std::string& key, std::vector<Item>& into, std::uint64_t& count) {
    std::size_t size = 0;
    last_.reset();
    for (;;) {
      auto there = peek();
      if (!there) return std::move(there).error();
      if (*there == nullptr || **there != key) break;
      size += next_->size_bytes();
      if (size > kMaxGroupBytes) return Error{Errc::limit, side_.name() + ": too many things of one name"};
      into.push_back(*std::exchange(next_, std::nullopt));
      ++count;
    }
    last_ = key;
    if (next_ && next_->key < key)
      return Error{Errc::mismatch, side_.name() + ": a list that is not in its order"};
    return Done{};
  }

 private:
  Side& side_;
  std::optional<Item> next_;
  std::optional<std::string> last_;
  bool ended_ = false;
};

// Takes away what is the same on both sides.
void drop_equal(std::vector<Item>& before, std::vector<Item>& after) {
  for (auto one = before.begin(); one != before.end();) {
    const auto other = std::ranges::find_if(after, [&](const Item& each) {
      return one->start == each.start && differing_fields(*one, each).empty();
    });
    if (other == after.end() || after.size() > 4'096) {
      ++one;
      continue;
    }
    after.erase(other);
    one = before.erase(one);
  }
}

}  // namespace

Status Comparer::compare_list(ComparedKind kind, Pair& pair, Comparison& comparison,
                              const Emit<Difference>& emit, Task& task) {
  ComparedList list;
  list.kind = kind;
  list.container = Bytes(pair.before->name);
  const bool told = options_.kinds.contains(kind);
  if (const auto reason = why_not(kind, pair)) {
    list.why = Bytes(*reason);
    if (told) comparison.compared.push_back(std::move(list));
    return Done{};
  }
  list.compared = true;
  for (std::size_t i = 0; i < sides_.size(); ++i) {
    const Coverage& its = coverage(i, kind);
    if (its.level == Coverage::Level::part)
      list.why = Bytes(list.why.raw + (list.why.empty() ? "" : "; ") + "what " + std::string(kSideNames[i]) +
                       " has is not whole" + (its.why.empty() ? "" : ": " + its.why));
  }
  ListRequest request{kind, pair.before->id, options_.pid, pair.sameness != Sameness::another};
  if (auto asked = sides_[0]->begin_list(request); !asked) return asked;
  request.container = pair.after->id;
  if (auto asked = sides_[1]->begin_list(request); !asked) return asked;

  // `lacking`: the side that has no such item, where one has none.
  const auto emit_one = [&](const Item& item, DifferenceChange change, std::vector<DifferingField> differs,
                            std::optional<std::size_t> lacking) -> Status {
    Difference difference;
    if (lacking && coverage(*lacking, kind).level == Coverage::Level::part) {
      difference.unsure = Bytes("what " + std::string(kSideNames[*lacking]) + " has is not whole");
      ++list.unsure;
    }
    ++(change == DifferenceChange::gone    ? list.gone
       : change == DifferenceChange::added ? list.added
                                           : list.changed);
    if (!told) return Done{};
    difference.container = pair.before->id;
    difference.container_name = Bytes(pair.before->name);
    difference.kind = kind;
    difference.change = change;
    if (item.pid != 0) difference.pid = item.pid;
    difference.what = Bytes(item.what);
    difference.differs = std::move(differs);
    if (kind == ComparedKind::mapping && item.start != 0) difference.address = Hex{item.start};
    return emit(std::move(difference));
  };
  const auto is_same_process = [&](const Item& before, const Item& after) {
    if (pair.sameness == Sameness::same && before.start != 0 && after.start != 0)
      return before.start == after.start;
    if (before.pid == 1) return true;
    const std::string* one = before.find("exe");
    const std::string* other = after.find("exe");
    return one == nullptr || other == nullptr || *one == *other;
  };
  const auto compare_group = [&](Group& group) -> Status {
    if (is_of_process(kind)) {
      const auto outside = [&](const Item& item) { return !pair.matched.contains(item.pid); };
      std::erase_if(group.before, outside);
      std::erase_if(group.after, outside);
    }
    if (kind == ComparedKind::process) {
      // Of each as many as there are: one, but for a source that gives the same pid twice.
      const std::size_t both = std::min(group.before.size(), group.after.size());
      for (std::size_t i = 0; i < both; ++i) {
        if (!is_same_process(group.before[i], group.after[i])) {
          if (auto done = emit_one(group.before[i], DifferenceChange::gone,
                                   described(group.before[i], DifferenceChange::gone), std::nullopt);
              !done)
            return done;
          if (auto done = emit_one(group.after[i], DifferenceChange::added,
                                   described(group.after[i], DifferenceChange::added), std::nullopt);
              !done)
            return done;
          continue;
        }
        // First processes of two containers that run two programs have nothing in common but their number.
        const std::string* one = group.before[i].find("exe");
        const std::string* other = group.after[i].find("exe");
        const bool unlike = one != nullptr && other != nullptr && *one != *other;
        if (pair.matched.size() < kMaxMatched && !(unlike && pair.sameness == Sameness::another))
          pair.matched.insert(group.before[i].pid);
        auto differs = differing_fields(group.before[i], group.after[i]);
        if (differs.empty()) continue;
        if (auto done = emit_one(group.after[i], DifferenceChange::changed, std::move(differs), std::nullopt);
            !done)
          return done;
      }
      group.before.erase(group.before.begin(), group.before.begin() + static_cast<std::ptrdiff_t>(both));
      group.after.erase(group.after.begin(), group.after.begin() + static_cast<std::ptrdiff_t>(both));
    } else {
      drop_equal(group.before, group.after);
      const std::size_t both = std::min(group.before.size(), group.after.size());
      for (std::size_t i = 0; i < both; ++i) {
        auto settled = settle(group.before[i], group.after[i]);
        if (!settled) continue;
        if (auto done = emit_one(group.after[i], settled->change, std::move(settled->differs), std::nullopt);
            !done)
          return done;
      }
      group.before.erase(group.before.begin(), group.before.begin() + static_cast<std::ptrdiff_t>(both));
      group.after.erase(group.after.begin(), group.after.begin() + static_cast<std::ptrdiff_t>(both));
    }
    const auto emit_alone = [&](const Item& item, DifferenceChange change) -> Status {
      if (item.like_absent) return Done{};
      const std::size_t lacking = change == DifferenceChange::gone ? 1 : 0;
      if (item.otherwise.empty()) return emit_one(item, change, described(item, change), lacking);
      auto settled =
          change == DifferenceChange::gone ? settle(item, absent(item)) : settle(absent(item), item);
      return settled ? emit_one(item, settled->change, std::move(settled->differs), lacking) : Status(Done{});
    };
    for (const Item& item : group.before) {
      if (auto done = emit_alone(item, DifferenceChange::gone); !done) return done;
    }
    for (const Item& item : group.after) {
      if (auto done = emit_alone(item, DifferenceChange::added); !done) return done;
    }
    return Done{};
  };

  std::array<Groups, 2> groups{Groups(*sides_[0]), Groups(*sides_[1])};
  const auto compare_all = [&]() -> Status {
    for (;;) {
      if (auto go_on = task.check(); !go_on) return go_on;
      auto before = groups[0].peek();
      if (!before) return std::move(before).error();
      auto after = groups[1].peek();
      if (!after) return std::move(after).error();
      if (*before == nullptr && *after == nullptr) return Done{};
      // Where a list ended early nothing is known of what would follow.
      if ((*before == nullptr && sides_[0]->cut()) || (*after == nullptr && sides_[1]->cut())) return Done{};
      const std::string key = *before == nullptr  ? **after
                              : *after == nullptr ? **before
                                                  : std::min(**before, **after);
      Group group;
      if (auto taken = groups[0].take(key, group.before, list.before); !taken) return taken;
      if (auto taken = groups[1].take(key, group.after, list.after); !taken) return taken;
      // What one has of the last key that the other reached may go on there.
      if (auto done = compare_group(group); !done) return done;
    }
  };
  auto done = compare_all();
  for (Side* side : sides_) {
    const auto cut = side->cut();
    if (auto ended = side->give_up(); !ended) return ended;
    if (!cut) continue;
    const std::string what = std::string(to_text(kind)) + " of " + pair.before->name;
    list.why = Bytes(list.why.raw + (list.why.empty() ? "" : "; ") + side->name() +
                     " could not be read to its end: " + cut->what);
    task.gaps.add({Impact::lost, "compare." + std::string(to_text(kind)), side->name() + ": " + what, *cut});
  }
  // Too much of one name, or out of order: told, and the other lists go on.
  if (!done && (done.error().code == Errc::limit || done.error().code == Errc::mismatch)) {
    list.why = Bytes(list.why.raw + (list.why.empty() ? "" : "; ") + done.error().what);
    task.gaps.add({Impact::lost, "compare." + std::string(to_text(kind)), pair.before->name, done.error()});
    done = Done{};
  }
  if (told) comparison.compared.push_back(std::move(list));
  return done;
}

}  // namespace ctriage::compare
