#include "tests/fake_snapshot.h"

namespace ctriage::test {
namespace {

const std::string kApp = "a91f02c4be77000000000000000000000000000000000000000000000000dead";
constexpr std::int64_t kStart = 1'795'200'000;  // 2026-11-20T18:40:00Z

// ESC, line end, BEL, bidi override, zero width space, a stray byte, C1, DEL, blanks that would fake a
// column.
const std::string kEvil =
    "/tmp/\x1b[2J\x1b]0;pwned\x07\nF9  CRIT\xe2\x80\xae"
    "evil\xe2\x80\x8b\xff\xc2\x9b\x7f   image";

Process process(std::int32_t pid, std::int32_t ppid, Origin origin, std::string path,
                std::vector<std::string> argv) {
  Process made;
  made.container = kApp;
  made.pid = pid;
  made.ppid = ppid;
  made.container_pid = pid - 48000;
  made.start_ticks = static_cast<std::uint64_t>(pid);
  made.membership = Membership::child;
  made.comm = Bytes(path.substr(path.rfind('/') + 1).substr(0, 15));
  made.state = "S";
  for (std::string& argument : argv) made.argv.emplace_back(std::move(argument));
  made.environ = {Bytes("PATH=/usr/bin"), Bytes("HOME=/root")};
  made.exe.path = Bytes(std::move(path));
  made.exe.origin = origin;
  made.exe.mode = 0755;
  made.exe.size_bytes = 35'000;
  made.exe.sha256 = std::string(64, 'a');
  made.exe.mtime = Timestamp{kStart, 5};
  made.cwd = Bytes("/");
  made.root = Bytes("/");
  made.started_at = Timestamp{kStart + pid % 1000, 0};
  made.credentials.uids = {0, 0, 0, 0};
  made.credentials.gids = {0, 0, 0, 0};
  made.capabilities.effective = Hex{0xa80425fb};
  made.capabilities.bounding = Hex{0xa80425fb};
  made.seccomp = 2;
  made.threads = 1;
  made.rss_bytes = 1'234'567;
  return made;
}

void add_processes(FakeSnapshot& into) {
  auto& list = into.processes;
  list.push_back(process(48001, 900, Origin::image, "/bin/sh", {"/bin/sh", "/app/start"}));
  list.back().membership = Membership::init;
  list.push_back(process(48017, 48001, Origin::upper, "/tmp/implant", {"/tmp/implant", "run", "4444"}));
  list.back().exe.deleted = true;
  list.push_back(process(48018, 48017, Origin::memfd, "/memfd:" + kEvil, {"[kworker/0:1]"}));
  list.back().exe.deleted = true;
  list.back().threads = 3;
  list.push_back(
      process(48023, 48001, Origin::image, "/usr/bin/python3", {"python3", "-c", "import time\n" + kEvil}));
  list.back().environ.push_back(Bytes("DB_PASSWORD=hunter2"));
  list.back().credentials.uids = {1000, 1000, 1000, 1000};
  list.back().rss_bytes = 25ULL << 20;
  list.push_back(process(48102, 850, Origin::image, "/bin/sh", {"/bin/sh", "-i"}));
  list.back().membership = Membership::executed_in;
  list.back().tty = Hex{136ULL << 32};  // /dev/pts/0
  list.push_back(
      process(48109, 48102, Origin::upper, "/usr/local/bin/.httpd", {"/usr/local/bin/.httpd", "100000"}));
  list.back().exe.mode = 04755;
  list.back().lsm_label = Bytes("unconfined\x1b[31m");

  for (const std::int32_t tid : {48018, 48019, 48020}) {
    Thread thread{
        kApp, 48018, tid, 1, Bytes("kworker\x1b[1m"), "S", 10, Bytes("281 0x4 0x7ffd"), Bytes("ep_poll"), {}};
    into.threads.push_back(std::move(thread));
  }
}

void add_handles(FakeSnapshot& into) {
  const auto mapping = [](std::uint64_t start, std::string protection, std::string path) {
    Mapping made;
    made.container = kApp;
    made.pid = 48017;
    made.start = Hex{start};
    made.end = Hex{start + 0x10000};
    made.protection = std::move(protection);
    made.path = Bytes(std::move(path));
    return made;
  };
  into.mappings = {mapping(0x400000, "r-xp", "/tmp/implant (deleted)"),
                   mapping(0x500000, "r--p", "/usr/lib/libc.so.6"),
                   mapping(0x600000, "rwxp", ""),
                   mapping(0x700000, "r-xp", "/usr/lib/libc.so.6"),
                   mapping(0x7ffd00000000, "r-xp", "[vdso]"),
                   mapping(0x7ffe00000000, "r-xs", kEvil + " (deleted)")};
  const auto descriptor = [](std::int32_t pid, std::int32_t fd, std::string kind, std::string target,
                             bool deleted) {
    Descriptor made;
    made.container = kApp;
    made.pid = pid;
    made.fd = fd;
    made.kind = std::move(kind);
    made.target = Bytes(std::move(target));
    made.flags = Hex{0100002};
    made.size_bytes = 4096;
    made.deleted = deleted;
    return made;
  };
  into.descriptors = {descriptor(48001, 0, "character", "/dev/null", false),
                      descriptor(48017, 3, "socket", "socket:[77]", false),
                      descriptor(48017, 4, "regular", kEvil, true)};
  const auto socket = [](std::string family, std::string state, std::string local, std::string remote,
                         std::vector<std::int32_t> pids) {
    Socket made;
    made.container = kApp;
    made.family = std::move(family);
    made.state = std::move(state);
    made.local = Bytes(std::move(local));
    made.remote = Bytes(std::move(remote));
    made.pids = std::move(pids);
    return made;
  };
  into.sockets = {socket("tcp", "LISTEN", "0.0.0.0:4444", "0.0.0.0:0", {48017}),
                  socket("tcp", "ESTABLISHED", "10.88.0.14:4444", "203.0.113.214:443", {48017, 48018}),
                  socket("unix", "", "@" + kEvil, "", {48001}), socket("udp6", "", "[::]:53", "[::]:0", {})};
  into.sockets[1].receive_queue_bytes = 50;
  into.mounts = {Mount{kApp,
                       1,
                       0,
                       Hex{1},
                       Bytes("/"),
                       Bytes("/"),
                       Bytes("rw,relatime"),
                       {},
                       Bytes("overlay"),
                       Bytes("overlay"),
                       Bytes("lowerdir=/x")},
                 Mount{kApp,
                       2,
                       1,
                       Hex{2},
                       Bytes("/"),
                       Bytes("/mnt/a\nb"),
                       Bytes("ro"),
                       {},
                       Bytes("tmpfs"),
                       Bytes("tmpfs"),
                       Bytes("")}};
}

void add_changes(FakeSnapshot& into) {
  const auto state = [](FileType type, std::uint32_t mode, std::uint64_t size) {
    FileState made;
    made.type = type;
    made.mode = mode;
    made.nlink = 1;
    made.size_bytes = size;
    made.mtime = {kStart, 0};
    made.ctime = {kStart + 60, 0};
    return made;
  };
  const auto change = [](ChangeKind kind, std::string path, std::optional<FileState> before,
                         std::optional<FileState> after, std::vector<std::string> differs) {
    FileChange made;
    made.container = kApp;
    made.kind = kind;
    made.path = Bytes(std::move(path));
    made.before = std::move(before);
    made.after = std::move(after);
    made.differs = std::move(differs);
    if (made.before) made.layer = 3;
    return made;
  };
  const FileState plain = state(FileType::regular, 0755, 35'000);
  const FileState setuid = state(FileType::regular, 04755, 35'000);
  FileState link = state(FileType::symlink, 0777, 9);
  link.link_target = Bytes("/etc/\x1b[31m");
  FileState other = state(FileType::regular, 0755, 35'015);
  other.uid = 1000;
  other.sha256 = std::string(64, 'b');
  other.xattrs = {XattrRecord{Bytes("security.capability"), Bytes("x"), {}}};
  into.changes = {
      change(ChangeKind::content, "/bin/ls", plain, other, {"content", "owner", "size"}),
      change(ChangeKind::runtime_stub, "/etc/hosts", {}, state(FileType::regular, 0644, 0), {}),
      change(ChangeKind::added, "/etc/link", {}, link, {}),
      change(ChangeKind::metadata, "/etc/motd", plain, setuid, {"mode"}),
      change(ChangeKind::deleted, "/etc/shadow-", plain, {}, {}),
      change(ChangeKind::unchanged, "/etc/touched", plain, plain, {}),
      change(ChangeKind::opaque, "/opt", state(FileType::directory, 0755, 0),
             state(FileType::directory, 0700, 0), {"mode"}),
      change(ChangeKind::added, kEvil, {}, plain, {}),
      change(ChangeKind::added, "/usr/" + std::string(130, 'd'), {}, plain, {}),
      change(ChangeKind::added, "/usr/local/bin/.httpd", {}, setuid, {}),
      change(ChangeKind::unknown, "/var/redirected", {}, state(FileType::directory, 0755, 0), {})};
  into.changes[9].program = true;
  into.changes[8].partial = "shrank while read";
}

void add_verdicts(FakeSnapshot& into) {
  const auto finding = [](std::string id, std::string rule, Severity severity, std::string what) {
    Finding made;
    made.id = std::move(id);
    made.key = "0123456789a" + made.id.substr(1);
    made.rule = std::move(rule);
    made.title = "Title of " + made.rule;
    made.severity = severity;
    made.attack = {"T1105"};
    made.artifact = "process";
    made.container = kApp;
    made.what = Bytes(std::move(what));
    made.at = Timestamp{kStart + 99, 0};
    made.next = Bytes("ctriage show {source} " + made.id);
    return made;
  };
  into.findings = {finding("F1", "CT-EXEC-001", Severity::critical,
                           "pid 48017 (17 inside), uid 0, runs a deleted file: /tmp/implant"),
                   finding("F2", "CT-EXEC-002", Severity::critical, "pid 48018 runs from memory: " + kEvil),
                   finding("F3", "CT-FILE-001", Severity::high,
                           "setuid or setgid root file (added): /usr/local/bin/.httpd")};
  into.findings[0].pid = 48017;
  into.findings[1].pid = 48018;
  into.findings[2].artifact = "file_change";
  into.findings[2].path = Bytes("/usr/local/bin/.httpd");
  const auto gap = [](Impact impact, std::string artifact, std::string origin, Errc code,
                      std::string reason) {
    return GapRecord{impact, std::move(artifact),      Bytes(std::move(origin)),
                     code,   Bytes(std::move(reason)), {kStart, 0}};
  };
  into.gaps = {gap(Impact::note, "log", "app/0.log", Errc::changed, "grew while it was read"),
               gap(Impact::lost, "proc.process", "48350", Errc::vanished, "48350: exited while it was read")};
  for (int i = 0; i < 5; ++i) {
    into.gaps.push_back(gap(Impact::lost, "upper.file", "/a" + std::to_string(i) + kEvil, Errc::io,
                            "read: Input/output error"));
  }
}

}  // namespace

FakeSnapshot make_intrusion() {
  FakeSnapshot fake;
  fake.source.kind = "bundle";
  fake.source.target = Bytes("shop/web-7d9f8c6b5-x2x4q");
  fake.source.node = Bytes("ip-10-0-3-17");
  fake.source.kernel = Bytes("6.1.0-40-amd64");
  fake.source.machine = "x86_64";
  fake.source.os = Bytes("Debian GNU/Linux 12 (bookworm)");
  fake.source.taken_at = Timestamp{kStart + 900, 1};
  fake.source.booted_at = Timestamp{kStart - 86'400, 0};
  fake.source.tool = "ctriage 0.2.0";

  Container container;
  container.id = kApp;
  container.name = Bytes("app");
  container.engine = "containerd";
  container.pod = PodRef{"shop", "web-7d9f8c6b5-x2x4q", "", ""};
  container.state = ContainerState::running;
  container.attempt = 3;
  container.started_at = Timestamp{kStart, 0};
  container.image = Bytes("registry.local/shop/web:1.4.2");
  container.args = {Bytes("/app/start"), Bytes("--name=\x1b[31m\"x\"")};
  container.capabilities = {"CAP_CHOWN", "CAP_NET_RAW"};
  container.rights = {"hostPID"};
  container.seccomp = true;
  fake.containers.push_back(std::move(container));
  add_processes(fake);
  add_handles(fake);
  add_changes(fake);
  add_verdicts(fake);
  return fake;
}

}  // namespace ctriage::test
