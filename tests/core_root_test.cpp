#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>

#include "lib/core/root.h"
#include "lib/core/sys.h"
#include "tests/temp_dir.h"

namespace ctriage {
namespace {

std::string content(const Result<UniqueFd>& file) {
  if (!file) return "!" + file.error().what;
  std::string text(64, '\0');
  const ssize_t size = ::read(file->get(), text.data(), text.size());
  text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return text;
}

std::optional<Errc> code_of(const Result<UniqueFd>& file) {
  return file ? std::nullopt : std::optional(file.error().code);
}

class RootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::mkdir((dir_ / "root").c_str(), 0755);
    ::mkdir((dir_ / "root/etc").c_str(), 0755);
    dir_.write("secret", "outside");
    dir_.write("root/etc/hosts", "inside");
    link("root/etc/absolute", "/etc/hosts");
    link("root/etc/relative", "hosts");
    link("root/etc/climbs", "../../secret");
    link("root/etc/loop", "loop");
    link("root/up", "..");
    link("root/dir", "etc");
    ::mkfifo((dir_ / "root/fifo").c_str(), 0644);
    ::mknod((dir_ / "root/null").c_str(), S_IFCHR | 0666, ::makedev(1, 3));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (dir_ / "root/socket").c_str(), sizeof address.sun_path - 1);
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void link(std::string_view name, const char* target) const {
    ASSERT_EQ(::symlink(target, (dir_ / name).c_str()), 0);
  }
  [[nodiscard]] Root root() const { return Root::open(dir_ / "root").value(); }

  TempDir dir_;
  UniqueFd socket_;
};

TEST_F(RootTest, TwoVerbs) {
  using enum Errc;
  const struct {
    const char* name;
    std::optional<Errc> beneath;  // nothing: opens and reads "inside"
    std::optional<Errc> in_root;
  } cases[] = {
      {"etc/hosts", {}, {}},
      {"./etc//hosts", {}, {}},
      {"etc/../etc/hosts", {}, {}},
      {"/etc/hosts", outside, {}},
      {"../secret", outside, not_found},  // in the root, ".." at the top stays there
      {"../root/etc/hosts", outside, not_found},
      {"etc/absolute", outside, {}},
      {"etc/relative", outside, {}},
      {"etc/climbs", outside, not_found},
      {"etc/loop", outside, outside},
      {"dir/hosts", outside, {}},
      {"up/secret", outside, not_found},
      {"etc", unsupported, unsupported},
      {".", unsupported, unsupported},
      {"fifo", unsupported, unsupported},
      {"null", unsupported, unsupported},
      {"socket", unsupported, unsupported},
      {"missing", not_found, not_found},
      {"etc/hosts/x", not_found, not_found},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto beneath = root().open_beneath(c.name);
    EXPECT_EQ(code_of(beneath), c.beneath);
    const auto in_root = root().open_in_root(c.name);
    EXPECT_EQ(code_of(in_root), c.in_root);
    if (beneath) {
      EXPECT_EQ(content(beneath), "inside");
    }
    if (in_root) {
      EXPECT_EQ(content(in_root), "inside");
    }
  }
  const auto nul = root().open_beneath(std::string_view("etc/hosts\0x", 11));
  ASSERT_FALSE(nul);
  EXPECT_EQ(nul.error().number, EINVAL);
}

TEST_F(RootTest, ErrorsNameTheObject) {
  EXPECT_EQ(root().open_beneath("etc/nothing").error().what, "open etc/nothing: No such file or directory");
  EXPECT_EQ(root().stat_beneath("x").error().what, "stat x: No such file or directory");
  EXPECT_EQ(root().stat_beneath("up/x").error().what, "stat up/x: Too many levels of symbolic links");
  EXPECT_EQ(root().read_link_beneath("etc/hosts").error().number, EINVAL);
}

