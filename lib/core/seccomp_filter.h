#pragma once
// The seccomp(2) program of enter_sandbox().
#include <linux/filter.h>

#include <vector>

namespace ctriage {

// Denies by list. A list of what is allowed would break with every new libc; what is denied here has no use
// in a parser and is what turns a bug in one into more. EPERM, so that a library that tries sees an error and
// goes on. `may_clone` leaves what a detached clone of a mount takes, until clone_filter() denies that too.
std::vector<sock_filter> sandbox_filter(bool may_clone);
std::vector<sock_filter> clone_filter();

}  // namespace ctriage
