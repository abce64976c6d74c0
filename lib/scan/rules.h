#pragma once
// YARA rules as text, compiled by libyara. What they are looked for in: scanner.h. Rules are the examiner's,
// but may come from anywhere: includes are off, so that no rule names a file of this machine.
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/task.h"

struct YR_RULES;

namespace ctriage::scan {

constexpr std::size_t kMaxRuleFileBytes = 16 << 20;
constexpr std::size_t kMaxRuleBytes = 64 << 20;  // of all files
constexpr std::size_t kMaxRuleFiles = 20'000;
constexpr unsigned kMaxRuleDepth = 8;         // directories below the one that was named
constexpr std::size_t kMaxMistakesTold = 20;  // of all files

// libyara, for as long as one of these is there.
class Library {
 public:
  static Result<std::unique_ptr<Library>> open();
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

 private:
  Library() = default;
};

class Rules {
 public:
  // Each path is a file, or a directory whose *.yar and *.yara files are read, those below it too. Every file
  // is a namespace of its own, so that two may have a rule of one name. Errc::malformed with "FILE:LINE: why"
  // of each mistake, a line each; unsupported for what yarac made; limit.
  static Result<std::unique_ptr<Rules>> compile(const std::vector<std::string>& paths, const Task& task);
  ~Rules();
  Rules(const Rules&) = delete;
  Rules& operator=(const Rules&) = delete;

  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] YR_RULES* get() const { return rules_; }
  // Files whose rules ask for `filetype` or `owner`, which is known of no evidence: they may match nothing.
  [[nodiscard]] const std::vector<std::string>& unanswered() const { return unanswered_; }

 private:
  Rules(std::unique_ptr<Library> library, YR_RULES* rules, std::size_t count,
        std::vector<std::string> unanswered)
      : library_(std::move(library)), rules_(rules), count_(count), unanswered_(std::move(unanswered)) {}
  std::unique_ptr<Library> library_;
  YR_RULES* rules_;
  std::size_t count_;
  std::vector<std::string> unanswered_;
};

}  // namespace ctriage::scan
