#include "lib/bundle/ssh_wire.h"

#include "lib/core/text.h"

namespace ctriage::bundle {
namespace {

constexpr std::size_t kColumns = 70;

std::string mark(std::string_view word, std::string_view label) {
  return "-----" + std::string(word) + " " + std::string(label) + "-----";
}

}  // namespace

std::string_view SshReader::integer() {
  std::string_view bytes = string();
  if (bytes.empty()) return bytes;
  const auto top = [&](std::size_t at) { return (static_cast<unsigned char>(bytes[at]) & 0x80) != 0; };
  if (top(0) || (bytes[0] == '\0' && (bytes.size() == 1 || !top(1)))) good_ = false;
  if (bytes[0] == '\0') bytes.remove_prefix(1);
  return bytes;
}

std::string ssh_number(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 0xff);
  return text;
}

std::string ssh_string(std::string_view bytes) {
  return ssh_number(static_cast<std::uint32_t>(bytes.size())).append(bytes);
}

std::string ssh_integer(std::string_view bytes) {
  while (bytes.starts_with('\0')) bytes.remove_prefix(1);
  const bool high = !bytes.empty() && (static_cast<unsigned char>(bytes[0]) & 0x80) != 0;
  return ssh_string((high ? std::string(1, '\0') : std::string()).append(bytes));
}

std::optional<std::string> from_armor(std::string_view label, std::string_view text) {
  const std::string begin = mark("BEGIN", label);
  const std::string end = mark("END", label);
  std::string_view inside = trim(text);
  while (inside.ends_with('\n') || inside.ends_with('\r')) inside.remove_suffix(1);
  if (!inside.starts_with(begin) || !inside.ends_with(end) || inside.size() < begin.size() + end.size())
    return std::nullopt;
  inside = inside.substr(begin.size(), inside.size() - begin.size() - end.size());
  std::string digits;
  digits.reserve(inside.size());  // a secret leaves no copies behind
  for (const char c : inside) {
    if (c != '\n' && c != '\r') digits += c;
  }
  auto bytes = from_base64(digits);
  std::string again = bytes ? to_base64(*bytes) : std::string();
  const bool one_form = bytes && again == digits;
  wipe(digits);
  wipe(again);
  if (!one_form) return std::nullopt;
  return bytes;
}

std::string to_armor(std::string_view label, std::string_view bytes) {
  const std::string digits = to_base64(bytes);
  std::string text = mark("BEGIN", label) + "\n";
  for (std::size_t at = 0; at < digits.size(); at += kColumns) text += digits.substr(at, kColumns) + "\n";
  return text + mark("END", label) + "\n";
}

}  // namespace ctriage::bundle
