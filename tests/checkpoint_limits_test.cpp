// What a hostile checkpoint may hold much of: every limit is told, and what came before it stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using testing::HasSubstr;
using testing::Not;

// RFC 8878: one frame of raw blocks.
std::string zstd_of(const std::string& bytes) {
  constexpr std::size_t kBlock = 64 << 10;
  std::string frame("\x28\xb5\x2f\xfd\0\x38", 6);
  for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
    const std::string_view block = std::string_view(bytes).substr(at, kBlock);
    const bool last = at + block.size() == bytes.size();
    const auto header = static_cast<std::uint32_t>(block.size() << 3U) | (last ? 1U : 0U);
    frame.append(word(header), 0, 3).append(block);
  }
  return frame;
}

class CountingBytes final : public archive::BytesAt {
 public:
  CountingBytes(std::string bytes, std::size_t& reads) : bytes_(std::move(bytes)), reads_(reads) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    ++reads_;
    return bytes_.read_at(offset, into);
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return bytes_.size_bytes(); }

 private:
  MemoryBytes bytes_;
  std::size_t& reads_;
};

// Symbolic links with long names.
std::map<std::string, std::string> many_links(std::size_t count) {
  std::map<std::string, std::string> files;
  const std::string above = std::string(150, 'd') + "/" + std::string(88, 'n');
  for (std::size_t i = 0; i < count; ++i)
    files[above + std::to_string(1'000'000 + i) + " -> " + std::string(95, 't')] = "";
  return files;
}

const auto kOnePage = [](ImageWriter& map) {
  map.entry([](Out& out) {
    out.add_uint64(1, kArgAddress);
    out.add_uint64(5, 1);
  });
};

std::map<std::string, std::string> one_process() {
  return make_images("checkpoint/", kOnePage, std::string(4096, 'x'));
}

// A second process, 8, as the first; its mount namespace is `mounts`.
void add_second(std::map<std::string, std::string>& files, std::uint32_t mounts) {
  const std::string dir = "checkpoint/";
  for (const std::string name : {"core-", "mm-", "fs-", "pagemap-"})
    files[dir + name + "8.img"] = files.at(dir + name + "7.img");
  files[dir + "ids-8.img"] = ImageWriter(0x54432030)
                                 .entry([&](Out& out) {
                                   out.add_uint32(1, 2);
                                   out.add_uint32(2, 3);
                                   out.add_uint32(9, mounts);
                                 })
                                 .bytes();
  ImageWriter tree(0x50273030);
  for (const std::uint32_t pid : {7U, 8U}) {
    tree.entry([&](Out& out) {
      out.add_uint32(1, pid);
      out.add_uint32(2, pid == 7 ? 0 : 7);
      out.add_uint32(3, pid);
      out.add_uint32(4, pid);
      out.add_uint32(5, pid);
    });
  }
  files[dir + "pstree.img"] = tree.bytes();
}

struct Seen {
  std::vector<Process> processes;
  std::vector<Socket> sockets;
  std::string told;
};

Seen look(const std::map<std::string, std::string>& files) {
  CheckpointTestTask test;
  Seen seen;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  EXPECT_TRUE(snapshot) << snapshot.error().what;
  if (!snapshot) return seen;
  const Emit<Container> one = [&](Container&& container) -> Status {
    auto listed = (*snapshot)->list_processes(
        container.id,
        [&](Process&& process) {
          seen.processes.push_back(std::move(process));
          return Status(Done{});
        },
        test.task);
    if (!listed) return listed;
    return (*snapshot)->list_sockets(
        container.id,
        [&](Socket&& socket) {
          seen.sockets.push_back(std::move(socket));
          return Status(Done{});
        },
        test.task);
  };
  EXPECT_TRUE((*snapshot)->list_containers(one, test.task));
  seen.told = test.told();
  return seen;
}

TEST(CheckpointLimits, GoingBackUnpacksOnlySoOften) {
  std::string plain(1 << 20, 'x');
  plain.back() = 'y';
  const std::string packed = zstd_of(plain);
  CheckpointTestTask test;
  MemoryBytes bytes(packed);
  auto unpacked = archive::decompress(bytes, archive::Compression::zstd, test.task, plain.size());
  ASSERT_TRUE(unpacked) << unpacked.error().what;
  std::byte last{};
  const auto pass = [&] {
    auto first = (*unpacked)->read_at(0, std::span(&last, 1));
    return first ? (*unpacked)->read_at(plain.size() - 1, std::span(&last, 1)) : first;
  };
  for (int i = 0; i < 4; ++i) {
    const auto got = pass();
    ASSERT_TRUE(got) << got.error().what;
    EXPECT_EQ(last, std::byte{'y'});
  }
  for (int i = 0; i < 2; ++i) {
    const auto got = pass();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Errc::limit);
  }
  auto smaller = archive::decompress(bytes, archive::Compression::zstd, test.task, plain.size() - 1);
  const auto over = smaller.value()->read_at(plain.size() - 1, std::span(&last, 1));
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, Errc::limit);
}

