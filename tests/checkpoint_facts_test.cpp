// Real archives against what CRIU's own decoder says of them: testdata/checkpoint/README.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "lib/core/hash.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kData = CTRIAGE_TESTDATA "/checkpoint/";

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> raw(const std::vector<Bytes>& list) {
  std::vector<std::string> texts;
  for (const Bytes& each : list) texts.push_back(each.raw);
  return texts;
}

template <class T, class List>
std::vector<T> all(const List& list) {
  std::vector<T> items;
  const Emit<T> keep = [&](T&& item) {
    items.push_back(std::move(item));
    return Status(Done{});
  };
  EXPECT_TRUE(list(keep));
  return items;
}

// The kind of descriptor that a type of CRIU's is.
std::string kind_of(const std::string& type) {
  if (type == "REG") return "regular";
  if (type == "PIPE" || type == "FIFO") return "fifo";
  if (type == "INETSK" || type == "UNIXSK") return "socket";
  if (type == "TTY") return "character";
  return "anon";
}

// "10.0.0.1:80", and "[::]:80" of crit's ":::80".
std::string address_of(const std::string& fact) {
  const auto colon = fact.rfind(':');
  const std::string host = fact.substr(0, colon);
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + fact.substr(colon);
}

struct Case {
  const char* archive;
  const char* facts;
  bool memory;  // digests are of this archive
};

class CheckpointFacts : public testing::TestWithParam<Case> {};

void compare_process(const json& fact, const Process& process, CheckpointTasks& tasks, bool memory) {
  EXPECT_EQ(process.ppid, fact["ppid"]);
  EXPECT_EQ(process.threads, fact["threads"].size());
  EXPECT_EQ(process.comm.raw, fact["comm"]);
  EXPECT_EQ(process.exe.path.raw, fact["exe"]);
  EXPECT_EQ(process.exe.deleted, fact["exe_deleted"]);
  std::vector<std::string> environ = raw(process.environ);
  std::erase(environ, "");  // what nginx filled the rest with
  EXPECT_EQ(environ, fact["env"]);
  if (fact["argv"]
          .empty()) {  // crit leaves out a text without an end; the kernel goes on into the environment
    ASSERT_EQ(process.argv.size(), 1U);
    EXPECT_EQ(process.argv[0].raw, "nginx:" + fact["env"][0].get<std::string>());
  } else {
    EXPECT_EQ(raw(process.argv), fact["argv"]);
  }
  if (!memory) return;
  EXPECT_EQ(process.rss_bytes, fact["private_bytes"]);
  const auto map = tasks.page_map(process.pid).value();
  Sha256 hash;
  std::string block(16 << 10, '\0');
  for (const criu::PageRun& run : map.runs) {
    for (std::uint64_t at = 0; at < run.pages * map.page_bytes;) {
      const auto chunk =
          tasks.read_memory(process.pid, map, run.address + at, std::as_writable_bytes(std::span(block)));
      ASSERT_TRUE(chunk) << chunk.error().what;
      ASSERT_EQ(chunk->state, MemoryChunk::State::data);
      const std::size_t size = std::min<std::uint64_t>(chunk->size_bytes, run.pages * map.page_bytes - at);
      hash.update(std::string_view(block).substr(0, size));
      at += size;
    }
  }
  EXPECT_EQ(to_hex(hash.digest()), fact["memory_sha256"]);
}

void compare_sockets(const json& fact, std::int32_t pid, const std::vector<Descriptor>& fds,
                     const std::vector<Socket>& sockets) {
  for (const json& inet : fact["inet"]) {
    SCOPED_TRACE(inet.dump());
    const auto fd = std::ranges::find_if(
        fds, [&](const Descriptor& each) { return each.pid == pid && each.fd == inet["fd"]; });
    ASSERT_NE(fd, fds.end());
    const auto socket = std::ranges::find_if(sockets, [&](const Socket& each) {
      return each.inode == fd->inode && each.family.starts_with("tcp");
    });
    ASSERT_NE(socket, sockets.end());
    EXPECT_EQ(socket->state, inet["state"]);
    EXPECT_EQ(socket->local.raw, address_of(inet["src"]));
    EXPECT_EQ(socket->remote.raw, address_of(inet["dst"]));
    EXPECT_THAT(socket->pids, testing::Contains(pid));
    EXPECT_EQ(socket->receive_queue_bytes, inet.value("inq_len", 0U));
    EXPECT_EQ(socket->send_queue_bytes, inet.value("outq_len", 0U));
  }
}

