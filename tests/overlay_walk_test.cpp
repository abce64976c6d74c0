// What walk() says of a real overlay mount, against an oracle that is not ours: the kernel's merged view and
// the kernel's own composition of the lowers, compared path by path with plain system calls.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "tests/overlay_lab.h"

namespace ctriage::testing {
namespace {

namespace fs = std::filesystem;

// A directory of images with everything that later changes, in two lowers, and the changes made through the
// mount.
constexpr const char* kImage = R"(
mkdir -p low top; cd low
mkdir -p etc usr/bin usr/lib var/log gone/deep keep swap/d opq/sub opq2 hidden attr
for f in same size chmod chown touch trunc xattr copied renamed; do echo "content of $f" > etc/$f; done
head -c 300000 /dev/urandom > etc/big; cp etc/big etc/bigsame
echo a > gone/deep/a; echo b > gone/b; echo x > opq/sub/x; echo y > opq/y; echo old > opq2/old
echo f > swap/tofile_content; mkdir swap/todir_src; echo was > swap/filetodir; mkdir -p swap/dirtofile/in; echo q > swap/dirtofile/in/q
ln -s /etc/same etc/link; ln -s a etc/link2; ln -s z etc/link3; echo l > etc/linktofile
mkfifo etc/fifo; mknod etc/dev c 1 3; mknod etc/dev2 c 1 3
printf '\177ELFxxxx' > usr/bin/prog; chmod 755 usr/bin/prog; echo h1 > usr/lib/h1; ln usr/lib/h1 usr/lib/h2
echo secret > hidden/low; echo both > keep/both; truncate -s 64M etc/sparse; setfattr -n user.a -v 1 attr
echo log > var/log/a.log; echo k > keep/k; : > etc/empty
find . -exec touch -h -d '2024-01-02 03:04:05.678901234' {} +
cd ../top
mkdir -p hidden keep etc; echo two > keep/both; echo new > keep/top; setfattr -n trusted.overlay.opaque -v y hidden; echo t > hidden/top
mknod keep/k c 0 0
find . -exec touch -h -d '2024-02-03 04:05:06.789012345' {} +
)";

constexpr const char* kChanges = R"sh(
cd merged
echo new > added; echo '#!/bin/sh' > script; printf '\177ELFzzzz' > usr/bin/dropped; chmod 4755 usr/bin/dropped
printf 'XXXX' | dd of=etc/size bs=1 conv=notrunc status=none
chmod 600 etc/chmod; chown 1000:1001 etc/chown; touch etc/touch; truncate -s 3 etc/trunc; setfattr -n user.q -v w etc/xattr
chmod 700 etc/copied; chmod 644 etc/copied
printf Z | dd of=etc/big bs=1 seek=250000 conv=notrunc status=none; chmod 600 etc/bigsame
rm etc/same; rm -rf gone; rm -rf opq; mkdir opq; echo z > opq/z; rm opq2/old; rmdir opq2; mkdir opq2
rm swap/filetodir; mkdir swap/filetodir; echo in > swap/filetodir/in; rm -rf swap/dirtofile; echo f > swap/dirtofile
ln -sfn /etc/other etc/link; rm etc/link2; echo s > etc/link2; chown -h 5:6 etc/link3; rm etc/linktofile; ln -s t etc/linktofile
rm etc/fifo; mkfifo etc/fifo2; chmod 666 etc/dev; rm etc/dev2; mknod etc/dev2 c 1 5; mknod blk b 7 1
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('sock')"
echo more >> usr/lib/h1; echo hard > hard1; ln hard1 hard2; ln hard1 usr/hard3; ln -s x sl; ln sl sl2; mkfifo p1; ln p1 p2
cp usr/bin/prog usr/bin/cap; setcap cap_net_raw+ep usr/bin/cap; setfattr -n user.b -v 2 attr
truncate -s 9223372036854775807 huge; printf data | dd of=huge bs=1 seek=4096 conv=notrunc status=none
printf tail | dd of=holes bs=1M seek=100 status=none; chmod 600 etc/sparse
rm hidden/top; echo n > hidden/n; echo mine > keep/both; rm keep/top; echo k2 > keep/k
: > empty; mkdir emptydir; echo change > etc/empty
python3 - <<'P'
import os
for name in [b'new\nline', b'esc\x1b[31m', b'bad\xff\xfe', b'.wh.real', b'sp ace', b'n'*255, b'\xe2\x80\xae', b'-dash', b'back\\slash', b'comma,colon:']:
    with open(name, 'wb') as f: f.write(name)
os.setxattr('added', 'user.large', bytes(range(256))*255)
for i in range(200): os.setxattr('script', 'user.many%d' % i, b'v'*i)
P
)sh";

struct Seen {  // by plain system calls, as the oracle sees a path
  struct stat st {};
  std::string target;
  std::map<std::string, std::string> xattrs;
};

