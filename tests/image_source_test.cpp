// Images made by hand: what layers delete, hide and link to, blobs that are not what they are named for, and
// every archive cut short.
#include <gtest/gtest.h>

#include "lib/core/hash.h"
#include "lib/source/image/source.h"
#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

std::string config_of(const std::vector<std::string>& layers) {
  std::string ids;
  std::string history;
  for (const std::string& layer : layers) {
    ids += (ids.empty() ? "\"sha256:" : ",\"sha256:") + sha256_hex(layer) + "\"";
    history += (history.empty() ? "" : ",") + std::string(R"({"created_by":"made"})");
  }
  return R"({"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/sh"],"Cmd":["-c"],)"
         R"("User":"7:8","ExposedPorts":{"80/tcp":{}}},"rootfs":{"diff_ids":[)" +
         ids + R"(]},"history":[)" + history + "]}";
}

// As `docker save` wrote it before it had OCI layouts.
std::string docker_archive(const std::vector<std::string>& layers, const std::string& name = "made:1") {
  const std::string config = config_of(layers);
  std::vector<TarEntry> entries{{sha256_hex(config) + ".json", config}};
  std::string files;
  for (const std::string& layer : layers) {
    const std::string file = "l" + std::to_string(entries.size()) + "/layer.tar";
    entries.push_back({file, layer});
    files += (files.empty() ? "\"" : ",\"") + file + "\"";
  }
  entries.push_back({"manifest.json", R"([{"Config":")" + entries.front().name + R"(","RepoTags":[")" + name +
                                          R"("],"Layers":[)" + files + "]}]"});
  return make_tar_in_order(entries);
}

struct Opened {
  CheckpointTestTask test;
  std::unique_ptr<ImageSnapshot> image;
  std::string id;

  explicit Opened(std::string archive) {
    auto store =
        CheckpointStore::open_tar(std::make_unique<MemoryBytes>(std::move(archive)), "i.tar", test.task);
    if (!store) return;
    const auto has = has_images(**store, test.task);
    if (!has || !*has) return;
    auto opened = ImageSnapshot::open(*std::move(store), test.task);
    if (!opened) return;
    image = *std::move(opened);
    (void)image->list_containers(
        [&](Container&& one) {
          id = one.id;
          return Status(Done{});
        },
        test.task);
  }
  std::string read(const std::string& path, const std::string& layer = "merged") {
    auto file = image->open_file({id, layer, path}, test.task);
    if (!file) return "error: " + std::string(to_text(file.error().code));
    if (!file->bytes) return "no bytes";
    auto text = read_all(*file->bytes, 1 << 20);
    return text ? *text : "error: " + text.error().what;
  }
  std::string list(const std::string& path, const std::string& layer = "merged") {
    std::string names;
    auto listed = image->list_files(
        {id, layer, path},
        [&](FileEntry&& entry) {
          names += entry.path.raw + (entry.gone ? "(" + *entry.gone + ")" : "") + " ";
          return Status(Done{});
        },
        test.task);
    return listed ? names : "error: " + listed.error().what;
  }
};

std::string lower() {
  return make_tar_in_order({{"bin", "", '2', "usr/bin"},
                            {"usr/bin/", "", '5'},
                            {"usr/bin/sh", "shell"},
                            {"etc/gone", "x"},
                            {"etc/kept", "kept"},
                            {"opt/a/b", "ab"},
                            {"dir/in", "in"},
                            {"file", "a file"}});
}
std::string upper() {
  return make_tar_in_order({{"bin/tool", "tool"},
                            {"etc/.wh.gone", ""},
                            {"opt/c", "c"},
                            {"opt/.wh..wh..opq", ""},
                            {"usr/bin/hard", "", '1', "usr/bin/sh"},
                            {"abs", "", '2', "/etc/kept"},
                            {"up", "", '2', "../../../etc"},
                            {"dir", "now a file"},
                            {"loop", "", '2', "loop"},
                            {"../out", "out"},
                            {"file/", "", '5'},
                            {"file/below", "below"}});
}

TEST(ImageSource, LayersAreLaidOverEachOther) {
  Opened opened(docker_archive({lower(), upper()}));
  ASSERT_NE(opened.image, nullptr) << opened.test.told();
  const std::vector<std::pair<std::string, std::string>> kFiles{
      {"/bin/sh", "shell"},
      {"/usr/bin/tool", "tool"},  // where the link of the lower layer leads
      {"/bin/tool", "tool"},
      {"/usr/bin/hard", "shell"},
      {"/etc/gone", "error: not_found"},
      {"/etc/kept", "kept"},
      {"/opt/a/b", "error: not_found"},
      {"/opt/c", "c"},
      {"/abs", "kept"},
      {"/up/kept", "kept"},
      {"/dir", "now a file"},
      {"/dir/in", "error: not_found"},
      {"/loop", "error: limit"},
      {"/out", "error: not_found"},
      {"/file/below", "below"},
      {"/etc", "no bytes"}};
  for (const auto& [path, is] : kFiles) EXPECT_EQ(opened.read(path), is) << path;
  EXPECT_EQ(opened.read("/etc/gone", "1"), "x");
  EXPECT_EQ(opened.list("/etc", "2"), "/etc/gone(whiteout) ");
  EXPECT_EQ(opened.list("/usr/bin"), "/usr/bin/hard /usr/bin/sh /usr/bin/tool ");
  EXPECT_EQ(opened.read("/etc", "upper"), "error: unsupported");
  EXPECT_EQ(opened.read("/etc", "3"), "error: not_found");
  EXPECT_NE(opened.test.told().find("leads out"), std::string::npos) << opened.test.told();
}

