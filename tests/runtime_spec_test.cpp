#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/core/limits.h"
#include "lib/runtime/docker.h"
#include "lib/runtime/processes.h"
#include "lib/runtime/runtime.h"
#include "lib/runtime/shims.h"
#include "lib/runtime/storage.h"

namespace ctriage::runtime {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string capture(const std::string& name) {
  std::ifstream in(CTRIAGE_TESTDATA "/runtime/" + name, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

Container parse(const std::string& text) {
  Container container;
  const auto parsed = parse_spec(text, container);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().what);
  return container;
}

TEST(RuntimeSpec, ContainerOfAPod) {
  const Container container = parse(capture("cri-container.json"));
  EXPECT_EQ(container.name.raw, "app");
  EXPECT_FALSE(container.sandbox);
  ASSERT_TRUE(container.pod);
  EXPECT_EQ(container.pod->ns, "shop");
  EXPECT_EQ(container.pod->name, "rt-web");
  EXPECT_EQ(container.pod->uid, "b1a4dd16-fd70-4548-a4c7-5bf784dc15de");
  EXPECT_EQ(container.pod->sandbox_id, "a65eb5e06136c2ecaea1c6cf2dab00590384910e6fc6e117a67d90688397578d");
  EXPECT_EQ(container.image.raw, "localhost/app:1");
  ASSERT_EQ(container.args.size(), 3U);
  EXPECT_EQ(container.args[2].raw, "sleep 100000");
  EXPECT_EQ(container.environ[0].raw, "PATH=/usr/bin:/bin");
  EXPECT_EQ(container.cwd.raw, "/");
  EXPECT_EQ(container.capabilities.size(), 14U);
  EXPECT_THAT(container.capabilities, Contains("CAP_NET_RAW"));
  EXPECT_EQ(container.mounts.size(), 10U);
  EXPECT_EQ(container.mounts[0].destination.raw, "/proc");
  EXPECT_EQ(container.cgroup.raw,
            "/kubepods/besteffort/podb1a4dd16-fd70-4548-a4c7-5bf784dc15de/"
            "0c6e96b03fc432d5c8e2d5ff8758ca5548e47f062c8a50d3a05c790ec3761a73");
  EXPECT_THAT(container.rights, IsEmpty());
  EXPECT_FALSE(container.seccomp);
  EXPECT_FALSE(container.no_new_privs);
  EXPECT_FALSE(container.read_only_root);
}

TEST(RuntimeSpec, Sandboxes) {
  const Container sandbox = parse(capture("cri-sandbox.json"));
  EXPECT_TRUE(sandbox.sandbox);
  EXPECT_TRUE(sandbox.name.empty());
  EXPECT_EQ(sandbox.log_dir.raw, "/var/log/pods/shop_rt-web_b1a4dd16-fd70-4548-a4c7-5bf784dc15de");
  EXPECT_TRUE(sandbox.no_new_privs);
  EXPECT_TRUE(sandbox.read_only_root);
  EXPECT_THAT(sandbox.rights, ElementsAre("hostNetwork"));
  EXPECT_THAT(parse(capture("cri-sandbox-hostpid.json")).rights, ElementsAre("hostPID", "hostNetwork"));
}

TEST(RuntimeSpec, Rights) {
  EXPECT_THAT(parse(capture("cri-privileged.json")).rights, ElementsAre("priv", "/"));
  const Container plain = parse(capture("ctr-run.json"));
  EXPECT_THAT(plain.rights, IsEmpty());
  EXPECT_FALSE(plain.pod);
  EXPECT_TRUE(plain.name.empty());

  const std::string all_devices = R"("resources":{"devices":[{"allow":true,"access":"rwm"}]})";
  const std::string namespaces = R"("namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"}])";
  auto spec = [&](const std::string& capabilities, const std::string& linux_part) {
    return R"({"process":{"capabilities":{"bounding":[)" + capabilities + R"(]}},"linux":{)" + namespaces +
           (linux_part.empty() ? "" : ",") + linux_part + "}}";
  };
  const struct {
    std::string spec;
    std::vector<std::string> rights;
  } cases[] = {
      {"{}", {}},
      {R"({"linux":{}})", {"hostPID", "hostNetwork", "hostIPC"}},
      {R"({"linux":{"namespaces":null}})", {"hostPID", "hostNetwork", "hostIPC"}},
      {spec("", ""), {}},
      {spec(R"("CAP_KILL","CAP_SYS_ADMIN","CAP_BPF")", ""), {"CAP_SYS_ADMIN", "CAP_BPF"}},
      {spec(R"("CAP_SYS_ADMIN")", all_devices), {"priv"}},
      {spec(R"("CAP_SYS_ADMIN")", all_devices + R"(,"maskedPaths":[])"), {"priv"}},
      {spec(R"("CAP_SYS_ADMIN")", all_devices + R"(,"maskedPaths":["/proc/kcore"])"), {"CAP_SYS_ADMIN"}},
      {spec(R"("CAP_SYS_ADMIN")", all_devices + R"(,"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"})"),
       {"CAP_SYS_ADMIN"}},
      {spec(R"("CAP_KILL")", all_devices), {}},
      {spec(R"("CAP_SYS_ADMIN")",
            R"("resources":{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"access":"rwm"}]})"),
       {"CAP_SYS_ADMIN"}},
      {spec(R"("CAP_SYS_ADMIN")", R"("resources":{"devices":[{"allow":true,"type":"c","access":"rwm"}]})"),
       {"CAP_SYS_ADMIN"}},
      {spec(R"("CAP_SYS_ADMIN")", R"("resources":{"devices":[{"allow":true,"type":"a","access":"rwm"}]})"),
       {"priv"}},
      {R"({"mounts":[{"destination":"/h","source":"/"}]})", {"/"}},
      {R"({"mounts":[{"destination":"/h","source":"//"}]})", {"/"}},
      {R"({"mounts":[{"destination":"/h","source":""},{"destination":"/","source":"/x"}]})", {}},
  };
  for (const auto& c : cases) EXPECT_EQ(parse(c.spec).rights, c.rights) << c.spec;
}

TEST(RuntimeSpec, PodUidFromOlderEngines) {
  auto spec = [](const std::string& more, const std::string& cgroup) {
    return R"({"annotations":{"io.kubernetes.cri.sandbox-id":"s","io.kubernetes.cri.sandbox-namespace":"shop",)"
           R"("io.kubernetes.cri.sandbox-name":"web")" +
           more + R"(},"linux":{"cgroupsPath":")" + cgroup + "\"}}";
  };
  const std::string uid = "b1a4dd16-fd70-4548-a4c7-5bf784dc15de";
  const std::string id(64, 'a');
  EXPECT_EQ(parse(spec("", "/kubepods/burstable/pod" + uid + "/" + id)).pod->uid, uid);
  EXPECT_EQ(
      parse(spec("", "kubepods-burstable-podb1a4dd16_fd70_4548_a4c7_5bf784dc15de.slice:cri-containerd:" + id))
          .pod->uid,
      uid);
  EXPECT_EQ(
      parse(spec(R"(,"io.kubernetes.cri.sandbox-log-directory":"/var/log/pods/shop_web_)" + uid + "\"", ""))
          .pod->uid,
      uid);
  EXPECT_EQ(
      parse(spec(R"(,"io.kubernetes.cri.sandbox-log-directory":"/var/log/pods/shop_other_)" + uid + "\"", ""))
          .pod->uid,
      "");
  EXPECT_EQ(parse(spec("", "")).pod->uid, "");
}

