#pragma once
// What destinations that start a program share. Not for other modules.
#include <initializer_list>
#include <string>
#include <string_view>

#include "lib/core/program.h"
#include "lib/model/transfer.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

ProgramUsed used_of(const Program& program);

// Whether any of those words is in it, in whatever case.
bool says_any(std::string_view text, std::initializer_list<std::string_view> words);

// Why it ended as it did: the first line that it printed as an error and that does not begin with `summary`,
// else the last; else its status.
std::string reason_of(const Program::End& end, std::string_view summary);

// Of a run that did not come to its end: one that stalled may be tried again.
Refusal refusal_of(const Error& error, const std::string& place, const Task& task);

}  // namespace ctriage::transfer
