// What the engines left on disk, in trees made here; the real ones are in tests/integration.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/runtime/records.h"
#include "tests/bolt_writer.h"
#include "tests/temp_dir.h"

namespace ctriage::runtime {
namespace {

namespace fs = std::filesystem;
using namespace bolt_writer;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kId = "5ea65b8435ffbd51f275fd5592726f1696b93955e7badff4a9e853e9839a0f1f";

std::string capture(const std::string& name) {
  std::ifstream in(CTRIAGE_TESTDATA "/runtime/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string any(const std::string& value) {
  std::string out = "\x0a\x03url\x12";
  for (std::size_t rest = value.size();; rest >>= 7) {
    out += static_cast<char>((rest & 0x7F) | (rest > 0x7F ? 0x80 : 0));
    if (rest <= 0x7F) break;
  }
  return out + value;
}

// 2026-11-22T05:13:07.5Z as Go writes it
const std::string kGoTime("\x01\x00\x00\x00\x0e\xe2\x94\x70\xe3\x1d\xcd\x65\x00\xff\xff", 15);

class Records : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(base_.path() + path).parent_path());
    std::ofstream(base_.path() + path, std::ios::binary) << text;
  }
  [[nodiscard]] Root node() const { return Root::open(base_.path()).value(); }
  std::vector<std::string> gaps() {
    std::vector<std::string> texts;
    for (const Gap& gap : log_.kept()) texts.push_back(gap.error.what);
    return texts;
  }
  void containerd() {
    EngineRoot root{node(), "/root"};
    ASSERT_TRUE(add_containerd_records(root, found_, task_));
    ASSERT_TRUE(add_removed_containers(root, found_, task_));
  }

  TempDir base_;
  GapLog log_;
  std::atomic<bool> stop_{false};
  Task task_{log_, stop_, [] { return Timestamp{}; }};
  std::vector<Found> found_;
};

const std::string kMeta = "/root/io.containerd.metadata.v1.bolt/meta.db";

std::string spec(const std::string& cgroup) {
  return R"({"process":{"args":["/bin/sh","-c","exit 7"]},"root":{"path":"rootfs"},"linux":{"cgroupsPath":")" +
         cgroup + R"("}})";
}

std::vector<Leaf> container(const std::string& id, const std::string& json) {
  return {{"createdat", kGoTime},
          {"image", "localhost/app:1"},
          {"labels", bucket(0, leaf(0, {{"tier", "front"}})), true},
          {"snapshotKey", id},
          {"spec", any(json)}};
}

// v1/default/containers/job on page 4; what was /default/gone before on page 5, to which nothing leads.
std::string metadata() {
  const std::string image =
      bucket(0, leaf(0, {{"target", bucket(0, leaf(0, {{"digest", "sha256:abcd"}})), true}}));
  const std::string images = bucket(0, leaf(0, {{"localhost/app:1", image, true}}));
  const std::string all = bucket(0, leaf(0, {{"job", bucket(4), true}}));
  const std::string space = bucket(0, leaf(0, {{"containers", all, true}, {"images", images, true}}));
  return file({meta(0, 3, 6, 9), meta(1, 3, 6, 8), header(2, 16, 0),
               leaf(3, {{"v1", bucket(0, leaf(0, {{"default", space, true}})), true}}),
               leaf(4, container("job", spec("/default/job"))),
               leaf(5, container("gone", spec("/other/gone")))});
}

TEST_F(Records, ContainerdWithoutATask) {
  write(kMeta, metadata());
  containerd();
  ASSERT_THAT(found_, SizeIs(2)) << testing::PrintToString(gaps());
  EXPECT_THAT(gaps(), IsEmpty());
  const Container& job = found_[0].container;
  EXPECT_EQ(job.id, "job");
  EXPECT_EQ(job.engine, "containerd");
  EXPECT_EQ(job.engine_namespace.raw, "default");
  EXPECT_EQ(job.engine_root.raw, "/root");
  EXPECT_EQ(job.state, ContainerState::exited);
  EXPECT_EQ(job.image.raw, "localhost/app:1");
  EXPECT_EQ(job.image_digest.raw, "sha256:abcd");
  EXPECT_THAT(job.labels, ElementsAre(Bytes("tier=front")));
  EXPECT_THAT(job.args, SizeIs(3));
  EXPECT_EQ(job.record.raw, kMeta);
  ASSERT_TRUE(job.created_at);
  EXPECT_EQ(to_rfc3339(*job.created_at), "2026-11-22T05:13:07.500000000Z");
  const Container& gone = found_[1].container;
  EXPECT_EQ(gone.id, "gone");
  EXPECT_EQ(gone.state, ContainerState::recovered);
  EXPECT_EQ(gone.engine_namespace.raw, "other");
}

