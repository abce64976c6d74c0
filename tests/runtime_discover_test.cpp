// Real processes that look like shims: a shell under the name containerd-shim-test whose working directory is
// a bundle and whose child is the container's init. What a real containerd does is in tests/integration.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "lib/runtime/runtime.h"

namespace ctriage::runtime {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A process group of ours: ended as a whole, so that the children of the shell go with it.
class Group {
 public:
  Group() = default;
  explicit Group(pid_t leader) : leader_(leader) {}
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  Group(Group&& other) noexcept : leader_(std::exchange(other.leader_, 0)) {}
  Group& operator=(Group&& other) noexcept {
    end();
    leader_ = std::exchange(other.leader_, 0);
    return *this;
  }
  ~Group() { end(); }
  void end() {
    if (leader_ == 0) return;
    kill(-leader_, SIGKILL);
    waitpid(leader_, nullptr, 0);
    leader_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return leader_; }

 private:
  pid_t leader_ = 0;
};

enum class Place { node, own_pid_namespace, other_user };

class Discover : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: a shim is root's";
    std::array<char, 32> name{"/tmp/ctriage_shim.XXXXXX"};
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    base_ = name.data();
    fs::permissions(base_, fs::perms(0755));
    set_ = base_ + "/state/io.containerd.runtime.v2.task/k8s.io";
    fs::create_directories(set_);
    fs::copy_file("/bin/sh", base_ + "/containerd-shim-test");
    fs::copy_file("/bin/sh", base_ + "/some-shell");
    fs::copy_file("/bin/sh", base_ + "/conmon");
  }
  void TearDown() override {
    groups_.clear();
    if (!base_.empty()) fs::remove_all(base_);
  }

  std::string bundle(const std::string& id, const std::string& spec = "{}") {
    const std::string path = set_ + "/" + id;
    fs::create_directories(path);
    std::ofstream(path + "/config.json") << spec;
    fs::create_symlink(base_ + "/root/io.containerd.runtime.v2.task/k8s.io/" + id, path + "/work");
    return path;
  }

  // Starts a shell in `directory`; `script` ends with one that stays. Returns once "ready" lies in the
  // directory.
  pid_t start(const std::string& directory, const std::string& script,
              const char* program = "containerd-shim-test", Place place = Place::node) {
    const std::string path = base_ + "/" + program;
    const std::string ready = base_ + "/ready";
    const std::string whole = script + "; : > " + ready + "; wait";
    fs::permissions(base_, fs::perms(0777));
    fs::remove(ready);
    const pid_t pid = fork();
    if (pid == 0) {
      setpgid(0, 0);
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
      if (chdir(directory.c_str()) != 0) _exit(1);
      if (place == Place::other_user && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
      if (place == Place::own_pid_namespace) {
        if (unshare(CLONE_NEWPID) != 0) _exit(1);
        if (const pid_t inner = fork(); inner != 0) {
          waitpid(inner, nullptr, 0);
          _exit(0);
        }
      }
      execl(path.c_str(), program, "-c", whole.c_str(), nullptr);
      _exit(1);
    }
    groups_.emplace_back(pid);
    for (int i = 0; i < 500 && !fs::exists(ready); ++i) usleep(10'000);
    EXPECT_TRUE(fs::exists(ready)) << "the shell did not start";
    return pid;
  }

  // What list_containers says of this test's directory; other containers of the machine are none of our
  // business.
  void list() {
    GapLog gaps;
    const std::atomic<bool> stop{false};
    Task task{gaps, stop, [] { return Timestamp{}; }};
    const auto proc = Root::open("/proc");
    ASSERT_TRUE(proc) << proc.error().what;
    auto all = list_containers(*proc, task);
    ASSERT_TRUE(all) << all.error().what;
    found_.clear();
    gaps_.clear();
    for (Found& found : *all) {
      if (found.container.bundle_dir.raw.starts_with(base_)) found_.push_back(std::move(found));
    }
    for (const Gap& gap : gaps.kept()) {
      bool ours = gap.origin.starts_with(base_);
      for (const Group& group : groups_) ours = ours || gap.origin == "pid " + std::to_string(group.pid());
      if (ours || gap.error.what.find(base_) != std::string::npos) gaps_.push_back(gap);
    }
  }
  const Found* find(const std::string& id) {
    const auto at =
        std::find_if(found_.begin(), found_.end(), [&](const Found& f) { return f.container.id == id; });
    return at == found_.end() ? nullptr : &*at;
  }
  std::vector<std::string> gap_texts() {
    std::vector<std::string> texts;
    for (const Gap& gap : gaps_) texts.push_back(gap.error.what);
    return texts;
  }

  std::string base_;
  std::string set_;
  std::vector<Group> groups_;
  std::vector<Found> found_;
  std::vector<Gap> gaps_;
};

std::string pod_spec(const std::string& type, const std::string& name, const std::string& sandbox,
                     const std::string& logs) {
  return R"({"annotations":{"io.kubernetes.cri.container-type":")" + type +
         R"(","io.kubernetes.cri.sandbox-id":")" + sandbox +
         R"(","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":"web")" +
         (name.empty() ? "" : R"(,"io.kubernetes.cri.container-name":")" + name + '"') +
         (logs.empty() ? "" : R"(,"io.kubernetes.cri.sandbox-log-directory":")" + logs + '"') +
         R"(},"process":{"args":["/app"]},"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"}]}})";
}

