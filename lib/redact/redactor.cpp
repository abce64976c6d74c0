#include "lib/redact/redactor.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ctriage::redact {
namespace {

constexpr std::size_t kMaxValues = 20'000;         // different ones that have a number
constexpr std::size_t kLeastKnown = 8;             // bytes of a value that is looked for elsewhere
constexpr std::size_t kMaxKnownBytes = 512 << 10;  // of all of those
constexpr std::int64_t kMatcherBytes = 256 << 20;
constexpr std::string_view kMark = "[redacted";
constexpr std::string_view kDirectory = "PWD";  // where a shell is: sh(1)
constexpr std::string_view kPrivateKey = "a private key";
constexpr std::string_view kMayEnd = ",;&[]{}'";  // a value that stands in no quotes

// A name that has in it what one of a secret has.
constexpr const char* kSecretName =
    "[A-Za-z0-9_.-]*(?:passwords?|passwd|passphrase|passcode|secret|token|credentials?|api_?-?key|"
    "private_?-?key|access_?-?key|signing_?-?key|encryption_?-?key|cookie|session_?-?(?:id|key)|conn(?:"
    "ection)?_?-?str(?:ing)?|"
    // short ones by themselves: not compass, not authority
    "(?:\\b|[_.-])(?:pass|pwd|pin|otp|salt|dsn|auth|key)[0-9]*(?:\\b|[_.-])|"
    "(?-i:[a-z](?:Pass|Pwd)\\b|[A-Z0-9]PASS\\b))"
    "[A-Za-z0-9_.-]*";
constexpr const char* kKeyBegins = "-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----";
constexpr const char* kKeyEnds = "-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----";

struct Form {
  const char* pattern;
  int group;  // that is the secret
};

// In the order in which they are tried.
std::vector<std::pair<std::string, int>> forms() {
  const std::string name(kSecretName);
  std::vector<std::pair<std::string, int>> all;
  constexpr std::array<Form, 21> kTokens{{
      {"eyJ[A-Za-z0-9_-]{10,}\\.[A-Za-z0-9_-]{4,}\\.[A-Za-z0-9_-]*", 0},
      {"\\b(?:AKIA|ASIA)[A-Z0-9]{16}\\b", 0},
      {"\\bgh[pousr]_[A-Za-z0-9]{20,}", 0},
      {"\\bgithub_pat_[A-Za-z0-9_]{20,}", 0},
      {"\\bglpat-[A-Za-z0-9_-]{20,}", 0},
      {"\\bxox[abeprs]-[A-Za-z0-9-]{10,}", 0},
      {"\\bAIza[A-Za-z0-9_-]{35}", 0},
      {"\\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}", 0},
      {"\\bnpm_[A-Za-z0-9]{36}", 0},
      {"\\bpypi-[A-Za-z0-9_-]{50,}", 0},
      {"\\bhv[sb]\\.[A-Za-z0-9_-]{20,}", 0},
      {"\\bSG\\.[A-Za-z0-9_-]{16,}\\.[A-Za-z0-9_-]{16,}", 0},
      {"AGE-SECRET-KEY-1[A-Z0-9]{50,}", 0},
      {"(?i)\\b(?:bearer|basic)\\s+([A-Za-z0-9._~+/=-]{8,})", 1},
      {"(?i)\\b[a-z][a-z0-9+.-]*://[^/\\s:@\"']*:([^\\s\"']+)@", 1},
      {"(?i)[?&](?:sig|signature|x-amz-signature|x-amz-security-token|code|key)=([^&\\s\"']+)", 1},
      {"(?i)\\b(?:set-)?cookie[\"']?\\s*[:=]\\s*[\"']?([^\"'\\r\\n]+)", 1},
      {"(?i)\\bauthorization[\"']?\\s*[:=]\\s*[\"']?"
       "(?:(?:basic|bearer|digest|token|negotiate|apikey)\\s+)?([^\"'\\r\\n]+)",
       1},
      {"(?i)\\bresponse=\"([^\"]+)\"", 1},  // of Digest
      {"(?i)\\b(?:identified by|password)\\s+'([^']+)'", 1},
      {"(?i)\\b(?:identified by|password)\\s+\"([^\"]+)\"", 1},
  }};
  all.emplace_back(std::string("(?s)") + kKeyBegins + ".*?" + kKeyEnds, 0);
  for (const Form& form : kTokens) all.emplace_back(form.pattern, form.group);
  // "name": "value" of JSON inside a text; {"name":"DB_PASSWORD","value":"..."} of a pod's.
  all.emplace_back("(?i)\"" + name + "\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)+)\"", 1);
  all.emplace_back(
      "(?i)\"name\"\\s*:\\s*\"" + name + "\"\\s*,\\s*\"value\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)+)\"", 1);
  all.emplace_back("(?i)\"" + name + "\"\\s*:\\s*(-?[0-9][0-9.eE+-]*)", 1);
  all.emplace_back("(?i)<" + name + ">([^<]+)<", 1);
  all.emplace_back("(?i)" + name + "%3[AD]([^&\\s\"']+)", 1);
  // NAME="a b", NAME='a b', NAME=a, name: a, 'name' => 'a'; \"name\": \"a\" of JSON in JSON
  const std::string is = "\\\\*[\"']?\\s*(?:=>|:=|[=:])\\s*";
  all.emplace_back("(?i)" + name + is + "\"((?:[^\"\\\\]|\\\\.)+)", 1);
  all.emplace_back("(?i)" + name + is + "\\\\+\"((?:[^\"\\\\]|\\\\[^\"\\\\])+)", 1);
  all.emplace_back("(?i)" + name + is + "'([^']+)", 1);
  all.emplace_back("(?i)" + name + is + "((?:[^\\s\"'\\\\=>:{[]|[{[][^\\s\"])[^\\s\"]*)", 1);
  all.emplace_back("(?i)--?" + name + "\\s+\"([^\"]+)\"", 1);
  all.emplace_back("(?i)--?" + name + "\\s+'([^']+)'", 1);
  all.emplace_back("(?i)--?" + name + "\\s+([^\\s\"'-][^\\s\"']*)", 1);
  return all;
}

// What mark() made, or what of it stands before its blank.
bool is_mark(std::string_view text) {
  return text.starts_with(kMark) && text.substr(kMark.size()).find_first_not_of(" 0123456789]") == text.npos;
}

// -u, --user: what follows an option and is one itself is not its value.
bool is_option(std::string_view word) {
  return word.starts_with("--") || (word.size() == 2 && word.front() == '-');
}

RE2::Options quiet() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_encoding(RE2::Options::EncodingLatin1);  // any bytes
  options.set_max_mem(kMatcherBytes);
  return options;
}

}  // namespace

