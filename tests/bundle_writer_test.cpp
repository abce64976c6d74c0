#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "lib/bundle/names.h"
#include "lib/bundle/reader.h"
#include "lib/bundle/writer.h"
#include "lib/core/limits.h"
#include "tests/bundle_testing.h"

namespace ctriage::bundle {
namespace {

WriterOptions with_workers(unsigned workers) {
  auto options = inline_options();
  options.workers = workers;
  return options;
}

std::string run(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string out;
  char buffer[4096];
  for (std::size_t got = 0; (got = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, got);
  const int status = ::pclose(pipe);
  if (status != 0) out += "[status " + std::to_string(status) + "]";
  return out;
}

std::string read_stream(const std::string& path, std::string_view stream) {
  TestTask t;
  auto reader = Reader::open_tar(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, t.task);
  if (!reader) return reader.error().what;
  auto source = (*reader)->open(stream, t.task);
  if (!source) return source.error().what;
  auto all = read_all(**source, std::size_t{1} << 30);
  return all ? *all : all.error().what;
}

TEST(BundleNames, Escaping) {
  const struct {
    std::string text;
    std::string name;
  } cases[] = {
      {"app", "app"},
      {"A-z_0.9", "A-z_0.9"},
      {"", "%"},
      {".", "%2E"},
      {"..", "%2E."},
      {".bashrc", "%2Ebashrc"},
      {"a/b", "a%2Fb"},
      {"a b\n", "a%20b%0A"},
      {std::string("\0\xff", 2), "%00%FF"},
      {"100%", "100%25"},
      {"x.zst", "x%2Ezst"},
      {"x.jsonl", "x%2Ejsonl"},
      {"x.zst.gz", "x.zst.gz"},
      {"x~y", "x%7Ey"},
      {std::string(80, 'a'), std::string(80, 'a')},
      {std::string(81, 'a'), std::string(60, 'a') + "~" + sha256_hex(std::string(81, 'a')).substr(0, 16)},
      {std::string(59, 'a') + std::string(30, '/'),
       std::string(59, 'a') + "~" + sha256_hex(std::string(59, 'a') + std::string(30, '/')).substr(0, 16)},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(member_name(c.text), c.name);
    EXPECT_TRUE(is_member_name(member_name(c.text)));
  }
}

TEST(BundleNames, ChunksAreTold) {
  const struct {
    std::string name;
    std::string stream;
    std::uint32_t chunk;
  } cases[] = {
      {"a/b.zst", "a/b.zst", kWholeStream},
      {"a/b.zst.00000", "a/b.zst", 0},
      {"a/b.99999", "a/b", 99'999},
      {"a/b.100000", "a/b", 100'000},
      {"a/b.000001", "a/b.000001", kWholeStream},
      {"a/b.0001", "a/b.0001", kWholeStream},
      {"a/.00001", "a/.00001", kWholeStream},
      {".00001", ".00001", kWholeStream},
      {"a.00001.00002", "a.00001", 2},
      {"a.99999999999", "a.99999999999", kWholeStream},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(split_member(c.name).stream, c.stream);
    EXPECT_EQ(split_member(c.name).chunk, c.chunk);
    EXPECT_EQ(join_member(c.stream, c.chunk), c.name);
  }
  for (const std::string bad :
       {"", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a b", "a\n", "a\\b", "\xc3\xa4"}) {
    EXPECT_FALSE(is_member_name(bad)) << bad;
  }
  EXPECT_FALSE(is_member_name(std::string(256, 'a')));
}

TEST(BundleWriter, SameBytesWithAnyNumberOfWorkers) {
  TempDir dir;
  const auto inline_bytes = small_bundle(dir, "a", 0);
  EXPECT_EQ(small_bundle(dir, "b", 1), inline_bytes);
  EXPECT_EQ(small_bundle(dir, "c", 2), inline_bytes);
}

TEST(BundleWriter, RefusesWhatIsNoName) {
  TempDir dir;
  TestTask t;
  for (const std::string name : {"", "a/b", "..", "a b"}) {
    EXPECT_FALSE(Writer::create(dir.root(), name, inline_options(), t.task)) << name;
  }
  auto small = inline_options();
  small.max_bytes = 1'000;
  EXPECT_EQ(Writer::create(dir.root(), "a", small, t.task).error().code, Errc::limit);
  auto writer = Writer::create(dir.root(), "a", inline_options(), t.task).value();
  EXPECT_EQ(writer->open("../x", Encoding::plain, "").error().code, Errc::malformed);
  EXPECT_EQ(writer->open("x.zst", Encoding::plain, "").error().code, Errc::malformed);
  EXPECT_EQ(writer->open("x", Encoding::zstd, "").error().code, Errc::malformed);
  EXPECT_EQ(writer->open("x", Encoding::jsonl, "").error().code, Errc::malformed);
  EXPECT_EQ(writer->open(std::string(120, 'a'), Encoding::plain, "").error().code, Errc::limit);
  EXPECT_THROW(static_cast<void>(writer->open("custody.jsonl", Encoding::jsonl, "").has_value()),
               std::logic_error);
  EXPECT_THROW(static_cast<void>(writer->open("SHA256SUMS", Encoding::plain, "").has_value()),
               std::logic_error);
}

TEST(BundleWriter, TakenNamesGetANumber) {
  TempDir dir;
  TestTask t;
  spill(dir.path() + "/n.ctriage.tar", "");
  spill(dir.path() + "/n-2.ctriage.tar.part", "");
  auto third = Writer::create(dir.root(), "n", inline_options(), t.task).value();
  EXPECT_EQ(third->part_name(), "n-3.ctriage.tar.part");
  auto fourth = Writer::create(dir.root(), "n", inline_options(), t.task).value();
  spill(dir.path() + "/n-4.ctriage.tar", "somebody else's");  // after we began
  EXPECT_EQ(fourth->seal().value().path, "n-5.ctriage.tar");
  EXPECT_EQ(third->seal().value().path, "n-3.ctriage.tar");
  EXPECT_EQ(slurp(dir.path() + "/n-4.ctriage.tar"), "somebody else's");
  struct ::stat info {};
  ASSERT_EQ(::stat((dir.path() + "/n-3.ctriage.tar").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
}

// Three chunks and more of each encoding, interleaved with lines, on threads; stock tools read it.
TEST(BundleWriter, LargeStreamsAndStockTools) {
  TempDir dir;
  TestTask t;
  auto options = with_workers(2);
  auto writer = Writer::create(dir.root(), "large", options, t.task).value();
  auto gaps = writer->open("gaps.jsonl", Encoding::jsonl, "ctriage").value();
  auto packed = writer->open("a/noise.zst", Encoding::zstd, "noise").value();
  auto plain = writer->open("a/plain", Encoding::plain, "noise").value();
  auto exact = writer->open("a/exact", Encoding::plain, "noise").value();
  auto odd = writer->open("a/odd.00007", Encoding::plain, "a name like a chunk").value();
  const std::string data = noise(3 * kChunkBytes + 12'345);
  std::string lines;
  for (std::size_t at = 0; at < data.size(); at += 100'003) {
    const auto piece = bytes_of(data).subspan(at, std::min<std::size_t>(100'003, data.size() - at));
    ASSERT_TRUE(packed->write(piece));
    ASSERT_TRUE(plain->write(piece));
    const std::string line =
        "{\"at\":" + std::to_string(at) + ",\"pad\":\"" + std::string(20'000, 'x') + "\"}";
    ASSERT_TRUE(gaps->write_line(line));
    lines += line + "\n";
    if (at == 100'003 * 40) {
      ASSERT_TRUE(writer->end_phase("middle"));
    }
  }
  ASSERT_TRUE(exact->write(bytes_of(data).first(kChunkBytes)));
  ASSERT_TRUE(odd->write(bytes_of("odd")));
  for (auto* stream : {&packed, &plain, &exact, &odd, &gaps})
    ASSERT_TRUE((*stream)->finish(Outcome::collected, ""));
  EXPECT_EQ(plain->size_bytes(), data.size());
  const auto sealed = writer->seal().value();
  const std::string path = dir.path() + "/" + sealed.path;
  const auto bytes = slurp(path);
  EXPECT_EQ(bytes.size(), sealed.size_bytes);
  const Report report = verify_bytes(bytes, sealed.manifest_digest);
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);

  EXPECT_TRUE(read_stream(path, "a/noise.zst") == data);
  EXPECT_TRUE(read_stream(path, "a/plain") == data);
  EXPECT_TRUE(read_stream(path, "gaps.jsonl") == lines);
  EXPECT_EQ(read_stream(path, "a/odd.00007"), "odd");
  const std::string names = run("tar tf " + path);
  for (const std::string name :
       {"a/noise.zst.00000\n", "a/noise.zst.00003\n", "a/plain.00003\n", "a/exact\n", "gaps.jsonl.00001\n",
        "a/odd.00007.00000\n", "SHA256SUMS\nmanifest.json\nmanifest.json.sha256\n"}) {
    EXPECT_NE(names.find(name), std::string::npos) << name << names;
  }
  EXPECT_EQ(names.find("a/exact.0"), std::string::npos);
  EXPECT_EQ(names.find("noise.zst.00004"), std::string::npos);
  const std::string joined = "tar xOf " + path + " --wildcards 'a/noise.zst*' | zstd -dc | sha256sum";
  EXPECT_EQ(run(joined).substr(0, 64), sha256_hex(data));
  const std::string out = dir.path() + "/out";
  std::filesystem::create_directory(out);
  EXPECT_EQ(run("cd " + out + " && tar xf " + path +
                " 2>&1 && sha256sum --quiet --strict -c SHA256SUMS && sha256sum --quiet --strict -c "
                "manifest.json.sha256"),
            "");
  EXPECT_EQ(run("cd " + out + " && zstd -q -t a/noise.zst.0000* 2>&1"), "");
  const std::string count = "python3 -c \"import json;m=json.load(open('" + out +
                            "/manifest.json'));print(sum(s['size_bytes'] for s in m['streams']))\"";
  EXPECT_GT(std::stoull(run(count)), 2 * data.size());
}

// Two files in a stream, as in a tar: each has its own hash, the stream the one of all, in every encoding.
TEST(BundleWriter, HashesForTheCallerToo) {
  const std::string data = noise(2 * kChunkBytes + 777);
  const auto head = bytes_of(data).first(512);
  const auto file = bytes_of(data).subspan(512, kChunkBytes + 64);
  const auto rest = bytes_of(data).subspan(512 + file.size());
  for (const Encoding encoding : {Encoding::plain, Encoding::zstd, Encoding::jsonl}) {
    TempDir dir;
    TestTask t;
    auto writer = Writer::create(dir.root(), "hashed", with_workers(2), t.task).value();
    const std::string path = encoding == Encoding::zstd    ? "a.zst"
                             : encoding == Encoding::jsonl ? "a.jsonl"
                                                           : "a";
    auto stream = writer->open(path, encoding, "noise").value();
    const auto first = std::make_shared<LateSha256>();
    const auto second = std::make_shared<LateSha256>();
    ASSERT_TRUE(stream->write(head));
    ASSERT_TRUE(stream->write_hashed(file, first));
    ASSERT_TRUE(stream->write_hashed(rest, second));
    ASSERT_TRUE(stream->finish(Outcome::collected, ""));
    const auto sealed = writer->seal().value();
    EXPECT_EQ(first->digest(), sha256(file));
    EXPECT_EQ(second->digest(), sha256(rest));
    const Report report = verify_bytes(slurp(dir.path() + "/" + sealed.path), sealed.manifest_digest);
    EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
    EXPECT_TRUE(read_stream(dir.path() + "/" + sealed.path, path) == data);
  }
}

TEST(BundleWriter, MarksNameTheirPrefix) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "m", with_workers(2), t.task).value();
  ASSERT_TRUE(writer->add("bundle.json", "{}", "ctriage"));
  const auto state = writer->end_phase("state").value();
  const auto prefix = slurp(dir.path() + "/m.ctriage.tar.part").substr(0, state.length_bytes);
  EXPECT_EQ(to_hex(state.digest), sha256_hex(prefix));
  ASSERT_TRUE(writer->add("b", "2", "ctriage"));
  const auto files = writer->end_phase("files").value();
  const auto sealed = writer->seal().value();
  std::string sums = read_stream(dir.path() + "/" + sealed.path, "SHA256SUMS");
  std::size_t end = 0;
  // bundle.json, custody.jsonl.00000 (begin) and .00001 (the first mark), b
  for (int i = 0; i < 4; ++i) end = sums.find('\n', end) + 1;
  EXPECT_EQ(to_hex(files.digest), sha256_hex(sums.substr(0, end)));
  EXPECT_GT(files.length_bytes, state.length_bytes);
}

// python reads the numbers as numbers.
TEST(BundleWriter, CustodyHasTypes) {
  TempDir dir;
  TestTask t;
  auto options = inline_options();
  options.tool = "ctriage 1.2.3";
  auto writer = Writer::create(dir.root(), "c", options, t.task).value();
  ASSERT_TRUE(
      writer->record("hold", {{"target", "a\"b"}, {"files", UINT64_MAX}, {"frozen_ns", std::uint64_t{0}}}));
  ASSERT_TRUE(writer->end_phase("state"));
  const auto path = dir.path() + "/" + writer->seal().value().path;
  spill(dir.path() + "/custody", read_stream(path, "custody.jsonl"));
  EXPECT_EQ(
      run("python3 -c \"import json\nfor line in open('" + dir.path() +
          "/custody'):\n r=json.loads(line)\n"
          " print(r['seq'],*[repr(v) for k,v in r.items() if k not in ('seq','at','prev','sha256')])\""),
      "0 'begin' 'ctriage 1.2.3' '2026-11-21T19:28:51.000000000Z'\n"
      "1 'hold' 'a\"b' 18446744073709551615 0\n"
      "2 'phase' 'state' 1024 1\n"
      "3 'seal'\n");
}

TEST(BundleWriter, LinesStayWhole) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "l", inline_options(), t.task).value();
  auto out = writer->open("x.jsonl", Encoding::jsonl, "").value();
  std::string all;
  for (const std::size_t size : {std::size_t{10}, kJsonChunkBytes - 12, std::size_t{5}, kJsonChunkBytes + 7,
                                 std::size_t{3}, kChunkBytes + 9, std::size_t{1}, kMaxJsonLineBytes}) {
    ASSERT_TRUE(out->write_line(std::string(size, 'x')));
    all += std::string(size, 'x') + "\n";
  }
  EXPECT_EQ(out->write_line(std::string(kMaxJsonLineBytes + 1, 'x')).error().code, Errc::limit);
  ASSERT_TRUE(out->finish(Outcome::collected, ""));
  const auto sealed = writer->seal().value();
  const auto path = dir.path() + "/" + sealed.path;
  EXPECT_TRUE(read_stream(path, "x.jsonl") == all);
  EXPECT_EQ(verify_bytes(slurp(path)).verdict, Verdict::whole) << problems_of(verify_bytes(slurp(path)));
  EXPECT_EQ(run("tar xOf " + path + " x.jsonl.00000 | wc -lc | tr -s ' ' | sed 's/^ //'"), "2 1048576\n");
  EXPECT_EQ(run("tar xOf " + path + " x.jsonl.00002 | wc -lc | tr -s ' ' | sed 's/^ //'"), "1 1048584\n");
}

TEST(BundleWriter, UnfinishedIsPartial) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "u", with_workers(2), t.task).value();
  auto kept = writer->open("kept", Encoding::plain, "").value();
  ASSERT_TRUE(kept->write(bytes_of("12345")));
  {
    auto dropped = writer->open("dropped", Encoding::plain, "").value();
    ASSERT_TRUE(dropped->write(bytes_of("123")));
  }
  const auto sealed = writer->seal().value();
  const auto path = dir.path() + "/" + sealed.path;
  EXPECT_EQ(verify_bytes(slurp(path)).verdict, Verdict::whole);
  EXPECT_EQ(read_stream(path, "kept"), "12345");
  EXPECT_EQ(read_stream(path, "dropped"), "123");
  const auto manifest = read_stream(path, "manifest.json");
  EXPECT_EQ(std::count(manifest.begin(), manifest.end(), '\n'), 5);  // head, three streams, end
  std::size_t partial = 0;
  for (auto at = manifest.find("\"not finished\""); at != std::string::npos;
       at = manifest.find("\"not finished\"", at + 1))
    ++partial;
  EXPECT_EQ(partial, 2u);
  EXPECT_THROW(static_cast<void>(kept->write(bytes_of("x")).has_value()), std::logic_error);
}

// Whatever reason a caller gives or forgets, what we write verifies.
TEST(BundleWriter, OutcomesAndReasons) {
  for (const Outcome outcome : {Outcome::collected, Outcome::partial, Outcome::not_collected}) {
    for (const std::string why : {"", "a reason"}) {
      for (const std::string content : {"", "bytes"}) {
        TempDir dir;
        TestTask t;
        auto writer = Writer::create(dir.root(), "w", inline_options(), t.task).value();
        auto stream = writer->open("a", Encoding::plain, "").value();
        ASSERT_TRUE(stream->write(bytes_of(content)));
        ASSERT_TRUE(stream->finish(outcome, why));
        writer->not_collected("a", "", why);
        ASSERT_TRUE(writer->seal());
        const Report report = verify_bytes(slurp(dir.path() + "/w.ctriage.tar"));
        EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
        EXPECT_EQ(report.streams, outcome == Outcome::not_collected && content.empty() ? 1u : 2u);
      }
    }
  }
}

TEST(BundleWriter, StopEndsDataButNotTheEnding) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "s", with_workers(2), t.task).value();
  auto data = writer->open("data", Encoding::plain, "").value();
  auto gaps = writer->open("gaps.jsonl", Encoding::jsonl, "").value();
  t.stop = true;
  EXPECT_EQ(data->write(bytes_of("x")).error().code, Errc::stopped);
  EXPECT_TRUE(gaps->write_line("{}"));
  EXPECT_TRUE(data->finish(Outcome::partial, "stopped"));
  EXPECT_TRUE(writer->end_phase("state"));
  EXPECT_TRUE(writer->seal());
  EXPECT_EQ(verify_bytes(slurp(dir.path() + "/s.ctriage.tar")).verdict, Verdict::whole);
}

// Fills a stream until it is refused, then ends as a collect does: gaps, custody, summary, seal.
void fill_and_seal(const Root& root, const std::string& where, WriterOptions options, Encoding encoding,
                   std::uint64_t room) {
  TestTask t;
  auto made = Writer::create(root, "full", options, t.task);
  ASSERT_TRUE(made) << made.error().what;
  auto writer = *std::move(made);
  auto gaps = writer->open("gaps.jsonl", Encoding::jsonl, "").value();
  auto data = writer->open(encoding == Encoding::zstd ? "data.zst" : "data", encoding, "").value();
  ASSERT_TRUE(writer->end_phase("state"));
  const std::string piece = noise(1 << 20);
  Status written = Done{};
  std::uint64_t given = 0;
  for (; given < 4 * room && written; given += piece.size()) written = data->write(bytes_of(piece));
  ASSERT_FALSE(written) << "room for " << given;
  EXPECT_EQ(written.error().code, Errc::full) << written.error().what;
  EXPECT_EQ(data->finish(Outcome::partial, "no room").error().code, Errc::full);
  for (int i = 0; i < 100; ++i)
    EXPECT_TRUE(gaps->write_line("{\"lost\":\"" + std::string(1'000, 'x') + "\"}"));
  EXPECT_TRUE(gaps->finish(Outcome::collected, ""));
  EXPECT_TRUE(writer->record("full", {{"path", "data"}}));
  EXPECT_TRUE(writer->end_phase("files"));
  EXPECT_TRUE(writer->add("SUMMARY.txt", std::string(2'000, 's'), ""));
  for (int i = 0; i < 100; ++i) writer->not_collected("more/" + std::to_string(i), "volume", "no room");
  auto sealed = writer->seal();
  ASSERT_TRUE(sealed) << sealed.error().what;
  EXPECT_LE(sealed->size_bytes, room);
  EXPECT_GT(sealed->size_bytes, room / 4) << "the room was there to be used";
  const auto bytes = slurp(where + "/" + sealed->path);
  const Report report = verify_bytes(bytes, sealed->manifest_digest);
  EXPECT_EQ(report.verdict, Verdict::whole) << problems_of(report);
  struct ::stat info {};
  ASSERT_EQ(::stat((where + "/" + sealed->path).c_str(), &info), 0);
  EXPECT_LE(static_cast<std::uint64_t>(info.st_blocks) * 512, sealed->size_bytes + 65'536)
      << "preallocation stays";
}

TEST(BundleWriter, MaxBytes) {
  for (const unsigned workers : {0u, 2u}) {
    for (const Encoding encoding : {Encoding::plain, Encoding::zstd}) {
      TempDir dir;
      auto options = with_workers(workers);
      options.max_bytes = 20'000'000;
      fill_and_seal(dir.root(), dir.path(), options, encoding, options.max_bytes);
    }
  }
}

TEST(BundleWriter, DiskFull) {
  for (const unsigned workers : {0u, 2u}) {
    TempDir dir;
    if (::mount("tmpfs", dir.path().c_str(), "tmpfs", MS_NODEV | MS_NOSUID, "size=24m,mode=0700") != 0) {
      GTEST_SKIP() << "no right to mount a tmpfs";
    }
    fill_and_seal(dir.root(), dir.path(), with_workers(workers), Encoding::zstd, 24 << 20);
    EXPECT_EQ(::umount2(dir.path().c_str(), MNT_DETACH), 0);
  }
}

TEST(BundleWriter, NoRoomAtAllLeavesNothing) {
  TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", MS_NODEV | MS_NOSUID, "size=512k,mode=0700") != 0) {
    GTEST_SKIP() << "no right to mount a tmpfs";
  }
  TestTask t;
  const auto writer = Writer::create(dir.root(), "x", inline_options(), t.task);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Errc::full) << writer.error().what;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_EQ(::umount2(dir.path().c_str(), MNT_DETACH), 0);
}

// More open streams than buffers: nobody waits for what nobody gives back.
TEST(BundleWriter, ManyOpenStreams) {
  TempDir dir;
  TestTask t;
  auto writer = Writer::create(dir.root(), "o", with_workers(2), t.task).value();
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 20; ++i)
    streams.push_back(writer->open("s" + std::to_string(i) + ".zst", Encoding::zstd, "").value());
  const auto piece = noise(300'000);
  for (int round = 0; round < 15; ++round) {
    for (auto& stream : streams) ASSERT_TRUE(stream->write(bytes_of(piece)));
  }
  for (auto& stream : streams) ASSERT_TRUE(stream->finish(Outcome::collected, ""));
  const auto sealed = writer->seal().value();
  EXPECT_EQ(verify_bytes(slurp(dir.path() + "/" + sealed.path)).verdict, Verdict::whole);
}

}  // namespace
}  // namespace ctriage::bundle
