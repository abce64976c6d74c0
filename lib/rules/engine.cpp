#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "lib/core/hash.h"
#include "lib/core/text.h"
#include "lib/model/record.h"
#include "lib/rules/condition.h"
#include "lib/rules/rules.h"
#include "lib/rules/template.h"

namespace ctriage::rules {
namespace {

constexpr std::size_t kKeyDigits = 12;
constexpr std::size_t kMaxShownBytes = 512;  // of one value in a line: an argument vector may have megabytes

constexpr std::array<std::string_view, 4> kHashFields{"exe.sha256", "after.sha256", "script.sha256",
                                                      "sha256"};
constexpr std::size_t kDayDigits = 10;  // 2026-12-31

bool is_found(const Detection& detect, Memo& memo) {
  return is_met(detect.condition, [&](std::size_t i) { return matches(detect.selections[i].any_of, memo); });
}

void assign_slots(Detection& detect, Memo& memo) {
  for (Selection& selection : detect.selections) {
    for (FieldMap& fields : selection.any_of) memo.assign_slots(fields);
  }
}

// All values of a field in one text, repetitions left out: "0,0,0,0" of four user ids says no more than "0".
std::string shown(const std::vector<std::string>& values) {
  std::string out;
  const std::string* last = nullptr;
  for (const std::string& value : values) {
    if (last != nullptr && *last == value) continue;
    if (last != nullptr) out += ' ';
    out += value;
    last = &value;
    if (out.size() > kMaxShownBytes) {
      out.resize(kMaxShownBytes);
      return out += "...";
    }
  }
  return out.empty() ? std::string("?") : out;
}

// A word for a shell. Views put the source's name in place of {source}: a file of that name must stay what it
// is, so its quotes are closed and opened again inside, which a shell reads as nothing.
std::string evidence_word(const std::string& value) {
  std::string word = shell_word(value);
  for (auto at = word.find(kSourcePlaceholder); at != word.npos; at = word.find(kSourcePlaceholder, at)) {
    word.insert(at + 1, "''");
  }
  return word;
}

// The length in front of each part keeps ("ab", "c") and ("a", "bc") apart.
std::string key_of(const Rule& rule, const Context& context) {
  std::string parts;
  for (const std::string_view part : {std::string_view(rule.id), std::string_view(context.identity)}) {
    parts += std::to_string(part.size()) + ':';
    parts += part;
  }
  return sha256_hex(parts).substr(0, kKeyDigits);
}

// As people say it: rules and JSON have the words of the records.
std::string spoken(const Record& record, std::string_view field, std::string value) {
  if (record.kind() == kKind<FileChange> && field == "kind" && value == "unknown") return "added or changed";
  if (field == "content.kind" || field == "exe.content.kind") {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kWords{
        {{"elf_program", "program"},
         {"elf_library", "library"},
         {"elf_module", "kernel module"},
         {"elf_object", "object file"},
         {"elf_core", "memory dump"},
         {"java_archive", "Java archive"},
         {"java_class", "Java class"},
         {"python_bytecode", "Python bytecode"}}};
    for (const auto& [word, said] : kWords) {
      if (value == word) return std::string(said);
    }
    if (value == "unknown" || value == "?") return "program or script";
  }
  return value;
}

// Of an archive the pid is the one inside: it is said once.
void say_pid_once(std::string& what, const Record& record) {
  const auto pid = record.values("pid");
  const auto inside = record.values("container_pid");
  if (pid.size() != 1 || inside.size() != 1 || (inside[0] != pid[0] && inside[0] != "0")) return;
  const std::string twice = "pid " + pid[0] + " (" + inside[0] + " inside)";
  if (what.starts_with(twice)) what.replace(0, twice.size(), "pid " + pid[0]);
}

Finding make_finding(const Rule& rule, const Record& record, const Context& context, std::string id) {
  const auto value = [&](std::string_view name) -> std::string {
    if (name == "source") return context.source.raw;
    if (name == "id") return id;
    if (name == "image.name") return context.image.empty() ? std::string("?") : context.image.raw;
    return shown(record.values(name));
  };
  Finding finding;
  finding.key = key_of(rule, context);
  finding.rule = rule.id;
  finding.title = rule.title;
  finding.severity = rule.severity;
  finding.attack = rule.attack;
  finding.artifact = context.kind;
  finding.container = context.container;
  finding.pid = context.pid;
  finding.path = context.path;
  finding.at = context.at;
  std::string what =
      fill_template(rule.explain, [&](std::string_view name) { return spoken(record, name, value(name)); });
  say_pid_once(what, record);
  finding.what = Bytes(std::move(what));
  finding.next = Bytes(fill_template(rule.next, [&value](std::string_view name) {
    return name == "source" ? std::string(kSourcePlaceholder) : evidence_word(value(name));
  }));
  finding.id = std::move(id);
  return finding;
}

Context begin(std::string_view kind, const std::string& what, const Container& container,
              std::string_view source) {
  Context context;
  context.kind = kind;
  context.identity = container.id + '/' + what;
  context.container = container.id;
  context.source = Bytes(std::string(source));
  context.image = container.image;
  return context;
}

}  // namespace

Context context_of(const Process& process, const Container& container, std::string_view source) {
  Context context =
      begin(kKind<Process>, std::to_string(process.pid) + '/' + std::to_string(process.start_ticks),
            container, source);
  context.pid = process.pid;
  context.path = process.exe.path;
  context.at = process.started_at;
  return context;
}

// The file is what is named: the address is another in every run, and the first process that has it mapped
// another in every look.
Context context_of(const Mapping& mapping, const Container& container, std::string_view source) {
  Context context = begin(kKind<Mapping>, mapping.path.raw, container, source);
  context.pid = mapping.pid;
  context.path = mapping.path;
  return context;
}

Context context_of(const FileChange& change, const Container& container, std::string_view source) {
  Context context = begin(kKind<FileChange>, change.path.raw, container, source);
  context.path = change.path;
  // ctime cannot be set by the attacker, and tells of a chmod too; btime only when the file was made.
  // An archive does not keep it.
  if (change.after && change.after->ctime != Timestamp{}) context.at = change.after->ctime;
  return context;
}

Context context_of(const Replica& replica) {
  Context context;
  context.kind = kKind<Replica>;
  context.identity = replica.container + '/' + replica.differs + '/' + replica.value.raw;
  context.container = replica.container;
  context.image = replica.image;
  if (!replica.detail.empty()) context.path = replica.detail;
  return context;
}

Engine::Engine(RuleSet rules) : rules_(std::move(rules)) {
  for (std::size_t i = 0; i < rules_.rules.size(); ++i) {
    Rule& rule = rules_.rules[i];
    ForKind& kind = kind_of(rule.artifact);
    kind.rules.push_back(i);
    assign_slots(rule.detect, kind.memo);
    std::vector<std::size_t> of_rule;
    for (std::size_t at = 0; at < rules_.suppressions.size(); ++at) {
      Suppression& suppression = rules_.suppressions[at];
      if (suppression.rule != rule.id) continue;
      of_rule.push_back(at);
      for (FieldMap& fields : suppression.where) kind.memo.assign_slots(fields);
    }
    suppressions_of_.push_back(std::move(of_rule));
  }
  for (std::size_t i = 0; i < rules_.explanations.size(); ++i) {
    Explanation& explanation = rules_.explanations[i];
    ForKind& kind = kind_of(explanation.artifact);
    kind.explanations.push_back(i);
    assign_slots(explanation.detect, kind.memo);
  }
  suppressed_.resize(rules_.suppressions.size());
  known_good_ = rules_.known_good;
}

Engine::ForKind& Engine::kind_of(const std::string& kind) {
  const auto [at, is_new] = kinds_.try_emplace(kind);
  ForKind& made = at->second;
  if (!is_new) return made;
  for (const std::string_view field : kHashFields) {
    if (has_field(kind, field)) made.hashes.push_back(made.memo.slot_of(std::string(field)));
  }
  if (has_field(kind, "script.sha256")) {
    made.script = made.memo.slot_of("script.path");
    made.script_hash = made.memo.slot_of("script.sha256");
  }
  return made;
}

void Engine::set_time(Timestamp now) { today_ = to_rfc3339(now).substr(0, kDayDigits); }

// The first that fits is counted. One whose day is over counts and does not suppress.
bool Engine::is_suppressed(std::size_t rule, ForKind& kind) {
  for (const std::size_t at : suppressions_of_[rule]) {
    const Suppression& suppression = rules_.suppressions[at];
    if (!matches(suppression.where, kind.memo)) continue;
    ++suppressed_[at];
    if (is_valid(suppression)) return true;
  }
  return false;
}

bool Engine::is_valid(const Suppression& suppression) const {
  return suppression.until.empty() || (!today_.empty() && today_ <= suppression.until);
}

// One known file is not enough: a known interpreter may run any script.
bool Engine::is_known_good(ForKind& kind) const {
  if (!known_good_) return false;
  if (kind.script && !kind.memo.values(*kind.script).empty() && kind.memo.values(*kind.script_hash).empty())
    return false;
  bool any = false;
  for (const std::size_t slot : kind.hashes) {
    for (const std::string& value : kind.memo.values(slot)) {
      Digest digest{};
      if (!parse_digest(value, digest) || !known_good_->has(digest)) return false;
      any = true;
    }
  }
  return any;
}

bool Engine::is_overridden(const Rule& rule, ForKind& kind) const {
  return std::ranges::any_of(kind.explanations, [&](std::size_t i) {
    const Explanation& explanation = rules_.explanations[i];
    return std::ranges::find(explanation.overrides, rule.id) != explanation.overrides.end() &&
           is_found(explanation.detect, kind.memo);
  });
}

Status Engine::evaluate(const Record& record, const Context& context, const Emit<Finding>& emit) {
  const auto of = kinds_.find(context.kind);
  if (of == kinds_.end()) return Done{};
  ForKind& kind = of->second;
  kind.memo.begin(record);
  for (const std::size_t i : kind.rules) {
    const Rule& rule = rules_.rules[i];
    if (!is_found(rule.detect, kind.memo)) continue;
    if (is_overridden(rule, kind)) {
      ++overridden_count_;
      continue;
    }
    if (rule.known_good && is_known_good(kind)) {
      ++known_good_count_;
      continue;
    }
    if (is_suppressed(i, kind)) continue;
    if (!keys_.empty() && keys_.contains(key_of(rule, context))) continue;
    auto emitted = emit(make_finding(rule, record, context, "F" + std::to_string(++found_)));
    if (!emitted) return emitted;
  }
  return Done{};
}

std::optional<std::string> Engine::explained_by(const Record& record) {
  const auto of = kinds_.find(record.kind());
  if (of == kinds_.end() || of->second.explanations.empty()) return std::nullopt;
  ForKind& kind = of->second;
  kind.memo.begin(record);
  for (const std::size_t i : kind.explanations) {
    const Explanation& explanation = rules_.explanations[i];
    if (is_found(explanation.detect, kind.memo)) return explanation.reason;
  }
  return std::nullopt;
}

std::vector<Suppressed> Engine::suppressed() const {
  std::vector<Suppressed> all;
  for (std::size_t at = 0; at < suppressed_.size(); ++at) {
    const Suppression& one = rules_.suppressions[at];
    all.push_back({one.rule, one.reason, one.until, !is_valid(one), suppressed_[at]});
  }
  return all;
}

Status Engine::evaluate(const Process& process, const Container& container, std::string_view source,
                        const Emit<Finding>& emit) {
  return evaluate(RecordOf<Process>(process), context_of(process, container, source), emit);
}

Status Engine::evaluate(const Mapping& mapping, const Container& container, std::string_view source,
                        const Emit<Finding>& emit) {
  return evaluate(RecordOf<Mapping>(mapping), context_of(mapping, container, source), emit);
}

Status Engine::evaluate(const FileChange& change, const Container& container, std::string_view source,
                        const Emit<Finding>& emit) {
  return evaluate(RecordOf<FileChange>(change), context_of(change, container, source), emit);
}

}  // namespace ctriage::rules
