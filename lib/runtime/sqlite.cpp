#include "lib/runtime/sqlite.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "lib/core/cursor.h"

namespace ctriage::runtime {
namespace {

constexpr int kTries = 5;
constexpr std::string_view kJournal = "-journal";
constexpr std::string_view kLog = "-wal";
constexpr const char* kName = "db";  // of the copy, to SQLite

// What SQLite may see: the copies, by name. It writes to them when it rolls back, and to nothing else.
struct Disk {
  struct File {
    std::string bytes;
    bool exists = false;
  };
  std::array<File, 3> files;  // database, journal, log

  File* find(std::string_view name) {
    constexpr std::string_view kDatabase = kName;
    if (!name.starts_with(kDatabase)) return nullptr;
    const std::string_view suffix = name.substr(kDatabase.size());
    if (suffix.empty()) return files.data();
    if (suffix == kJournal) return &files[1];
    return suffix == kLog ? &files[2] : nullptr;
  }
};

// sqlite3_io_methods and sqlite3_vfs, https://www.sqlite.org/vfs.html, version 1: no shared memory, so a
// write-ahead log needs locking_mode=EXCLUSIVE (wal.html section 8).
struct Handle {
  sqlite3_file base;
  Disk::File* file;
};
std::string& bytes_of(sqlite3_file* file) { return reinterpret_cast<Handle*>(file)->file->bytes; }

int close_file(sqlite3_file*) { return SQLITE_OK; }
int read_at(sqlite3_file* file, void* into, int count, sqlite3_int64 offset) {
  const std::string& bytes = bytes_of(file);
  const auto wanted = static_cast<std::size_t>(count);
  const std::size_t at = std::min(bytes.size(), static_cast<std::size_t>(offset));
  const std::size_t got = std::min(wanted, bytes.size() - at);
  if (got > 0) std::memcpy(into, bytes.data() + at, got);
  if (got == wanted) return SQLITE_OK;
  std::memset(static_cast<char*>(into) + got, 0, wanted - got);  // asked for by xRead
  return SQLITE_IOERR_SHORT_READ;
}
int write_at(sqlite3_file* file, const void* from, int count, sqlite3_int64 offset) {
  std::string& bytes = bytes_of(file);
  const auto size = static_cast<std::size_t>(count);
  if (offset < 0 || static_cast<std::uint64_t>(offset) > kMaxSqliteBytes ||
      size > kMaxSqliteBytes - static_cast<std::size_t>(offset)) {
    return SQLITE_FULL;
  }
  const auto at = static_cast<std::size_t>(offset);
  if (bytes.size() < at + size) bytes.resize(at + size);
  std::memcpy(bytes.data() + at, from, size);
  return SQLITE_OK;
}
int truncate_to(sqlite3_file* file, sqlite3_int64 size) {
  std::string& bytes = bytes_of(file);
  if (size < 0 || static_cast<std::uint64_t>(size) > kMaxSqliteBytes) return SQLITE_FULL;
  bytes.resize(static_cast<std::size_t>(size));
  return SQLITE_OK;
}
int sync_file(sqlite3_file*, int) { return SQLITE_OK; }
int size_of(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(bytes_of(file).size());
  return SQLITE_OK;
}
int lock_file(sqlite3_file*, int) { return SQLITE_OK; }
int is_reserved(sqlite3_file*, int* reserved) {  // nobody else has the copy: a journal that is there is hot
  *reserved = 0;
  return SQLITE_OK;
}
int control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_bytes(sqlite3_file*) { return 512; }
int characteristics(sqlite3_file*) { return 0; }

constexpr sqlite3_io_methods kMethods{1,         close_file,   read_at,         write_at,  truncate_to,
                                      sync_file, size_of,      lock_file,       lock_file, is_reserved,
                                      control,   sector_bytes, characteristics, nullptr,   nullptr,
                                      nullptr,   nullptr,      nullptr,         nullptr};

Disk& disk_of(sqlite3_vfs* vfs) { return *static_cast<Disk*>(vfs->pAppData); }

int open_one(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* given) {
  Disk::File* found = name == nullptr ? nullptr : disk_of(vfs).find(name);
  file->pMethods = nullptr;
  if (found == nullptr || (!found->exists && (flags & SQLITE_OPEN_CREATE) == 0)) return SQLITE_CANTOPEN;
  found->exists = true;
  new (file) Handle{{&kMethods}, found};
  if (given != nullptr) *given = flags;
  return SQLITE_OK;
}
int delete_one(sqlite3_vfs* vfs, const char* name, int) {
  if (Disk::File* found = disk_of(vfs).find(name)) *found = {};
  return SQLITE_OK;
}
int is_there(sqlite3_vfs* vfs, const char* name, int, int* there) {
  const Disk::File* found = disk_of(vfs).find(name);
  *there = found != nullptr && found->exists ? 1 : 0;
  return SQLITE_OK;
}
int full_name(sqlite3_vfs*, const char* name, int room, char* into) {
  const std::size_t size = std::strlen(name) + 1;
  if (size > static_cast<std::size_t>(room)) return SQLITE_CANTOPEN;
  std::memcpy(into, name, size);
  return SQLITE_OK;
}
int no_chance(sqlite3_vfs*, int count, char* into) {
  std::memset(into, 0, static_cast<std::size_t>(count));
  return count;
}
int no_sleep(sqlite3_vfs*, int) { return 0; }
int no_time(sqlite3_vfs*, double* days) {
  *days = 0;
  return SQLITE_OK;
}
int no_error(sqlite3_vfs*, int, char*) { return 0; }

class Registered {  // a file system of its own for each database, known to SQLite by a name of its own
 public:
  explicit Registered(const SqliteFiles& files) {
    disk_.files = {Disk::File{files.database, true}, Disk::File{files.journal, !files.journal.empty()},
                   Disk::File{files.log, !files.log.empty()}};
    name_ = "ctriage-" + std::to_string(reinterpret_cast<std::uintptr_t>(this));
    vfs_.iVersion = 1;
    vfs_.szOsFile = sizeof(Handle);
    vfs_.mxPathname = 64;
    vfs_.zName = name_.c_str();
    vfs_.pAppData = &disk_;
    vfs_.xOpen = open_one;
    vfs_.xDelete = delete_one;
    vfs_.xAccess = is_there;
    vfs_.xFullPathname = full_name;
    vfs_.xRandomness = no_chance;
    vfs_.xSleep = no_sleep;
    vfs_.xCurrentTime = no_time;
    vfs_.xGetLastError = no_error;
    registered_ = sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK;
  }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;
  ~Registered() {
    if (registered_) sqlite3_vfs_unregister(&vfs_);
  }
  [[nodiscard]] const char* name() const { return name_.c_str(); }

