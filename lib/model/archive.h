#pragma once
// What `list DIR` finds: checkpoints and bundles that lie in files and directories.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/gap.h"
#include "lib/model/kinds.h"

namespace ctriage {

enum class ArchiveKind : std::uint8_t { checkpoint, bundle };
constexpr auto enum_names(ArchiveKind) { return std::array<std::string_view, 2>{"checkpoint", "bundle"}; }

struct ListedArchive {  // one container of it
  Bytes path;
  ArchiveKind kind = ArchiveKind::checkpoint;
  std::string form;
  std::uint64_t size_bytes = 0;
  std::string engine;
  std::optional<std::string> pod_namespace;
  std::optional<std::string> pod;
  Bytes container;
  std::string container_id;
  Bytes image;
  std::optional<Timestamp> taken_at;
  std::optional<Bytes> error;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "as it was reached: what `show` takes");
    v("kind", self.kind, "what it is, by its content");
    v("form", self.form, "engine and packing: Podman, CRIU, zstd tar");
    v("size_bytes", self.size_bytes, "of the file; of a directory the sum of its files");
    v("engine", self.engine, "who made it; empty: not recorded");
    v("pod_namespace", self.pod_namespace, "Kubernetes namespace");
    v("pod", self.pod, "pod name");
    v("container", self.container, "container name");
    v("container_id", self.container_id, "container id");
    v("image", self.image, "the image as it was asked for");
    v("taken_at", self.taken_at, "when it was taken, where that is recorded");
    v("error", self.error, "what is wrong with it: then what is left out above is not known");
  }
};

struct ArchiveList {
  std::vector<ListedArchive> archives;
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::vector<GapRecord> gaps;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("archives", self.archives, "by path; of several containers in one file each");
    v("files", self.files, "that were looked at");
    v("directories", self.directories, "that were looked into");
    v("gaps", self.gaps, "what could not be looked at");
  }
};

template <>
inline constexpr std::string_view kKind<ListedArchive> = "archive";
template <>
inline constexpr std::string_view kKind<ArchiveList> = "list_archives";

}  // namespace ctriage