struct Redactor::Forms {
  std::vector<std::pair<std::unique_ptr<RE2>, int>> all;
  RE2 variable{"(?is)([A-Za-z_][A-Za-z0-9_.-]*)=(.+)", quiet()};
  RE2 option{std::string("(?i)--?") + kSecretName, quiet()};
  RE2 name{std::string("(?i).*") + kSecretName + ".*", quiet()};
  RE2 key_begins{kKeyBegins, quiet()};
  RE2 key_ends{kKeyEnds, quiet()};
  std::unique_ptr<RE2> known;
};

Redactor::Redactor() : forms_(std::make_unique<Forms>()) {
  for (const auto& [pattern, group] : forms())
    forms_->all.emplace_back(std::make_unique<RE2>(pattern, quiet()), group);
}

Redactor::~Redactor() = default;

void Redactor::begin() { in_key_ = false; }

std::string Redactor::mark(std::string_view secret) {
  if (secret.empty() || is_mark(secret)) return std::string(secret);
  ++hidden_;
  const auto as_text = [](std::uint64_t number) {
    return std::string(kMark) + " " + std::to_string(number) + "]";
  };
  for (const auto* values : {&numbers_, &beginnings_}) {
    if (const auto found = values->find(secret); found != values->end()) return as_text(found->second);
  }
  if (numbers_.size() >= kMaxValues) {
    crowded_ = true;
    return std::string(kMark) + "]";
  }
  const std::uint64_t number = numbers_.size() + 1;
  numbers_.emplace(std::string(secret), number);
  const std::size_t end = secret.find_first_of(kMayEnd);
  if (end != std::string_view::npos && end >= kLeastKnown)
    beginnings_.emplace(std::string(secret.substr(0, end)), number);
  return as_text(number);
}

