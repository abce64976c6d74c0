// Whose package database is believed, and which accounts are new.
#include <gtest/gtest.h>

#include "lib/core/gap_log.h"
#include "lib/rules/rules.h"
#include "lib/verdict/judge.h"
#include "tests/fake_snapshot.h"

namespace ctriage::verdict {
namespace {

constexpr const char* kTool = "#!/bin/sh\necho tool\n";
// md5sum of it.
constexpr const char* kToolSum = "96ea3542c66f3a9889d2395ed319505b";
constexpr const char* kStatus =
    "Package: base\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n";
constexpr const char* kNew = "Package: tool\nStatus: install ok installed\nVersion: 2\nArchitecture: all\n\n";

class Changed : public ::testing::Test {
 protected:
  Changed() {
    auto rules = rules::builtin_rules();
    EXPECT_TRUE(rules) << rules.error().what;
    if (rules) rules_ = *std::move(rules);
    Container& container = snapshot_.containers.emplace_back();
    container.id = "c1";
    container.created_at = Timestamp{1'795'200'000, 0};  // 2026-11-20T18:40:00Z
    snapshot_.source.kind = "live";
    snapshot_.missing = {Facet::findings};
    put("image", "/bin/sh", "x");
    put("image", "/bin/ls", "x");
    put("image", "/usr/bin/dpkg", "x");
    put("image", "/var/lib/dpkg/status", kStatus);
    put("image", "/var/lib/dpkg/info/base.list", "/bin/ls\n");
  }
  void put(const std::string& layer, const std::string& path, const std::string& text) {
    snapshot_.files[layer + ':' + path] = text;
  }
  void change(const char* path, const std::string& text, bool program = false) {
    put("upper", path, text);
    FileChange& change = snapshot_.changes.emplace_back();
    change.container = "c1";
    change.path = Bytes(path);
    change.program = program;
    change.after.emplace().type = FileType::regular;
    change.kind =
        snapshot_.files.contains(std::string("image:") + path) ? ChangeKind::content : ChangeKind::added;
    if (change.kind == ChangeKind::content) change.before.emplace().type = FileType::regular;
  }
  void install() {
    change("/usr/bin/tool", kTool, true);
    change("/var/lib/dpkg/status", std::string(kStatus) + kNew);
    change("/var/lib/dpkg/info/tool.list", "/usr/bin/tool\n");
    change("/var/lib/dpkg/info/tool.md5sums", std::string(kToolSum) + "  usr/bin/tool\n");
  }
  std::vector<std::string> judge_all(Severity from = Severity::low) {
    std::vector<std::string> found;
    GapLog gaps;
    std::atomic<bool> stop{false};
    Task task{gaps, stop, [] { return Timestamp{}; }};
    Tally tally;
    const auto judged = judge(
        snapshot_, rules_, {},
        [&](Finding&& finding) {
          if (finding.severity >= from) found.push_back(finding.rule + ' ' + finding.path->raw);
          return Status(Done{});
        },
        tally, task);
    EXPECT_TRUE(judged) << judged.error().what;
    return found;
  }

  test::FakeSnapshot snapshot_;
  rules::RuleSet rules_;
};

using Found = std::vector<std::string>;
const Found kForged{"CT-FILE-002 /usr/bin/tool", "CT-FILE-016 /var/lib/dpkg/status",
                    "CT-FILE-016 /var/lib/dpkg/info/tool.list",
                    "CT-FILE-016 /var/lib/dpkg/info/tool.md5sums"};

TEST_F(Changed, AnInstallation) {
  install();
  change("/var/log/dpkg.log", "2026-11-21 08:00:00 status installed tool:all 2\n");
  EXPECT_EQ(judge_all(), Found{});
}

TEST_F(Changed, NoLogOrOneThatSaysSomethingElse) {
  for (const char* log :
       {"", "2026-11-21 08:00:00 status installed tool:all 3\n",
        "2026-11-21 08:00:00 status installed other:all 2\n",
        "2026-11-19 08:00:00 status installed tool:all 2\n",  // the image's own
        "2026-11-21 08:00:00 status not-installed tool:all 2\n", "status installed tool:all 2\n",
        "2026-11-21 08:00 status installed tool:all 2\n"}) {
    SCOPED_TRACE(log);
    snapshot_.changes.clear();
    install();
    put("upper", "/var/log/dpkg.log", log);
    EXPECT_EQ(judge_all(), kForged);
  }
  // In the image only: whoever made the image installed it.
  snapshot_.files.erase("upper:/var/log/dpkg.log");
  put("image", "/var/log/dpkg.log", "2026-11-21 08:00:00 status installed tool:all 2\n");
  EXPECT_EQ(judge_all(), kForged);
}

TEST_F(Changed, ThePackageOfTheImageHasNoNewSums) {
  put("image", "/var/lib/dpkg/info/base.md5sums", "00000000000000000000000000000000  bin/ls\n");
  change("/bin/ls", kTool, true);
  change("/var/lib/dpkg/info/base.md5sums", std::string(kToolSum) + "  bin/ls\n");
  change("/var/log/dpkg.log", "2026-11-21 08:00:00 status installed base:all 1\n");
  EXPECT_EQ(judge_all(), (Found{"CT-FILE-004 /bin/ls", "CT-FILE-016 /var/lib/dpkg/info/base.md5sums"}));
}

TEST_F(Changed, Accounts) {
  const std::string root = "root:x:0:0::/root:/bin/sh\n";
  const std::string nobody = "nobody:x:65534:65534::/:/usr/sbin/nologin\n";
  const struct {
    const char* file;
    std::string before;
    std::string now;
    const char* rule;
  } cases[] = {{"passwd", root, root + nobody, "CT-PERS-017"},
               {"passwd", root, root + "a:x:0:0::/:/usr/sbin/nologin\n", "CT-PERS-016"},
               {"passwd", root, root + "a:x:00:0::/:/bin/false\n", "CT-PERS-016"},
               {"passwd", root, root + "a:x:1000:1000::/home/a:/bin/bash\n", "CT-PERS-006"},
               {"passwd", root, root + "a::1000:1000::/:/bin/false\n", "CT-PERS-006"},
               {"passwd", root + nobody, root + "nobody:x:65534:65534::/:/bin/sh\n", "CT-PERS-006"},
               {"passwd", root + nobody, root, "CT-PERS-006"},
               {"passwd", root, "root::0:0::/root:/bin/sh\n", "CT-PERS-006"},
               {"passwd", root, root + "a:x\n", "CT-PERS-006"},
               {"passwd", root, root + nobody.substr(0, 6), "CT-PERS-006"},
               {"passwd", root, "\n" + root, "CT-PERS-017"},
               {"shadow", "root:*:1::::::\n", "root:*:1::::::\na:!:1::::::\n", "CT-PERS-017"},
               {"shadow", "root:*:1::::::\n", "root:$y$x:1::::::\n", "CT-PERS-006"},
               {"shadow", "root:*:1::::::\n", "root:*:1::::::\na::1::::::\n", "CT-PERS-006"},
               {"group", "root:x:0:\n", "root:x:0:\na:x:999:\n", "CT-PERS-017"},
               {"group", "root:x:0:\nsudo:x:27:\n", "root:x:0:\nsudo:x:27:a\n", "CT-PERS-006"},
               {"group", "root:x:0:\n", "root:x:0:\na:x:0:b\n", "CT-PERS-016"},
               {"gshadow", "root:*::\n", "root:*::\na:!::\n", "CT-PERS-017"},
               {"subuid", "", "a:100000:65536\n", "CT-PERS-017"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.now);
    const std::string path = std::string("/etc/") + c.file;
    snapshot_.changes.clear();
    put("image", path, c.before);
    change(path.c_str(), c.now);
    EXPECT_EQ(judge_all(), Found{std::string(c.rule) + ' ' + path});
  }
}

}  // namespace
}  // namespace ctriage::verdict
