#include "lib/source/target.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMinIdPrefix = 4;
constexpr std::size_t kMaxCandidates = 12;
constexpr std::size_t kShownIdDigits = 12;

struct Match {
  std::string label;  // what a candidate is called in a message; equal labels are one target
  std::size_t index = 0;
};

// Of a pod that is known by a cgroup only there is no name.
std::string pod_label(const Container& container) {
  const PodRef& pod = *container.pod;
  return pod.name.empty() ? "pod:" + pod.uid : pod.ns + "/" + pod.name;
}

std::string container_label(const Container& container) {
  if (container.pod) return pod_label(container) + "/" + container.name.raw;
  const std::string short_id = container.id.substr(0, kShownIdDigits);
  return container.name.empty() || container.name.raw == container.id ? short_id : container.name.raw;
}

// Two engines, or two namespaces of one, may have containers of the same id.
std::string id_label(const Container& container) {
  std::string label = "ctr:" + container.id.substr(0, kShownIdDigits);
  if (container.pod) return label;
  label += " (";
  if (container.name.raw != container.id) label += container.name.raw + ", ";
  label += container.engine;
  if (!container.engine_namespace.empty()) label += " " + container.engine_namespace.raw;
  return label + ")";
}

using Candidates = std::vector<Match>;

bool matches(std::string_view name, std::string_view wanted, bool exact) {
  return exact ? name == wanted : !wanted.empty() && name.starts_with(wanted);
}

Error ambiguous(const std::string& token, const std::set<std::string>& labels) {
  std::string what = token + ": matches " + std::to_string(labels.size()) + " targets:";
  std::size_t shown = 0;
  for (const std::string& label : labels) {
    if (shown++ == kMaxCandidates) {
      what += " ...";
      break;
    }
    what += " " + label;
  }
  return {Errc::mismatch, what};
}

Error unknown(const std::string& token, const std::vector<runtime::Found>& all) {
  std::set<std::string> pods;
  for (const auto& found : all) {
    pods.insert(found.container.pod ? pod_label(found.container) : container_label(found.container));
  }
  std::string what = token + ": no such pod or container on this node";
  std::size_t shown = 0;
  for (const std::string& pod : pods) {
    if (shown == kMaxCandidates) break;
    what += (shown++ == 0 ? "; there is: " : ", ") + pod;
  }
  if (pods.empty()) what += "; no container of a known runtime was found here";
  if (pods.size() > kMaxCandidates) what += ", ... (ctriage list)";
  return {Errc::not_found, what};
}

struct Parts {
  std::string ns;
  std::string pod;
  std::string container;
};

Parts split_token(const TargetQuery& query, std::string_view token) {
  Parts parts{query.pod_namespace, {}, query.container};
  const auto fields = split(token, '/');
  if (fields.size() == 1) {
    parts.pod = fields[0];
  } else {
    parts.ns = fields[0];
    parts.pod = fields[1];
    if (fields.size() > 2) parts.container = fields[2];
  }
  return parts;
}

std::optional<Match> match_pod(const Parts& parts, const Container& container, std::size_t index,
                               bool exact) {
  if (!container.pod) return std::nullopt;
  if (!parts.ns.empty() && container.pod->ns != parts.ns) return std::nullopt;
  const bool by_uid = !parts.pod.empty() && container.pod->uid == parts.pod;
  if (!by_uid && !matches(container.pod->name, parts.pod, exact)) return std::nullopt;
  if (parts.container.empty()) return Match{pod_label(container), index};
  if (container.sandbox || !matches(container.name.raw, parts.container, exact)) return std::nullopt;
  return Match{container_label(container), index};
}

// What a token says before its name.
struct Scope {
  bool pods = true;
  bool containers = true;
  std::string engine;     // of "docker://ID": then ids only
  bool kubectl = false;   // "pod/NAME"
  std::string_view name;  // the rest
};

// NAME of "pod/NAME" or "pods/NAME", or nothing. The namespace "pod" may have one of that name, too.
std::string_view name_of_kubectl(std::string_view token) {
  const auto slash = token.find('/');
  const std::string_view kind = token.substr(0, slash);
  if (slash == std::string_view::npos || (kind != "pod" && kind != "pods")) return {};
  const std::string_view name = token.substr(slash + 1);
  return name.find('/') == std::string_view::npos ? name : std::string_view{};
}

Scope scope_of(std::string_view token) {
  Scope scope;
  scope.name = token;
  for (const std::string_view engine : {"containerd", "docker", "podman", "cri-o"}) {
    if (!token.starts_with(engine) || !token.substr(engine.size()).starts_with("://")) continue;
    scope.pods = false;
    scope.engine = engine;
    scope.name.remove_prefix(engine.size() + 3);
    return scope;
  }
  scope.pods = !token.starts_with("ctr:");
  scope.containers = !token.starts_with("pod:");
  if (!scope.pods || !scope.containers) scope.name.remove_prefix(4);
  scope.kubectl = scope.pods && scope.containers && !name_of_kubectl(token).empty();
  return scope;
}

