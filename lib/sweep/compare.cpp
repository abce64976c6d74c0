#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "lib/core/text.h"
#include "lib/sweep/sweep.h"

namespace ctriage::sweep {
namespace {

constexpr std::size_t kMaxShared = 200;
constexpr std::size_t kMaxPlaces = 50;  // of one thing

std::string name_of(const Container& container) {
  const std::string name = container.name.empty() ? container.id.substr(0, 12) : container.name.raw;
  return container.pod ? container.pod->ns + "/" + container.pod->name + "/" + name : name;
}

auto worth(const SweptContainer& swept) {
  std::array<std::size_t, 5> counts{};
  for (const Finding& finding : swept.findings) ++counts[4 - static_cast<std::size_t>(finding.severity)];
  return std::pair(swept.matches.size(), counts);
}

auto worth(const SweptTarget& target) {
  auto best = decltype(worth(SweptContainer{})){};
  for (const SweptContainer& swept : target.containers) best = std::max(best, worth(swept));
  return best;
}

// Letters and digits of names that Kubernetes makes, apimachinery's rand.SafeEncodeString: no vowels, nothing
// that is read as another.
bool is_made_name(std::string_view text) {
  constexpr std::string_view kMade = "bcdfghjklmnpqrstvwxz2456789";
  return text.size() == 5 && text.find_first_not_of(kMade) == text.npos;
}

bool is_ordinal(std::string_view text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == text.npos;
}

struct Things {  // that a group of replicas has
  std::map<std::pair<std::string, std::string>, std::pair<std::set<std::size_t>, Bytes>> by_value;

  void add(std::string_view kind, std::string value, std::size_t member, const Bytes& detail) {
    auto& [members, shown] = by_value[{std::string(kind), std::move(value)}];
    if (members.empty()) shown = detail;
    members.insert(member);
  }
};

}  // namespace

std::string owner_of_pod(const std::string& pod) {
  const auto dash = pod.rfind('-');
  if (dash == std::string::npos || dash == 0) return pod;
  const std::string_view last = std::string_view(pod).substr(dash + 1);
  return is_made_name(last) || is_ordinal(last) ? pod.substr(0, dash) : pod;
}

void rank(std::vector<SweptTarget>& targets) {
  for (SweptTarget& target : targets)
    std::ranges::stable_sort(target.containers, std::greater<>(),
                             [](const SweptContainer& one) { return worth(one); });
  std::ranges::stable_sort(targets, std::greater<>(), [](const SweptTarget& one) { return worth(one); });
}

std::vector<SharedThing> find_shared(const std::vector<SweptTarget>& targets) {
  struct Known {
    std::set<std::size_t> targets;
    std::set<std::string> places;
  };
  std::map<std::pair<std::string, std::string>, Known> known;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    for (const SweptContainer& swept : targets[i].containers) {
      const std::string name = name_of(swept.container);
      const auto add = [&](std::string_view kind, const std::string& value, const std::string& place) {
        Known& one = known[{std::string(kind), value}];
        one.targets.insert(i);
        if (one.places.size() < kMaxPlaces) one.places.insert(place);
      };
      for (const SweptProgram& program : swept.programs) {
        const bool foreign = program.origin != Origin::image && program.origin != Origin::unknown;
        if (foreign && !program.sha256.empty())
          add("sha256", program.sha256, name + " as " + program.path.raw);
      }
      for (const Bytes& peer : swept.peers) add("address", peer.raw, name);
    }
  }
  constexpr std::size_t kMany = 4;
  std::vector<SharedThing> shared;
  for (const auto& [what, one] : known) {
    const bool common =
        what.first == "address" && targets.size() >= kMany && one.targets.size() * 2 > targets.size();
    if (one.targets.size() < 2 || common || shared.size() >= kMaxShared) continue;
    SharedThing thing;
    thing.kind = what.first;
    thing.value = Bytes(what.second);
    for (const std::string& place : one.places) thing.places.emplace_back(place);
    shared.push_back(std::move(thing));
  }
  std::ranges::stable_sort(shared, std::greater<>(), &SharedThing::kind);  // programs before addresses
  return shared;
}

std::vector<Replica> find_odd_replicas(const std::vector<SweptTarget>& targets) {
  // Namespace, owner, container and image: what one controller made of one template.
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::vector<const SweptContainer*>>
      groups;
  for (const SweptTarget& target : targets) {
    for (const SweptContainer& swept : target.containers) {
      const Container& container = swept.container;
      if (!container.pod || container.sandbox) continue;
      const std::string& image =
          container.image_digest.empty() ? container.image.raw : container.image_digest.raw;
      groups[{container.pod->ns, owner_of_pod(container.pod->name), container.name.raw, image}].push_back(
          &swept);
    }
  }
  std::vector<Replica> odd;
  for (const auto& [key, members] : groups) {
    constexpr std::size_t kFewest = 3;
    if (members.size() < kFewest) continue;
    Things things;
    for (std::size_t i = 0; i < members.size(); ++i) {
      for (const SweptProgram& program : members[i]->programs) {
        if (!program.sha256.empty()) things.add("program", program.sha256, i, program.path);
      }
      for (const Bytes& listens : members[i]->listens) things.add("listens", listens.raw, i, {});
    }
    for (const auto& [what, who] : things.by_value) {
      const auto& [have, detail] = who;
      if (have.size() * 2 >= members.size()) continue;
      for (const std::size_t i : have) {
        Replica replica;
        replica.container = members[i]->container.id;
        replica.name = Bytes(name_of(members[i]->container));
        replica.owner = Bytes(std::get<1>(key));
        replica.image = Bytes(std::get<3>(key));
        replica.siblings = members.size() - 1;
        replica.differs = what.first;
        replica.value = Bytes(what.second);
        replica.detail = detail;
        odd.push_back(std::move(replica));
      }
    }
  }
  return odd;
}

}  // namespace ctriage::sweep
