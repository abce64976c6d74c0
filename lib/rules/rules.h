#pragma once
// Rule files and their evaluation. A rule names artifacts that need a look; it never says "compromised". The
// form is Sigma's way of selecting over our artifacts (DESIGN.md "Rules"); this version knows equality and
// membership only.
//
//   {"version": 1, "rules": [RULE, ...]}   or   [RULE, ...]   or   RULE
//   RULE: {"id", "title", "severity", "attack": [...], "artifact": "process" | "file_change" | ...,
//          "detect": {NAME: {FIELD: VALUE | [VALUE, ...], ...}, ..., "condition": "a and not (b or c)"},
//          "explain": "{exe.path} ...", "next": "ctriage show {source} {id}"}
//   FIELD is a dotted path into the artifact; VALUE a string, integer or boolean, compared with the field's
//   text. A field that holds a list matches if any element does. All fields of a selection must match. `not`
//   binds before `and`, `and` before `or`. A field that the artifact does not carry at run time matches
//   nothing.
#include <cstdint>
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

namespace ctriage {

class Record;  // lib/model/record.h: looks fields up by dotted path

namespace rules {

struct FieldTest {
  std::string path;                 // "exe.origin"
  std::vector<std::string> any_of;  // as the field's text
};

struct Selection {
  std::string name;
  std::vector<FieldTest> all_of;
};

// One node of a condition. Operands stand before what uses them; the last node is the whole condition.
struct Node {
  enum class Op : std::uint8_t { select, both, either, invert } op = Op::select;
  std::size_t left = 0;   // select: index of the selection; else index of a node
  std::size_t right = 0;  // both, either
};

struct Rule {
  std::string id;
  std::string title;
  Severity severity = Severity::info;
  std::vector<std::string> attack;
  std::string artifact;
  std::vector<Selection> selections;
  std::vector<Node> condition;
  std::string explain;
  std::string next;
  std::string origin;  // the file it was read from
};

// One rule file. Hostile: limits on size, depth, counts. Errors name origin, rule and field: Errc::malformed
// for what is not a rule or names a field the artifact does not have, unsupported for a modifier or a version
// of later, limit.
Result<std::vector<Rule>> parse_rules(std::string_view json, std::string_view origin);
// What this program was built with (rules/*.json).
Result<std::vector<Rule>> builtin_rules();
// All *.json of a directory in order of name.
Result<std::vector<Rule>> load_rules(const Root& directory);
// `more` joins; the same id replaces.
void join_rules(std::vector<Rule>& rules, std::vector<Rule> more);

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

class Engine {
 public:
  explicit Engine(std::vector<Rule> rules) : rules_(std::move(rules)) {}

  // Every rule of the context's kind that matches gives one Finding, numbered F1, F2, ... over the life of
  // the engine. Returns what `emit` refused with, else done.
  Status evaluate(const Record& record, const Context& context, const Emit<Finding>& emit);
  Status evaluate(const Process& process, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);
  Status evaluate(const Mapping& mapping, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);
  Status evaluate(const FileChange& change, const Container& container, std::string_view source,
                  const Emit<Finding>& emit);

  // Findings with these keys are there already, `found` in all: they are not given again, and numbers go on.
  void go_on_after(std::uint64_t found, std::set<std::string> keys) {
    found_ = found;
    keys_ = std::move(keys);
  }

 private:
  std::vector<Rule> rules_;
  std::uint64_t found_ = 0;
  std::set<std::string> keys_;
};

}  // namespace rules
}  // namespace ctriage