// A container that its engine or nobody manages, by its name; with "ctr:" those of pods, too.
bool has_name(const Scope& scope, const Container& container, bool exact) {
  if (!scope.engine.empty() || (container.pod && scope.pods)) return false;
  return matches(container.name.raw, scope.name, exact);
}

// The engine's own word for it; what only a cgroup names may be of any engine.
bool has_id(const Scope& scope, const Container& container, bool exact) {
  if (!scope.engine.empty() && container.engine != scope.engine && container.engine != "unknown")
    return false;
  return (exact || scope.name.size() >= kMinIdPrefix) && matches(container.id, scope.name, exact);
}

bool is_wanted(const TargetQuery& query, const Container& container) {
  const std::string& its = container.pod ? container.pod->ns : container.engine_namespace.raw;
  if (!query.pod_namespace.empty() && its != query.pod_namespace) return false;
  return query.container.empty() || container.name.raw == query.container;
}

bool has_ended(const Container& container) {
  return container.state == ContainerState::exited || container.state == ContainerState::recovered;
}

// Of a whole pod: an instance that ended is left out where a later one of the same name has taken its place.
std::vector<std::size_t> without_replaced(const Candidates& found, const std::vector<runtime::Found>& all) {
  std::set<std::string> living;
  for (const Match& match : found) {
    const Container& container = all[match.index].container;
    if (!has_ended(container)) living.insert(container.name.raw);
  }
  std::vector<std::size_t> kept;
  for (const Match& match : found) {
    const Container& container = all[match.index].container;
    if (!has_ended(container) || !living.contains(container.name.raw)) kept.push_back(match.index);
  }
  return kept;
}

bool has_labels(const std::vector<std::string>& labels, const Container& container) {
  return std::ranges::all_of(labels, [&](const std::string& label) {
    return std::ranges::find(container.labels, label, &Bytes::raw) != container.labels.end();
  });
}

Result<Resolved> resolve_found(const std::string& what, const Candidates& found, bool whole_name,
                               const std::vector<runtime::Found>& all) {
  if (found.empty()) return unknown(what, all);
  std::set<std::string> labels;
  for (const Match& match : found) labels.insert(match.label);
  if (labels.size() > 1) return ambiguous(what, labels);

  Resolved resolved;
  resolved.exact = whole_name;
  resolved.containers = without_replaced(found, all);
  std::sort(resolved.containers.begin(), resolved.containers.end());
  resolved.containers.erase(std::unique(resolved.containers.begin(), resolved.containers.end()),
                            resolved.containers.end());
  const Container& first = all[resolved.containers.front()].container;
  resolved.whole_pod = first.pod && found.front().label == pod_label(first);
  resolved.name = resolved.whole_pod ? pod_label(first) : container_label(first);
  return resolved;
}

std::string labels_text(const TargetQuery& query) {
  std::string what = "-l";
  for (const std::string& label : query.labels) what += " " + label;
  return what;
}

// By labels alone: the pod, or the container with -c or without a pod.
Candidates find_labelled(const TargetQuery& query, const std::vector<bool>& selected,
                         const std::vector<runtime::Found>& all) {
  Candidates found;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Container& container = all[i].container;
    if (!selected[i] || !is_wanted(query, container)) continue;
    const bool whole = container.pod && query.container.empty();
    if (container.pod && !whole && container.sandbox) continue;
    found.push_back(
        {whole ? pod_label(container) : (container.pod ? container_label(container) : id_label(container)),
         i});
  }
  return found;
}

}  // namespace

Result<std::vector<bool>> select_by_labels(const std::vector<std::string>& labels,
                                           const std::vector<runtime::Found>& all) {
  for (const std::string& label : labels) {
    if (label.find('=') == std::string::npos || label.starts_with('='))
      return Error{Errc::malformed, "-l " + label + ": not key=value"};
  }
  std::set<std::string> sandboxes;
  for (const runtime::Found& found : all) {
    if (found.container.sandbox && has_labels(labels, found.container)) sandboxes.insert(found.container.id);
  }
  std::vector<bool> selected;
  for (const runtime::Found& found : all) {
    const Container& container = found.container;
    const bool by_pod = container.pod && sandboxes.contains(container.pod->sandbox_id);
    selected.push_back(by_pod || has_labels(labels, container));
  }
  return selected;
}

