// Whose a tmpfs is, by the mount tables alone.
#include <gtest/gtest.h>

#include "lib/source/live/tmpfs.h"

namespace ctriage::source {
namespace {

Mount mount(std::uint64_t device, const char* root, const char* point) {
  Mount made;
  made.device = Hex{device};
  made.root = Bytes(root);
  made.mountpoint = Bytes(point);
  made.fstype = Bytes("tmpfs");
  return made;
}

const std::string kVolumes = "/var/lib/kubelet/pods/0c6a/volumes/kubernetes.io~";

std::vector<Mount> node_table() {
  return {mount(1, "/", "/run"),
          mount(2, "/", "/dev/shm"),
          mount(3, "/", "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/ab/shm"),
          mount(4, "/", (kVolumes + "empty-dir/cache").c_str()),
          mount(5, "/", (kVolumes + "secret/tls").c_str()),
          mount(6, "/", (kVolumes + "projected/kube-api-access-x").c_str()),
          mount(1, "/lock", "/run/lock"),
          mount(7, "/", "/"),
          mount(8, "/sub", "/srv")};
}

TEST(SourceTmpfs, OwnerByTrueSource) {
  const struct {
    const char* name;
    Mount mount;
    TmpfsOwner owner;
    std::string source;
  } cases[] = {
      {"made in the container", mount(99, "/", "/tmp"), TmpfsOwner::container, ""},
      {"shm of the sandbox", mount(3, "/", "/dev/shm"), TmpfsOwner::container,
       "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/ab/shm"},
      {"shm of another place", mount(3, "/", "/data"), TmpfsOwner::node,
       "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/ab/shm"},
      {"shm of the node", mount(2, "/", "/dev/shm"), TmpfsOwner::node, "/dev/shm"},
      {"emptyDir of memory", mount(4, "/", "/cache"), TmpfsOwner::container, kVolumes + "empty-dir/cache"},
      {"part of an emptyDir", mount(4, "/a/b", "/cache"), TmpfsOwner::container,
       kVolumes + "empty-dir/cache/a/b"},
      {"secret", mount(5, "/", "/tls"), TmpfsOwner::secrets, kVolumes + "secret/tls"},
      {"token", mount(6, "/", "/var/run/secrets/kubernetes.io/serviceaccount"), TmpfsOwner::secrets,
       kVolumes + "projected/kube-api-access-x"},
      {"hostPath", mount(1, "/docker", "/mnt"), TmpfsOwner::node, "/run/docker"},
      {"hostPath by the deepest root", mount(1, "/lock/x", "/mnt"), TmpfsOwner::node, "/run/lock/x"},
      {"a name that only begins like a root", mount(1, "/locker", "/mnt"), TmpfsOwner::node, "/run/locker"},
      {"root of the node", mount(7, "/etc", "/mnt"), TmpfsOwner::node, "/etc"},
      {"all of the node", mount(7, "/", "/mnt"), TmpfsOwner::node, "/"},
      {"a part that the node has not mounted", mount(8, "/other", "/mnt"), TmpfsOwner::container, ""},
      {"no root", mount(8, "", "/mnt"), TmpfsOwner::container, ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(owner_of_tmpfs(c.mount, node_table()), c.owner);
    EXPECT_EQ(true_source(c.mount, node_table()), c.source);
  }
  EXPECT_EQ(owner_of_tmpfs(mount(1, "/", "/run"), {}), TmpfsOwner::container);
}

}  // namespace
}  // namespace ctriage::source
