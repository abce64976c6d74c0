#pragma once
// One stream's bytes on their way into the pipeline: filled into chunks as FORMAT.md has them.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/pipeline.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

// What the manifest says: nothing for what was collected, always something for what was not.
std::string reason_for(Outcome outcome, std::string_view why);

// What the streams and the writer share; it outlives both.
struct Shared {
  Shared(PartFile part, std::vector<FrameEncoder> encoders, const WriterOptions& options, const Task& given)
      : task(given),
        pipeline(std::move(part), std::move(encoders), options.started_at.seconds, options.workers) {}

  [[nodiscard]] Timestamp now() const { return task.now ? task.now() : Timestamp{}; }

  const Task& task;
  Pipeline pipeline;
  bool sealed = false;
};

class Feed final : public HashDebtor {
 public:
  Feed(std::shared_ptr<Shared> shared, std::shared_ptr<StreamCore> core)
      : shared_(std::move(shared)), core_(std::move(core)) {}
  ~Feed() override { shared_->pipeline.release(std::move(buffer_)); }
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // `hash` gets them, too: at once, or before settle() returns.
  Status write(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash = nullptr);
  void settle() override;
  void flush();  // end of a phase: whole lines of jsonl go to the file
  // The error of the stream, if it has one by now. `why` in the manifest is that error, else the one given.
  // Not collected and empty: there is no member; not collected but not empty: partial.
  Status finish(Outcome outcome, std::string_view why);

  [[nodiscard]] bool closed() const { return closed_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_; }
  [[nodiscard]] StreamCore& core() { return *core_; }

 private:
  void add_bytes(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash);
  void promise(std::size_t size, const std::shared_ptr<LateSha256>& hash);
  void add_text(std::span<const std::byte> bytes);
  [[nodiscard]] std::size_t lines_of_a_chunk() const;
  void close_text(std::size_t size, std::uint32_t index);
  void close_last();
  void submit(std::uint32_t index, Buffer original, std::size_t size);

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<StreamCore> core_;
  Buffer buffer_;  // plain and zstd
  std::size_t used_ = 0;
  std::vector<std::byte> text_;    // jsonl
  std::vector<FilePiece> pieces_;  // of the buffer, not hashed yet
  bool owing_ = false;             // chunks under way had pieces
  std::uint32_t next_chunk_ = 0;
  std::uint64_t size_ = 0;
  bool closed_ = false;
};

}  // namespace ctriage::bundle
