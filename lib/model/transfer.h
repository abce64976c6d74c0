#pragma once
// What sending a bundle says: `export --json`, the end of `collect --to`, and the journal beside a bundle.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kinds.h"

namespace ctriage {

// What is known of the bytes at the far end; each level says more than the one before.
enum class Proof : std::uint8_t {
  none,    // they were taken
  size,    // there are as many
  hash,    // the far end computed the digest
  reread,  // every byte was fetched again and hashed here
};
constexpr auto enum_names(Proof) { return std::array<std::string_view, 4>{"none", "size", "hash", "reread"}; }

struct SentItem {  // a line of the journal NAME.sent.jsonl
  Timestamp at;
  std::string bundle_id;
  Bytes place;
  std::string name;
  std::uint64_t size_bytes = 0;
  std::optional<std::string> sha256;
  Proof proof = Proof::none;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("at", self.at, "when it was there");
    v("bundle_id", self.bundle_id, "of the bundle as it was then: SHA-256 of its length and its last 4 KiB");
    v("place", self.place, "where: the URL without user and secrets");
    v("name", self.name, "of the volume; NAME.COMPLETE: all was there");
    v("size_bytes", self.size_bytes, "");
    v("sha256", self.sha256, "of its bytes");
    v("proof", self.proof, "none, size, hash (by the far end) or reread (fetched again and hashed here)");
  }
};

struct ProgramUsed {  // one of the node's, that we started
  Bytes path;
  std::string sha256;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "");
    v("sha256", self.sha256, "of the file that ran");
  }
};

struct ExportDestination {
  Bytes place;
  bool complete = false;
  Proof proof = Proof::none;
  std::uint64_t volumes = 0;
  std::uint64_t volumes_before = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t took_ns = 0;
  std::vector<ProgramUsed> programs;
  std::optional<Bytes> why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("place", self.place, "the URL without user and secrets");
    v("complete", self.complete, "all is there, NAME.COMPLETE last");
    v("proof", self.proof, "the least of its volumes: none, size, hash or reread");
    v("volumes", self.volumes, "that are there");
    v("volumes_before", self.volumes_before, "of those: by the journal they were there before");
    v("size_bytes", self.size_bytes, "sent in this run");
    v("took_ns", self.took_ns, "");
    v("programs", self.programs, "of the node, that it was sent with: rsync, ssh, smbclient");
    v("why", self.why, "it was given up");
  }
};

struct ExportResult {
  Bytes bundle;
  std::uint64_t size_bytes = 0;
  std::uint64_t volumes = 0;
  bool encrypted = false;
  bool insecure = false;
  bool dry_run = false;
  bool complete = false;
  std::vector<ExportDestination> destinations;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("bundle", self.bundle, "path");
    v("size_bytes", self.size_bytes, "of the bundle");
    v("volumes", self.volumes, "that it was cut into");
    v("encrypted", self.encrypted, "by its name");
    v("insecure", self.insecure, "neither host keys nor certificates were checked (--insecure)");
    v("dry_run", self.dry_run, "all logged in, and nothing was sent (--dry-run)");
    v("complete", self.complete, "every destination has all of it");
    v("destinations", self.destinations, "as they were given");
  }
};

struct Relayed {  // what the process that sends a growing bundle tells the one that writes it
  std::vector<ExportDestination> destinations;
  std::uint64_t volumes = 0;
  std::string first;
  std::uint64_t spilled = 0;
  Bytes spill_why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("destinations", self.destinations, "as they were given");
    v("volumes", self.volumes, "that the bundle was cut into");
    v("first", self.first, "name of the first of them");
    v("spilled", self.spilled, "volumes in the spill directory that some destination has not got");
    v("spill_why", self.spill_why, "why not all of those are there; empty: they are");
  }
};

template <>
inline constexpr std::string_view kKind<Relayed> = "relayed";
template <>
inline constexpr std::string_view kKind<ProgramUsed> = "program_used";
template <>
inline constexpr std::string_view kKind<SentItem> = "sent_item";
template <>
inline constexpr std::string_view kKind<ExportDestination> = "export_destination";
template <>
inline constexpr std::string_view kKind<ExportResult> = "export";

}  // namespace ctriage
