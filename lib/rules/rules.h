#pragma once
// Rules, suppressions and explanations, and their evaluation. A rule names artifacts that need a look; it
// never says "compromised". The form of rule files, ours and Sigma's, is on FORMAT.md.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/result.h"
#include "lib/core/root.h"
#include "lib/core/task.h"
#include "lib/model/container.h"
#include "lib/model/file.h"
#include "lib/model/finding.h"
#include "lib/model/process.h"
#include "lib/model/sweep.h"
#include "lib/rules/known_good.h"
#include "lib/rules/match.h"

namespace ctriage {

class Record;  // lib/model/record.h: looks fields up by dotted path

namespace rules {

struct Selection {
  std::string name;
  std::vector<FieldMap> any_of;
};

// One node of a condition. Operands stand before what uses them; the last node is the whole condition.
struct Node {
  enum class Op : std::uint8_t { select, both, either, invert } op = Op::select;
  std::size_t left = 0;   // select: index of the selection; else index of a node
  std::size_t right = 0;  // both, either
};

struct Detection {
  std::vector<Selection> selections;
  std::vector<Node> condition;
};

enum class Form : std::uint8_t { ours, sigma };

struct Rule {
  std::string id;
  std::string title;
  Severity severity = Severity::info;
  std::vector<std::string> attack;
  std::string artifact;
  Detection detect;
  std::string explain;
  std::string next;
  bool known_good = true;  // what it finds is about a file: a known file is no finding
  Form form = Form::ours;
  std::string origin;  // the file it was read from
};

struct Suppression {  // findings of a rule that somebody has looked at
  std::string rule;
  std::vector<FieldMap> where;
  std::string reason;
  std::string until;  // "2026-12-31", that day included, UTC; empty: for good
  std::string origin;
};

struct Explanation {  // artifacts that need no look where no rule says otherwise
  std::string id;
  std::string reason;
  std::string artifact;
  Detection detect;
  std::vector<std::string> overrides;  // rules that it silences
  std::string origin;
};

// What is wrong with a rule file, or with one entry of it.
struct Mistake {
  std::string origin;
  std::string rule;    // its id, or which entry it is; empty: the whole file
  Error error;         // field and reason
  bool unmet = false;  // nothing is wrong: a Sigma rule needs what we have not, and is not loaded
  [[nodiscard]] Error told() const;  // "FILE: rule ID: FIELD: why"
};

struct RuleSet {
  RuleSet() = default;
  RuleSet(std::vector<Rule> of) : rules(std::move(of)) {}  // NOLINT(google-explicit-constructor)
  std::vector<Rule> rules;
  std::vector<Suppression> suppressions;
  std::vector<Explanation> explanations;
  std::vector<Mistake> unmet;                   // Sigma rules that were not loaded
  std::shared_ptr<const KnownGood> known_good;  // none: nobody vouches for any file
};

struct RuleFile {
  RuleSet set;  // what is right of it
  std::vector<Mistake> mistakes;
};

// One rule file; as Sigma where the name ends in .yml or .yaml. Hostile: limits on size, depth, counts. Every
// mistake is told: Errc::malformed for what is no rule or names a field the artifact does not have,
// unsupported for a version of later, limit.
RuleFile read_rules(std::string_view text, std::string_view origin);
// The same, or the first mistake.
Result<RuleSet> parse_rules(std::string_view text, std::string_view origin);
// What this program was built with (rules/*.json).
Result<RuleSet> builtin_rules();
// All *.json, *.yml and *.yaml of a directory in order of name. What is in two of its files is a mistake.
Result<RuleSet> load_rules(const Root& directory);
Status read_directory(const Root& directory, RuleFile& into);
void read_file(const Root& directory, const std::string& name, RuleFile& into);
// `more` joins; the same id replaces.
void join_rules(RuleSet& rules, RuleSet more);
// Suppressions that name no rule of `known`, or a field that the rule's artifact has not.
std::vector<Mistake> check_suppressions(const RuleSet& rules, const RuleSet& known);

// What the caller knows about an artifact besides its fields.
struct Context {
  std::string kind;       // artifact kind as rules name it: "process", "file_change"
  std::string identity;   // the same in every run for the same artifact: with the rule's id it makes the key
  std::string container;  // container id
  std::optional<std::int32_t> pid;
  std::optional<Bytes> path;
  std::optional<Timestamp> at;
  Bytes source;  // {source} of explain; `next` keeps the placeholder for views to fill in
  Bytes image;   // {image.name}
};

// The contexts of the artifacts that findings are made of in this version.
Context context_of(const Process& process, const Container& container, std::string_view source);
Context context_of(const Mapping& mapping, const Container& container, std::string_view source);
Context context_of(const FileChange& change, const Container& container, std::string_view source);
// Of `sweep`, which looks at many sources.
Context context_of(const Replica& replica);

struct Suppressed {  // one entry, and what it did
  std::string rule;
  std::string reason;
  std::string until;
  bool expired = false;  // it suppresses no more; `count` is what it would have
  std::uint64_t count = 0;
};

class Engine {
 public:
  explicit Engine(RuleSet rules);
  // The clock of suppressions with a date: without it they do not suppress.
  void set_time(Timestamp now);
  // Files nobody needs to be told of: a finding of a file rule all of whose files are known is counted only.
  void set_known_good(std::shared_ptr<const KnownGood> known) { known_good_ = std::move(known); }

