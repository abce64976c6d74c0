#pragma once
// What came into a directory after its names were listed. Each directory is listed once, so a file that is
// moved from one that is still to come into one that is done would be missed without a word. Private to
// lib/overlay.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::overlay {

class SecondLook {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  explicit SecondLook(Task& task) : task_(task), since_(task.now()) {}

  void taken(const FileInfo& info);
  // Names of the directory `name` in the directory `parent` (kNone: the top) are about to be listed; `info`
  // is its state before that. Parents come before their children. Gives its number, kNone when it is not
  // remembered.
  std::uint32_t listing(std::uint32_t parent, std::string_view name, const FileInfo& info);
  // After the last name: what lies in a directory that has changed since and was not taken is a gap. Lost
  // where it was there before we began, degraded where it was made after that. Errors: stopped, timeout.
  Status look(const Root& top);

 private:
  struct Watched {
    std::uint64_t key = 0;  // of the inode
    std::uint64_t inode = 0;
    std::uint32_t dev_major = 0;
    std::uint32_t dev_minor = 0;
    std::uint32_t parent = kNone;
    bool unsure = false;  // changed so shortly before that the next change could bear the same time
    Timestamp ctime;
    std::string name;
  };
  static std::uint64_t key_of(const FileInfo& info);
  Status look_into(std::uint32_t directory, const Root& dir);
  [[nodiscard]] bool moved_here(std::uint32_t directory, std::uint64_t key, const std::string& name) const;
  [[nodiscard]] std::string path_of(std::uint32_t directory) const;
  void gap(Impact impact, std::uint32_t directory, Errc code, std::string what);

  Task& task_;
  Timestamp since_;
  std::vector<std::uint64_t> taken_;
  std::vector<Watched> watched_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> by_key_;
  std::size_t watched_bytes_ = 0;
  bool taken_full_ = false;
  bool watched_full_ = false;
};

}  // namespace ctriage::overlay
