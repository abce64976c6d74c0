#pragma once
// What `selftest` says: ctriage.selftest/1, or text.
#include <string>

#include "lib/model/selftest.h"
#include "lib/report/report.h"

namespace ctriage::report {

std::string selftest_json(const SelftestResult& result);
// A line for each check, and below it what is weaker where it does not work.
std::string selftest_text(const SelftestResult& result);

}  // namespace ctriage::report