std::string read_small(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::map<std::string, Seen> list(const std::string& root) {
  std::map<std::string, Seen> found;
  std::vector<std::string> paths{""};
  for (const auto& entry : fs::recursive_directory_iterator(root))
    paths.push_back(entry.path().string().substr(root.size()));
  for (const auto& path : paths) {
    Seen seen;
    const std::string at = root + path;
    EXPECT_EQ(::lstat(at.c_str(), &seen.st), 0) << at;
    if (S_ISLNK(seen.st.st_mode)) seen.target = fs::read_symlink(at).string();
    std::string names(65536, '\0');
    const auto size = ::llistxattr(at.c_str(), names.data(), names.size());
    for (const auto name :
         split(std::string_view(names).substr(0, size > 0 ? static_cast<std::size_t>(size) : 0), '\0')) {
      if (name.empty()) continue;
      std::string value(65536, '\0');
      const auto length = ::lgetxattr(at.c_str(), std::string(name).c_str(), value.data(), value.size());
      if (length >= 0) seen.xattrs[std::string(name)] = value.substr(0, static_cast<std::size_t>(length));
    }
    found[path.empty() ? "/" : path] = std::move(seen);
  }
  return found;
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// What the two views say of a path that is in both.
std::string expected_kind(const std::string& image, const std::string& merged, const Seen& before,
                          const Seen& after) {
  if ((before.st.st_mode & S_IFMT) != (after.st.st_mode & S_IFMT)) return "type";
  if (S_ISREG(after.st.st_mode)) {
    if (before.st.st_size != after.st.st_size) return "content";
    if (after.st.st_size < (1 << 26) && read_small(image) != read_small(merged)) return "content";
  }
  if (before.target != after.target) return "content";
  if ((S_ISCHR(after.st.st_mode) || S_ISBLK(after.st.st_mode)) && before.st.st_rdev != after.st.st_rdev)
    return "content";
  const bool metadata = before.st.st_mode != after.st.st_mode || before.st.st_uid != after.st.st_uid ||
                        before.st.st_gid != after.st.st_gid || before.xattrs != after.xattrs ||
                        (!S_ISDIR(after.st.st_mode) && !same_time(before.st.st_mtim, after.st.st_mtim));
  return metadata ? "metadata" : "unchanged";
}

// Every path of both views has the answer that the kernel's views give.
void compare_with_kernel(const Lab& lab, const Recorder& seen, std::size_t at_least = 50) {
  const auto image = list(lab.dir() + "/image");
  const auto merged = list(lab.dir() + "/merged");
  std::map<std::string, std::string> kinds;
  for (const auto& change : seen.changes) {
    EXPECT_TRUE(kinds.emplace(change.path.raw, seen.kind(change.path.raw)).second)
        << change.path.raw << " twice";
  }
  std::size_t differing = 0;
  for (const auto& [path, after] : merged) {
    SCOPED_TRACE(escape_terminal(path));
    const auto before = image.find(path);
    const auto kind = kinds.find(path);
    const std::string got = kind == kinds.end() ? "unchanged" : kind->second;
    if (before == image.end()) {
      const auto* change = seen.find(path);
      EXPECT_EQ(change != nullptr && change->renamed_from ? "added" : got, "added");
      ++differing;
      continue;
    }
    const auto want =
        expected_kind(lab.dir() + "/image" + path, lab.dir() + "/merged" + path, before->second, after);
    EXPECT_EQ(got == "opaque" ? want : got, want);
    differing += want != "unchanged" ? 1U : 0U;
  }
  for (const auto& [path, before] : image) {
    if (merged.contains(path)) continue;
    const bool explained = kinds.contains(path) && kinds[path] == "deleted";
    EXPECT_TRUE(explained) << path << " is gone and nothing says so";
    ++differing;
  }
  for (const auto& [path, kind] : kinds) {
    EXPECT_EQ(merged.contains(path), kind != "deleted") << path;
  }
  EXPECT_GT(differing, at_least);
}

class OverlayWalk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Lab::ready()) GTEST_SKIP() << "needs root and a mount namespace";
    lab_ = std::make_unique<Lab>();
  }
  TaskKit kit_;
  std::unique_ptr<Lab> lab_;
};

