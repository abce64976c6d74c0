#include <algorithm>

#include "lib/archive/tar_header.h"
#include "lib/bundle/verify.h"
#include "lib/core/limits.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

using archive::kTarBlock;

struct Member {
  std::string name;
  std::string content;
};

std::vector<Member> members_of(std::string_view tar) {
  std::vector<Member> members;
  while (tar.size() >= kTarBlock) {
    const auto header = archive::parse_tar_header(bytes_of(tar.substr(0, kTarBlock))).value();
    if (!header) break;
    members.push_back({header->name, std::string(tar.substr(kTarBlock, header->size_bytes))});
    tar.remove_prefix(kTarBlock + header->size_bytes + archive::tar_padding(header->size_bytes));
  }
  return members;
}

std::string tar_of(const std::vector<Member>& members) {
  std::string tar;
  for (const auto& member : members) {
    const auto header = archive::make_tar_header(member.name, member.content.size(), 1'795'289'331).value();
    tar.append(reinterpret_cast<const char*>(header.data()), header.size()).append(member.content);
    tar.append(archive::tar_padding(member.content.size()), '\0');
  }
  return tar.append(2 * kTarBlock, '\0');
}

std::size_t find_member(const std::vector<Member>& members, std::string_view name) {
  const auto found =
      std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.name == name; });
  EXPECT_NE(found, members.end()) << name;
  return static_cast<std::size_t>(found - members.begin());
}

TEST(BundleVerify, WholeBundle) {
  TempDir dir;
  const auto bytes = small_bundle(dir);
  const Report report = verify_bytes(bytes);
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
  EXPECT_EQ(report.size_bytes, bytes.size());
  EXPECT_EQ(report.custody_records, 5u);
  EXPECT_EQ(report.last_phase, "files");
  EXPECT_EQ(report.streams, 6u);
  ASSERT_TRUE(report.manifest_digest);
  EXPECT_EQ(verify_bytes(bytes, report.manifest_digest).verdict, Verdict::whole);
  EXPECT_EQ(verify_bytes(bytes, Digest{}).verdict, Verdict::wrong);
  EXPECT_EQ(tar_of(members_of(bytes)), bytes) << "the tests below rest on this";
}

TEST(BundleVerify, EveryFlippedByteIsWrong) {
  TempDir dir;
  auto bytes = tiny_bundle(dir);
  ASSERT_EQ(verify_bytes(bytes).verdict, Verdict::whole) << problems_of(verify_bytes(bytes));
  constexpr std::string_view kMasks = "\x01\x80\x20\xff";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char mask = kMasks[i % kMasks.size()];
    bytes[i] = static_cast<char>(bytes[i] ^ mask);
    const Report report = verify_bytes(bytes);
    ASSERT_EQ(report.verdict, Verdict::wrong) << "byte " << i;
    ASSERT_FALSE(report.problems.empty());
    bytes[i] = static_cast<char>(bytes[i] ^ mask);
  }
}

TEST(BundleVerify, EveryCutIsCut) {
  TempDir dir;
  const auto bytes = tiny_bundle(dir);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Report report = verify_bytes(std::string_view(bytes).substr(0, size));
    const bool whole_header = size >= kTarBlock;
    ASSERT_EQ(report.verdict, whole_header ? Verdict::cut : Verdict::wrong) << size << problems_of(report);
    ASSERT_EQ(problems_of(report), whole_header ? "" : "not a bundle: no whole first member\n") << size;
    ASSERT_EQ(report.size_bytes, size);
  }
}

TEST(BundleVerify, ACutBundleStillProvesItsPhases) {
  TempDir dir;
  const auto bytes = small_bundle(dir);
  const auto members = members_of(bytes);
  // After the custody chunk that holds the mark of "state", and in the middle of what follows.
  std::size_t offset = 0;
  std::size_t custody = 0;
  for (const auto& member : members) {
    if (member.name.starts_with("custody.jsonl") && member.content.find("\"state\"") != std::string::npos)
      custody = offset;
    offset += kTarBlock + member.content.size() + archive::tar_padding(member.content.size());
  }
  ASSERT_GT(custody, 0u);
  const Report before = verify_bytes(std::string_view(bytes).substr(0, custody));
  EXPECT_EQ(before.last_phase, "");
  const Report after = verify_bytes(std::string_view(bytes).substr(0, custody + 2 * kTarBlock));
  EXPECT_EQ(after.last_phase, "state");
  // What the mark vouches for is checked although the rest is gone.
  auto changed = members_of(bytes);
  changed[find_member(changed, "bundle.json")].content[3] ^= 1;
  const Report wrong = verify_bytes(std::string_view(tar_of(changed)).substr(0, custody + 2 * kTarBlock));
  EXPECT_EQ(wrong.verdict, Verdict::wrong);
  EXPECT_NE(problems_of(wrong).find("the mark of phase state"), std::string::npos) << problems_of(wrong);
}