// Who may not look says so, once: an empty list would read as "no containers here".
TEST_F(Discover, WhatIsClosedToUsIsOneGap) {
  start(bundle("web-id"), "sleep 60 & :");
  const auto proc = Root::open("/proc");
  ASSERT_TRUE(proc) << proc.error().what;
  GapLog gaps;
  const std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  ASSERT_EQ(seteuid(65534), 0);  // takes the effective capabilities along
  const auto all = list_containers(*proc, task);
  ASSERT_EQ(seteuid(0), 0);
  ASSERT_TRUE(all) << all.error().what;
  for (const Found& found : *all) {  // known by their cgroups, which are open to all
    EXPECT_TRUE(found.container.bundle_dir.empty()) << found.container.bundle_dir.raw;
  }
  std::vector<Gap> shims;
  for (const Gap& gap : gaps.kept()) {
    if (gap.artifact == "runtime.shim") shims.push_back(gap);
  }
  ASSERT_THAT(shims, SizeIs(1));
  const Gap& gap = shims.front();
  EXPECT_EQ(gap.impact, Impact::lost);
  EXPECT_THAT(gap.origin, HasSubstr("process"));
  EXPECT_THAT(gap.error.what, HasSubstr("named containerd-shim"));
  EXPECT_THAT(gap.error.what, HasSubstr("CAP_SYS_PTRACE"));
}

TEST_F(Discover, APodThatOneShimServes) {
  const std::string logs = base_ + "/pods/shop_web_uid-1";
  fs::create_directories(logs + "/app");
  for (const char* log : {"2.log", "11.log", "x.log", "12.log.gz"})
    std::ofstream(logs + "/app/" + log) << "x";
  const std::string sandbox = bundle("sandbox", pod_spec("sandbox", "", "sandbox", logs));
  const std::string app = bundle("app-id", pod_spec("container", "app", "sandbox", ""));
  const pid_t shim =
      start(sandbox, "sleep 100 & printf %s $! > init.pid; sleep 101 & echo $! > ../app-id/init.pid");
  list();
  ASSERT_THAT(found_, SizeIs(2)) << testing::PrintToString(gap_texts());
  EXPECT_THAT(gaps_, testing::IsEmpty()) << testing::PrintToString(gap_texts());
  EXPECT_TRUE(found_[0].container.sandbox);
  const Container& container = found_[1].container;
  EXPECT_EQ(container.id, "app-id");
  EXPECT_EQ(container.name.raw, "app");
  EXPECT_EQ(container.engine, "containerd");
  EXPECT_EQ(container.engine_namespace.raw, "k8s.io");
  EXPECT_EQ(container.engine_root.raw, base_ + "/root");
  EXPECT_EQ(container.bundle_dir.raw, app);
  EXPECT_EQ(container.log_dir.raw, logs + "/app");
  EXPECT_EQ(container.attempt, 11U);
  EXPECT_EQ(container.pod->uid, "uid-1");
  EXPECT_EQ(container.state, ContainerState::running);
  EXPECT_GT(container.init_pid, 1);
  EXPECT_GT(container.init_start_ticks, 0U);
  ASSERT_TRUE(container.created_at);
  ASSERT_TRUE(container.started_at);
  EXPECT_LT(std::abs(container.started_at->seconds - container.created_at->seconds), 10);
  EXPECT_EQ(found_[1].shim_pid, shim);
  EXPECT_EQ(found_[0].shim_pid, shim);
  EXPECT_EQ(found_[1].raw_spec, pod_spec("container", "app", "sandbox", ""));
  // The spec asks for namespaces of its own; the process has the node's.
  EXPECT_THAT(container.rights, ElementsAre("hostPID", "hostNetwork", "hostIPC"));

  groups_.clear();
  list();
  EXPECT_THAT(found_, testing::IsEmpty()) << "a bundle without a shim was listed";
}

