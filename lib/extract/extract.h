#pragma once
// Writes objects into a directory of ours, with a manifest: SEMANTICS.md here. Names are ours, what they were
// called stands in the manifest.
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "lib/core/hash.h"
#include "lib/core/limits.h"
#include "lib/core/new_file.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/object.h"

namespace ctriage::extract {

constexpr std::string_view kManifest = "manifest.jsonl";

// "tmp-.x" of "/tmp/.x\n": what may be a part of a file's name anywhere, never empty.
std::string safe_name(std::string_view path);

class Extraction final : public ObjectVisitor {
 public:
  // Below `directory`, which is empty; all files together have at most `max_bytes` that are no holes, and
  // `hole_bytes` that are.
  static Result<std::unique_ptr<Extraction>> create(const Root& directory, std::uint64_t max_bytes,
                                                    Task& task,
                                                    std::uint64_t hole_bytes = kMaxExtractedHoleBytes);
  Status entry(ExtractedObject&& object) override;
  Status begin(ExtractedObject&& object) override;
  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status end(std::uint64_t size_bytes, std::optional<Error> missing) override;
  // The manifest is whole; its SHA-256. An object that was not ended (a stop) is written down as it is. One
  // that could not be written does not get its name: the error is that.
  Result<Digest> seal();

  [[nodiscard]] const std::array<ObjectCount, enum_names(ObjectKind{}).size()>& counts() const {
    return counts_;
  }

 private:
  struct Current {
    ExtractedObject object;
    UniqueFd file;
    std::string name;  // in the directory of its kind
    Sha256 hash;
    std::uint64_t hashed = 0;  // up to there
    std::uint64_t holes = 0;   // of these
    std::uint64_t data = 0;
    std::optional<Error> left_out;    // why it is not kept
    std::optional<Error> too_sparse;  // why it is not hashed on
  };

  Extraction(Root directory, NewFile manifest, std::uint64_t max_bytes, std::uint64_t hole_bytes, Task& task);
  Result<int> directory_of(ObjectKind kind);
  Status open_file(Current& current);
  Status pass_hole(std::uint64_t until);
  Status keep(std::uint64_t offset, std::span<const std::byte> bytes);
  void drop(Error why);
  Status line(const ExtractedObject& object);
  Status flush();
  void tell(const ExtractedObject& object, Error why);

  Root directory_;
  NewFile manifest_;
  std::uint64_t left_bytes_;
  std::uint64_t max_bytes_;
  std::uint64_t left_hole_bytes_;
  std::uint64_t hole_bytes_;
  Task& task_;
  std::array<UniqueFd, enum_names(ObjectKind{}).size()> directories_;
  std::array<ObjectCount, enum_names(ObjectKind{}).size()> counts_;
  std::optional<Current> current_;
  std::uint64_t files_ = 0;
  std::uint64_t entries_ = 0;
  std::string block_;            // lines that are not written yet
  std::optional<Error> broken_;  // of the manifest
  Sha256 manifest_hash_;
};

}  // namespace ctriage::extract