TEST(ImageSource, ConfigurationIsTold) {
  Opened opened(docker_archive({lower()}));
  ASSERT_NE(opened.image, nullptr);
  Container told;
  ASSERT_TRUE(opened.image->list_containers(
      [&](Container&& one) {
        told = std::move(one);
        return Status(Done{});
      },
      opened.test.task));
  EXPECT_EQ(told.name.raw, "made:1");
  EXPECT_EQ(told.image_id.raw, "sha256:" + sha256_hex(config_of({lower()})));
  ASSERT_EQ(told.args.size(), 2U);
  EXPECT_EQ(told.args[0].raw, "/bin/sh");
  EXPECT_EQ(told.uid, 7U);
  EXPECT_EQ(told.gid, 8U);
  EXPECT_EQ(opened.image->covers(Facet::processes).why, "an image has no processes");
  EXPECT_EQ(opened.image->covers(Facet::layers).level, Coverage::Level::part);
  EXPECT_EQ(opened.test.gaps.count(Impact::lost), 0U) << opened.test.told();
}

TEST(ImageSource, AChangedLayerIsFound) {
  const std::string honest = docker_archive({lower(), upper()});
  std::string changed = honest;
  changed.replace(changed.find("now a file"), 3, "NOW");
  Opened good(honest);
  Opened bad(changed);
  ASSERT_NE(bad.image, nullptr);
  EXPECT_EQ(bad.read("/dir"), "NOW a file");
  EXPECT_NE(bad.test.told().find("its SHA-256 is"), std::string::npos) << bad.test.told();
  for (Opened* each : {&good, &bad}) {
    const auto verified = each->image->verify(each->id, each->test.task);
    ASSERT_TRUE(verified);
    ASSERT_EQ(verified->layers.size(), 2U);
    EXPECT_EQ(verified->layers[0].verdict, LayerVerdict::verified) << verified->layers[0].why;
    EXPECT_EQ(verified->layers[1].verdict, each == &good ? LayerVerdict::verified : LayerVerdict::differs);
  }
}

TEST(ImageSource, AChangedConfigurationIsFound) {
  std::string changed = docker_archive({lower()});
  changed.replace(changed.find("\"7:8\""), 5, "\"0:8\"");
  Opened opened(changed);
  ASSERT_NE(opened.image, nullptr);
  EXPECT_NE(opened.test.told().find("not the bytes that it is named for"), std::string::npos);
}

TEST(ImageSource, ACheckpointInTheFormOfAnImageIsNone) {
  Opened opened(docker_archive({make_tar({{"config.dump", "{}"}, {"spec.dump", "{}"}})}));
  EXPECT_EQ(opened.image, nullptr);
}

TEST(ImageSource, EveryPrefixEnds) {
  const std::string whole = docker_archive({lower(), upper()});
  constexpr std::size_t kStep = 101;
  std::size_t opened_ones = 0;
  for (std::size_t size = 0; size < whole.size(); size += kStep) {
    Opened opened(whole.substr(0, size));
    if (opened.image == nullptr) continue;
    ++opened_ones;
    (void)opened.list("/usr/bin");
    (void)opened.read("/dir");
    const auto verified = opened.image->verify(opened.id, opened.test.task);
    EXPECT_TRUE(verified) << size;
  }
  EXPECT_GT(opened_ones, 0U);
}

TEST(ImageSource, RecordsThatAreWrong) {
  const std::vector<std::string> kIndexes{"",
                                          "[]",
                                          "{",
                                          R"({"manifests":3})",
                                          R"({"manifests":[{"digest":"sha256:../../etc/passwd"}]})",
                                          R"({"manifests":[{"digest":"md5:00"}]})",
                                          R"({"config":{"digest":"sha256:0"},"layers":[]})"};
  for (const std::string& text : kIndexes) EXPECT_FALSE(parse_image_index(text)) << text;
  const std::vector<std::string> kSaved{"", "{}", "[1]", R"([{"Config":1}])", R"([{"Layers":[1]}])"};
  for (const std::string& text : kSaved) EXPECT_FALSE(parse_saved_images(text)) << text;
  const std::vector<std::string> kConfigs{"", "[]", R"({"config":{"Env":"A"}})",
                                          R"({"rootfs":{"diff_ids":[1]}})"};
  for (const std::string& text : kConfigs) EXPECT_FALSE(parse_config(text)) << text;
}

}  // namespace
}  // namespace ctriage::source