TEST_F(Records, ContainerdCompletesWhatRuns) {
  write(kMeta, metadata());
  Found running;
  running.container.id = "job";
  running.container.engine = "containerd";
  running.container.engine_namespace = Bytes("default");
  running.container.engine_root = Bytes("/root");
  running.container.bundle_dir = Bytes("/run/x/default/job");
  running.container.state = ContainerState::running;
  running.container.init_pid = 17;
  Found other = running;  // the same id in another namespace is another container
  other.container.engine_namespace = Bytes("third");
  found_ = {other, running};
  containerd();
  ASSERT_THAT(found_, SizeIs(3));
  EXPECT_EQ(found_[0].container.image.raw, "");
  EXPECT_EQ(found_[1].container.image.raw, "localhost/app:1");
  EXPECT_EQ(found_[1].container.state, ContainerState::running);
  EXPECT_EQ(found_[2].container.id, "gone");
}

TEST_F(Records, CriStatus) {
  write(kMeta, metadata());
  const std::string status = "/root/io.containerd.grpc.v1.cri/containers/job/status";
  write(status, R"({"Version":"v1","Pid":0,"CreatedAt":1,"StartedAt":1795324387000000000,)"
                R"("FinishedAt":1795324388500000000,"ExitCode":137})");
  containerd();
  EXPECT_EQ(found_[0].container.exit_code, 137);
  ASSERT_TRUE(found_[0].container.finished_at);
  EXPECT_EQ(found_[0].container.finished_at->nanoseconds, 500'000'000U);
  found_.clear();
  write(status, R"({"StartedAt":0,"FinishedAt":0})");
  containerd();
  EXPECT_EQ(found_[0].container.state, ContainerState::created);
  found_.clear();
  write(status, R"({"StartedAt":"x"})");
  containerd();
  EXPECT_EQ(found_[0].container.state, ContainerState::exited);
  EXPECT_THAT(gaps(), ElementsAre(HasSubstr(status)));
}

// Whatever happens to the file: no container but those that are in it, and an error that names it.
TEST_F(Records, DamagedMetadata) {
  const std::string whole = metadata();
  for (std::size_t size = 0; size < whole.size(); size += 997) {
    SCOPED_TRACE(size);
    write(kMeta, whole.substr(0, size));
    GapLog gaps;
    Task task = task_.with(gaps);
    found_.clear();
    ASSERT_TRUE(add_containerd_records({node(), "/root"}, found_, task));
    for (const Found& one : found_) EXPECT_EQ(one.container.id, "job");
    if (size < 5 * kPage) {
      ASSERT_THAT(gaps.kept(), testing::Not(IsEmpty()));
      for (const Gap& gap : gaps.kept()) {
        EXPECT_EQ(gap.impact, Impact::lost);
        EXPECT_THAT(gap.error.what, HasSubstr(kMeta));
      }
    }
  }
  write(kMeta, file({meta(0, 3, 6, 9), "", "", branch(3, {3, 3})}));
  found_.clear();
  containerd();
  EXPECT_THAT(found_, IsEmpty());
  EXPECT_THAT(gaps(), ElementsAre(HasSubstr("a loop")));
}

TEST_F(Records, ASpecThatIsNone) {
  for (const std::string& value :
       {std::string(), std::string("\x12\xff\xff\xff\xff\x0f"), any("{"), any("[]")}) {
    std::string bytes = file(
        {meta(0, 3, 5, 9), "", "",
         leaf(3,
              {{"v1",
                bucket(0,
                       leaf(0, {{"ns",
                                 bucket(0, leaf(0, {{"containers",
                                                     bucket(0, leaf(0, {{"job", bucket(4), true}})), true}})),
                                 true}})),
                true}}),
         leaf(4, {{"snapshotKey", "job"}, {"spec", value}})});
    write(kMeta, bytes);
    found_.clear();
    GapLog gaps;
    Task task = task_.with(gaps);
    ASSERT_TRUE(add_containerd_records({node(), "/root"}, found_, task));
    ASSERT_THAT(found_, SizeIs(1));
    EXPECT_EQ(found_[0].container.name.raw, "job");
    ASSERT_THAT(gaps.kept(), SizeIs(1));
    EXPECT_THAT(gaps.kept().front().error.what, HasSubstr(kMeta + ": container job"));
  }
}

