// A layer's directory against its tar. The tars are tar(1)'s; tar-split's lines are made here from them.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/image/layer_check.h"
#include "lib/image/tar_split.h"
#include "lib/image/verify.h"
#include "tests/image_testing.h"
#include "tests/temp_dir.h"

namespace ctriage::image {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A directory with what lstat(2) says of each file.
class LayerDirectory final : public Files {
 public:
  explicit LayerDirectory(std::string top) : top_(std::move(top)) {}
  Result<OpenedFile> open(const std::string& path, Task&) override {
    OpenedFile opened;
    auto entry = entry_of(path);
    if (!entry) return std::move(entry).error();
    opened.entry = *std::move(entry);
    if (opened.entry.file.type == FileType::regular)
      opened.bytes = std::make_unique<TextSource>(slurp(top_ + path));
    return opened;
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task&) override {
    for (const auto& one : std::filesystem::directory_iterator(top_ + directory)) {
      const std::string name = one.path().filename().string();
      auto entry = entry_of(directory == "/" ? "/" + name : directory + "/" + name);
      if (!entry) return std::move(entry).error();
      if (auto status = emit(*std::move(entry)); !status) return status;
    }
    return Done{};
  }

 private:
  Result<FileEntry> entry_of(const std::string& path) {
    struct stat info {};
    if (::lstat((top_ + path).c_str(), &info) != 0) return Error{Errc::not_found, path};
    FileEntry entry;
    entry.path = Bytes(path);
    entry.file.type = S_ISDIR(info.st_mode)   ? FileType::directory
                      : S_ISLNK(info.st_mode) ? FileType::symlink
                                              : FileType::regular;
    entry.file.mode = info.st_mode & 07777U;
    entry.file.uid = info.st_uid;
    entry.file.gid = info.st_gid;
    entry.file.size_bytes = static_cast<std::uint64_t>(info.st_size);
    entry.file.inode = Hex{info.st_ino};
    if (entry.file.type == FileType::symlink)
      entry.file.link_target = Bytes(std::filesystem::read_symlink(top_ + path).string());
    return entry;
  }
  std::string top_;
};

class LayerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(
        std::system(("cd " + dir_.path() +
                     " && mkdir -p top/usr/bin top/etc && printf one > top/usr/bin/a && printf two > "
                     "top/etc/b && ln top/etc/b top/etc/hard && ln -s b top/etc/link && tar cf layer.tar "
                     "-C top .")
                        .c_str()),
        0);
    tar_ = slurp(dir_ / "layer.tar");
  }
  LayerCheck check(std::string_view tar) {
    LayerCheck into;
    LayerDirectory directory(dir_ / "top");
    MemorySource source(tar);
    auto digest = compare_layer(source, {directory, directory}, true, into, task_);
    EXPECT_TRUE(digest);
    if (digest) {
      EXPECT_EQ(*digest, "sha256:" + sha256_hex(tar));
    }
    return into;
  }
  std::string differences(const LayerCheck& check) {
    std::string all;
    for (const EntryDifference& one : check.differences) {
      all += one.path.raw + ":";
      for (const std::string& what : one.differs) all += " " + what;
      all += "\n";
    }
    return all;
  }
  TempDir dir_;
  std::string tar_;
  GapLog gaps_;
  std::atomic<bool> stop_{false};
  Task task_{gaps_, stop_, [] { return Timestamp{}; }};
};

TEST_F(LayerTest, Same) {
  const LayerCheck same = check(tar_);
  EXPECT_EQ(differences(same), "");
  EXPECT_EQ(same.entries, 7U);
}

TEST_F(LayerTest, EachDifference) {
  const struct {
    const char* change;
    const char* told;
  } cases[] = {{"printf eno > top/usr/bin/a", "/usr/bin/a: content\n"},
               {"printf longer > top/usr/bin/a", "/usr/bin/a: size\n"},
               {"chmod 4755 top/usr/bin/a", "/usr/bin/a: mode\n"},
               {"rm top/usr/bin/a", "/usr/bin/a: missing\n"},
               {"printf x > top/usr/new", "/usr/new: added\n"},
               {"mkdir top/d && printf x > top/d/new", "/d: added\n"},
               {"ln -sfn c top/etc/link", "/etc/link: target\n"},
               {"rm top/etc/link && printf x > top/etc/link", "/etc/link: type\n"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.change);
    ASSERT_EQ(std::system(("cd " + dir_.path() +
                           " && rm -rf top && mkdir top && tar xpf layer.tar -C top && " + c.change)
                              .c_str()),
              0);
    EXPECT_EQ(differences(check(tar_)), c.told);
  }
}

