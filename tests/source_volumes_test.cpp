// Which mounts are volumes and whose, by their places alone; which mappings are libraries.
#include <gtest/gtest.h>

#include "lib/source/live/libraries.h"
#include "lib/source/live/volumes.h"

namespace ctriage::source {
namespace {

const std::string kKubelet = "/var/lib/kubelet/pods/0c6a/volumes/kubernetes.io~";

TEST(SourceVolumes, KindByPlace) {
  const struct {
    std::string source;
    std::string engine_root;
    VolumeKind kind;
  } cases[] = {
      {kKubelet + "empty-dir/cache", "/var/lib/containerd", VolumeKind::empty_dir},
      {kKubelet + "empty-dir/cache/sub/path", "/var/lib/containerd", VolumeKind::empty_dir},
      {kKubelet + "csi/pvc-1/mount", "/var/lib/containerd", VolumeKind::claim},
      {"/var/lib/kubelet/pods/0c6a/volume-subpaths/pvc-1/app/0", "/var/lib/containerd", VolumeKind::claim},
      {"", "/var/lib/containerd", VolumeKind::claim},
      {"/var/lib/docker/volumes/data/_data", "/var/lib/docker", VolumeKind::engine},
      {"/var/lib/docker/volumes/data/_data/sub", "/var/lib/docker", VolumeKind::engine},
      {"/srv/volumes/data/_data", "/var/lib/docker", VolumeKind::host_path},
      {"/srv/volumes/data/_data", "", VolumeKind::host_path},
      {"/srv/data", "/var/lib/docker", VolumeKind::host_path},
      {"/opt/app", "/var/lib/docker", VolumeKind::host_path},
      {"/home/user/project", "/var/lib/docker", VolumeKind::host_path},
      {"/", "/var/lib/docker", VolumeKind::system},
      {"/", "", VolumeKind::system},
      {"/etc", "/var/lib/docker", VolumeKind::system},
      {"/etc/cron.d", "/var/lib/docker", VolumeKind::system},
      {"/etcetera", "/var/lib/docker", VolumeKind::host_path},
      {"/var/lib", "/var/lib/docker", VolumeKind::system},
      {"/var/lib/docker", "/var/lib/docker", VolumeKind::system},
      {"/var/lib/docker/overlay2", "/var/lib/docker", VolumeKind::system},
      {"/var/lib/kubelet/pods", "/var/lib/docker", VolumeKind::system},
      {"/mnt/disk", "/mnt/disk/containerd", VolumeKind::system},
      {"/home", "/var/lib/docker", VolumeKind::system},
      {"/run/docker.sock", "/var/lib/docker", VolumeKind::system},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.source + " with " + c.engine_root);
    EXPECT_EQ(to_text(volume_kind(c.source, c.engine_root)), to_text(c.kind));
  }
}

TEST(SourceVolumes, Writable) {
  const struct {
    const char* options;
    const char* super_options;
    bool writable;
  } cases[] = {{"rw,relatime", "rw", true},
               {"ro,relatime", "rw", false},
               {"rw", "ro,errors=remount-ro", false},
               {"rw,noro", "rw,rootcontext", true},
               {"", "", true},
               {"nosuid,ro", "", false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.options);
    Mount mount;
    mount.options = Bytes(c.options);
    mount.super_options = Bytes(c.super_options);
    EXPECT_EQ(is_writable(mount), c.writable);
  }
}

TEST(SourceLibraries, MappedCode) {
  const struct {
    const char* protection;
    std::uint64_t inode;
    const char* path;
    bool code;
  } cases[] = {{"r-xp", 7, "/lib/libc.so.6", true},
               {"r--p", 7, "/lib/libc.so.6", false},
               {"rwxs", 7, "/memfd:x (deleted)", true},
               {"r-xp", 7, "/tmp/x.so (deleted)", true},
               {"r-xp", 0, "", false},
               {"r-xp", 0, "[vdso]", false},
               {"r-xs", 7, "/dev/zero (deleted)", false},
               {"r-xs", 7, "/SYSV00000000 (deleted)", false},
               {"r-xp", 7, "anon_inode:[perf_event]", false}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    Mapping mapping;
    mapping.protection = c.protection;
    mapping.inode = Hex{c.inode};
    mapping.path = Bytes(c.path);
    EXPECT_EQ(maps_code(mapping), c.code);
  }
  for (const Origin origin :
       {Origin::upper, Origin::memfd, Origin::tmpfs, Origin::volume, Origin::deleted, Origin::host})
    EXPECT_TRUE(is_foreign(origin)) << to_text(origin);
  EXPECT_FALSE(is_foreign(Origin::image));
  EXPECT_FALSE(is_foreign(Origin::unknown));
}

}  // namespace
}  // namespace ctriage::source
