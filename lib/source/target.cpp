#include "lib/source/target.h"

#include <algorithm>
#include <functional>
#include <set>

#include "lib/core/text.h"

namespace ctriage::source {
namespace {

constexpr std::size_t kMinIdPrefix = 4;
constexpr std::size_t kMaxCandidates = 12;

struct Match {
  std::string label;  // what a candidate is called in a message; equal labels are one target
  std::size_t index = 0;
};

std::string pod_label(const Container& container) { return container.pod->ns + "/" + container.pod->name; }

std::string container_label(const Container& container) {
  if (container.pod) return pod_label(container) + "/" + container.name.raw;
  return container.id.substr(0, 12);
}

using Candidates = std::vector<Match>;

// All that `names` gives a matching name for; exact matches push out the prefix matches.
Candidates collect(
    const std::vector<runtime::Found>& all,
    const std::function<std::optional<Match>(const Container&, std::size_t, bool exact)>& names) {
  for (const bool exact : {true, false}) {
    Candidates found;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (auto match = names(all[i].container, i, exact)) found.push_back(*std::move(match));
    }
    if (!found.empty()) return found;
  }
  return {};
}

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
  if (!matches(container.pod->name, parts.pod, exact) && container.pod->uid != parts.pod) return std::nullopt;
  if (parts.container.empty()) return Match{pod_label(container), index};
  if (container.sandbox || !matches(container.name.raw, parts.container, exact)) return std::nullopt;
  return Match{container_label(container), index};
}

}  // namespace

Result<Resolved> resolve_target(const TargetQuery& query, const std::vector<runtime::Found>& all) {
  std::string_view token = query.token;
  const bool only_container = token.starts_with("ctr:");
  const bool only_pod = token.starts_with("pod:");
  if (only_container || only_pod) token.remove_prefix(4);
  if (token.starts_with("containerd://")) token.remove_prefix(13);

  Candidates found;
  if (!only_container && !query.token.starts_with("containerd://")) {
    const Parts parts = split_token(query, token);
    found = collect(
        all, [&](const Container& c, std::size_t i, bool exact) { return match_pod(parts, c, i, exact); });
  }
  if (!only_pod && token.size() >= kMinIdPrefix && token.find('/') == std::string_view::npos) {
    Candidates by_id =
        collect(all, [&](const Container& c, std::size_t i, bool exact) -> std::optional<Match> {
          if (!matches(c.id, token, exact)) return std::nullopt;
          if (!query.container.empty() && c.name.raw != query.container) return std::nullopt;
          return Match{"ctr:" + c.id.substr(0, 12), i};
        });
    found.insert(found.end(), by_id.begin(), by_id.end());
  }
  if (found.empty()) return unknown(query.token, all);

  std::set<std::string> labels;
  for (const Match& match : found) labels.insert(match.label);
  if (labels.size() > 1) return ambiguous(query.token, labels);

  Resolved resolved;
  for (const Match& match : found) resolved.containers.push_back(match.index);
  const Container& first = all[resolved.containers.front()].container;
  const bool whole_pod = first.pod && found.front().label == pod_label(first);
  resolved.name = whole_pod ? pod_label(first) : container_label(first);
  return resolved;
}

Result<std::optional<std::int32_t>> parse_pid_token(std::string_view token) {
  if (!token.starts_with("pid:")) return std::optional<std::int32_t>{};
  const auto pid = parse_number<std::int32_t>(token.substr(4));
  if (!pid || *pid <= 0) return Error{Errc::malformed, std::string(token) + ": not a process id"};
  return std::optional<std::int32_t>{*pid};
}

std::optional<std::string> path_of_token(std::string_view token) {
  if (token.starts_with("file:")) return std::string(token.substr(5));
  if (token == "-" || token.starts_with("/") || token.starts_with("./") || token.starts_with("../")) {
    return std::string(token);
  }
  return std::nullopt;
}

}  // namespace ctriage::source
