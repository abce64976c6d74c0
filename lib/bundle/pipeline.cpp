#include "lib/bundle/pipeline.h"

#include <cstring>
#include <system_error>

#include "lib/core/limits.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

// 8 of 4 MiB and the compressors' own stay below 40 MiB. One is being filled, three chunks are under way with
// two each.
constexpr unsigned kMaxBuffers = 8;
constexpr std::size_t kWhyBytes = 1'000;  // of an error in the manifest

std::size_t buffer_bytes() { return kTarBlock + frame_bound(kChunkBytes) + kTarBlock; }

std::uint64_t member_bytes(std::uint64_t stored) { return kTarBlock + stored + archive::tar_padding(stored); }

}  // namespace

Pipeline::Pipeline(PartFile part, std::vector<FrameEncoder> encoders, std::int64_t mtime_seconds,
                   unsigned workers)
    : part_(std::move(part)), mtime_seconds_(mtime_seconds), encoders_(std::move(encoders)) {
  for (unsigned i = 0; i < workers && i < encoders_.size(); ++i) {
    try {
      workers_.emplace_back([this, i] { work(encoders_[i]); });
    } catch (const std::system_error&) {
      break;  // pids limit of our cgroup: fewer, or all in the caller's thread
    }
  }
}

Pipeline::~Pipeline() {
  drain();
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  ready_.notify_all();
  workers_.clear();  // joins
}

Buffer Pipeline::take_locked(std::unique_lock<std::mutex>& lock) {
  // Open streams hold buffers without end, so only chunks under way are worth waiting for.
  moved_.wait(lock, [&] { return !free_.empty() || buffers_ < kMaxBuffers || jobs_.empty(); });
  if (!free_.empty()) {
    Buffer buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  ++buffers_;
  Buffer buffer;
  buffer.bytes = std::make_unique_for_overwrite<std::byte[]>(buffer_bytes());
  return buffer;
}

Buffer Pipeline::acquire() {
  std::unique_lock lock(mutex_);
  return take_locked(lock);
}

void Pipeline::release(Buffer buffer) {
  if (!buffer) return;
  const std::scoped_lock lock(mutex_);
  if (buffers_ > kMaxBuffers) {
    --buffers_;
  } else {
    free_.push_back(std::move(buffer));
  }
}

void Pipeline::submit(std::shared_ptr<StreamCore> stream, std::uint32_t index, Buffer original,
                      std::size_t size, std::vector<FilePiece> pieces) {
  auto job = std::make_unique<Job>();
  {
    std::unique_lock lock(mutex_);
    if (stream->encoding == Encoding::zstd) {
      job->packed = take_locked(lock);
    } else {
      job->stored_bytes = size;
      job->pack = Stage::done;
    }
    job->number = stream->submitted++;
    job->pieces = std::move(pieces);
    job->stream = std::move(stream);
    job->index = index;
    job->original = std::move(original);
    job->original_bytes = size;
    promised_ += member_bytes(frame_bound(size)) + ending_bytes(job->stream->path) + kTarBlock;
    jobs_.push_back(std::move(job));
  }
  if (workers_.empty()) return work_inline();
  ready_.notify_all();
}

Pipeline::Work Pipeline::find_work(Job*& job) {
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    job = jobs_[i].get();
    if (job->hash == Stage::todo && job->number == job->stream->hashed) return Work::hash;
    if (job->pack == Stage::todo) return Work::pack;
    if (i == 0 && job->hash == Stage::done && job->pack == Stage::done && !job->writing) return Work::write;
  }
  return Work::none;
}

void Pipeline::run_hash(Job& job) {
  const std::span<const std::byte> original{job.original.content(), job.original_bytes};
  // The first chunk as it is stored is all of the stream so far.
  const bool stored_too = job.stream->encoding != Encoding::zstd && job.number > 0;
  Sha256 stored;
  std::size_t at = 0;
  const auto feed = [&](std::size_t end, Sha256* file) {
    std::array<Sha256*, 3> hashes{&job.stream->hash};
    std::size_t count = 1;
    if (stored_too) hashes[count++] = &stored;
    if (file != nullptr) hashes[count++] = file;
    Sha256::update_all(std::span(hashes).first(count), original.subspan(at, end - at));
    at = end;
  };
  for (const FilePiece& piece : job.pieces) {
    feed(piece.offset, nullptr);
    feed(piece.offset + piece.size, &piece.hash->hash());
  }
  feed(original.size(), nullptr);
  job.pieces.clear();
  job.stream_digest = job.stream->hash.digest();
  if (job.stream->encoding != Encoding::zstd)
    job.stored_digest = stored_too ? stored.digest() : job.stream_digest;
}

void Pipeline::run_pack(Job& job, FrameEncoder& encoder) {
  const std::span original{job.original.content(), job.original_bytes};
  auto packed = encoder.encode(original, {job.packed.content(), frame_bound(kChunkBytes)});
  if (!packed) {
    job.error = std::move(packed).error();
    return;
  }
  job.stored_bytes = *packed;
  job.stored_digest = sha256({job.packed.content(), job.stored_bytes});
}

