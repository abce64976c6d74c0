#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/runtime/records.h"
#include "lib/runtime/sqlite.h"

using namespace ctriage;

// The first two bytes say how the rest is cut into database, journal and log: in 255ths.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string rest(reinterpret_cast<const char*>(data + 2), size - 2);
  const std::size_t database = rest.size() * data[0] / 255;
  const std::size_t journal = (rest.size() - database) * data[1] / 255;
  const runtime::SqliteFiles files{rest.substr(0, database), rest.substr(database, journal),
                                   rest.substr(database + journal)};
  GapLog gaps;
  const std::atomic<bool> stop = false;
  Task task{gaps, stop, [] { return Timestamp{}; }};
  constexpr std::array<std::string_view, 2> kColumns{"ID", "JSON"};
  const runtime::Storage storage{"/var/lib/containers/storage", "overlay", 0, {}, {}};
  std::vector<runtime::Found> found;
  int rows = 0;
  const Status read = runtime::read_sqlite(
      files, "ContainerConfig", kColumns,
      [&](runtime::SqliteRow row) -> Status {
        if (row.size() != kColumns.size()) __builtin_trap();
        for (const std::string_view value : row) {
          if (value.size() > 2 * runtime::kMaxSqliteValueBytes) __builtin_trap();  // UTF-16 grows as UTF-8
        }
        // What Podman's records make of it, whichever of the two columns' JSON it is.
        const runtime::PodmanRecord record{std::string(row[0]), std::string(row[1]), std::string(row[1])};
        runtime::add_podman_record(record, "db.sql", storage, found, task);
        if (++rows > 1'000) return Error{Errc::stopped, "enough"};
        return Done{};
      },
      task);
  (void)read.has_value();
  for (const runtime::Found& one : found) {
    if (one.container.engine != "podman") __builtin_trap();
  }
  return 0;
}