TEST(BundleVerify, MembersRemovedAddedRenamedSwapped) {
  TempDir dir;
  const auto members = members_of(small_bundle(dir));
  for (std::size_t i = 0; i < members.size(); ++i) {
    SCOPED_TRACE(members[i].name);
    const bool closing = i + 3 >= members.size();
    auto removed = members;
    removed.erase(removed.begin() + static_cast<std::ptrdiff_t>(i));
    auto report = verify_bytes(tar_of(removed));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    if (!closing) {
      EXPECT_NE(problems_of(report).find(members[i].name.substr(0, 10)), std::string::npos)
          << problems_of(report);
    }

    auto renamed = members;
    renamed[i].name += "x";
    report = verify_bytes(tar_of(renamed));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    if (!closing) {
      EXPECT_NE(problems_of(report).find(renamed[i].name), std::string::npos) << problems_of(report);
    }

    auto added = members;
    added.insert(added.begin() + static_cast<std::ptrdiff_t>(i), Member{"added.bin", "x"});
    report = verify_bytes(tar_of(added));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    EXPECT_NE(problems_of(report).find("added.bin"), std::string::npos) << problems_of(report);

    auto twice = members;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), members[i]);
    report = verify_bytes(tar_of(twice));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    EXPECT_NE(problems_of(report).find(members[i].name), std::string::npos) << problems_of(report);

    for (std::size_t j = i + 1; j < members.size(); ++j) {
      auto swapped = members;
      std::swap(swapped[i], swapped[j]);
      EXPECT_EQ(verify_bytes(tar_of(swapped)).verdict, Verdict::wrong) << members[j].name;
      if (members[i].content == members[j].content) continue;
      swapped = members;
      std::swap(swapped[i].content, swapped[j].content);
      report = verify_bytes(tar_of(swapped));
      EXPECT_EQ(report.verdict, Verdict::wrong) << members[j].name;
      EXPECT_FALSE(report.problems.empty());
    }
  }
}

