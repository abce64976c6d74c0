// `ls`, `cat` and `cp` of a checkpoint: what the archive has, and never more certainty than it gives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint_testing.h"

namespace ctriage::source {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const auto kOnePage = [](ImageWriter& map) {
  map.entry([](Out& out) {
    out.add_uint64(1, kArgAddress);
    out.add_uint64(5, 1);
  });
};

using Files = std::map<std::string, std::string>;

// Of Podman (deleted.files), or with `whiteouts` of containerd.
Files archive_of(const std::vector<TarEntry>& layer, bool whiteouts = false) {
  Files files = make_images("checkpoint/", kOnePage, std::string(4096, 'x'));
  files["spec.dump"] = whiteouts ? "{}" : R"({"annotations":{"io.container.manager":"libpod"}})";
  files["config.dump"] = R"({"id":")" + std::string(64, 'a') + R"(","name":"web"})";
  if (whiteouts) files["status"] = "{}";
  files["rootfs-diff.tar"] = make_tar_in_order(layer);
  return files;
}

void add_mount(Files& files, const std::vector<std::array<std::string, 3>>& mounts) {
  ImageWriter image(0x55563928);
  std::uint32_t id = 10;
  for (const auto& [at, type, root] : mounts) {
    image.entry([&, at = at, type = type, root = root](Out& out) {
      out.add_uint32(1, 0);
      out.add_uint32(2, id);
      out.add_uint32(3, type == "tmpfs" ? 55 : 56);  // device
      out.add_uint32(4, 1);
      out.add_string(6, root);
      out.add_string(7, "." + at);
      out.add_string(14, type);
    });
    ++id;
  }
  files["checkpoint/mountpoints-4.img"] = image.bytes();
}

struct Looking {
  explicit Looking(const Files& files) {
    auto opened = open_checkpoint(make_tar(files), test.task);
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().what);
    if (!opened) return;
    snapshot = *std::move(opened);
    EXPECT_TRUE(snapshot->list_containers(
        [&](Container&& container) {
          id = container.id;
          return Status(Done{});
        },
        test.task));
  }
  // "name" or "name (gone)"; an error as its text.
  std::vector<std::string> ls(const std::string& path, const std::string& layer = "merged") {
    std::vector<std::string> names;
    auto listed = snapshot->list_files(
        {id, layer, path},
        [&](FileEntry&& entry) {
          names.push_back(entry.path.raw + (entry.gone ? " (" + *entry.gone + ")" : ""));
          return Status(Done{});
        },
        test.task);
    if (!listed) names.push_back(listed.error().what);
    return names;
  }
  std::string cat(const std::string& path, const std::string& layer = "merged", bool follow = true) {
    auto opened = snapshot->open_file({id, layer, path, follow}, test.task);
    if (!opened) return "error: " + opened.error().what;
    if (!opened->bytes) return "no bytes: " + opened->entry.path.raw;
    auto text = read_all(*opened->bytes, 1 << 20);
    if (!text) return "error: " + text.error().what;
    EXPECT_EQ(text->size(), opened->entry.file.size_bytes);
    return *text;
  }
  CheckpointTestTask test;
  std::unique_ptr<CheckpointSnapshot> snapshot;
  std::string id;
};

