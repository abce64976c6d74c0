// What View shows of a real overlay mount, name by name, byte by byte, against the kernel's merged view.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "lib/core/stream.h"
#include "lib/overlay/view.h"
#include "tests/overlay_lab.h"

namespace ctriage::testing {
namespace {

namespace fs = std::filesystem;
using overlay::View;

constexpr const char* kImage = R"sh(
mkdir -p low/etc low/usr/bin low/opaque/in low/gone low/moved/deep low/both top/etc top/both top/usr
echo low > low/etc/a; echo low > low/etc/b; echo top > top/etc/b; echo x > low/opaque/in/x; echo g > low/gone/g
echo deep > low/moved/deep/file; echo 1 > low/both/one; echo 2 > top/both/two; ln -s usr/bin low/bin
printf '\177ELF' > low/usr/bin/tool; ln -s tool low/usr/bin/link; ln -s /etc/a low/absolute; ln -s ../../../etc/b low/usr/bin/up
ln -s loop2 low/loop1; ln -s loop1 low/loop2; head -c 200000 /dev/urandom > low/etc/big; mknod top/etc/a c 0 0
)sh";

constexpr const char* kChanges = R"sh(
cd merged
echo new > etc/new; rm -rf opaque; mkdir opaque; echo y > opaque/y; rm -rf gone; mv moved renamed
chmod 600 etc/big; ln -s renamed/deep/file way; rm etc/b; mkfifo pipe; echo u > both/three; setfattr -n user.x -v y etc/new
)sh";

class OverlayView : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Lab::ready()) GTEST_SKIP() << "needs root";
    lab_.emplace();
    lab_->sh(kImage);
    lab_->mount({"top", "low"}, ",redirect_dir=on,metacopy=on");
    lab_->sh(kChanges);
    stack_.emplace(lab_->stack(kit_));
  }
  Result<View::Found> find(const View& view, std::string_view path, bool follow = true) {
    std::string reached;
    return view.find(path, follow, reached, kit_.task);
  }
  std::string read(const View& view, const View::Found& found) {
    auto file = view.open(found);
    if (!file) return "error: " + file.error().what;
    FdSource source(*std::move(file), found.path, kit_.task);
    auto text = read_all(source, 1 << 20);
    return text ? *text : "error: " + text.error().what;
  }
  std::set<std::string> names(const View& view, const std::string& directory) {
    std::set<std::string> found;
    auto listed = view.list(
        directory,
        [&](const std::string& name, View::Found&&) -> Status {
          EXPECT_TRUE(found.insert(name).second) << name << " twice";
          return Done{};
        },
        [&](const std::string& name, Error&& why) { ADD_FAILURE() << name << ": " << why.what; }, kit_.task);
    EXPECT_TRUE(listed) << directory << ": " << listed.error().what;
    return found;
  }
  static std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TaskKit kit_;
  std::optional<Lab> lab_;
  std::optional<overlay::Stack> stack_;
};

TEST_F(OverlayView, MergedIsWhatTheKernelShows) {
  auto view = View::merged(*stack_);
  ASSERT_TRUE(view) << view.error().what;
  const fs::path top = lab_->dir() + "/merged";
  std::size_t seen = 0;
  std::vector<std::string> directories{"/"};
  while (!directories.empty()) {
    const std::string directory = directories.back();
    directories.pop_back();
    std::set<std::string> expected;
    for (const auto& entry : fs::directory_iterator(top / directory.substr(1))) {
      const std::string name = entry.path().filename();
      const std::string path = (directory == "/" ? "/" : directory + "/") + name;
      expected.insert(name);
      SCOPED_TRACE(path);
      auto found = find(*view, path, false);
      ASSERT_TRUE(found) << found.error().what;
      EXPECT_EQ(found->path, path);
      ++seen;
      if (entry.is_symlink()) {
        ASSERT_TRUE(found->file.link_target);
        EXPECT_EQ(found->file.link_target->raw, fs::read_symlink(entry.path()));
      } else if (entry.is_directory()) {
        EXPECT_TRUE(found->info.is_directory());
        directories.push_back(path);
      } else if (entry.is_regular_file()) {
        EXPECT_EQ(found->info.size_bytes, entry.file_size());
        EXPECT_EQ(read(*view, *found), text_of(entry.path()));
      }
    }
    EXPECT_EQ(names(*view, directory), expected) << directory;
  }
  EXPECT_GE(seen, 20U);
}

TEST_F(OverlayView, LinksStayInside) {
  auto view = View::merged(*stack_);
  ASSERT_TRUE(view);
  const auto resolved = [&](const std::string& path) {
    auto found = find(*view, path);
    return found ? found->path : "error: " + found.error().what;
  };
  EXPECT_EQ(resolved("/bin/tool"), "/usr/bin/tool");
  EXPECT_EQ(resolved("/bin/link"), "/usr/bin/tool");
  EXPECT_EQ(resolved("//bin/./../bin//link/"), "/usr/bin/tool");
  EXPECT_EQ(resolved("/way"), "/renamed/deep/file");
  EXPECT_EQ(resolved("/../../etc/new"), "/etc/new");
  EXPECT_EQ(resolved("/"), "/");
  EXPECT_EQ(resolved("/loop1"), "error: /loop1: more than 40 links");
  EXPECT_EQ(resolved("/absolute"), "error: /etc/a: no such file or directory");  // a whiteout of the image
  EXPECT_EQ(resolved("/usr/bin/up"), "error: /etc/b: no such file or directory");
  EXPECT_EQ(resolved("/etc/new/x"), "error: /etc/new: not a directory");
  EXPECT_EQ(resolved("/gone"), "error: /gone: no such file or directory");
  auto fifo = find(*view, "/pipe");
  ASSERT_TRUE(fifo);
  EXPECT_FALSE(view->open(*fifo));
}

TEST_F(OverlayView, OneLayerIsAsItLies) {
  auto image = View::layer(*stack_, 1);
  ASSERT_TRUE(image) << image.error().what;
  EXPECT_TRUE(names(*image, "/").contains("gone"));
  auto low = find(*image, "/etc/b");
  ASSERT_TRUE(low);
  EXPECT_EQ(read(*image, *low), "low\n");
  EXPECT_EQ(low->layer, 1U);
  auto second = View::layer(*stack_, 2);
  ASSERT_TRUE(second);
  auto whiteout = find(*second, "/etc/a");
  ASSERT_TRUE(whiteout);
  EXPECT_TRUE(whiteout->info.is_char_device());
  auto upper = View::layer(*stack_, 3);
  ASSERT_TRUE(upper);
  EXPECT_EQ(names(*upper, "/both"), (std::set<std::string>{"three"}));
  EXPECT_TRUE(names(*upper, "/").contains("gone"));  // its whiteout
  for (const std::uint32_t number : {0U, 4U, UINT32_MAX}) {
    auto none = View::layer(*stack_, number);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::not_found);
  }
}

}  // namespace
}  // namespace ctriage::testing
