#pragma once
// Patched code out of memory that is walked through: private copies of pages of files that may be executed.
// Not for other modules.
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "lib/core/task.h"
#include "lib/model/object.h"
#include "lib/model/pages.h"

namespace ctriage::source {

class CodeObjects final : public MemoryVisitor {
 public:
  CodeObjects(ObjectVisitor& to, Task& task);
  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override { return block_; }
  Status filled(std::uint64_t address, std::size_t count) override;
  Status finish();

 private:
  ObjectVisitor& to_;
  Task& task_;
  std::vector<std::byte> block_;
  MemoryArea area_;
  bool code_ = false;
  bool open_ = false;
  std::uint64_t begin_ = 0;
  std::uint64_t next_ = 0;
  std::set<std::string> told_;  // files without a name
};

}  // namespace ctriage::source
