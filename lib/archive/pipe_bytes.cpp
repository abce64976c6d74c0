#include "lib/archive/pipe_bytes.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/sys.h"

namespace ctriage::archive {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;

class PipeBytes final : public BytesAt {
 public:
  PipeBytes(UniqueFd pipe, std::string name, const Task& task)
      : name_(name), in_(std::move(pipe), std::move(name), task), block_(kBlockBytes) {}

  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset < begin_) {
      return Error{Errc::unsupported, name_ + ": what has passed cannot be read again: --spool DIR keeps it"};
    }
    std::size_t done = 0;
    while (done < into.size()) {
      const std::uint64_t end = begin_ + kept_.size();
      if (offset + done < end) {
        const auto from = static_cast<std::size_t>(offset + done - begin_);
        const std::size_t count = std::min(kept_.size() - from, into.size() - done);
        std::memcpy(into.data() + done, kept_.data() + from, count);
        done += count;
        continue;
      }
      if (at_end_) break;
      auto got = in_.read(block_);
      if (!got) return std::move(got).error();
      if (*got == 0) at_end_ = true;
      keep(std::span(block_).first(*got), offset + done);
    }
    return done;
  }

 private:
  // What is asked for from `wanted` on must not go before it was given.
  void keep(std::span<const std::byte> bytes, std::uint64_t wanted) {
    kept_.insert(kept_.end(), bytes.begin(), bytes.end());
    if (begin_ == 0 && kept_.size() <= kMaxPipeBytes) return;
    if (kept_.size() <= 2 * kPipeBackBytes) return;
    const std::uint64_t last = begin_ + kept_.size() - kPipeBackBytes;
    const std::uint64_t from = std::max(begin_, std::min(last, wanted));
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(from - begin_));
    if (kept_.capacity() > 4 * kPipeBackBytes) kept_.shrink_to_fit();
    begin_ = from;
  }

  std::string name_;
  FdSource in_;
  std::vector<std::byte> block_;
  std::vector<std::byte> kept_;
  std::uint64_t begin_ = 0;  // of kept_, in the pipe
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<BytesAt> bytes_of_pipe(UniqueFd pipe, std::string name, const Task& task) {
  return std::make_unique<PipeBytes>(std::move(pipe), std::move(name), task);
}

Result<UniqueFd> make_spool(const std::string& directory) {
  auto root = Root::open(directory);
  if (!root) return std::move(root).error().within("--spool");
  constexpr std::uint32_t kOursAlone = 0600;
  auto file = sys::openat2(root->fd(), ".", O_TMPFILE | O_RDWR, RESOLVE_BENEATH, kOursAlone);
  if (file || (file.error().number != EOPNOTSUPP && file.error().number != EISDIR &&
               file.error().number != ENOENT && file.error().number != EINVAL))
    return file ? std::move(file) : Result<UniqueFd>(std::move(file).error().within("--spool " + directory));
  // open(2), O_TMPFILE: not every file system has it.
  const std::string name = ".ctriage-spool-" + std::to_string(sys::boottime_ns());
  file = sys::openat2(root->fd(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, RESOLVE_BENEATH, kOursAlone);
  if (!file) return std::move(file).error().within("--spool " + directory);
  if (auto gone = sys::unlinkat(root->fd(), name); !gone) return std::move(gone).error();
  return file;
}

Status spool(BytesAt& bytes, int into, const Task& task) {
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t at = 0;;) {
    if (auto go_on = task.check(); !go_on) return go_on;
    auto got = bytes.read_at(at, block);
    if (!got) return std::move(got).error();
    if (*got == 0) return Done{};
    at += *got;
    if (auto written = sys::write_all(into, std::span<const std::byte>(block).first(*got), "--spool");
        !written)
      return written;
  }
}

}  // namespace ctriage::archive
