#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "lib/archive/tar_header.h"
#include "lib/bundle/reader.h"
#include "lib/bundle/statuses.h"
#include "lib/core/limits.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

std::string tar_member(const std::string& name, const std::string& content,
                       std::optional<std::uint64_t> claimed = std::nullopt) {
  const auto header = archive::make_tar_header(name, claimed.value_or(content.size()), 0).value();
  std::string tar(reinterpret_cast<const char*>(header.data()), header.size());
  return tar.append(content).append(archive::tar_padding(content.size()), '\0');
}

Result<std::unique_ptr<Reader>> open_bytes(const TempDir& dir, std::string_view bytes, Task& task) {
  const std::string path = dir.path() + "/reader.tar";
  spill(path, bytes);
  return Reader::open_tar(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, task);
}

std::string text_of(Reader& reader, std::string_view stream, Task& task) {
  auto source = reader.open(stream, task);
  if (!source) return "error: " + source.error().what;
  auto all = read_all(**source, 64 << 20);
  return all ? *all : "error: " + all.error().what;
}

TEST(BundleReader, PackedAndUnpackedAreTheSame) {
  TempDir dir;
  TestTask t;
  const auto bytes = small_bundle(dir);
  auto packed = open_bytes(dir, bytes, t.task).value();
  EXPECT_TRUE(packed->sealed());
  EXPECT_FALSE(packed->cut());
  EXPECT_EQ(packed->streams().front(), "bundle.json");
  EXPECT_EQ(packed->streams().back(), "manifest.json.sha256");
  EXPECT_EQ(text_of(*packed, "gaps.jsonl", t.task), "{\"gap\":1}\n{\"gap\":2}\n{\"gap\":3}\n");
  EXPECT_EQ(text_of(*packed, "containers/app/upper.tar.zst", t.task),
            "hello hello hello hello hello hello hello hello");
  EXPECT_EQ(text_of(*packed, "containers/app/changes.jsonl", t.task), "");
  EXPECT_EQ(packed->open("nothing", t.task).error().code, Errc::not_found);

  const std::string out = dir.path() + "/out";
  std::filesystem::create_directory(out);
  ASSERT_EQ(::system(("tar -C " + out + " -xf " + dir.path() + "/reader.tar").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (out + "/link").c_str()), 0);
  ASSERT_EQ(::mkfifo((out + "/fifo").c_str(), 0600), 0);
  spill(out + "/a note.txt", "not ours");
  auto unpacked = Reader::open_directory(Root::open(out).value(), t.task).value();
  EXPECT_EQ(t.gaps.count(Impact::note), 3u);
  EXPECT_FALSE(unpacked->has("link"));
  EXPECT_TRUE(unpacked->sealed());
  EXPECT_FALSE(unpacked->cut());
  auto names = packed->streams();
  auto theirs = unpacked->streams();
  std::sort(names.begin(), names.end());
  std::sort(theirs.begin(), theirs.end());
  EXPECT_EQ(names, theirs);
  for (const auto& name : names)
    EXPECT_EQ(text_of(*packed, name, t.task), text_of(*unpacked, name, t.task)) << name;
}

std::string status_of(const Reader& reader, std::string_view stream) {
  const auto status = reader.status(stream);
  return status ? std::string(to_text(status->outcome)) + ": " + status->why : "unknown";
}

TEST(BundleReader, StatusOfStreams) {
  TempDir dir;
  TestTask t;
  const auto bytes = small_bundle(dir);
  const std::string out = dir.path() + "/out";
  std::filesystem::create_directory(out);
  auto packed = open_bytes(dir, bytes, t.task).value();
  ASSERT_EQ(::system(("tar -C " + out + " -xf " + dir.path() + "/reader.tar").c_str()), 0);
  auto unpacked = Reader::open_directory(Root::open(out).value(), t.task).value();
  for (const Reader* reader : {packed.get(), unpacked.get()}) {
    EXPECT_EQ(status_of(*reader, "bundle.json"), "collected: ");
    EXPECT_EQ(status_of(*reader, "custody.jsonl"), "collected: ");
    EXPECT_EQ(status_of(*reader, "containers/app/changes.jsonl"), "collected: ");
    EXPECT_EQ(status_of(*reader, "containers/app/logs/0.log"), "partial: grew while it was read");
    EXPECT_EQ(status_of(*reader, "containers/app/memory"), "not_collected: not planned");
    EXPECT_FALSE(reader->has("containers/app/memory"));
    for (const char* none : {"", "nothing", "manifest.json", "SHA256SUMS", "custody.jsonl.00000"})
      EXPECT_EQ(status_of(*reader, none), "unknown") << none;
  }
  EXPECT_TRUE(t.gaps.kept().empty());
  auto cut = open_bytes(dir, std::string_view(bytes).substr(0, bytes.size() / 2), t.task).value();
  EXPECT_EQ(status_of(*cut, "bundle.json"), "unknown");
  EXPECT_TRUE(t.gaps.kept().empty());
}