TEST(CheckpointFiles, WhatTheLayerSays) {
  Files files = archive_of({{"etc/", "", '5', "", 0755},
                            {"etc/passwd", "first"},
                            {"etc/passwd", "second"},
                            {"deep/er/file", "deep"},
                            {"tmp/a\x1b[2J\nb", "odd"},
                            {"bin/.httpd", "set", '0', "", 04755},
                            {"bin/again", "", '1', "bin/.httpd"},
                            {"bin/lost", "", '1', "not/there"},
                            {"bin/fifo", "", '6'},
                            {"lib", "", '2', "deep/er"},
                            {"up", "", '2', "../../../../etc/passwd"},
                            {"loop", "", '2', "loop"},
                            {"../outside", "never"},
                            {"etc-x", "beside"}});
  files["deleted.files"] = R"(["/etc/motd","/usr/bin/passwd","/bin/.httpd"])";
  Looking at(files);
  EXPECT_THAT(at.ls("/"),
              ElementsAre("/bin", "/deep", "/etc", "/etc-x", "/lib", "/loop", "/tmp", "/up", "/usr"));
  EXPECT_THAT(at.ls("/etc"), ElementsAre("/etc/passwd"));
  EXPECT_THAT(at.ls("/etc", "upper"), ElementsAre("/etc/motd (whiteout)", "/etc/passwd"));
  EXPECT_THAT(at.ls("/tmp"), ElementsAre("/tmp/a\x1b[2J\nb"));
  EXPECT_THAT(at.ls("/deep"), ElementsAre("/deep/er"));
  EXPECT_EQ(at.cat("/etc/passwd"), "second");
  EXPECT_THAT(at.test.told(), HasSubstr("is in the archive more than once"));
  EXPECT_THAT(at.test.told(), HasSubstr("a name that leads out"));
  EXPECT_EQ(at.cat("/tmp/a\x1b[2J\nb"), "odd");
  EXPECT_EQ(at.cat("/bin/again"), "set");
  EXPECT_EQ(at.cat("/lib/file"), "deep");
  EXPECT_EQ(at.cat("/up"), "second");  // a link that climbs ends at the container's root
  EXPECT_EQ(at.cat("/up", "merged", false), "no bytes: /up");
  EXPECT_EQ(at.cat("/bin/fifo"), "no bytes: /bin/fifo");
  EXPECT_THAT(at.cat("/loop"), HasSubstr("over 40 links"));
  EXPECT_THAT(at.cat("/bin/lost"), HasSubstr("a hard link to not/there"));
  EXPECT_THAT(at.cat("/etc/passwd/x"), HasSubstr("/etc/passwd is not a directory"));
  EXPECT_THAT(at.cat("/etc/motd"), HasSubstr("deleted; the image's own files are not in a checkpoint"));
  // Nobody can tell whether the image has it.
  EXPECT_THAT(at.cat("/bin/sh"),
              HasSubstr("not in this checkpoint: not added, or a changed file that Podman"));
  EXPECT_THAT(at.ls("/bin/sh"), ElementsAre(HasSubstr("not in this checkpoint")));
  EXPECT_THAT(at.ls("/etc", "1"), ElementsAre(HasSubstr("a checkpoint has the upper layer only")));
}

TEST(CheckpointFiles, WhiteoutsOfALayer) {
  Looking at(archive_of({{"etc/.wh.motd", ""},
                         {"etc/.wh.new", ""},
                         {"etc/new", "came again"},
                         {"doc/.wh..wh..opq", ""},
                         {"doc/README", "hi"},
                         {"etc/.wh.full", "called like a whiteout"},
                         {"x/.wh..wh.odd", ""}},
                        true));
  EXPECT_THAT(at.ls("/etc", "upper"), ElementsAre("/etc/.wh.full", "/etc/motd (whiteout)", "/etc/new"));
  EXPECT_THAT(at.ls("/etc"), ElementsAre("/etc/.wh.full", "/etc/new"));
  EXPECT_THAT(at.ls("/", "upper"), ElementsAre("/doc (opaque)", "/etc", "/x"));
  EXPECT_EQ(at.cat("/etc/new"), "came again");
  EXPECT_THAT(at.cat("/doc/old"), HasSubstr("no such file: what the image had in /doc is hidden"));
  EXPECT_THAT(at.cat("/etc/other"), HasSubstr("not in this checkpoint: not changed"));
}

TEST(CheckpointFiles, Mounts) {
  Files files = archive_of({{"tmp/under", "hidden by the mount"}, {"data/x", "1"}});
  add_mount(files, {{"/tmp", "tmpfs", "/"}, {"/data", "ext4", "/vol"}, {"/mnt/part", "tmpfs", "/sub"}});
  files["checkpoint/tmpfs-dev-55.tar.gz.img"] = make_tar_in_order({{"./", "", '5', "", 01777},
                                                                   {"./sub/", "", '5', "", 0755},
                                                                   {"./sub/inner", "in"},
                                                                   {"./secret", "s3cret"}});
  Looking at(files);
  EXPECT_THAT(at.ls("/tmp"), ElementsAre("/tmp/secret", "/tmp/sub"));
  EXPECT_EQ(at.cat("/tmp/secret"), "s3cret");
  EXPECT_EQ(at.cat("/mnt/part/inner"), "in");
  EXPECT_THAT(at.cat("/tmp/none"), HasSubstr("no such file in the tmpfs at /tmp"));
  EXPECT_THAT(at.cat("/tmp/under"), HasSubstr("no such file in the tmpfs"));
  EXPECT_EQ(at.cat("/tmp/under", "upper"), "hidden by the mount");
  EXPECT_THAT(at.cat("/data/x"), HasSubstr("a mount (ext4): what lay there is not in this checkpoint"));
  EXPECT_EQ(at.cat("/data/x", "upper"), "1");
  EXPECT_THAT(at.ls("/"), ElementsAre("/tmp"));
  EXPECT_THAT(at.test.told(), HasSubstr("container.files /data: a mount (ext4)"));
}