TEST_F(RootTest, LooksWithoutFollowing) {
  EXPECT_TRUE(root().stat_beneath("etc/absolute")->is_symlink());
  EXPECT_TRUE(root().stat_beneath("up")->is_symlink());
  EXPECT_TRUE(root().stat_beneath("null")->is_char_device());
  EXPECT_TRUE(root().stat_beneath("")->is_directory());
  EXPECT_EQ(root().stat_beneath("..").error().code, Errc::outside);
  EXPECT_EQ(root().stat_beneath("up/secret").error().code, Errc::outside);
  EXPECT_TRUE(root().stat_in_root("etc/absolute")->is_regular());
  EXPECT_EQ(root().read_link_beneath("etc/climbs").value(), "../../secret");
  EXPECT_EQ(root().read_link_beneath("up").value(), "..");
  const auto pinned = root().pin_beneath("fifo");
  ASSERT_TRUE(pinned);
  EXPECT_TRUE(S_ISFIFO(file_info(pinned->get(), "fifo")->mode));
  const auto etc = root().descend("etc");
  ASSERT_TRUE(etc);
  EXPECT_EQ(content(etc->open_beneath("hosts")), "inside");
  EXPECT_EQ(etc->open_beneath("../fifo").error().code, Errc::outside);
  EXPECT_EQ(root().descend("dir").error().code, Errc::outside);
  EXPECT_TRUE(root().descend_in_root("dir").has_value());
  EXPECT_EQ(content(root().duplicate()->open_beneath("etc/hosts")), "inside");
}