TEST_F(Discover, WhatInitPidMeans) {
  const std::string own = bundle("own");
  bundle("not-yet");
  bundle("gone");
  bundle("reused");
  bundle("garbage");
  bundle("huge");
  std::ofstream(set_ + "/gone/init.pid") << "4194303";
  std::ofstream(set_ + "/reused/init.pid") << "1";  // lives, but is nobody's child of ours
  std::ofstream(set_ + "/garbage/init.pid") << "7x";
  std::ofstream(set_ + "/huge/init.pid") << std::string(100, '1');
  start(own, "sleep 100 & echo $! > init.pid");
  list();
  ASSERT_THAT(found_, SizeIs(6));
  EXPECT_EQ(find("own")->container.state, ContainerState::running);
  EXPECT_EQ(find("not-yet")->container.state, ContainerState::created);
  EXPECT_EQ(find("gone")->container.state, ContainerState::exited);
  EXPECT_EQ(find("reused")->container.state, ContainerState::exited);
  EXPECT_EQ(find("reused")->container.init_pid, 0);
  EXPECT_EQ(find("garbage")->container.state, ContainerState::unknown);
  EXPECT_EQ(find("huge")->container.state, ContainerState::unknown);
  EXPECT_THAT(gap_texts(),
              testing::UnorderedElementsAre(HasSubstr("/garbage/init.pid"), HasSubstr("/huge/init.pid")));
  for (const Gap& gap : gaps_) EXPECT_EQ(gap.impact, Impact::lost);
}

TEST_F(Discover, OneDamagedBundleCostsOnlyItself) {
  const std::string good = bundle("good");
  bundle("cut", R"({"process":{"args":["/ap)");
  bundle("no-spec");
  bundle("fifo");
  bundle("link");
  bundle("bad-work");
  bundle(".deleting");
  fs::create_directories(set_ + "/bad name\x1b[31m");
  std::ofstream(set_ + "/file") << "x";
  fs::remove(set_ + "/no-spec/config.json");
  std::ofstream(set_ + "/no-spec/init.pid") << "4194303";
  fs::create_directories(set_ + "/being-made");
  fs::remove(set_ + "/fifo/config.json");
  ASSERT_EQ(mkfifo((set_ + "/fifo/config.json").c_str(), 0600), 0);
  fs::remove(set_ + "/link/config.json");
  fs::create_symlink("/etc/hostname", set_ + "/link/config.json");
  fs::remove(set_ + "/bad-work/work");
  fs::create_symlink("/etc", set_ + "/bad-work/work");
  start(good, "sleep 100 & echo $! > init.pid");
  list();
  ASSERT_THAT(found_, SizeIs(6)) << testing::PrintToString(gap_texts());
  EXPECT_EQ(find("good")->container.state, ContainerState::running);
  EXPECT_EQ(find("cut")->container.name.raw, "cut");
  EXPECT_EQ(find("cut")->raw_spec, R"({"process":{"args":["/ap)");
  EXPECT_EQ(find("link")->raw_spec, "");
  EXPECT_TRUE(find("bad-work")->container.engine_root.empty());
  for (const char* file :
       {"/cut/config.json", "/no-spec/config.json", "/fifo/config.json", "/link/config.json",
        "/bad-work/work", "/.deleting", "/bad name", "/file", "/being-made"}) {
    EXPECT_THAT(gap_texts(), Contains(HasSubstr(set_ + file)));
  }
  EXPECT_THAT(gaps_, SizeIs(9));
  for (const Gap& gap : gaps_) {
    const bool by_design = gap.origin.ends_with("/.deleting") || gap.origin.ends_with("/being-made") ||
                           gap.origin.ends_with("/file");
    EXPECT_EQ(gap.impact, by_design ? Impact::note : Impact::lost) << gap.error.what;
  }
}

