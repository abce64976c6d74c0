#pragma once
// What a person types to name a live target, and which containers that is.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/runtime/runtime.h"

namespace ctriage::source {

struct TargetQuery {
  // pod, ns/pod, ns/pod/container, pod/NAME, pod UID, container ID prefix (>= 4), name of a container without
  // a pod, ENGINE://ID, pod:NAME, ctr:ID or ctr:NAME
  std::string token;
  std::string pod_namespace;  // -n; of a container without a pod: the engine's namespace
  std::string container;      // -c
  // -l, "key=value": all of them, of the container or its pod. With them the token may be empty.
  std::vector<std::string> labels = {};
  std::string root = {};   // --root: where the node's own / is mounted; empty: found
  std::string spool = {};  // --spool: a directory for an unnamed copy of what cannot be seeked; empty: none
};

struct Resolved {
  std::vector<std::size_t> containers;  // indices into the list, sandboxes included when a whole pod is meant
  bool exact = false;                   // by its whole name: no other container can be meant
  bool whole_pod = false;               // else one container
  std::string name;                     // as it resolved: "shop/web-7d9f8c6b5-x2x4q"
};

// For each of `all`: has it these labels itself, or its pod's sandbox? Errc::malformed where one is no
// "key=value".
Result<std::vector<bool>> select_by_labels(const std::vector<std::string>& labels,
                                           const std::vector<runtime::Found>& all);

// Whole names win over unique prefixes. Errc::not_found, or Errc::mismatch for several: the message lists
// candidates.
Result<Resolved> resolve_target(const TargetQuery& query, const std::vector<runtime::Found>& all);

// By labels alone, or with none of them too everything: each pod, and each container without one. With -c
// each such container. In the order of `all`; Errc::not_found where there is none.
Result<std::vector<Resolved>> resolve_each(const TargetQuery& query, const std::vector<runtime::Found>& all);

// What resolves to the same again, whatever else is there. Of one that resolve_each gave.
TargetQuery exact_query(const TargetQuery& query, const Resolved& resolved,
                        const std::vector<runtime::Found>& all);

// N of "pid:N"; nullopt where the token is of another form. Errc::malformed for "pid:" and no number.
Result<std::optional<std::int32_t>> parse_pid_token(std::string_view token);

// A token that can be nothing but a live target: "pid:", "pod:", "ctr:" or "ENGINE://".
bool is_live_token(std::string_view token);

// A token that starts with '/', './' or '../', or is "-", or has the "file:" prefix, is a path.
std::optional<std::string> path_of_token(std::string_view token);

}  // namespace ctriage::source