// What is damaged or not there at all is never told as certainly absent.
TEST(CheckpointFiles, WhatCannotBeKnown) {
  Files cut = archive_of({{"a", "1"}, {"b", std::string(600, 'b')}});
  cut["rootfs-diff.tar"].resize(512 + 512 + 512 + 100);
  Looking half(cut);
  EXPECT_EQ(half.cat("/a"), "1");
  EXPECT_THAT(half.cat("/z"), HasSubstr("not in what can be read of test.tar!rootfs-diff.tar"));
  EXPECT_GT(half.test.gaps.count(Impact::lost), 0U);

  Files none = make_images("", kOnePage, std::string(4096, 'x'));
  Looking images(none);
  EXPECT_THAT(images.cat("/a"), HasSubstr("it has no changes of the root file system"));
  EXPECT_THAT(images.ls("/"), IsEmpty());
  EXPECT_THAT(images.test.told(), HasSubstr("not the image's own files"));
}

std::string ghost_image(const std::function<void(Out&)>& head, const std::string& behind) {
  return ImageWriter(0x52583605)
             .entry([&](Out& out) {
               out.add_uint32(1, 1000);
               out.add_uint32(2, 100);
               out.add_uint32(3, 0100755);
               head(out);
             })
             .bytes() +
         behind;
}

Files with_ghost(const std::string& ghost) {
  Files files = archive_of({{"tmp/kept", "kept"}});
  add_ghost(files, ghost);
  return files;
}

TEST(CheckpointFiles, DeletedFilesByTheirOldName) {
  Looking at(with_ghost(ghost_image([](Out&) {}, "what it was")));
  EXPECT_THAT(at.ls("/usr/bin"), ElementsAre("/usr/bin/made (unlinked)"));
  EXPECT_THAT(at.ls("/usr/bin/made"), ElementsAre("/usr/bin/made (unlinked)"));
  EXPECT_EQ(at.cat("/usr/bin/made"), "what it was");
  EXPECT_EQ(at.cat("/usr/bin/made (deleted)", "upper"), "what it was");

  const auto chunked = [](std::uint64_t size) {
    return [=](Out& out) {
      out.add_bool(9, true);
      out.add_uint64(10, size);
    };
  };
  Looking holes(with_ghost(ghost_image(chunked(12), ghost_chunk(2, "abc", 3) + ghost_chunk(8, "de", 2))));
  EXPECT_EQ(holes.cat("/usr/bin/made"), std::string("\0\0abc\0\0\0de\0\0", 12));
  const struct {
    const char* name;
    std::string image;
    const char* told;
  } cases[] = {
      {"behind the end", ghost_image(chunked(4), ghost_chunk(2, "abc", 3)), "behind the end"},
      {"longer than it is", ghost_image(chunked(9), ghost_chunk(2, "abc", 4)), "ends inside a chunk"},
      {"2^64 - 1", ghost_image(chunked(9), ghost_chunk(UINT64_MAX, "abc", 3)), "behind the end"},
      {"over one another", ghost_image(chunked(9), ghost_chunk(2, "abc", 3) + ghost_chunk(1, "a", 1)),
       "not in order"},
      {"no size", ghost_image([](Out& out) { out.add_bool(9, true); }, ""), "cannot be read"},
      {"no image", "", "cannot be read"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Looking damaged(with_ghost(c.image));
    EXPECT_THAT(damaged.cat("/usr/bin/made"), HasSubstr(c.told));
    EXPECT_THAT(damaged.ls("/usr/bin"), ElementsAre("/usr/bin/made (unlinked)"));
  }
  // What comes before the damage is there.
  Looking cut(with_ghost(ghost_image(chunked(9), ghost_chunk(2, "abc", 3) + ghost_chunk(6, "d", 2))));
  auto opened = cut.snapshot->open_file({cut.id, "merged", "/usr/bin/made"}, cut.test.task);
  ASSERT_TRUE(opened && opened->bytes);
  std::string before;
  for (std::array<std::byte, 64> block{};;) {
    const auto got = opened->bytes->read(block);
    if (!got || *got == 0) break;
    before.append(reinterpret_cast<const char*>(block.data()), *got);
  }
  EXPECT_EQ(before, std::string("\0\0abc", 5));
}

}  // namespace
}  // namespace ctriage::source