  // Every rule of the context's kind that matches gives one Finding, numbered F1, F2, ... over the life of
  // the engine. Returns what `emit` refused with, else done.
  Status evaluate(const Record& record, const Context& context, const Emit<Finding>& emit);
  Status evaluate(const Process& process, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);
  Status evaluate(const Mapping& mapping, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);
  Status evaluate(const FileChange& change, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);
  // Why an artifact that no rule matched needs no look: the reason of the first explanation that fits.
  std::optional<std::string> explained_by(const Record& record);

  [[nodiscard]] const RuleSet& rules() const { return rules_; }
  // In the order of the rule files; entries that met nothing are there with 0.
  [[nodiscard]] std::vector<Suppressed> suppressed() const;
  [[nodiscard]] std::uint64_t known_good_count() const { return known_good_count_; }
  // Findings that an explanation took the place of (its `overrides`).
  [[nodiscard]] std::uint64_t overridden_count() const { return overridden_count_; }

  // Findings with these keys are there already, `found` in all: they are not given again, and numbers go on.
  void go_on_after(std::uint64_t found, std::set<std::string> keys) {
    found_ = found;
    keys_ = std::move(keys);
  }

 private:
  struct ForKind {
    std::vector<std::size_t> rules;
    std::vector<std::size_t> explanations;
    Memo memo;
    std::vector<std::size_t> hashes;  // slots of fields with a SHA-256
    std::optional<std::size_t> script;
    std::optional<std::size_t> script_hash;
  };
  ForKind& kind_of(const std::string& kind);
  bool is_suppressed(std::size_t rule, ForKind& kind);
  [[nodiscard]] bool is_valid(const Suppression& suppression) const;
  bool is_known_good(ForKind& kind) const;
  bool is_overridden(const Rule& rule, ForKind& kind) const;

  RuleSet rules_;
  std::map<std::string, ForKind, std::less<>> kinds_;
  std::vector<std::vector<std::size_t>> suppressions_of_;  // by rule
  std::vector<std::uint64_t> suppressed_;                  // by suppression
  std::string today_;
  std::shared_ptr<const KnownGood> known_good_;
  std::uint64_t found_ = 0;
  std::uint64_t known_good_count_ = 0;
  std::uint64_t overridden_count_ = 0;
  std::set<std::string> keys_;
};

}  // namespace rules
}  // namespace ctriage
