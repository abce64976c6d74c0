// What extract takes from archives that no engine writes: ghosts in chunks, lengths that lie, segments,
// messages, patched code; and how it writes.
#include "lib/extract/extract.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "lib/core/cursor.h"
#include "tests/checkpoint_testing.h"
#include "tests/temp_dir.h"

namespace ctriage::source {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Kept {
  ExtractedObject object;
  std::string bytes;  // holes as zeros
  std::string why;
};

class Keeping final : public ObjectVisitor {
 public:
  std::vector<Kept> all;
  Status entry(ExtractedObject&& object) override {
    all.push_back({std::move(object), {}, "entry"});
    return Done{};
  }
  Status begin(ExtractedObject&& object) override {
    all.push_back({std::move(object), {}, {}});
    return Done{};
  }
  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    std::string& into = all.back().bytes;
    EXPECT_GE(offset, into.size());
    into.resize(static_cast<std::size_t>(offset), '\0');
    into += ctriage::to_text(bytes);
    return Done{};
  }
  Status end(std::uint64_t size, std::optional<Error> missing) override {
    if (size < (1 << 20)) all.back().bytes.resize(static_cast<std::size_t>(size), '\0');
    all.back().object.size_bytes = size;
    if (missing) all.back().why = missing->what;
    return Done{};
  }
};

std::map<std::string, std::string> plain_images() {
  return make_images(
      "checkpoint/",
      [](ImageWriter& map) {
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress);
          out.add_uint32(4, 4);
          out.add_uint64(5, 1);
        });
      },
      std::string("made\0up\0", 8) + std::string(4088, 'x'));
}

struct Taken {
  std::vector<Kept> objects;
  std::string told;
  std::uint64_t lost = 0;
};

Taken take(const std::map<std::string, std::string>& files, ObjectKind kind, std::int32_t pid = 0) {
  CheckpointTestTask test;
  Taken taken;
  auto snapshot = open_checkpoint(make_tar(files), test.task);
  EXPECT_TRUE(snapshot);
  if (!snapshot) return taken;
  ObjectQuery query;
  query.kinds[static_cast<std::size_t>(kind)] = true;
  query.pid = pid;
  Keeping keeping;
  const std::uint64_t before = test.gaps.count(Impact::lost);
  EXPECT_TRUE((*snapshot)->visit_objects(query, keeping, test.task));
  taken.objects = std::move(keeping.all);
  taken.told = test.told();
  taken.lost = test.gaps.count(Impact::lost) - before;
  return taken;
}

// One deleted file of which ghost-file-1.img is what `image` says.
std::map<std::string, std::string> with_ghost(const std::string& image) {
  auto files = plain_images();
  add_ghost(files, image);
  return files;
}

std::string ghost_head(std::optional<std::uint64_t> size, std::uint32_t mode = 0100755) {
  return ImageWriter(0x52583605)
      .entry([&](Out& out) {
        out.add_uint32(1, 5);
        out.add_uint32(2, 6);
        out.add_uint32(3, mode);
        if (size) {
          out.add_bool(9, true);
          out.add_uint64(10, *size);
        }
      })
      .bytes();
}