TEST_F(Records, Docker) {
  const std::string id = "1eea461f1d1091914f7cd58f9d6960114167c3b359a35584e0079a663736fb2d";
  write("/data/containers/" + id + "/config.v2.json", capture("docker29-config.v2.json"));
  write("/data/containers/cut/config.v2.json", R"({"ID":"cut)");
  fs::create_directories(base_.path() + "/data/containers/fifo");
  ASSERT_EQ(mkfifo((base_.path() + "/data/containers/fifo/config.v2.json").c_str(), 0600), 0);
  fs::create_directories(base_.path() + "/data/containers/being-made");
  fs::create_directories(base_.path() + "/data/containers/bad name");
  fs::create_symlink("../../elsewhere", base_.path() + "/data/containers/link");
  write("/elsewhere/config.v2.json", R"({"ID":"link"})");
  ASSERT_TRUE(add_docker_records(node(), {"/data", "/none"}, found_, task_));
  std::vector<std::string> names;
  for (const Found& one : found_) names.push_back(one.container.name.raw);
  EXPECT_THAT(names, testing::UnorderedElementsAre("web", "cut", "fifo"))
      << "a link is not followed out of it";
  EXPECT_THAT(gaps(), testing::UnorderedElementsAre(HasSubstr("/data/containers/cut/"),
                                                    HasSubstr("/data/containers/fifo/")));
  const auto web =
      std::find_if(found_.begin(), found_.end(), [&](const Found& one) { return one.container.id == id; });
  EXPECT_EQ(web->container.state, ContainerState::exited);
  EXPECT_EQ(web->container.exit_code, 137);
  EXPECT_EQ(web->container.engine_root.raw, "/data");
}

std::string podman_database(const std::string& config, const std::string& state) {
  return file({meta(0, 3, 6, 9), "", "",
               leaf(3, {{"ctr", bucket(0, leaf(0, {{kId, bucket(4), true}})), true}}),
               leaf(4, {{"config", config}, {"state", state}})});
}

TEST_F(Records, PodmanAndCrioThatEnded) {
  const std::string storage = "/lib";
  const std::string crio = std::string(60, 'c') + "0001";
  write(storage + "/overlay-containers/containers.json", capture("podman-containers.json"));
  write(storage + "/overlay-containers/volatile-containers.json", capture("crio-volatile-containers.json"));
  write(storage + "/overlay-containers/" + kId + "/userdata/config.json", capture("podman-container.json"));
  write(storage + "/overlay-containers/" + crio + "/userdata/config.json", capture("crio-container.json"));
  write(storage + "/overlay-containers/" + crio + "/userdata/state.json",
        R"({"started":"2026-11-22T05:13:08Z","finished":"2026-11-22T05:14:08Z","exitCode":1})");
  write(
      storage + "/libpod/bolt_state.db",
      podman_database(
          R"({"id":")" + kId + R"(","name":"pweb","labels":{"a":"b"},"rootfsImageName":"localhost/app:1"})",
          R"({"state":6,"startedTime":"2026-11-22T05:13:08Z","finishedTime":"2026-11-22T05:15:08Z","exitCode":7})"));
  Storages storages;
  ASSERT_NE(storages.find(node(), storage + "/overlay/x/merged", task_), nullptr);
  ASSERT_TRUE(add_storage_records(storages, found_, task_));
  EXPECT_THAT(gaps(), IsEmpty());
  const Found* podman = find_container(found_, kId, storage);
  ASSERT_NE(podman, nullptr);
  EXPECT_EQ(podman->container.engine, "podman");
  EXPECT_EQ(podman->container.name.raw, "pweb");
  EXPECT_EQ(podman->container.state, ContainerState::exited);
  EXPECT_EQ(podman->container.exit_code, 7);
  EXPECT_THAT(podman->container.labels, ElementsAre(Bytes("a=b")));
  const Found* app = find_container(found_, crio, storage);
  ASSERT_NE(app, nullptr);
  EXPECT_EQ(app->container.engine, "cri-o");
  EXPECT_EQ(app->container.name.raw, "app");
  ASSERT_TRUE(app->container.pod);
  EXPECT_EQ(app->container.pod->name, "web-7d9f8c6b5-x2x4q");
  EXPECT_EQ(app->container.state, ContainerState::exited);
  EXPECT_EQ(app->container.exit_code, 1);

  for (const auto& [config, state] : {std::pair<std::string, std::string>{"{", "{}"},
                                      {R"({"id":"another"})", "{}"},
                                      {R"({"id":")" + kId + "\"}", R"({"state":"x"})"},
                                      {R"({"id":")" + kId + "\"}", ""}}) {
    write(storage + "/libpod/bolt_state.db", podman_database(config, state));
    GapLog gaps;
    Task task = task_.with(gaps);
    found_.clear();
    ASSERT_TRUE(add_storage_records(storages, found_, task));
    ASSERT_NE(find_container(found_, kId, storage), nullptr);
    EXPECT_EQ(find_container(found_, kId, storage)->container.name.raw, "pweb");
    ASSERT_THAT(gaps.kept(), SizeIs(1));
    EXPECT_THAT(gaps.kept().front().error.what, HasSubstr("bolt_state.db: container " + kId));
  }
}

