#pragma once
// What `collect --json`, `collect --plan`, `verify --json` and `whois --json` say.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/container.h"
#include "lib/model/fields.h"
#include "lib/model/gap.h"

namespace ctriage {

struct CollectCounts {
  std::uint64_t containers = 0;
  std::optional<std::uint64_t> processes;
  std::optional<std::uint64_t> sockets;
  std::optional<std::uint64_t> changes;
  std::optional<std::uint64_t> programs;
  std::optional<std::uint64_t> libraries;
  std::optional<std::uint64_t> volumes;
  std::optional<std::uint64_t> logs;
  std::optional<std::uint64_t> memory_processes;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> memory_left_out;
  std::uint64_t findings = 0;
  std::uint64_t held_files = 0;
  std::uint64_t held_programs = 0;
  std::uint64_t gaps_lost = 0;
  std::uint64_t gaps_degraded = 0;
  std::uint64_t gaps_note = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("containers", self.containers, "containers, the pod's sandbox included");
    v("processes", self.processes, "processes recorded; absent: left out by plan");
    v("sockets", self.sockets, "sockets recorded; absent: left out by plan");
    v("changes", self.changes,
      "changed files; absent: left out by plan, or layers of a container could not be read");
    v("programs", self.programs,
      "running programs that are not in the image, taken; absent: left out by plan");
    v("libraries", self.libraries,
      "mapped libraries that are not in the image or of suspicious programs, taken; absent: left out by "
      "plan");
    v("volumes", self.volumes, "writable volumes listed; absent: left out by plan");
    v("logs", self.logs, "container logs taken; absent: left out by plan");
    v("memory_processes", self.memory_processes,
      "processes of which a core was taken; absent: memory was left out by plan");
    v("memory_bytes", self.memory_bytes, "of memory in those cores; absent: left out by plan");
    v("memory_left_out", self.memory_left_out,
      "processes whose memory is over a limit and was left out; absent: all of it was, by plan");
    v("findings", self.findings, "what rules named");
    v("held_files", self.held_files, "files opened before anything was read");
    v("held_programs", self.held_programs, "running programs opened before anything was read");
    v("gaps_lost", self.gaps_lost, "gaps of impact lost, all that were counted");
    v("gaps_degraded", self.gaps_degraded, "gaps of impact degraded");
    v("gaps_note", self.gaps_note, "gaps of impact note");
  }
};

struct CollectResult {
  Bytes path;
  std::optional<std::string> manifest_sha256;
  std::uint64_t size_bytes = 0;
  bool complete = false;
  std::optional<Bytes> not_sealed;
  std::vector<Bytes> encrypted_to;
  std::optional<std::string> signed_by;
  std::int32_t exit_status = 0;
  CollectCounts counts;
  std::int64_t hold_ns = 0;
  std::int64_t state_ns = 0;
  std::int64_t took_ns = 0;
  std::int64_t cpu_ns = 0;
  std::int64_t resident_growth_bytes = 0;
  std::int64_t frozen_ns = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "of the bundle");
    v("manifest_sha256", self.manifest_sha256, "what verify --digest takes; absent: not sealed");
    v("size_bytes", self.size_bytes, "of the bundle");
    v("complete", self.complete, "sealed and nothing lost");
    v("not_sealed", self.not_sealed, "why the bundle is still NAME.part");
    v("encrypted_to", self.encrypted_to, "age recipients; empty: not encrypted");
    v("signed_by", self.signed_by, "fingerprint of the key that signed; absent: not signed");
    v("exit_status", self.exit_status, "0 complete, 3 evidence was lost, 4 findings at or above --fail-on");
    v("counts", self.counts, "how much was taken and missed");
    v("hold_ns", self.hold_ns, "until everything was open that would be gone with the container");
    v("state_ns", self.state_ns, "until the state was on disk");
    v("took_ns", self.took_ns, "all of it");
    v("cpu_ns", self.cpu_ns, "processor time of ctriage");
    v("frozen_ns", self.frozen_ns, "processes of the target stood still for us, all together");
    v("resident_growth_bytes", self.resident_growth_bytes, "of the target's memory while we looked");
    v("gaps", self.gaps, "what is missing; of many of a kind the first, and a count of the rest");
  }
};

struct PlannedStep {
  std::string name;
  std::string group;
  std::string gone_with;
  std::string what;
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::string> left_out;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "of the collector: --only and --skip take it");
    v("group", self.group, "of the collector: --only and --skip take it, too");
    v("gone_with", self.gone_with, "what ends this evidence: process, container, pod, node");
    v("what", self.what, "what is taken");
    v("size_bytes", self.size_bytes, "about, before compression; absent: not known before it is read");
    v("left_out", self.left_out, "by which option; absent: it is taken");
  }
};

struct PlanResult {
  Bytes target;
  std::uint64_t seconds = 0;
  std::vector<PlannedStep> steps;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("seconds", self.seconds, "it would take at least, about");
    v("steps", self.steps, "the collectors in the order they run");
    v("gaps", self.gaps, "what could not be looked at for the plan");
  }
};

