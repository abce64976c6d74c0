#include <gtest/gtest.h>

#include "lib/source/target.h"

namespace ctriage::source {
namespace {

runtime::Found make(const std::string& ns, const std::string& pod, const std::string& name,
                    const std::string& id, bool sandbox = false) {
  runtime::Found found;
  found.container.id = id;
  found.container.name = Bytes(name);
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
      {"ctr:cafe", "", "", "cafe00000001", {6}, ""},
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
  }
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

}  // namespace
}  // namespace ctriage::source
