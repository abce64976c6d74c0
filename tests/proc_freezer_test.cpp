// Freezer on directories that look like a cgroup's, and the watchdog that stops a process of ours.
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <tuple>

#include "lib/core/sys.h"
#include "lib/proc/freezer.h"
#include "lib/proc/proc.h"
#include "lib/proc/reader.h"
#include "tests/proc_child.h"
#include "tests/temp_dir.h"

namespace ctriage::proc {
namespace {

struct Case {
  SwitchKind kind;
  std::string file;
  std::string text;
  std::optional<bool> frozen;  // none: not known
};

TEST(Freezer, SaysWhetherAllStands) {
  const Case cases[] = {
      {SwitchKind::cgroup_v1, "freezer.state", "FROZEN\n", true},
      {SwitchKind::cgroup_v1, "freezer.state", "FREEZING\n", false},
      {SwitchKind::cgroup_v1, "freezer.state", "THAWED\n", false},
      {SwitchKind::cgroup_v2, "cgroup.events", "populated 1\nfrozen 1\n", true},
      {SwitchKind::cgroup_v2, "cgroup.events", "populated 1\nfrozen 0\n", false},
      {SwitchKind::cgroup_v2, "cgroup.events", "populated 1\n", std::nullopt},
      {SwitchKind::cgroup_v2, "freezer.state", "FROZEN\n", std::nullopt},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.file + ": " + one.text);
    const TempDir dir;
    std::filesystem::create_directories(dir / "pod/abc");
    dir.write("pod/abc/" + one.file, one.text);
    auto freezer = Freezer::of_cgroup(*Root::open(dir.path()), one.kind, "/pod/abc");
    ASSERT_TRUE(freezer) << freezer.error().what;
    const auto frozen = freezer->is_frozen();
    EXPECT_EQ(frozen ? std::optional(*frozen) : std::nullopt, one.frozen);
  }
}

TEST(Freezer, ThrowsTheSwitchOfItsKind) {
  const TempDir dir;
  for (const char* name : {"v1", "v2"}) std::filesystem::create_directory(dir / name);
  dir.write("v1/freezer.state", "THAWED");
  dir.write("v2/cgroup.freeze", "0");
  const Root top = *Root::open(dir.path());
  for (const bool stop : {true, false}) {
    for (const auto& [kind, path, file, words] :
         {std::tuple(SwitchKind::cgroup_v1, "/v1", "v1/freezer.state", std::pair("FROZEN", "THAWED")),
          std::tuple(SwitchKind::cgroup_v2, "/v2", "v2/cgroup.freeze", std::pair("1", "0"))}) {
      const auto freezer = Freezer::of_cgroup(top, kind, path);
      ASSERT_TRUE(freezer);
      const auto fd = freezer->open_switch();
      ASSERT_TRUE(fd) << fd.error().what;
      ASSERT_TRUE(throw_switch(fd->get(), kind, stop));
      EXPECT_EQ(*top.read_file_in_root(file, 100), stop ? words.first : words.second);
    }
  }
}

TEST(Freezer, LeavesTheRootAndWhatIsNotThereAlone) {
  const TempDir dir;
  const Root top = *Root::open(dir.path());
  for (const std::string path : {"", "/", "//"})
    EXPECT_EQ(Freezer::of_cgroup(top, SwitchKind::cgroup_v2, path).error().code, Errc::unsupported) << path;
  EXPECT_EQ(Freezer::of_cgroup(top, SwitchKind::cgroup_v2, "/gone").error().code, Errc::not_found);
  std::filesystem::create_directory_symlink("/", dir.path() + "/link");
  EXPECT_FALSE(Freezer::of_cgroup(top, SwitchKind::cgroup_v2, "/link/sys"));
  EXPECT_FALSE(Freezer::of_cgroup(top, SwitchKind::cgroup_v2, "/../etc"));
}

class Watchdog : public ::testing::Test, protected testing::TaskFixture {
 protected:
  Status hold(std::int64_t most_ns) {
    return readers_->stop_target(switch_.get(), SwitchKind::signal, most_ns, task);
  }
  [[nodiscard]] Freezer freezer() const {
    return *Freezer::of_process(*proc_.descend(std::to_string(sleeper_.pid())), sleeper_.pid());
  }
  [[nodiscard]] bool becomes(char state) const {
    for (int tries = 0; tries < 2'000; ++tries) {
      const auto stat = read_stat(proc_, sleeper_.pid());
      if (stat && stat->state == state) return true;
      sys::sleep_ns(1'000'000);
    }
    return false;
  }

  const Root proc_ = *Root::open("/proc");
  const testing::Child sleeper_{[] {}};
  std::optional<Readers> readers_{*Readers::start(proc_)};
  const UniqueFd switch_ = *freezer().open_switch();
};

TEST_F(Watchdog, StopsAndLetsGo) {
  ASSERT_TRUE(hold(60'000'000'000));
  EXPECT_TRUE(becomes('T'));
  EXPECT_TRUE(*freezer().is_frozen());
  // Readers work meanwhile.
  EXPECT_TRUE(readers_->read_file(std::to_string(sleeper_.pid()) + "/stat", 1'000, task));
  const auto in_time = readers_->let_go(task);
  ASSERT_TRUE(in_time) << in_time.error().what;
  EXPECT_TRUE(*in_time);
  EXPECT_TRUE(becomes('S'));
  EXPECT_FALSE(*freezer().is_frozen());
}

TEST_F(Watchdog, LetsGoAtTheCeiling) {
  ASSERT_TRUE(hold(50'000'000));
  EXPECT_TRUE(becomes('S'));
  const auto in_time = readers_->let_go(task);
  ASSERT_TRUE(in_time);
  EXPECT_FALSE(*in_time);
}

TEST_F(Watchdog, LetsGoWhenWeEnd) {
  ASSERT_TRUE(hold(60'000'000'000));
  ASSERT_TRUE(becomes('T'));
  readers_.reset();
  EXPECT_TRUE(becomes('S'));
}

TEST_F(Watchdog, ASignalDoesNotLeaveItStanding) {
  ASSERT_TRUE(hold(60'000'000'000));
  stop = true;  // ^C: reads end, this does not
  EXPECT_TRUE(readers_->let_go(task));
  EXPECT_TRUE(becomes('S'));
}

TEST_F(Watchdog, HasOneTarget) {
  ASSERT_TRUE(hold(60'000'000'000));
  EXPECT_FALSE(hold(60'000'000'000));
  EXPECT_TRUE(readers_->let_go(task));
  EXPECT_TRUE(becomes('S'));
}

TEST_F(Watchdog, SaysWhatItCouldNotStop) {
  const TempDir dir;
  dir.write("file", "");
  const UniqueFd file = *Root::open(dir.path())->open_beneath("file");  // for reading
  EXPECT_FALSE(readers_->stop_target(file.get(), SwitchKind::cgroup_v2, 60'000'000'000, task));
}

}  // namespace
}  // namespace ctriage::proc