// Somebody who makes SHA256SUMS and the manifest anew has still the custody chain against him, and --digest.
TEST(BundleVerify, CustodyIsAChain) {
  TempDir dir;
  const auto members = members_of(small_bundle(dir));
  const auto first = find_member(members, "custody.jsonl.00000");
  const struct {
    const char* name;
    std::size_t member;
    std::function<void(std::string&)> change;
    const char* says;
  } cases[] = {
      {"text of a record", first, [](std::string& s) { s[s.find("shop")] = 'S'; }, "does not follow"},
      {"number", first, [](std::string& s) { s[s.find("\"seq\":0") + 6] = '7'; }, "has the number 7"},
      {"last line end", first, [](std::string& s) { s.pop_back(); }, "no line end"},
      {"not JSON", first, [](std::string& s) { s[0] = '['; }, "record 0"},
      {"length", first + 2, [](std::string& s) { ++s[s.find("\"length_bytes\":") + 15]; },
       "is not where it says"},
      {"members", first + 2, [](std::string& s) { ++s[s.find("\"member_count\":") + 15]; },
       "is not where it says"},
      {"number as text", first + 2,
       [](std::string& s) { s.replace(s.find("\"member_count\":") + 15, 1, "\"3\""); }, "not a mark"},
      {"no begin", first, [](std::string& s) { s.replace(s.find("begin"), 5, "began"); },
       "does not say begin"},
      {"begins again", first, [](std::string& s) { s.replace(s.find("hold"), 4, "begin"); },
       "says begin again"},
      {"digest", first + 2, [](std::string& s) { s.replace(s.find("\"sha256\":\"") + 10, 4, "0000"); },
       "differs"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto changed = members;
    c.change(changed[c.member].content);
    const Report report = verify_bytes(tar_of(changed));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    EXPECT_NE(problems_of(report).find(c.says), std::string::npos) << problems_of(report);
  }
}

TEST(BundleVerify, ManifestIsCompared) {
  TempDir dir;
  const auto members = members_of(small_bundle(dir));
  const auto manifest = find_member(members, "manifest.json");
  const auto change = [](std::string from, std::string to) {
    return [from, to](std::string& text) {
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      text.replace(at, from.size(), to);
    };
  };
  const struct {
    const char* name;
    std::function<void(std::string&)> edit;
    const char* says;
  } cases[] = {
      {"schema", change("ctriage.manifest/1", "ctriage.manifest/2"), "not ctriage.manifest/1"},
      {"no schema", change("\"schema\"", "\"sChema\""), "not ctriage.manifest/1"},
      {"started_at", change("\"started_at\":\"2", "\"started_at\":\"1"), "started_at"},
      {"status", change("\"status\":\"collected\"", "\"status\":\"finished\""), "status"},
      {"size of a stream", change("\"size_bytes\":47", "\"size_bytes\":48"),
       "upper.tar.zst: has another size"},
      {"partial without why", change(",\"why\":\"grew while it was read\"", ""), "0.log: status and why"},
      {"collected with why", change("\"status\":\"partial\"", "\"status\":\"collected\""), "status and why"},
      {"stream renamed", change("\"path\":\"bundle.json\"", "\"path\":\"bungle.json\""), "bungle.json"},
      {"no streams", [](std::string& s) { s = "{\"schema\":\"ctriage.manifest/1\"}"; }, "not a manifest"},
      {"no custody", change("\"path\":\"custody.jsonl\"", "\"path\":\"mustard.jsonl\""),
       "custody.jsonl: is missing"},
      {"nothing", [](std::string& s) { s.clear(); }, "not JSON"},
      {"too deep", [](std::string& s) { s = std::string(100, '['); }, "too deep"},
      {"one huge value", [](std::string& s) { s = "{\"schema\":\"" + std::string(400'000, 'x') + "\"}"; },
       "128 KiB"},
      {"size as text", change("\"size_bytes\":47", "\"size_bytes\":\"47\""), "size_bytes"},
      {"negative size", change("\"size_bytes\":47", "\"size_bytes\":-7"), "size"},
      {"size over 64 bits", change("\"size_bytes\":47", "\"size_bytes\":99999999999999999999999"), "size"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto changed = members;
    c.edit(changed[manifest].content);
    changed.back().content = sha256_hex(changed[manifest].content) + "  manifest.json\n";
    const Report report = verify_bytes(tar_of(changed));
    EXPECT_EQ(report.verdict, Verdict::wrong);
    EXPECT_NE(problems_of(report).find(c.says), std::string::npos) << problems_of(report);
  }
  // Members that a newer writer may add are no problem.
  auto newer = members;
  auto& text = newer[manifest].content;
  text.replace(text.find("\"tool\""), 0, "\"later\":{\"schema\":\"no\",\"streams\":[{\"size_bytes\":[1]}]},");
  newer.back().content = sha256_hex(text) + "  manifest.json\n";
  const Report report = verify_bytes(tar_of(newer));
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
}

// What we did may find no room: the rest is sealed, and both sides say what the chain lacks.
TEST(BundleVerify, CustodyThatFoundNoRoom) {
  for (const std::size_t first_bytes : {std::size_t{10}, std::size_t{1'000'000}}) {
    TempDir dir;
    TestTask t;
    auto options = inline_options();
    options.max_bytes = 2 << 20;
    auto writer = Writer::create(dir.root(), "full", options, t.task).value();
    EXPECT_TRUE(writer->add("bundle.json", "{}\n", "ctriage"));
    EXPECT_TRUE(writer->record("note", {{"text", std::string(first_bytes, 'x')}}));
    bool refused = false;
    for (int i = 0; i < 4 && !refused; ++i)
      refused =
          !writer->record("note", {{"text", std::string(1'000'000, 'x')}}) || !writer->end_phase("state");
    EXPECT_TRUE(refused);
    auto sealed = writer->seal();
    ASSERT_TRUE(sealed) << sealed.error().what;
    EXPECT_NE(sealed->custody_why.find("size limit"), std::string::npos) << sealed->custody_why;
    const Report report = verify_bytes(slurp(dir.path() + "/" + sealed->path), sealed->manifest_digest);
    EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
    ASSERT_EQ(report.not_whole.size(), 1U);
    EXPECT_EQ(report.not_whole[0].name, "custody.jsonl");
    EXPECT_EQ(report.not_whole[0].why, sealed->custody_why);
  }
}

TEST(BundleVerify, NotABundle) {
  const struct {
    const char* name;
    std::string bytes;
    std::string says;
  } cases[] = {
      {"empty", "", "not a bundle: no whole first member"},
      {"three bytes", "abc", "not a bundle: no whole first member"},
      {"five bytes", "hello", "not a bundle: no whole first member"},
      {"zeros, cut", std::string(511, '\0'), "not a bundle: no whole first member"},
      {"text", std::string(4096, 'a'), "not a bundle, or its first header was changed"},
      {"zeros", std::string(1024, '\0'), "not a bundle: no whole first member"},
      {"foreign member", tar_of({{"../etc/passwd", "x"}}), "not a bundle, or its first header was changed"},
      {"only an end", tar_of({{"SHA256SUMS", ""}}), "the archive: ends without manifest.json"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Report report = verify_bytes(c.bytes);
    EXPECT_EQ(report.verdict, Verdict::wrong);
    EXPECT_TRUE(problems_of(report).starts_with(c.says)) << problems_of(report);
  }
}

// Both claim the name; a reader could take either.
TEST(BundleVerify, WholeAndNumberedMembers) {
  const Report report = verify_bytes(tar_of({{"a.jsonl", "{}\n"}, {"a.jsonl.00001", "{}\n"}}));
  EXPECT_EQ(report.verdict, Verdict::wrong);
  EXPECT_NE(problems_of(report).find("a.jsonl.00001: is there twice"), std::string::npos)
      << problems_of(report);
}

TEST(BundleVerify, StopIsSeen) {
  TempDir dir;
  const auto bytes = small_bundle(dir);
  TestTask t;
  t.stop = true;
  MemorySource in(bytes);
  const auto report = verify(in, std::nullopt, t.task);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::stopped);
}

}  // namespace
}  // namespace ctriage::bundle
