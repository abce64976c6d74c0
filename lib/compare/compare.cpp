#include "lib/compare/compare.h"

#include <algorithm>
#include <array>

#include "lib/compare/page_table.h"
#include "lib/core/text.h"

namespace ctriage::compare {
namespace {

constexpr std::size_t kIdDigits = 64;
constexpr std::size_t kShortId = 12;

std::optional<Facet> facet_of(ComparedKind kind) {
  switch (kind) {
    case ComparedKind::container:
      return Facet::containers;
    case ComparedKind::process:
      return Facet::processes;
    case ComparedKind::mapping:
      return Facet::mappings;
    case ComparedKind::descriptor:
      return Facet::descriptors;
    case ComparedKind::socket:
      return Facet::sockets;
    case ComparedKind::file:
      return Facet::changes;
    case ComparedKind::mount:
      return Facet::mounts;
    case ComparedKind::layer:
      return Facet::layers;
    case ComparedKind::memory:
      break;
  }
  return std::nullopt;
}

bool is_engine_id(const std::string& id) {
  return id.size() == kIdDigits && id.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string called(const ServedContainer& container) {
  std::string name = container.pod.empty() ? container.name : container.pod + "/" + container.name;
  return (name.empty() ? std::string("?") : name) + " (" + container.id.substr(0, kShortId) + ")";
}

}  // namespace

bool Comparer::is_meant(const ServedContainer& container) const {
  const std::string& wanted = options_.container;
  return wanted.empty() || container.name == wanted || container.id.starts_with(wanted);
}

Result<Comparison> Comparer::begin(Task& task) {
  for (std::size_t i = 0; i < sides_.size(); ++i) {
    auto served = sides_[i]->describe();
    if (!served) return std::move(served).error();
    served_[i] = *std::move(served);
  }
  Comparison comparison;
  comparison.before = served_[0].source;
  comparison.after = served_[1].source;
  if (auto matched = match_containers(comparison, task); !matched) return std::move(matched).error();
  return comparison;
}

// By id, then by name, then what is left over alone on both sides.
Status Comparer::match_containers(Comparison& comparison, Task& task) {
  std::array<std::vector<const ServedContainer*>, 2> left;
  for (std::size_t i = 0; i < left.size(); ++i) {
    for (const ServedContainer& container : served_[i].containers) {
      if (is_meant(container)) left[i].push_back(&container);
    }
    if (left[i].empty() && !options_.container.empty())
      return Error{Errc::not_found,
                   std::string(kSideNames[i]) + ": no container " + options_.container + " in it"};
  }
  const auto pair_by = [&](const auto& same) {
    for (auto one = left[0].begin(); one != left[0].end();) {
      const auto other = std::ranges::find_if(left[1], [&](const auto* each) { return same(**one, *each); });
      if (other == left[1].end()) {
        ++one;
        continue;
      }
      pairs_.push_back({*one, *other, Sameness::unknown, {}});
      left[1].erase(other);
      one = left[0].erase(one);
    }
  };
  using C = ServedContainer;
  pair_by([](const C& a, const C& b) { return a.id == b.id; });
  pair_by([](const C& a, const C& b) { return a.name == b.name && a.sandbox == b.sandbox; });
  const auto alone = [&](std::size_t side) {
    return std::ranges::count_if(left[side], [](const C* each) { return !each->sandbox; }) == 1;
  };
  if (alone(0) && alone(1)) pair_by([](const C& a, const C& b) { return !a.sandbox && !b.sandbox; });
  std::ranges::sort(pairs_, {},
                    [](const Pair& pair) { return std::tie(pair.before->name, pair.before->id); });
  for (Pair& pair : pairs_) {
    const C& a = *pair.before;
    const C& b = *pair.after;
    const bool starts_known = a.init_start_ticks != 0 && b.init_start_ticks != 0;
    const bool same_first = starts_known && a.init_start_ticks == b.init_start_ticks &&
                            served_[0].source.node == served_[1].source.node;
    const bool engine_ids = is_engine_id(a.id) && is_engine_id(b.id);
    if (a.id == b.id && (engine_ids || same_first || !starts_known)) {
      pair.sameness = Sameness::same;
    } else if (!engine_ids && same_first) {
      pair.sameness = Sameness::same;  // with an engine's records and without
    } else if (engine_ids || starts_known) {
      pair.sameness = Sameness::another;
    }
    ComparedContainer told{a.id, b.id, Bytes(a.name), std::nullopt};
    if (pair.sameness != Sameness::same) {
      std::string why = "A is " + called(a) + ", B is " + called(b) + ": ";
      why += pair.sameness == Sameness::another ? "not one container" : "whether they are one cannot be told";
      if (!a.image.empty() && !b.image.empty())
        why += a.image == b.image ? ", of one image" : ", and of two images, " + a.image + " and " + b.image;
      if (pair.sameness == Sameness::another)
        why +=
            "; processes are matched by pid and program, mappings by name, and page contents are not "
            "compared "
            "unless asked for";
      told.warning = Bytes(why);
      task.gaps.add({Impact::note, "compare.container", a.name, {Errc::mismatch, why}});
    }
    if (options_.kinds.contains(ComparedKind::file))
      task.gaps.add(
          {Impact::note,
           "compare.file",
           a.name,
           {Errc::unsupported,
            "files in tmpfs and volumes, open files without a name, queues and memfd contents are not "
            "compared: extract has them"}});
    comparison.containers.push_back(std::move(told));
  }
  for (const C* each : left[0]) pairs_.push_back({each, nullptr, Sameness::another, {}});
  for (const C* each : left[1]) pairs_.push_back({nullptr, each, Sameness::another, {}});
  return Done{};
}

const Coverage& Comparer::coverage(std::size_t side, ComparedKind kind) const {
  static const Coverage whole{Coverage::Level::whole, ""};
  const auto facet = facet_of(kind);
  return facet ? served_[side].coverage[static_cast<std::size_t>(*facet)] : whole;
}

std::optional<std::string> Comparer::why_not(ComparedKind kind, const Pair& pair) const {
  for (std::size_t i = 0; i < sides_.size(); ++i) {
    const Coverage& its = coverage(i, kind);
    if (its.level == Coverage::Level::none)
      return std::string(kSideNames[i]) + " has none" + (its.why.empty() ? "" : ": " + its.why);
    if (is_of_process(kind) && coverage(i, ComparedKind::process).level == Coverage::Level::none)
      return std::string(kSideNames[i]) + " has no processes";
  }
  if (is_of_process(kind) && pair.matched.empty()) return "no process is in both";
  if (options_.pid != 0 &&
      (kind == ComparedKind::file || kind == ComparedKind::mount || kind == ComparedKind::layer) &&
      !options_.asked.contains(kind))
    return "is no part of one process";
  return std::nullopt;
}

Status Comparer::compare_container(const Pair& pair, Comparison& comparison, const Emit<Difference>& emit) {
  const ServedContainer& known = pair.before != nullptr ? *pair.before : *pair.after;
  ComparedList list;
  list.kind = ComparedKind::container;
  list.container = Bytes(known.name);
  list.compared = true;
  list.before = pair.before != nullptr ? 1 : 0;
  list.after = pair.after != nullptr ? 1 : 0;
  Difference difference;
  difference.container = known.id;
  difference.container_name = Bytes(known.name);
  difference.what = Bytes(known.image);
  Status done = Done{};
  if (pair.before == nullptr || pair.after == nullptr) {
    difference.change = pair.before == nullptr ? DifferenceChange::added : DifferenceChange::gone;
    difference.differs = described(known.item, difference.change);
    ++(pair.before == nullptr ? list.added : list.gone);
    done = emit(std::move(difference));
  } else {
    Item before = pair.before->item;
    Item after = pair.after->item;
    // A checkpoint is of one that ran: that says nothing of the container.
    if (comparison.before.kind != comparison.after.kind) {
      for (Item* item : {&before, &after})
        std::erase_if(item->fields, [](const Field& field) { return field.name == "state"; });
    }
    difference.differs = differing_fields(before, after);
    if (!difference.differs.empty()) {
      ++list.changed;
      done = emit(std::move(difference));
    }
  }
  comparison.compared.push_back(std::move(list));
  return done;
}

Status Comparer::run(Comparison& comparison, const Emit<Difference>& emit, Task& task) {
  for (Pair& pair : pairs_) {
    if (options_.kinds.contains(ComparedKind::container)) {
      if (auto done = compare_container(pair, comparison, emit); !done) return done;
    }
    if (pair.before == nullptr || pair.after == nullptr) continue;
    for (const ComparedKind kind :
         {ComparedKind::process, ComparedKind::mapping, ComparedKind::descriptor, ComparedKind::socket,
          ComparedKind::file, ComparedKind::mount, ComparedKind::layer}) {
      // Who is in both is asked whatever is compared.
      const bool needed =
          kind == ComparedKind::process && (options_.kinds.contains(ComparedKind::mapping) ||
                                            options_.kinds.contains(ComparedKind::descriptor) ||
                                            options_.kinds.contains(ComparedKind::memory));
      if (!options_.kinds.contains(kind) && !needed) continue;
      if (auto done = compare_list(kind, pair, comparison, emit, task); !done) return done;
    }
  }
  if (options_.kinds.contains(ComparedKind::memory)) {
    if (auto done = compare_pages(comparison, emit, task); !done) return done;
  }
  for (Side* side : sides_) {
    if (auto taken = side->take_gaps(task.gaps); !taken) return taken;
  }
  return Done{};
}

}  // namespace ctriage::compare
