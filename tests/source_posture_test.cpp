#include <gtest/gtest.h>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/source/live/posture.h"

namespace ctriage::source {
namespace {

Mount mount(std::uint64_t device, const std::string& root, const std::string& point,
            const char* fstype = "ext4", const char* options = "rw,relatime",
            const char* super_options = "rw") {
  Mount made;
  made.device = Hex{device};
  made.root = Bytes(root);
  made.mountpoint = Bytes(point);
  made.fstype = Bytes(fstype);
  made.options = Bytes(options);
  made.super_options = Bytes(super_options);
  return made;
}

TEST(SourcePosture, Grants) {
  const std::vector<Mount> node{
      mount(1, "/", "/"), mount(2, "/", "/run", "tmpfs"),
      mount(3, "/", "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pvc-1/mount"),
      mount(4, "/", "/run/containerd/sandboxes/x/shm", "tmpfs"), mount(5, "/", "/proc", "proc")};
  const std::string pod = "/var/lib/kubelet/pods/u";
  const struct {
    const char* name;
    Mount mount;
    std::string shown;
  } cases[] = {
      {"hostPath", mount(1, "/etc", "/host/etc"), "host_path /etc w"},
      {"the whole node", mount(1, "/", "/host"), "host_path / w"},
      {"read-only mount", mount(1, "/var/log", "/log", "ext4", "ro,nosuid"), "host_path /var/log"},
      {"read-only file system", mount(1, "/var/log", "/log", "ext4", "rw", "ro"), "host_path /var/log"},
      {"socket of the runtime", mount(2, "/containerd/containerd.sock", "/c.sock", "tmpfs"),
       "host_path /run/containerd/containerd.sock w"},
      {"emptyDir", mount(1, pod + "/volumes/kubernetes.io~empty-dir/tmp", "/tmp"),
       "empty_dir " + pod + "/volumes/kubernetes.io~empty-dir/tmp w"},
      {"configMap", mount(1, pod + "/volumes/kubernetes.io~configmap/c", "/c", "ext4", "ro"),
       "secret " + pod + "/volumes/kubernetes.io~configmap/c"},
      {"claim", mount(3, "/", "/data"), "volume " + pod + "/volumes/kubernetes.io~csi/pvc-1/mount w"},
      {"sub-path of a claim", mount(1, pod + "/volume-subpaths/v/app/0", "/data"),
       "volume " + pod + "/volume-subpaths/v/app/0 w"},
      {"hosts", mount(1, pod + "/etc-hosts", "/etc/hosts"), "engine " + pod + "/etc-hosts w"},
      {"termination log", mount(1, pod + "/containers/app/0a1b2c3d", "/dev/termination-log"),
       "engine " + pod + "/containers/app/0a1b2c3d w"},
      {"resolv.conf", mount(1, "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/x/resolv.conf", "/r"),
       "engine /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/x/resolv.conf w"},
      {"shm", mount(4, "/", "/dev/shm", "tmpfs"), "engine /run/containerd/sandboxes/x/shm w"},
      {"a tmpfs of its own", mount(9, "/", "/tmp", "tmpfs"), "-"},
      {"the root", mount(7, "/", "/", "overlay"), "-"},
      {"procfs", mount(5, "/", "/proc", "proc"), "-"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto grant = grant_of(c.mount, node);
    const std::string shown =
        grant ? std::string(to_text(grant->kind)) + " " + grant->source.raw + (grant->writable ? " w" : "")
              : "-";
    EXPECT_EQ(shown, c.shown);
  }
}

std::string base64url(std::string text) {
  std::string out = to_base64(text);
  while (out.ends_with('=')) out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

TEST(SourcePosture, Tokens) {
  const std::string header = R"({"alg":"RS256"})";
  const std::string claims = R"({"sub":"system:serviceaccount:shop:web","x":"??>>~~"})";
  const std::string token = base64url(header) + "." + base64url(claims) + ".c2lnbmF0dXJl";
  const auto parsed = parse_token(token + "\n");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->header.raw, header);
  EXPECT_EQ(parsed->claims.raw, claims);
  EXPECT_EQ(parsed->sha256, sha256_hex(token + "\n"));
  const std::size_t second_dot = token.rfind('.');
  for (std::size_t size = 0; size <= second_dot; ++size)  // without the second dot it has no three parts
    EXPECT_EQ(parse_token(std::string_view(token).substr(0, size)).has_value(), false) << size;
  for (const char* wrong : {"", "..", "a.b.c", "!!.!!.x", "e30.e30", "e30.e30.x.y", ".e30.x", "W10.W10.x"})
    EXPECT_FALSE(parse_token(wrong)) << wrong;
  EXPECT_TRUE(parse_token("e30.e30."));
}

}  // namespace
}  // namespace ctriage::source