TEST(ExtractGhost, WholeAndInChunks) {
  const struct {
    const char* name;
    std::string image;
    std::string bytes;
    std::uint64_t size;
    const char* why;
  } cases[] = {
      {"behind the entry", ghost_head({}) + "content", "content", 7, ""},
      {"empty", ghost_head({}), "", 0, ""},
      {"chunks and a hole", ghost_head(12) + ghost_chunk(1, "ab") + ghost_chunk(6, "cd"),
       std::string("\0ab\0\0\0cd\0\0\0\0", 12), 12, ""},
      {"no chunk", ghost_head(3), std::string(3, '\0'), 3, ""},
      {"behind its end", ghost_head(4) + ghost_chunk(3, "ab"), std::string(4, '\0'), 4, "behind its end"},
      {"offset that wraps", ghost_head(4) + ghost_chunk(UINT64_MAX, "ab"), std::string(4, '\0'), 4,
       "behind its end"},
      {"one over the other", ghost_head(9) + ghost_chunk(2, "abc") + ghost_chunk(4, "d"),
       std::string("\0\0abc\0\0\0\0", 9), 9, "one over the other"},
      {"longer than the image", ghost_head(99) + ghost_chunk(0, "abc", 50),
       std::string("abc") + std::string(96, '\0'), 99, "not all there"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Taken taken = take(with_ghost(c.image), ObjectKind::deleted);
    ASSERT_EQ(taken.objects.size(), 1U);
    const Kept& kept = taken.objects[0];
    EXPECT_EQ(kept.object.path.raw, "/usr/bin/made");
    EXPECT_THAT(kept.object.run_by, ElementsAre(7));
    EXPECT_EQ(kept.object.uid, 5U);
    EXPECT_EQ(kept.object.mode, 0755U);
    EXPECT_EQ(kept.bytes, c.bytes);
    EXPECT_EQ(kept.object.size_bytes, c.size);
    EXPECT_THAT(kept.why, HasSubstr(c.why));
    EXPECT_EQ(kept.why.empty(), *c.why == '\0');
  }
}

TEST(ExtractGhost, WhatIsNoFileIsAnEntry) {
  const Taken taken = take(with_ghost(ghost_head({}, 0010644)), ObjectKind::deleted);
  ASSERT_EQ(taken.objects.size(), 1U);
  EXPECT_EQ(taken.objects[0].object.type, FileType::fifo);
  EXPECT_EQ(taken.objects[0].why, "entry");
}

TEST(ExtractGhost, MissingImageIsLost) {
  auto files = with_ghost("");
  files.erase("checkpoint/ghost-file-1.img");
  const Taken taken = take(files, ObjectKind::deleted);
  EXPECT_TRUE(taken.objects.empty());
  EXPECT_GT(taken.lost, 0U);
}

TEST(ExtractQueues, PipesAndWhatTheirLengthsClaim) {
  const auto data = [](std::uint32_t length) {
    return ImageWriter(0x56453709).entry([&](Out& out) {
      out.add_uint32(1, 4711);
      out.add_uint32(2, length);
    });
  };
  auto files = plain_images();
  files["checkpoint/pipes-data.img"] = data(5).bytes() + "hello";
  Taken taken = take(files, ObjectKind::queues);
  ASSERT_EQ(taken.objects.size(), 1U);
  EXPECT_EQ(taken.objects[0].bytes, "hello");
  EXPECT_EQ(taken.objects[0].object.path.raw, "pipe:[4711]");
  EXPECT_EQ(taken.lost, 0U);
  files["checkpoint/pipes-data.img"] = data(UINT32_MAX).bytes() + "hello";
  taken = take(files, ObjectKind::queues);
  ASSERT_EQ(taken.objects.size(), 1U);
  EXPECT_EQ(taken.objects[0].bytes, "hello");
  EXPECT_THAT(taken.objects[0].why, HasSubstr("not all there"));
  EXPECT_GT(taken.lost, 0U);
}

TEST(ExtractQueues, PacketsOfEachReceiverInOrder) {
  auto files = plain_images();
  std::string image = word(0x54564319) + word(0x56264026);
  const auto packet = [&](std::uint32_t to, const std::string& bytes, std::uint32_t claims = 0) {
    std::string message;
    Out out(message);
    out.add_uint32(1, to);
    out.add_uint32(2, claims == 0 ? static_cast<std::uint32_t>(bytes.size()) : claims);
    {
      Out sender(out, 128);
      sender.add_uint32(1, 1000);
      sender.add_uint32(2, 1000);
      sender.add_uint32(3, 7);
    }
    {
      Out passed(out, 4);
      passed.add_uint32(1, 1);
      passed.add_uint32(2, 9);
    }
    image += word(static_cast<std::uint32_t>(message.size())) + message + bytes;
  };
  packet(2, "first");
  packet(3, "other");
  packet(2, "second");
  files["checkpoint/sk-queues.img"] = image;
  Taken taken = take(files, ObjectKind::queues);
  ASSERT_EQ(taken.objects.size(), 2U);
  const Kept& kept = taken.objects[0];
  EXPECT_EQ(kept.bytes, "firstsecond");
  ASSERT_EQ(kept.object.packets.size(), 2U);
  EXPECT_EQ(kept.object.packets[1].offset_bytes, 5U);
  EXPECT_EQ(kept.object.packets[1].size_bytes, 6U);
  EXPECT_EQ(kept.object.packets[1].pid, 7);
  EXPECT_EQ(kept.object.packets[1].uid, 1000U);
  EXPECT_EQ(kept.object.packets[1].descriptors, 1U);
  EXPECT_EQ(taken.objects[1].bytes, "other");
  packet(2, "cut", 4000);
  files["checkpoint/sk-queues.img"] = image;
  taken = take(files, ObjectKind::queues);
  ASSERT_EQ(taken.objects.size(), 2U);
  EXPECT_EQ(taken.objects[0].bytes, "firstsecondcut");
  EXPECT_GT(taken.lost, 0U);
}

TEST(ExtractSysv, SegmentsAndMessages) {
  auto files = plain_images();
  const auto about = [](Out& out, std::uint32_t id) {
    Out desc(out, 1);
    desc.add_uint32(1, 0xbeef);
    desc.add_uint32(2, 33);
    desc.add_uint32(6, 0600);
    desc.add_uint32(7, id);
  };
  files["checkpoint/ipcns-shm-9.img"] = ImageWriter(0x46283044)
                                            .entry([&](Out& out) {
                                              about(out, 3);
                                              out.add_uint64(2, 6);
                                            })
                                            .bytes() +
                                        std::string("shared\0\0", 8);
  std::string messages = ImageWriter(0x55453737)
                             .entry([&](Out& out) {
                               about(out, 4);
                               out.add_uint32(2, 16384);
                               out.add_uint32(3, 2);
                             })
                             .bytes();
  for (const std::string text : {"one", "two and more"}) {
    std::string message;
    Out out(message);
    out.add_uint64(1, 42);
    out.add_uint32(2, static_cast<std::uint32_t>(text.size()));
    messages += word(static_cast<std::uint32_t>(message.size())) + message + text;
    messages.append((8 - text.size() % 8) % 8, '\0');
  }
  files["checkpoint/ipcns-msg-9.img"] = messages;
  files["checkpoint/ipcns-sem-9.img"] = word(0x54564319) + word(0x59573019) + "something";
  const Taken taken = take(files, ObjectKind::sysv);
  ASSERT_EQ(taken.objects.size(), 2U) << taken.told;
  EXPECT_EQ(taken.objects[0].bytes, "shared");
  EXPECT_EQ(taken.objects[0].object.path.raw, "/SYSV0000beef, id 3");
  EXPECT_EQ(taken.objects[0].object.uid, 33U);
  EXPECT_EQ(taken.objects[1].bytes, "onetwo and more");
  ASSERT_EQ(taken.objects[1].object.packets.size(), 2U);
  EXPECT_EQ(taken.objects[1].object.packets[1].type, 42);
  EXPECT_THAT(taken.told, HasSubstr("semaphores"));
  EXPECT_EQ(taken.lost, 0U);
}

TEST(ExtractCode, PagesThatAreThereInCodeWereWrittenTo) {
  auto files = plain_images();
  files["checkpoint/mm-7.img"] = ImageWriter(0x57492820)
                                     .entry([](Out& out) {
                                       out.add_uint64(13, 6);
                                       out.add_uint64(13, 4096);
                                       Out vma(out, 14);
                                       vma.add_uint64(1, kArgAddress - 8192);
                                       vma.add_uint64(2, kArgAddress + 8192);
                                       vma.add_uint64(3, 0x1000);
                                       vma.add_uint64(4, 1);
                                       vma.add_uint32(5, 5);
                                       vma.add_uint32(6, 2);
                                       vma.add_uint32(7, 1U << 6);
                                     })
                                     .bytes();
  const Taken taken = take(files, ObjectKind::code);
  ASSERT_EQ(taken.objects.size(), 1U);
  const ExtractedObject& object = taken.objects[0].object;
  EXPECT_EQ(object.path.raw, "/usr/bin/made");
  EXPECT_EQ(object.address->value, kArgAddress);
  EXPECT_EQ(object.offset_bytes, 0x3000U);
  EXPECT_EQ(object.protection, "r-xp");
  EXPECT_EQ(taken.objects[0].bytes, plain_images()["checkpoint/pages-1.img"]);
  EXPECT_TRUE(take(plain_images(), ObjectKind::code).objects.empty());
}

std::string code_vma(std::size_t count, std::uint64_t start, std::uint64_t end) {
  return ImageWriter(0x57492820)
      .entry([&](Out& out) {
        out.add_uint64(13, 6);
        out.add_uint64(13, 4096);
        for (std::size_t i = 0; i < count; ++i) {
          Out vma(out, 14);
          vma.add_uint64(1, start);
          vma.add_uint64(2, end);
          vma.add_uint64(4, 1);
          vma.add_uint32(5, 5);
          vma.add_uint32(6, 2);
          vma.add_uint32(7, 1U << 6);
        }
      })
      .bytes();
}

TEST(ExtractCode, EachPageOnceAndNoneUnsaid) {
  auto files = plain_images();
  files["checkpoint/mm-7.img"] = code_vma(3, kArgAddress, kArgAddress + 4096);
  Taken taken = take(files, ObjectKind::code);
  EXPECT_EQ(taken.objects.size(), 1U);
  EXPECT_EQ(taken.lost, 0U) << taken.told;
  EXPECT_THAT(taken.told, HasSubstr("over the one before"));
  files["checkpoint/mm-7.img"] = code_vma(1, kArgAddress + 4096, kArgAddress + 8192);
  taken = take(files, ObjectKind::code);
  EXPECT_TRUE(taken.objects.empty());
  EXPECT_EQ(taken.lost, 1U);
  EXPECT_THAT(taken.told, HasSubstr("pid 7: 4.0 KiB of pages lie in no mapping"));
}

// One page of shared memory 5; a memfd of `size` bytes says so, or nothing does.
std::map<std::string, std::string> with_shared(std::optional<std::uint64_t> size) {
  auto files = plain_images();
  files["checkpoint/pagemap-shmem-5.img"] = ImageWriter(0x56084025)
                                                .entry([](Out& out) { out.add_uint32(1, 2); })
                                                .entry([](Out& out) {
                                                  out.add_uint64(1, 0);
                                                  out.add_uint32(4, 4);
                                                  out.add_uint64(5, 1);
                                                })
                                                .bytes();
  files["checkpoint/pages-2.img"] = std::string(4096, 's');
  if (size)
    files["checkpoint/memfd.img"] = ImageWriter(0x48453499)
                                        .entry([&](Out& out) {
                                          out.add_string(1, "held");
                                          out.add_uint32(2, 0);
                                          out.add_uint64(4, *size);
                                          out.add_uint32(5, 5);
                                          out.add_uint64(7, 1);
                                        })
                                        .bytes();
  return files;
}

TEST(ExtractShared, PagesThatNothingAccountsFor) {
  const struct {
    std::optional<std::uint64_t> size;
    const char* path;
    std::size_t bytes;
    const char* why;
  } cases[] = {{4096, "/memfd:held", 4096, ""},
               {10, "/memfd:held", 10, ""},
               {0, "/memfd:held", 0, "pages behind its end"},
               {{}, "pagemap-shmem-5.img", 4096, "nothing in the images says what it is"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path + std::to_string(c.bytes));
    const Taken taken = take(with_shared(c.size), ObjectKind::memfd);
    ASSERT_EQ(taken.objects.size(), 1U) << taken.told;
    EXPECT_EQ(taken.objects[0].object.path.raw, c.path);
    EXPECT_EQ(taken.objects[0].bytes, std::string(c.bytes, 's'));
    EXPECT_THAT(taken.objects[0].why, HasSubstr(c.why));
    EXPECT_EQ(taken.objects[0].why.empty(), *c.why == '\0');
  }
}

TEST(ExtractPid, WhatIsOfNoProcessIsLeftOut) {
  EXPECT_EQ(take(with_ghost(ghost_head({}) + "x"), ObjectKind::deleted, 7).objects.size(), 1U);
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(make_tar(plain_images()), test.task);
  ASSERT_TRUE(snapshot);
  ObjectQuery query;
  query.kinds.fill(true);
  query.pid = 8;
  Keeping keeping;
  const auto visited = (*snapshot)->visit_objects(query, keeping, test.task);
  ASSERT_FALSE(visited);
  EXPECT_EQ(visited.error().code, Errc::not_found);
}

// Every prefix of a small archive ends in objects and gaps.
TEST(ExtractHostile, EveryPrefix) {
  auto files = with_ghost(ghost_head(12) + ghost_chunk(1, "ab") + ghost_chunk(6, "cd"));
  files["rootfs-diff.tar"] = make_tar({{"etc/x", "y"}});
  files["config.dump"] = "{}";
  files["spec.dump"] = "{}";
  const std::string whole = make_tar(files);
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    CheckpointTestTask test;
    auto snapshot = open_checkpoint(whole.substr(0, size), test.task);
    if (!snapshot) continue;
    ObjectQuery query;
    query.kinds.fill(true);
    Keeping keeping;
    EXPECT_TRUE((*snapshot)->visit_objects(query, keeping, test.task)) << size;
  }
}

}  // namespace
}  // namespace ctriage::source