TEST(BundleReader, StatusOfASwappedManifest) {
  const std::string zeros(64, '0');
  const auto stream = [&](const std::string& path, const std::string& status, const std::string& why) {
    return "{\"path\":\"" + path + "\",\"size_bytes\":0,\"sha256\":\"" + zeros + "\",\"status\":\"" + status +
           "\",\"why\":\"" + why + "\",\"chunks\":[]}";
  };
  const auto manifest = [](const std::string& streams) {
    return "{\"schema\":\"ctriage.manifest/1\",\"started_at\":\"2026-01-01T00:00:00Z\",\"streams\":[" +
           streams + "]}";
  };
  const struct {
    const char* name;
    std::string manifest;
    const char* of_a;
    std::size_t gaps;
  } cases[] = {
      {"of another", manifest(stream("b", "partial", "x")), "unknown", 0},
      {"planned under the same name",
       manifest(stream("a", "collected", "") + "," + stream("a", "not_collected", "x")), "collected: ", 0},
      {"only planned, says it", manifest(stream("a", "not_collected", "x")), "unknown", 0},
      {"other status", manifest(stream("a", "fine", "")), "unknown", 1},
      {"not JSON", "xxxx", "unknown", 1},
      {"cut", manifest(stream("a", "partial", "x")).substr(0, 120), "unknown", 1},
      {"empty", "", "unknown", 1},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    TempDir dir;
    TestTask t;
    auto reader = open_bytes(dir,
                             tar_member("a", "x") + tar_member("manifest.json", c.manifest) +
                                 tar_member("manifest.json.sha256", "") + std::string(2 * kTarBlock, '\0'),
                             t.task)
                      .value();
    EXPECT_EQ(status_of(*reader, "a"), c.of_a);
    EXPECT_EQ(status_of(*reader, "a"), c.of_a);
    EXPECT_EQ(t.gaps.kept().size(), c.gaps);
  }
  const std::string two = manifest(stream("a", "partial", "x") + "," + stream("b", "partial", "x"));
  for (const auto& [most, good] : {std::pair{1'000, true}, {200, false}}) {
    MemorySource in(two);
    const auto read = Statuses::read(in, StreamIndex(), static_cast<std::size_t>(most));
    ASSERT_EQ(read.has_value(), good);
    if (!good) {
      EXPECT_EQ(read.error().code, Errc::limit);
    }
  }
}

TEST(BundleReader, EveryCutOpens) {
  TempDir dir;
  TestTask t;
  const auto bytes = small_bundle(dir);
  for (std::size_t size = 512; size < bytes.size(); size += 37) {
    auto reader = open_bytes(dir, std::string_view(bytes).substr(0, size), t.task);
    ASSERT_TRUE(reader) << size << reader.error().what;
    EXPECT_TRUE((*reader)->cut()) << size;
    for (const auto& name : (*reader)->streams()) {
      auto source = (*reader)->open(name, t.task);
      ASSERT_TRUE(source);
      const auto all = read_all(**source, 1 << 20);
      if (!all) {
        EXPECT_EQ(all.error().code, Errc::truncated) << name;
      }
    }
  }
}

TEST(BundleReader, Hostile) {
  const std::string good = tar_member("bundle.json", "{}");
  const std::string end(2 * kTarBlock, '\0');
  auto raw_name = [&](const std::string& name) {  // a header that make_tar_header would not make
    std::string member = tar_member(std::string(name.size(), 'a'), "x");
    std::copy(name.begin(), name.end(), member.begin());
    unsigned sum = 0;
    for (std::size_t i = 0; i < kTarBlock; ++i)
      sum += i >= 148 && i < 156 ? 32u : static_cast<unsigned char>(member[i]);
    char digits[9];
    ::snprintf(digits, sizeof digits, "%06o", sum);
    std::copy_n(digits, 7, member.begin() + 148);
    return member;
  };
  const struct {
    const char* name;
    std::string bytes;
  } cases[] = {
      {"text", std::string(5'000, 'x')},
      {"a few bytes", "x"},
      {"nothing", ""},
      {"zeros only", end},
      {"twice", good + good + end},
      {"whole and numbered", good + tar_member("bundle.json.00000", "x") + end},
      {"numbered and whole", tar_member("a.00000", "x") + tar_member("a", "x") + end},
      {"chunks backwards", tar_member("a.00001", "x") + tar_member("a.00000", "x") + end},
      {"climbs", raw_name("../../etc/x") + end},
      {"absolute", raw_name("/etc/passwd") + end},
      {"line end", raw_name("a\nb") + end},
      {"escape", raw_name("a\x1b[2Jb") + end},
      {"blank", raw_name("a b") + end},
      {"trash between", good + std::string(512, 'x') + end},
  };
  TempDir dir;
  TestTask t;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto reader = open_bytes(dir, c.bytes, t.task);
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().code, Errc::malformed) << reader.error().what;
  }
  for (const std::uint64_t claimed :
       {std::uint64_t{513}, std::uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 511}) {
    auto reader = open_bytes(dir, good + tar_member("big", std::string(512, 'x'), claimed), t.task);
    ASSERT_TRUE(reader) << claimed;
    EXPECT_TRUE((*reader)->cut());
    auto source = (*reader)->open("big", t.task);
    ASSERT_TRUE(source);
    EXPECT_EQ(read_all(**source, 1 << 20).error().code, Errc::truncated);
  }
}

TEST(BundleReader, HolesAndFrames) {
  TempDir dir;
  TestTask t;
  const std::string end(2 * kTarBlock, '\0');
  auto holes =
      open_bytes(dir,
                 tar_member("a.00000", "x") + tar_member("a.00002", "y") + tar_member("b.00001", "z") + end,
                 t.task)
          .value();
  auto source = holes->open("a", t.task).value();
  std::byte one[8];
  EXPECT_EQ(source->read(one).value(), 1u);
  EXPECT_EQ(source->read(one).error().code, Errc::mismatch);
  EXPECT_EQ(source->read(one).error().code, Errc::mismatch);
  EXPECT_EQ(holes->open("b", t.task).value()->read(one).error().code, Errc::mismatch);

  // A bomb: stock zstd makes a frame of more than a chunk.
  const std::string bomb = dir.path() + "/bomb";
  ASSERT_EQ(::system(("head -c 50000000 /dev/zero | zstd -q -o " + bomb).c_str()), 0);
  const std::string small = dir.path() + "/small";
  ASSERT_EQ(
      ::system(
          ("printf hello > " + small + ".in && zstd -q --no-check " + small + ".in -o " + small).c_str()),
      0);
  auto frames = open_bytes(dir,
                           tar_member("bomb.zst", slurp(bomb)) + tar_member("bare.zst", slurp(small)) +
                               tar_member("no.zst", "xxxxxxxxxx") + tar_member("none.zst", "") + end,
                           t.task)
                    .value();
  EXPECT_EQ(read_all(*frames->open("bomb.zst", t.task).value(), 64 << 20).error().code, Errc::limit);
  EXPECT_EQ(read_all(*frames->open("bare.zst", t.task).value(), 64 << 20).error().code, Errc::malformed);
  EXPECT_EQ(read_all(*frames->open("no.zst", t.task).value(), 64 << 20).error().code, Errc::malformed);
  EXPECT_EQ(read_all(*frames->open("none.zst", t.task).value(), 64 << 20).error().code, Errc::truncated);
}

TEST(BundleReader, ReadsWhileItGrows) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "grow", inline_options(), t.task).value();
  ASSERT_TRUE(writer->add("bundle.json", "{}", ""));
  ASSERT_TRUE(writer->end_phase("state"));
  const std::string path = dir.path() + "/" + writer->part_name();
  auto reader = Reader::open_tar(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, t.task).value();
  EXPECT_TRUE(reader->cut());
  EXPECT_FALSE(reader->sealed());
  EXPECT_EQ(text_of(*reader, "bundle.json", t.task), "{}");
  EXPECT_TRUE(reader->has("custody.jsonl"));
}

}  // namespace
}  // namespace ctriage::bundle
