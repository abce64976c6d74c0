#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "lib/core/gap_log.h"
#include "lib/rules/rules.h"
#include "lib/verdict/judge.h"
#include "lib/verdict/knowledge.h"
#include "tests/fake_snapshot.h"

namespace ctriage::verdict {
namespace {

std::vector<Bytes> words(std::initializer_list<const char*> list) {
  std::vector<Bytes> out;
  for (const char* word : list) out.emplace_back(std::string(word));
  return out;
}

TEST(Verdict, Globs) {
  const struct {
    const char* pattern;
    const char* path;
    bool fits;
  } cases[] = {{"/etc/cron.d/*", "/etc/cron.d/backup", true},
               {"/etc/cron.d/*", "/etc/cron.d/a/b", false},
               {"/etc/cron.d/*", "/etc/cron.d", false},
               {"/var/www/**.php", "/var/www/a/b/x.php", true},
               {"/var/www/**.php", "/var/www/a/b/x.phpx", false},
               {"/root/.*_history", "/root/.bash_history", true},
               {"/home/*/.bashrc", "/home/a/b/.bashrc", false},
               {"**/__pycache__/*.pyc", "/usr/lib/__pycache__/a.pyc", true},
               {"/run/**", "/run/", true},
               {"", "", true},
               {"*", "", true},
               {"*a*b", "xaxxab", true},
               {"**a*b", "/x/ab/a/b", false},
               {"**a*b", "/x/a/axb", true}};
  for (const auto& c : cases) EXPECT_EQ(fits_glob(c.pattern, c.path), c.fits) << c.pattern << ' ' << c.path;
}

TEST(Verdict, KnowledgeOfThisProgram) {
  const auto known = Knowledge::builtin();
  ASSERT_TRUE(known) << known.error().what;
  EXPECT_EQ(known->find_tool("/usr/bin/python3.11")->name, "python3");
  EXPECT_EQ(known->find_tool("nc.openbsd")->group, "network");
  EXPECT_FALSE(known->find_tool("/usr/sbin/nginx"));
  EXPECT_FALSE(known->find_tool(""));
  EXPECT_TRUE(known->is_kernel_thread_name("[kworker/0:1-events]"));
  EXPECT_FALSE(known->is_kernel_thread_name("nginx"));
  EXPECT_EQ(known->place_of("/etc/ld.so.preload"), "preload");
  EXPECT_EQ(known->place_of("/srv/data"), "");
  EXPECT_EQ(known->reason_of("/var/log/nginx/access.log"), "log");
}

TEST(Verdict, KnowledgeRefused) {
  const std::string tools =
      R"({"version":1,"groups":{"a":["x"]},"multicall":[],"just_in_time":[],"kernel_threads":[]})";
  const std::string places = R"({"version":1,"places":[],"reasons":[]})";
  EXPECT_TRUE(Knowledge::parse(tools, places));
  const std::pair<std::string, std::string> cases[] = {
      {"", places},
      {tools, "[]"},
      {R"({"version":2})", places},
      {R"({"version":1,"groups":{"a":["x"],"b":["x"]},"multicall":[],"just_in_time":[],"kernel_threads":[]})",
       places},
      {R"({"version":1,"groups":{"a":[1]},"multicall":[],"just_in_time":[],"kernel_threads":[]})", places},
      {tools, R"({"version":1,"places":[{"is":"a"}],"reasons":[]})"}};
  for (const auto& [first, second] : cases) EXPECT_FALSE(Knowledge::parse(first, second)) << first << second;
  for (std::size_t cut = 0; cut < tools.size(); ++cut)
    EXPECT_FALSE(Knowledge::parse(tools.substr(0, cut), places));
}

TEST(Verdict, ScriptsOfInterpreters) {
  const struct {
    const char* family;
    std::vector<Bytes> argv;
    const char* script;
  } cases[] = {
      {"sh", words({"sh", "/app/start"}), "/app/start"},
      {"sh", words({"sh", "-c", "/app/start"}), ""},
      {"bash", words({"bash", "-ec", "x"}), ""},
      {"bash", words({"bash", "-o", "pipefail", "-x", "run.sh", "a"}), "run.sh"},
      {"dash", words({"-dash"}), ""},
      {"python3.11", words({"python3", "-u", "-W", "ignore", "app.py", "-c"}), "app.py"},
      {"python3", words({"python3", "-m", "http.server"}), ""},
      {"python3", words({"python3", "-"}), ""},
      {"perl", words({"perl", "-w", "-I", "lib", "x.pl"}), "x.pl"},
      {"perl", words({"perl", "-ne", "print"}), ""},
      {"perl", words({"perl", "-lne", "print"}), ""},
      {"perl", words({"perl", "-Mfeature=say", "/tmp/evil.pl"}), "/tmp/evil.pl"},
      {"perl", words({"perl", "-pi.bak", "-e", "s/a/b/"}), ""},
      {"ruby", words({"ruby", "-r", "json", "x.rb"}), "x.rb"},
      {"node", words({"node", "--require", "hook.js", "--max-old-space-size=512", "server.js"}), "server.js"},
      {"node", words({"node", "-e", "1"}), ""},
      {"php8.2", words({"php", "-d", "a=b", "-f", "x.php"}), "x.php"},
      {"java", words({"java", "-cp", "a.jar", "-Xmx1g", "-jar", "app.jar"}), "app.jar"},
      {"java", words({"java", "-cp", "a.jar", "Main", "-jar", "no"}), ""},
      {"sh", words({"sh", "--", "-x"}), "-x"},
      {"nginx", words({"nginx", "x"}), ""},
      {"", words({"x", "y"}), ""},
      {"sh", {}, ""},
  };
  for (const auto& c : cases)
    EXPECT_EQ(script_argument(c.family, c.argv), c.script) << c.family << ' ' << c.script;
  EXPECT_EQ(absolute_path("/app", "../x/./y"), "/x/y");
  EXPECT_EQ(absolute_path("/app", "/../.."), "/");
}

class VerdictOf : public testing::Test {
 protected:
  VerdictOf() {
    auto rules = rules::builtin_rules();
    EXPECT_TRUE(rules) << rules.error().what;
    if (rules) rules_ = *std::move(rules);
    Container& container = snapshot_.containers.emplace_back();
    container.id = "c1";
    container.engine = "containerd";
    container.args = words({"/app"});
    container.uid = 0;
    container.seccomp = true;
    container.capabilities = {"CAP_CHOWN"};
    HostMount& data = container.mounts.emplace_back();
    data.destination = Bytes("/data");
    snapshot_.source.kind = "live";
    snapshot_.missing = {Facet::findings};
    Process& init = add_process(10, "/app");
    init.membership = Membership::init;
  }
  Process& add_process(std::int32_t pid, const char* path) {
    Process& process = snapshot_.processes.emplace_back();
    process.container = "c1";
    process.pid = pid;
    process.exe.path = Bytes(path);
    process.exe.origin = Origin::image;
    process.comm = Bytes(std::string(base_name(path)));
    process.argv = words({path});
    process.cwd = Bytes("/");
    process.seccomp = 2;
    process.credentials.uids = {0, 0, 0, 0};
    return process;
  }
  FileChange& add_change(const char* path, ChangeKind kind = ChangeKind::added) {
    FileChange& change = snapshot_.changes.emplace_back();
    change.container = "c1";
    change.path = Bytes(path);
    change.kind = kind;
    if (kind != ChangeKind::deleted) change.after.emplace().type = FileType::regular;
    if (kind != ChangeKind::added) change.before.emplace().type = FileType::regular;
    return change;
  }
  // "RULE pid" or "RULE path", of what is above info.
  std::vector<std::string> judge_all(Severity from = Severity::low) {
    std::vector<std::string> found;
    GapLog gaps;
    std::atomic<bool> stop{false};
    Task task{gaps, stop, [] { return Timestamp{}; }};
    tally_ = {};
    ids_.clear();
    const auto judged = judge(
        snapshot_, rules_, {},
        [&](Finding&& finding) {
          ids_.push_back(finding.id);
          if (finding.severity >= from)
            found.push_back(
                finding.rule + ' ' +
                (finding.pid ? std::to_string(*finding.pid) : finding.path.value_or(Bytes()).raw));
          return Status(Done{});
        },
        tally_, task);
    EXPECT_TRUE(judged) << judged.error().what;
    return found;
  }

