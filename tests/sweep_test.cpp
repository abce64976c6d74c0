#include "lib/sweep/sweep.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ctriage::sweep {
namespace {

const std::string kHash(64, 'a');

TEST(Indicators, EachKindAsItIsWritten) {
  const auto read = Indicators::parse(
      "# from the other team\r\n\n" + std::string(64, 'A') +
      "\n203.0.113.7\n198.51.100.1:443\n[2001:DB8::1]:8443\n" +
      "/tmp/.x/kworkerd\nSTRING,\"some text, with a comma\"\ntype,value,context\nsha256," +
      std::string(64, 'b') +
      ",\"dropped\"\nip:port,192.0.2.9:80,\npath,\"/tmp/a \"\"b\"\",c\",x\nstring,evil.example,\n");
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->size(), 10U);
  ASSERT_NE(read->find_sha256(kHash), nullptr);
  EXPECT_EQ(*read->find_sha256(kHash), std::string(64, 'A')) << "as it was written";
  EXPECT_NE(read->find_sha256(std::string(64, 'b')), nullptr);
  EXPECT_NE(read->find_address("203.0.113.7:9"), nullptr) << "any port";
  EXPECT_NE(read->find_address("[::ffff:203.0.113.7]:9"), nullptr);
  EXPECT_NE(read->find_address("198.51.100.1:443"), nullptr);
  EXPECT_EQ(read->find_address("198.51.100.1:444"), nullptr);
  EXPECT_NE(read->find_address("[2001:db8::1]:8443"), nullptr);
  EXPECT_EQ(read->find_address("[2001:db8::1]:8444"), nullptr);
  EXPECT_EQ(read->find_address("/run/a.sock"), nullptr);
  EXPECT_NE(read->find_path("/tmp/.x/kworkerd"), nullptr);
  EXPECT_NE(read->find_path("/tmp/a \"b\",c"), nullptr);
  EXPECT_EQ(read->texts(), (std::set<std::string>{"evil.example", "some text, with a comma"}));
}

// As `iocs --as csv` writes names that an attacker chose.
TEST(Indicators, EscapedValues) {
  const auto read = Indicators::parse(
      "path,/"
      "a\\\\b\\n\\x1b\\xff\\u{202e}c,\nstring,'=1+2,\nstring,'quoted',\nstring,\\x1,\nstring,\\u{110000},\n"
      "string,\\u{20,\nstring,\\q,\n");
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_NE(read->find_path("/a\\b\n\x1b\xff\u202ec"), nullptr);
  EXPECT_EQ(read->texts(),
            (std::set<std::string>{"=1+2", "'quoted'", "\\x1", "\\u{110000}", "\\u{20", "\\q"}));
}

TEST(Indicators, WhatIsWrongNamesItsLine) {
  const struct {
    std::string file;
    std::string says;
  } cases[] = {{"/a\nsha256,xyz,\n", "line 2: xyz: not the 64"},
               {"ip,999.1.1.1,\n", "line 1: 999.1.1.1: not an IP address"},
               {"ip:port,1.2.3.4:99999,\n", "line 1"},
               {"path,etc/passwd,\n", "line 1: etc/passwd: a path begins with /"},
               {"path,\"/a\n", "line 1: a quote that does not end"},
               {"string,,\n", "line 1: no value"},
               {"domain,evil.example\n", "line 1: domain: no type"},
               {"203.0.113.9,c2 server\n", "line 1: 203.0.113.9: no type"},
               {"203.0.113.0/24\n", "line 1: 203.0.113.0/24: networks"}};
  for (const auto& c : cases) {
    const auto read = Indicators::parse(c.file);
    ASSERT_FALSE(read) << c.file;
    EXPECT_EQ(read.error().code, Errc::malformed);
    EXPECT_NE(read.error().what.find(c.says), std::string::npos) << read.error().what;
  }
  std::string many;
  for (std::size_t i = 0; i <= kMaxTexts; ++i) many += "text " + std::to_string(i) + "\n";
  const auto read = Indicators::parse(many);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::limit);
}

TEST(Indicators, EveryPrefixEnds) {
  const std::string file = "type,value,context\npath,\"/tmp/a \"\"b\"\",c\",x\nip,::1,\n" + kHash + "\n";
  for (std::size_t size = 0; size <= file.size(); ++size) {
    const auto read = Indicators::parse(file.substr(0, size));
    EXPECT_TRUE(read || read.error().code == Errc::malformed) << size;
  }
}

TEST(Owner, OfPods) {
  const std::pair<const char*, const char*> cases[] = {{"web-7d9f8c6b5-x2x4q", "web-7d9f8c6b5"},
                                                       {"db-0", "db"},
                                                       {"db-12", "db"},
                                                       {"node-agent-lq2vx", "node-agent"},
                                                       {"single", "single"},
                                                       {"a-bcde", "a-bcde"},
                                                       {"web-aeiou", "web-aeiou"},
                                                       {"-0", "-0"}};
  for (const auto& [pod, owner] : cases) EXPECT_EQ(owner_of_pod(pod), owner) << pod;
}

