#pragma once
// What is known of names, whatever container they are in: rules/os-tools.json and rules/places.json, which
// this program is built with.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::verdict {

// Of paths: `*` stands for anything but '/', `**` for anything. All of the path must fit. Backtracks to the
// last of each only: at worst pattern x path steps.
bool fits_glob(std::string_view pattern, std::string_view path);

// The last name of a path.
std::string_view base_name(std::string_view path);

class Knowledge {
 public:
  // Errors are of this program's own files: a test sees them first.
  static Result<Knowledge> builtin();
  static Result<Knowledge> parse(std::string_view os_tools, std::string_view places);

  // "sh" and "shell" of "sh" and "/bin/sh"; "python3" of "python3.11". Nothing: no tool of an OS.
  struct Tool {
    std::string name;
    std::string group;
  };
  [[nodiscard]] std::optional<Tool> find_tool(std::string_view path) const;
  // Many tools in one program, which goes by the name it was called by: busybox.
  [[nodiscard]] bool is_multicall(std::string_view path) const;
  // "[kworker/0:1]", "kthreadd": names that only the kernel's own threads have.
  [[nodiscard]] bool is_kernel_thread_name(std::string_view name) const;
  // Compiles as it runs: memory that is written and executed is its trade.
  [[nodiscard]] bool is_just_in_time(std::string_view path) const;
  // What a file of that path is for: "cron"; empty: nothing particular.
  [[nodiscard]] std::string_view place_of(std::string_view path) const;
  // Why data that changes there needs no look: "log"; empty: no reason.
  [[nodiscard]] std::string_view reason_of(std::string_view path) const;

 private:
  using Names = std::vector<std::pair<std::string, std::string>>;  // sorted by the first
  using Globs = std::vector<std::pair<std::string, std::string>>;  // glob, answer; the first that fits
  static std::string_view first_fit(const Globs& globs, std::string_view path);

  Names tools_;
  std::vector<std::string> multicall_;
  std::vector<std::string> just_in_time_;
  std::vector<std::string> kernel_threads_;  // beginnings
  Globs places_;
  Globs reasons_;
};

}  // namespace ctriage::verdict