TEST_F(RootTest, ReadsSmallFiles) {
  EXPECT_EQ(root().read_file_in_root("etc/absolute", 6).value(), "inside");
  EXPECT_EQ(root().read_file_in_root("etc/absolute", 5).error().code, Errc::limit);
  dir_.write("root/empty", "");
  EXPECT_EQ(root().read_file_in_root("empty", 0).value(), "");
  const std::string large(200'000, 'x');
  dir_.write("root/large", large);
  EXPECT_EQ(root().read_file_in_root("large", 200'000).value(), large);
}

TEST_F(RootTest, NamesLongerThanPathMax) {
  const std::string part(200, 'd');
  int dir = ::open((dir_ / "root").c_str(), O_PATH | O_CLOEXEC);
  std::string name;
  while (name.size() < 3 * PATH_MAX) {
    ASSERT_EQ(::mkdirat(dir, part.c_str(), 0755), 0);
    const int next = ::openat(dir, part.c_str(), O_PATH | O_CLOEXEC);
    ::close(dir);
    dir = next;
    name += part + "/";
  }
  const UniqueFd made(::openat(dir, "end", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(made.get(), "deep", 4), 4);
  ASSERT_EQ(::symlinkat("end", dir, "link"), 0);
  ::close(dir);
  EXPECT_EQ(content(root().open_beneath(name + "end")), "deep");
  EXPECT_EQ(root().read_link_beneath(name + "link").value(), "end");
  EXPECT_EQ(root().open_beneath(name + "link").error().code, Errc::outside);
  EXPECT_TRUE(root().descend(name).has_value());
  EXPECT_EQ(root().open_beneath("/" + name + "end").error().code, Errc::outside);
  EXPECT_EQ(root().open_beneath(std::string(5'000, 'x')).error().code, Errc::limit);
}

TEST_F(RootTest, ExtendedAttributes) {
  TempDir shm("/dev/shm");
  shm.write("file", "x");
  const std::string path = shm / "file";
  const std::string large(60'000, '\xff');
  if (::setxattr(path.c_str(), "trusted.b", "1", 1, 0) != 0)
    GTEST_SKIP() << "trusted attributes: " << std::strerror(errno);
  ASSERT_EQ(::setxattr(path.c_str(), "trusted.a", large.data(), large.size(), 0), 0);
  ASSERT_EQ(::setxattr(path.c_str(), "trusted.empty", "", 0, 0), 0);
  ASSERT_EQ(::symlink("nowhere", (shm / "link").c_str()), 0);
  ASSERT_EQ(::lsetxattr((shm / "link").c_str(), "trusted.overlay.x", "y", 1, 0), 0);

  const Root root = Root::open(shm.path()).value();
  const auto check = [&](int fd) {
    const auto found = read_xattrs(fd, "file");
    ASSERT_TRUE(found) << found.error().what;
    ASSERT_EQ(found->size(), 3U);
    EXPECT_EQ((*found)[0].name, "trusted.a");
    EXPECT_EQ((*found)[0].value, large);
    EXPECT_EQ((*found)[1].value, "1");
    EXPECT_EQ((*found)[2].value, "");
  };
  const auto pinned = root.pin_beneath("file");
  const auto opened = root.open_beneath("file");
  check(pinned->get());
  check(opened->get());
  ASSERT_EQ(::unlink(path.c_str()), 0);
  check(pinned->get());
  const auto of_link = read_xattrs(root.pin_beneath("link")->get(), "link");
  ASSERT_EQ(of_link->size(), 1U);
  EXPECT_EQ(of_link->front().name, "trusted.overlay.x");
  EXPECT_TRUE(read_xattrs(root.fd(), "dir")->empty());
}

TEST_F(RootTest, CloneKeepsAccessTimesAndRefusesWrites) {
  // A mount of its own that updates access times at every read.
  TempDir base;
  if (::mount("none", base.path().c_str(), "tmpfs", MS_STRICTATIME, "size=1m") != 0) {
    GTEST_SKIP() << "mount: " << std::strerror(errno);
  }
  base.write("file", "text");
  ASSERT_EQ(::symlink("file", (base / "link").c_str()), 0);
  ASSERT_EQ(::mkdir((base / "dir").c_str(), 0755), 0);
  base.write("dir/a", "");
  const timespec old[2] = {{1'000'000, 0}, {1'000'000, 0}};
  for (const char* name : {"file", "link", "dir"}) {
    ASSERT_EQ(::utimensat(AT_FDCWD, (base / name).c_str(), old, AT_SYMLINK_NOFOLLOW), 0);
  }
  {
    const auto clone = Root::open(base.path())->clone_read_only();
    ASSERT_TRUE(clone) << clone.error().what;
    EXPECT_EQ(content(clone->open_beneath("file")), "text");
    EXPECT_EQ(clone->read_link_beneath("link").value(), "file");
    EXPECT_EQ(list_names(*clone->descend("dir"), "")->names, std::vector<std::string>{"a"});
    for (const char* name : {"file", "link", "dir"})
      EXPECT_EQ(clone->stat_beneath(name)->atime.seconds, 1'000'000) << name;
    const auto made = sys::openat2(clone->fd(), "new", O_CREAT | O_WRONLY, 0, 0600);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().number, EROFS);
    EXPECT_FALSE(sys::unlinkat(clone->fd(), "file").has_value());
  }
  // What the clone spares: the same reads through the mount itself do touch it, so the times above could have
  // moved.
  char target[8];
  ASSERT_GT(::readlink((base / "link").c_str(), target, sizeof target), 0);
  EXPECT_NE(Root::open(base.path())->stat_beneath("link")->atime.seconds, 1'000'000);
  EXPECT_EQ(::umount2(base.path().c_str(), MNT_DETACH), 0);
}

TEST_F(RootTest, MagicLinks) {
  const Root proc = Root::open("/proc").value();
  const std::string self = std::to_string(::getpid());
  const UniqueFd file(::open((dir_ / "root/etc/hosts").c_str(), O_RDONLY | O_CLOEXEC));
  const std::string fd_link = self + "/fd/" + std::to_string(file.get());
  EXPECT_EQ(content(proc.open_magic(fd_link)), "inside");
  EXPECT_EQ(proc.open_beneath(fd_link).error().code, Errc::outside);
  EXPECT_TRUE(file_info(proc.pin_magic(self + "/exe")->get(), "exe")->is_regular());
  EXPECT_TRUE(proc.descend_magic(self + "/root").has_value());
  EXPECT_EQ(proc.open_magic(self + "/fd/" + std::to_string(socket_.get())).error().code, Errc::unsupported);
  EXPECT_EQ(proc.pin_magic("..").error().code, Errc::outside);
  EXPECT_EQ(root().pin_magic("etc/absolute").error().code,
            Errc::outside);  // an ordinary link on another file system
  EXPECT_EQ(proc.read_link_beneath(self + "/exe").value(),
            std::filesystem::read_symlink("/proc/self/exe").string());
}

std::vector<std::string> all_names(const Root& root, std::size_t block_bytes, int* passes) {
  std::vector<std::string> all;
  for (NameBlock block{{}, true}; block.more;) {
    auto next = list_names(root, all.empty() ? "" : all.back(), block_bytes);
    EXPECT_TRUE(next);
    if (!next) break;
    block = *std::move(next);
    all.insert(all.end(), block.names.begin(), block.names.end());
    ++*passes;
  }
  return all;
}

TEST_F(RootTest, ListsInBlocks) {
  TempDir many("/dev/shm");
  std::vector<std::string> expected{"\x01", "\xff\xfe", "new\nline", std::string(255, 'n'),
                                    "a",    "aa",       "a ",        "A"};
  for (int i = 0; i < 3'000; ++i) expected.push_back("file-" + std::to_string(i * 7919 % 3'001));
  for (const auto& name : expected)
    UniqueFd(::open((many / name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  std::sort(expected.begin(), expected.end());
  const Root root = Root::open(many.path()).value();
  for (const std::size_t block : {std::size_t{10'000}, std::size_t{50'000}, std::size_t{4} << 20}) {
    int passes = 0;
    EXPECT_EQ(all_names(root, block, &passes), expected) << block;
    EXPECT_EQ(passes > 1, block < 100'000) << block;
  }
  const auto one = list_names(root, "", 1);  // never an empty block that promises more
  EXPECT_EQ(one->names, std::vector<std::string>{"\x01"});
  EXPECT_TRUE(one->more);
  EXPECT_TRUE(list_names(root, "\xff\xff", 1)->names.empty());
}

TEST_F(RootTest, ListsALargeDirectory) {
  TempDir many("/dev/shm");
  const UniqueFd dir(::open(many.path().c_str(), O_PATH | O_CLOEXEC));
  constexpr int kFiles = 200'000;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(
        ::mknodat(dir.get(), ("name-of-a-file-that-is-not-short-" + std::to_string(i)).c_str(), S_IFREG, 0),
        0);
  }
  int passes = 0;
  const auto names = all_names(Root::open(many.path()).value(), 4 << 20, &passes);
  EXPECT_EQ(names.size(), std::size_t{kFiles});
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_GT(passes, 1);
}

// A procfs of our own answers like the one at /proc that nothing is known of.
TEST_F(RootTest, OwnProcfs) {
  const auto context = sys::fsopen("proc");
  if (!context) GTEST_SKIP() << context.error().what;
  ASSERT_TRUE(sys::fsconfig_create(context->get(), "proc"));
  auto mounted = sys::fsmount(context->get(), 0, "proc");
  ASSERT_TRUE(mounted);
  const Root own = Root::adopt_own_procfs(*std::move(mounted), "/proc");
  const Root proc = Root::open("/proc").value();
  const std::string self = std::to_string(::getpid());
  const auto outcome = [](const auto& result) {
    return result ? std::string("there") : std::to_string(result.error().number);
  };
  for (const std::string& name :
       {self + "/comm", std::string("self/comm"), std::string("uptime"), self + "/task/" + self + "/comm",
        self + "/nothing", std::string("4194305/comm"), self + "/root/etc/passwd", self + "/cwd/x",
        std::string("../etc/passwd"), std::string("/uptime"), self + "/exe", self, std::string("."),
        std::string("self"), std::string(), std::string("a\0b", 3)}) {
    SCOPED_TRACE(name);
    for (const Root* each : {&own, &proc}) {
      if (const auto file = each->open_in_root(name)) {
        EXPECT_TRUE(file_info(file->get(), name)->is_regular());
        EXPECT_EQ(::fcntl(file->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
      }
    }
    EXPECT_EQ(outcome(own.open_in_root(name)), outcome(proc.open_in_root(name)));
    EXPECT_EQ(own.read_file_in_root(name, 4096).has_value(), proc.read_file_in_root(name, 4096).has_value());
    EXPECT_EQ(own.descend(name).has_value(), proc.descend(name).has_value());
  }
  EXPECT_EQ(own.read_file_in_root(self + "/comm", 4096).value(),
            proc.read_file_in_root(self + "/comm", 4096).value());
  EXPECT_EQ(own.read_file_in_root(self + "/status", 8).error().code, Errc::limit);
  for (const std::string& name :
       {std::string("self"), self + "/ns/mnt", self + "/cwd", self + "/task/" + self + "/exe", self + "/comm",
        self + "/root/bin", self + "/ns/none", std::string("../x"), std::string("/x/y")}) {
    SCOPED_TRACE(name);
    const auto here = own.read_link_beneath(name);
    const auto there = proc.read_link_beneath(name);
    EXPECT_EQ(outcome(here), outcome(there));
    if (here && there) {
      EXPECT_EQ(*here, *there);
    }
    EXPECT_EQ(outcome(own.pin_magic(name)), outcome(proc.pin_magic(name)));
    EXPECT_EQ(own.descend_magic(name).has_value(), proc.descend_magic(name).has_value());
  }
  // What a magic link leads to is no procfs: its names are anybody's again.
  const Root root = own.descend_magic(self + "/root").value();
  EXPECT_EQ(root.read_file_in_root("proc/self/root/etc/hostname", 4096).error().number, ELOOP);
  const Root process = own.descend(self).value().duplicate().value();
  EXPECT_TRUE(process.read_file_in_root("comm", 4096));
  EXPECT_EQ(process.descend_magic("root/etc").has_value(),
            proc.descend_magic(self + "/root/etc").has_value());
  EXPECT_EQ(own.pin_magic("..").error().code, Errc::outside);
}

}  // namespace
}  // namespace ctriage
