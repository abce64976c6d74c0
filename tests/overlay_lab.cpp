#include "tests/overlay_lab.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "lib/core/text.h"

namespace ctriage::testing {

std::string TaskKit::text() const {
  std::string all;
  for (const Gap& gap : gaps.kept())
    all += gap.artifact + " " + gap.origin.substr(0, 200) + ": " + gap.error.what.substr(0, 200) + "\n";
  return all;
}

bool TaskKit::has(Impact impact, const std::string& artifact, Errc code) const {
  return std::any_of(gaps.kept().begin(), gaps.kept().end(), [&](const Gap& gap) {
    return gap.impact == impact && gap.artifact == artifact && gap.error.code == code;
  });
}

bool Lab::ready() {
  static const bool can = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return can;
}

Lab::Lab() {
  char path[] = "/tmp/ctriage-overlay-XXXXXX";
  if (::mkdtemp(path) == nullptr) return;
  dir_ = path;
  EXPECT_EQ(::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "nr_inodes=2000000,mode=0755"), 0);
  sh("mkdir -p upper/fs upper/work merged image");
}

Lab::~Lab() {
  if (dir_.empty()) return;
  unmount();
  ::umount2(dir_.c_str(), MNT_DETACH);
  ::rmdir(dir_.c_str());
}

void Lab::sh(const std::string& script) const {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(dir_.c_str()) == 0) ::execl("/bin/bash", "bash", "-euc", script.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0) << script;
}

void Lab::mount(const std::vector<std::string>& lowers, const std::string& extra) {
  std::string list;
  for (const auto& lower : lowers) list += (list.empty() ? "" : ":") + dir_ + "/" + lower;
  const std::string options =
      "lowerdir=" + list + ",upperdir=" + dir_ + "/upper/fs,workdir=" + dir_ + "/upper/work" + extra;
  ASSERT_EQ(::mount("overlay", (dir_ + "/merged").c_str(), "overlay", 0, options.c_str()), 0) << options;
  // The kernel wants two lowers where there is no upper.
  sh("mkdir -p empty");
  const std::string view = "lowerdir=" + list + ":" + dir_ + "/empty";
  ASSERT_EQ(::mount("overlay", (dir_ + "/image").c_str(), "overlay", MS_RDONLY, view.c_str()), 0) << view;
  mounted_ = true;
}

bool Lab::has_fuse() {
  return ::access("/usr/bin/fuse-overlayfs", X_OK) == 0 && ::access("/dev/fuse", R_OK | W_OK) == 0;
}

void Lab::mount_fuse(const std::vector<std::string>& lowers, const std::string& extra) {
  std::string list;
  for (const auto& lower : lowers) list += (list.empty() ? "" : ":") + dir_ + "/" + lower;
  const std::string layers = "lowerdir=" + list;
  const std::string options =
      layers + ",upperdir=" + dir_ + "/upper/fs,workdir=" + dir_ + "/upper/work" + extra;
  arguments_ = {"fuse-overlayfs", "-o", options, dir_ + "/merged"};
  sh("fuse-overlayfs -o '" + options + "' merged 2>&1; fuse-overlayfs -o '" + layers + "' image 2>&1");
  mounted_ = true;
}