enum class Soundness : std::uint8_t { whole, wrong, cut };
constexpr auto enum_names(Soundness) { return std::array<std::string_view, 3>{"whole", "wrong", "cut"}; }

struct SalvagedStream {
  Bytes stream;
  std::uint64_t size_bytes = 0;
  bool whole = false;
  std::optional<Bytes> why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("stream", self.stream, "name in the bundle");
    v("size_bytes", self.size_bytes, "original bytes that can be read");
    v("whole", self.whole, "all of it can be read");
    v("why", self.why, "why not");
  }
};

struct VerifyResult {
  Bytes path;
  Soundness verdict = Soundness::wrong;
  std::uint64_t members = 0;
  std::uint64_t streams = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t custody_records = 0;
  std::vector<SalvagedStream> not_whole;
  std::optional<std::string> manifest_sha256;
  std::optional<std::string> signed_by;
  std::optional<Bytes> signer;
  bool encrypted = false;
  std::optional<Bytes> last_phase;
  std::uint64_t problem_count = 0;
  std::vector<Bytes> problems;
  std::optional<std::vector<SalvagedStream>> salvage;
  std::optional<Bytes> salvaged_into;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "of the bundle, as typed");
    v("verdict", self.verdict, "whole; wrong: a byte differs from what was sealed; cut: whole so far");
    v("members", self.members, "members of the archive");
    v("streams", self.streams, "streams they make");
    v("size_bytes", self.size_bytes, "bytes that were read");
    v("custody_records", self.custody_records, "records of the custody chain");
    v("not_whole", self.not_whole, "records that the run could not write to their end, by the manifest");
    v("manifest_sha256", self.manifest_sha256, "SHA-256 of manifest.json");
    v("signed_by", self.signed_by, "fingerprint of the key of a signature that fits; absent: there is none");
    v("signer", self.signer, "who that is, by --signers; absent: nobody said whether to trust the key");
    v("encrypted", self.encrypted, "it was read through age");
    v("last_phase", self.last_phase, "of a bundle that is cut: the last phase that is vouched for");
    v("problem_count", self.problem_count, "all problems, those not listed too");
    v("problems", self.problems, "each names the member and what is wrong");
    v("salvage", self.salvage, "with --salvage: what can be read of each stream");
    v("salvaged_into", self.salvaged_into, "with --salvage -o: the directory where that lies now");
    v("gaps", self.gaps, "what verify itself could not do");
  }
};

struct CollectedTarget {  // one of several
  Bytes target;
  std::int32_t exit_status = 0;
  std::optional<Bytes> error;
  std::uint64_t critical = 0;
  std::uint64_t high = 0;
  std::optional<CollectResult> bundle;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("exit_status", self.exit_status, "as collect of this target alone would have it");
    v("error", self.error, "why there is no bundle of it");
    v("critical", self.critical, "findings of that severity");
    v("high", self.high, "findings of that severity");
    v("bundle", self.bundle, "as collect of one target tells it; absent: there is none");
  }
};

struct CollectManyResult {
  std::vector<CollectedTarget> bundles;
  std::vector<Bytes> left_out;
  bool complete = false;
  std::int32_t exit_status = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t took_ns = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("bundles", self.bundles, "one entry for each target, in the order they were taken");
    v("left_out", self.left_out, "what was not asked for by name and is not taken, and why");
    v("complete", self.complete, "every target has a sealed bundle and nothing was lost");
    v("exit_status", self.exit_status, "of the targets' the first that applies: 1, 4, 3, 0");
    v("size_bytes", self.size_bytes, "of all bundles");
    v("took_ns", self.took_ns, "all of it");
    v("gaps", self.gaps, "of finding the targets; those of a bundle stand with it");
  }
};

struct PlanManyResult {
  std::vector<PlanResult> plans;
  std::vector<Bytes> left_out;
  std::uint64_t seconds = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("plans", self.plans, "one for each target, in the order they would be taken");
    v("left_out", self.left_out, "what was not asked for by name and would not be taken, and why");
    v("seconds", self.seconds, "they would take at least, about");
    v("gaps", self.gaps, "of finding the targets, and those that could not be looked at");
  }
};

struct WhoisMatch {
  std::string as;
  Bytes detail;
  std::string container;
  Bytes name;
  std::optional<PodRef> pod;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("as", self.as, "pid, container, path, cgroup, address, port, program, image");
    v("detail", self.detail, "which part of the container it is");
    v("container", self.container, "container id");
    v("name", self.name, "of the container");
    v("pod", self.pod, "the pod it belongs to");
  }
};

struct WhoisResult {
  Bytes token;
  std::vector<WhoisMatch> matches;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("token", self.token, "as typed");
    v("matches", self.matches,
      "what it belongs to; none and no lost gap: to no container that this node shows");
    v("gaps", self.gaps, "what could not be looked into");
  }
};

}  // namespace ctriage
