// Package databases. The oracle for dpkg is this machine's own dpkg, for rpm what rpm said of the fixture.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <map>
#include <set>

#include "lib/image/packages.h"
#include "lib/image/readers.h"
#include "tests/image_testing.h"
#include "tests/temp_dir.h"

namespace ctriage::image {
namespace {

namespace fs = std::filesystem;

std::string run(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(("{ " + command + "; } 2>/dev/null").c_str(), "r"),
                                             ::pclose);
  std::string all;
  std::array<char, 4096> block{};
  while (const std::size_t got = std::fread(block.data(), 1, block.size(), pipe.get()))
    all.append(block.data(), got);
  return all;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class PackagesTest : public testing::Test {
 protected:
  Packages read(const std::string& top) {
    DirectoryFiles files(top);
    auto packages = Packages::read(files, task_);
    EXPECT_TRUE(packages);
    return packages ? *std::move(packages) : Packages();
  }
  void write(const std::string& name, std::string_view text) {
    fs::create_directories(fs::path(dir_ / name).parent_path());
    dir_.write(name, text);
  }
  TempDir dir_;
  GapLog gaps_;
  std::atomic<bool> stop_{false};
  Task task_{gaps_, stop_, [] { return Timestamp{}; }};
};

TEST_F(PackagesTest, ThisMachinesDpkg) {
  if (!fs::exists("/var/lib/dpkg/status")) GTEST_SKIP() << "no dpkg here";
  const Packages packages = read("");
  EXPECT_EQ(packages.manager(), "dpkg");
  EXPECT_TRUE(packages.complete());
  std::set<std::string> ours;
  for (const InstalledPackage& package : packages.all())
    if (package.manager == "dpkg")
      ours.insert(package.name + " " + package.version + " " + package.architecture);
  std::set<std::string> theirs;
  std::string told = run("dpkg-query -W -f '${db:Status-Status} ${Package} ${Version} ${Architecture}\\n'");
  for (std::size_t at = 0, end = 0; (end = told.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string line = told.substr(at, end - at);
    if (line.starts_with("installed ")) theirs.insert(line.substr(10));
  }
  EXPECT_EQ(ours, theirs);

  // Every fiftieth file of /usr/bin and /usr/lib: whose it is, and whether the bytes are the package's.
  std::size_t nth = 0;
  std::size_t compared = 0;
  for (const char* directory : {"/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu"}) {
    if (!fs::exists(directory)) continue;
    for (const auto& one : fs::directory_iterator(directory)) {
      if (nth++ % 50 != 0 || one.is_symlink() || !one.is_regular_file()) continue;
      const std::string path = one.path().string();
      SCOPED_TRACE(path);
      std::string line = run("dpkg -S '" + path + "' | grep -v ^diversion");
      if (line.empty()) line = run("dpkg -S '" + path.substr(4) + "' | grep -v ^diversion");
      const auto owner = packages.find_owner(path);
      ASSERT_EQ(owner.has_value(), !line.empty()) << line;
      if (!owner) continue;
      EXPECT_NE((", " + line).find(", " + owner->name), std::string::npos) << line;
      if (owner->digest.empty()) continue;
      TextSource source(slurp(path));
      const auto fits = has_digest(source, owner->digest);
      ASSERT_TRUE(fits);
      EXPECT_TRUE(*fits);
      ++compared;
    }
  }
  EXPECT_GT(compared, 5U);
  // /bin/ls and /usr/bin/ls are one where /bin is a link.
  EXPECT_EQ(packages.find_owner("/bin/ls").has_value(), true);
  if (fs::is_symlink("/bin")) {
    EXPECT_EQ(packages.find_owner("/usr/bin/ls").value_or(PackageOwner{}).name, "coreutils");
  }
  EXPECT_FALSE(packages.find_owner("/usr/bin/no-such-program"));
}

TEST_F(PackagesTest, DpkgByHand) {
  write(
      "var/lib/dpkg/status",
      "Package: one\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\nDepends: two (>= 1),\n"
      " x\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 3\n\nPackage: two\nStatus: install "
      "ok installed\nArchitecture: amd64\nVersion: 2");
  write("var/lib/dpkg/info/one.list", "/.\n/bin\n/bin/one\n/usr/bin/tool\n");
  write("var/lib/dpkg/info/one.md5sums", "d41d8cd98f00b204e9800998ecf8427e  bin/one\nshort\n");
  write("var/lib/dpkg/info/two:amd64.list", "/usr/bin/tool\n/bin\n");
  write("var/lib/dpkg/info/gone.list", "/etc/gone\n");
  write("var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.one\ntwo\n");
  fs::create_directory(dir_ / "usr");
  fs::create_directory_symlink("usr/bin", dir_ / "bin.tmp");
  const Packages packages = read(dir_.path());
  ASSERT_EQ(packages.all().size(), 2U);
  EXPECT_EQ(packages.all()[0].depends, "two (>= 1),");
  const auto one = packages.find_owner("/bin/one");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->digest, "md5:d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(packages.find_owner("/usr/bin/tool").value_or(PackageOwner{}).name, "two");
  EXPECT_EQ(packages.find_owner("/usr/bin/tool.one").value_or(PackageOwner{}).name, "one");
  EXPECT_FALSE(packages.find_owner("/etc/gone"));
  EXPECT_EQ(gaps_.count(Impact::degraded), 0U);
}

TEST_F(PackagesTest, Distroless) {
  write("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n");
  write("var/lib/dpkg/status.d/base.md5sums", "d41d8cd98f00b204e9800998ecf8427e  ./usr/share/empty\n");
  const Packages packages = read(dir_.path());
  EXPECT_EQ(packages.manager(), "dpkg");
  EXPECT_EQ(packages.find_owner("/usr/share/empty").value_or(PackageOwner{}).name, "base-files");
}

TEST_F(PackagesTest, Apk) {
  write("lib/apk/db/installed", slurp(CTRIAGE_TESTDATA "/packages/apk-installed"));
  const Packages packages = read(dir_.path());
  EXPECT_EQ(packages.manager(), "apk");
  ASSERT_EQ(packages.all().size(), 2U);
  EXPECT_EQ(packages.all()[1].version, "1.2.4_git20230717-r4");
  const auto busybox = packages.find_owner("/bin/busybox");
  ASSERT_TRUE(busybox);
  EXPECT_EQ(busybox->name, "busybox");
  EXPECT_EQ(busybox->digest.substr(0, 9), "sha1:abfe");
  EXPECT_EQ(packages.find_owner("/etc/untold").value_or(PackageOwner{}).digest, "");
  EXPECT_TRUE(packages.find_owner("/var/cache/misc"));
  const auto musl = packages.find_owner("/lib/ld-musl-x86_64.so.1");
  ASSERT_TRUE(musl);
  MemorySource source("musl");
  const auto fits = has_digest(source, musl->digest);
  ASSERT_TRUE(fits);
  EXPECT_TRUE(*fits);
}

TEST_F(PackagesTest, Rpm) {
  write("var/lib/rpm/rpmdb.sqlite", slurp(CTRIAGE_TESTDATA "/packages/rpmdb.sqlite"));
  const Packages packages = read(dir_.path());
  EXPECT_EQ(packages.manager(), "rpm");
  ASSERT_EQ(packages.all().size(), 1U);
  EXPECT_EQ(packages.all()[0].version, "2:1.5-3");
  EXPECT_NE(packages.all()[0].depends.find("bash"), std::string::npos);
  const std::string dump = slurp(CTRIAGE_TESTDATA "/packages/rpm-dump");
  const auto hello = packages.find_owner("/usr/bin/hello");
  ASSERT_TRUE(hello);
  EXPECT_NE(dump.find("/usr/bin/hello 21"), std::string::npos);
  EXPECT_NE(dump.find(" " + hello->digest.substr(7) + " "), std::string::npos);
  MemorySource source("#!/bin/sh\necho hello\n");
  EXPECT_TRUE(*has_digest(source, hello->digest));
  EXPECT_EQ(packages.find_owner("/etc/hello.conf").value_or(PackageOwner{}).digest, "") << "configuration";
  EXPECT_TRUE(packages.find_owner("/usr/bin/hi"));
}

TEST_F(PackagesTest, RpmCutShort) {
  const std::string header = slurp(CTRIAGE_TESTDATA "/../tests/fuzz/corpus/packages/rpm-header").substr(1);
  for (std::size_t size = 0; size < header.size(); ++size) {
    Packages packages;
    (void)parse_rpm_header(header.substr(0, size), packages);
  }
  Packages packages;
  EXPECT_TRUE(parse_rpm_header(header, packages));
}

TEST_F(PackagesTest, ApkCutShort) {
  const std::string text = slurp(CTRIAGE_TESTDATA "/packages/apk-installed");
  for (std::size_t size = 0; size <= text.size(); ++size) {
    Packages packages;
    MemorySource source(std::string_view(text).substr(0, size));
    EXPECT_TRUE(parse_apk_installed(source, packages));
  }
}

// A database that is there and cannot be read is not the same as none.
TEST_F(PackagesTest, Damaged) {
  write("var/lib/rpm/rpmdb.sqlite", "SQLite format 3");
  const Packages packages = read(dir_.path());
  EXPECT_EQ(packages.manager(), "rpm");
  EXPECT_FALSE(packages.complete());
  EXPECT_EQ(gaps_.count(Impact::degraded), 1U);
}

TEST_F(PackagesTest, None) {
  const Packages packages = read(dir_.path());
  EXPECT_EQ(packages.manager(), "");
  EXPECT_TRUE(packages.complete());
  EXPECT_EQ(gaps_.count(Impact::degraded), 0U);
}

}  // namespace
}  // namespace ctriage::image
