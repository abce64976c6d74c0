#pragma once
// Small things that the readers of /proc share. Not for other modules.
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/core/gap_log.h"
#include "lib/core/result.h"
#include "lib/core/root.h"
#include "lib/core/values.h"

namespace ctriage::proc {

inline std::string under(std::int32_t pid, std::string_view name) {
  return std::to_string(pid).append("/").append(name);
}

inline std::string under(std::string_view path, std::string_view name) {
  return std::string(path).append("/").append(name);
}

inline std::string origin_of(std::int32_t pid) { return "pid " + std::to_string(pid); }

// The process, thread or descriptor ended between being listed and being read: ENOENT from the directory,
// ESRCH from an open file.
inline bool is_gone(const Error& error) {
  return error.number == ENOENT || error.number == ESRCH || error.code == Errc::not_found ||
         error.code == Errc::vanished;
}

// Ended, or a zombie. The links below /proc/PID answer EACCES, not ESRCH, once the process is gone
// (fs/proc/base.c proc_pid_readlink, fs/proc/namespaces.c proc_ns_readlink), so what looks refused is asked
// for once more.
bool has_gone(const Root& proc, std::int32_t pid);

// read_namespace of the process or thread that `path` below /proc leads to.
Result<Hex> read_namespace_at(const Root& proc, std::string_view path, std::string_view type);

// ptrace(2) "Ptrace access mode checking" guards all that is refused here.
inline Error name_capability(Error error) {
  if (error.code == Errc::denied) error.what += "; needs CAP_SYS_PTRACE";
  return error;
}

inline Gap gap_of(std::string_view facet, std::string origin, Error error, Impact impact = Impact::lost) {
  return {impact, std::string("proc.").append(facet), std::move(origin), name_capability(std::move(error))};
}

// major << 32 | minor, as lib/model keeps device ids.
inline Hex device_id(std::uint32_t major, std::uint32_t minor) {
  return Hex{std::uint64_t{major} << 32 | minor};
}

// Hands each line that ends in a newline to `take`; a last one without is cut, and half a number is a wrong
// number.
template <class Take>
void each_whole_line(std::string_view text, Take&& take) {
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    take(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
}

// The next field of a table with blanks between its columns; `rest` then starts at the blank after it.
inline std::string_view next_field(std::string_view& rest) {
  const std::size_t begin = rest.find_first_not_of(' ');
  if (begin == std::string_view::npos) {
    rest = {};
    return {};
  }
  rest.remove_prefix(begin);
  const std::string_view field = rest.substr(0, rest.find(' '));
  rest.remove_prefix(field.size());
  return field;
}

}  // namespace ctriage::proc