SweptTarget replica(const std::string& pod, std::vector<SweptProgram> programs) {
  SweptTarget target;
  target.target = Bytes("shop/" + pod);
  SweptContainer& swept = target.containers.emplace_back();
  swept.container.id = "id-of-" + pod;
  swept.container.name = Bytes("app");
  swept.container.image = Bytes("web:1");
  swept.container.pod = PodRef{"shop", pod, {}, {}};
  swept.programs = std::move(programs);
  swept.listens.emplace_back("tcp 0.0.0.0:80");
  return target;
}

const SweptProgram kServer{Bytes("/bin/server"), Origin::image, std::string(64, '1'), 10};
const SweptProgram kImplant{Bytes("/tmp/x"), Origin::upper, std::string(64, '2'), 11};

TEST(Replicas, TheOddOneOfThree) {
  std::vector<SweptTarget> targets{replica("web-7d9f8c6b5-x2x4q", {kServer}),
                                   replica("web-7d9f8c6b5-b2b4b", {kServer, kImplant}),
                                   replica("web-7d9f8c6b5-c2c4c", {kServer})};
  auto odd = find_odd_replicas(targets);
  ASSERT_EQ(odd.size(), 1U);
  EXPECT_EQ(odd[0].name.raw, "shop/web-7d9f8c6b5-b2b4b/app");
  EXPECT_EQ(odd[0].differs, "program");
  EXPECT_EQ(odd[0].value.raw, kImplant.sha256);
  EXPECT_EQ(odd[0].siblings, 2U);

  targets[1].containers[0].listens.emplace_back("tcp 0.0.0.0:4444");
  odd = find_odd_replicas(targets);
  ASSERT_EQ(odd.size(), 2U);
  EXPECT_EQ(odd[0].differs, "listens");

  targets[1].containers[0].container.image = Bytes("web:2");
  EXPECT_TRUE(find_odd_replicas(targets).empty()) << "of another image: two are left, of whom nobody is odd";
  targets[1].containers[0].container.image = Bytes("web:1");
  targets.pop_back();
  EXPECT_TRUE(find_odd_replicas(targets).empty()) << "of two nobody can say";
}

TEST(Replicas, HalfIsNotOdd) {
  std::vector<SweptTarget> targets{
      replica("web-7d9f8c6b5-x2x4q", {kServer}), replica("web-7d9f8c6b5-b2b4b", {kServer, kImplant}),
      replica("web-7d9f8c6b5-c2c4c", {kServer}), replica("web-7d9f8c6b5-d2d4d", {kServer, kImplant})};
  EXPECT_TRUE(find_odd_replicas(targets).empty());
}

TEST(Shared, ProgramsThatAreNotTheImagesAndPeers) {
  std::vector<SweptTarget> targets{replica("a-0", {kServer, kImplant}), replica("b-0", {kServer, kImplant}),
                                   replica("c-0", {kServer})};
  targets[1].containers[0].programs[1].path = Bytes("memfd:x");
  targets[0].containers[0].peers.emplace_back("203.0.113.7");
  targets[2].containers[0].peers.emplace_back("203.0.113.7");
  const auto shared = find_shared(targets);
  ASSERT_EQ(shared.size(), 2U);
  EXPECT_EQ(shared[0].value.raw, kImplant.sha256);
  ASSERT_EQ(shared[0].places.size(), 2U);
  EXPECT_EQ(shared[0].places[1].raw, "shop/b-0/app as memfd:x");
  EXPECT_EQ(shared[1].kind, "address");

  // What most of many have is where they are meant to go.
  for (const char* pod : {"d-0", "e-0"}) {
    targets.push_back(replica(pod, {kServer}));
    targets.back().containers[0].peers.emplace_back("203.0.113.7");
  }
  EXPECT_EQ(find_shared(targets).size(), 1U);
}

TEST(Rank, IndicatorsThenSeverityThenNumber) {
  const auto with = [](const char* pod, std::vector<Severity> severities, std::size_t matches) {
    SweptTarget target = replica(pod, {});
    for (const Severity severity : severities)
      target.containers[0].findings.emplace_back().severity = severity;
    target.containers[0].matches.resize(matches);
    return target;
  };
  using enum Severity;
  std::vector<SweptTarget> targets{with("a", {}, 0), with("b", {high, high}, 0), with("c", {critical}, 0),
                                   with("d", {high, high, high}, 0), with("e", {info}, 1)};
  rank(targets);
  std::string order;
  for (const SweptTarget& target : targets) order += target.containers[0].container.pod->name;
  EXPECT_EQ(order, "ecdba");
}

}  // namespace
}  // namespace ctriage::sweep