// What is kept of the layers of a compressed archive is not read again; what is too much is.
TEST(CheckpointLimits, LayersAreKeptByTheirBytes) {
  const struct {
    std::size_t links;
    bool kept;
  } cases[] = {{10, true}, {20'000, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.links);
    CheckpointTestTask test;
    std::size_t reads = 0;
    auto file = std::make_unique<CountingBytes>(
        zstd_of(make_tar({{"rootfs-diff.tar", make_tar(many_links(c.links))}, {"spec.dump", "{}"}})), reads);
    auto store = CheckpointStore::open_tar(std::move(file), "test.tar", test.task);
    ASSERT_TRUE(store) << store.error().what;
    reads = 0;
    std::size_t seen = 0;
    const Emit<archive::TarMember> count = [&](archive::TarMember&&) -> Status {
      ++seen;
      return Done{};
    };
    EXPECT_TRUE((*store)->list_tar("rootfs-diff.tar", count, test.task));
    EXPECT_EQ(seen, c.links);
    EXPECT_EQ(reads == 0, c.kept);
  }
}

TEST(CheckpointLimits, NamesOfAnArchive) {
  auto files = many_links(80'000);
  files["a"] = "first";
  CheckpointTestTask test;
  auto store =
      CheckpointStore::open_tar(std::make_unique<MemoryBytes>(make_tar(files)), "test.tar", test.task);
  ASSERT_TRUE(store) << store.error().what;
  EXPECT_NE((*store)->find("a"), nullptr);
  EXPECT_LT((*store)->files().size(), 80'000U);
  EXPECT_GT((*store)->files().size(), 50'000U);
  EXPECT_EQ(test.gaps.count(Impact::lost), 1U);
  EXPECT_THAT(test.told(), HasSubstr("checkpoint.archive test.tar: names take over 33554432 bytes"));
}

// Many strings of no bytes: each takes the room of its object.
TEST(CheckpointLimits, ArgumentsOfAllProcesses) {
  constexpr std::size_t kStrings = 131'072;
  auto files = make_images(
      "checkpoint/",
      [](ImageWriter& map) {
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress);
          out.add_uint64(5, 2 * kStrings / 4096);
        });
      },
      std::string(2 * kStrings, '\0'));
  files["checkpoint/mm-7.img"] = ImageWriter(0x57492820)
                                     .entry([](Out& out) {
                                       out.add_uint64(8, kArgAddress);
                                       out.add_uint64(9, kArgAddress + kStrings);
                                       out.add_uint64(10, kArgAddress + kStrings);
                                       out.add_uint64(11, kArgAddress + 2 * kStrings);
                                     })
                                     .bytes();
  add_second(files, 4);
  const Seen seen = look(files);
  ASSERT_EQ(seen.processes.size(), 2U);
  EXPECT_EQ(seen.processes[0].argv.size(), kStrings);
  EXPECT_EQ(seen.processes[0].environ.size(), kStrings);
  EXPECT_EQ(seen.processes[1].argv.size(), kStrings);
  EXPECT_GT(seen.processes[1].environ.size(), 0U);
  EXPECT_LT(seen.processes[1].environ.size(), kStrings);
  EXPECT_THAT(seen.told, HasSubstr("checkpoint.arguments pid 8"));
  EXPECT_THAT(seen.told, Not(HasSubstr("checkpoint.arguments pid 7")));
}

TEST(CheckpointLimits, OwnersOfSockets) {
  constexpr std::uint32_t kInet = 4;
  ImageWriter fds(0x56213732);
  for (std::uint32_t i = 0; i <= 1'000'000; ++i) {
    fds.entry([&](Out& out) {
      out.add_uint32(1, i + 2);
      out.add_uint32(3, kInet);
    });
  }
  auto files = one_process();
  files["checkpoint/fdinfo-3.img"] = fds.bytes();
  EXPECT_THAT(look(files).told, HasSubstr("over 1000000 owners of sockets"));
}

TEST(CheckpointLimits, RlimitsOfAProcess) {
  const std::string image = ImageWriter(0x55053847)
                                .entry([](Out& out) {
                                  out.add_uint32(1, 1);
                                  Out task(out, 3);
                                  task.add_uint32(1, 1);
                                  Out limits(task, 8);
                                  for (std::uint64_t i = 0; i < 1'000; ++i) {
                                    Out limit(limits, 1);
                                    limit.add_uint64(1, i);
                                    limit.add_uint64(2, i);
                                  }
                                })
                                .bytes();
  const auto core = criu::parse_core(image);
  ASSERT_TRUE(core) << core.error().what;
  ASSERT_EQ(core->limits.size(), 64U);
  EXPECT_EQ(core->limits.back().maximum, 63U);
}

std::string digest(char fill) { return std::string(64, fill); }

std::string descriptor(const std::string& hex, const char* type) {
  return R"({"mediaType":")" + std::string(type) + R"(","digest":"sha256:)" + hex + R"(","size":1})";
}

// An index that names itself, and the same layers again.
TEST(CheckpointLimits, EveryBlobIsLookedAtOnce) {
  const std::string index = R"({"manifests":[)" + descriptor(digest('a'), "x+json") + "," +
                            descriptor(digest('a'), "x+json") + R"(],"layers":[)" +
                            descriptor(digest('b'), "tar") + "," + descriptor(digest('b'), "tar") + "]}";
  auto files = one_process();
  files["oci-layout"] = "{}";
  files["index.json"] = index;
  files["blobs/sha256/" + digest('a')] = index;
  files["blobs/sha256/" + digest('b')] = make_tar(one_process());
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  std::size_t containers = 0;
  EXPECT_TRUE((*snapshot)->list_containers(
      [&](Container&&) {
        ++containers;
        return Status(Done{});
      },
      test.task));
  EXPECT_EQ(containers, 2U);
  EXPECT_EQ(test.gaps.count(Impact::lost), 0U) << test.told();
}

TEST(CheckpointLimits, ArchivesInAnArchive) {
  auto files = one_process();
  files["oci-layout"] = "{}";
  std::string layers;
  for (char fill = '0'; fill <= '9'; ++fill) {
    for (const char first : {'a', 'b'}) {
      const std::string hex = first + std::string(63, fill);
      files["blobs/sha256/" + hex] = make_tar({{"x", "y"}});
      layers += (layers.empty() ? "" : ",") + descriptor(hex, "tar");
    }
  }
  files["index.json"] = R"({"manifests":[],"layers":[)" + layers + "]}";
  CheckpointTestTask test;
  EXPECT_TRUE(open_checkpoint(make_tar(files), test.task));
  EXPECT_EQ(test.gaps.count(Impact::lost), 5U) << test.told();  // 15 of 20
  EXPECT_THAT(test.told(), HasSubstr("over 16 archives"));
}

// Only the mounts of the first process are read: a path in another namespace may be any file.
TEST(CheckpointLimits, ProgramsOfOtherMountNamespaces) {
  auto files = one_process();
  files["checkpoint/mountpoints-4.img"] = ImageWriter(0x55563928)
                                              .entry([](Out& out) {
                                                out.add_uint32(1, 1);
                                                out.add_uint32(2, 1);
                                                out.add_uint32(3, 1);
                                                out.add_uint32(4, 0);
                                                out.add_uint32(5, 0);
                                                out.add_string(6, "/");
                                                out.add_string(7, "./");
                                              })
                                              .bytes();
  files["spec.dump"] = "{}";
  files["config.dump"] = R"({"id":")" + digest('a') + R"("})";
  files["status"] = R"({"Pid":1})";
  files["rootfs-diff.tar"] = make_tar({});
  for (const std::uint32_t mounts : {4U, 5U}) {
    SCOPED_TRACE(mounts);
    add_second(files, mounts);
    const Seen seen = look(files);
    ASSERT_EQ(seen.processes.size(), 2U) << seen.told;
    EXPECT_EQ(seen.processes[0].exe.origin, Origin::image) << seen.told;
    EXPECT_EQ(seen.processes[1].exe.origin, mounts == 4 ? Origin::image : Origin::unknown);
    EXPECT_THAT(seen.told, mounts == 4 ? Not(HasSubstr("other mount namespaces"))
                                       : testing::Matcher<std::string>(
                                             HasSubstr("1 processes in other mount namespaces")));
  }
}

}  // namespace
}  // namespace ctriage::source
