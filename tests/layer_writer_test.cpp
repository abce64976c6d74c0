// The layer as GNU tar and bsdtar-independent eyes see it: extracted by GNU tar and compared with the
// UpperDir itself.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/overlay_lab.h"

namespace ctriage::testing {
namespace {

struct FileSink final : ByteSink {
  explicit FileSink(const std::string& path) : out(path, std::ios::binary) {}
  Status write(std::span<const std::byte> bytes) override {
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return Done{};
  }
  std::ofstream out;
};

struct FullSink final : ByteSink {
  explicit FullSink(std::size_t room) : left(room) {}
  Status write(std::span<const std::byte> bytes) override {
    if (bytes.size() > left) return Error{Errc::full, "no space", ENOSPC};
    left -= bytes.size();
    return Done{};
  }
  std::size_t left;
};

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class LayerWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Lab::ready()) GTEST_SKIP() << "needs root and a mount namespace";
    lab_ = std::make_unique<Lab>();
  }
  Recorder write() {
    const auto stack = lab_->stack(kit_);
    FileSink sink(lab_->dir() + "/layer.tar");
    auto writer = archive::LayerWriter::open(sink);
    EXPECT_TRUE(writer);
    Recorder seen;
    seen.layer = writer->get();
    EXPECT_TRUE(overlay::walk(stack, overlay::Held(), {}, seen, kit_.task));
    EXPECT_TRUE((*writer)->finish());
    return seen;
  }
  TaskKit kit_;
  std::unique_ptr<Lab> lab_;
};

