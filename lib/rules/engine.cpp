#include <algorithm>
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

bool holds(const Selection& selection, const Record& record) {
  return std::ranges::all_of(selection.all_of, [&record](const FieldTest& test) {
    const auto values = record.values(test.path);
    return std::ranges::any_of(values, [&test](const std::string& value) {
      return std::ranges::find(test.any_of, value) != test.any_of.end();
    });
  });
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
  finding.what = Bytes(fill_template(rule.explain, value));
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

Status Engine::evaluate(const Record& record, const Context& context, const Emit<Finding>& emit) {
  for (const Rule& rule : rules_) {
    if (rule.artifact != context.kind) continue;
    if (!is_met(rule.condition, [&](std::size_t i) { return holds(rule.selections[i], record); })) continue;
    if (!keys_.empty() && keys_.contains(key_of(rule, context))) continue;
    auto emitted = emit(make_finding(rule, record, context, "F" + std::to_string(++found_)));
    if (!emitted) return emitted;
  }
  return Done{};
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
