#pragma once
// What a pod is and what its containers may do, from what runs rather than from what was asked for.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/process.h"

namespace ctriage {

enum class GrantKind : std::uint8_t { host_path, empty_dir, volume, secret, engine };
constexpr auto enum_names(GrantKind) {
  return std::array<std::string_view, 5>{"host_path", "empty_dir", "volume", "secret", "engine"};
}

struct Grant {  // a part of the node's file systems that is mounted into the container
  Bytes destination;
  Bytes source;
  Bytes fstype;
  GrantKind kind = GrantKind::host_path;
  bool writable = false;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("destination", self.destination, "mount point in the container");
    v("source", self.source, "where on the node it lies, by device and root of the mount tables");
    v("fstype", self.fstype, "file system");
    v("kind", self.kind,
      "empty_dir, volume, secret (projected tokens and configuration too): kubelet's; engine: files that the "
      "runtime made for it; host_path: all else");
    v("writable", self.writable, "mounted so");
  }
};

struct TokenClaims {  // of a service account, JWT: RFC 7519
  Bytes path;
  std::string sha256;
  Bytes header;
  Bytes claims;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("path", self.path, "in the container");
    v("sha256", self.sha256, "of the whole file");
    v("header", self.header, "first part of the token: JSON");
    v("claims", self.claims, "second part of the token: JSON. The third, its signature, is not kept");
  }
};

struct ExecTrace {  // a process that the runtime was asked to start inside
  Bytes id;
  std::int32_t pid = 0;
  bool running = false;
  std::optional<Timestamp> at;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("id", self.id,
      "the runtime's name for it: <id>.pid in the bundle; empty where only the process is left");
    v("pid", self.pid, "on the node");
    v("running", self.running, "a member of the container has this pid");
    v("at", self.at, "when it was started");
  }
};

struct Posture {
  std::string container;
  Bytes name;
  bool privileged = false;
  bool host_pid = false;
  bool host_ipc = false;
  bool host_network = false;
  bool host_user_namespace = true;
  bool read_only_root = false;
  std::uint32_t uid = 0;
  Capabilities capabilities;
  bool no_new_privs = false;
  std::int32_t seccomp = 0;
  std::optional<Bytes> lsm_label;
  std::vector<Grant> grants;
  std::vector<TokenClaims> tokens;
  std::vector<ExecTrace> execs;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("container", self.container, "container id");
    v("name", self.name, "name in its pod");
    v("privileged", self.privileged, "all devices, no masked paths, no seccomp, CAP_SYS_ADMIN");
    v("host_pid", self.host_pid, "in the node's pid namespace");
    v("host_ipc", self.host_ipc, "in the node's IPC namespace");
    v("host_network", self.host_network, "in the node's network namespace");
    v("host_user_namespace", self.host_user_namespace, "its root is the node's root");
    v("read_only_root", self.read_only_root, "root file system mounted read-only");
    v("uid", self.uid, "effective, of its first process, in the node's view");
    v("capabilities", self.capabilities, "of its first process");
    v("no_new_privs", self.no_new_privs, "of its first process");
    v("seccomp", self.seccomp, "of its first process: 0 off, 1 strict, 2 filter");
    v("lsm_label", self.lsm_label, "of its first process: AppArmor profile or SELinux context");
    v("grants", self.grants, "parts of the node that are mounted into it");
    v("tokens", self.tokens, "service account tokens in it");
    v("execs", self.execs, "processes that were started in it from outside through the runtime");
  }
};

struct Pod {
  std::string ns;
  std::string name;
  std::string uid;
  std::string sandbox_id;
  std::vector<Posture> containers;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("namespace", self.ns, "Kubernetes namespace; empty for a container without a pod");
    v("name", self.name, "pod name");
    v("uid", self.uid, "pod UID, where recorded");
    v("sandbox_id", self.sandbox_id, "container id of the pod's sandbox");
    v("containers", self.containers, "what each may do");
  }
};

}  // namespace ctriage