TEST_F(LayerWriterTest, GnuTarExtractsTheUpperDir) {
  lab_->sh(
      "mkdir -p low/d low/opq low/old/deep; echo a > low/gone; echo b > low/opq/b; echo c > low/d/gone2; "
      "echo x > low/old/deep/x");
  lab_->mount({"low"});
  lab_->sh(R"sh(cd merged
rm gone d/gone2; rm -rf old; rm -rf opq; mkdir opq; echo in > opq/in; mkdir -p new/sub
echo file > new/file; chmod 4755 new/file; chown 1000:2000 new/file; ln new/file new/hard; ln -s ../target new/link; chown -h 7:8 new/link
mkfifo new/fifo; mknod new/chr c 1 3; mknod new/blk b 7 300; cp /bin/true new/true; setcap cap_net_raw+ep new/true
python3 - <<'P'
import os, socket
socket.socket(socket.AF_UNIX).bind('new/sock')
for name in [b'new\nline', b'bad\xff\xfe', b'n'*255, b'.wh.real', b'\xc3\xa9', b'a=b', b' x', b'-d', b'"q"']:
    with open(b'new/' + name, 'wb') as f: f.write(name * 50)
os.setxattr('new/file', 'user.bin', bytes(range(256))); os.setxattr('new/file', 'user.a=b%c', b'eq'); os.setxattr('new/file', 'user.p%c', b'pc'); os.setxattr('new/file', 'user.empty', b'')
os.setxattr('new/sub', 'user.big', b'z' * 60000)
os.utime('new/file', ns=(1_000_000_000_123_456_789, 1_600_000_000_987_654_321))
os.utime('new/true', ns=(-5_250_000_000, -4_750_000_001))
os.utime('new/link', ns=(1, 2_000_000_000_000_000_003), follow_symlinks=False)
d = 'new/sub'
for i in range(40): d += '/' + 'long' * 20; os.mkdir(d)
with open(d + '/deep', 'w') as f: f.write('deep')
P
head -c 5000000 /dev/urandom > new/random; truncate -s 3G new/hole; truncate -s 100M new/mixed; for i in 0 5000 12345678 99999999; do printf "at$i" | dd of=new/mixed bs=1 seek=$i conv=notrunc status=none; done
truncate -s 9223372036854775807 new/huge; printf far | dd of=new/huge bs=1 seek=1000000000000000 conv=notrunc status=none; : > new/empty)sh");
  const auto seen = write();
  EXPECT_EQ(kit_.gaps.count(Impact::lost), 0U) << kit_.text();
  lab_->sh(
      "mkdir out; tar --xattrs --xattrs-include='*' -C out -xf layer.tar 2> warnings; grep -v -e hdrcharset "
      "-e 'implausibly old' -e 'in the future' warnings > others || true; "
      "cat others >&2; test ! -s others");
  // Compared with what lies in the UpperDir: names, types, modes, owners, sizes, times, links, devices,
  // allocation.
  lab_->sh(R"sh(python3 - <<'P'
import os, stat, hashlib
def scan(top):
    found = {}
    for dirpath, dirs, files in os.walk(os.fsencode(top)):
        for name in dirs + files:
            p = os.path.join(dirpath, name); found[p[len(top) + 1:]] = p
    return found
up, out = scan('upper/fs'), scan('out')
for rel in list(up):
    st = os.lstat(up[rel])
    if stat.S_ISSOCK(st.st_mode): del up[rel]
    elif stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
        wh = os.path.join(os.path.dirname(rel), b'.wh.' + os.path.basename(rel))
        assert wh in out, wh
        s = os.lstat(out.pop(wh)); assert stat.S_ISREG(s.st_mode) and s.st_size == 0
        del up[rel]
assert b'opq/.wh..wh..opq' in out; del out[b'opq/.wh..wh..opq']
assert set(up) == set(out), set(up) ^ set(out)
for rel in up:
    a, b = os.lstat(up[rel]), os.lstat(out[rel])
    for field in ('st_mode', 'st_uid', 'st_gid', 'st_rdev', 'st_nlink') + (() if stat.S_ISDIR(a.st_mode) else ('st_size',)):
        assert getattr(a, field) == getattr(b, field), (rel, field)
    assert a.st_mtime_ns == b.st_mtime_ns, (rel, a.st_mtime_ns, b.st_mtime_ns)
    if stat.S_ISLNK(a.st_mode): assert os.readlink(up[rel]) == os.readlink(out[rel])
    xa = {n: os.getxattr(up[rel], n, follow_symlinks=False) for n in os.listxattr(up[rel], follow_symlinks=False)}
    xb = {n: os.getxattr(out[rel], n, follow_symlinks=False) for n in os.listxattr(out[rel], follow_symlinks=False)}
    # GNU tar before 1.35 does not decode what it would otherwise cut at the '='.
    xb = {n.replace('%3D', '=').replace('%25', '%'): v for n, v in xb.items()}
    assert xa == xb, (rel, xa.keys() ^ xb.keys())
    if stat.S_ISREG(a.st_mode):
        assert b.st_blocks <= a.st_blocks + 16, (rel, a.st_blocks, b.st_blocks)
        f, g = open(up[rel], 'rb'), open(out[rel], 'rb')
        if a.st_size < 1 << 28: assert f.read() == g.read(), rel
        elif rel == b'new/huge':
            for h in f, g: h.seek(10**15); assert h.read(3) == b'far'
P)sh");
  EXPECT_EQ(seen.kind("/opq"), "opaque");
}

// The order of entries is that of the walk, the paths have no leading "/", and nothing is padded beyond tar's
// own end.
TEST_F(LayerWriterTest, OrderAndEnd) {
  lab_->sh("mkdir -p low/o; echo x > low/o/x; echo g > low/g");
  lab_->mount({"low"});
  lab_->sh("cd merged; rm g; rm -rf o; mkdir o; echo y > o/y; mkdir -p 'a/b' 'a!'; echo z > a/b/z");
  write();
  lab_->sh("tar tf layer.tar > names");
  EXPECT_EQ(text_of(lab_->dir() + "/names"), "a/\na/b/\na/b/z\na!/\n.wh.g\no/\no/.wh..wh..opq\no/y\n");
  const std::string tar = text_of(lab_->dir() + "/layer.tar");
  EXPECT_EQ(tar.size() % 512, 0U);
  EXPECT_EQ(tar.find_last_not_of('\0') / 512 + 3, tar.size() / 512) << "two blocks of zeros, no more";
}

