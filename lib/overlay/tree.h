#pragma once
// Directories on the way down: one chain of them for the UpperDir, and the lower layers laid over each other.
// A tree may be deeper than we have descriptors and longer than PATH_MAX, so only some levels stay open and
// the others are opened again, one name at a time, from the nearest that is.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/root.h"

namespace ctriage::overlay {

class DirChain {
 public:
  // `top` stays with the caller. The last `keep_last` levels and every kKeepEvery-th stay open.
  DirChain(const Root& top, std::size_t keep_last) : top_(&top), keep_last_(keep_last) {}

  // One level down; Errc::changed when the name is another inode than `expected` now. Nothing changes on
  // error.
  Status enter(std::string_view name, const FileInfo& expected);
  void leave();
  // Where we are. Errc::vanished or changed when a directory on the way is no longer what it was.
  Result<const Root*> here();

 private:
  static constexpr std::size_t kKeepEvery = 64;
  struct Level {
    std::string name;
    std::uint64_t inode = 0;
    std::uint32_t dev_major = 0;
    std::uint32_t dev_minor = 0;
    std::optional<Root> dir;
  };
  void let_go();

  const Root* top_;
  std::size_t keep_last_;
  std::vector<Level> levels_;
};

// What the composed lower layers have under one name. Meanings: SEMANTICS.md.
struct LowerHit {
  enum class Answer : std::uint8_t { absent, found, unknown } answer = Answer::absent;
  std::size_t lower = 0;  // index from the top
  FileInfo info;
  std::vector<Xattr> xattrs;
  UniqueFd pin;
  Error why;               // of unknown
  bool inherited = false;  // `why` is that of a directory above, which was told already
};

class LowerView {
 public:
  // With `unreadable` no lower is asked and every answer is unknown.
  LowerView(const std::vector<std::optional<Root>>& lowers, const std::optional<Error>& unreadable);

  [[nodiscard]] LowerHit root();  // the top directory of the uppermost lower
  [[nodiscard]] LowerHit lookup(std::string_view name);
  // A regular file that lookup found, open for reading; Errc::changed if it is another by now.
  [[nodiscard]] Result<UniqueFd> open(const LowerHit& hit, std::string_view name);

  // The merged directory of that name; gives what was met there that makes its content unknown.
  std::optional<Error> enter(std::string_view name);
  void enter_nothing();  // hidden by an opaque directory or by something else above
  void enter_unknown(Error why);
  void leave();

 private:
  struct Level {
    std::vector<std::uint16_t> lowers;  // those that have this directory, from the top
    std::optional<Error> unknown;       // what lies below them cannot be known
  };
  enum class Step : std::uint8_t { none, in, in_and_last, last };
  Step step_into(std::uint16_t lower, std::string_view name, std::optional<Error>& unknown);

  std::vector<std::optional<DirChain>> chains_;
  std::vector<Level> levels_;
};

// Overlay semantics in the attributes of one inode that this version does not interpret, if there are any.
std::optional<Error> uninterpreted(const FileInfo& info, const std::vector<Xattr>& xattrs);
bool is_whiteout(const FileInfo& info);
bool is_opaque(const std::vector<Xattr>& xattrs);

}  // namespace ctriage::overlay
