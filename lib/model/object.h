#pragma once
// What `extract` takes out of a source, all at once: what has bytes and no name in a layer, or was changed.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/file.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class ObjectKind : std::uint8_t { deleted, memfd, tmpfs, queues, sysv, changed, code };
constexpr auto enum_names(ObjectKind) {
  return std::array<std::string_view, 7>{"deleted", "memfd", "tmpfs", "queues", "sysv", "changed", "code"};
}

struct ObjectPacket {  // what was sent in one piece
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::optional<std::int32_t> pid;
  std::optional<std::uint32_t> uid;
  std::optional<std::int64_t> type;
  std::uint32_t descriptors = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("offset_bytes", self.offset_bytes, "in the object");
    v("size_bytes", self.size_bytes, "of the piece");
    v("pid", self.pid, "who sent it, as the container sees it; absent: not recorded");
    v("uid", self.uid, "of who sent it");
    v("type", self.type, "of a System V message");
    v("descriptors", self.descriptors, "open files that were sent along");
  }
};

struct ExtractedObject {
  std::string container;
  ObjectKind kind = ObjectKind::deleted;
  std::string what;
  Bytes path;
  std::vector<Bytes> also;
  std::vector<std::int32_t> pids;
  std::vector<std::int32_t> run_by;
  std::optional<FileType> type;
  std::optional<std::uint32_t> mode;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<Timestamp> mtime;
  std::optional<Bytes> link_target;
  std::optional<Bytes> local;
  std::optional<Bytes> remote;
  std::optional<Hex> address;
  std::optional<std::uint64_t> offset_bytes;
  std::string protection;
  std::vector<ObjectPacket> packets;
  std::uint64_t size_bytes = 0;
  std::optional<std::uint64_t> data_bytes;
  std::optional<std::string> file;
  std::optional<std::string> sha256;
  bool complete = false;
  std::optional<Bytes> why;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "its id");
    v("kind", self.kind,
      "what --what calls it: deleted: a file without a name; memfd: memory with a descriptor, or shared "
      "without one; tmpfs: a file in one; queues: what was sent and not read; sysv: System V segments and "
      "messages; changed: a file of the root file system that is not as the image has it; code: private "
      "copies of a mapped file's executable pages");
    v("what", self.what,
      "file, memfd, shared memory, pipe, fifo, unix, tcp receive, tcp send, segment, messages, pages");
    v("path", self.path, "its name in the container; of what has none what it is called in the source");
    v("also", self.also, "further names of the same bytes");
    v("pids", self.pids, "who has it open or mapped: at most 1,000");
    v("run_by", self.run_by, "who runs it as a program");
    v("type", self.type, "of a file: only regular ones are written, others are entries here alone");
    v("mode", self.mode, "permission bits with setuid, setgid and sticky, decimal; what is written is 0600");
    v("uid", self.uid, "owner");
    v("gid", self.gid, "group");
    v("mtime", self.mtime, "content changed");
    v("link_target", self.link_target, "of a symbolic link; of a hard link the name that has the bytes");
    v("local", self.local, "of a connection: the end whose queue it is");
    v("remote", self.remote, "of a connection: the other end");
    v("address", self.address, "of the first byte in the process");
    v("offset_bytes", self.offset_bytes, "of the first byte in the mapped file");
    v("protection", self.protection, "of the mapping: rwxp or rwxs with - for what is not allowed");
    v("packets", self.packets, "pieces as they were sent, in their order: at most 65,536");
    v("size_bytes", self.size_bytes, "of the object, holes included");
    v("data_bytes", self.data_bytes, "written: the rest is holes, which read as zeros");
    v("file", self.file, "where its bytes are, below the directory of the manifest; absent: nowhere");
    v("sha256", self.sha256, "of all its bytes, holes as zeros");
    v("complete", self.complete, "the source had all of it, and all of that was written");
    v("why", self.why, "why not");
  }
};

struct ObjectQuery {
  std::array<bool, enum_names(ObjectKind{}).size()> kinds{};
  std::int32_t pid = 0;  // what this process has open, mapped or runs; 0: all

  [[nodiscard]] bool wants(ObjectKind kind) const { return kinds[static_cast<std::size_t>(kind)]; }
};

// Handed the objects one after the other.
class ObjectVisitor {
 public:
  virtual ~ObjectVisitor() = default;
  // Of what has bytes, begin, write and end; of what has none `entry` alone. An error ends the visit.
  virtual Status entry(ExtractedObject&& object) = 0;
  virtual Status begin(ExtractedObject&& object) = 0;
  // Offsets ascend; what is left out between is a hole.
  virtual Status write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  // So many bytes it has by what the source says; `missing`: why the source has not all of them.
  virtual Status end(std::uint64_t size_bytes, std::optional<Error> missing) = 0;
};

struct ObjectCount {
  ObjectKind kind = ObjectKind::deleted;
  std::uint64_t files = 0;
  std::uint64_t entries = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t incomplete = 0;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind, "as of object");
    v("files", self.files, "written");
    v("entries", self.entries, "in the manifest alone: directories, links, devices");
    v("size_bytes", self.size_bytes, "of the files, holes included");
    v("data_bytes", self.data_bytes, "of them that are no holes");
    v("incomplete", self.incomplete, "of the objects: the source had not all of them, or it was not written");
  }
};

struct ExtractResult {
  Bytes target;
  Bytes directory;
  Bytes manifest;
  std::string manifest_sha256;
  bool complete = false;
  std::vector<ObjectCount> counts;
  std::int64_t took_ns = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("target", self.target, "as it resolved");
    v("directory", self.directory, "as typed");
    v("manifest", self.manifest, "ctriage.object/1, a line for each");
    v("manifest_sha256", self.manifest_sha256, "of its bytes");
    v("complete", self.complete, "nothing was lost: what the source cannot have the gaps say");
    v("counts", self.counts, "for each kind that was asked for");
    v("took_ns", self.took_ns, "all of it");
    v("gaps", self.gaps, "what is missing; of many of a kind the first, and a count of the rest");
  }
};

template <>
inline constexpr std::string_view kKind<ObjectPacket> = "object_packet";
template <>
inline constexpr std::string_view kKind<ExtractedObject> = "object";
template <>
inline constexpr std::string_view kKind<ObjectCount> = "object_count";
template <>
inline constexpr std::string_view kKind<ExtractResult> = "extract";

}  // namespace ctriage
