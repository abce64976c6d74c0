#include "lib/search/prefilter.h"

#include <cstdlib>

#include "lib/search/expression.h"
#if CTRIAGE_VECTORSCAN
#include <hs.h>
#endif

namespace ctriage::search {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// Escapes that mean the same to both, outside of classes and inside. \s has one byte more in PCRE's syntax
// (\v), and so \S one less: that would be too few. Punctuation is itself.
std::size_t common_escape(std::string_view rest, bool in_class, bool ignore_case) {
  if (rest.size() < 2) return 0;
  const char c = rest[1];
  if (c == 'x') {
    if (rest.size() < 4 || !is_hex(rest[2]) || !is_hex(rest[3])) return 0;
    return ignore_case && rest[2] >= '8' ? 0 : 4;  // letters beyond ASCII fold in RE2 only
  }
  constexpr std::string_view kBoth = "dwntrf";
  if (kBoth.find(c) != std::string_view::npos) return 2;
  if (!in_class && (c == 'b' || c == 's')) return 2;
  const bool punctuation = c > ' ' && c < 0x7f && !is_digit(c) && !(c >= 'a' && c <= 'z') &&
                           !(c >= 'A' && c <= 'Z') && c != '<' && c != '>';
  return punctuation ? 2 : 0;
}

// One character class; 0 where it may mean two things, as [[:alpha:]] does.
std::size_t common_class(std::string_view rest, bool ignore_case) {
  std::size_t at = 1;
  if (at < rest.size() && rest[at] == '^') ++at;
  if (at < rest.size() && rest[at] == ']') return 0;
  while (at < rest.size() && rest[at] != ']') {
    const char c = rest[at];
    if (c == '[' || c < ' ' || static_cast<unsigned char>(c) >= 0x7f) return 0;
    const std::size_t size = c == '\\' ? common_escape(rest.substr(at), true, ignore_case) : 1;
    if (size == 0) return 0;
    at += size;
  }
  return at < rest.size() ? at + 1 : 0;
}

}  // namespace

std::optional<std::string> common_expression(const Pattern& pattern) {
  std::string expression;
  if (!pattern.is_regex) {
    for (const char c : pattern.text) expression += hex_escape(static_cast<unsigned char>(c));
    return expression;
  }
  const std::string_view text = pattern.text;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const char c = rest.front();
    std::size_t size = 1;
    if (static_cast<unsigned char>(c) >= 0x7f || (c < ' ' && c != '\t')) return std::nullopt;
    if (c == '\\') size = common_escape(rest, false, pattern.ignore_case);
    if (c == '{' && (rest.size() < 2 || !is_digit(rest[1]))) return std::nullopt;
    if (c == '[') size = common_class(rest, pattern.ignore_case);
    if (c == '(' && rest.size() > 1 && rest[1] == '?') {
      if (rest.starts_with("(?:"))
        size = 3;
      else if (rest.starts_with("(?s:.)"))
        size = 6;
      else
        return std::nullopt;
    }
    if (size == 0) return std::nullopt;
    expression.append(rest.substr(0, size));
    at += size;
  }
  return expression;
}

#if CTRIAGE_VECTORSCAN
namespace {

template <auto Function>
struct Free {
  template <class T>
  void operator()(T* what) const {
    Function(what);
  }
};
using Database = std::unique_ptr<hs_database_t, Free<hs_free_database>>;
using Scratch = std::unique_ptr<hs_scratch_t, Free<hs_free_scratch>>;

class Vectorscan final : public Prefilter {
 public:
  bool build(std::span<const Pattern> patterns) {
    covered_.assign(patterns.size(), true);
    std::vector<std::string> expressions(patterns.size());
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      auto common = common_expression(patterns[i]);
      covered_[i] = common && is_taken(*common, patterns[i]);
      if (covered_[i]) expressions[i] = *std::move(common);
    }
    // Together they may be more than it takes; then the expressions are left to RE2.
    return compile(patterns, expressions) || (leave(patterns) && compile(patterns, expressions));
  }
  [[nodiscard]] bool covers(std::size_t pattern) const override { return covered_[pattern]; }
  void scan(std::span<const std::byte> bytes,
            const std::function<void(std::uint32_t, std::size_t)>& found) override {
    const auto each = [](unsigned id, unsigned long long, unsigned long long to, unsigned, void* context) {
      (*static_cast<const std::function<void(std::uint32_t, std::size_t)>*>(context))(
          id, static_cast<std::size_t>(to));
      return 0;
    };
    // Scratch in use would be an error of ours: who calls is one at a time.
    (void)hs_scan(database_.get(), reinterpret_cast<const char*>(bytes.data()),
                  static_cast<unsigned>(bytes.size()), 0, scratch_.get(), each,
                  const_cast<std::function<void(std::uint32_t, std::size_t)>*>(&found));
  }

 private:
  static unsigned flags_of(const Pattern& pattern) {
    // A prefilter may be simplified: it then names more blocks.
    return (pattern.ignore_case ? HS_FLAG_CASELESS : 0U) | (pattern.is_regex ? HS_FLAG_PREFILTER : 0U);
  }
  static bool is_taken(const std::string& expression, const Pattern& pattern) {
    if (!pattern.is_regex) return true;
    hs_expr_info_t* info = nullptr;
    hs_compile_error_t* error = nullptr;
    const bool fine = hs_expression_info(expression.c_str(), flags_of(pattern), &info, &error) == HS_SUCCESS;
    if (error != nullptr) hs_free_compile_error(error);
    const bool taken = fine && info->min_width > 0;
    std::free(info);  // NOLINT: what hs.h says frees it
    return taken;
  }
  bool leave(std::span<const Pattern> patterns) {
    bool any = false;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      if (!patterns[i].is_regex || !covered_[i]) continue;
      covered_[i] = false;
      any = true;
    }
    return any;
  }
  bool compile(std::span<const Pattern> patterns, const std::vector<std::string>& expressions) {
    std::vector<const char*> texts;
    std::vector<unsigned> flags;
    std::vector<unsigned> ids;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      if (!covered_[i]) continue;
      texts.push_back(expressions[i].c_str());
      flags.push_back(flags_of(patterns[i]));
      ids.push_back(static_cast<unsigned>(i));
    }
    if (texts.empty()) return false;
    hs_database_t* database = nullptr;
    hs_compile_error_t* error = nullptr;
    const hs_error_t done =
        hs_compile_multi(texts.data(), flags.data(), ids.data(), static_cast<unsigned>(texts.size()),
                         HS_MODE_BLOCK, nullptr, &database, &error);
    if (error != nullptr) hs_free_compile_error(error);
    if (done != HS_SUCCESS) return false;
    database_.reset(database);
    hs_scratch_t* scratch = nullptr;
    if (hs_alloc_scratch(database, &scratch) != HS_SUCCESS) return false;
    scratch_.reset(scratch);
    return true;
  }

  Database database_;
  Scratch scratch_;
  std::vector<bool> covered_;
};

}  // namespace
#endif

std::unique_ptr<Prefilter> Prefilter::make([[maybe_unused]] std::span<const Pattern> patterns) {
#if CTRIAGE_VECTORSCAN
  if (hs_valid_platform() != HS_SUCCESS) return nullptr;
  auto made = std::make_unique<Vectorscan>();
  if (made->build(patterns)) return made;
#endif
  return nullptr;
}

}  // namespace ctriage::search
