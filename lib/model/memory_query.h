#pragma once
// What MemoryQuery::pid may say beside a pid.
#include <cstdint>

namespace ctriage {

constexpr std::int32_t kProcessesAlone = -1;  // memory of all processes, and nothing of what belongs to none

}  // namespace ctriage
