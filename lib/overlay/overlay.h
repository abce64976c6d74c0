#pragma once
// overlayfs from the outside: which directories a container's root is made of, what its UpperDir holds, and
// how that differs from the composed lower layers. Never mounts anything; semantics: SEMANTICS.md here and
// the kernel's Documentation/filesystems/overlayfs.rst.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/archive/layer_writer.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/model/file.h"
#include "lib/model/process.h"
#include "lib/overlay/owners.h"

namespace ctriage::overlay {

// One inode as records have it; what a link leads to and the SHA-256 are for who reads them.
FileState make_state(const FileInfo& info, const std::vector<Xattr>& xattrs);

struct Options {      // of one overlay mount, in the words of its mountinfo line
  std::string upper;  // empty: read-only overlay
  std::string work;
  std::vector<std::string> lowers;     // first is the top, as the kernel orders them
  std::vector<std::string> data_only;  // "::" lowers and datadir+
  std::vector<std::string> flags;      // the rest: userxattr, metacopy=on, redirect_dir=on, index=off, ...
  std::string base;   // where relative paths start, when whoever opens the stack knows; not in the text
  bool fuse = false;  // put together by fuse-overlayfs, which has marks of its own
  [[nodiscard]] bool has(std::string_view flag) const;
};

// super_options as proc::parse_mountinfo gives them (octal escapes undone once already is wrong: pass them
// RAW).
Result<Options> parse_options(std::string_view raw_super_options);

// The same from the arguments of a fuse-overlayfs process: its mount says nothing of them. `target`: the
// mount point as it was told. Errc::unsupported for layers that a plugin has.
struct FuseMount {
  Options options;
  std::string target;
};
Result<FuseMount> parse_fuse_arguments(std::span<const std::string> arguments);

struct LowerLayers;  // lower_view.h

// The layers of one overlay mount, each a detached read-only clone (Root::clone_read_only) or, where we lack
// the right, the directory itself with a note.
class Stack {
 public:
  // Paths are resolved inside `node` (the mount namespace of whoever mounted: /proc/SHIM/root or /). A lower
  // that cannot be opened is a gap (lost) and everything that depends on it becomes ChangeKind::unknown,
  // never "added".
  enum class Use : std::uint8_t {
    contents,
    names,  // looked up and not read: that leaves no access time, so the directories are taken as they are
  };
  static Result<Stack> open(const Options& options, const Root& node, const std::string& container,
                            Task& task, Use use = Use::contents);

  // Whether `merged`, the root directory of this overlay, shows owners of the lower layers through these maps
  // (layers that were mounted idmapped) rather than as they are on disk. Nothing where no directory tells.
  [[nodiscard]] std::optional<bool> shows_mapped_owners(const Root& merged, const IdMap& uids,
                                                        const IdMap& gids, const Task& task) const;
  // From now on owners of lower layers are those outside, as the UpperDir has them.
  void map_lower_owners(const IdMap& uids, const IdMap& gids);

  [[nodiscard]] const Root& upper() const { return upper_; }
  [[nodiscard]] bool complete() const;                                        // every layer could be opened
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }  // lowest first, upper last
  // How the image's layers were made, lowest first: layers() and changes say it from then on.
  struct Origin {
    std::string digest;
    std::optional<Bytes> made_by;
  };
  void set_origins(std::span<const Origin> origins);
  // The directories themselves, those that could be opened: whoever writes below one changes evidence.
  [[nodiscard]] std::vector<FileInfo> directories() const;

  // The same with their numbers, Layer::number.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, FileInfo>> numbered_directories() const;

  // The file at `path` ("/usr/bin/x") as the composed lower layers show it, without the upper: links are not
  // followed, a link on the way is Errc::outside. Errc::not_found where the image has none, unsupported where
  // that cannot be known (a layer that could not be opened).
  struct Found {
    FileInfo info;
    std::uint32_t layer = 0;
    UniqueFd pin;  // the inode that has its bytes
  };
  [[nodiscard]] Result<Found> find_lower(std::string_view path) const;
  // A regular file that find_lower found, for reading.
  [[nodiscard]] Result<UniqueFd> open_lower(const Found& found, std::string_view path) const;

 private:
  friend class View;
  friend class Walk;
  explicit Stack(Root upper) : upper_(std::move(upper)) {}
  [[nodiscard]] LowerLayers lower_layers() const;

  Root upper_;
  std::string container_;
  std::vector<std::optional<Root>> lowers_;       // as Options::lowers; nullopt: could not be opened
  std::vector<std::optional<Root>> data_only_;    // as Options::data_only
  [[nodiscard]] std::string_view prefix() const;  // of overlay's own xattrs
  bool user_xattrs_ = false;                      // they are user.overlay.*
  bool fuse_ = false;
  Owners upper_owners_;
  std::vector<Owners> lower_owners_;  // as lowers_
  std::vector<Layer> layers_;
  std::optional<Error> unreadable_;  // why no answer at all can be given about lower layers (no trusted.*)
};

// What was opened before anything was read, so that it outlives the container: entries of the UpperDir with
// their stat, xattrs and an open descriptor, programs and small new files first, as far as descriptors and
// memory go.
class Held {
 public:
  struct Budget {
    std::size_t descriptors = 8'192;
    std::size_t memory_bytes = 8 << 20;
  };
  static Result<Held> take(const Stack& stack, const Budget& budget, Task& task);
  Held();
  Held(Held&&) noexcept;
  Held& operator=(Held&&) noexcept;
  ~Held();

  [[nodiscard]] std::uint64_t files() const;  // regular files with an open descriptor
  [[nodiscard]] std::uint64_t bytes() const;  // of the regular files it knows, held or not
  [[nodiscard]] bool complete() const;        // every entry of the UpperDir is held

 private:
  friend class Walk;
  struct State;
  std::unique_ptr<State> state_;
};

// Receives the UpperDir as it is read, once, in canonical order ("/" first). For a regular file: begin,
// data..., end; then change with hashes. The rest: change alone, after begin and end without data. In begin
// the kind of a regular file is not decided yet (bytes were not compared). An entry that was gone before its
// bytes were read, and that was not held, has no begin: change alone, with `partial`; so has what only the
// image has, hidden or shown elsewhere by a name of the UpperDir (`hidden_by`, `renamed_from`). A name that
// was replaced after it was held comes twice: what was held, with all that was in it, then what lies there
// now. The runs are in order and their data comes exactly, zero-padded where the file shrank.
struct Visitor {
  virtual ~Visitor() = default;
  virtual Status begin(const FileChange& change, std::span<const archive::DataRun> runs) = 0;
  // May feed or promise the bytes to `hash` (or none), all of them or not at all: it is done here otherwise.
  virtual Status data(std::uint64_t offset_bytes, std::span<const std::byte> bytes,
                      const std::shared_ptr<LateSha256>& hash) = 0;
  virtual Status end() = 0;
  virtual Status change(FileChange&& change) = 0;
};

// Walks the UpperDir (what is held and what is there now, each name once) against the lower layers. `stubs`
// are the destinations of the container's mounts ("/etc/hosts"): empty files and directories there are
// runtime_stub. Errors: those of the visitor, and stopped or timeout. Everything else is a gap.
Status walk(const Stack& stack, const Held& held, std::span<const Bytes> stubs, Visitor& visitor, Task& task);

}  // namespace ctriage::overlay