 private:
  Disk disk_;
  std::string name_;
  sqlite3_vfs vfs_{};
  bool registered_ = false;
};

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct Finalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

// A loop of pages, or a table of rows without end, would keep us busy.
struct Clock {
  Task& task;
  int left = 20'000;  // times a thousand steps of SQLite's machine: some seconds
  static int tick(void* of) {
    auto& clock = *static_cast<Clock*>(of);
    return --clock.left <= 0 || !clock.task.check() ? 1 : 0;
  }
};

Error error_of(sqlite3* database, Task& task) {
  if (auto go_on = task.check(); !go_on) return std::move(go_on).error();
  const int code = sqlite3_errcode(database);
  const std::string what = std::string("SQLite: ") + sqlite3_errmsg(database);
  if (code == SQLITE_TOOBIG || code == SQLITE_INTERRUPT || code == SQLITE_FULL || code == SQLITE_NOMEM)
    return {Errc::limit, what};
  return {Errc::malformed, what};
}

// sqlite.org/security.html "Untrusted SQLite Database Files".
void harden(sqlite3* database) {
  constexpr int kLongestStatement = 100'000;
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_limit(database, SQLITE_LIMIT_LENGTH, static_cast<int>(kMaxSqliteValueBytes));
  sqlite3_limit(database, SQLITE_LIMIT_SQL_LENGTH, kLongestStatement);
  sqlite3_limit(database, SQLITE_LIMIT_EXPR_DEPTH, 100);
  sqlite3_limit(database, SQLITE_LIMIT_ATTACHED, 0);
  // No function with arguments: one call of instr() on long texts takes minutes, and no handler is asked
  // meanwhile.
  sqlite3_limit(database, SQLITE_LIMIT_FUNCTION_ARG, 0);
}

Result<Statement> prepare(sqlite3* database, const std::string& query, Task& task) {
  sqlite3_stmt* prepared = nullptr;
  const int compiled = sqlite3_prepare_v2(database, query.c_str(), -1, &prepared, nullptr);
  Statement statement(prepared);
  if (compiled != SQLITE_OK) return error_of(database, task);
  return statement;
}

// Generated columns cost nothing to store and anything to read: pragma.html, table_xinfo, its last column.
Status check_columns(sqlite3* database, const std::string& table, Task& task) {
  constexpr int kHidden = 6;
  auto columns = prepare(database, "PRAGMA table_xinfo(" + table + ")", task);
  if (!columns) return std::move(columns).error();
  for (;;) {
    const int stepped = sqlite3_step(columns->get());
    if (stepped == SQLITE_DONE) return Done{};
    if (stepped != SQLITE_ROW) return error_of(database, task);
    if (sqlite3_column_int(columns->get(), kHidden) != 0)
      return Error{Errc::malformed, "SQLite: " + table + " has computed columns"};
  }
}

// SQLite takes a last page that is cut for one that ends in zeros. With a journal or a log it may be one that
// is being written; the page's size is at offset 16, 1 for 65,536 (fileformat2.html section 1.3.2).
bool is_cut(const SqliteFiles& files) {
  ByteCursor in(std::as_bytes(std::span(files.database)), std::endian::big);
  in.take(16);
  const std::size_t size = in.u16();
  if (!in.ok() || size == 0 || !files.journal.empty() || !files.log.empty()) return false;
  return files.database.size() % (size == 1 ? 65'536 : size) != 0;
}

std::string_view value_of_column(sqlite3_stmt* statement, int column) {
  // A database may be in UTF-16; null for NULL.
  const unsigned char* text = sqlite3_column_text(statement, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement, column))};
}

struct Stand {  // of one file, that two looks can be compared
  bool exists = false;
  FileInfo info;
  [[nodiscard]] bool same(const Stand& other) const {
    if (!exists || !other.exists) return exists == other.exists;
    return info.same_inode(other.info) && info.size_bytes == other.info.size_bytes &&
           info.mtime == other.info.mtime && info.ctime == other.info.ctime;
  }
};
using Stands = std::array<Stand, 3>;

Result<Stands> look(const Root& node, const std::array<std::string, 3>& names) {
  Stands stands;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto info = node.stat_in_root(names[i]);
    if (!info && !info.error().is_gone()) return std::move(info).error();
    if (info) stands[i] = {true, *info};
  }
  return stands;
}

}  // namespace

