#pragma once
// A bundle as it lies there: a file, its volumes, or unpacked in a directory. One way in for what reads all
// of it.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lib/bundle/reader.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

class Stored {
 public:
  enum class Form : std::uint8_t { file, volumes, unpacked };
  // A path as typed; of volumes any one.
  static Result<Stored> open(const std::string& path);

  [[nodiscard]] Form form() const { return form_; }
  [[nodiscard]] const std::string& whole() const {
    return whole_;
  }                                        // "B.ctriage.tar"; of a directory its name
  [[nodiscard]] std::string stem() const;  // "B"
  [[nodiscard]] bool encrypted() const { return encrypted_; }
  // The directory that it lies in, also an unpacked one: its sidecars are there.
  [[nodiscard]] const Root& beside() const { return beside_; }
  // What a sandbox must let us read: nothing of a file, which is open.
  [[nodiscard]] std::optional<int> readable() const;

  // The tar, one pass; as often as one likes. Encrypted bytes as they are. The task stays with the caller.
  struct Bytes {
    std::unique_ptr<ByteSource> source;
    std::uint64_t size_bytes = 0;
  };
  Result<Bytes> bytes(const Task& task) const;
  // The tar by offset; not of what is unpacked.
  Result<std::unique_ptr<archive::BytesAt>> at() const;
  Result<std::unique_ptr<Reader>> reader(Task& task) const;
  // SHA-256 of manifest.json, or of the file's bytes of what is encrypted.
  struct Name {
    std::string of;  // "manifest.json", "file"
    Digest digest{};
  };
  Result<Name> name(Task& task) const;

 private:
  Stored(Root beside, std::string whole) : beside_(std::move(beside)), whole_(std::move(whole)) {}
  Root beside_;
  std::string whole_;
  Form form_ = Form::file;
  std::optional<Root> directory_;  // of what is unpacked
  UniqueFd file_;
  bool encrypted_ = false;
};

constexpr std::string_view kOfManifest = "manifest.json";
constexpr std::string_view kOfFile = "file";

}  // namespace ctriage::bundle
