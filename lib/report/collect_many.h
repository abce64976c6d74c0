#pragma once
// What `collect` and `collect --plan` of several targets tell: one line for each as it is taken, then the
// sum.
#include <cstddef>
#include <string>

#include "lib/model/outcome.h"
#include "lib/report/report.h"

namespace ctriage::report {

// "2 of 40   shop/web-7d9f   1.2 s, exit 0: 2 critical, 1 high of 4 findings; 17 changes, ...; 3.2 MiB".
std::string taken_line(std::size_t number, std::size_t of, const CollectedTarget& taken);
std::string collect_many_text(const CollectManyResult& result, bool every_gap, const Style& style);
// "ctriage.collect_many/1" and "ctriage.plan_many/1".
std::string collect_many_json(const CollectManyResult& result);
std::string plan_many_json(const PlanManyResult& result);
// The plans one after the other; gaps are told elsewhere.
std::string plan_many_text(const PlanManyResult& result, const Style& style);

}  // namespace ctriage::report