namespace ctriage::extract {
namespace {

TEST(ExtractNames, AreSafeAnywhere) {
  const struct {
    const char* path;
    const char* name;
  } cases[] = {{"/tmp/.x", ".x"},       {"/", "object"},    {"", "object"},
               {"../..", ".."},         {"a\nb", "a_b"},    {"/x/", "x"},
               {"-rf", "-rf"},          {"\xff\xfe", "__"}, {"/memfd:a b", "memfd_a_b"},
               {"caf\xc3\xa9", "caf__"}};
  for (const auto& c : cases) EXPECT_EQ(safe_name(c.path), c.name);
  EXPECT_EQ(safe_name(std::string(300, 'n')).size(), 80U);
}

struct Written {
  std::uint64_t lost = 0;
  std::string manifest;
  std::array<ObjectCount, 7> counts;
};

template <class Work>
Written write(const TempDir& dir, std::uint64_t max_bytes, const Work& work,
              std::uint64_t hole_bytes = kMaxExtractedHoleBytes) {
  source::CheckpointTestTask test;
  const auto root = Root::open(dir.path());
  EXPECT_TRUE(root);
  auto extraction = Extraction::create(*root, max_bytes, test.task, hole_bytes);
  EXPECT_TRUE(extraction);
  work(**extraction);
  EXPECT_TRUE((*extraction)->seal());
  std::ifstream in(dir.path() + "/manifest.jsonl");
  return {test.gaps.count(Impact::lost), {std::istreambuf_iterator<char>(in), {}}, (*extraction)->counts()};
}

ExtractedObject file_of(const std::string& path) {
  ExtractedObject object;
  object.kind = ObjectKind::changed;
  object.path = Bytes(path);
  return object;
}

TEST(ExtractWrite, HolesAndZerosTakeNoRoom) {
  const TempDir dir;
  const std::string zeros(1 << 20, '\0');
  const auto written = write(dir, 4096, [&](Extraction& to) {
    ASSERT_TRUE(to.begin(file_of("/sparse")));
    for (std::uint64_t at = 0; at < 16; ++at)
      ASSERT_TRUE(to.write(at << 20, std::as_bytes(std::span(zeros))));
    ASSERT_TRUE(to.write(20 << 20, std::as_bytes(std::span("x", 1))));
    ASSERT_TRUE(to.end(32 << 20, std::nullopt));
  });
  EXPECT_EQ(written.lost, 0U);
  EXPECT_EQ(written.counts[5].size_bytes, 32U << 20);
  EXPECT_EQ(written.counts[5].data_bytes, 1U);
  std::string expected(32 << 20, '\0');
  expected[20 << 20] = 'x';
  std::ifstream in(dir.path() + "/changed/000001-sparse", std::ios::binary);
  EXPECT_TRUE((std::string{std::istreambuf_iterator<char>(in), {}} == expected));
  EXPECT_THAT(written.manifest, testing::HasSubstr(sha256_hex(expected)));
}

TEST(ExtractWrite, WhatDoesNotFitIsNotKept) {
  const TempDir dir;
  const std::string large(10'000, 'x');
  const auto written = write(dir, 8'192, [&](Extraction& to) {
    ASSERT_TRUE(to.begin(file_of("/large")));
    ASSERT_TRUE(to.write(0, std::as_bytes(std::span(large))));
    ASSERT_TRUE(to.end(large.size(), std::nullopt));
    ASSERT_TRUE(to.begin(file_of("/small")));
    ASSERT_TRUE(to.write(0, std::as_bytes(std::span(large).first(8'192))));
    ASSERT_TRUE(to.end(8'192, std::nullopt));
  });
  EXPECT_EQ(written.lost, 1U);
  EXPECT_EQ(written.counts[5].files, 1U);
  EXPECT_EQ(written.counts[5].incomplete, 1U);
  EXPECT_THAT(written.manifest, testing::HasSubstr("--max-bytes 8192"));
  EXPECT_THAT(written.manifest, testing::HasSubstr(sha256_hex(large)));
  EXPECT_FALSE(std::ifstream(dir.path() + "/changed/000001-large").good());
  EXPECT_TRUE(std::ifstream(dir.path() + "/changed/000002-small").good());
}

TEST(ExtractWrite, HolesWithoutEndAreCut) {
  const TempDir dir;
  const auto written = write(dir, UINT64_MAX, [&](Extraction& to) {
    ASSERT_TRUE(to.begin(file_of("/huge")));
    ASSERT_TRUE(to.write(0, std::as_bytes(std::span("x", 1))));
    ASSERT_TRUE(to.write(UINT64_MAX - 1, std::as_bytes(std::span("y", 1))));
    ASSERT_TRUE(to.end(UINT64_MAX, std::nullopt));
  });
  EXPECT_EQ(written.lost, 1U);
  EXPECT_THAT(written.manifest, testing::HasSubstr("of holes"));
}

TEST(ExtractWrite, HolesOfAllObjectsTogetherAreLimited) {
  const TempDir dir;
  const auto written = write(
      dir, UINT64_MAX,
      [&](Extraction& to) {
        for (const char* name : {"/one", "/two"}) {
          ASSERT_TRUE(to.begin(file_of(name)));
          ASSERT_TRUE(to.end(3 << 20, std::nullopt));
        }
      },
      4 << 20);
  EXPECT_EQ(written.lost, 1U);
  EXPECT_EQ(written.counts[5].incomplete, 1U);
  EXPECT_EQ(written.counts[5].size_bytes, 3U << 20);
  EXPECT_THAT(written.manifest, testing::HasSubstr("of holes in all objects"));
}

TEST(ExtractWrite, LinesOfFilesAreWrittenWithThem) {
  const TempDir dir;
  std::string before;
  write(dir, UINT64_MAX, [&](Extraction& to) {
    ASSERT_TRUE(to.begin(file_of("/named")));
    ASSERT_TRUE(to.end(0, std::nullopt));
    std::ifstream in(dir.path() + "/manifest.jsonl.part");
    before.assign(std::istreambuf_iterator<char>(in), {});
  });
  EXPECT_THAT(before, testing::HasSubstr("/named"));
}

TEST(ExtractWrite, WhatWasNotEndedIsWrittenDown) {
  const TempDir dir;
  const auto written = write(dir, UINT64_MAX, [&](Extraction& to) {
    ASSERT_TRUE(to.begin(file_of("/cut")));
    ASSERT_TRUE(to.write(0, std::as_bytes(std::span("abc", 3))));
  });
  EXPECT_EQ(written.lost, 1U);
  EXPECT_THAT(written.manifest, testing::HasSubstr("ended while it was written"));
}

}  // namespace
}  // namespace ctriage::extract
