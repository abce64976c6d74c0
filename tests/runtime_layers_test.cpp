// Which directories a container's root was made of, from records made here; the real ones are in
// tests/integration/test_engines.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "lib/runtime/layers.h"
#include "tests/bolt_writer.h"
#include "tests/temp_dir.h"

namespace ctriage::runtime {
namespace {

namespace fs = std::filesystem;
using namespace bolt_writer;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kId = "5ea65b8435ffbd51f275fd5592726f1696b93955e7badff4a9e853e9839a0f1f";

class Layers : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(base_.path() + path).parent_path());
    std::ofstream(base_.path() + path, std::ios::binary) << text;
  }
  Result<RootLayers> find(const std::string& engine, const std::string& root, const std::string& space = "") {
    Container container;
    container.id = kId;
    container.engine = engine;
    container.engine_root = Bytes(root);
    container.engine_namespace = Bytes(space);
    return find_layers(Root::open(base_.path()).value(), container, task_);
  }

  TempDir base_;
  GapLog log_;
  std::atomic<bool> stop_{false};
  Task task_{log_, stop_, [] { return Timestamp{}; }};
};

const std::string kMounts = "/data/image/overlay2/layerdb/mounts/" + kId;

TEST_F(Layers, OfDocker) {
  write(kMounts + "/mount-id", "abc123\n");
  write("/data/overlay2/abc123/lower", "l/TOP:l/MIDDLE:l/LOWEST");
  const auto found = find("docker", "/data").value();
  EXPECT_EQ(found.base, "/data/overlay2");
  EXPECT_EQ(found.upper, "abc123/diff");
  EXPECT_THAT(found.lowers, ElementsAre("l/TOP", "l/MIDDLE", "l/LOWEST"));
}

// What the record says becomes part of a path.
TEST_F(Layers, NamesThatLeadAway) {
  for (const std::string id : {"../../../etc", "a/b", "", ".", "..", "\n"}) {
    write(kMounts + "/mount-id", id);
    write("/data/overlay2/etc/lower", "l/X");
    EXPECT_EQ(find("docker", "/data").error().code, Errc::malformed) << id;
  }
}

TEST_F(Layers, GoneAndNeverThere) {
  EXPECT_EQ(find("docker", "/data").error().code, Errc::not_found);
  write(kMounts + "/mount-id", "abc123");
  EXPECT_EQ(find("docker", "/data").error().code, Errc::not_found) << "the layer was removed";
  EXPECT_EQ(find("podman", "/graph").error().code, Errc::unsupported);
  EXPECT_EQ(find("containerd", "/root", "default").error().code, Errc::not_found);
  EXPECT_EQ(find("containerd", "").error().code, Errc::not_found);
  EXPECT_EQ(find("unknown", "/x").error().code, Errc::unsupported);
}

TEST_F(Layers, OfContainersStorage) {
  write("/graph/overlay-containers/containers.json",
        R"([{"id":")" + kId + R"(","names":["web"],"layer":"beef"}])");
  write("/graph/overlay/beef/lower", "l/A:l/B\n");
  for (const std::string engine : {"podman", "cri-o"}) {
    const auto found = find(engine, "/graph").value();
    EXPECT_EQ(found.base, "/graph/overlay");
    EXPECT_EQ(found.upper, "beef/diff");
    EXPECT_THAT(found.lowers, ElementsAre("l/A", "l/B"));
  }
  fs::create_directories(base_.path() + "/graph/overlay/beef/diff");
  fs::remove(base_.path() + "/graph/overlay/beef/lower");
  EXPECT_EQ(find("podman", "/graph").error().code, Errc::not_found) << "not the same as nothing below";
  for (const std::string half : {"", ":", "l/A:", "l/A::l/B", "\n"}) {
    write("/graph/overlay/beef/lower", half);
    EXPECT_EQ(find("podman", "/graph").error().code, Errc::malformed) << half;
  }
}

