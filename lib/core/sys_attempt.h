#pragma once
// What every system call of sys_*.cpp shares: the gate before it, EINTR, and the error after it. For those
// files only.
#include <cerrno>
#include <string>
#include <string_view>

#include "lib/core/sys.h"
#include "sys_gate.h"

namespace ctriage::sys {

// Makes the call unless the gate says no, and repeats it when a signal came. -1 and errno, as the call
// itself.
template <class F>
auto attempt(Call kind, F&& call) -> decltype(call()) {
  if (const int refused = gate::admit(kind); refused != 0) {
    errno = refused;
    return -1;
  }
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// The same for calls that may wait: a signal ends them.
template <class F>
auto attempt_once(Call kind, F&& call) -> decltype(call()) {
  if (const int refused = gate::admit(kind); refused != 0) {
    errno = refused;
    return -1;
  }
  return call();
}

inline Error failed(std::string_view verb, std::string_view name) {
  const int number = errno;
  return system_error(number, std::string(verb).append(" ").append(name));
}

template <class T>
Status done_or(T result, std::string_view verb, std::string_view name) {
  if (result < 0) return failed(verb, name);
  return Done{};
}

template <class T>
Result<std::size_t> size_or(T result, std::string_view verb, std::string_view name) {
  if (result < 0) return failed(verb, name);
  return static_cast<std::size_t>(result);
}

}  // namespace ctriage::sys
