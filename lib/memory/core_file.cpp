#include "lib/memory/core_file.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace ctriage::memory {

// A thread that hashes what is being written: either takes about as long as the other.
struct CoreFile::Hasher {
  Sha256 hash;
  std::mutex mutex;
  std::condition_variable changed;
  std::span<const std::byte> work;  // empty: done with the last
  bool end = false;
  std::thread thread{[this] { run(); }};

  Hasher() = default;
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher() {
    {
      const std::lock_guard lock(mutex);
      end = true;
    }
    changed.notify_all();
    thread.join();
  }

  void give(std::span<const std::byte> bytes) {
    {
      const std::lock_guard lock(mutex);
      work = bytes;
    }
    changed.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return work.empty(); });
  }

 private:
  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return end || !work.empty(); });
      if (work.empty()) return;
      const auto bytes = work;
      lock.unlock();
      hash.update(bytes);
      lock.lock();
      work = {};
      changed.notify_all();
    }
  }
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
  if (bytes.empty()) return Done{};
  hasher_->give(bytes);
  auto written = file_.write(bytes);
  hasher_->wait();
  return written;
}

Result<Digest> CoreFile::seal() {
  if (auto sealed = file_.seal(); !sealed) return std::move(sealed).error();
  return hasher_->hash.digest();
}

}  // namespace ctriage::memory
