// ssh-keygen(1), "ALLOWED SIGNERS": PRINCIPALS [OPTIONS] KEYTYPE BASE64 [COMMENT], one a line.
#include <algorithm>

#include "lib/bundle/ssh_wire.h"
#include "lib/bundle/sshsig.h"
#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kMaxFile = 4 << 20;
constexpr std::size_t kMaxSigners = 10'000;
constexpr std::size_t kMaxSkipped = 20;
constexpr std::size_t kMaxPattern = 256;

// A word up to a blank outside of quotes; a backslash keeps a quote.
std::optional<std::string_view> next_word(std::string_view& line) {
  line = trim(line);
  bool quoted = false;
  std::size_t end = 0;
  for (; end < line.size(); ++end) {
    const char c = line[end];
    if (quoted && c == '\\' && end + 1 < line.size() && line[end + 1] == '"') {
      ++end;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ' ' || c == '\t')) {
      break;
    }
  }
  if (quoted || end == 0) return std::nullopt;
  const std::string_view word = line.substr(0, end);
  line = trim(line.substr(end));
  return word;
}

std::string unquoted(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '"') {
      plain += '"';
      ++i;
    } else if (text[i] != '"') {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::string_view> split_options(std::string_view text) {
  std::vector<std::string_view> options;
  bool quoted = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '\\') {
      ++i;
    } else if (i < text.size() && text[i] == '"') {
      quoted = !quoted;
    } else if (i == text.size() || (text[i] == ',' && !quoted)) {
      options.push_back(text.substr(begin, std::min(i, text.size()) - begin));
      begin = i + 1;
    }
  }
  return options;
}

// YYYYMMDD or YYYYMMDDHHMM[SS], a Z behind it.
std::optional<Timestamp> parse_time(std::string_view text) {
  if (text.ends_with('Z')) text.remove_suffix(1);
  if (text.size() != 8 && text.size() != 12 && text.size() != 14) return std::nullopt;
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  const std::string digits = std::string(text) + std::string(14 - text.size(), '0');
  const auto part = [&](std::size_t at, std::size_t size) { return digits.substr(at, size); };
  Timestamp at;
  const std::string spelled = part(0, 4) + "-" + part(4, 2) + "-" + part(6, 2) + "T" + part(8, 2) + ":" +
                              part(10, 2) + ":" + part(12, 2) + "Z";
  if (!parse_rfc3339(spelled, at)) return std::nullopt;
  return at;
}

bool matches(std::string_view pattern, std::string_view text) {  // * and ?
  std::size_t star = std::string_view::npos;
  std::size_t retry = 0;
  std::size_t p = 0;
  for (std::size_t t = 0; t < text.size();) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// One that begins with ! takes away what another gives.
bool allows(const std::vector<std::string>& patterns, std::string_view name) {
  bool allowed = patterns.empty();
  for (const std::string& pattern : patterns) {
    if (pattern.starts_with('!')) {
      if (matches(std::string_view(pattern).substr(1), name)) return false;
    } else if (matches(pattern, name)) {
      allowed = true;
    }
  }
  return allowed;
}

bool is_key_type(std::string_view word) {
  return word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
}

Status take_option(std::string_view option, AllowedSigner& signer) {
  const auto equals = option.find('=');
  std::string name(option.substr(0, equals));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (name == "cert-authority") return Error{Errc::unsupported, "a certificate authority"};
  const std::string value = equals == std::string_view::npos ? "" : unquoted(option.substr(equals + 1));
  if (name == "namespaces" && !value.empty()) {
    for (const std::string_view pattern : split(value, ',')) {
      if (pattern.size() > kMaxPattern) return Error{Errc::limit, "a namespace of over 256 characters"};
      signer.namespaces.emplace_back(pattern);
    }
    return Done{};
  }
  if (name == "valid-after" || name == "valid-before") {
    auto& into = name == "valid-after" ? signer.valid_after : signer.valid_before;
    into = parse_time(value);
    if (into) return Done{};
  }
  // An option that we do not know may take rights away.
  return Error{Errc::unsupported, "the option " + escape_terminal(option.substr(0, 80))};
}

Result<AllowedSigner> parse_line(std::string_view line) {
  AllowedSigner signer;
  const auto principals = next_word(line);
  if (!principals) return Error{Errc::malformed, "not of the allowed-signers form"};
  signer.principals = unquoted(*principals);
  auto word = next_word(line);
  if (word && !is_key_type(*word)) {
    for (const std::string_view option : split_options(*word)) {
      if (auto taken = take_option(option, signer); !taken) return std::move(taken).error();
    }
    word = next_word(line);
  }
  const auto digits = next_word(line);
  if (!word || !digits || !is_key_type(*word))
    return Error{Errc::malformed, "not of the allowed-signers form"};
  auto blob = from_base64(*digits);
  if (!blob) return Error{Errc::malformed, "its key is not Base64"};
  if (auto good = check_ssh_key(*blob); !good) return std::move(good).error();
  if (ssh_key_type(*blob) != *word) return Error{Errc::malformed, "its key is of another type than it says"};
  signer.public_blob = *std::move(blob);
  return signer;
}

}  // namespace

Result<AllowedSigners> AllowedSigners::parse(std::string_view file) {
  if (file.size() > kMaxFile) return Error{Errc::limit, "a file of signers of over 4 MiB"};
  AllowedSigners allowed;
  std::size_t number = 0;
  for (std::string_view line : split(file, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = trim(line);
    if (line.empty() || line.starts_with('#')) continue;
    auto signer = parse_line(line);
    if (signer) {
      if (allowed.signers.size() == kMaxSigners) return Error{Errc::limit, "more than 10,000 signers"};
      allowed.signers.push_back(*std::move(signer));
    } else if (allowed.skipped.size() < kMaxSkipped) {
      allowed.skipped.push_back("line " + std::to_string(number) + ": " + signer.error().what);
    }
  }
  if (allowed.signers.empty()) {
    return Error{Errc::malformed,
                 "names no signer" + (allowed.skipped.empty() ? "" : "; " + allowed.skipped[0])};
  }
  return allowed;
}

Result<std::string> AllowedSigners::find(std::string_view public_blob, std::string_view name_space,
                                         Timestamp at) const {
  std::string why = "is none of the " + std::to_string(signers.size()) + " allowed signers";
  for (const AllowedSigner& signer : signers) {
    if (signer.public_blob != public_blob) continue;
    const std::string who = escape_terminal(signer.principals.substr(0, kMaxPattern));
    if (!allows(signer.namespaces, name_space)) {
      why = who + " may not sign in the namespace " + std::string(name_space);
    } else if (signer.valid_after && at < *signer.valid_after) {
      why = who + "'s key is valid after " + to_rfc3339(*signer.valid_after) + " only";
    } else if (signer.valid_before && at >= *signer.valid_before) {
      why = who + "'s key was valid before " + to_rfc3339(*signer.valid_before) + " only";
    } else {
      return signer.principals.substr(0, kMaxPattern);
    }
  }
  return Error{Errc::denied, why};
}

}  // namespace ctriage::bundle