TEST_F(Discover, WhoPlaysShimIsAGapAndNoMore) {
  const std::string real = bundle("real");
  const std::string played = bundle("played");
  fs::permissions(played, fs::perms(0777));
  const struct {
    const char* name;
    const char* program;
    Place place;
  } cases[] = {
      {"in a pid namespace", "containerd-shim-test", Place::own_pid_namespace},
      {"as another user", "containerd-shim-test", Place::other_user},
      {"under another name", "some-shell", Place::node},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    start(played, "sleep 100 & echo $! > init.pid || :", c.program, c.place);
    list();
    EXPECT_THAT(found_, testing::IsEmpty());
    groups_.clear();
  }
  start("/tmp", "sleep 100 & :");
  list();
  EXPECT_THAT(found_, testing::IsEmpty());
  EXPECT_THAT(gap_texts(), ElementsAre(HasSubstr("not a bundle: /tmp")));
}

TEST_F(Discover, WhatPlaysShimIsNamed) {
  const std::string played = bundle("played");
  fs::permissions(played, fs::perms(0777));
  const pid_t user = start(played, "sleep 100 & :", "containerd-shim-test", Place::other_user);
  list();
  ASSERT_THAT(gaps_, SizeIs(1));
  EXPECT_EQ(gaps_[0].origin, "pid " + std::to_string(user));
  EXPECT_EQ(gaps_[0].impact, Impact::note);
  EXPECT_THAT(gaps_[0].error.what, HasSubstr("does not run as root"));
}

