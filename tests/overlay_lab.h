#pragma once
// A real overlay mount to play in: a tmpfs of its own, in a mount namespace of this test process, gone with
// it.
#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/overlay/overlay.h"

namespace ctriage::testing {

struct TaskKit {
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  [[nodiscard]] std::string text() const;  // all gaps, for messages
  [[nodiscard]] bool has(Impact impact, const std::string& artifact, Errc code) const;
};

class Lab {
 public:
  Lab();  // check ready() first: needs root
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  static bool ready();
  [[nodiscard]] const std::string& dir() const { return dir_; }
  void sh(const std::string& script) const;  // bash -eu in dir(); fails the test
  // Mounts `merged` over upper/fs and the lowers (directories of dir(), the first is the top), and the lowers
  // alone, composed by the kernel, at `image`.
  void mount(const std::vector<std::string>& lowers, const std::string& extra = "");
  // The same by fuse-overlayfs; needs has_fuse().
  static bool has_fuse();
  void mount_fuse(const std::vector<std::string>& lowers, const std::string& extra = "");
  // Layers whose owners are `first` and on: clones that are mounted idmapped where the overlay is put
  // together, and gone then, as containerd 2 does it.
  void mount_idmapped(const std::vector<std::string>& lowers, std::uint32_t first);
  void unmount();
  [[nodiscard]] overlay::Options options() const;  // from /proc/self/mountinfo
  overlay::Stack stack(TaskKit& kit) const;

 private:
  void idmap(const std::string& directory, const std::string& at, std::uint32_t first);
  std::string dir_;
  std::vector<std::string> arguments_;  // of fuse-overlayfs
  bool mounted_ = false;
};

struct Recorder final : overlay::Visitor {
  std::vector<FileChange> changes;
  std::map<std::string, std::string> bytes;  // of files up to 4 MiB, holes left out
  std::uint64_t data_bytes = 0;
  bool keep = true;
  archive::LayerWriter* layer = nullptr;
  std::function<void(const FileChange&)> on_begin;

  Status begin(const FileChange& change, std::span<const archive::DataRun> runs) override;
  Status data(std::uint64_t offset_bytes, std::span<const std::byte> block,
              const std::shared_ptr<LateSha256>& hash) override;
  Status end() override;
  Status change(FileChange&& change) override;
  [[nodiscard]] const FileChange* find(const std::string& path) const;
  [[nodiscard]] std::string kind(const std::string& path) const;  // "-" when there is no such change

 private:
  std::string open_;
  std::uint64_t expected_ = 0;
};

// Holds, walks, checks the order of paths.
Recorder take(const overlay::Stack& stack, TaskKit& kit, const std::vector<Bytes>& stubs = {},
              bool hold = true);

}  // namespace ctriage::testing
