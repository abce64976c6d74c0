#include "lib/memory/core_file.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace ctriage::memory {

// A thread that hashes copies of what is written, a few pieces behind: neither waits for the other at each.
struct CoreFile::Hasher {
  Sha256 hash;

  Hasher() {
    thread_ = std::thread([this] { run(); });
  }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void give(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
      bytes = bytes.subspan(piece.size());
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return given_ - hashed_ < kPieces; });
      }
      Piece& into = pieces_[given_ % kPieces];  // free, and of this thread until it is given
      into.size = piece.size();
      std::memcpy(into.bytes.data(), piece.data(), piece.size());
      {
        const std::lock_guard lock(mutex_);
        ++given_;
      }
      changed_.notify_all();
    }
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return given_ == hashed_; });
  }

 private:
  static constexpr std::size_t kPieces = 4;
  static constexpr std::size_t kPieceBytes = 512 << 10;
  struct Piece {
    std::vector<std::byte> bytes = std::vector<std::byte>(kPieceBytes);
    std::size_t size = 0;
  };

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return end_ || hashed_ < given_; });
      if (hashed_ == given_) return;
      const Piece& piece = pieces_[hashed_ % kPieces];
      lock.unlock();
      hash.update(std::span(piece.bytes).first(piece.size));
      lock.lock();
      ++hashed_;
      changed_.notify_all();
    }
  }

  std::array<Piece, kPieces> pieces_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t given_ = 0;   // pieces, by who writes
  std::uint64_t hashed_ = 0;  // by the thread
  bool end_ = false;
  std::thread thread_;
};

CoreFile::CoreFile(NewFile file) : file_(std::move(file)), hasher_(std::make_unique<Hasher>()) {}

CoreFile::~CoreFile() = default;

Result<std::unique_ptr<CoreFile>> CoreFile::create(const Root& directory, const std::string& name,
                                                   std::uint64_t max_bytes) {
  auto file = NewFile::create(directory, name, max_bytes);
  if (!file) return std::move(file).error();
  return std::unique_ptr<CoreFile>(new CoreFile(*std::move(file)));
}

Status CoreFile::write(std::span<const std::byte> bytes) {
  hasher_->give(bytes);
  return file_.write(bytes);
}

Result<PlacedCore> PlacedCore::create(const Root& directory, const std::string& name,
                                      std::uint64_t max_bytes) {
  auto file = NewFile::create(directory, name, max_bytes);
  if (!file) return std::move(file).error();
  return PlacedCore(*std::move(file));
}

Result<Digest> PlacedCore::seal(std::uint64_t size_bytes, const Task& task) {
  constexpr std::size_t kBlockBytes = 1 << 20;
  if (auto extended = file_.extend(size_bytes); !extended) return std::move(extended).error();
  Sha256 hash;
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t at = 0; at < size_bytes;) {
    if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
    auto got = file_.read_at(at, block);
    if (!got) return std::move(got).error();
    if (*got == 0) return Error{Errc::truncated, "the core is shorter than what was written of it"};
    hash.update(std::span(block).first(*got));
    at += *got;
  }
  if (auto sealed = file_.seal(); !sealed) return std::move(sealed).error();
  return hash.digest();
}

Result<Digest> CoreFile::seal() {
  if (auto sealed = file_.seal(); !sealed) return std::move(sealed).error();
  hasher_->wait();
  return hasher_->hash.digest();
}

}  // namespace ctriage::memory
