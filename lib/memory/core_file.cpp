#include "lib/memory/core_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lib/core/sys.h"

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

CoreFile::CoreFile(Root directory, std::string name, UniqueFd file)
    : directory_(std::move(directory)),
      name_(std::move(name)),
      file_(std::move(file)),
      hasher_(std::make_unique<Hasher>()) {}

CoreFile::~CoreFile() = default;

Result<std::unique_ptr<CoreFile>> CoreFile::create(const Root& directory, const std::string& name) {
  auto there = directory.stat_beneath(name);
  if (there) return system_error(EEXIST, "write " + name);
  if (there.error().code != Errc::not_found) return std::move(there).error();
  auto own = directory.duplicate();
  if (!own) return std::move(own).error();
  auto file = sys::openat2(directory.fd(), name + ".part", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                           RESOLVE_BENEATH, 0600);
  if (!file) return std::move(file).error();
  return std::unique_ptr<CoreFile>(new CoreFile(*std::move(own), name, *std::move(file)));
}

Status CoreFile::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return Done{};
  hasher_->give(bytes);
  auto written = sys::write_all(file_.get(), bytes, name_);
  hasher_->wait();
  if (written) size_bytes_ += bytes.size();
  return written;
}

Result<Digest> CoreFile::seal() {
  auto named = sys::renameat2(directory_.fd(), name_ + ".part", directory_.fd(), name_, RENAME_NOREPLACE);
  if (!named) return std::move(named).error();
  return hasher_->hash.digest();
}

}  // namespace ctriage::memory
