#pragma once
// Containers, their pod, and the host they ran on.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"
#include "lib/model/kernel_state.h"

namespace ctriage {

struct PodRef {
  std::string ns;
  std::string name;
  std::string uid;
  std::string sandbox_id;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("namespace", self.ns, "Kubernetes namespace");
    v("name", self.name, "pod name");
    v("uid", self.uid, "pod UID, where recorded");
    v("sandbox_id", self.sandbox_id, "container id of the pod's sandbox");
  }
};

struct HostMount {  // what the spec asked to mount
  Bytes destination;
  Bytes source;
  Bytes type;
  std::vector<Bytes> options;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("destination", self.destination, "in the container");
    v("source", self.source, "on the node");
    v("type", self.type, "bind, tmpfs, proc, ...");
    v("options", self.options, "ro, rbind, ...");
  }
};

enum class ContainerState : std::uint8_t {
  unknown,
  created,
  running,
  paused,
  exited,
  recovered,
  checkpointed,
};
constexpr auto enum_names(ContainerState) {
  return std::array<std::string_view, 7>{"unknown", "created",   "running",     "paused",
                                         "exited",  "recovered", "checkpointed"};
}

struct Container {
  std::string id;  // 64 hexadecimal digits; "pid-N" for a container without an engine
  Bytes name;
  std::string engine;  // containerd, docker, podman, cri-o, unknown; none
  Bytes engine_namespace;
  bool sandbox = false;
  std::optional<PodRef> pod;
  ContainerState state = ContainerState::unknown;
  std::int32_t init_pid = 0;
  std::uint64_t init_start_ticks = 0;
  std::uint32_t attempt = 0;
  std::optional<Timestamp> created_at;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> finished_at;
  std::optional<std::int32_t> exit_code;
  Bytes image;
  Bytes image_id;
  Bytes image_digest;
  std::vector<Bytes> labels;
  std::vector<Bytes> args;
  std::vector<Bytes> environ;
  Bytes cwd;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool terminal = false;
  bool read_only_root = false;
  std::vector<std::string> capabilities;
  std::vector<std::string>
      rights;  // priv, hostPID, hostNetwork, hostIPC, CAP names that matter, "/" for host root
  bool seccomp = false;
  bool no_new_privs = false;
  std::vector<HostMount> mounts;
  Bytes cgroup;
  Bytes bundle_dir;
  Bytes root_dir;
  Bytes record;
  Bytes engine_root;
  Bytes log_dir;
  std::vector<SeccompFilter> seccomp_filters;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("id", self.id, "64 hexadecimal digits, or pid-N for a container without an engine");
    v("name", self.name, "name in its pod, or the id");
    v("engine", self.engine, "containerd, docker, podman, cri-o, unknown; none");
    v("engine_namespace", self.engine_namespace,
      "containerd namespace: k8s.io; \"uid N\": the user of a rootless engine");
    v("sandbox", self.sandbox, "the pod's sandbox (pause) container");
    v("pod", self.pod, "the pod it belongs to");
    v("state", self.state, "running, paused, created, exited, recovered, checkpointed");
    v("init_pid", self.init_pid, "the node's pid of its first process");
    v("init_start_ticks", self.init_start_ticks, "guards against pid reuse");
    v("attempt", self.attempt, "restarts before this instance");
    v("created_at", self.created_at, "bundle made");
    v("started_at", self.started_at, "init started");
    v("finished_at", self.finished_at, "ended, as the engine recorded it");
    v("exit_code", self.exit_code, "as the engine recorded it");
    v("image", self.image, "image reference");
    v("image_id", self.image_id, "sha256:... of the image's configuration, where recorded");
    v("image_digest", self.image_digest, "sha256:... of the image's manifest, where recorded");
    v("labels", self.labels, "key=value, as the engine or the kubelet gave them");
    v("args", self.args, "process.args of the OCI spec");
    v("environ", self.environ, "process.env of the OCI spec");
    v("cwd", self.cwd, "process.cwd of the OCI spec");
    v("uid", self.uid, "process.user of the OCI spec");
    v("gid", self.gid, "process.user of the OCI spec");
    v("terminal", self.terminal, "has a tty");
    v("read_only_root", self.read_only_root, "root.readonly of the OCI spec");
    v("capabilities", self.capabilities, "bounding set of the OCI spec");
    v("rights", self.rights, "what it may do beyond a plain container");
    v("seccomp", self.seccomp, "the spec has a seccomp filter");
    v("no_new_privs", self.no_new_privs, "noNewPrivileges of the OCI spec");
    v("mounts", self.mounts, "mounts of the OCI spec");
    v("cgroup", self.cgroup, "cgroupsPath of the OCI spec, or the init's cgroup");
    v("bundle_dir", self.bundle_dir, "OCI bundle on the node");
    v("root_dir", self.root_dir, "root.path of the OCI spec: where the engine mounted the root");
    v("record", self.record, "the engine's record on the node that this is from, the bundle aside");
    v("engine_root", self.engine_root, "the engine's root on the node");
    v("log_dir", self.log_dir, "where its logs lie on the node");
    v("seccomp_filters", self.seccomp_filters,
      "of a checkpoint: those that its threads have; a live kernel does not give them");
  }
};

struct Source {      // where this evidence is from: the answer of Snapshot::describe
  std::string kind;  // live, disk, bundle, checkpoint
  Bytes target;
  Bytes node;
  Bytes kernel;
  std::string machine;
  Bytes os;
  std::optional<Timestamp> taken_at;
  std::optional<Timestamp> booted_at;
  std::uint64_t ticks_per_second = 100;
  std::string tool;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("kind", self.kind,
      "live, bundle, checkpoint; disk: what an engine keeps of containers that do not run");
    v("target", self.target, "what was asked for, as it resolved");
    v("node", self.node, "host name");
    v("kernel", self.kernel, "uname(2) release");
    v("machine", self.machine, "uname(2) machine");
    v("os", self.os, "PRETTY_NAME of os-release");
    v("taken_at", self.taken_at, "when the evidence was taken");
    v("booted_at", self.booted_at, "wall clock of boot");
    v("ticks_per_second", self.ticks_per_second, "unit of start_ticks and cpu_ticks");
    v("tool", self.tool, "name and version");
  }
};

struct BundleHeader {  // what bundle.json says of the evidence; the rest of it is for people
  Source source;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("source", self.source, "where the evidence in the bundle is from");
  }
};

}  // namespace ctriage