TEST_F(OverlayWalk, ZooAsTheKernelShowsIt) {
  lab_->sh(kImage);
  lab_->mount({"top", "low"});
  lab_->sh(kChanges);
  for (const bool hold : {true, false}) {
    SCOPED_TRACE(hold ? "held" : "not held");
    TaskKit kit;
    const auto stack = lab_->stack(kit);
    const auto seen = take(stack, kit, {}, hold);
    compare_with_kernel(*lab_, seen);
    EXPECT_EQ(kit.gaps.count(Impact::lost) + kit.gaps.count(Impact::degraded), 0U) << kit.text();

    const struct {
      const char* path;
      const char* kind;
      std::vector<std::string> differs;
      bool program;
    } cases[] = {
        {"/added", "added", {}, false},
        {"/script", "added", {}, true},
        {"/usr/bin/dropped", "added", {}, true},
        {"/etc/size", "content", {"content", "mtime"}, false},
        {"/etc/big", "content", {"content", "mtime"}, false},
        {"/etc/bigsame", "metadata", {"mode"}, false},
        {"/etc/chmod", "metadata", {"mode"}, false},
        {"/etc/chown", "metadata", {"owner"}, false},
        {"/etc/touch", "metadata", {"mtime"}, false},
        {"/etc/xattr", "metadata", {"xattrs"}, false},
        {"/etc/copied", "unchanged", {}, false},
        {"/etc/trunc", "content", {"content", "mtime", "size"}, false},
        {"/etc/same", "deleted", {}, false},
        {"/gone", "deleted", {}, false},
        {"/opq", "opaque", {"mtime"}, false},
        {"/opq2", "opaque", {"mtime"}, false},
        {"/opq/z", "added", {}, false},
        {"/swap/filetodir", "type", {"mode", "mtime", "type"}, false},
        {"/swap/filetodir/in", "added", {}, false},
        {"/swap/dirtofile", "type", {"mode", "mtime", "type"}, false},
        {"/etc/link", "content", {"mtime", "target"}, false},
        {"/etc/link3", "metadata", {"owner"}, false},
        {"/etc/dev2", "content", {"content", "mtime"}, false},
        {"/etc/dev", "metadata", {"mode"}, false},
        {"/usr/lib/h1", "content", {"content", "mtime", "size"}, false},
        {"/usr/bin/cap", "added", {}, true},
        {"/attr", "metadata", {"xattrs"}, false},
        {"/etc/sparse", "metadata", {"mode"}, false},
        {"/keep/both", "content", {"content", "mtime", "size"}, false},
        {"/keep/top", "deleted", {}, false},
        {"/keep/k", "added", {}, false},
        {"/hidden/top", "deleted", {}, false},
        {"/hidden/n", "added", {}, false},
        {"/etc", "unchanged", {"mtime"}, false},
        {"/.wh.real", "added", {}, false},
    };
    for (const auto& c : cases) {
      SCOPED_TRACE(c.path);
      EXPECT_EQ(seen.kind(c.path), c.kind);
      const auto* change = seen.find(c.path);
      if (change == nullptr) continue;
      EXPECT_EQ(change->differs, c.differs);
      EXPECT_EQ(change->program, c.program);
      EXPECT_EQ(change->after.has_value(), std::string(c.kind) != "deleted");
    }
    EXPECT_EQ(seen.find("/etc/chmod")->layer, 1U);
    EXPECT_EQ(seen.find("/keep/both")->layer, 2U);
    EXPECT_EQ(seen.find("/keep/top")->layer, 2U);
    EXPECT_EQ(seen.find("/added")->layer, std::nullopt);
    EXPECT_EQ(seen.find("/etc/same")->before->size_bytes, 16U);
    EXPECT_TRUE(seen.find("/etc/same")->before->sha256);
    EXPECT_EQ(seen.find("/usr/bin/dropped")->after->mode, 04755U);
    EXPECT_EQ(seen.find("/etc/link")->after->link_target->raw, "/etc/other");
    EXPECT_EQ(seen.find("/etc/link")->before->link_target->raw, "/etc/same");
    EXPECT_EQ(seen.find("/blk")->after->rdev.value, std::uint64_t{7} << 32 | 1);
    EXPECT_EQ(seen.find("/sock")->after->type, FileType::socket);
    EXPECT_EQ(seen.find("/p1")->after->type, FileType::fifo);
    const auto& xattrs = seen.find("/added")->after->xattrs;
    const auto large =
        std::find_if(xattrs.begin(), xattrs.end(), [](const auto& x) { return x.name.raw == "user.large"; });
    ASSERT_NE(large, xattrs.end());
    EXPECT_EQ(large->value.raw.size(), 255U * 256);
    EXPECT_EQ(seen.find("/script")->after->xattrs.size(), 200U);
    EXPECT_EQ(seen.find(std::string("/") + "new\nline")->after->size_bytes, 8U);
    EXPECT_EQ(seen.bytes.at("/bad\xff\xfe"), "bad\xff\xfe");

    // Hard links: once, whatever they are.
    EXPECT_EQ(seen.find("/hard1")->hard_link_of, std::nullopt);
    for (const auto& [second, first] : std::map<std::string, std::string>{
             {"/hard2", "/hard1"}, {"/usr/hard3", "/hard1"}, {"/sl2", "/sl"}, {"/p2", "/p1"}}) {
      ASSERT_TRUE(seen.find(second)->hard_link_of) << second;
      EXPECT_EQ(seen.find(second)->hard_link_of->raw, first);
      EXPECT_FALSE(seen.bytes.contains(second));
    }
    EXPECT_EQ(seen.find("/hard2")->after->sha256, seen.find("/hard1")->after->sha256);
    EXPECT_FALSE(seen.find("/etc/same")->hard_link_of) << "overlay links its whiteouts";

    // Sparse: 2^63-1 bytes are not read, 100 MiB of hole are hashed.
    const auto* huge = seen.find("/huge");
    EXPECT_EQ(huge->after->size_bytes, static_cast<std::uint64_t>(INT64_MAX));
    EXPECT_FALSE(huge->after->sha256);
    EXPECT_TRUE(huge->partial && huge->partial->starts_with("sparse: "));
    EXPECT_TRUE(kit.has(Impact::note, "overlay.file_hash", Errc::limit));
    EXPECT_EQ(seen.bytes.at("/huge").size() % 4096, 0U);
    EXPECT_TRUE(seen.bytes.at("/huge").starts_with(std::string("data")));
    EXPECT_LT(seen.data_bytes, 4U << 20);
  }
}

// The hashes are those of sha256sum over the merged files, and the bytes those of the files.
TEST_F(OverlayWalk, BytesAndHashes) {
  lab_->sh(kImage);
  lab_->mount({"top", "low"});
  lab_->sh(kChanges);
  lab_->sh(
      "cd merged; rm huge; find . -type f -print0 | xargs -0 sha256sum -z | tr '\\n\\0' '\\1\\n' > ../sums");
  const auto stack = lab_->stack(kit_);
  const auto seen = take(stack, kit_);
  std::ifstream sums(lab_->dir() + "/sums");
  std::size_t compared = 0;
  for (std::string line; std::getline(sums, line);) {
    std::string path = line.substr(68);
    std::replace(path.begin(), path.end(), '\1', '\n');
    const auto* change = seen.find("/" + path);
    if (change == nullptr) continue;
    EXPECT_EQ(change->after->sha256, line.substr(0, 64)) << escape_terminal(path);
    ++compared;
    if (seen.bytes.contains("/" + path) && path != "holes" && path != "etc/sparse") {
      EXPECT_EQ(seen.bytes.at("/" + path), read_small(lab_->dir() + "/merged/" + path))
          << escape_terminal(path);
    }
  }
  EXPECT_GT(compared, 30U);
}

