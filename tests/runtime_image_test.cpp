// An image's layers by digest and history; what real engines keep is in tests/integration/test_engines.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/runtime/image_layers.h"
#include "tests/bolt_writer.h"
#include "tests/temp_dir.h"

namespace ctriage::runtime {
namespace {

namespace fs = std::filesystem;
using namespace bolt_writer;
using testing::HasSubstr;
using testing::SizeIs;

const std::string kConfig = R"({"rootfs":{"type":"layers","diff_ids":["sha256:low","sha256:high"]},
  "history":[{"created_by":"ADD rootfs"},{"created_by":"ENV A=b","empty_layer":true},{"created_by":"RUN x"}]})";

TEST(ImageLayers, OfAConfiguration) {
  const auto layers = parse_image_config(kConfig).value();
  ASSERT_THAT(layers, SizeIs(2));
  EXPECT_EQ(layers[0].digest, "sha256:low");
  EXPECT_EQ(layers[0].made_by->raw, "ADD rootfs");
  EXPECT_EQ(layers[1].digest, "sha256:high");
  EXPECT_EQ(layers[1].made_by->raw, "RUN x");
}

TEST(ImageLayers, HistoryThatDoesNotFit) {
  for (const std::string history : {R"([{"created_by":"a"}])", "[]", "null"}) {
    const auto layers =
        parse_image_config(R"({"rootfs":{"diff_ids":["1","2"]},"history":)" + history + "}").value();
    ASSERT_THAT(layers, SizeIs(2)) << history;
    EXPECT_FALSE(layers[0].made_by) << history;
  }
  EXPECT_THAT(parse_image_config("{}").value(), SizeIs(0));
}

TEST(ImageLayers, NoConfiguration) {
  std::string many = R"({"rootfs":{"diff_ids":["x")";
  for (int i = 0; i < 512; ++i) many += R"(,"x")";
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{"), many + "]}}", std::string(R"({"rootfs":7})"),
        std::string(R"({"rootfs":{"diff_ids":"x"}})"), std::string(R"({"history":[1]})")}) {
    EXPECT_FALSE(parse_image_config(text)) << text.substr(0, 40);
  }
  for (std::size_t size = 0; size < kConfig.size(); ++size)
    EXPECT_FALSE(parse_image_config(kConfig.substr(0, size))) << size;
}

TEST(ImageLayers, Manifests) {
  const auto manifest = parse_image_manifest(R"({"config":{"digest":"sha256:c"}})", "x86_64").value();
  EXPECT_TRUE(manifest.is_config);
  EXPECT_EQ(manifest.digest, "sha256:c");
  const std::string index = R"({"manifests":[
    {"digest":"sha256:arm","platform":{"os":"linux","architecture":"arm64"}},
    {"digest":"sha256:amd","platform":{"os":"linux","architecture":"amd64"}},
    {"digest":"sha256:att","platform":{"os":"unknown","architecture":"unknown"}}]})";
  EXPECT_EQ(parse_image_manifest(index, "x86_64").value().digest, "sha256:amd");
  EXPECT_EQ(parse_image_manifest(index, "aarch64").value().digest, "sha256:arm");
  EXPECT_FALSE(parse_image_manifest(index, "riscv64"));
  EXPECT_EQ(parse_image_manifest(R"({"manifests":[{"digest":"sha256:one"}]})", "x86_64").value().digest,
            "sha256:one");
  for (const std::string text : {"", "[]", "{}", R"({"manifests":7})", R"({"config":{"digest":1}})"})
    EXPECT_FALSE(parse_image_manifest(text, "x86_64")) << text;
}

class ImageOf : public testing::Test {
 protected:
  std::string write(const std::string& directory, const std::string& text, const std::string& prefix = "") {
    const std::string hex = sha256_hex(text);
    const std::string name = prefix.empty() ? hex : prefix + to_base64("sha256:" + hex);
    fs::create_directories(base_.path() + directory + (prefix.empty() ? "" : "/" + hex));
    std::ofstream(base_.path() + directory + "/" + (prefix.empty() ? "" : hex + "/") + name) << text;
    return hex;
  }
  auto find(const std::string& engine, const std::string& image_id, const std::string& digest = "") {
    Container container;
    container.id = "job";
    container.engine = engine;
    container.engine_root = Bytes("/root");
    container.engine_namespace = Bytes("ns");
    container.image_id = Bytes(image_id);
    container.image_digest = Bytes(digest);
    return find_image_layers(Root::open(base_.path()).value(), container);
  }
  TempDir base_;
};

TEST_F(ImageOf, Docker) {
  const std::string hex = write("/root/image/overlay2/imagedb/content/sha256", kConfig);
  EXPECT_THAT(find("docker", "sha256:" + hex).value(), SizeIs(2));
  EXPECT_EQ(find("docker", "sha256:" + sha256_hex("other")).error().code, Errc::not_found);
  EXPECT_EQ(find("docker", "sha256:../../../../etc/passwd").error().code, Errc::malformed);
  EXPECT_EQ(find("docker", "").error().code, Errc::malformed);
  std::ofstream(base_.path() + "/root/image/overlay2/imagedb/content/sha256/" + hex) << "{}";
  EXPECT_EQ(find("docker", hex).error().code, Errc::mismatch) << "other bytes under its name";
}

TEST_F(ImageOf, ContainersStorage) {
  const std::string hex = write("/root/overlay-images", kConfig, "=");
  EXPECT_THAT(find("podman", hex).value(), SizeIs(2));
  EXPECT_THAT(find("cri-o", "sha256:" + hex).value(), SizeIs(2));
}

TEST_F(ImageOf, Containerd) {
  const std::string blobs = "/root/io.containerd.content.v1.content/blobs/sha256";
  const std::string config = write(blobs, kConfig);
  const std::string manifest = write(blobs, R"({"config":{"digest":"sha256:)" + config + R"("}})");
  const std::string index = write(blobs, R"({"manifests":[{"digest":"sha256:)" + manifest + R"("}]})");
  EXPECT_THAT(find("containerd", "", "sha256:" + index).value(), SizeIs(2));
  EXPECT_THAT(find("containerd", "", "sha256:" + manifest).value(), SizeIs(2));
  EXPECT_FALSE(find("containerd", "", "")) << "no database to ask";

  // Of a container that runs only the database knows which image it is.
  const auto inner = [](const std::vector<Leaf>& entries) { return bucket(0, leaf(0, entries)); };
  const std::string images =
      inner({{"app:1", inner({{"target", inner({{"digest", "sha256:" + index}}), true}}), true}});
  const std::string containers = inner({{"job", inner({{"image", "app:1"}}), true}});
  const std::string space = inner({{"containers", containers, true}, {"images", images, true}});
  fs::create_directories(base_.path() + "/root/io.containerd.metadata.v1.bolt");
  std::ofstream(base_.path() + "/root/io.containerd.metadata.v1.bolt/meta.db", std::ios::binary)
      << file({meta(0, 3, 4, 9), meta(1, 3, 4, 8), header(2, 16, 0),
               leaf(3, {{"v1", inner({{"ns", space, true}}), true}})});
  EXPECT_THAT(find("containerd", "", "").value(), SizeIs(2));

  // An index that names itself cannot be made with SHA-256; one that goes on and on can.
  std::string next = index;
  for (int i = 0; i < 5; ++i) next = write(blobs, R"({"manifests":[{"digest":"sha256:)" + next + R"("}]})");
  EXPECT_EQ(find("containerd", "", "sha256:" + next).error().code, Errc::limit);
}

}  // namespace
}  // namespace ctriage::runtime
