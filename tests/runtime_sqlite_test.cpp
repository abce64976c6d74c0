// Databases as SQLite itself writes them, whole, in the middle of a transaction, cut and hostile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "lib/runtime/records.h"
#include "lib/runtime/sqlite.h"
#include "tests/temp_dir.h"

namespace ctriage::runtime {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Rows = std::map<std::string, std::string>;

constexpr std::array<std::string_view, 2> kColumns{"ID", "JSON"};
const std::string kTable = "ContainerConfig";
// libpod/sqlite_state_internal.go, the columns that matter here
const std::string kSchema =
    "CREATE TABLE ContainerConfig(ID TEXT PRIMARY KEY NOT NULL, Name TEXT NOT NULL UNIQUE, PodID TEXT, JSON "
    "TEXT NOT NULL);"
    "CREATE TABLE ContainerState(ID TEXT PRIMARY KEY NOT NULL, State INTEGER NOT NULL, ExitCode INTEGER, "
    "JSON TEXT NOT NULL);";

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Writer {  // an open database, as Podman has it
 public:
  explicit Writer(const std::string& path) { EXPECT_EQ(sqlite3_open(path.c_str(), &database_), SQLITE_OK); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { sqlite3_close(database_); }
  void run(const std::string& sql) {
    EXPECT_EQ(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(database_) << " in " << sql;
  }
  void add(const std::string& id, const std::string& json) {
    run("INSERT INTO ContainerConfig VALUES('" + id + "','n" + id + "',NULL,'" + json + "')");
  }

 private:
  sqlite3* database_ = nullptr;
};

class Sqlite : public testing::Test {
 protected:
  [[nodiscard]] Root node() const { return Root::open(base_.path()).value(); }
  SqliteFiles copy() {
    auto files = copy_sqlite(node(), "/db.sql");
    EXPECT_TRUE(files) << files.error().what;
    return files ? *std::move(files) : SqliteFiles{};
  }
  Status rows(const SqliteFiles& files, Rows& into) {
    return read_sqlite(
        files, kTable, kColumns,
        [&](SqliteRow row) -> Status {
          into.emplace(row[0], row[1]);
          return Done{};
        },
        task_);
  }
  Rows rows(const SqliteFiles& files) {
    Rows all;
    const Status status = rows(files, all);
    EXPECT_TRUE(status) << status.error().what;
    return all;
  }

  TempDir base_;
  std::string path_ = base_.path() + "/db.sql";
  GapLog log_;
  Task task_{log_, stop_, [] { return Timestamp{}; }};
  inline static const std::atomic<bool> stop_ = false;
};

TEST_F(Sqlite, AWholeDatabase) {
  Writer writer(path_);
  writer.run(kSchema);
  writer.add("one", "{}");
  writer.add("two", std::string(100'000, 'x'));  // on overflow pages
  EXPECT_EQ(rows(copy()), (Rows{{"one", "{}"}, {"two", std::string(100'000, 'x')}}));
  EXPECT_EQ(std::distance(fs::directory_iterator(base_.path()), {}), 1);  // nothing is made beside it
}

TEST_F(Sqlite, Utf16) {
  Writer writer(path_);
  writer.run("PRAGMA encoding='UTF-16le';" + kSchema);
  writer.add("one", "\xc3\xa9");
  EXPECT_EQ(rows(copy()), (Rows{{"one", "\xc3\xa9"}}));
}

TEST_F(Sqlite, AWriteAheadLogIsApplied) {
  Writer writer(path_);
  writer.run("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;" + kSchema);
  Rows expected;
  std::vector<Rows> states{{}};
  for (const char* id : {"one", "two", "three"}) {
    writer.add(id, std::string(9'000, id[0]));
    expected.emplace(id, std::string(9'000, id[0]));
    states.push_back(expected);
  }
  SqliteFiles files = copy();
  const std::string before = read(path_);
  EXPECT_EQ(rows(files), expected);
  EXPECT_EQ(read(path_), before);
  // Cut anywhere, the log gives what was committed up to there, or no table at all.
  const std::string whole = files.log;
  for (std::size_t size = 0; size < whole.size(); size += 509) {
    SCOPED_TRACE(size);
    files.log = whole.substr(0, size);
    Rows seen;
    if (rows(files, seen)) {
      EXPECT_THAT(states, testing::Contains(seen));
      EXPECT_NE(seen, expected);
    }
  }
}

TEST_F(Sqlite, AHotJournalIsRolledBack) {
  Writer writer(path_);
  writer.run("PRAGMA cache_size=2;" + kSchema);
  Rows committed;
  for (int i = 0; i < 50; ++i) {
    writer.add(std::to_string(i), std::string(3'000, 'a'));
    committed.emplace(std::to_string(i), std::string(3'000, 'a'));
  }
  writer.run("BEGIN; UPDATE ContainerConfig SET JSON = replace(JSON, 'a', 'b')");  // spills to the file
  SqliteFiles files = copy();
  ASSERT_FALSE(files.journal.empty());
  EXPECT_EQ(rows(files), committed);
  files.journal.clear();
  Rows half;
  (void)rows(files, half).has_value();
  EXPECT_NE(half, committed);  // so the journal made the difference
}

TEST_F(Sqlite, CutAnywhere) {
  Writer writer(path_);
  writer.run("PRAGMA page_size=512;" + kSchema);
  for (int i = 0; i < 20; ++i) writer.add(std::to_string(i), std::string(700, 'x'));
  SqliteFiles files = copy();
  const std::string whole = files.database;
  const Rows all = rows(files);
  ASSERT_THAT(all, SizeIs(20));
  for (std::size_t size = 0; size < whole.size(); size += 101) {
    SCOPED_TRACE(size);
    files.database = whole.substr(0, size);
    Rows seen;
    EXPECT_FALSE(rows(files, seen));
  }
  for (std::size_t at = 0; at < whole.size(); at += 37) {  // garbage: no crash, no hang
    files.database = whole;
    files.database[at] = static_cast<char>(files.database[at] ^ 0x5a);
    Rows seen;
    (void)rows(files, seen).has_value();
  }
}

TEST_F(Sqlite, Limits) {
  Writer writer(path_);
  writer.run(kSchema);
  writer.add("one", std::string(kMaxSqliteValueBytes + 1, 'x'));
  Rows seen;
  const Status status = rows(copy(), seen);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::limit) << status.error().what;
  fs::resize_file(path_, kMaxSqliteBytes + 1);
  const auto large = copy_sqlite(node(), "/db.sql");
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Errc::limit);
  EXPECT_EQ(copy_sqlite(node(), "/none.sql").error().code, Errc::not_found);
}

TEST_F(Sqlite, NoTable) {
  const std::string endless =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i AS ID, i AS JSON FROM n";
  for (const std::string& schema :
       std::vector<std::string>{"CREATE TABLE Other(ID)", "CREATE TABLE ContainerConfig(ID)",
                                "CREATE VIEW ContainerConfig AS " + endless,
                                "CREATE TABLE ContainerConfig(ID TEXT, JSON TEXT AS (ID || ID))",
                                "CREATE TABLE ContainerConfig(ID TEXT, JSON TEXT AS (printf('%9s', ID)))"}) {
    SCOPED_TRACE(schema);
    fs::remove(path_);
    Writer(path_).run(schema);
    Rows seen;
    const Status status = rows(copy(), seen);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Errc::malformed);
    EXPECT_THAT(seen, IsEmpty());
  }
}

// Podman since 4.8, the database in the graph root or in its static directory.
TEST_F(Sqlite, PodmansContainers) {
  const std::string id = "5ea65b8435ffbd51f275fd5592726f1696b93955e7badff4a9e853e9839a0f1f";
  fs::create_directories(base_.path() + "/lib/overlay-containers");
  fs::create_directories(base_.path() + "/lib/libpod");
  std::ofstream(base_.path() + "/lib/overlay-containers/containers.json") << "[]";
  for (const std::string file : {"/lib/db.sql", "/lib/libpod/db.sql"}) {
    SCOPED_TRACE(file);
    {
      Writer writer(base_.path() + file);
      writer.run(kSchema);
      writer.add(id, R"({"id":")" + id +
                         R"(","name":"pweb","labels":{"a":"b"},"rootfsImageName":"localhost/app:1"})");
      writer.run("INSERT INTO ContainerState VALUES('" + id + R"(',6,7,'{"state":6,"exitCode":7,)" +
                 R"("startedTime":"2026-11-22T05:13:08Z","finishedTime":"2026-11-22T05:15:08Z"}'))");
    }
    Storages storages;
    ASSERT_NE(storages.find(node(), "/lib/overlay/x/merged", task_), nullptr);
    std::vector<Found> found;
    ASSERT_TRUE(add_storage_records(storages, found, task_));
    EXPECT_THAT(log_.kept(), IsEmpty());
    ASSERT_THAT(found, SizeIs(1));
    const Container& container = found.front().container;
    EXPECT_EQ((std::pair{container.id, container.engine}),
              (std::pair<std::string, std::string>{id, "podman"}));
    EXPECT_EQ((std::pair{container.name.raw, container.image.raw}),
              (std::pair<std::string, std::string>{"pweb", "localhost/app:1"}));
    EXPECT_EQ((std::pair{container.state, container.exit_code.value_or(0)}),
              (std::pair{ContainerState::exited, 7}));
    EXPECT_THAT(container.labels, ElementsAre(Bytes("a=b")));
    EXPECT_EQ(container.record.raw, file);

    std::ofstream(base_.path() + file, std::ios::binary)
        << "SQLite format 3";  // damaged: a gap that names it
    GapLog gaps;
    Task task = task_.with(gaps);
    found.clear();
    ASSERT_TRUE(add_storage_records(storages, found, task));
    ASSERT_FALSE(gaps.kept().empty());
    EXPECT_THAT(gaps.kept().front().error.what, HasSubstr(file));
    EXPECT_EQ(gaps.kept().front().impact, Impact::lost);
    fs::remove(base_.path() + file);
  }
}

}  // namespace
}  // namespace ctriage::runtime
