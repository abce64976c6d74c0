#pragma once
// What entries of ours and of Sigma's have alike: checks of names and texts, and selections. Not for other
// modules.
#include <functional>
#include <string>
#include <string_view>

#include "lib/rules/rules.h"
#include "lib/rules/value.h"

namespace ctriage::rules {

constexpr std::size_t kMaxRules = 4'096;      // entries of one file
constexpr std::size_t kMaxTextBytes = 1'024;  // title, explain, next
constexpr std::size_t kMaxIdBytes = 64;
constexpr std::size_t kMaxSelections = 64;

Error bad(std::string_view field, std::string_view why);
bool is_name(std::string_view text, std::string_view more);  // letters, digits and `more`

// Where mistakes of one entry go. Parsing goes on after one, so that all are told.
class Mistakes {
 public:
  Mistakes(std::string_view origin, RuleFile& into) : origin_(origin), into_(into) {}
  void entry(std::string called) {
    called_ = std::move(called);
    count_ = 0;
  }
  void add(Error error);
  void check(Status status);
  [[nodiscard]] bool none() const { return count_ == 0; }  // of this entry

 private:
  std::string origin_;
  RuleFile& into_;
  std::string called_;
  std::size_t count_ = 0;
};

// How a form names fields: ours as the artifact has them, Sigma's by its own names.
struct FieldNames {
  Dialect dialect;
  std::string artifact;
  // Tells why it is none, or gives our path. `modifiers` and `values` decide with it for some of Sigma's.
  std::function<Result<FieldTest>(std::string_view name, const std::vector<std::string_view>& modifiers,
                                  const Value& wanted)>
      compile;
};

// {"NAME|modifier": values, ...} or a list of such maps.
void take_maps(const Value& from, const std::string& where, const FieldNames& names, Mistakes& mistakes,
               std::vector<FieldMap>& into);
// {NAME: maps, ..., "condition": text}.
void take_detection(const Value& from, const std::string& where, const FieldNames& names, bool all_used,
                    Mistakes& mistakes, Detection& into);

// Sigma, read_sigma.cpp.
void read_sigma(std::string_view text, std::string_view origin, RuleFile& into);

}  // namespace ctriage::rules
