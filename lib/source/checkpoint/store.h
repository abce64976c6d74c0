#pragma once
// The files of a checkpoint wherever they lie: in a tar, plain or compressed, or in a directory. Nothing is
// unpacked: a plain tar is seeked, of a compressed one what is small and asked for again stays in memory.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/archive/tar_index.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/file.h"

namespace ctriage::source {

struct StoredFile {
  FileType type = FileType::unknown;  // regular, directory, symlink; hard links are what they are of
  std::uint64_t size_bytes = 0;
  Timestamp mtime;
  std::string link;          // target of a symbolic link
  std::uint64_t offset = 0;  // in the tar
};

class CheckpointStore {
 public:
  // By name: relative, '/' between components, none empty, "." or "..". A name that leads out is a gap.
  using Files = std::map<std::string, StoredFile, std::less<>>;

  virtual ~CheckpointStore() = default;
  struct TarOptions {
    archive::Compression spooled = archive::Compression::none;  // what it was before it was unpacked
    // Of a compressed tar only until the engine's records were met, for who asks no more; what is said of the
    // changed files is not kept.
    bool records_only = false;
    std::uint64_t most_bytes = kMaxUnpackedBytes;
  };
  // A tar that ends early gives the files before, and a gap.
  static Result<std::unique_ptr<CheckpointStore>> open_tar(std::unique_ptr<archive::BytesAt> file,
                                                           std::string name, const Task& task);
  static Result<std::unique_ptr<CheckpointStore>> open_tar(std::unique_ptr<archive::BytesAt> file,
                                                           std::string name, const Task& task,
                                                           const TarOptions& options);
  static Result<std::unique_ptr<CheckpointStore>> open_directory(Root directory, const Task& task);

  [[nodiscard]] const Files& files() const { return files_; }
  [[nodiscard]] const StoredFile* find(std::string_view name) const;
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] virtual std::string form() const = 0;  // "plain tar", "zstd tar", "directory"

  // Going back in it costs reading all of it again.
  [[nodiscard]] virtual bool is_in_order() const { return false; }

  // The content of a regular file; the store must outlive what it gives. Errc::not_found.
  virtual Result<std::unique_ptr<archive::BytesAt>> bytes_of(std::string_view name) = 0;
  // All of it; over `most` bytes is Errc::limit.
  Result<std::string> read(std::string_view name, std::size_t most);
  // The members of a tar that is a file here, compressed or not.
  virtual Status list_tar(std::string_view name, const Emit<archive::TarMember>& emit, const Task& task);
  // That tar, unpacked: contents lie in it at the offsets of their members.
  Result<std::unique_ptr<archive::BytesAt>> open_tar_bytes(std::string_view name, const Task& task);
  // The members with that tar.
  Status walk_tar(std::string_view name,
                  const std::function<Status(const archive::TarMember& member, archive::BytesAt& tar)>& take,
                  const Task& task);

 protected:
  explicit CheckpointStore(std::string name) : name_(std::move(name)) {}
  Result<const StoredFile*> regular(std::string_view name) const;
  Files files_;
  std::string name_;
};

// "./a//b" as "a/b"; nothing for a name that leads out or is none.
std::optional<std::string> plain_member_name(std::string_view name);

}  // namespace ctriage::source
