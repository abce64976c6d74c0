#pragma once
// One pass over an UpperDir. Private to lib/overlay.
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/core/hash.h"
#include "lib/overlay/compare.h"
#include "lib/overlay/content.h"
#include "lib/overlay/dir_chain.h"
#include "lib/overlay/held_state.h"
#include "lib/overlay/lower_view.h"
#include "lib/overlay/overlay.h"
#include "lib/overlay/second_look.h"

namespace ctriage::overlay {

class Walk {
 public:
  Walk(const Stack& stack, const Held& held, std::span<const Bytes> stubs, Visitor& visitor, Task& task);
  Status run();

 private:
  // What has become of the names of a directory that only the image has.
  enum class ImageOnly : std::uint8_t {
    shown,    // nothing: they are there, as they were
    deleted,  // hidden by an opaque directory, here or above
    renamed,  // there, below a directory that the image calls otherwise
  };

  struct Frame {  // a directory whose names are being taken
    std::size_t path_size = 0;
    bool live = false;         // upper_ stands in it
    bool live_done = false;    // no more names will come from it
    bool held_listed = false;  // `held` are all names it had when it was held
    bool more = true;          // of live names after this block
    std::string last;          // live name last taken
    std::vector<std::string> names;
    std::size_t next = 0;
    std::span<const HeldEntry> held;
    std::size_t next_held = 0;
    std::vector<std::string> whiteouts;  // names that files ".wh.NAME" say are gone, in order
    std::size_t next_whiteout = 0;
    std::optional<std::string> again;  // what was held was replaced: now what lies there
    bool begun = false;                // live names were asked for
    std::uint32_t watched = SecondLook::kNone;
    ImageOnly image_only = ImageOnly::shown;
    std::size_t hider_size = 0;  // of path_: the directory that hides the image's names
    LowerNames image;
  };

  struct Subject {  // one name, and the inode that stands for it
    std::string_view name;
    std::string path;
    FileInfo info;
    const HeldEntry* held = nullptr;
    UniqueFd own;           // O_PATH, where it is not held
    bool live = false;      // the name leads to this inode now
    bool replaced = false;  // the name comes once more, with another inode
    std::vector<Xattr> xattrs;
    std::string target;
    Marks marks;
    std::optional<Error> why;  // it cannot be interpreted
    [[nodiscard]] int fd() const { return held != nullptr && held->fd ? held->fd.get() : own.get(); }
  };

  struct LinkKey {
    std::uint64_t inode = 0;
    std::uint64_t device = 0;
    std::optional<Timestamp> btime;  // the number of a deleted inode is given to another
    auto operator<=>(const LinkKey&) const = default;
  };
  struct Link {  // an inode with several names, the first of which was taken
    std::string path;
    bool held = false;  // open: its inode number cannot be another's
    bool program = false;
    bool hashed = false;
    Digest sha256{};
    std::string partial;
  };

  // walk.cpp: which names there are
  Status take_top();
  struct Next {
    std::string name;
    bool live = false;                // the directory has it now
    const HeldEntry* held = nullptr;  // it had it when it was held
    bool whiteout_file = false;       // it has a file that says that the name is gone
    [[nodiscard]] bool only_in_image() const { return !live && held == nullptr && !whiteout_file; }
  };
  std::optional<Next> next_name();
  const std::string* next_of_image(Frame& frame);
  void refill(Frame& frame);
  Result<NameBlock> list_live(Frame& frame, const Root& here);
  void find_whiteout_files(Frame& frame);
  [[nodiscard]] bool has_opaque_file(const Subject& subject);
  void shed_names();
  void live_failed(Frame& frame, const Error& error);
  std::optional<Subject> meet(const std::string& name, bool live, const HeldEntry* held);
  void go_into(const Subject& subject, const LowerHit& hit);
  void leave();
  [[nodiscard]] std::string path() const { return path_.empty() ? "/" : path_; }

  // image.cpp: what only the image has
  Status tell_image(const std::string& name, ImageOnly state, const std::string& hider);
  Result<bool> tell_one(const std::string& name, const std::string& within, ImageOnly state,
                        const std::string& hider);
  Status tell_below(std::string within, ImageOnly state, const std::string& hider);
  Status tell_hidden(const Subject& subject, const LowerHit& hit);

  // entry.cpp: what one name is
  Status take(Subject&& subject, bool top);
  void read_attributes(Subject& subject);
  void check_content(const Subject& subject, int fd, FileChange& change);
  Status take_whiteout(const Subject& subject);
  Status take_whiteout_file(const std::string& name);
  Result<UniqueFd> open_bytes(const Subject& subject, const LowerHit& hit);
  Status take_regular(const Subject& subject, FileChange&& change, LowerHit& hit);
  Status take_other(const Subject& subject, FileChange&& change, const LowerHit& hit);
  Status describe_before(FileChange& change, LowerHit& hit, std::string_view name);
  void conclude(FileChange& change, const Subject& subject, const LowerHit& hit, SameBytes bytes);
  [[nodiscard]] bool is_stub(const FileChange& change, const Subject& subject);
  Status begin_and_end(const FileChange& change);
  [[nodiscard]] std::string_view prefix() const { return stack_.prefix(); }
  [[nodiscard]] bool is_fuse() const { return prefix() == kFusePrefix; }
  static LinkKey link_key(const Subject& subject);
  Link* find_link(const Subject& subject);
  void remember_link(const Subject& subject, const FileChange& change);
  void gap(Impact impact, const char* artifact, std::string origin, Error error);

  const Stack& stack_;
  const Held::State* held_;
  std::unordered_set<std::string> stubs_;
  Visitor& visitor_;
  Task& task_;
  DirChain upper_;
  LowerView lower_;
  ContentReader reader_;
  SecondLook second_look_;
  std::vector<Frame> frames_;
  std::string path_;  // of the innermost frame, without a '/' at the end
  std::map<LinkKey, Link> links_;
  std::size_t link_bytes_ = 0;
  bool links_full_ = false;
};

}  // namespace ctriage::overlay