TEST(RuntimeSpec, CrioPod) {
  const Container container = parse(capture("crio-container.json"));
  EXPECT_EQ(container.engine, "cri-o");
  EXPECT_EQ(container.name.raw, "app");
  EXPECT_FALSE(container.sandbox);
  ASSERT_TRUE(container.pod);
  EXPECT_EQ(container.pod->ns, "shop");
  EXPECT_EQ(container.pod->name, "web-7d9f8c6b5-x2x4q");
  EXPECT_EQ(container.pod->uid, "b1a4dd16-fd70-4548-a4c7-5bf784dc15de");
  EXPECT_EQ(container.pod->sandbox_id, std::string(60, '5') + "0001");
  EXPECT_EQ(container.attempt, 2U);
  EXPECT_EQ(container.image.raw, "registry.example/shop/app:1");
  EXPECT_THAT(container.image_id.raw, testing::StartsWith("4d2823f4"));
  EXPECT_EQ(container.log_dir.raw,
            "/var/log/pods/shop_web-7d9f8c6b5-x2x4q_b1a4dd16-fd70-4548-a4c7-5bf784dc15de/app");
  EXPECT_THAT(container.labels, Contains(Bytes("app=web")));
  EXPECT_THAT(container.root_dir.raw, testing::EndsWith("/merged"));

  const Container sandbox = parse(capture("crio-sandbox.json"));
  EXPECT_TRUE(sandbox.sandbox);
  ASSERT_TRUE(sandbox.pod);
  EXPECT_EQ(sandbox.pod->ns, "shop");
  EXPECT_EQ(sandbox.pod->name, "web-7d9f8c6b5-x2x4q");
  EXPECT_EQ(sandbox.pod->uid, "b1a4dd16-fd70-4548-a4c7-5bf784dc15de");
  EXPECT_EQ(sandbox.pod->sandbox_id, std::string(60, '5') + "0001");
}