// A user's monitor leads to a storage that he wrote: what it says is his word, and shown as such.
TEST_F(Records, AStorageOfAUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: gives a directory away";
  write("/lib/overlay-containers/containers.json", R"([{"id":"one","names":["kube-apiserver"]}])");
  write("/lib/libpod/bolt_state.db",
        podman_database(R"({"id":")" + kId + R"(","name":"two"})", R"({"state":6})"));
  ASSERT_EQ(chown((base_.path() + "/lib/overlay-containers").c_str(), 65534, 65534), 0);
  Storages storages;
  ASSERT_NE(storages.find(node(), "/lib/overlay/x/merged", task_), nullptr);
  ASSERT_TRUE(add_storage_records(storages, found_, task_));
  ASSERT_THAT(found_, SizeIs(2));
  for (const Found& one : found_) EXPECT_EQ(one.container.engine_namespace.raw, "uid 65534");
}

TEST(GoTime, Forms) {
  EXPECT_EQ(to_rfc3339(parse_go_time(kGoTime).value()), "2026-11-22T05:13:07.500000000Z");
  for (std::size_t size = 0; size < kGoTime.size(); ++size)
    EXPECT_FALSE(parse_go_time(kGoTime.substr(0, size)));
  std::string other = kGoTime;
  other[0] = 9;
  EXPECT_FALSE(parse_go_time(other)) << "a version that is to come";
  EXPECT_FALSE(parse_go_time(std::string("\x01", 1) + std::string(14, '\0'))) << "never";
}

TEST(ProtobufAny, Forms) {
  EXPECT_EQ(value_of_any(any("{}")), "{}");
  EXPECT_EQ(value_of_any(any(std::string(300, 'x'))), std::string(300, 'x'));
  EXPECT_EQ(value_of_any(std::string("\x12\x00", 2)), "");
  EXPECT_EQ(value_of_any(""), std::nullopt);
  EXPECT_EQ(value_of_any("\x12"), std::nullopt);
  EXPECT_EQ(value_of_any("\x12\x05"
                         "abc"),
            std::nullopt);
  EXPECT_EQ(value_of_any("\x08\x01"), std::nullopt) << "a varint is not of an Any";
  EXPECT_EQ(value_of_any(std::string(1000, '\xff')), std::nullopt);
}

TEST(RecordParsers, WrongTypes) {
  Container container;
  container.id = "abc";
  for (const char* text :
       {"", "[]", R"({"started":7})", R"({"exitCode":"x"})", R"({"started":"2026-01-01"})"})
    EXPECT_FALSE(parse_crio_state(text, container)) << text;
  for (const char* text : {"", "[]", R"({"StartedAt":"x"})", R"({"Status":[]})"})
    EXPECT_FALSE(parse_cri_status(text, container)) << text;
  for (const char* text :
       {"", "[]", R"({"Metadata":7})", R"({"Metadata":{"Config":{"metadata":{"attempt":-1}}}})",
        R"({"Metadata":{"Config":{"metadata":{"attempt":"1"}}}})"})
    EXPECT_FALSE(parse_cri_metadata(text, container)) << text;
  EXPECT_TRUE(parse_cri_metadata(R"({"Version":"v1"})", container));
  EXPECT_EQ(container.attempt, 0U);
  EXPECT_TRUE(
      parse_cri_metadata(R"({"Metadata":{"Config":{"metadata":{"name":"c","attempt":3}}}})", container));
  EXPECT_EQ(container.attempt, 3U);
  for (const char* text : {"", "7", R"({"state":"x"})", R"({"finishedTime":1})"})
    EXPECT_FALSE(parse_podman_state(text, container)) << text;
  for (const char* text : {"", "{}", R"({"id":"abc","name":7})", R"({"id":"abc","labels":[]})"})
    EXPECT_FALSE(parse_podman_config(text, container)) << text;
}

}  // namespace
}  // namespace ctriage::runtime