  test::FakeSnapshot snapshot_;
  rules::RuleSet rules_;
  Tally tally_;
  std::vector<std::string> ids_;
};

using Found = std::vector<std::string>;

TEST_F(VerdictOf, AnUnmodifiedContainerHasNothing) {
  add_process(11, "/usr/bin/sleep");
  add_change("/var/log/app.log");
  add_change("/run/app.pid");
  add_change("/app/__pycache__/x.pyc");
  add_change("/data.txt");
  FileChange& stub = add_change("/etc/hosts", ChangeKind::runtime_stub);
  stub.explained = "runtime stub";
  EXPECT_EQ(judge_all(), Found{});
  EXPECT_EQ(tally_.changes, 5U);
  EXPECT_EQ(tally_.other, 1U);
  EXPECT_EQ(tally_.explained,
            (std::map<std::string, std::uint64_t>{
                {"bytecode cache", 1}, {"log", 1}, {"pid file or lock", 1}, {"runtime stub", 1}}));
}

TEST_F(VerdictOf, Processes) {
  add_process(20, "/tmp/x").argv = words({"[kworker/0:1]"});
  add_process(21, "/usr/bin/id").capabilities.effective.value = 1 | 1 << 21;  // CHOWN, SYS_ADMIN
  add_process(22, "/usr/bin/id").seccomp = 0;
  add_process(23, "/usr/bin/id").environ = words({"A=b", "LD_PRELOAD=/tmp/x.so"});
  Process& script = add_process(24, "/bin/sh");
  script.argv = words({"/bin/sh", "run.sh"});
  script.cwd = Bytes("/data");
  Mount& data = snapshot_.mounts.emplace_back();
  data.container = "c1";
  data.mountpoint = Bytes("/data");
  data.fstype = Bytes("ext4");
  EXPECT_EQ(judge_all(),
            (Found{"CT-EXEC-009 20", "CT-PRIV-002 21", "CT-PRIV-003 22", "CT-LIB-004 23", "CT-EXEC-008 24"}));
  snapshot_.containers.front().environ = words({"LD_PRELOAD=/tmp/x.so"});
  const Found spec = judge_all();
  EXPECT_EQ(std::ranges::count(spec, "CT-LIB-004 23"), 0);
}

TEST_F(VerdictOf, MemorySocketsMounts) {
  for (const std::uint64_t start : {0x1000U, 0x9000U}) {
    Mapping& mapping = snapshot_.mappings.emplace_back();
    mapping.container = "c1";
    mapping.pid = 10;
    mapping.start.value = start;
    mapping.end.value = start + 0x1000;
    mapping.protection = "rwxp";
  }
  Mapping& vdso = snapshot_.mappings.emplace_back(snapshot_.mappings.front());
  vdso.path = Bytes("[vdso]");
  vdso.protection = "r-xp";
  Socket& sniffer = snapshot_.sockets.emplace_back();
  sniffer.container = "c1";
  sniffer.family = "packet";
  sniffer.pids = {10};
  snapshot_.sockets.emplace_back(sniffer).pids.clear();  // a neighbour's, seen through the network namespace
  for (const char* at : {"/", "/proc/7", "/data/deep", "/etc/cron.d", "/dev/shm"}) {
    Mount& mount = snapshot_.mounts.emplace_back();
    mount.container = "c1";
    mount.mountpoint = Bytes(at);
  }
  EXPECT_EQ(judge_all(),
            (Found{"CT-MEM-001 10", "CT-NET-001 10", "CT-MNT-002 /proc/7", "CT-MNT-001 /etc/cron.d"}));
}

TEST_F(VerdictOf, CodeOfACheckpoint) {
  const struct {
    const char* path;
    const char* protection;
    std::optional<std::uint64_t> dumped;
    bool found;
  } cases[] = {{"/usr/bin/x", "r-xp", 8'192, true},
               {"/usr/bin/x", "r-xp", 4'096, false},
               {"/usr/bin/x", "r-xp", std::nullopt, false},
               {"/usr/bin/x", "rw-p", 8'192, false},
               {"/usr/bin/x (deleted)", "r-xp", 8'192, false},
               {"[vdso]", "r-xp", 8'192, false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    Mapping mapping;
    mapping.container = "c1";
    mapping.pid = 10;
    mapping.inode.value = 7;
    mapping.path = Bytes(std::string(c.path));
    mapping.protection = c.protection;
    mapping.dumped_bytes = c.dumped;
    snapshot_.mappings = {mapping};
    EXPECT_EQ(judge_all(), c.found ? Found{"CT-MEM-006 10"} : Found{});
  }
}

TEST_F(VerdictOf, Changes) {
  add_change("/usr/local/bin/tool").program = true;
  add_change("/var/cache/x").program = true;  // code is not explained by where it lies
  add_change("/usr/bin/ls", ChangeKind::content).program = true;
  add_change("/usr/bin/passwd", ChangeKind::deleted);
  add_change("/etc/cron.d/backup");
  add_change("/etc/passwd", ChangeKind::content);
  add_change("/etc/ld.so.preload");
  add_change("/tmp/.wh.passwd");
  add_change("/tmp/a\x1b[2J");
  add_change("/etc/group", ChangeKind::unchanged);
  add_change("/dev0").after->type = FileType::block;
  FileChange& caps = add_change("/opt/x");
  caps.after->xattrs.emplace_back().name = Bytes("security.capability");
  EXPECT_EQ(judge_all(),
            (Found{"CT-FILE-002 /usr/local/bin/tool", "CT-FILE-002 /var/cache/x", "CT-FILE-003 /usr/bin/ls",
                   "CT-FILE-013 /usr/bin/passwd", "CT-PERS-002 /etc/cron.d/backup", "CT-PERS-006 /etc/passwd",
                   "CT-PERS-001 /etc/ld.so.preload", "CT-FILE-008 /tmp/.wh.passwd",
                   "CT-FILE-007 /tmp/a\x1b[2J", "CT-FILE-009 /dev0", "CT-FILE-006 /opt/x"}));
  EXPECT_EQ(tally_.named, 11U);
  EXPECT_EQ(tally_.changes, 12U);
}

NodeFact newer(const char* group, const std::string& path, std::int64_t seconds) {
  NodeFact fact;
  fact.group = group;
  fact.path = Bytes(path);
  fact.newer = true;
  fact.file.emplace().ctime.seconds = seconds;
  return fact;
}

NodeFact setting(const char* group, const char* value) {
  NodeFact fact;
  fact.kind = NodeFactKind::setting;
  fact.group = group;
  fact.path = Bytes(std::string("/setting/") + group);
  fact.value = Bytes(std::string(value));
  return fact;
}

Grant grant(const char* source, const char* destination, bool writable) {
  return {Bytes(std::string(destination)), Bytes(std::string(source)), Bytes(std::string("ext4")),
          GrantKind::host_path, writable};
}

TEST_F(VerdictOf, TheNode) {
  const auto admin = std::uint64_t{1} << 21;
  struct Case {
    const char* name;
    std::vector<NodeFact> facts;
    std::vector<Grant> grants;
    bool privileged;
    std::uint64_t effective;
    Found findings;
  };
  std::vector<NodeFact> upgrade;
  for (int i = 0; i < 12; ++i)
    upgrade.push_back(newer("programs", "/usr/bin/p" + std::to_string(i), 1000 + i * 60));
  std::vector<NodeFact> upgrade_and_key = upgrade;
  upgrade_and_key.push_back(newer("keys", "/root/.ssh/authorized_keys", 1100));
  const std::vector<Case> cases{
      {"nobody could", {newer("cron", "/etc/cron.d/x", 5)}, {}, false, 0, {"CT-NODE-005 /etc/cron.d/x"}},
      {"a writable part of the node",
       {newer("cron", "/etc/cron.d/x", 5)},
       {grant("/etc/cron.d", "/host/cron", true)},
       false,
       0,
       {"CT-POD-003 ", "CT-NODE-003 /etc/cron.d/x"}},
      {"one that can be read",
       {newer("cron", "/etc/cron.d/x", 5)},
       {grant("/etc", "/host/etc", false)},
       false,
       0,
       {"CT-NODE-005 /etc/cron.d/x"}},
      {"another one",
       {newer("cron", "/etc/cron.d/x", 5)},
       {grant("/etc/cron", "/host/cron", true)},
       false,
       0,
       {"CT-POD-003 ", "CT-NODE-005 /etc/cron.d/x"}},
      {"privileged",
       {newer("keys", "/root/.ssh/authorized_keys", 5)},
       {},
       true,
       0,
       {"CT-POD-001 ", "CT-NODE-004 /root/.ssh/authorized_keys"}},
      {"a capability",
       {newer("units", "/etc/systemd/system/x.service", 5)},
       {},
       false,
       admin,
       {"CT-POD-001 ", "CT-NODE-004 /etc/systemd/system/x.service"}},
      {"an upgrade of packages", upgrade, {}, true, 0, {"CT-POD-001 ", "CT-NODE-008 /usr/bin/p0"}},
      {"an upgrade in reach, and a key",
       upgrade_and_key,
       {grant("/", "/host", true)},
       false,
       0,
       {"CT-POD-002 ", "CT-NODE-009 /usr/bin/p0", "CT-NODE-003 /root/.ssh/authorized_keys"}},
      {"the network's own programs",
       {newer("cni", "/opt/cni/bin/x", 5)},
       {grant("/opt/cni/bin", "/host", true)},
       false,
       0,
       {"CT-POD-003 ", "CT-NODE-004 /opt/cni/bin/x"}},
      {"preload",
       {newer("preload", "/etc/ld.so.preload", 5)},
       {},
       false,
       0,
       {"CT-NODE-006 /etc/ld.so.preload"}},
      {"plain settings",
       {setting("core_pattern", "core"), setting("modprobe", "/sbin/modprobe"), setting("uevent_helper", ""),
        setting("core_pattern", "|/usr/lib/systemd/systemd-coredump %P"), setting("release_agent", ""),
        setting("binfmt_misc", "enabled"), setting("poweroff", "/sbin/poweroff"),
        setting("binfmt_misc", "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF")},
       {},
       true,
       0,
       {"CT-POD-001 "}},
      {"an escape by core_pattern",
       {setting("core_pattern", "|/var/lib/docker/overlay2/x/diff/run.sh")},
       {},
       false,
       0,
       {"CT-NODE-001 /setting/core_pattern"}},
      {"by the root of a process",
       {setting("modprobe", "/proc/1234/root/x")},
       {},
       false,
       0,
       {"CT-NODE-001 /setting/modprobe"}},
      {"by binfmt_misc",
       {setting("binfmt_misc", "enabled\ninterpreter /tmp/x\nflags: C")},
       {},
       false,
       0,
       {"CT-NODE-001 /setting/binfmt_misc"}},
      {"by a hostPath",
       {setting("release_agent", "/opt/data/x")},
       {grant("/opt/data", "/data", true)},
       false,
       admin,
       {"CT-POD-001 ", "CT-NODE-001 /setting/release_agent"}},
      {"another handler",
       {setting("core_pattern", "|/opt/acme/cores %p")},
       {},
       true,
       0,
       {"CT-POD-001 ", "CT-NODE-002 /setting/core_pattern"}},
      {"another handler that nobody could have set",
       {setting("core_pattern", "|/opt/acme/cores %p")},
       {},
       false,
       0,
       {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Posture posture;
    posture.container = "c1";
    posture.name = Bytes(std::string("app"));
    posture.grants = c.grants;
    posture.privileged = c.privileged;
    posture.capabilities.effective.value = c.effective;
    snapshot_.postures = {posture};
    snapshot_.node_facts = c.facts;
    EXPECT_EQ(judge_all(Severity::info), c.findings);
  }
}

TEST_F(VerdictOf, RecordedFindingsComeFirstAndAreNotRepeated) {
  add_process(20, "/tmp/x").exe.origin = Origin::upper;
  add_change("/etc/ld.so.preload");
  std::vector<Finding> first;
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  Tally tally;
  const Emit<Finding> keep = [&](Finding&& finding) {
    first.push_back(std::move(finding));
    return Status(Done{});
  };
  ASSERT_TRUE(judge(snapshot_, rules_, {}, keep, tally, task));
  ASSERT_EQ(first.size(), 2U);
  snapshot_.findings = {first.front()};
  snapshot_.missing.clear();
  EXPECT_EQ(judge_all(), (Found{"CT-EXEC-003 20", "CT-PERS-001 /etc/ld.so.preload"}));
  EXPECT_EQ(ids_, (Found{"F1", "F2"}));
}

TEST_F(VerdictOf, AToolInABareImage) {
  Process& shell = add_process(30, "/tmp/busybox");
  shell.exe.origin = Origin::tmpfs;
  shell.argv = words({"sh"});
  const Knowledge known = *Knowledge::builtin();
  Scene scene{snapshot_, snapshot_.containers.front(), known, std::nullopt, {}, {}, {}};
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  const Seen seen = look_at(shell, scene, task);
  EXPECT_EQ(seen.tool_group, "shell");
  EXPECT_EQ(shell.exe.tool, "sh");
  // What the image has cannot be looked at here: no alarm is made of it.
  EXPECT_EQ(judge_all(), Found{"CT-EXEC-003 30"});
}

}  // namespace
}  // namespace ctriage::verdict
