#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "lib/model/record.h"
#include "lib/model/schema.h"

namespace ctriage {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ModelRecord, ValuesOfEveryType) {
  Process process;
  process.pid = -7;
  process.exe.origin = Origin::memfd;
  process.exe.path = Bytes("/tmp/\xff\n");
  process.no_new_privs = true;
  process.capabilities.effective = Hex{0x1f};
  process.argv = {Bytes("a"), Bytes("")};
  process.namespaces = {{"mnt", Hex{1}}, {"pid", Hex{2}}};
  process.credentials.uids = {0, 4294967295U};
  process.started_at = Timestamp{0, 5};
  const RecordOf<Process> record(process);
  EXPECT_EQ(record.kind(), "process");
  EXPECT_THAT(record.values("pid"), ElementsAre("-7"));
  EXPECT_THAT(record.values("exe.origin"), ElementsAre("memfd"));
  EXPECT_THAT(record.values("exe.path"), ElementsAre("/tmp/\xff\n"));
  EXPECT_THAT(record.values("exe.deleted"), ElementsAre("false"));
  EXPECT_THAT(record.values("no_new_privs"), ElementsAre("true"));
  EXPECT_THAT(record.values("capabilities.effective"), ElementsAre("0x1f"));
  EXPECT_THAT(record.values("argv"), ElementsAre("a", ""));
  EXPECT_THAT(record.values("namespaces.type"), ElementsAre("mnt", "pid"));
  EXPECT_THAT(record.values("namespaces.inode"), ElementsAre("0x1", "0x2"));
  EXPECT_THAT(record.values("credentials.uids"), ElementsAre("0", "4294967295"));
  EXPECT_THAT(record.values("started_at"), ElementsAre("1970-01-01T00:00:00.000000005Z"));
  EXPECT_THAT(record.values("exe.sha256"), IsEmpty());
  process.exe.sha256 = "ab";
  EXPECT_THAT(record.values("exe.sha256"), ElementsAre("ab"));
  for (const char* nothing :
       {"", ".", "exe", "exe.", ".pid", "pid.x", "exe..path", "nope", "exe.nope", "argv.0"}) {
    EXPECT_THAT(record.values(nothing), IsEmpty()) << nothing;
  }
}

TEST(ModelRecord, DerivedFields) {
  Process process;
  const RecordOf<Process> record(process);
  EXPECT_THAT(record.values("command_line"), IsEmpty());
  process.argv = {Bytes("sh"), Bytes("-c"), Bytes("a  b")};
  EXPECT_THAT(record.values("command_line"), ElementsAre("sh -c a  b"));
  const struct {
    const char* family;
    const char* local;
    const char* remote;
    const char* fields[5];  // local address and port, remote address and port, connected; "": none
  } cases[] = {
      {"tcp", "10.0.0.1:80", "192.0.2.7:4444", {"10.0.0.1", "80", "192.0.2.7", "4444", "true"}},
      {"tcp", "0.0.0.0:80", "0.0.0.0:0", {"0.0.0.0", "80", "", "", "false"}},
      {"tcp", "0.0.0.0:80", "", {"0.0.0.0", "80", "", "", "false"}},
      {"tcp6", "[::1]:22", "[2001:db8::1]:9", {"::1", "22", "2001:db8::1", "9", "true"}},
      {"udp", "", "", {"", "", "", "", "false"}},
      {"unix", "/run/a:80", "", {"", "", "", "", ""}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.local);
    Socket socket;
    socket.family = c.family;
    socket.local = Bytes(c.local);
    socket.remote = Bytes(c.remote);
    const RecordOf<Socket> of(socket);
    const char* const names[] = {"local_address", "local_port", "remote_address", "remote_port", "connected"};
    for (std::size_t i = 0; i < 5; ++i) {
      const auto values = of.values(names[i]);
      EXPECT_EQ(values.empty() ? std::string() : values[0], c.fields[i]) << names[i];
      EXPECT_TRUE(has_field<Socket>(names[i]));
    }
  }
  EXPECT_FALSE(has_field<Mapping>("command_line"));
}