// mount_setattr(2) "ID-mapped mounts". The user namespace lives as long as a child waits in it.
void Lab::idmap(const std::string& directory, const std::string& at, std::uint32_t first) {
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(done), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    const bool made = ::unshare(CLONE_NEWUSER) == 0 && ::write(ready[1], "x", 1) == 1;
    ::close(done[1]);
    ::_exit(made && ::read(done[0], &byte, 1) == 0 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::string process = "/proc/" + std::to_string(child);
  for (const char* map : {"/uid_map", "/gid_map"})
    std::ofstream(process + map) << "0 " << first << " 65536\n";
  const int space = ::open((process + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(space, 0);
  const long tree = ::syscall(SYS_open_tree, AT_FDCWD, (dir_ + "/" + directory).c_str(),
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  ASSERT_GE(tree, 0);
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<decltype(attributes.userns_fd)>(space);
  ASSERT_EQ(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes), 0);
  sh("mkdir -p '" + at + "'");
  ASSERT_EQ(::syscall(SYS_move_mount, tree, "", AT_FDCWD, (dir_ + "/" + at).c_str(), MOVE_MOUNT_F_EMPTY_PATH),
            0);
  for (const int fd : {static_cast<int>(tree), space, ready[0], ready[1], done[0], done[1]}) ::close(fd);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

void Lab::mount_idmapped(const std::vector<std::string>& lowers, std::uint32_t first) {
  std::vector<std::string> clones;
  for (const auto& lower : lowers) {
    clones.push_back("ovl-idmapped1/" + lower);
    idmap(lower, clones.back(), first);
  }
  mount(clones);
  for (const auto& clone : clones) ASSERT_EQ(::umount2((dir_ + "/" + clone).c_str(), 0), 0);
  sh("rm -rf ovl-idmapped1");
}

void Lab::unmount() {
  if (!std::exchange(mounted_, false)) return;
  ::umount2((dir_ + "/merged").c_str(), MNT_DETACH);
  ::umount2((dir_ + "/image").c_str(), MNT_DETACH);
}

overlay::Options Lab::options() const {
  if (!arguments_.empty()) {
    auto told = overlay::parse_fuse_arguments(arguments_);
    EXPECT_TRUE(told);
    return std::move(told)->options;
  }
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" " + dir_ + "/merged ") == std::string::npos) continue;
    auto parsed = overlay::parse_options(std::string_view(line).substr(line.rfind(' ') + 1));
    EXPECT_TRUE(parsed) << line;
    if (parsed) return *std::move(parsed);
  }
  ADD_FAILURE() << "not mounted";
  return {};
}

overlay::Stack Lab::stack(TaskKit& kit) const {
  auto node = Root::open("/");
  auto stack = overlay::Stack::open(options(), *node, "c1", kit.task);
  EXPECT_TRUE(stack) << (stack ? "" : stack.error().what);
  return *std::move(stack);
}

Status Recorder::begin(const FileChange& change, std::span<const archive::DataRun> runs) {
  EXPECT_TRUE(open_.empty());
  open_ = change.path.raw;
  expected_ = 0;
  for (const auto& run : runs) expected_ += run.size_bytes;
  if (on_begin) on_begin(change);
  if (layer != nullptr) return layer->begin(change, runs);
  return Done{};
}

Status Recorder::data(std::uint64_t offset_bytes, std::span<const std::byte> block,
                      const std::shared_ptr<LateSha256>& hash) {
  data_bytes += block.size();
  EXPECT_LE(block.size(), expected_);
  expected_ -= block.size();
  if (keep && bytes[open_].size() < (4 << 20))
    bytes[open_].append(reinterpret_cast<const char*>(block.data()), block.size());
  if (layer != nullptr) return layer->data(offset_bytes, block, hash);
  return Done{};
}

Status Recorder::end() {
  EXPECT_EQ(expected_, 0U) << open_.substr(0, 200);
  open_.clear();
  if (layer != nullptr) return layer->end();
  return Done{};
}

Status Recorder::change(FileChange&& change) {
  EXPECT_TRUE(open_.empty());
  EXPECT_EQ(change.container, "c1");
  if (keep) changes.push_back(std::move(change));
  return Done{};
}

const FileChange* Recorder::find(const std::string& path) const {
  const auto at =
      std::find_if(changes.begin(), changes.end(), [&](const FileChange& c) { return c.path.raw == path; });
  return at == changes.end() ? nullptr : &*at;
}

std::string Recorder::kind(const std::string& path) const {
  const auto* change = find(path);
  return change == nullptr ? "-"
                           : std::string(enum_names(ChangeKind{})[static_cast<std::size_t>(change->kind)]);
}

Recorder take(const overlay::Stack& stack, TaskKit& kit, const std::vector<Bytes>& stubs, bool hold) {
  overlay::Held held;
  if (hold) {
    auto taken = overlay::Held::take(stack, {}, kit.task);
    EXPECT_TRUE(taken) << (taken ? "" : taken.error().what);
    if (taken) held = *std::move(taken);
  }
  Recorder seen;
  const auto walked = overlay::walk(stack, held, stubs, seen, kit.task);
  EXPECT_TRUE(walked) << (walked ? "" : walked.error().what);
  const auto by_component = [](const FileChange& a, const FileChange& b) {
    return split(a.path.view(), '/') < split(b.path.view(), '/');
  };
  if (seen.changes.size() < 2'000 && !seen.changes.empty()) {
    EXPECT_TRUE(std::is_sorted(seen.changes.begin() + 1, seen.changes.end(), by_component));
    EXPECT_EQ(seen.changes[0].path.raw, "/");
  }
  return seen;
}

}  // namespace ctriage::testing