TEST_F(OverlayWalk, FindLower) {
  lab_->sh(kImage);
  lab_->sh("ln -s usr low/l; cd top; mkdir -p usr; mknod usr/lib c 0 0");
  lab_->mount({"top", "low"});
  const auto stack = lab_->stack(kit_);
  const struct {
    const char* path;
    std::optional<Errc> error;
    std::uint32_t layer;
  } cases[] = {{"/etc/same", {}, 1},
               {"/keep/both", {}, 2},
               {"/", {}, 2},
               {"/usr/bin/prog", {}, 1},
               {"usr//./bin/prog", {}, 1},
               {"/keep/k", Errc::not_found, 0},
               {"/nope", Errc::not_found, 0},
               {"/hidden/low", Errc::not_found, 0},
               {"/hidden/top", {}, 2},
               {"/etc/same/x", Errc::not_found, 0},
               {"/usr/lib/h1", Errc::not_found, 0},
               {"/l/bin/prog", Errc::outside, 0},
               {"/l", {}, 1},
               {"/etc/../etc/same", Errc::outside, 0},
               {"", {}, 2}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    auto found = stack.find_lower(c.path);
    ASSERT_EQ(found.has_value(), !c.error) << (found ? "" : found.error().what);
    if (c.error) {
      EXPECT_EQ(found.error().code, *c.error) << found.error().what;
    } else {
      EXPECT_EQ(found->layer, c.layer);
      struct stat st {};
      ASSERT_EQ(::lstat((lab_->dir() + "/image/" + c.path).c_str(), &st), 0);
      EXPECT_EQ(found->info.mode, st.st_mode);
    }
  }
  auto found = stack.find_lower("/keep/both");
  auto fd = stack.open_lower(*found, "/keep/both");
  ASSERT_TRUE(fd) << fd.error().what;
  char text[8] = {};
  EXPECT_EQ(::read(fd->get(), text, 8), 4);
  EXPECT_STREQ(text, "two\n");
  EXPECT_FALSE(stack.open_lower(*stack.find_lower("/etc"), "/etc"));
  ASSERT_EQ(stack.layers().size(), 3U);
  EXPECT_EQ(stack.layers()[0].number, 1U);
  EXPECT_EQ(stack.layers()[0].path.raw, lab_->dir() + "/low");
  EXPECT_TRUE(stack.layers()[2].upper);
}

// Directories and files that were moved, metadata without bytes, whiteouts by xattr, in the UpperDir and in
// the lowers: as the kernel shows them.
TEST_F(OverlayWalk, RedirectMetacopyAndXattrWhiteouts) {
  lab_->sh(R"(
mkdir -p low/d/in/deep low/meta low/under/x low/w low/ren low/abs/a low/opq/sub low/old low/gone/in bot/d/in bot/ren bot/under
echo a > low/d/in/a; echo deep > low/d/in/deep/f; echo keep > low/d/k; echo b > low/meta/b; echo f > low/f; printf '\177ELFprog' > low/d/prog; chmod 755 low/d/prog
echo c > low/under/x/c; echo w > low/w/w; echo v > low/w/v; echo r > low/ren/r; echo aa > low/abs/a/f; echo x > low/opq/x; echo y > low/opq/y; echo s > low/opq/sub/s; echo o > low/old/o
echo z > low/gone/in/z; echo bottom > bot/d/in/bottom; echo br > bot/ren/br; echo u > bot/under/u; echo same > low/same
mkdir -p top/newname top/w top/sub; setfattr -n trusted.overlay.redirect -v ren top/newname; mknod top/ren c 0 0
setfattr -n trusted.overlay.opaque -v x top/w; : > top/w/v; setfattr -n trusted.overlay.whiteout -v y top/w/v
mkdir top/sub/far; setfattr -n trusted.overlay.redirect -v /abs/a top/sub/far; mknod top/abs c 0 0
find low top bot -exec touch -h -d '2024-01-02 03:04:05.678901234' {} +)");
  lab_->mount({"top", "low", "bot"}, ",redirect_dir=on,metacopy=on,index=off");
  lab_->sh(R"(cd merged
mv d moved; echo n > moved/in/n; echo more >> moved/in/a; rm moved/k; chmod 600 f; chmod 600 meta/b; echo plain > plain
mv newname again; chmod 700 again/r; mv sub/far near; mv same other; chmod 640 other
rm -rf opq; mkdir opq; echo y2 > opq/y; mkdir opq/sub; rm -rf gone; rm -rf old; echo file > old
mkdir into; mv under into/; echo t > into/under/t; touch -d '2024-01-02 03:04:05.678901234' w/w)");
  const auto stack = lab_->stack(kit_);
  for (const bool hold : {true, false}) {
    SCOPED_TRACE(hold ? "held" : "not held");
    TaskKit kit;
    const auto seen = take(stack, kit, {}, hold);
    compare_with_kernel(*lab_, seen, 25);
    EXPECT_EQ(kit.gaps.count(Impact::lost) + kit.gaps.count(Impact::degraded), 0U) << kit.text();
    const struct {
      const char* path;
      const char* kind;
      const char* renamed_from;
      const char* hidden_by;
    } cases[] = {
        {"/moved", "renamed", "/d", ""},
        {"/moved/in", "renamed", "/d/in", ""},
        {"/moved/in/a", "content", "/d/in/a", ""},
        {"/moved/in/bottom", "renamed", "/d/in/bottom", ""},
        {"/moved/in/deep/f", "renamed", "/d/in/deep/f", ""},
        {"/moved/in/n", "added", "", ""},
        {"/moved/k", "deleted", "", ""},
        {"/moved/prog", "renamed", "/d/prog", ""},
        {"/d", "deleted", "", ""},
        {"/d/in/deep/f", "deleted", "", "/d"},
        {"/f", "metadata", "", ""},
        {"/meta/b", "metadata", "", ""},
        {"/again", "renamed", "/newname", ""},
        {"/again/r", "renamed", "/newname/r", ""},
        {"/again/br", "renamed", "/newname/br", ""},
        {"/near/f", "renamed", "/sub/far/f", ""},
        {"/other", "renamed", "/same", ""},
        {"/opq", "opaque", "", ""},
        {"/opq/x", "deleted", "", "/opq"},
        {"/opq/y", "content", "", ""},
        {"/opq/sub/s", "deleted", "", "/opq"},
        {"/gone/in/z", "deleted", "", "/gone"},
        {"/old", "type", "", ""},
        {"/old/o", "deleted", "", "/old"},
        {"/into/under/u", "renamed", "/under/u", ""},
        {"/into/under/x/c", "renamed", "/under/x/c", ""},
        {"/into/under/t", "added", "", ""},
        {"/plain", "added", "", ""},
    };
    for (const auto& c : cases) {
      SCOPED_TRACE(c.path);
      EXPECT_EQ(seen.kind(c.path), c.kind);
      const auto* change = seen.find(c.path);
      if (change == nullptr) continue;
      EXPECT_EQ(change->renamed_from ? change->renamed_from->raw : "", c.renamed_from);
      EXPECT_EQ(change->hidden_by ? change->hidden_by->raw : "", c.hidden_by);
    }
    // Bytes and hashes of metacopies are those of the file that the container sees.
    for (const char* path : {"/f", "/meta/b", "/again/r", "/other"}) {
      SCOPED_TRACE(path);
      const auto text = read_small(lab_->dir() + "/merged" + path);
      EXPECT_EQ(seen.bytes.at(path), text);
      EXPECT_EQ(seen.find(path)->after->sha256, to_hex(sha256(std::as_bytes(std::span(text)))));
      EXPECT_FALSE(seen.find(path)->partial);
    }
  }
  EXPECT_EQ(stack.find_lower("/w/v").error().code, Errc::not_found);
  for (const char* path : {"/newname/r", "/newname/br", "/sub/far/f"}) {
    auto found = stack.find_lower(path);
    ASSERT_TRUE(found) << path << found.error().what;
    auto fd = stack.open_lower(*found, path);
    ASSERT_TRUE(fd) << path;
    char text[8] = {};
    EXPECT_GT(::read(fd->get(), text, 7), 0);
    EXPECT_EQ(text, read_small(lab_->dir() + "/image" + path));
  }
}