TEST_P(CheckpointFacts, SameAsCritSays) {
  const json facts = json::parse(slurp(kData + GetParam().facts));
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(slurp(kData + GetParam().archive), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  EXPECT_EQ(test.gaps.count(Impact::lost), 0U) << test.told();
  const auto containers =
      all<Container>([&](const auto& keep) { return (*snapshot)->list_containers(keep, test.task); });
  ASSERT_EQ(containers.size(), 1U);
  const std::string id = containers[0].id;
  CheckpointTasks& tasks = **(*snapshot)->tasks_of(id);
  const auto processes =
      all<Process>([&](const auto& keep) { return (*snapshot)->list_processes(id, keep, test.task); });
  const auto fds =
      all<Descriptor>([&](const auto& keep) { return (*snapshot)->list_descriptors(id, keep, test.task); });
  const auto sockets =
      all<Socket>([&](const auto& keep) { return (*snapshot)->list_sockets(id, keep, test.task); });
  const auto mappings =
      all<Mapping>([&](const auto& keep) { return (*snapshot)->list_mappings(id, keep, test.task); });
  ASSERT_EQ(processes.size(), facts["processes"].size());
  for (std::size_t i = 0; i < processes.size(); ++i) {
    const json& fact = facts["processes"][i];
    const std::int32_t pid = processes[i].pid;
    SCOPED_TRACE(pid);
    ASSERT_EQ(pid, fact["pid"]);
    compare_process(fact, processes[i], tasks, GetParam().memory);
    EXPECT_EQ(std::ranges::count(mappings, pid, &Mapping::pid), fact["vmas"]);
    std::uint64_t dumped = 0;
    for (const Mapping& mapping : mappings) dumped += mapping.pid == pid ? mapping.dumped_bytes.value() : 0;
    EXPECT_EQ(dumped, processes[i].rss_bytes);
    ASSERT_EQ(std::ranges::count(fds, pid, &Descriptor::pid),
              static_cast<std::ptrdiff_t>(fact["fds"].size()));
    for (const json& each : fact["fds"]) {
      SCOPED_TRACE(each.dump());
      const auto fd = std::ranges::find_if(
          fds, [&](const Descriptor& made) { return made.pid == pid && made.fd == each["fd"]; });
      ASSERT_NE(fd, fds.end());
      EXPECT_EQ(each.value("path", fd->target.raw), fd->target.raw);
      EXPECT_EQ(fd->deleted, each.value("deleted", false));
      const bool device = fd->target.raw == "/dev/null";
      EXPECT_EQ(fd->kind, device ? "character" : kind_of(each["type"]));
    }
    compare_sockets(fact, pid, fds, sockets);
  }
  std::vector<std::string> ghosts;
  for (const json& ghost : facts["ghost_files"]) ghosts.push_back(ghost["name"]);
  EXPECT_THAT(tasks.deleted_names, testing::UnorderedElementsAreArray(ghosts));
}

INSTANTIATE_TEST_SUITE_P(
    All, CheckpointFacts,
    testing::Values(Case{"victim-podman.tar.zst", "victim-podman.tar.zst.facts.json", true},
                    Case{"victim-criu41-style.tar.zst", "victim-podman.tar.zst.facts.json", true},
                    Case{"crio.tar.xz", "victim-podman.tar.zst.facts.json", false},
                    Case{"shell-podman.tar.gz", "shell-podman.tar.gz.facts.json", true}),
    [](const auto& made) { return test_name_of(made.param.archive); });

TEST(CheckpointLayout, EngineFiles) {
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(slurp(kData + "crio.tar.xz"), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  const auto containers =
      all<Container>([&](const auto& keep) { return (*snapshot)->list_containers(keep, test.task); });
  ASSERT_EQ(containers.size(), 1U);
  const Container& app = containers[0];
  EXPECT_EQ(app.engine, "cri-o");
  EXPECT_EQ(app.name.raw, "app");
  EXPECT_EQ(app.pod.value().name, "web-7d9f");
  EXPECT_EQ(app.pod->ns, "shop");
  EXPECT_EQ(app.state, ContainerState::checkpointed);
  EXPECT_EQ(app.image.raw, "localhost/shop/web:1.4");
  const auto source = (*snapshot)->describe(test.task).value();
  EXPECT_EQ(to_rfc3339(source.taken_at.value()), "2026-11-21T19:28:51.200000000Z");
  EXPECT_EQ(source.machine, "x86_64");
  EXPECT_THAT(source.tool, HasSubstr("xz tar"));
  const auto logs =
      all<LogFile>([&](const auto& keep) { return (*snapshot)->list_logs(app.id, keep, test.task); });
  ASSERT_EQ(logs.size(), 2U);
  EXPECT_EQ(logs[0].size_bytes, 106U);
  EXPECT_EQ((*snapshot)->covers(Facet::changes).level, Coverage::Level::part);
  EXPECT_THAT(test.told(), HasSubstr("leave changed files of the image out"));
}

// podman diff names what it added and deleted; the tar lacks some of what changed, and that is said.
TEST(CheckpointLayout, ChangesAreThoseOfPodmanDiff) {
  CheckpointTestTask test;
  auto snapshot = open_checkpoint(slurp(kData + "victim-podman.tar.zst"), test.task);
  ASSERT_TRUE(snapshot) << snapshot.error().what;
  const auto containers =
      all<Container>([&](const auto& keep) { return (*snapshot)->list_containers(keep, test.task); });
  std::set<std::string> there;
  std::set<std::string> deleted;
  for (const FileChange& change : all<FileChange>(
           [&](const auto& keep) { return (*snapshot)->list_changes(containers[0].id, keep, test.task); }))
    (change.kind == ChangeKind::deleted ? deleted : there).insert(change.path.raw);
  std::istringstream diff(slurp(kData + "victim-podman.diff"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(diff, line);) {
    if (line.size() > 2 && line[1] == ' ' && line[2] == '/') {
      lines.push_back(line);
    } else {
      lines.back() += "\n" + line;  // one name has a newline
    }
  }
  std::size_t added = 0;
  for (const std::string& line : lines) {
    const std::string path = line.substr(2);
    EXPECT_TRUE(line[0] != 'A' || there.contains(path)) << path;
    EXPECT_TRUE(line[0] != 'D' || deleted.contains(path)) << path;
    if (line[0] == 'A') ++added;
  }
  EXPECT_GT(added, 5U);
  const auto processes = all<Process>(
      [&](const auto& keep) { return (*snapshot)->list_processes(containers[0].id, keep, test.task); });
  ASSERT_EQ(processes.size(), 4U);
  EXPECT_EQ(processes[1].exe.origin, Origin::upper);    // .httpd, setuid
  EXPECT_EQ(processes[3].exe.origin, Origin::deleted);  // kworker
  EXPECT_NE(processes[1].exe.mode & 04000U, 0U);
}

}  // namespace
}  // namespace ctriage::source
