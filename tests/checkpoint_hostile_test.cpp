// A small archive with one of everything, cut after every byte and changed in 10,000 single ones: each ends
// in a result or a gap, for `show`, `ls`, `cat` and `search` alike.
#include <gtest/gtest.h>

#include <random>

#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

struct Nothing final : MemoryVisitor {
  Status enter(MemoryArea&&) override { return Done{}; }
  std::span<std::byte> room() override { return buffer; }
  Status filled(std::uint64_t, std::size_t) override { return Done{}; }
  std::vector<std::byte> buffer = std::vector<std::byte>(4096);
};

struct Ended {
  bool opened = false;
  std::string told;
  std::uint64_t lost = 0;
  std::size_t errors = 0;
};

// All that a view asks for.
Ended look_at_all(const std::string& archive) {
  CheckpointTestTask test;
  Ended ended;
  auto opened = open_checkpoint(archive, test.task);
  if (!opened) return ended;
  ended.opened = true;
  Snapshot& all = **opened;
  const auto any = [](auto&&) { return Status(Done{}); };
  const auto count = [&](const Status& done) {
    if (done) return;
    ++ended.errors;
    ended.told += done.error().what + "\n";
  };
  count(all.list_containers(
      [&](Container&& container) {
        const std::string& id = container.id;
        count(all.list_processes(id, any, test.task));
        count(all.list_threads(id, any, test.task));
        count(all.list_mappings(id, any, test.task));
        count(all.list_descriptors(id, any, test.task));
        count(all.list_sockets(id, any, test.task));
        count(all.list_mounts(id, any, test.task));
        count(all.list_changes(id, any, test.task));
        count(all.list_logs(id, any, test.task));
        for (const char* path : {"/", "/etc", "/tmp", "/usr/bin"})
          count(all.list_files({id, "merged", path}, any, test.task));
        for (const char* path : {"/", "/etc", "/usr/bin"})
          count(all.list_files({id, "upper", path}, any, test.task));
        for (const char* path : {"/etc/new", "/tmp/t", "/usr/bin/made", "/etc/hard", "/etc/link"}) {
          auto file = all.open_file({id, "merged", path}, test.task);
          std::array<std::byte, 512> block{};
          while (file && file->bytes) {
            const auto got = file->bytes->read(block);
            if (!got || *got == 0) break;
          }
          if (!file) count(std::move(file).error());
        }
        return Status(Done{});
      },
      test.task));
  Nothing visitor;
  count(all.visit_memory({}, visitor, test.task));
  ended.lost = test.gaps.count(Impact::lost);
  ended.told += test.told();
  return ended;
}

std::string one_of_everything() {
  constexpr std::uint64_t kPageBytes = 4096;
  std::string page("made\0up\0", 8);
  page.resize(kPageBytes, 'x');
  auto files = make_images(
      "checkpoint/",
      [](ImageWriter& map) {
        map.entry([](Out& out) {
          out.add_uint64(1, kArgAddress);
          out.add_uint64(5, 1);
        });
      },
      page, kPageBytes);
  files["spec.dump"] = R"({"process":{"args":["/made"]},"annotations":{}})";
  files["config.dump"] = R"({"id":")" + std::string(64, 'a') + R"(","name":"web"})";
  files["status"] = "{}";
  files["rootfs-diff.tar"] = make_tar_in_order({{"etc/new", "n"},
                                                {"etc/.wh.old", ""},
                                                {"etc/hard", "", '1', "etc/new"},
                                                {"etc/link", "", '2', "../tmp/t"}});
  files["checkpoint/tmpfs-dev-55.tar.gz.img"] = make_tar_in_order({{"./t", "in a tmpfs"}});
  files["checkpoint/mountpoints-4.img"] = ImageWriter(0x55563928)
                                              .entry([](Out& out) {
                                                out.add_uint32(1, 0);
                                                out.add_uint32(2, 10);
                                                out.add_uint32(3, 55);
                                                out.add_uint32(4, 1);
                                                out.add_string(6, "/");
                                                out.add_string(7, "./tmp");
                                                out.add_string(14, "tmpfs");
                                              })
                                              .bytes();
  add_ghost(files, ImageWriter(0x52583605)
                           .entry([](Out& out) {
                             out.add_uint32(1, 0);
                             out.add_uint32(2, 0);
                             out.add_uint32(3, 0100755);
                             out.add_bool(9, true);
                             out.add_uint64(10, 700);
                           })
                           .bytes() +
                       ghost_chunk(600, "abc"));
  return make_tar(files);
}

class HostileCheckpoint : public testing::TestWithParam<int> {};
constexpr int kShares = 4;  // for who runs tests side by side

TEST_P(HostileCheckpoint, EveryPrefix) {
  const std::string whole = one_of_everything();
  const std::size_t end = whole.size() - 2 * archive::kTarBlock;  // where the zeros begin that end it
  for (std::size_t size = static_cast<std::size_t>(GetParam()); size < end; size += kShares) {
    const Ended ended = look_at_all(whole.substr(0, size));
    ASSERT_TRUE(!ended.opened || ended.lost > 0) << "cut after " << size << " bytes, and nothing is told";
  }
}

TEST_P(HostileCheckpoint, Mutations) {
  const std::string whole = one_of_everything();
  const Ended sound = look_at_all(whole);
  ASSERT_TRUE(sound.opened);
  EXPECT_EQ(sound.lost, 0U) << sound.told;
  EXPECT_EQ(sound.errors, 0U) << sound.told;
  std::mt19937 random(static_cast<unsigned>(GetParam()));  // NOLINT: the same bytes in every run
  for (int i = 0; i < 10'000 / kShares; ++i) {
    std::string changed = whole;
    changed[random() % changed.size()] = static_cast<char>(random());
    (void)look_at_all(changed);
  }
}

INSTANTIATE_TEST_SUITE_P(Share, HostileCheckpoint, testing::Range(0, kShares));

}  // namespace
}  // namespace ctriage::source