Result<Resolved> resolve_target(const TargetQuery& query, const std::vector<runtime::Found>& all) {
  std::vector<bool> selected(all.size(), true);
  if (!query.labels.empty()) {
    auto by_labels = select_by_labels(query.labels, all);
    if (!by_labels) return std::move(by_labels).error();
    if (query.token.empty())
      return resolve_found(labels_text(query), find_labelled(query, *by_labels, all), true, all);
    selected = *std::move(by_labels);
  }
  const Scope scope = scope_of(query.token);
  std::vector<Parts> pods;
  if (scope.pods) pods.push_back(split_token(query, scope.name));
  if (scope.kubectl)
    pods.push_back(Parts{query.pod_namespace, std::string(name_of_kubectl(scope.name)), query.container});
  const bool containers = scope.containers && scope.name.find('/') == std::string_view::npos;

  Candidates found;
  bool whole_name = true;
  for (const bool exact : {true, false}) {  // whole names of any kind push out the prefixes
    for (std::size_t i = 0; i < all.size() && !scope.name.empty(); ++i) {
      const Container& container = all[i].container;
      if (!selected[i]) continue;
      for (const Parts& parts : pods) {
        if (auto match = match_pod(parts, container, i, exact)) found.push_back(*std::move(match));
      }
      if (!containers || !is_wanted(query, container)) continue;
      if (has_name(scope, container, exact) || has_id(scope, container, exact)) {
        found.push_back({id_label(container), i});
      }
    }
    whole_name = exact;
    if (!found.empty()) break;
  }
  return resolve_found(query.token, found, whole_name, all);
}

Result<std::vector<Resolved>> resolve_each(const TargetQuery& query, const std::vector<runtime::Found>& all) {
  const auto selected = select_by_labels(query.labels, all);
  if (!selected) return selected.error();
  std::vector<std::string> order;
  std::map<std::string, Candidates> by_label;
  for (Match& match : find_labelled(query, *selected, all)) {
    // A pod by its name; a container without one by all of its id, and whose it is: who may start containers
    // may call two alike.
    const Container& container = all[match.index].container;
    const std::string key = container.pod ? match.label
                                          : container.engine + " " + container.engine_namespace.raw + " " +
                                                container.engine_root.raw + " " + container.id;
    Candidates& of = by_label[key];
    if (of.empty()) order.push_back(key);
    of.push_back(std::move(match));
  }
  if (order.empty() && query.labels.empty())
    return Error{Errc::not_found, all.empty()
                                      ? "no container of a known runtime was found on this node"
                                      : "no container runs on this node: ctriage list has all of them"};
  if (order.empty()) return unknown(labels_text(query), all);
  std::vector<Resolved> each;
  for (const std::string& label : order) {
    auto resolved = resolve_found(label, by_label[label], true, all);
    if (!resolved) return std::move(resolved).error();
    each.push_back(*std::move(resolved));
  }
  return each;
}

TargetQuery exact_query(const TargetQuery& query, const Resolved& resolved,
                        const std::vector<runtime::Found>& all) {
  const Container& first = all[resolved.containers.front()].container;
  TargetQuery exact;
  exact.root = query.root;
  if (first.pod) {
    exact.token = resolved.name.starts_with("pod:") ? resolved.name : "pod:" + resolved.name;
    // A label that only some containers of the pod have still chooses among them.
    const std::set<std::size_t> chosen(resolved.containers.begin(), resolved.containers.end());
    for (std::size_t i = 0; i < all.size() && resolved.whole_pod; ++i) {
      const Container& other = all[i].container;
      if (other.pod && pod_label(other) == resolved.name && !has_ended(other) && !chosen.contains(i))
        exact.labels = query.labels;
    }
    return exact;
  }
  const bool has_prefix = is_live_token(first.engine + "://");
  exact.token = (has_prefix ? first.engine + "://" : "ctr:") + first.id;
  exact.pod_namespace = first.engine_namespace.raw;
  return exact;
}

Result<std::optional<std::int32_t>> parse_pid_token(std::string_view token) {
  if (!token.starts_with("pid:")) return std::optional<std::int32_t>{};
  const auto pid = parse_number<std::int32_t>(token.substr(4));
  if (!pid || *pid <= 0) return Error{Errc::malformed, std::string(token) + ": not a process id"};
  return std::optional<std::int32_t>{*pid};
}

bool is_live_token(std::string_view token) {
  constexpr std::array<std::string_view, 7> kPrefixes{"pid:",      "pod:",     "ctr:",         "docker://",
                                                      "podman://", "cri-o://", "containerd://"};
  return std::ranges::any_of(kPrefixes, [&](std::string_view prefix) { return token.starts_with(prefix); });
}

std::optional<std::string> path_of_token(std::string_view token) {
  if (token.starts_with("file:")) return std::string(token.substr(5));
  if (token == "-" || token.starts_with("/") || token.starts_with("./") || token.starts_with("../")) {
    return std::string(token);
  }
  return std::nullopt;
}

}  // namespace ctriage::source
