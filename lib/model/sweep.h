#pragma once
// What `sweep` tells: every container of a node beside the others, what they share, which replica is not like
// its siblings, which indicators were found where.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/container.h"
#include "lib/model/fields.h"
#include "lib/model/finding.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"
#include "lib/model/process.h"

namespace ctriage {

enum class IndicatorKind : std::uint8_t { sha256, address, path, text };
constexpr auto enum_names(IndicatorKind) {
  return std::array<std::string_view, 4>{"sha256", "address", "path", "text"};
}

struct IndicatorMatch {
  IndicatorKind kind = IndicatorKind::text;
  Bytes indicator;
  std::string container;
  std::optional<std::int32_t> pid;
  Bytes where;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "sha256, address, path, text");
    v("indicator", self.indicator, "as the file of indicators has it");
    v("container", self.container, "container id");
    v("pid", self.pid, "of the process, where it is of one");
    v("where", self.where,
      "what has it: a program, a changed or open file, a connection, memory at an address");
  }
};

struct SweptProgram {  // one that runs, each once
  Bytes path;
  Origin origin = Origin::unknown;
  std::string sha256;
  std::int32_t pid = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "as its process has it");
    v("origin", self.origin, "where the program comes from; image: bytes of an image layer");
    v("sha256", self.sha256, "of its bytes; empty: they could not be read");
    v("pid", self.pid, "one of the processes that run it");
  }
};

struct SweptContainer {
  Container container;
  std::uint64_t processes = 0;
  std::vector<SweptProgram> programs;
  std::vector<Bytes> peers;
  std::vector<Bytes> listens;
  std::vector<Finding> findings;
  std::uint64_t findings_left_out = 0;
  std::vector<IndicatorMatch> matches;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "which");
    v("processes", self.processes, "that run in it");
    v("programs", self.programs, "what they run, each program once");
    v("peers", self.peers, "addresses that its connections lead to, but for loopback");
    v("listens", self.listens, "addresses and ports that it listens on, where its network is its own");
    v("findings", self.findings, "what rules named, the worst first");
    v("findings_left_out", self.findings_left_out, "more of them, of no higher severity than the last");
    v("matches", self.matches, "indicators that were found");
  }
};

struct SweptTarget {  // what one pod or container gave
  Bytes target;
  std::vector<SweptContainer> containers;
  std::optional<Bytes> error;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("containers", self.containers, "those that run, the worst first");
    v("error", self.error, "why it could not be swept");
    v("gaps", self.gaps, "what could not be seen");
  }
};

struct SharedThing {
  std::string kind;
  Bytes value;
  std::vector<Bytes> places;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "sha256: a program that is not the image's; address: of a peer");
    v("value", self.value, "what they share");
    v("places", self.places, "containers, and what it is called there");
  }
};

struct Replica {  // one of several containers of one image and owner that has what the others have not
  std::string container;
  Bytes name;
  Bytes owner;
  Bytes image;
  std::uint64_t siblings = 0;
  std::string differs;
  Bytes value;
  Bytes detail;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("name", self.name, "namespace, pod and container");
    v("owner", self.owner, "the pod's name without what is each replica's own");
    v("image", self.image, "the same for all of them: digest, or name where that is not known");
    v("siblings", self.siblings, "how many others there are");
    v("differs", self.differs, "program, listens");
    v("value", self.value, "SHA-256 of the program, or the address and port");
    v("detail", self.detail, "path of the program");
  }
};

struct SweepResult {
  Bytes node;
  std::vector<SweptTarget> targets;
  std::vector<SharedThing> shared;
  std::vector<Finding> replicas;
  std::uint64_t indicators = 0;
  std::vector<Bytes> left_out;
  std::uint64_t took_ns = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("node", self.node, "which");
    v("targets", self.targets, "pods and containers, the worst first");
    v("shared", self.shared, "what containers of different targets have in common");
    v("replicas", self.replicas, "replicas that are not like their siblings");
    v("indicators", self.indicators, "how many were looked for");
    v("left_out", self.left_out, "what was not swept, and why");
    v("took_ns", self.took_ns, "all of it");
    v("gaps", self.gaps, "what could not be seen of the node");
  }
};

template <>
inline constexpr std::string_view kKind<IndicatorMatch> = "indicator_match";
template <>
inline constexpr std::string_view kKind<SweptProgram> = "swept_program";
template <>
inline constexpr std::string_view kKind<SweptContainer> = "swept_container";
template <>
inline constexpr std::string_view kKind<SweptTarget> = "swept_target";
template <>
inline constexpr std::string_view kKind<SharedThing> = "shared_thing";
template <>
inline constexpr std::string_view kKind<Replica> = "replica";
template <>
inline constexpr std::string_view kKind<SweepResult> = "sweep";

}  // namespace ctriage
