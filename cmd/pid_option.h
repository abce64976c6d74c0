#pragma once
// --pid N or N@CONTAINER, of what looks at one process.
#include <string>

#include "lib/model/pages.h"
#include "lib/source/choose.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ctriage {

CLI::Option* add_pid_option(CLI::App& sub, source::PidChoice& choice, const std::string& what);

// Hands on what lies in one container: of a checkpoint pids are each container's.
class OfContainer final : public MemoryVisitor {
 public:
  OfContainer(MemoryVisitor& to, std::string container) : to_(to), container_(std::move(container)) {}
  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override;
  Status filled(std::uint64_t address, std::size_t count) override;

 private:
  MemoryVisitor& to_;
  std::string container_;  // by id; empty: any
  bool inside_ = false;
  std::vector<std::byte> aside_;
};

}  // namespace ctriage
