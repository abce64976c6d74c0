#pragma once
// What is said of a bundle in other hands: `custody`, `pack` and `receive`.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

struct CustodyField {
  std::string name;
  Bytes value;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("name", self.name, "dotted: source.node");
    v("value", self.value, "as text");
  }
};

struct CustodyDeed {
  std::vector<CustodyField> members;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("fields", self.members, "at, action and what belongs to it, as custody.jsonl has them");
  }
};

struct LaterHand {
  std::uint64_t seq = 0;
  Bytes at;
  Bytes by;
  Bytes action;
  Bytes note;
  std::optional<Bytes> attached;
  std::optional<std::string> attached_sha256;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("seq", self.seq, "from 0");
    v("at", self.at, "when, as it was noted");
    v("by", self.by, "who");
    v("action", self.action, "what was done");
    v("note", self.note, "more about it");
    v("attached", self.attached, "file that belongs to it, beside the bundle");
    v("attached_sha256", self.attached_sha256, "of its bytes as they were noted");
  }
};

struct CustodyPage {
  Bytes bundle;
  std::optional<std::string> sha256;
  std::string sha256_of;
  std::optional<std::string> state_sha256;
  std::vector<CustodyField> header;
  std::vector<CustodyDeed> actions;
  std::uint64_t actions_left_out = 0;
  std::uint64_t lost = 0;
  std::uint64_t degraded = 0;
  std::uint64_t notes = 0;
  std::vector<Bytes> worst;
  Bytes sidecar;
  bool has_sidecar = false;
  std::vector<LaterHand> hands;
  std::vector<Bytes> problems;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("bundle", self.bundle, "as typed");
    v("sha256", self.sha256, "that names every byte of it; absent: it is not sealed");
    v("sha256_of", self.sha256_of, "what that is of: manifest.json, or file (encrypted)");
    v("state_sha256", self.state_sha256, "show: of its first bytes, up to the state");
    v("header", self.header, "show: of bundle.json");
    v("actions", self.actions, "show: what was done while it was taken");
    v("actions_left_out", self.actions_left_out, "show: more of them, in custody.jsonl");
    v("lost", self.lost, "show: gaps of that impact");
    v("degraded", self.degraded, "show: gaps of that impact");
    v("notes", self.notes, "show: gaps of that impact");
    v("worst", self.worst, "show: the first lost ones");
    v("sidecar", self.sidecar, "file of the later hands");
    v("has_sidecar", self.has_sidecar, "it is there");
    v("hands", self.hands, "later ones; add: the one that was added");
    v("problems", self.problems, "what is wrong with their chain");
  }
};

struct PackResult {
  Bytes path;
  std::uint64_t volumes = 1;
  std::uint64_t size_bytes = 0;
  std::optional<std::string> manifest_sha256;
  bool verified = false;
  Bytes sealing;
  std::optional<std::string> redacted_from;
  std::uint64_t values_hidden = 0;
  std::uint64_t places_hidden = 0;
  std::uint64_t streams_left_out = 0;
  std::optional<Bytes> unsigned_why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "of the bundle, or its first volume");
    v("volumes", self.volumes, "");
    v("size_bytes", self.size_bytes, "of all of them");
    v("manifest_sha256", self.manifest_sha256,
      "SHA-256 of manifest.json; absent: encrypted, copied as it is");
    v("verified", self.verified, "every byte was as it was sealed; of a redacted copy: those of its parent");
    v("sealing", self.sealing, "to whom it was encrypted now, and signed by whom; empty: neither");
    v("redacted_from", self.redacted_from, "of a redacted copy: SHA-256 of its parent's manifest.json");
    v("values_hidden", self.values_hidden, "of a redacted copy: different ones");
    v("places_hidden", self.places_hidden, "of a redacted copy: where those stood");
    v("streams_left_out", self.streams_left_out, "of a redacted copy: bytes of memory and files");
    v("unsigned_why", self.unsigned_why, "of a redacted copy: why it is not signed though it should be");
  }
};

struct ReceiveResult {
  Bytes path;
  std::uint64_t size_bytes = 0;
  std::string sha256;
  std::optional<std::string> manifest_sha256;
  bool verified = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "of the bundle");
    v("size_bytes", self.size_bytes, "received");
    v("sha256", self.sha256, "of all bytes received");
    v("manifest_sha256", self.manifest_sha256, "SHA-256 of manifest.json; absent: encrypted");
    v("verified", self.verified, "every byte is as it was sealed; false: encrypted, received as it is");
  }
};

template <>
inline constexpr std::string_view kKind<CustodyField> = "custody_field";
template <>
inline constexpr std::string_view kKind<CustodyDeed> = "custody_deed";
template <>
inline constexpr std::string_view kKind<LaterHand> = "later_hand";
template <>
inline constexpr std::string_view kKind<CustodyPage> = "custody";
template <>
inline constexpr std::string_view kKind<PackResult> = "pack";
template <>
inline constexpr std::string_view kKind<ReceiveResult> = "receive";

}  // namespace ctriage
