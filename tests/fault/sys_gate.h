#pragma once
// The gate of the twin whose nth call fails. What to do comes from the environment of the program:
//   CTRIAGE_FAULT_NTH         which call fails, counted from 1 over all processes and threads of the program
//   CTRIAGE_FAULT_ERRNO       with which errno(3); without it the one that is likely for this kind of call
//   CTRIAGE_FAULT_COUNT_FILE  where "calls N" and "descriptors M" are written when main has returned
#include "lib/core/sys_call.h"

namespace ctriage::sys::gate {

int admit(Call kind);
// Descriptors above 2 that this process has open: what main leaves open is a leak.
int open_descriptors();

}  // namespace ctriage::sys::gate