// A data-only layer is reached through an absolute redirect of a metacopy file, and listed nowhere.
TEST_F(OverlayWalk, DataOnlyLayer) {
  lab_->sh(R"(
mkdir -p low data/objects; echo payload > data/objects/1; truncate -s 8 low/file; chmod 644 low/file
setfattr -n trusted.overlay.metacopy low/file; setfattr -n trusted.overlay.redirect -v /objects/1 low/file
truncate -s 8 low/lost; setfattr -n trusted.overlay.metacopy low/lost; setfattr -n trusted.overlay.redirect -v /objects/2 low/lost
mkdir -p upper/fs; cp -a --preserve=all low/file low/lost upper/fs/; chmod 600 upper/fs/file upper/fs/lost
for f in file lost; do setfattr -n trusted.overlay.metacopy upper/fs/$f; setfattr -x trusted.overlay.redirect upper/fs/$f 2>/dev/null || true; done)");
  overlay::Options options;
  options.upper = lab_->dir() + "/upper/fs";
  options.lowers = {lab_->dir() + "/low"};
  options.data_only = {lab_->dir() + "/data"};
  auto node = Root::open("/");
  auto stack = overlay::Stack::open(options, *node, "c1", kit_.task);
  ASSERT_TRUE(stack) << stack.error().what;
  const auto seen = take(*stack, kit_);
  EXPECT_EQ(seen.kind("/file"), "metadata");
  EXPECT_EQ(seen.bytes.at("/file"), "payload\n");
  EXPECT_EQ(seen.kind("/lost"), "unknown");
  EXPECT_TRUE(seen.find("/lost")->partial);
  EXPECT_TRUE(kit_.has(Impact::lost, "overlay.file", Errc::not_found)) << kit_.text();
  EXPECT_EQ(seen.find("/objects"), nullptr);
}