TEST_F(LayerTest, CutShort) {
  for (std::size_t size = 0; size < tar_.size(); size += 97) {
    LayerCheck into;
    LayerDirectory directory(dir_ / "top");
    MemorySource source(std::string_view(tar_).substr(0, size));
    auto digest = compare_layer(source, {directory, directory}, true, into, task_);
    if (digest) {
      EXPECT_NE(*digest, "sha256:" + sha256_hex(tar_));
    }
  }
}

// The check value of Go's hash/crc64 for its ISO table.
TEST(TarSplit, Crc) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(crc64_iso(0, std::as_bytes(std::span(digits.data(), digits.size()))), 0xb90956c775a41001U);
}

std::string big_endian(std::uint64_t value) {
  std::string raw;
  for (int shift = 56; shift >= 0; shift -= 8) raw += static_cast<char>(value >> shift);
  return raw;
}

TEST(TarSplit, MakesTheTarAgain) {
  const std::string_view content = "contents of a file";
  const std::uint64_t crc = crc64_iso(0, std::as_bytes(std::span(content.data(), content.size())));
  const std::string split = "{\"type\":2,\"payload\":\"" + to_base64("head") +
                            "\",\"position\":0}\n{\"type\":1,\"name\":\"a\",\"size\":18,\"payload\":\"" +
                            to_base64(big_endian(crc)) + "\",\"position\":1}\n{\"type\":2,\"payload\":\"" +
                            to_base64("tail") + "\",\"position\":2}\n";
  const struct {
    std::string file;  // "": there is none
    std::string tar;
    std::string told;
  } cases[] = {{std::string(content), "headcontents of a filetail", ""},
               {"Contents of a file", "headContents of a filetail", "a content"},
               {"contents of a file and more", "headcontents of a filetail", ""},
               {"contents", "headcontents" + std::string(10, '\0') + "tail", "a size"},
               {"", "head" + std::string(18, '\0') + "tail", "a missing"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.file);
    MemorySource source(split);
    std::string told;
    RebuiltTar tar(
        source,
        [&](const std::string&) -> Result<std::unique_ptr<ByteSource>> {
          if (c.file.empty()) return Error{Errc::not_found, "a"};
          return std::unique_ptr<ByteSource>(std::make_unique<TextSource>(c.file));
        },
        [&](const std::string& name, std::string_view how) { told += name + " " + std::string(how); });
    const auto all = read_all(tar, 1'000);
    ASSERT_TRUE(all);
    EXPECT_EQ(*all, c.tar);
    EXPECT_EQ(told, c.told);
  }
}

TEST(TarSplit, Hostile) {
  for (const char* line :
       {"", "[]", "{}", "{\"type\":3}", "{\"type\":-1}", "{\"type\":2,\"payload\":\"*\"}",
        "{\"type\":1,\"size\":-1}", "{\"type\":1,\"name_raw\":\"*\"}", "{\"type\":1,\"size\":\"1\"}"})
    EXPECT_FALSE(parse_split_entry(line)) << line;
  const auto raw = parse_split_entry("{\"type\":1,\"name_raw\":\"/w==\",\"size\":1}");
  ASSERT_TRUE(raw);
  EXPECT_EQ(raw->name, "\xff");
}

// image-spec config.md: ChainID(A|B) = SHA-256 of "A B".
TEST(ChainId, OfLayers) {
  EXPECT_EQ(chain_id({"sha256:a", "sha256:b"}, 1), "sha256:a");
  EXPECT_EQ(chain_id({"sha256:a", "sha256:b"}, 2), "sha256:" + sha256_hex("sha256:a sha256:b"));
}

}  // namespace
}  // namespace ctriage::image
