#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "lib/collect/collect.h"
#include "lib/collect/place.h"

namespace ctriage::collect {
namespace {

namespace fs = std::filesystem;

class PlaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/ctriage-place-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    base_ = name;
  }
  void TearDown() override {
    for (const std::string& mount : mounts_) ::umount2(mount.c_str(), MNT_DETACH);
    fs::remove_all(base_);
  }
  Result<Place> check(const std::string& path, const std::string& engine_root = "") {
    auto proc = Root::open("/proc");
    auto directory = Root::open(path);
    if (!directory) return std::move(directory).error();
    return check_place(*directory, path, *proc, KeepOut{engine_root, layers_, kubelet_});
  }
  std::string base_;
  std::vector<std::string> mounts_;
  std::vector<FileInfo> layers_;
  std::optional<runtime::Kubelet> kubelet_;
};

TEST_F(PlaceTest, LayersOfTheTargetAreRefused) {
  fs::create_directories(base_ + "/upper/deep/er");
  fs::create_directories(base_ + "/upper2");
  auto upper = Root::open(base_ + "/upper");
  ASSERT_TRUE(upper);
  layers_.push_back(*upper->stat_beneath(""));
  for (const std::string& path : {base_ + "/upper", base_ + "/upper/deep/er"}) {
    const auto place = check(path);
    ASSERT_FALSE(place) << path;
    EXPECT_EQ(place.error().code, Errc::outside);
  }
  EXPECT_TRUE(check(base_ + "/upper2"));
}

TEST_F(PlaceTest, PlainDirectory) {
  const auto place = check(base_);
  ASSERT_TRUE(place) << place.error().what;
  EXPECT_GT(place->free_bytes, 0U);
  EXPECT_LE(place->allowed_bytes, place->free_bytes);
  EXPECT_LE(place->free_bytes, place->total_bytes);
}

TEST_F(PlaceTest, EngineRootIsRefusedThroughALinkToo) {
  fs::create_directories(base_ + "/engine/snapshots/1/fs");
  fs::create_directory_symlink(base_ + "/engine/snapshots", base_ + "/link");
  for (const std::string& path : {base_ + "/engine", base_ + "/engine/snapshots/1/fs", base_ + "/link/1"}) {
    SCOPED_TRACE(path);
    const auto place = check(path, base_ + "/engine");
    ASSERT_FALSE(place);
    EXPECT_EQ(place.error().code, Errc::outside);
  }
  fs::create_directories(base_ + "/engine2");
  EXPECT_TRUE(check(base_ + "/engine2", base_ + "/engine"));  // a name that begins alike is another directory
}

TEST_F(PlaceTest, ContainerLayerAndBindMountsOfPodDirectories) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const std::string merged = base_ + "/merged";
  ASSERT_EQ(::mkdir(merged.c_str(), 0755), 0);
  ASSERT_EQ(::mount("tmpfs", base_.c_str(), "tmpfs", 0, ""), 0);
  mounts_.push_back(base_);
  for (const char* name : {"/lower", "/upper", "/work", "/merged", "/out"})
    fs::create_directory(base_ + name);
  const std::string options =
      "lowerdir=" + base_ + "/lower,upperdir=" + base_ + "/upper,workdir=" + base_ + "/work";
  ASSERT_EQ(::mount("overlay", merged.c_str(), "overlay", 0, options.c_str()), 0);
  mounts_.insert(mounts_.begin(), merged);
  const auto layer = check(merged);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, Errc::outside);
  EXPECT_NE(layer.error().what.find("writable layer"), std::string::npos);

  // An emptyDir that is mounted at a harmless place is still the pod's.
  const std::string volume = base_ + "/pods/1/volumes/kubernetes.io~empty-dir/out";
  fs::create_directories(volume);
  ASSERT_EQ(::mount(volume.c_str(), (base_ + "/out").c_str(), "", MS_BIND, nullptr), 0);
  mounts_.insert(mounts_.begin(), base_ + "/out");
  const auto empty_dir = check(base_ + "/out");
  ASSERT_FALSE(empty_dir);
  EXPECT_NE(empty_dir.error().what.find("pods directory"), std::string::npos);
}

