#pragma once
// Mappings with what the kernel may do with them: /proc/PID/smaps, proc_pid_smaps(5).
#include <functional>

#include "lib/core/task.h"
#include "lib/model/process.h"
#include "lib/proc/reader.h"

namespace ctriage::proc {

struct VmFlags {           // VmFlags of smaps, two letters each
  bool io = false;         // io: registers of a device
  bool pfn = false;        // pf: pages without a struct page, most of all devices
  bool mixed = false;      // mm: pages that a driver put there one by one
  bool userfault = false;  // um: who touches a missing page waits for a userfaultfd(2)
  bool huge = false;       // ht: hugetlb
  bool known = false;      // the line was there
};

// Taken once a mapping is whole.
using TakeMapping = std::function<Status(Mapping&& mapping, VmFlags flags)>;

// All mappings in the order of their addresses. Costs the kernel a walk of the page tables: once per process.
// Errc::vanished as list_mappings.
Status list_smaps(const Root& process, Readers& readers, std::int32_t pid, const TakeMapping& take,
                  Task& task);
// The text of smaps.
Status parse_smaps(ByteSource& in, std::int32_t pid, const TakeMapping& take, Task& task);

}  // namespace ctriage::proc