Result<SqliteFiles> copy_sqlite(const Root& node, const std::string& file) {
  const std::array<std::string, 3> names{file, file + std::string(kJournal), file + std::string(kLog)};
  for (int i = 0; i < kTries; ++i) {
    auto before = look(node, names);
    if (!before) return std::move(before).error();
    if (!(*before)[0].exists) return Error{Errc::not_found, file + ": no such file"};
    std::array<std::string, 3> bytes;
    std::size_t room = kMaxSqliteBytes;
    std::optional<Error> failed;
    for (std::size_t one = 0; one < names.size() && !failed; ++one) {
      if (!(*before)[one].exists) continue;
      auto text = node.read_file_in_root(names[one], room);
      if (!text) {
        failed = std::move(text).error();
        break;
      }
      bytes[one] = *std::move(text);
      room -= bytes[one].size();
    }
    auto after = look(node, names);
    if (!after) return std::move(after).error();
    bool same = true;
    for (std::size_t one = 0; one < names.size(); ++one) same = same && (*before)[one].same((*after)[one]);
    if (!same) continue;
    if (failed) return *std::move(failed);
    return SqliteFiles{std::move(bytes[0]), std::move(bytes[1]), std::move(bytes[2])};
  }
  return Error{Errc::mismatch, file + ": is written to all the time"};
}

Status read_sqlite(const SqliteFiles& files, const std::string& table,
                   std::span<const std::string_view> columns, const std::function<Status(SqliteRow)>& take,
                   Task& task) {
  if (is_cut(files)) return Error{Errc::truncated, "SQLite: the database ends within a page"};
  const Registered copies(files);
  sqlite3* opened = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
  const int code = sqlite3_open_v2(kName, &opened, flags, copies.name());
  const Database database(opened);
  if (code != SQLITE_OK) return error_of(database.get(), task);
  harden(database.get());
  Clock clock{task};
  sqlite3_progress_handler(database.get(), 1'000, Clock::tick, &clock);
  const char* const kFirst =
      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA "
      "cell_size_check=ON";
  if (sqlite3_exec(database.get(), kFirst, nullptr, nullptr, nullptr) != SQLITE_OK)
    return error_of(database.get(), task);

  if (auto plain = check_columns(database.get(), table, task); !plain) return plain;
  std::string query = "SELECT ";
  for (const std::string_view column : columns)
    query.append(column).append(column == columns.back() ? "" : ", ");
  query += " FROM " + table;
  const auto statement = prepare(database.get(), query, task);
  if (!statement) return statement.error();
  std::vector<std::string_view> row(columns.size());
  for (;;) {
    const int stepped = sqlite3_step(statement->get());
    if (stepped == SQLITE_DONE) return Done{};
    if (stepped != SQLITE_ROW) return error_of(database.get(), task);
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = value_of_column(statement->get(), static_cast<int>(i));
    if (sqlite3_errcode(database.get()) == SQLITE_NOMEM) return error_of(database.get(), task);
    if (auto taken = take(row); !taken) return taken;
  }
}

}  // namespace ctriage::runtime