TEST(ModelRecord, JoinedArtifacts) {
  Process process;
  process.container = "c1";
  process.exe.path = Bytes("/bin/sh");
  Process parent;
  parent.exe.path = Bytes("/usr/sbin/nginx");
  parent.argv = {Bytes("nginx"), Bytes("-g")};
  ImageFacts image;
  image.distroless = true;
  const RecordOf<Process> base(process);
  const RecordOf<Process> above(parent);
  const RecordOf<ImageFacts> facts(image);
  JoinedRecord record(base);
  record.join("parent", &above);
  record.join("image", &facts);
  record.join("container", nullptr);
  EXPECT_EQ(record.kind(), "process");
  EXPECT_THAT(record.values("exe.path"), ElementsAre("/bin/sh"));
  EXPECT_THAT(record.values("container"), ElementsAre("c1"));  // its own field
  EXPECT_THAT(record.values("container.rights"), IsEmpty());
  EXPECT_THAT(record.values("parent.exe.path"), ElementsAre("/usr/sbin/nginx"));
  EXPECT_THAT(record.values("parent.command_line"), ElementsAre("nginx -g"));
  EXPECT_THAT(record.values("image.distroless"), ElementsAre("true"));
  EXPECT_THAT(record.values("parent."), IsEmpty());
  EXPECT_THAT(record.values("parent"), IsEmpty());

  const struct {
    const char* kind;
    const char* path;
    bool known;
  } cases[] = {{"process", "parent.exe.path", true},
               {"process", "parent.command_line", true},
               {"process", "container.rights", true},
               {"process", "parent.parent.exe.path", false},
               {"process", "parent", false},
               {"process", "parent.", false},
               {"process", "image.distroless", true},
               {"mapping", "process.exe.path", true},
               {"socket", "process.exe.path", true},
               {"socket", "parent.exe.path", false},
               {"file_change", "image.shell", true},
               {"file_change", "process.exe.path", false},
               {"file_change", "container.mounts.source", true}};
  for (const auto& c : cases) EXPECT_EQ(has_field(c.kind, c.path), c.known) << c.kind << ' ' << c.path;
}

TEST(ModelRecord, OptionalArtifacts) {
  FileChange change;
  const RecordOf<FileChange> record(change);
  EXPECT_THAT(record.values("after.mode"), IsEmpty());
  change.after.emplace().mode = 04755;
  change.after->xattrs = {{Bytes("security.capability"), Bytes("\x01"), {}}};
  EXPECT_THAT(record.values("after.mode"), ElementsAre("2541"));
  EXPECT_THAT(record.values("after.xattrs.name"), ElementsAre("security.capability"));
  EXPECT_THAT(record.values("kind"), ElementsAre("unknown"));
}

TEST(ModelRecord, UnknownFieldsAreKnownBeforehand) {
  const struct {
    const char* kind;
    const char* field;
    bool known;
  } cases[] = {
      {"process", "pid", true},
      {"process", "exe.origin", true},
      {"process", "namespaces.type", true},
      {"process", "limits.soft", true},
      {"process", "lsm_label", true},
      {"process", "exe", false},
      {"process", "exe.", false},
      {"process", "exe..path", false},
      {"process", ".pid", false},
      {"process", "pid.", false},
      {"process", "pid.x", false},
      {"process", "", false},
      {"process", "comm_b64", false},
      {"file_change", "after.mode", true},
      {"file_change", "after.xattrs.name", true},
      {"file_change", "after.xattrs", false},
      {"container", "pod.namespace", true},
      {"container", "rights", true},
      {"container", "mounts.options", true},
      {"finding", "id", false},  // rules make findings, they do not look at them
      {"Process", "pid", false},
      {"", "pid", false},
  };
  for (const auto& c : cases) EXPECT_EQ(has_field(c.kind, c.field), c.known) << c.kind << " " << c.field;
  EXPECT_TRUE(has_kind("mapping"));
  EXPECT_FALSE(has_kind("memory"));
}

TEST(ModelSchema, ThePageIsWhatIsWritten) {
  const std::string made = schema_markdown();
  if (std::getenv("CTRIAGE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(CTRIAGE_SCHEMA, std::ios::binary) << made;
  }
  std::ifstream in(CTRIAGE_SCHEMA, std::ios::binary);
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  EXPECT_TRUE(page == made)
      << "run this test with CTRIAGE_UPDATE_GOLDEN=1 and look at the difference of " CTRIAGE_SCHEMA;
  EXPECT_NE(made.find("| exe | executable |"), std::string::npos);
  EXPECT_NE(made.find("| after | optional file_state |"), std::string::npos);
}

}  // namespace
}  // namespace ctriage
