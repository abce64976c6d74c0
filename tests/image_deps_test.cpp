// What the words of package databases say, and where loaders look.
#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "lib/core/path.h"
#include "lib/image/deps.h"
#include "lib/image/loader.h"

namespace ctriage::image {
namespace {

using Names = std::vector<std::vector<std::string>>;

TEST(ImageDeps, WordsOfDatabases) {
  EXPECT_EQ(parse_depends("dpkg", "libc6 (>= 2.34), libgcc-s1:any, mta | exim4 (<< 5)"),
            (Names{{"libc6"}, {"libgcc-s1"}, {"mta", "exim4"}}));
  EXPECT_EQ(parse_depends("dpkg", ""), Names{});
  EXPECT_EQ(parse_depends("dpkg", ", ,|"), Names{});
  EXPECT_EQ(parse_depends("apk", "so:libc.musl-x86_64.so.1 busybox>=1.2 !other /bin/sh cmd:x"),
            (Names{{"busybox"}, {"/bin/sh"}}));
  EXPECT_EQ(parse_depends("rpm", "/bin/sh, libc.so.6()(64bit), rpmlib(PayloadIsZstd), bash"),
            (Names{{"/bin/sh"}, {"bash"}}));
}

class TestFiles final : public Files {  // texts by path
 public:
  std::map<std::string, std::string> texts;
  Result<OpenedFile> open(const std::string& path, Task&) override {
    const auto found = texts.find(path);
    if (found == texts.end()) return Error{Errc::not_found, path};
    OpenedFile opened;
    opened.entry.path = Bytes(path);
    opened.entry.file.type = FileType::regular;
    opened.bytes = std::make_unique<MemorySource>(std::string_view(found->second));
    return opened;
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task&) override {
    for (const auto& [path, text] : texts) {
      if (parent_of(path) != directory) continue;
      FileEntry entry;
      entry.path = Bytes(path);
      entry.file.type = FileType::regular;
      entry.file.mode = 0755;
      if (auto status = emit(std::move(entry)); !status) return status;
    }
    return Done{};
  }
};

struct Loading {
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{1, 0}; }};
  TestFiles files;
};

TEST(ImageDeps, DirectoriesOfLoaders) {
  Loading test;
  test.files.texts["/etc/ld.so.conf"] = "include /etc/ld.so.conf.d/*.conf\n/last # comment\nrelative\n";
  test.files.texts["/etc/ld.so.conf.d/b.conf"] = "/b\n";
  test.files.texts["/etc/ld.so.conf.d/a.conf"] =
      "/a\ninclude /etc/ld.so.conf\n";  // itself: an end all the same
  test.files.texts["/etc/ld.so.conf.d/not"] = "/not\n";
  const auto glibc = read_loader(test.files, "/lib64/ld-linux-x86-64.so.2", "x86_64", "/env:", test.task);
  EXPECT_FALSE(glibc.musl);
  EXPECT_EQ(glibc.environment, std::vector<std::string>{"/env"});
  const auto has = [&](std::string_view one) {
    return std::find(glibc.directories.begin(), glibc.directories.end(), one) != glibc.directories.end();
  };
  for (const char* one : {"/a", "/b", "/last", "/lib/x86_64-linux-gnu", "/usr/lib64"})
    EXPECT_TRUE(has(one)) << one;
  EXPECT_FALSE(has("/not"));
  EXPECT_FALSE(has("relative"));
  EXPECT_LE(glibc.directories.size(), kMaxLoaderDirectories + 6);
  const auto musl = read_loader(test.files, "/lib/ld-musl-x86_64.so.1", "x86_64", "", test.task);
  EXPECT_TRUE(musl.musl);
  EXPECT_EQ(musl.directories, (std::vector<std::string>{"/lib", "/usr/local/lib", "/usr/lib"}));
  test.files.texts["/etc/ld-musl-x86_64.path"] = "/one:/two\n/three";
  EXPECT_EQ(read_loader(test.files, "/lib/ld-musl-x86_64.so.1", "x86_64", "", test.task).directories,
            (std::vector<std::string>{"/one", "/two", "/three"}));
}

TEST(ImageDeps, Origins) {
  EXPECT_EQ(expand("$ORIGIN/../lib", "/opt/bin", "x86_64"), "/opt/bin/../lib");
  EXPECT_EQ(expand("${ORIGIN}/$LIB", "/o", "aarch64"), "/o/lib/aarch64-linux-gnu");
}

TEST(ImageDeps, ScriptsAndWhatIsMissing) {
  Loading test;
  test.files.texts["/run"] = "#!/usr/bin/python3\n";
  auto packages = Packages::read(test.files, test.task);
  ASSERT_TRUE(packages);
  Container container;
  container.args = {Bytes("/run")};
  const auto found = find_deps(test.files, *packages, container, false, test.task);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->files.size(), 2U);
  EXPECT_EQ(found->files[0].path.raw, "/run");
  EXPECT_TRUE(found->files[0].sha256);
  EXPECT_EQ(found->files[1].needed_as.raw, "/usr/bin/python3");
  EXPECT_EQ(found->files[1].needed_by.raw, "/run");
  EXPECT_TRUE(found->files[1].missing);
  container.args.clear();
  EXPECT_FALSE(find_deps(test.files, *packages, container, false, test.task));
  EXPECT_TRUE(find_deps(test.files, *packages, container, true, test.task));
}

}  // namespace
}  // namespace ctriage::image
