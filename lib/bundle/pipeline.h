#pragma once
// From full buffers to members in the file. Each chunk passes three stages: hashing (of the stream, the files
// in it and, where it is stored as it is, the chunk: one after the other in a stream), packing (zstd, hash of
// the stored bytes; any order), the file (in order of submission, so the file does not depend on scheduling).
// Workers take whatever stage is ready, the oldest chunk first.
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "lib/archive/tar_header.h"
#include "lib/bundle/ledger.h"
#include "lib/bundle/part_file.h"
#include "lib/bundle/zstd_frame.h"

namespace ctriage::bundle {

// Room for a tar header, the content and its padding, so that a member is one write and no copy.
struct Buffer {
  std::unique_ptr<std::byte[]> bytes;
  [[nodiscard]] std::byte* content() const { return bytes.get() + archive::kTarBlock; }
  explicit operator bool() const { return bytes != nullptr; }
};

// Bytes of a chunk that are a file's.
struct FilePiece {
  std::size_t offset = 0;
  std::size_t size = 0;
  std::shared_ptr<LateSha256> hash;
};

// What the stages know of one stream.
struct StreamCore {
  std::uint32_t id = 0;  // in Ledger::streams
  std::string path;
  Encoding encoding = Encoding::plain;
  Priority priority = Priority::data;
  std::atomic<bool> failed{false};
  Sha256 hash;  // of all that has passed; the hashing stage's
  // Under the pipeline's mutex:
  std::optional<Error> error;
  std::uint64_t submitted = 0;
  std::uint64_t hashed = 0;
  std::uint64_t written = 0;
  bool told = false;  // the caller has seen the error
};

class Pipeline {
 public:
  Pipeline(PartFile part, std::vector<FrameEncoder> encoders, std::int64_t mtime_seconds, unsigned workers);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // For the one caller's thread:
  Buffer acquire();  // waits while chunks under way hold too many
  void release(Buffer buffer);
  // `pieces` in order; their hashes are fed by the time settle_hashes() returns.
  void submit(std::shared_ptr<StreamCore> stream, std::uint32_t index, Buffer original, std::size_t size,
              std::vector<FilePiece> pieces);
  void settle_hashes(const StreamCore& stream);
  void drain();                          // until everything is in the file or failed
  void drain(const StreamCore& stream);  // the same of one stream
  // Waits only where a chunk of the stream could still fail for lack of room; gives its error once.
  Status settle(StreamCore& stream);
  Status error_of(StreamCore& stream);
  // The first error that no call has told the caller yet.
  Status untold_error();

  // The ledger belongs to the mutex while chunks are under way.
  template <class F>
  auto with_ledger(F&& use) {
    const std::scoped_lock lock(mutex_);
    return use(ledger_);
  }
  PartFile& part() { return part_; }  // append only when drained
  const PartFile& part() const { return part_; }
  [[nodiscard]] Digest sums_digest() const { return sums_.digest(); }  // when drained
  [[nodiscard]] std::int64_t mtime_seconds() const { return mtime_seconds_; }

 private:
  enum class Stage : std::uint8_t { todo, doing, done };
  struct Job {
    std::shared_ptr<StreamCore> stream;
    std::uint32_t index = 0;
    std::uint64_t number = 0;  // in the order of submission to the stream
    Buffer original;
    std::size_t original_bytes = 0;
    std::vector<FilePiece> pieces;
    Buffer packed;  // for zstd
    std::size_t stored_bytes = 0;
    Digest stored_digest{};
    Digest stream_digest{};
    Stage hash = Stage::todo;
    Stage pack = Stage::todo;
    bool writing = false;
    std::optional<Error> error;
  };
  enum class Work : std::uint8_t { none, hash, pack, write };

  Work find_work(Job*& job);
  void run(Work work, Job& job, FrameEncoder* encoder, std::unique_lock<std::mutex>& lock);
  static void run_hash(Job& job);
  static void run_pack(Job& job, FrameEncoder& encoder);
  Status run_write(Job& job);
  void retire(Job& job, const Status& written);
  void work(FrameEncoder& encoder);
  void work_inline();
  Buffer take_locked(std::unique_lock<std::mutex>& lock);

  PartFile part_;
  const std::int64_t mtime_seconds_;
  std::vector<FrameEncoder> encoders_;  // one per worker, at least one
  Sha256 sums_;                         // of the SHA256SUMS lines so far; the write stage's
  std::mutex mutex_;
  std::condition_variable ready_;  // for workers
  std::condition_variable moved_;  // for the caller
  std::deque<std::unique_ptr<Job>> jobs_;
  std::vector<Buffer> free_;
  unsigned buffers_ = 0;
  std::atomic<std::uint64_t> promised_{0};  // bytes that chunks under way may take
  Ledger ledger_;
  std::vector<std::shared_ptr<StreamCore>> failed_;
  bool ending_ = false;
  std::vector<std::jthread> workers_;
};

}  // namespace ctriage::bundle