std::string capture(const std::string& name) {
  std::ifstream in(CTRIAGE_TESTDATA "/runtime/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

// What conmon does: keeps its bundle's pipe open; its child is in a mount namespace of its own.
constexpr const char* kMonitor = "exec 9<>ctl 8>>../../../logs/ctr.log; unshare -m sleep 100 & sleep 0.2";

TEST_F(Discover, APodOfCrio) {
  const std::string storage = base_ + "/lib";
  const std::string id = std::string(60, 'c') + "0001";
  const std::string bundle = base_ + "/run/overlay-containers/" + id + "/userdata";
  fs::create_directories(bundle);
  fs::create_directories(base_ + "/run/logs");
  fs::create_directories(storage + "/overlay-containers");
  ASSERT_EQ(mkfifo((bundle + "/ctl").c_str(), 0600), 0);
  std::ofstream(bundle + "/config.json")
      << replaced(capture("crio-container.json"), "/var/lib/containers/storage", storage);
  std::ofstream(storage + "/overlay-containers/volatile-containers.json")
      << capture("crio-volatile-containers.json");
  const pid_t monitor = start(bundle, kMonitor, "conmon");
  list();
  ASSERT_THAT(found_, SizeIs(1)) << testing::PrintToString(gap_texts());
  EXPECT_THAT(gaps_, testing::IsEmpty()) << testing::PrintToString(gap_texts());
  const Container& container = found_[0].container;
  EXPECT_EQ(container.id, id);
  EXPECT_EQ(container.engine, "cri-o");
  EXPECT_EQ(container.engine_namespace.raw, "");
  EXPECT_EQ(container.name.raw, "app");
  ASSERT_TRUE(container.pod);
  EXPECT_EQ(container.pod->name, "web-7d9f8c6b5-x2x4q");
  EXPECT_EQ(container.attempt, 2U);
  EXPECT_EQ(container.engine_root.raw, storage);
  EXPECT_EQ(container.record.raw, storage + "/overlay-containers/volatile-containers.json");
  EXPECT_EQ(container.state, ContainerState::running);
  EXPECT_EQ(found_[0].shim_pid, monitor);
  EXPECT_GT(container.init_pid, 0);
}

TEST_F(Discover, PodmanAndItsDamagedRecords) {
  const std::string id = "5ea65b8435ffbd51f275fd5592726f1696b93955e7badff4a9e853e9839a0f1f";
  const std::string storage = base_ + "/lib";
  const std::string bundle = storage + "/overlay-containers/" + id + "/userdata";
  fs::create_directories(bundle);
  fs::create_directories(storage + "/logs");
  ASSERT_EQ(mkfifo((bundle + "/ctl").c_str(), 0600), 0);
  const std::string spec = replaced(capture("podman-container.json"), "/var/lib/containers/storage", storage);
  const std::string records = capture("podman-containers.json");
  const std::string records_path = storage + "/overlay-containers/containers.json";
  const struct {
    const char* what;
    std::string spec;
    std::string records;
    const char* name;
    const char* image;
    std::vector<std::string> gaps;
  } cases[] = {
      {"whole", spec, records, "pweb", "localhost/app:1", {}},
      {"cut spec", spec.substr(0, 900), records, "pweb", "localhost/app:1", {bundle + "/config.json"}},
      {"cut records", spec, records.substr(0, 400), id.c_str(), "", {records_path}},
      {"records of another type", spec, "{\"a\":1}", id.c_str(), "", {records_path}},
      {"an id that leads elsewhere", spec, R"([{"id":"../../etc"}])", id.c_str(), "", {records_path}},
      {"no spec", "", records, "pweb", "localhost/app:1", {bundle + "/config.json"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    std::ofstream(bundle + "/config.json") << c.spec;
    if (c.spec.empty()) fs::remove(bundle + "/config.json");
    std::ofstream(records_path) << c.records;
    start(bundle, kMonitor, "conmon");
    list();
    groups_.clear();
    ASSERT_THAT(found_, SizeIs(1)) << testing::PrintToString(gap_texts());
    const Container& container = found_[0].container;
    EXPECT_EQ(container.engine, "podman");
    EXPECT_EQ(container.id, id);
    EXPECT_EQ(container.name.raw, c.name);
    EXPECT_EQ(container.image.raw, c.image);
    EXPECT_EQ(container.state, ContainerState::running);
    EXPECT_EQ(container.log_dir.raw, base_ + "/lib/logs");
    ASSERT_EQ(gaps_.size(), c.gaps.size()) << testing::PrintToString(gap_texts());
    for (const std::string& gap : c.gaps) EXPECT_THAT(gap_texts(), Contains(HasSubstr(gap)));
  }
}

TEST_F(Discover, WhoPlaysMonitor) {
  const std::string bundle = base_ + "/lib/overlay-containers/abc/userdata";
  fs::create_directories(bundle + "/session");
  fs::create_directories(base_ + "/lib/logs");
  ASSERT_EQ(mkfifo((bundle + "/ctl").c_str(), 0666), 0);
  ASSERT_EQ(mkfifo((bundle + "/session/ctl").c_str(), 0666), 0);
  fs::permissions(bundle + "/ctl", fs::perms(0666));
  std::ofstream(bundle + "/config.json") << "{}";
  const struct {
    const char* name;
    std::string script;
    Place place;
    std::vector<std::string> gaps;
  } cases[] = {
      {"in a pid namespace",
       "exec 9<>ctl; sleep 100 &",
       Place::own_pid_namespace,
       {}},  // a gap of the inner process, whose pid we do not know
      {"root's bundle, by a user", "exec 9<>ctl; sleep 100 &", Place::other_user, {"belongs to uid 0"}},
      {"no bundle", "sleep 100 &", Place::node, {"has no bundle's control pipe open"}},
      {"an exec session", "exec 9<>session/ctl; sleep 100 &", Place::node, {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    start(bundle, c.script + " :", "conmon", c.place);
    list();
    groups_.clear();
    EXPECT_THAT(found_, testing::IsEmpty());
    ASSERT_EQ(gaps_.size(), c.gaps.size()) << testing::PrintToString(gap_texts());
    for (const std::string& gap : c.gaps) EXPECT_THAT(gap_texts(), Contains(HasSubstr(gap)));
  }
}

// The user's own storage: Podman without root.
TEST_F(Discover, ARootlessMonitor) {
  const std::string bundle = base_ + "/lib/overlay-containers/abc/userdata";
  fs::create_directories(bundle);
  ASSERT_EQ(mkfifo((bundle + "/ctl").c_str(), 0600), 0);
  std::ofstream(bundle + "/config.json") << "{}";
  for (const std::string& path : {bundle, bundle + "/ctl"}) ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  start(bundle, "exec 9<>ctl; sleep 100 & :", "conmon", Place::other_user);
  list();
  ASSERT_THAT(found_, SizeIs(1)) << testing::PrintToString(gap_texts());
  EXPECT_EQ(found_[0].container.engine, "podman");
  EXPECT_EQ(found_[0].container.engine_namespace.raw, "uid 65534");
  EXPECT_EQ(found_[0].container.state, ContainerState::created);  // no child is in namespaces of its own
}

TEST_F(Discover, DockerWithContainerdsImageStore) {
  const std::string id = "1eea461f1d1091914f7cd58f9d6960114167c3b359a35584e0079a663736fb2d";
  const std::string data = base_ + "/data";
  set_ = base_ + "/state/io.containerd.runtime.v2.task/moby-1000.1000";
  const std::string own = bundle(
      id, R"({"root":{"path":")" + data + "/rootfs/overlayfs/" + id + R"("},"process":{"args":["/x"]}})");
  std::ofstream(own + "/bootstrap.json") << R"({"version":3,"address":"unix:///x","protocol":"ttrpc"})";
  fs::create_directories(data + "/containers/" + id);
  const std::string record = data + "/containers/" + id + "/config.v2.json";
  std::ofstream(record) << capture("docker29-config.v2.json");
  start(own, "sleep 100 & printf %s $! > init.pid");
  list();
  ASSERT_THAT(found_, SizeIs(1)) << testing::PrintToString(gap_texts());
  const Container& container = found_[0].container;
  EXPECT_EQ(container.engine, "docker");
  EXPECT_EQ(container.engine_namespace.raw, "moby-1000.1000");
  EXPECT_EQ(container.name.raw, "web");
  EXPECT_EQ(container.image_digest.raw.substr(0, 11), "sha256:abab");
  EXPECT_EQ(container.engine_root.raw, data);
  EXPECT_EQ(container.record.raw, record);
  EXPECT_EQ(container.state, ContainerState::running);
  EXPECT_FALSE(container.finished_at) << "what an earlier run left does not hold for a running one";
  EXPECT_EQ(container.args.front().raw, "/x") << "the bundle is what runs";

  for (const char* text : {"", "[]", "{\"ID\":\"other\"}", "{\"ID\":7}"}) {
    std::ofstream(record) << text;
    list();
    ASSERT_THAT(found_, SizeIs(1)) << text;
    EXPECT_EQ(found_[0].container.name.raw, id) << text;
    EXPECT_THAT(gap_texts(), ElementsAre(HasSubstr(record))) << text;
  }
  fs::remove(record);
  fs::create_symlink("/etc/hostname", record);  // inside the node, but no record
  list();
  EXPECT_THAT(gap_texts(), ElementsAre(HasSubstr(record)));
}

TEST_F(Discover, StopsWhenAsked) {
  const std::string own = bundle("own");
  start(own, "sleep 100 & echo $! > init.pid");
  GapLog gaps;
  const std::atomic<bool> stop{true};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  const auto proc = Root::open("/proc");
  ASSERT_TRUE(proc);
  const auto all = list_containers(*proc, task);
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, Errc::stopped);
}

}  // namespace
}  // namespace ctriage::runtime