Status Pipeline::run_write(Job& job) {
  if (job.error) return *job.error;
  if (job.stream->failed) return Error{Errc::io, "an earlier chunk is missing"};  // no holes
  const std::string name = join_member(job.stream->path, job.index);
  auto header = archive::make_tar_header(name, job.stored_bytes, mtime_seconds_);
  if (!header) return std::move(header).error();
  const Buffer& buffer = job.packed ? job.packed : job.original;
  std::memcpy(buffer.bytes.get(), header->data(), kTarBlock);
  const auto padding = static_cast<std::size_t>(archive::tar_padding(job.stored_bytes));
  std::memset(buffer.content() + job.stored_bytes, 0, padding);

  const std::uint64_t entry = ending_bytes(name);
  part_.expect_ending(entry);
  auto written =
      part_.append({buffer.bytes.get(), kTarBlock + job.stored_bytes + padding}, job.stream->priority);
  if (!written) part_.expect_ending(0 - entry);  // wraps back
  return written;
}

// The chunk left the pipeline: what the manifest says of its stream follows what is in the file.
void Pipeline::retire(Job& job, const Status& written) {
  StreamCore& stream = *job.stream;
  ++stream.written;
  promised_ -= member_bytes(frame_bound(job.original_bytes)) + ending_bytes(stream.path) + kTarBlock;
  StreamRecord& record = ledger_.streams[stream.id];
  Status added = written;
  if (added)
    added = ledger_.add_chunk(stream.id, job.index, static_cast<std::uint32_t>(job.stored_bytes),
                              job.stored_digest);
  if (added) {
    record.size_bytes += job.original_bytes;
    record.digest = job.stream_digest;
    sums_.update(sums_line(job.stored_digest, join_member(stream.path, job.index)));
  } else if (!stream.failed) {
    stream.error = std::move(added).error().within(stream.path);
    stream.failed = true;
    record.outcome = Outcome::partial;
    record.why = stream.error->what.substr(0, kWhyBytes);
    part_.expect_ending(ending_bytes(record.why));
    failed_.push_back(job.stream);
  }
  for (Buffer* buffer : {&job.original, &job.packed}) {
    if (!*buffer) continue;
    if (buffers_ > kMaxBuffers) {
      --buffers_;
      buffer->bytes.reset();
    } else {
      free_.push_back(std::move(*buffer));
    }
  }
}

void Pipeline::run(Work work, Job& job, FrameEncoder* encoder, std::unique_lock<std::mutex>& lock) {
  if (work == Work::write) {
    job.writing = true;
    const bool full = ledger_.chunks.size() >= kMaxMembers;
    lock.unlock();
    const Status written =
        full ? Status(Error{Errc::limit, "a bundle holds at most 4,000,000 members"}) : run_write(job);
    lock.lock();
    retire(job, written);
    jobs_.pop_front();  // only the front is written
    return;
  }
  Stage& stage = work == Work::hash ? job.hash : job.pack;
  stage = Stage::doing;
  lock.unlock();
  if (work == Work::hash) {
    run_hash(job);
  } else {
    run_pack(job, *encoder);
  }
  lock.lock();
  stage = Stage::done;
  if (work == Work::hash) ++job.stream->hashed;
  // A compressed chunk's original bytes are not needed any more.
  const bool seen = job.hash == Stage::done && job.pack == Stage::done;
  if (seen && job.packed && buffers_ <= kMaxBuffers) free_.push_back(std::move(job.original));
}

void Pipeline::work(FrameEncoder& encoder) {
  std::unique_lock lock(mutex_);
  while (true) {
    Job* job = nullptr;
    const Work found = find_work(job);
    if (found == Work::none) {
      if (ending_) return;
      ready_.wait(lock);
      continue;
    }
    run(found, *job, &encoder, lock);
    ready_.notify_all();
    moved_.notify_all();
  }
}

void Pipeline::work_inline() {
  std::unique_lock lock(mutex_);
  Job* job = nullptr;
  for (Work found = find_work(job); found != Work::none; found = find_work(job)) {
    run(found, *job, &encoders_.front(), lock);
  }
}

void Pipeline::settle_hashes(const StreamCore& stream) {
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [&] { return stream.hashed == stream.submitted; });
}

void Pipeline::drain() {
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [&] { return jobs_.empty(); });
}

void Pipeline::drain(const StreamCore& stream) {
  std::unique_lock lock(mutex_);
  moved_.wait(lock, [&] { return stream.written == stream.submitted; });
}

Status Pipeline::error_of(StreamCore& stream) {
  if (!stream.failed) return Done{};
  const std::scoped_lock lock(mutex_);
  stream.told = true;
  return *stream.error;
}

Status Pipeline::settle(StreamCore& stream) {
  if (!part_.surely_fits(promised_)) drain(stream);
  return error_of(stream);
}

Status Pipeline::untold_error() {
  const std::scoped_lock lock(mutex_);
  for (const auto& stream : failed_) {
    if (std::exchange(stream->told, true)) continue;
    return *stream->error;
  }
  return Done{};
}

}  // namespace ctriage::bundle