std::string inner(const std::vector<Leaf>& entries) { return bucket(0, leaf(0, entries)); }

std::string database(const std::vector<Leaf>& root) {
  return file({meta(0, 3, 4, 9), meta(1, 3, 4, 8), header(2, 16, 0), leaf(3, root)});
}

std::string metadata(const std::string& snapshotter) {
  const std::string containers =
      inner({{kId, inner({{"snapshotKey", kId}, {"snapshotter", snapshotter}}), true}});
  const std::string snapshots = inner({{kId, inner({{"name", "ns/7/" + kId}}), true}});
  const std::string space =
      inner({{"containers", containers, true}, {"snapshots", inner({{snapshotter, snapshots, true}}), true}});
  return database({{"v1", inner({{"ns", space, true}}), true}});
}

std::string snapshots(const std::string& lowest_parent) {
  const auto one = [](const std::string& id, const std::string& parent) {
    std::vector<Leaf> values{{"id", id}};
    if (!parent.empty()) values.push_back({"parent", parent});
    return inner(values);
  };
  return database({{"v1",
                    inner({{"snapshots",
                            inner({{"ns/1/low", one("\x01", lowest_parent), true},
                                   {"ns/2/mid", one("\xac\x02", "ns/1/low"), true},
                                   {"ns/7/" + kId, one("\x07", "ns/2/mid"), true}}),
                            true}}),
                    true}});
}

const std::string kMeta = "/root/io.containerd.metadata.v1.bolt/meta.db";
const std::string kSnapshots = "/root/io.containerd.snapshotter.v1.overlayfs";

TEST_F(Layers, OfContainerd) {
  write(kMeta, metadata("overlayfs"));
  write(kSnapshots + "/metadata.db", snapshots(""));
  const auto found = find("containerd", "/root", "ns").value();
  EXPECT_EQ(found.base, kSnapshots + "/snapshots");
  EXPECT_EQ(found.upper, "7/fs");
  EXPECT_THAT(found.lowers, ElementsAre("300/fs", "1/fs"));
  EXPECT_EQ(find("containerd", "/root", "other").error().code, Errc::not_found);
  // Docker 29 keeps its layers so.
  write("/data/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db", metadata("overlayfs"));
  write("/data/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/metadata.db", snapshots(""));
  EXPECT_EQ(find("docker", "/data", "ns").value().upper, "7/fs");
}

TEST_F(Layers, OfContainerdThatCannotBe) {
  write(kMeta, metadata("devmapper"));
  EXPECT_THAT(find("containerd", "/root", "ns").error().what, HasSubstr("devmapper"));
  write(kMeta, metadata("overlayfs"));
  EXPECT_THAT(find("containerd", "/root", "ns").error().what, HasSubstr("metadata.db"));
  write(kSnapshots + "/metadata.db", snapshots("ns/2/mid"));
  EXPECT_THAT(find("containerd", "/root", "ns").error().what, HasSubstr("below itself"));
  write(kSnapshots + "/metadata.db", snapshots("ns/0/gone"));
  EXPECT_EQ(find("containerd", "/root", "ns").error().code, Errc::not_found);
}

// Every prefix of both databases ends in layers or in an error.
TEST_F(Layers, CutShort) {
  const std::string whole_meta = metadata("overlayfs");
  const std::string whole = snapshots("");
  write(kSnapshots + "/metadata.db", whole);
  for (std::size_t size = 0; size < whole_meta.size(); size += 61) {
    write(kMeta, whole_meta.substr(0, size));
    EXPECT_FALSE(find("containerd", "/root", "ns")) << size;
  }
  write(kMeta, whole_meta);
  for (std::size_t size = 0; size < whole.size() - kPage; size += 61) {
    write(kSnapshots + "/metadata.db", whole.substr(0, size));
    EXPECT_FALSE(find("containerd", "/root", "ns")) << size;
  }
}

}  // namespace
}  // namespace ctriage::runtime
