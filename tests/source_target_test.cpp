#include <gtest/gtest.h>

#include <algorithm>

#include "lib/source/target.h"

namespace ctriage::source {
namespace {

runtime::Found make(const std::string& ns, const std::string& pod, const std::string& name,
                    const std::string& id, bool sandbox = false) {
  runtime::Found found;
  found.container.id = id;
  found.container.name = Bytes(name);
  found.container.engine = "containerd";
  found.container.sandbox = sandbox;
  if (!pod.empty()) found.container.pod = PodRef{ns, pod, "uid-of-" + pod, "sandbox"};
  return found;
}

std::vector<runtime::Found> node() {
  return {make("shop", "web-7d9f8c6b5-x2x4q", "web-7d9f8c6b5-x2x4q", "aaaa0000", true),
          make("shop", "web-7d9f8c6b5-x2x4q", "app", "a91f02c4be77"),
          make("shop", "web-7d9f8c6b5-x2x4q", "istio-proxy", "77b0ce1d90aa"),
          make("shop", "pay-5f77d9c44-9kk2m", "app", "0d4417be21c0"),
          make("shop", "pay", "app", "0d44ffff0000"),
          make("test", "web-1", "app", "beef00000001"),
          make("", "", "plain", "cafe00000001")};
}

TEST(ResolveTarget, Tokens) {
  const struct {
    const char* token;
    const char* ns;
    const char* container;
    const char* name;                  // "" means an error
    std::vector<std::size_t> indices;  // what it resolves to
    const char* error;                 // a part of the message
  } cases[] = {
      {"shop/web-7d9f8c6b5-x2x4q", "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {"shop/web", "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {"web-7", "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {"pod:web-7", "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {"uid-of-web-1", "", "", "test/web-1", {5}, ""},
      {"shop/web/app", "", "", "shop/web-7d9f8c6b5-x2x4q/app", {1}, ""},
      {"web-7", "", "istio-proxy", "shop/web-7d9f8c6b5-x2x4q/istio-proxy", {2}, ""},
      {"web", "test", "", "test/web-1", {5}, ""},
      {"pay", "", "", "shop/pay", {4}, ""},  // the whole name wins over a prefix of another
      {"a91f", "", "", "shop/web-7d9f8c6b5-x2x4q/app", {1}, ""},
      {"ctr:cafe", "", "", "plain", {6}, ""},
      {"containerd://beef00000001", "", "", "test/web-1/app", {5}, ""},
      {"0d44", "", "", "", {}, "matches 2 targets"},
      {"web", "", "", "", {}, "matches 2 targets: shop/web-7d9f8c6b5-x2x4q test/web-1"},
      {"a91", "", "", "", {}, "no such pod or container"},  // under 4 digits is no id
      {"shop/nothing", "", "", "", {}, "no such pod or container"},
      {"shop/web/nothing", "", "", "", {}, "no such pod or container"},
      {"", "", "", "", {}, "no such pod or container"},
      {"ctr:", "", "", "", {}, "no such pod or container"},
  };
  const auto all = node();
  for (const auto& c : cases) {
    SCOPED_TRACE(c.token);
    const auto resolved = resolve_target({c.token, c.ns, c.container}, all);
    ASSERT_EQ(resolved.has_value(), *c.name != '\0') << (resolved ? resolved->name : resolved.error().what);
    if (!resolved) {
      EXPECT_NE(resolved.error().what.find(c.error), std::string::npos) << resolved.error().what;
      EXPECT_EQ(resolved.error().what.find('\n'), std::string::npos);
      continue;
    }
    EXPECT_EQ(resolved->name, c.name);
    EXPECT_EQ(resolved->containers, c.indices);
    EXPECT_EQ(resolved->whole_pod, std::count(resolved->name.begin(), resolved->name.end(), '/') == 1);
  }
}

TEST(ResolveTarget, Labels) {
  std::vector<runtime::Found> all = node();
  const auto label = [&](std::size_t index, std::vector<Bytes> labels) {
    all[index].container.labels = std::move(labels);
  };
  all[0].container.id = "sandbox-of-web";
  for (const std::size_t i : {0U, 1U, 2U}) all[i].container.pod->sandbox_id = "sandbox-of-web";
  label(0, {Bytes("app=web"), Bytes("tier=front")});  // the pod's are its sandbox's
  label(2, {Bytes("mesh=yes")});
  label(3, {Bytes("app=pay")});
  label(4, {Bytes("app=pay")});
  label(6, {Bytes("app=plain")});
  const struct {
    std::vector<std::string> labels;
    const char* token;
    const char* container;
    const char* name;
    std::vector<std::size_t> indices;
    const char* error;
  } cases[] = {
      {{"app=web"}, "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {{"app=web", "tier=front"}, "", "", "shop/web-7d9f8c6b5-x2x4q", {0, 1, 2}, ""},
      {{"app=web", "tier=back"}, "", "", "", {}, "-l app=web tier=back: no such pod or container"},
      {{"app=web"}, "", "app", "shop/web-7d9f8c6b5-x2x4q/app", {1}, ""},
      {{"mesh=yes"}, "", "", "shop/web-7d9f8c6b5-x2x4q", {2}, ""},
      {{"app=plain"}, "", "", "plain", {6}, ""},
      {{"app=pay"}, "", "", "", {}, "-l app=pay: matches 2 targets: shop/pay shop/pay-5f77d9c44-9kk2m"},
      {{"app=pay"}, "pay-5", "", "shop/pay-5f77d9c44-9kk2m", {3}, ""},
      {{"app=web"}, "pay", "", "", {}, "pay: no such pod or container"},
      {{"app"}, "", "", "", {}, "-l app: not key=value"},
      {{"=web"}, "", "", "", {}, "-l =web: not key=value"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.labels.front() + " " + c.token);
    TargetQuery query{c.token, "", c.container, c.labels};
    const auto resolved = resolve_target(query, all);
    ASSERT_EQ(resolved.has_value(), *c.name != '\0') << (resolved ? resolved->name : resolved.error().what);
    if (!resolved) {
      EXPECT_NE(resolved.error().what.find(c.error), std::string::npos) << resolved.error().what;
      continue;
    }
    EXPECT_EQ(resolved->name, c.name);
    EXPECT_EQ(resolved->containers, c.indices);
  }
}

runtime::Found plain(const std::string& engine, const std::string& ns, const std::string& name,
                     const std::string& id, ContainerState state = ContainerState::running) {
  runtime::Found found = make("", "", name, id);
  found.container.engine = engine;
  found.container.engine_namespace = Bytes(ns);
  found.container.state = state;
  return found;
}

TEST(ResolveTarget, ContainersWithoutAPod) {
  std::vector<runtime::Found> all{plain("docker", "moby", "web", "1eea461f1d1091914f7cd58f"),
                                  plain("podman", "", "pweb", "5ea65b8435ffbd51f275fd55"),
                                  plain("podman", "uid 1000", "db", "1eea461f1d1091914f7cd58f"),
                                  plain("containerd", "default", "job", "job"),
                                  plain("containerd", "other", "job", "job"),
                                  plain("unknown", "", "0123456789abcdef", "0123456789abcdef"),
                                  make("shop", "web-1", "app", "beef000000010000"),
                                  make("pod", "cart", "app", "beef000000020000"),
                                  make("shop", "till", "app", "beef000000030000")};
  all[6].container.engine = "cri-o";
  runtime::Found nameless = make("", "x", "", "feed000000010000");
  nameless.container.pod = PodRef{"", "", "b1a4dd16-fd70", ""};
  all.push_back(nameless);
  const struct {
    const char* token;
    const char* ns;
    const char* container;
    const char* name;
    std::vector<std::size_t> indices;
    const char* error;
  } cases[] = {
      {"pweb", "", "", "pweb", {1}, ""},
      {"pw", "", "", "pweb", {1}, ""},
      {"ctr:db", "", "", "db", {2}, ""},
      {"web", "", "", "web", {0}, ""},  // the whole name wins over the prefix of a pod's
      {"we", "", "", "", {}, "matches 2 targets: ctr:1eea461f1d10 (web, docker moby) shop/web-1"},
      {"web", "moby", "", "web", {0}, ""},
      {"ctr:web", "", "", "web", {0}, ""},
      {"pod:web", "", "", "shop/web-1", {6}, ""},
      {"1eea", "", "", "", {}, "(db, podman uid 1000)"},
      {"docker://1eea461f1d1091914f7cd58f", "", "", "web", {0}, ""},
      {"docker://1eea", "", "", "web", {0}, ""},
      {"podman://1eea", "", "", "db", {2}, ""},
      {"cri-o://beef00000001", "", "", "shop/web-1/app", {6}, ""},
      {"cri-o://1eea", "", "", "", {}, "no such pod or container"},
      {"docker://web", "", "", "", {}, "no such pod or container"},
      {"docker://1ee", "", "", "", {}, "no such pod or container"},
      {"docker://", "", "", "", {}, "no such pod or container"},
      {"docker://0123", "", "", "0123456789ab", {5}, ""},
      {"job", "", "", "", {}, "matches 2 targets: ctr:job (containerd default) ctr:job (containerd other)"},
      {"job", "other", "", "job", {4}, ""},
      {"containerd://job", "", "", "", {}, "matches 2 targets"},
      {"pod/till", "", "", "shop/till", {8}, ""},
      {"pods/till", "", "", "shop/till", {8}, ""},
      {"pod/till", "", "app", "shop/till/app", {8}, ""},
      {"pod/till/app", "", "", "", {}, "no such pod or container"},
      {"pod/cart", "", "", "pod/cart", {7}, ""},  // the namespace "pod" and kubectl's word: one target
      {"pod/till", "other", "", "", {}, "no such pod or container"},
      {"b1a4dd16-fd70", "", "", "pod:b1a4dd16-fd70", {9}, ""},
      {"web", "moby", "other", "", {}, "no such pod or container"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.token) + " -n " + c.ns);
    const auto resolved = resolve_target({c.token, c.ns, c.container}, all);
    ASSERT_EQ(resolved.has_value(), *c.name != '\0') << (resolved ? resolved->name : resolved.error().what);
    if (!resolved) {
      EXPECT_NE(resolved.error().what.find(c.error), std::string::npos) << resolved.error().what;
      continue;
    }
    EXPECT_EQ(resolved->name, c.name);
    EXPECT_EQ(resolved->containers, c.indices);
  }
}

// A crash-looping pod is its sandbox and the instances that run; what nothing has replaced stays.
TEST(ResolveTarget, ReplacedInstancesOfAPodAreLeftOut) {
  std::vector<runtime::Found> all{make("shop", "web", "", "aaaa", true), make("shop", "web", "app", "bbbb"),
                                  make("shop", "web", "app", "cccc"), make("shop", "web", "init", "dddd")};
  all[1].container.state = ContainerState::exited;
  all[2].container.state = ContainerState::running;
  all[3].container.state = ContainerState::exited;
  const auto pod = resolve_target({"shop/web", "", ""}, all);
  ASSERT_TRUE(pod) << pod.error().what;
  EXPECT_EQ(pod->containers, (std::vector<std::size_t>{0, 2, 3}));
  const auto old = resolve_target({"bbbb", "", ""}, all);
  ASSERT_TRUE(old) << old.error().what;
  EXPECT_EQ(old->containers, (std::vector<std::size_t>{1}));
}

TEST(ResolveTarget, NothingRunsHere) {
  const auto resolved = resolve_target({"web", "", ""}, {});
  ASSERT_FALSE(resolved);
  EXPECT_EQ(resolved.error().code, Errc::not_found);
  EXPECT_NE(resolved.error().what.find("no container of a known runtime"), std::string::npos);
}

TEST(PidToken, Forms) {
  const struct {
    const char* token;
    bool ok;
    std::int32_t pid;  // 0: not of this form
  } cases[] = {{"pid:1", true, 1},   {"pid:4194304", true, 4194304},
               {"web", true, 0},     {"pid", true, 0},
               {"pid:", false, 0},   {"pid:0", false, 0},
               {"pid:-1", false, 0}, {"pid:1x", false, 0},
               {"pid: 1", false, 0}, {"pid:99999999999", false, 0}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.token);
    const auto parsed = parse_pid_token(c.token);
    ASSERT_EQ(parsed.has_value(), c.ok);
    if (parsed) {
      EXPECT_EQ(parsed->value_or(0), c.pid);
    }
  }
}

TEST(PathOfToken, Forms) {
  EXPECT_EQ(path_of_token("/evidence/b.tar"), "/evidence/b.tar");
  EXPECT_EQ(path_of_token("./b.tar"), "./b.tar");
  EXPECT_EQ(path_of_token("../b.tar"), "../b.tar");
  EXPECT_EQ(path_of_token("-"), "-");
  EXPECT_EQ(path_of_token("file:web"), "web");
  EXPECT_EQ(path_of_token("shop/web"), std::nullopt);
  EXPECT_EQ(path_of_token(".web"), std::nullopt);
}

// Each pod once, and each container without one; what each is asked for again resolves to the same.
TEST(ResolveTarget, Each) {
  auto all = node();
  all[0].container.labels = {Bytes("app=web")};  // the sandbox's, so the pod's
  for (runtime::Found& found : all) {
    if (found.container.pod)
      found.container.pod->sandbox_id =
          found.container.pod->name == "web-7d9f8c6b5-x2x4q" ? "aaaa0000" : "other";
  }
  all[5].container.labels = {Bytes("app=web")};
  all[6].container.labels = {Bytes("app=web")};
  all[2].container.labels = {Bytes("kind=proxy")};  // of one container of the pod
  using Names = std::vector<std::string>;
  const struct {
    const char* why;
    std::vector<std::string> labels;
    const char* ns;
    const char* container;
    Names names;  // none: not_found
  } cases[] = {
      {"everything",
       {},
       "",
       "",
       {"shop/web-7d9f8c6b5-x2x4q", "shop/pay-5f77d9c44-9kk2m", "shop/pay", "test/web-1",
        "ctr:cafe00000001 (plain, containerd)"}},
      {"of a namespace",
       {},
       "shop",
       "",
       {"shop/web-7d9f8c6b5-x2x4q", "shop/pay-5f77d9c44-9kk2m", "shop/pay"}},
      {"by label",
       {"app=web"},
       "",
       "",
       {"shop/web-7d9f8c6b5-x2x4q", "test/web-1", "ctr:cafe00000001 (plain, containerd)"}},
      {"containers by label", {"app=web"}, "", "app", {"shop/web-7d9f8c6b5-x2x4q/app", "test/web-1/app"}},
      {"of some containers", {"kind=proxy"}, "", "", {"shop/web-7d9f8c6b5-x2x4q"}},
      {"no such label", {"app=none"}, "", "", {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.why);
    const TargetQuery query{"", c.ns, c.container, c.labels};
    const auto each = resolve_each(query, all);
    ASSERT_EQ(each.has_value(), !c.names.empty());
    if (!each) {
      EXPECT_EQ(each.error().code, Errc::not_found);
      continue;
    }
    Names names;
    for (const Resolved& one : *each) {
      const Container& first = all[one.containers.front()].container;
      names.push_back(first.pod ? one.name : "ctr:" + first.id + " (" + one.name + ", containerd)");
      const auto again = resolve_target(exact_query(query, one, all), all);
      ASSERT_TRUE(again) << again.error().what;
      EXPECT_EQ(again->name, one.name);
      EXPECT_EQ(again->containers, one.containers);
      EXPECT_TRUE(again->exact);
    }
    EXPECT_EQ(names, c.names);
  }
  EXPECT_EQ(resolve_each({"", "", "", {"web"}}, all).error().code, Errc::malformed);
}

}  // namespace
}  // namespace ctriage::source
