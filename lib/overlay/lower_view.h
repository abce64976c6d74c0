#pragma once
// The lower layers laid over each other, as the kernel's ovl_lookup() does: fs/overlayfs/namei.c,
// SEMANTICS.md. Private to lib/overlay.
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/overlay/dir_chain.h"
#include "lib/overlay/marks.h"
#include "lib/overlay/owners.h"

namespace ctriage::overlay {

// What the composed lower layers have under one name.
struct LowerHit {
  enum class Answer : std::uint8_t { absent, found, unknown } answer = Answer::absent;
  std::size_t lower = 0;  // index from the top
  FileInfo info;
  std::vector<Xattr> xattrs;
  UniqueFd pin;
  UniqueFd data;           // of a metacopy file: the inode further down that has its bytes
  bool metacopy = false;   // `info` is of an inode without bytes
  Error why;               // of unknown, and of metacopy without data
  bool inherited = false;  // `why` is that of a directory above, which was told already
};

struct LowerLayers {                            // what a view looks at; it outlives the view
  std::span<const std::optional<Root>> lowers;  // from the top; nullopt: could not be opened
  std::span<const std::optional<Root>>
      data_only;                             // reached through absolute redirects of metacopy files only
  std::string_view prefix = kTrustedPrefix;  // of overlay's xattrs
  const Error* unreadable = nullptr;         // why no answer at all can be given
  std::span<const Owners> owners = {};       // of `lowers`; empty: as they are on disk
};

class LowerView {
 public:
  explicit LowerView(const LowerLayers& layers);

  [[nodiscard]] LowerHit root();  // the top directory of the uppermost lower
  // `redirect`: what the layer above calls it down here, Marks::redirect.
  [[nodiscard]] LowerHit lookup(std::string_view name, std::string_view redirect = {});
  // The bytes of a regular file that lookup found, open for reading.
  [[nodiscard]] Result<UniqueFd> open(const LowerHit& hit, std::string_view name) const;

  // The next names that any layer has in this directory, in order; some may be absent for lookup.
  [[nodiscard]] Result<NameBlock> list(std::string_view after, std::size_t block_bytes);

  // The merged directory of that name; gives what was met there that makes its content unknown. `within`: the
  // path of the directory it is entered from, for elsewhere().
  std::optional<Error> enter(std::string_view name, std::string_view redirect = {},
                             std::string_view within = {});
  void enter_nothing();
  void enter_unknown(Error why);
  void leave();

  // Where the layers have what lies at `name` here, if that is another path: "/old/name". `within` is the
  // path of this directory in the container.
  [[nodiscard]] std::optional<std::string> elsewhere(std::string_view within, std::string_view name,
                                                     std::string_view redirect = {}) const;

 private:
  struct Dir {  // one layer's part of the merged directory
    std::uint16_t lower = 0;
    DirChain* chain = nullptr;  // stands in it
    bool own = false;           // made for this level: it was reached by a path of its own
  };
  struct Level {
    std::vector<Dir> dirs;                 // from the top
    std::list<DirChain> chains;            // those that are `own`
    std::optional<Error> unknown;          // what lies below `dirs` cannot be known
    std::optional<std::string> elsewhere;  // its path in the layers where it is another one
  };
  // The way down through the layers of one name, which may change its name and its directory.
  struct Search {
    const Level* in = nullptr;
    std::size_t at = 0;
    std::string target;  // a name in `in`, or a path from the top
  };
  struct Place {  // the directory and name that a target leads to in one layer
    const Root* dir = nullptr;
    std::string name;
    DirChain* chain = nullptr;
    std::list<DirChain> own;
    bool last = false;  // no layer below counts: a directory on the way is opaque or something else hides it
  };
  enum class Step : std::uint8_t { none, in, in_and_last, last };

  [[nodiscard]] Search begin(std::string_view name, std::string_view redirect) const;
  void follow(Search& search, std::uint16_t lower, const std::string& redirect) const;
  // Nothing where the layer has no such directory.
  Result<std::optional<Place>> reach(const Dir& dir, const std::string& target, bool& last);
  Step step_into(const Dir& dir, const std::string& target, Level& below, std::string& redirect);
  void find_data_only(LowerHit& hit, const std::string& target) const;
  void understand(LowerHit& hit) const;
  [[nodiscard]] bool is_fuse() const { return layers_.prefix == kFusePrefix; }
  // Whether a file says that `name` is gone, fuse-overlayfs only.
  [[nodiscard]] Result<bool> is_whited_out(const Root& dir, const std::string& name) const;

  LowerLayers layers_;
  std::vector<std::optional<DirChain>> chains_;
  std::vector<Level> levels_;
};

// The names of one merged directory, one after the other, a block of them in memory.
class LowerNames {
 public:
  // The next name, not taken yet; nullptr after the last. `view` stands in the directory.
  Result<const std::string*> peek(LowerView& view);
  void take() { last_ = names_[next_++]; }
  // Before something below is listed: many names are read again later.
  void let_go();

 private:
  std::vector<std::string> names_;
  std::size_t next_ = 0;
  std::string last_;
  bool more_ = true;
};

}  // namespace ctriage::overlay