bool Redactor::is_secret_name(std::string_view name) const {
  return name != kDirectory && RE2::FullMatch(name, forms_->name);
}

std::string Redactor::hide_forms(std::string_view text) {
  std::string now(text);
  const auto hide = [&](const RE2& form, int group) {
    std::array<re2::StringPiece, 2> found;
    std::string out;
    std::size_t copied = 0;
    bool any = false;
    for (std::size_t at = 0;
         at <= now.size() && form.Match(now, at, now.size(), RE2::UNANCHORED, found.data(), group + 1);) {
      const re2::StringPiece& secret = found.at(static_cast<std::size_t>(group));
      const auto from = static_cast<std::size_t>(secret.data() - now.data());
      const auto end = static_cast<std::size_t>(found[0].data() - now.data()) + found[0].size();
      out.append(now, copied, from - copied);
      const std::string_view value(secret.data(), secret.size());
      // Of a form with a name; a value that is known may begin with anything.
      const bool directory = group > 0 && found[0].starts_with("PWD=");
      out += directory ? std::string(value) : mark(value);
      copied = from + secret.size();
      any = true;
      at = std::max(end, at + 1);
    }
    if (any) now = out.append(now, copied, std::string::npos);
  };
  for (const auto& [form, group] : forms_->all) hide(*form, group);
  if (forms_->known) hide(*forms_->known, 0);
  return now;
}

std::string Redactor::text(std::string_view line) {
  if (in_key_) {
    re2::StringPiece rest(line.data(), line.size());
    if (!RE2::FindAndConsume(&rest, forms_->key_ends)) return mark(kPrivateKey);
    in_key_ = false;
    return mark(kPrivateKey) + text({rest.data(), rest.size()});
  }
  std::string name;
  std::string value;
  if (RE2::FullMatch(re2::StringPiece(line.data(), line.size()), forms_->variable, &name, &value) &&
      is_secret_name(name))
    return name + "=" + mark(value);
  std::string shown = hide_forms(line);
  re2::StringPiece rest(shown);
  re2::StringPiece begin;
  if (forms_->key_begins.Match(shown, 0, shown.size(), RE2::UNANCHORED, &begin, 1)) {
    in_key_ = true;
    shown = shown.substr(0, static_cast<std::size_t>(begin.data() - shown.data())) + mark(kPrivateKey);
  }
  return shown;
}

std::string Redactor::alone(std::string_view whole) {
  begin();
  std::string shown = text(whole);
  begin();
  return shown;
}

std::vector<std::string> Redactor::words(const std::vector<std::string>& words) {
  std::vector<std::string> shown;
  shown.reserve(words.size());
  bool secret = false;
  for (const std::string& word : words) {
    shown.push_back(secret && !is_option(word) ? mark(word) : alone(word));
    secret = RE2::FullMatch(word, forms_->option);
  }
  return shown;
}

bool Redactor::look_for_known() {
  hidden_ = 0;
  std::string pattern;
  for (const auto* values : {&numbers_, &beginnings_}) {
    for (const auto& [value, number] : *values) {
      if (value.size() < kLeastKnown || value == kPrivateKey) continue;
      if (pattern.size() + value.size() > kMaxKnownBytes) {
        crowded_ = true;
        continue;
      }
      pattern += (pattern.empty() ? "" : "|") + RE2::QuoteMeta(value);
    }
  }
  if (pattern.empty()) return !crowded_;
  RE2::Options longest = quiet();  // of two of which one begins the other
  longest.set_longest_match(true);
  auto known = std::make_unique<RE2>(pattern, longest);
  if (!known->ok()) return false;
  forms_->known = std::move(known);
  return !crowded_;
}

}  // namespace ctriage::redact
