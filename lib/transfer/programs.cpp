#include "lib/transfer/programs.h"

#include <algorithm>

#include "lib/core/text.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxReasonBytes = 300;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

ProgramUsed used_of(const Program& program) { return {Bytes(program.path()), to_hex(program.sha256())}; }

bool says_any(std::string_view text, std::initializer_list<std::string_view> words) {
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  return std::ranges::any_of(words, [&](std::string_view word) {
    return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
  });
}

std::string reason_of(const Program::End& end, std::string_view summary) {
  std::string_view reason;
  for (const std::string_view raw : split(end.error, '\n')) {
    const std::string_view line = trim(raw);
    if (line.empty()) continue;
    reason = line;
    if (!line.starts_with(summary)) break;
  }
  if (reason.empty()) return "it ended with status " + std::to_string(end.status);
  return std::string(reason.substr(0, kMaxReasonBytes));
}

Refusal refusal_of(const Error& error, const std::string& place, const Task& task) {
  Refusal no = refusal(error.code, place + ": " + error.what);
  no.can_pass = error.code == Errc::timeout && task.check().has_value();
  return no;
}

}  // namespace ctriage::transfer