TEST(RuntimeSpec, PodmanAndNerdctl) {
  const Container podman = parse(capture("podman-container.json"));
  EXPECT_EQ(podman.engine, "podman");
  EXPECT_FALSE(podman.pod);
  const Container nerdctl = parse(R"({"annotations":{"nerdctl/name":"web","nerdctl/namespace":"default"}})");
  EXPECT_EQ(nerdctl.name.raw, "web");
  EXPECT_EQ(nerdctl.engine, "");
}

TEST(RuntimeSpec, DamageInsideAnAnnotation) {
  for (const char* value : {R"("{")", R"("[]")", "7"}) {
    Container container;
    const auto parsed =
        parse_spec(R"({"annotations":{"io.container.manager":"cri-o","io.kubernetes.cri-o.Labels":)" +
                       std::string(value) + "}}",
                   container);
    ASSERT_FALSE(parsed) << value;
    EXPECT_THAT(parsed.error().what, HasSubstr("io.kubernetes.cri-o.Labels"));
  }
}

TEST(DockerRecord, OfAContainerThatEnded) {
  Container container;
  container.id = "1eea461f1d1091914f7cd58f9d6960114167c3b359a35584e0079a663736fb2d";
  const auto parsed = parse_docker_record(capture("docker29-config.v2.json"), container);
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(container.name.raw, "web");
  EXPECT_EQ(container.image.raw, "localhost/app:1");
  EXPECT_THAT(container.image_id.raw, testing::StartsWith("sha256:4d2823f4"));
  EXPECT_THAT(container.image_digest.raw, testing::StartsWith("sha256:abab"));
  EXPECT_THAT(container.labels, ElementsAre(Bytes("a=b")));
  EXPECT_EQ(container.state, ContainerState::exited);
  EXPECT_EQ(container.exit_code, 137);
  ASSERT_TRUE(container.finished_at);
  EXPECT_EQ(to_rfc3339(*container.finished_at), "2026-11-22T06:00:00.500000000Z");
  EXPECT_EQ(container.attempt, 3U);
  EXPECT_EQ(container.args.front().raw, "/bin/sh");
  EXPECT_THAT(container.log_dir.raw, testing::StartsWith("/var/lib/docker/containers/1eea"));
}

TEST(DockerRecord, ReadByTheKubelet) {
  Container container;
  container.id = "abc";
  const auto parsed = parse_docker_record(
      R"({"ID":"abc","Name":"/k8s_app_web_shop_u_1","Config":{"Labels":{"io.kubernetes.pod.name":"web",)"
      R"("io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u","io.kubernetes.container.name":"app",)"
      R"("io.kubernetes.docker.type":"container","io.kubernetes.sandbox.id":"s"}}})",
      container);
  ASSERT_TRUE(parsed) << parsed.error().what;
  ASSERT_TRUE(container.pod);
  EXPECT_EQ(container.pod->ns + "/" + container.pod->name + "/" + container.name.raw, "shop/web/app");
  EXPECT_EQ(container.pod->sandbox_id, "s");
}

TEST(DockerRecord, EveryPrefixIsAnError) {
  const std::string text = capture("docker-config.v2.json");
  const std::size_t end = text.find_last_of('}');
  for (std::size_t size = 0; size <= end; ++size) {
    Container container;
    container.id = "1eea461f1d1091914f7cd58f9d6960114167c3b359a35584e0079a663736fb2d";
    ASSERT_FALSE(parse_docker_record(std::string_view(text).substr(0, size), container)) << size;
    ASSERT_TRUE(container.name.empty());
  }
}

TEST(DockerRecord, WrongTypes) {
  for (const char* member :
       {R"("Name":7)", R"("Created":"x")", R"("State":[])", R"("State":{"StartedAt":"now"})",
        R"("Config":{"Labels":[]})", R"("Config":{"Labels":{"a":1}})", R"("Image":{})", R"("Args":"x")",
        R"("RestartCount":-1)", R"("RestartCount":4294967296)",
        R"("State":{"StartedAt":"2026-01-01T00:00:00Z","ExitCode":99999999999})"}) {
    Container container;
    container.id = "abc";
    const auto parsed = parse_docker_record(std::string(R"({"ID":"abc",)") + member + "}", container);
    ASSERT_FALSE(parsed) << member;
    EXPECT_EQ(parsed.error().code, Errc::malformed) << parsed.error().what;
  }
}

TEST(DaemonConfig, DataRoot) {
  EXPECT_EQ(parse_daemon_config(R"({"data-root":"/mnt/docker"})").value(), "/mnt/docker");
  EXPECT_EQ(parse_daemon_config(R"({"graph":"/g"})").value(), "/g");
  EXPECT_EQ(parse_daemon_config("{}").value(), "");
  EXPECT_FALSE(parse_daemon_config(R"({"data-root":7})"));
  EXPECT_FALSE(parse_daemon_config("[]"));
}

TEST(StorageRecords, OfPodmanAndCrio) {
  const auto podman = parse_storage_records(capture("podman-containers.json"));
  ASSERT_TRUE(podman) << podman.error().what;
  ASSERT_FALSE(podman->empty());
  EXPECT_EQ(podman->front().name, "pweb");
  EXPECT_EQ(podman->front().image_name, "localhost/app:1");
  const auto crio = parse_storage_records(capture("crio-volatile-containers.json"));
  ASSERT_TRUE(crio) << crio.error().what;
  ASSERT_EQ(crio->size(), 1U);
  EXPECT_EQ(crio->front().container_name, "app");
  EXPECT_EQ(crio->front().pod_id, std::string(60, '5') + "0001");
  const std::string text = capture("crio-volatile-containers.json");
  for (std::size_t size = 0; size < text.find_last_of(']'); ++size) {
    ASSERT_FALSE(parse_storage_records(std::string_view(text).substr(0, size))) << size;
  }
  for (const char* wrong :
       {"{}", "[7]", "[{}]", R"([{"id":"a/b"}])", R"([{"id":"a","names":"x"}])",
        R"([{"id":"a","metadata":{}}])", R"([{"id":"a","metadata":"{"}])", R"([{"id":"a","created":"x"}])"}) {
    EXPECT_FALSE(parse_storage_records(wrong)) << wrong;
  }
}

TEST(CgroupOwner, OutermostContainer) {
  const std::string id(64, 'a');
  const std::string inner(64, 'b');
  const struct {
    std::string cgroup;
    std::string id;
    const char* engine;
    const char* uid;
  } cases[] = {
      {"0::/kubepods.slice/kubepods-pod11112222_3333_4444_5555_666677778888.slice/cri-containerd-" + id +
           ".scope",
       id, "containerd", "11112222-3333-4444-5555-666677778888"},
      {"0::/a/kubepods-pod11112222_3333_4444_5555_666677778888.slice:cri-containerd:" + id, id, "containerd",
       "11112222-3333-4444-5555-666677778888"},
      {"0::/machine.slice/libpod-" + id + ".scope/container", id, "podman", ""},
      {"0::/x/crio-" + id, id, "cri-o", ""},
      {"0::/docker/" + id + "/docker/" + inner, id, "docker", ""},
      {"0::/ctr/" + id, id, "unknown", ""},
      {"4:cpu:/\n1:name=systemd:/system.slice/docker-" + id + ".scope", id, "docker", ""},
      {"0::/machine.slice/libpod-conmon-" + id + ".scope", "", "", ""},
      {"0::/user.slice", "", "", ""},
      {"", "", "", ""},
  };
  for (const auto& c : cases) {
    Sighting sighting;
    read_owner(c.cgroup, sighting);
    EXPECT_EQ(sighting.container_id, c.id) << c.cgroup;
    EXPECT_EQ(sighting.engine, c.engine) << c.cgroup;
    EXPECT_EQ(sighting.pod_uid, c.uid) << c.cgroup;
  }
}

TEST(RuntimeSpec, EveryPrefixIsAnError) {
  for (const char* name : {"cri-container.json", "crio-container.json"}) {
    const std::string text = capture(name);
    const std::size_t end = text.find_last_of('}');
    for (std::size_t size = 0; size <= end; ++size) {
      Container container;
      container.id = "kept";
      const auto parsed = parse_spec(std::string_view(text).substr(0, size), container);
      ASSERT_FALSE(parsed) << name << " " << size;
      ASSERT_EQ(container.id, "kept");
      ASSERT_TRUE(container.args.empty()) << "half a spec was taken over";
    }
  }
}

TEST(RuntimeSpec, WrongTypes) {
  const char* const cases[] = {
      "",
      "null",
      "7",
      "[]",
      R"("text")",
      R"({"process":[]})",
      R"({"process":{"args":"sh"}})",
      R"({"process":{"args":["sh",7]}})",
      R"({"process":{"args":["sh",null]}})",
      R"({"process":{"env":{}}})",
      R"({"process":{"cwd":7}})",
      R"({"process":{"user":7}})",
      R"({"process":{"user":{"uid":-1}}})",
      R"({"process":{"user":{"uid":4294967296}}})",
      R"({"process":{"user":{"gid":1.0}}})",
      R"({"process":{"user":{"gid":"0"}}})",
      R"({"process":{"terminal":1}})",
      R"({"process":{"capabilities":[]}})",
      R"({"process":{"capabilities":{"bounding":[[]]}}})",
      R"({"root":"/"})",
      R"({"root":{"readonly":"yes"}})",
      R"({"mounts":{}})",
      R"({"mounts":[7]})",
      R"({"mounts":[null]})",
      R"({"mounts":[{"source":7}]})",
      R"({"mounts":[{"options":"ro"}]})",
      R"({"annotations":[]})",
      R"({"annotations":{"io.kubernetes.cri.sandbox-id":7}})",
      R"({"linux":7})",
      R"({"linux":{"cgroupsPath":{}}})",
      R"({"linux":{"namespaces":{}}})",
      R"({"linux":{"namespaces":["pid"]}})",
      R"({"linux":{"namespaces":[{"type":7}]}})",
      R"({"linux":{"maskedPaths":{}}})",
      R"({"linux":{"seccomp":[]}})",
      R"({"linux":{"resources":[]}})",
      R"({"linux":{"resources":{"devices":{}}}})",
      R"({"linux":{"resources":{"devices":[7]}}})",
      R"({"linux":{"resources":{"devices":[{"allow":"true"}]}}})",
      "{\"process\":{\"cwd\":\"\xff\"}}",
  };
  for (const char* text : cases) {
    Container container;
    const auto parsed = parse_spec(text, container);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::malformed) << text;
    EXPECT_THAT(parsed.error().what, HasSubstr("OCI config")) << text;
  }
}

TEST(RuntimeSpec, Limits) {
  std::string many = "{\"x\":[0";
  for (int i = 0; i < 300'000; ++i) many += ",0";
  const std::string cases[] = {
      std::string(kMaxJsonBytes + 1, ' '),
      std::string(1 << 20, '['),
      "{\"linux\":" + std::string(100, '['),
      many + "]}",
  };
  for (const std::string& text : cases) {
    Container container;
    const auto parsed = parse_spec(text, container);
    ASSERT_FALSE(parsed) << text.size();
    EXPECT_EQ(parsed.error().code, Errc::limit) << parsed.error().what;
  }
}

TEST(RuntimeSpec, UnknownMembersAndNull) {
  const Container container = parse(
      R"({"process":null,"root":null,"mounts":null,"annotations":null,"hooks":{"a":[[{}]]},"linux":{"seccomp":null},"vm":1.5})");
  EXPECT_TRUE(container.args.empty());
  EXPECT_FALSE(container.seccomp);
}

TEST(RuntimeShims, BundlePaths) {
  const std::string task = "/io.containerd.runtime.v2.task/";
  const struct {
    std::string path;
    bool ok;
    std::string before;
    std::string engine_namespace;
    std::string id;
  } cases[] = {
      {"/run/containerd" + task + "k8s.io/abc", true, "/run/containerd", "k8s.io", "abc"},
      {task + "moby/abc", true, "", "moby", "abc"},
      {"/a" + task + "x/y" + task + "ns/id", true, "/a" + task + "x/y", "ns", "id"},
      {"", false, "", "", ""},
      {"/", false, "", "", ""},
      {"/run/containerd" + task, false, "", "", ""},
      {"/run/containerd" + task + "k8s.io", false, "", "", ""},
      {"/run/containerd" + task + "k8s.io/", false, "", "", ""},
      {"/run/containerd" + task + "/abc", false, "", "", ""},
      {"/run/containerd" + task + "k8s.io/abc/def", false, "", "", ""},
      {"/run/containerd" + task + "../etc", false, "", "", ""},
      {"/run/containerd" + task + "k8s.io/..", false, "", "", ""},
      {"/run/containerd" + task + "k8s.io/a\nb", false, "", "", ""},
      {"run/containerd" + task + "k8s.io/abc", false, "", "", ""},
      {"/run/containerd/io.containerd.runtime.v1.linux/k8s.io/abc", false, "", "", ""},
  };
  for (const auto& c : cases) {
    BundlePath parts;
    EXPECT_EQ(parse_bundle_path(c.path, parts), c.ok) << c.path;
    EXPECT_EQ(parts.before, c.before) << c.path;
    EXPECT_EQ(parts.engine_namespace, c.engine_namespace) << c.path;
    EXPECT_EQ(parts.id, c.id) << c.path;
  }
  EXPECT_TRUE(is_identifier(std::string(255, 'a')));
  EXPECT_FALSE(is_identifier(std::string(256, 'a')));
}

}  // namespace
}  // namespace ctriage::runtime