// Values that no kernel writes are unknown and said, and so is what depends on them; the rest is answered.
TEST_F(OverlayWalk, MarksThatNobodyWrites) {
  lab_->sh(R"(
mkdir -p low/a low/b upper/fs/a upper/fs/b upper/fs/c; echo 1 > low/a/1; echo 2 > upper/fs/a/2; echo 3 > upper/fs/b/3; echo ok > upper/fs/ok
setfattr -n trusted.overlay.opaque -v z upper/fs/a; setfattr -n trusted.overlay.redirect -v ../../etc upper/fs/b
setfattr -n trusted.overlay.redirect -v /x//y upper/fs/c)");
  overlay::Options options;
  options.upper = lab_->dir() + "/upper/fs";
  options.lowers = {lab_->dir() + "/low"};
  auto node = Root::open("/");
  auto stack = overlay::Stack::open(options, *node, "c1", kit_.task);
  ASSERT_TRUE(stack) << stack.error().what;
  const auto seen = take(*stack, kit_);
  for (const char* path : {"/a", "/a/2", "/b", "/b/3", "/c"}) EXPECT_EQ(seen.kind(path), "unknown") << path;
  EXPECT_EQ(seen.kind("/ok"), "added");
  EXPECT_TRUE(kit_.has(Impact::degraded, "overlay.semantics", Errc::unsupported)) << kit_.text();
  EXPECT_TRUE(kit_.has(Impact::degraded, "overlay.semantics", Errc::malformed)) << kit_.text();
}

TEST_F(OverlayWalk, MissingLower) {
  lab_->sh(
      "mkdir -p a/d b/d c/d; echo 1 > a/above; echo 2 > c/below; echo 3 > a/d/x; echo 4 > c/d/y; mkdir a/o; "
      "setfattr -n trusted.overlay.opaque -v y a/o");
  lab_->mount({"a", "b", "c"});
  lab_->sh(
      "cd merged; chmod 600 above; chmod 600 below; echo n > new; echo n > d/new; chmod 600 d/x; rm d/y; "
      "echo n > o/new");
  auto options = lab_->options();
  options.lowers[1] = lab_->dir() + "/ovl-idmapped123/b";
  auto node = Root::open("/");
  auto stack = overlay::Stack::open(options, *node, "c1", kit_.task);
  ASSERT_TRUE(stack) << stack.error().what;
  EXPECT_TRUE(kit_.has(Impact::lost, "overlay.lower", Errc::not_found)) << kit_.text();
  const auto seen = take(*stack, kit_);
  const std::map<std::string, std::string> want{
      {"/above", "metadata"}, {"/below", "unknown"}, {"/new", "unknown"}, {"/d/new", "unknown"},
      {"/d/x", "metadata"},   {"/d/y", "deleted"},   {"/o/new", "added"}};
  for (const auto& [path, kind] : want) EXPECT_EQ(seen.kind(path), kind) << path;
  EXPECT_FALSE(stack->layers()[1].readable);
  EXPECT_TRUE(stack->layers()[2].readable);
  EXPECT_EQ(stack->find_lower("/above")->layer, 3U);
  EXPECT_EQ(stack->find_lower("/below").error().code, Errc::unsupported);
}

TEST_F(OverlayWalk, Userxattr) {
  lab_->sh(
      "mkdir -p low/d low/gone; echo a > low/a; echo b > low/b; echo c > low/d/c; echo g > low/gone/g; "
      "find low -exec touch -d '2024-01-02 03:04:05.6789' {} +");
  lab_->mount({"low"}, ",userxattr");
  lab_->sh("cd merged; echo n > n; chmod 600 a; rm b; rm -rf d; mkdir d; echo e > d/e; rm -rf gone");
  const auto stack = lab_->stack(kit_);
  const auto seen = take(stack, kit_);
  compare_with_kernel(*lab_, seen, 5);
  EXPECT_EQ(seen.kind("/d"), "opaque");
  EXPECT_EQ(seen.kind("/d/c"), "deleted");
  EXPECT_EQ(kit_.gaps.count(Impact::lost) + kit_.gaps.count(Impact::degraded), 0U) << kit_.text();
}

// Against what fuse-overlayfs itself shows, in all its ways of saying that a name is gone.
TEST_F(OverlayWalk, FuseOverlayfs) {
  if (!Lab::has_fuse()) GTEST_SKIP() << "needs fuse-overlayfs and /dev/fuse";
  lab_->sh(R"sh(
mkdir -p low/d/sub low/op/in low/keep low/ren low/files low/filesdir/in low/both top/d top/op2 low/op2 low/aufs low/swap/in
for f in d/f d/sub/g op/x op/in/z keep/y keep/same ren/z files/a files/b files/c filesdir/in/q both/x aufs/a aufs/b top1 op2/old swap/in/s; do
  echo "content of $f" > low/$f; done
echo second > top/d/f2; : > top/.wh.top1; mkdir top/files top/aufs top/op2/new; : > top/files/.wh.a; : > top/.wh.filesdir
: > top/op2/.wh..wh..opq; echo 1 > top/op2/new/n; setfattr -n user.fuseoverlayfs.opaque -v y top/aufs; echo c > top/aufs/c
chown 5:6 low/keep/y; ln low/d/f low/d/f-link; ln -s d low/link
find low top -exec touch -h -d '2024-01-02 03:04:05.678901234' {} +
)sh");
  lab_->mount_fuse({"top", "low"});
  lab_->sh(R"sh(
cd merged
echo new > added; rm d/f2; rm -r d/sub; rm -r op; mkdir op; echo n > op/new; echo zz > d/f; chmod 600 keep/y
mv ren ren2; mkdir newdir; echo again > files/a; rm files/b; touch keep/same; ln added added2; rm -r swap; echo f > swap
mkfifo fifo; ln -sfn keep link; rm both/x; rmdir both
)sh");
  // As fuse-overlayfs leaves them where it may not make devices.
  lab_->sh("cd upper/fs; rm files/b; : > files/.wh.b; rm both; : > .wh.both; : > keep/.wh.nothing");
  lab_->unmount();
  lab_->mount_fuse({"top", "low"});
  for (const bool hold : {true, false}) {
    SCOPED_TRACE(hold);
    TaskKit kit;
    const auto stack = lab_->stack(kit);
    const auto seen = take(stack, kit, {}, hold);
    compare_with_kernel(*lab_, seen, 20);
    const std::map<std::string, std::string> want{
        {"/op", "opaque"},      {"/op/x", "deleted"}, {"/op/in/z", "deleted"}, {"/d/sub/g", "deleted"},
        {"/d/f2", "deleted"},   {"/both", "deleted"}, {"/both/x", "deleted"},  {"/files/b", "deleted"},
        {"/files/a", "added"},  {"/swap", "type"},    {"/added", "added"},     {"/swap/in/s", "deleted"},
        {"/keep/nothing", "-"}, {"/aufs/a", "-"},     {"/op2/old", "-"},       {"/top1", "-"},
        {"/ren/z", "deleted"},  {"/ren2/z", "added"}, {"/keep/y", "metadata"}, {"/filesdir", "-"}};
    for (const auto& [path, kind] : want) EXPECT_EQ(seen.kind(path), kind) << path;
    EXPECT_EQ(seen.find("/files/b")->layer, 1U);
    for (const auto& change : seen.changes)
      EXPECT_EQ(change.path.raw.find("/.wh."), std::string::npos) << change.path.raw;
    EXPECT_EQ(kit.gaps.count(Impact::lost) + kit.gaps.count(Impact::degraded), 0U) << kit.text();
  }
}

TEST_F(OverlayWalk, FuseOverlayfsKeepsOwnersInXattrs) {
  if (!Lab::has_fuse()) GTEST_SKIP() << "needs fuse-overlayfs and /dev/fuse";
  lab_->sh("mkdir -p low/d; echo a > low/d/a; echo b > low/d/b; find low -exec touch -d '2024-01-02' {} +");
  lab_->mount_fuse({"low"}, ",xattr_permissions=2");
  lab_->sh("cd merged; chmod 711 d/a; chown 7:8 d/a; echo n > n; chmod 600 n; mkdir e; chmod 700 e");
  TaskKit kit;
  const auto stack = lab_->stack(kit);
  const auto seen = take(stack, kit);
  compare_with_kernel(*lab_, seen, 2);
  EXPECT_EQ(seen.find("/d/a")->after->uid, 7U);
  EXPECT_EQ(seen.find("/d/a")->after->gid, 8U);
  EXPECT_EQ(seen.find("/d/a")->after->mode, 0711U);
  EXPECT_EQ(seen.find("/n")->after->mode, 0600U);
  EXPECT_EQ(seen.find("/e")->after->mode, 0700U);
}

// containerd 2 with a pod's user namespace: the layers' clones are gone, the UpperDir has the node's ids.
TEST_F(OverlayWalk, IdmappedLowers) {
  lab_->sh(
      "mkdir -p low/etc low/usr top/opt; echo p > low/etc/passwd; echo s > low/etc/shadow; chown 1:42 "
      "low/etc/shadow; chown 70000:70000 low/usr; echo u > low/usr/u; echo o > top/opt/o; find low top -exec "
      "touch "
      "-d '2024-01-02' {} +; chown 100000:100000 upper/fs");
  lab_->mount_idmapped({"top", "low"}, 100'000);
  lab_->sh("cd merged; chmod 600 etc/passwd; echo more >> etc/shadow; chown 100005 opt/o; echo n > new");
  auto options = lab_->options();
  TaskKit gone;
  EXPECT_FALSE(overlay::Stack::open(options, *Root::open("/"), "c1", gone.task)->complete());
  options.lowers = {lab_->dir() + "/top", lab_->dir() + "/low"};  // as the engine's records have them
  auto stack = overlay::Stack::open(options, *Root::open("/"), "c1", kit_.task);
  ASSERT_TRUE(stack);
  ASSERT_TRUE(stack->complete());
  const auto map = overlay::parse_id_map("         0     100000      65536\n").value();
  const auto merged = Root::open(lab_->dir() + "/merged");
  EXPECT_EQ(stack->shows_mapped_owners(*merged, map, map, kit_.task), true);
  // Without it everything that was copied up would look as if it had another owner.
  EXPECT_EQ(take(*stack, kit_).find("/etc/passwd")->before->uid, 0U);
  stack->map_lower_owners(map, map);
  const auto seen = take(*stack, kit_);
  compare_with_kernel(*lab_, seen, 3);
  EXPECT_EQ(seen.find("/etc/passwd")->before->uid, 100'000U);
  EXPECT_EQ(seen.find("/etc/passwd")->differs, std::vector<std::string>{"mode"});
  EXPECT_EQ(seen.find("/etc/shadow")->before->gid, 100'042U);
  EXPECT_EQ(seen.find("/opt/o")->differs, std::vector<std::string>{"owner"});
}

// A user namespace without such mounts: Podman's layers of its own, a copy with other owners.
TEST_F(OverlayWalk, OwnersThatAreOnDisk) {
  lab_->sh("mkdir -p low/usr; echo u > low/usr/u; chown -R 100000:100000 low upper/fs");
  lab_->mount({"low"});
  const auto stack = lab_->stack(kit_);
  const auto map = overlay::parse_id_map("0 100000 65536").value();
  const auto merged = Root::open(lab_->dir() + "/merged");
  EXPECT_EQ(stack.shows_mapped_owners(*merged, map, map, kit_.task), false);
  lab_->sh("mkdir none; rm -r merged/usr");
  EXPECT_EQ(stack.shows_mapped_owners(*merged, map, map, kit_.task), std::nullopt);
}

TEST_F(OverlayWalk, RelativeLowers) {
  lab_->sh(
      "mkdir -p s/1/fs s/2/fs s/9/fs s/9/work s/7 s/l; ln -s ../1/fs s/l/A; echo a > s/1/fs/a; echo b > "
      "s/2/fs/b; echo u > s/9/fs/u");
  auto node = Root::open(lab_->dir());
  const struct {
    const char* name;
    std::string upper;
    std::vector<std::string> lowers;
    bool opens;
    std::vector<bool> readable;  // lowest first
    std::string base{};
  } cases[] = {
      {"containerd's short form", "/s/9/fs", {"2/fs", "1/fs"}, true, {true, true}},
      {"descriptors of a dead process", "/s/9/fs", {"7", "1/fs"}, true, {true, false}},
      {"one is gone", "/s/9/fs", {"2/fs", "3/fs"}, true, {false, true}},
      {"climbs out", "/s/9/fs", {"../../../../etc", "1/fs"}, true, {true, false}},
      {"relative upper", "9/fs", {"l/A"}, false, {}},
      {"Docker's short form", "9/fs", {"2/fs", "l/A"}, true, {true, true}, "/s"},
      {"no upper", "", {"/s/1/fs"}, false, {}},
      {"upper is gone", "/s/8/fs", {"/s/1/fs"}, false, {}},
      {"upper is a file", "/s/9/fs/u", {"/s/1/fs"}, false, {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    overlay::Options options;
    options.upper = c.upper;
    options.lowers = c.lowers;
    options.base = c.base;
    TaskKit kit;
    auto stack = overlay::Stack::open(options, *node, "c1", kit.task);
    ASSERT_EQ(stack.has_value(), c.opens);
    if (!stack) continue;
    for (std::size_t i = 0; i < c.readable.size(); ++i)
      EXPECT_EQ(stack->layers()[i].readable, c.readable[i]) << i;
  }
}

TEST_F(OverlayWalk, RuntimeStubs) {
  lab_->sh("mkdir -p low/etc; echo image > low/etc/hosts");
  lab_->mount({"low"});
  lab_->sh(
      R"(cd merged; mkdir -p dev proc sys var/run/secrets full deep/a; : > etc/resolv.conf; : > etc/hostname
mknod dev/console c 5 1; echo evil > full/x; : > etc/other; echo text > etc/mtab; : > etc/hosts; : > deep/a/file; mkdir dev/pts)");
  const auto stack = lab_->stack(kit_);
  std::vector<Bytes> stubs;
  for (const char* path :
       {"/dev", "/dev/console", "/dev/pts", "/proc", "/sys", "/etc/resolv.conf", "/etc/hostname",
        "/etc/hosts", "/etc/mtab", "/full", "/var/run/secrets", "/deep"}) {
    stubs.emplace_back(std::string(path));
  }
  for (const bool hold : {true, false}) {
    const auto seen = take(stack, kit_, stubs, hold);
    for (const char* path : {"/dev", "/dev/console", "/dev/pts", "/proc", "/sys", "/etc/resolv.conf",
                             "/etc/hostname", "/var/run/secrets"}) {
      EXPECT_EQ(seen.kind(path), "runtime_stub") << path;
      EXPECT_EQ(seen.find(path)->explained, "runtime stub");
    }
    for (const char* path : {"/full", "/full/x", "/etc/other", "/etc/mtab", "/deep", "/deep/a"})
      EXPECT_EQ(seen.kind(path), "added") << path;
    EXPECT_EQ(seen.kind("/etc/hosts"), "content");
  }
}

// 5,000 levels of ten bytes: twelve times PATH_MAX. In the upper alone and in upper and lower.
TEST_F(OverlayWalk, DeeperThanPathMax) {
  lab_->sh(R"(mkdir -p low; cat > deep.py <<'P'
import os, sys
os.chdir(sys.argv[1])
for i in range(5000):
    name = 'd%09d' % i
    if not os.path.isdir(name): os.mkdir(name)
    os.chdir(name)
    if i % 1000 == 999 or i < 3: open('file%s' % sys.argv[2], 'w').write('x' * (i + 1))
P
python3 deep.py low low)");
  lab_->mount({"low"});
  lab_->sh("python3 deep.py merged up");
  for (const bool hold : {true, false}) {
    TaskKit kit;
    const auto stack = lab_->stack(kit);
    const auto seen = take(stack, kit, {}, hold);
    EXPECT_EQ(kit.gaps.total(), 0U) << kit.text();
    EXPECT_EQ(seen.changes.size(), 1U + 5000 + 8);
    std::size_t added = 0;
    std::size_t unchanged = 0;
    for (const auto& c : seen.changes) {
      added += c.kind == ChangeKind::added ? 1U : 0U;
      unchanged += c.kind == ChangeKind::unchanged ? 1U : 0U;
    }
    EXPECT_EQ(added, 8U);
    EXPECT_EQ(unchanged, 5001U);
    EXPECT_GT(seen.changes[5000].path.raw.size(), 50'000U);
  }
  lab_->unmount();
  lab_->sh("rm -rf upper low");
}

// Every link, file and directory of all layers has the access time it had.
TEST_F(OverlayWalk, AccessTimesStay) {
  lab_->sh(kImage);
  lab_->mount({"top", "low"});
  lab_->sh(kChanges);
  lab_->sh("mount -o remount,strictatime .; sleep 0.05");
  const auto times = [&] {
    std::map<std::string, std::pair<time_t, long>> all;
    for (const char* layer : {"low", "top", "upper/fs"}) {
      for (const auto& entry : fs::recursive_directory_iterator(lab_->dir() + "/" + layer)) {
        struct stat st {};
        EXPECT_EQ(::lstat(entry.path().c_str(), &st), 0);
        // The listing here reads directories; those are in the next test.
        if (!S_ISDIR(st.st_mode)) all[entry.path().string()] = {st.st_atim.tv_sec, st.st_atim.tv_nsec};
      }
    }
    return all;
  };
  const auto before = times();
  EXPECT_GT(before.size(), 80U);
  const auto stack = lab_->stack(kit_);
  take(stack, kit_);
  EXPECT_EQ(times(), before);
  lab_->sh("cat low/etc/size > /dev/null");
  EXPECT_NE(times(), before) << "the measure cannot fail";
}

TEST_F(OverlayWalk, AccessTimesOfDirectoriesStay) {
  lab_->sh("mkdir -p low/d/e; echo a > low/d/e/f; ln -s f low/d/e/l");
  lab_->mount({"low"});
  lab_->sh(
      "cd merged; mkdir -p new/x; echo b > d/e/g; ln -s t new/x/l; chmod 600 d/e/f; cd ..; mount -o "
      "remount,strictatime .");
  const std::vector<std::string> paths{
      "low",          "low/d",          "low/d/e",          "low/d/e/f",  "low/d/e/l",    "upper/fs",
      "upper/fs/new", "upper/fs/new/x", "upper/fs/new/x/l", "upper/fs/d", "upper/fs/d/e", "upper/fs/d/e/g"};
  const auto times = [&] {
    std::vector<std::pair<time_t, long>> all;
    for (const auto& path : paths) {
      struct stat st {};
      EXPECT_EQ(::lstat((lab_->dir() + "/" + path).c_str(), &st), 0) << path;
      all.emplace_back(st.st_atim.tv_sec, st.st_atim.tv_nsec);
    }
    return all;
  };
  const auto before = times();
  ::usleep(20'000);
  const auto stack = lab_->stack(kit_);
  take(stack, kit_);
  EXPECT_EQ(times(), before);
  lab_->sh("ls -R upper/fs low > /dev/null; readlink low/d/e/l > /dev/null");
  EXPECT_NE(times(), before) << "the measure cannot fail";
}

}  // namespace
}  // namespace ctriage::testing
