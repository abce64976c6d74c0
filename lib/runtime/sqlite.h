#pragma once
// Tables of a hostile SQLite database (https://www.sqlite.org/fileformat2.html), from a copy in memory.
// SQLite itself applies to the copy what a writer has left: a rollback journal ("hot", lockingv3.html section
// 4) or a write-ahead log. The database is not locked, nothing is written beside it.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/root.h"
#include "lib/core/task.h"

namespace ctriage::runtime {

constexpr std::size_t kMaxSqliteBytes = 16 << 20;      // of the database, its journal and its log together
constexpr std::size_t kMaxSqliteValueBytes = 4 << 20;  // of one value

struct SqliteFiles {
  std::string database;
  std::string journal;  // FILE-journal; empty: there is none
  std::string log;      // FILE-wal
};
// The three at one moment: they are read again while a writer changes them. Errc::not_found without FILE,
// limit when they are too large, mismatch when they never stood still.
Result<SqliteFiles> copy_sqlite(const Root& node, const std::string& file);

// Columns of all rows of one table, as text or bytes, NULL as nothing. Errc::malformed for what is no
// database or lacks the table, limit for a value that is too large or a database that takes too long to read.
using SqliteRow = std::span<const std::string_view>;
Status read_sqlite(const SqliteFiles& files, const std::string& table,
                   std::span<const std::string_view> columns, const std::function<Status(SqliteRow)>& take,
                   Task& task);

}  // namespace ctriage::runtime
