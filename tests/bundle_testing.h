#pragma once
// What the bundle tests share: a directory of their own, a task, the bundles they look at.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "lib/bundle/verify.h"
#include "lib/bundle/writer.h"
#include "lib/core/sys.h"

namespace ctriage::bundle {

class TempDir {
 public:
  explicit TempDir(std::string pattern = "/tmp/ctriage-bundle-XXXXXX") : path_(std::move(pattern)) {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp " + path_);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Root root() const { return Root::open(path_).value(); }

 private:
  std::string path_;
};

struct TestTask {
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{1'795'289'331, 5}; }};
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void spill(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string noise(std::size_t size, unsigned seed = 1) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t word = random();
    text.replace(i, std::min<std::size_t>(8, size - i), reinterpret_cast<const char*>(&word),
                 std::min<std::size_t>(8, size - i));
  }
  return text;
}

inline WriterOptions inline_options() {
  WriterOptions options;
  options.started_at = {1'795'289'331, 0};
  options.workers = 0;
  return options;
}

inline Report verify_bytes(std::string_view bytes, const VerifyOptions& options) {
  TestTask t;
  MemorySource in(bytes);
  auto report = verify(in, options, t.task);
  if (!report) {
    Report broken;
    broken.verdict = Verdict::wrong;
    broken.problems.push_back(report.error().what);
    return broken;
  }
  return *std::move(report);
}

inline Report verify_bytes(std::string_view bytes, const std::optional<Digest>& expected = std::nullopt) {
  return verify_bytes(bytes, VerifyOptions{expected});
}

inline std::string problems_of(const Report& report) {
  std::string text;
  for (const auto& problem : report.problems) text += problem + "\n";
  return text;
}

// One of everything, small enough to flip each byte of it.
inline std::string small_bundle(const TempDir& dir, const std::string& name = "small", unsigned workers = 0,
                                WriterOptions options = inline_options()) {
  TestTask t;
  options.workers = workers;
  auto writer = Writer::create(dir.root(), name, options, t.task).value();
  EXPECT_TRUE(writer->record("hold", {{"target", "shop/web-7d9f"}, {"files", std::uint64_t{3}}}));
  EXPECT_TRUE(writer->add("bundle.json", "{\"schema\":\"ctriage.bundle/1\"}\n", "ctriage"));
  auto gaps = writer->open("gaps.jsonl", Encoding::jsonl, "ctriage").value();
  EXPECT_TRUE(gaps->write_line("{\"gap\":1}"));
  EXPECT_TRUE(writer->end_phase("state"));
  auto upper = writer->open("containers/app/upper.tar.zst", Encoding::zstd, "overlay").value();
  EXPECT_TRUE(upper->write(bytes_of("hello hello hello hello hello hello hello hello")));
  EXPECT_TRUE(upper->finish(Outcome::collected, ""));
  EXPECT_TRUE(gaps->write_line("{\"gap\":2}"));
  EXPECT_TRUE(writer->end_phase("files"));
  EXPECT_TRUE(gaps->write_line("{\"gap\":3}"));
  auto log = writer->open("containers/app/logs/0.log", Encoding::plain, "/var/log/pods").value();
  EXPECT_TRUE(log->write(bytes_of("started\n")));
  EXPECT_TRUE(log->finish(Outcome::partial, "grew while it was read"));
  auto empty = writer->open("containers/app/changes.jsonl", Encoding::jsonl, "overlay").value();
  EXPECT_TRUE(empty->finish(Outcome::collected, ""));
  writer->not_collected("containers/app/memory", "processes", "not planned");
  EXPECT_TRUE(gaps->finish(Outcome::collected, ""));
  auto sealed = writer->seal();
  EXPECT_TRUE(sealed) << (sealed ? "" : sealed.error().what);
  return slurp(dir.path() + "/" + sealed->path);
}

// Less, for what is done at each of its bytes: a chunk of each encoding, a mark, the end.
inline std::string tiny_bundle(const TempDir& dir, const WriterOptions& options = inline_options()) {
  TestTask t;
  auto writer = Writer::create(dir.root(), "tiny", options, t.task).value();
  auto packed = writer->open("a.zst", Encoding::zstd, "overlay").value();
  EXPECT_TRUE(packed->write(bytes_of("hello hello hello hello")));
  EXPECT_TRUE(packed->finish(Outcome::collected, ""));
  EXPECT_TRUE(writer->end_phase("state"));
  EXPECT_TRUE(writer->add("b", "bytes", "x"));
  auto sealed = writer->seal();
  EXPECT_TRUE(sealed) << (sealed ? "" : sealed.error().what);
  return slurp(dir.path() + "/" + sealed->path);
}

}  // namespace ctriage::bundle
