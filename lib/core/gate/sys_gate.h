#pragma once
// Asked before every system call. This is the production one: it lets everything through and costs nothing.
// The other one, tests/fault/sys_gate.h, makes the nth call fail; which of the two is meant is decided by the
// include path.
#include "lib/core/sys_call.h"

namespace ctriage::sys::gate {

// 0, or the errno(3) with which the call is to fail instead of being made.
constexpr int admit(Call) { return 0; }

}  // namespace ctriage::sys::gate