TEST_F(PlaceTest, KubeletsPodsOnADiskOfItsOwnAreRefusedThroughABindMountToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const auto bind = [&](const std::string& from, const std::string& to) {
    fs::create_directories(to);
    ASSERT_EQ(::mount(from.c_str(), to.c_str(), "", MS_BIND, nullptr), 0);
    mounts_.insert(mounts_.begin(), to);
  };
  const std::string disk = base_ + "/disk";
  fs::create_directories(disk);
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", 0, ""), 0);
  mounts_.push_back(disk);
  kubelet_ = runtime::Kubelet{disk + "/kubelet", {}};
  fs::create_directories(disk + "/kubelet/pods/1/volumes");
  fs::create_directories(disk + "/kubelet/plugins");
  fs::create_directories(disk + "/elsewhere/pods");
  bind(disk + "/kubelet/pods/1", base_ + "/one");
  bind(disk, base_ + "/all");
  bind(disk + "/elsewhere", base_ + "/other");
  const struct {
    std::string path;
    bool ok;
  } cases[] = {{disk + "/kubelet/pods", false},
               {disk + "/kubelet/pods/1/volumes", false},
               {base_ + "/one/volumes", false},
               {base_ + "/one", false},
               {base_ + "/all/kubelet/pods/1", false},
               {disk + "/kubelet/plugins", true},
               {base_ + "/all", true},
               {base_ + "/other/pods", true}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    const auto place = check(c.path);
    EXPECT_EQ(static_cast<bool>(place), c.ok) << (place ? "" : place.error().what);
    EXPECT_EQ(!place && place.error().what.find("pods directory") != std::string::npos, !c.ok);
  }
  // The same disk holds kubelet's root: what it wants free stays free, and 5 % more.
  const auto with_default = check(disk + "/kubelet/plugins");
  ASSERT_TRUE(with_default);
  EXPECT_TRUE(with_default->kubelet_disk);
  EXPECT_EQ(with_default->free_bytes - with_default->allowed_bytes,
            with_default->total_bytes / 100 * 10 + with_default->total_bytes / 100 * 5);
  kubelet_->eviction.nodefs.percent = 40;
  const auto configured = check(disk + "/kubelet/plugins");
  ASSERT_TRUE(configured);
  EXPECT_EQ(configured->free_bytes - configured->allowed_bytes,
            configured->total_bytes / 100 * 40 + configured->total_bytes / 100 * 5);
  kubelet_->eviction.nodefs.percent = 99;
  const auto none = check(disk + "/kubelet/plugins");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::full);
}

TEST_F(PlaceTest, SuggestionsCanBeWrittenTo) {
  auto proc = Root::open("/proc");
  ASSERT_TRUE(proc);
  const auto places = suggest_places(*proc, {});
  ASSERT_FALSE(places.empty());
  for (const Place& place : places) {
    EXPECT_TRUE(check(place.path)) << place.path;
    EXPECT_GT(place.allowed_bytes, 0U);
  }
}

TEST(Collectors, TableIsOrderedByGroup) {
  std::vector<std::string_view> groups;
  std::set<std::string_view> names;
  for (const Collector& collector : collectors()) {
    if (groups.empty() || groups.back() != collector.group) groups.push_back(collector.group);
    EXPECT_TRUE(names.insert(collector.name).second) << collector.name;
    EXPECT_NE(collector.take, nullptr);
  }
  EXPECT_EQ(groups,
            (std::vector<std::string_view>{"state", "memory", "files", "volumes", "logs", "node", "memory"}));
}

}  // namespace
}  // namespace ctriage::collect
