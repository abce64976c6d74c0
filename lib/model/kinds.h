#pragma once
// Names of the artifacts: what a rule's "artifact" says, `ctriage.<kind>/1` of a JSON document, the page of
// the schema.
#include <string>
#include <string_view>

#include "lib/model/container.h"
#include "lib/model/content.h"
#include "lib/model/coverage.h"
#include "lib/model/file.h"
#include "lib/model/finding.h"
#include "lib/model/gap.h"
#include "lib/model/network.h"
#include "lib/model/node.h"
#include "lib/model/outcome.h"
#include "lib/model/posture.h"
#include "lib/model/process.h"
#include "lib/model/tree.h"

namespace ctriage {

template <class T>
inline constexpr std::string_view kKind = {};

template <>
inline constexpr std::string_view kKind<Container> = "container";
template <>
inline constexpr std::string_view kKind<Process> = "process";
template <>
inline constexpr std::string_view kKind<Thread> = "thread";
template <>
inline constexpr std::string_view kKind<Mapping> = "mapping";
template <>
inline constexpr std::string_view kKind<Descriptor> = "descriptor";
template <>
inline constexpr std::string_view kKind<Socket> = "socket";
template <>
inline constexpr std::string_view kKind<Mount> = "mount";
template <>
inline constexpr std::string_view kKind<Layer> = "layer";
template <>
inline constexpr std::string_view kKind<FileChange> = "file_change";
template <>
inline constexpr std::string_view kKind<FileEntry> = "file";
template <>
inline constexpr std::string_view kKind<LogFile> = "log_file";
template <>
inline constexpr std::string_view kKind<Pod> = "pod";
template <>
inline constexpr std::string_view kKind<TreeFile> = "tree_file";
template <>
inline constexpr std::string_view kKind<NetworkEntry> = "network";
template <>
inline constexpr std::string_view kKind<Flow> = "flow";
template <>
inline constexpr std::string_view kKind<NodeFact> = "node_fact";
template <>
inline constexpr std::string_view kKind<Source> = "source";
template <>
inline constexpr std::string_view kKind<Finding> = "finding";
template <>
inline constexpr std::string_view kKind<GapRecord> = "gap";
template <>
inline constexpr std::string_view kKind<CoverageRecord> = "coverage";

// Documents that are one artifact.
template <>
inline constexpr std::string_view kKind<CollectResult> = "collect";
template <>
inline constexpr std::string_view kKind<CollectManyResult> = "collect_many";
template <>
inline constexpr std::string_view kKind<PlanResult> = "plan";
template <>
inline constexpr std::string_view kKind<PlanManyResult> = "plan_many";
template <>
inline constexpr std::string_view kKind<WhoisResult> = "whois";
template <>
inline constexpr std::string_view kKind<VerifyResult> = "verify";

// Parts of the above.
template <>
inline constexpr std::string_view kKind<WhoisMatch> = "whois_match";
template <>
inline constexpr std::string_view kKind<CollectCounts> = "collect_counts";
template <>
inline constexpr std::string_view kKind<CollectedTarget> = "collected_target";
template <>
inline constexpr std::string_view kKind<PlannedStep> = "planned_step";
template <>
inline constexpr std::string_view kKind<SalvagedStream> = "salvaged_stream";
template <>
inline constexpr std::string_view kKind<PodRef> = "pod_ref";
template <>
inline constexpr std::string_view kKind<Posture> = "posture";
template <>
inline constexpr std::string_view kKind<Grant> = "grant";
template <>
inline constexpr std::string_view kKind<TokenClaims> = "token";
template <>
inline constexpr std::string_view kKind<ExecTrace> = "exec";
template <>
inline constexpr std::string_view kKind<HostMount> = "host_mount";
template <>
inline constexpr std::string_view kKind<Executable> = "executable";
template <>
inline constexpr std::string_view kKind<Credentials> = "credentials";
template <>
inline constexpr std::string_view kKind<Capabilities> = "capabilities";
template <>
inline constexpr std::string_view kKind<NamespaceId> = "namespace";
template <>
inline constexpr std::string_view kKind<Limit> = "limit";
template <>
inline constexpr std::string_view kKind<Signals> = "signals";
template <>
inline constexpr std::string_view kKind<SignalHandler> = "signal_handler";
template <>
inline constexpr std::string_view kKind<Timer> = "timer";
template <>
inline constexpr std::string_view kKind<SeccompFilter> = "seccomp_filter";
template <>
inline constexpr std::string_view kKind<SeccompRule> = "seccomp_rule";
template <>
inline constexpr std::string_view kKind<Watch> = "watch";
template <>
inline constexpr std::string_view kKind<BpfMap> = "bpf_map";
template <>
inline constexpr std::string_view kKind<FileState> = "file_state";
template <>
inline constexpr std::string_view kKind<XattrRecord> = "xattr";
template <>
inline constexpr std::string_view kKind<Content> = "content";
template <>
inline constexpr std::string_view kKind<PackageOwner> = "package_owner";
template <>
inline constexpr std::string_view kKind<ImageFacts> = "image";

// "ctriage.process/1": the `schema` of a JSON document or stream of this artifact.
template <class T>
std::string schema_of() {
  return "ctriage." + std::string(kKind<T>) + "/1";
}

}  // namespace ctriage