FileChange file(const std::string& path, std::uint64_t size) {
  FileChange change;
  change.path = Bytes(path);
  change.kind = ChangeKind::added;
  change.after.emplace();
  change.after->type = FileType::regular;
  change.after->size_bytes = size;
  return change;
}

TEST_F(LayerWriterTest, DataThatDoesNotFitIsRefused) {
  const struct {
    const char* name;
    std::uint64_t size;
    std::vector<std::pair<std::uint64_t, std::size_t>> data;
    bool ok;
  } cases[] = {{"exact", 4, {{0, 4}}, true},
               {"in parts", 4, {{0, 1}, {1, 3}}, true},
               {"nothing in nothing", 0, {}, true},
               {"over the end", 4, {{0, 5}}, false},
               {"beyond the end", 4, {{5, 1}}, false},
               {"offset that wraps", 4, {{UINT64_MAX, 2}}, false},
               {"backwards", 4, {{2, 2}, {0, 2}}, false},
               {"size over 2^63", std::uint64_t{1} << 63, {}, false}};
  const std::string bytes(16, 'x');
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    FileSink sink(lab_->dir() + "/x.tar");
    auto writer = archive::LayerWriter::open(sink);
    ASSERT_TRUE(writer);
    const archive::DataRun run{0, c.size};
    Status status = (*writer)->begin(file("/f", c.size), {&run, c.size > 0 ? 1U : 0U});
    for (const auto& [offset, size] : c.data) {
      if (status) status = (*writer)->data(offset, std::as_bytes(std::span(bytes)).first(size), nullptr);
    }
    if (status) status = (*writer)->end();
    EXPECT_EQ(status.has_value(), c.ok);
  }
}

// Sparse or not, what is fed to the hash is the content and nothing around it.
TEST_F(LayerWriterTest, ContentIsHashedOnItsWay) {
  const std::string bytes(70'000, 'x');
  const auto content = std::as_bytes(std::span(bytes));
  for (const std::uint64_t hole : {std::uint64_t{0}, std::uint64_t{1} << 20}) {
    FileSink sink(lab_->dir() + "/x.tar");
    auto writer = archive::LayerWriter::open(sink);
    ASSERT_TRUE(writer);
    const archive::DataRun run{hole, bytes.size()};
    ASSERT_TRUE((*writer)->begin(file("/f", hole + bytes.size()), {&run, 1}));
    const auto hash = std::make_shared<LateSha256>();
    ASSERT_TRUE((*writer)->data(hole, content.first(1'000), hash));
    ASSERT_TRUE((*writer)->data(hole + 1'000, content.subspan(1'000), hash));
    EXPECT_EQ(hash->size_bytes(), bytes.size());
    EXPECT_EQ(hash->digest(), sha256(content));
    ASSERT_TRUE((*writer)->end());
    ASSERT_TRUE((*writer)->finish());
  }
}

// A full disk comes back as it was, wherever it strikes, and a writer that is dropped writes nothing more.
TEST_F(LayerWriterTest, SinkErrorsComeBackUnchanged) {
  const std::string bytes(3000, 'x');
  const archive::DataRun run{0, bytes.size()};
  std::size_t refused = 0;
  for (std::size_t room = 0; room < 8192; room += 256) {
    FullSink sink(room);
    auto writer = archive::LayerWriter::open(sink);
    ASSERT_TRUE(writer);
    Status status = (*writer)->begin(file("/f", bytes.size()), {&run, 1});
    if (status) status = (*writer)->data(0, std::as_bytes(std::span(bytes)), nullptr);
    if (status) status = (*writer)->end();
    if (status) status = (*writer)->finish();
    if (status) continue;
    ++refused;
    EXPECT_EQ(status.error().code, Errc::full) << room << " " << status.error().what;
  }
  EXPECT_GT(refused, 8U);
}

}  // namespace
}  // namespace ctriage::testing
