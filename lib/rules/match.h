#pragma once
// FIELD|modifier: values. What a line of a selection asks, compiled once, and the memo of the fields of the
// record in hand. The modifiers are told on FORMAT.md.
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"
#include "lib/rules/value.h"

namespace re2 {
class RE2;
}

namespace ctriage {

class Record;

namespace rules {

constexpr std::size_t kMaxValues = 4'096;                   // of one field
constexpr std::size_t kMaxExpressions = 512;                // regular ones and globs, of one rule file
constexpr std::size_t kMaxPatternBytes = 4'096;             // of one regular expression or glob
constexpr std::int64_t kExpressionMemoryBytes = 128 << 10;  // of RE2, for one

enum class Op : std::uint8_t { equal, contains, starts, ends, expression, network, lt, lte, gt, gte, absent };

struct Network {  // RFC 4632; IPv4 as ::ffff:a.b.c.d
  std::array<std::uint8_t, 16> address{};
  unsigned bits = 0;
};

struct Pattern {  // one value
  Op op = Op::equal;
  std::string text;  // lower case where fold
  bool fold = false;
  std::shared_ptr<const re2::RE2> expression;
  Network network;
  std::string field;  // fieldref: what to compare with, in place of text
  std::size_t slot = 0;
};

struct FieldTest {
  std::string path;  // "exe.origin"
  std::vector<Pattern> patterns;
  bool all = false;            // every pattern must match, else any
  bool invert = false;         // none may
  std::optional<bool> exists;  // |exists, in place of patterns
  std::size_t slot = 0;
};
using FieldMap = std::vector<FieldTest>;  // all of them

// The fields of one record, each looked up once.
class Memo {
 public:
  std::size_t slot_of(const std::string& path);  // for begin of life
  void assign_slots(FieldMap& fields);
  void begin(const Record& record);
  const std::vector<std::string>& values(std::size_t slot);
  const std::vector<std::string>& folded(std::size_t slot);

 private:
  struct Slot {
    std::string path;
    std::uint64_t looked_up = 0;  // the record it is of
    std::uint64_t lowered = 0;
    std::vector<std::string> values;
    std::vector<std::string> folded;
  };
  std::vector<Slot> slots_;
  const Record* record_ = nullptr;
  std::uint64_t count_ = 0;
};

bool matches(const FieldTest& test, Memo& memo);
bool matches(const FieldMap& fields, Memo& memo);
bool matches(const std::vector<FieldMap>& any_of, Memo& memo);

// How values are read: Sigma compares without case and has wildcards in every value.
struct Dialect {
  bool sigma = false;
  std::function<std::optional<std::string>(std::string_view)> field;  // what a fieldref names, as our path
  std::size_t* expressions = nullptr;                                 // counted against kMaxExpressions
};
// Of "path|modifier|modifier" what follows the path (already known to be a field), and its values.
// Errc::malformed, unsupported (of Sigma's, what we have not), limit.
Result<FieldTest> compile_test(std::string path, const std::vector<std::string_view>& modifiers,
                               const Value& wanted, const Dialect& dialect);

std::string lower(std::string_view text);  // ASCII

}  // namespace rules
}  // namespace ctriage
