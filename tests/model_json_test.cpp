#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/limits.h"
#include "lib/model/json.h"
#include "lib/model/kinds.h"
#include "lib/model/snapshot.h"

namespace ctriage {
namespace {

using namespace std::string_literals;

const std::array kHostile{
    ""s,
    "plain"s,
    "new\nline\r\t"s,
    "nul\0inside"s,
    "\xff\xfe bad"s,
    "\xc0\x80"s,
    "\xed\xa0\x80"s,
    "\xe2\x80\xa8 ls"s,
    "\xe2\x80\xae rtl"s,
    "\x1b[31m\x7f"s,
    "\"\\/\b\f"s,
    "\xf0\x9f\x98\x80"s,
    "\xef\xbf\xbd real"s,
    "\xf4\x90\x80\x80"s,
    "_b64"s,
};

enum class Fill { highest, lowest };

// Fills every member of an artifact, by the same table that JSON is written from.
struct Filler {
  Fill how;
  std::size_t next = 0;

  template <class T>
  void operator()(std::string_view, T& member, std::string_view) {
    fill(member);
  }
  template <class T>
  void fill(T& item) {
    if constexpr (std::same_as<T, bool>) {
      item = how == Fill::highest;
    } else if constexpr (std::integral<T>) {
      item = how == Fill::highest ? std::numeric_limits<T>::max() : std::numeric_limits<T>::min();
    } else if constexpr (NamedEnum<T>) {
      item = static_cast<T>(how == Fill::highest ? enum_names(item).size() - 1 : 1);
    } else if constexpr (std::same_as<T, Hex>) {
      item.value = how == Fill::highest ? UINT64_MAX : 0;
    } else if constexpr (std::same_as<T, Timestamp>) {
      item = how == Fill::highest ? Timestamp{INT64_MAX, 999'999'999} : Timestamp{-1, 1};
    } else if constexpr (std::same_as<T, Bytes>) {
      item.raw = kHostile[next++ % kHostile.size()];
    } else if constexpr (std::same_as<T, std::string>) {
      item = "text" + std::to_string(next++);
    } else if constexpr (Artifact<T>) {
      T::fields(item, *this);
    } else if constexpr (requires { item.has_value(); }) {
      fill(item.emplace());
    } else {
      item.resize(kHostile.size());
      for (auto& element : item) fill(element);
    }
  }
};

template <class T>
class ArtifactJson : public testing::Test {};
using All = testing::Types<Container, Process, Thread, Mapping, Descriptor, Socket, Mount, Layer, FileChange,
                           LogFile, Source, Finding, GapRecord>;
TYPED_TEST_SUITE(ArtifactJson, All);

TYPED_TEST(ArtifactJson, RoundTrip) {
  for (std::size_t shift = 0; shift <= kHostile.size(); ++shift) {
    for (const Fill how : {Fill::highest, Fill::lowest}) {
      TypeParam item;
      Filler filler{how, shift};
      filler.fill(item);
      const std::string json = to_json(item);
      for (const char c : json) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << json;
      const auto back = parse_artifact<TypeParam>(json);
      ASSERT_TRUE(back) << back.error().what << "\n" << json;
      ASSERT_EQ(to_json(*back), json);
    }
  }
}

TYPED_TEST(ArtifactJson, DefaultRoundTrip) {
  const std::string json = to_json(TypeParam{});
  const auto back = parse_artifact<TypeParam>(json);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(to_json(*back), json);
}

TYPED_TEST(ArtifactJson, EveryPrefixIsAnError) {
  TypeParam item;
  Filler filler{Fill::highest, 4};
  filler.fill(item);
  const std::string json = to_json(item);
  for (std::size_t size = 0; size < json.size(); size += 1 + json.size() / 800) {
    ASSERT_FALSE(parse_artifact<TypeParam>(std::string_view(json).substr(0, size))) << size;
  }
  EXPECT_FALSE(parse_artifact<TypeParam>(json.substr(0, json.size() - 1)));
  const std::string plain = to_json(TypeParam{});
  for (std::size_t size = 0; size < plain.size(); ++size) {
    ASSERT_FALSE(parse_artifact<TypeParam>(std::string_view(plain).substr(0, size))) << size;
  }
}

// Tools that are not ours must read it, and get the same bytes back.
TYPED_TEST(ArtifactJson, OtherReadersAgree) {
  std::array<char, 32> name{"/tmp/ctriage_json.XXXXXX"};
  const int fd = mkstemp(name.data());
  ASSERT_GE(fd, 0);
  close(fd);
  {
    std::ofstream out(name.data(), std::ios::binary);
    for (std::size_t shift = 0; shift < kHostile.size(); ++shift) {
      TypeParam item;
      Filler filler{Fill::highest, shift};
      filler.fill(item);
      out << to_json(item) << '\n';
    }
  }
  const std::string file = name.data();
  EXPECT_EQ(std::system(("jq -e . " + file + " > /dev/null").c_str()), 0);
  // Where "<name>_b64" stands, decoding it with replacement gives <name>, by Python's own decoders.
  const std::string script = R"(
import base64, json, sys
def check(o):
    if isinstance(o, list): [check(x) for x in o]
    if not isinstance(o, dict): return
    for k, v in o.items():
        check(v)
        if k.endswith('_b64') and k[:-4] in o:
            raw = [base64.b64decode(x, validate=True) for x in (v if isinstance(v, list) else [v])]
            assert any(b.decode('utf-8', 'replace') != b.decode('utf-8', 'ignore') for b in raw), k
            shown = o[k[:-4]] if isinstance(v, list) else [o[k[:-4]]]
            for b, s in zip(raw, shown, strict=True):
                assert b.decode('utf-8', 'ignore') == s.replace('\ufffd', '') or '\ufffd' in b.decode('utf-8', 'ignore'), (b, s)
for line in open(sys.argv[1], 'rb'):
    assert line.isascii()
    check(json.loads(line))
)";
  EXPECT_EQ(std::system(("python3 -c \"$(cat <<'END'\n" + script + "END\n)\" " + file).c_str()), 0);
  unlink(name.data());
}

TEST(ModelJson, HexText) {
  EXPECT_EQ(JsonWriter::hex_text(Hex{0}), "0x0");
  EXPECT_EQ(JsonWriter::hex_text(Hex{0x1f}), "0x1f");
  EXPECT_EQ(JsonWriter::hex_text(Hex{UINT64_MAX}), "0xffffffffffffffff");
}

TEST(ModelJson, WhatIsRefusedAndWhatIsSkipped) {
  const struct {
    std::string json;
    bool ok;
  } cases[] = {
      {"{}", true},
      {" {\"pid\": 7} \n", true},
      {R"({"pid":7,"from_a_newer_version":{"a":[1,{"b":null}],"pid":"x"},"and":[[],{}]})", true},
      {R"({"pid":-2147483648})", true},
      {R"({"pid":2147483648})", false},
      {R"({"pid":-2147483649})", false},
      {R"({"start_ticks":18446744073709551615})", true},
      {R"({"start_ticks":18446744073709551616})", false},
      {R"({"start_ticks":-1})", false},
      {R"({"pid":1.0})", false},
      {R"({"pid":1e3})", false},
      {R"({"pid":1e999})", false},
      {R"({"pid":"7"})", false},
      {R"({"pid":true})", false},
      {R"({"pid":null})", false},
      {R"({"pid":[7]})", false},
      {R"({"no_new_privs":1})", false},
      {R"({"comm":7})", false},
      {R"({"argv":"sh"})", false},
      {R"({"argv":["sh",7]})", false},
      {R"({"argv":{"0":"sh"}})", false},
      {R"({"exe":[]})", false},
      {R"({"exe":null})", false},
      {R"({"login_uid":null})", true},
      {R"({"login_uid":{}})", false},
      {R"({"membership":"init"})", true},
      {R"({"membership":"unheard-of"})", false},
      {R"({"capabilities":{"effective":"0x"}})", false},
      {R"({"capabilities":{"effective":"0x1ffffffffffffffff"}})", false},
      {R"({"capabilities":{"effective":"0x-1"}})", false},
      {R"({"capabilities":{"effective":"31"}})", false},
      {R"({"capabilities":{"effective":31}})", false},
      {R"({"started_at":"yesterday"})", false},
      {R"({"comm_b64":"not base64!"})", false},
      {"", false},
      {"7", false},
      {"null", false},
      {"[]", false},
      {"{}{}", false},
      {"{} x", false},
      {"{}\0"s, false},
      {"{\"comm\":\"a\0b\"}"s, false},
      {"{\"comm\":\"\xff\"}", false},
      {"{\"comm\":\"a\nb\"}", false},
      {"{'comm':1}", false},
      {R"({"comm":"\ud800"})", false},
  };
  for (const auto& c : cases) {
    const auto process = parse_artifact<Process>(c.json);
    EXPECT_EQ(bool(process), c.ok) << c.json;
    if (!process) {
      EXPECT_EQ(process.error().code, Errc::malformed) << c.json;
    }
  }
}

TEST(ModelJson, ExactBytesWinOverTheShownText) {
  const auto process = parse_artifact<Process>(
      "{\"comm\":\"\xef\xbf\xbd\",\"comm_b64\":\"/w==\",\"argv\":[\"a\",\"b\"],\"argv_b64\":[\"/"
      "w==\",\"AA==\"]}");
  ASSERT_TRUE(process) << process.error().what;
  EXPECT_EQ(process->comm.raw, "\xff");
  ASSERT_EQ(process->argv.size(), 2U);
  EXPECT_EQ(process->argv[0].raw, "\xff");
  EXPECT_EQ(process->argv[1].raw, "\0"s);
}

TEST(ModelJson, TheLastOfDuplicateKeysWins) {
  const auto process = parse_artifact<Process>(
      R"({"pid":1,"pid":2,"argv":["a","b"],"argv":["c"],"exe":{"path":"/a","mode":5},"exe":{"path":"/b"}})");
  ASSERT_TRUE(process) << process.error().what;
  EXPECT_EQ(process->pid, 2);
  ASSERT_EQ(process->argv.size(), 1U);
  EXPECT_EQ(process->argv[0].raw, "c");
  EXPECT_EQ(process->exe.path.raw, "/b");
  EXPECT_EQ(process->exe.mode, 0U);
}

TEST(ModelJson, Limits) {
  auto nested = [](std::size_t depth) {
    return "{\"x\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_TRUE(parse_artifact<Process>(nested(kMaxJsonDepth)));
  std::string many = "{\"argv\":[\"\"";
  for (int i = 0; i < 1'000'000; ++i) many += ",\"\"";
  many += "]}";
  std::string objects = "{\"limits\":[{}";
  for (int i = 0; i < 100'000; ++i) objects += ",{}";
  objects += "]}";
  const std::string cases[] = {
      nested(kMaxJsonDepth + 1),
      "{\"x\":" + std::string(4 << 20, '['),
      many,
      objects,
      "{\"comm\":\"" + std::string(kMaxJsonLineBytes, 'a') + "\"}",
  };
  for (const std::string& json : cases) {
    const auto process = parse_artifact<Process>(json);
    ASSERT_FALSE(process) << json.size();
    EXPECT_EQ(process.error().code, Errc::limit) << process.error().what;
  }
}

// A source that knows nothing but itself.
class Silent final : public Snapshot {
 public:
  [[nodiscard]] Coverage covers(Facet facet) const override {
    return {Coverage::Level::none, facet == Facet::logs ? "a test has no logs" : ""};
  }
  Result<Source> describe(Task&) override {
    Source source;
    source.kind = "test";
    source.target = Bytes("nothing");
    return source;
  }
};

TEST(ModelSnapshot, NoneIsNotEmpty) {
  GapLog gaps;
  const std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{}; }};
  Silent snapshot;
  EXPECT_TRUE(snapshot.list_containers([](Container&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_processes(
      "c", [](Process&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_threads(
      "c", [](Thread&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_mappings(
      "c", [](Mapping&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_descriptors(
      "c", [](Descriptor&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_sockets(
      "c", [](Socket&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_mounts(
      "c", [](Mount&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_layers(
      "c", [](Layer&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_changes(
      "c", [](FileChange&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_logs(
      "c", [](LogFile&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_findings([](Finding&&) { return Status(Done{}); }, task));
  EXPECT_TRUE(snapshot.list_gaps([](GapRecord&&) { return Status(Done{}); }, task));
  const auto names = enum_names(Facet{});
  ASSERT_EQ(gaps.kept().size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Gap& gap = gaps.kept()[i];
    EXPECT_EQ(gap.artifact, names[i]);
    EXPECT_EQ(gap.impact, Impact::note);
    EXPECT_EQ(gap.error.code, Errc::unsupported);
    EXPECT_TRUE(gap.origin.starts_with("test:nothing"));
  }
  EXPECT_NE(gaps.kept()[9].error.what.find("a test has no logs"), std::string::npos);
}

}  // namespace
}  // namespace ctriage
