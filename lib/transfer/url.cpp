#include "lib/transfer/url.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "lib/core/text.h"
#include "lib/transfer/secrets.h"

namespace ctriage::transfer {
namespace {

constexpr std::size_t kMaxUrlBytes = 4096;
constexpr std::array<std::pair<std::string_view, Scheme>, 10> kSchemes{{{"file", Scheme::file},
                                                                        {"sftp", Scheme::sftp},
                                                                        {"ftps", Scheme::ftps},
                                                                        {"ftpes", Scheme::ftpes},
                                                                        {"ftp", Scheme::ftp},
                                                                        {"https", Scheme::https},
                                                                        {"s3", Scheme::s3},
                                                                        {"rsync+ssh", Scheme::rsync_ssh},
                                                                        {"rsync", Scheme::rsync},
                                                                        {"smb", Scheme::smb}}};

Error wrong(std::string what) { return {Errc::malformed, std::move(what)}; }

std::string all_schemes() {
  std::string all;
  for (const auto& [name, scheme] : kSchemes)
    all += (all.empty() ? "" : " ") + std::string(name) + (scheme == Scheme::file ? ":" : "://");
  return all;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const auto byte = i + 2 < text.size() ? parse_number<unsigned>(text.substr(i + 1, 2), 16) : std::nullopt;
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
    i += 2;
  }
  if (std::ranges::any_of(out, is_control)) return std::nullopt;
  return out;
}

// "host", "host:22", "[::1]:22".
Status take_host(std::string_view text, Url& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return wrong("its host has no closing bracket");
    url.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && !port.starts_with(':')) return wrong("after the bracket of its host there is more");
    if (url.host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string::npos)
      return wrong("its host is no IPv6 address");
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    url.host = text.substr(0, colon);
    port = text.substr(colon);
    const auto is_of_host = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '-' || c == '_';
    };
    if (!std::ranges::all_of(url.host, is_of_host) || url.host.starts_with('-'))
      return wrong("its host is no name or address");
  }
  if (url.host.empty()) return wrong("it names no host");
  if (port.empty()) return Done{};
  const auto number = parse_number<std::uint16_t>(port.substr(1));
  if (!number || *number == 0) return wrong("its port is no number");
  url.port = *number;
  return Done{};
}

Status take_path(std::string_view text, bool from_file, Url& url) {
  const std::size_t end = std::min(text.find_first_of("?#"), text.size());
  if (end < text.size() && !from_file)
    return wrong("what stands after ? or # may be a token: write the URL into a file and give @FILE");
  if (end < text.size() && text[end] == '#') return wrong("it has a fragment");
  if (end < text.size()) url.query = text.substr(end + 1);
  if (std::ranges::any_of(url.query, [](char c) { return is_control(c) || c == ' ' || c == '#'; }))
    return wrong("its query has bytes that no URL has");
  auto path = decode(text.substr(0, end));
  if (!path) return wrong("its path has a % without two digits, or a control byte");
  for (const std::string_view part : split(*path, '/')) {
    if (part == "..") return wrong("its path has \"..\"");
  }
  const bool folder = path->empty() || path->ends_with('/');
  url.one_object = !url.query.empty() && !folder;
  while (path->size() > 1 && path->ends_with('/')) path->pop_back();
  url.path = path->empty() ? "/" : *std::move(path);
  return Done{};
}

}  // namespace

bool resumes_inside(Scheme scheme) { return scheme == Scheme::rsync || scheme == Scheme::rsync_ssh; }

std::string_view scheme_name(Scheme scheme) {
  for (const auto& [name, value] : kSchemes) {
    if (value == scheme) return name;
  }
  return "file";
}

Result<Url> parse_url(std::string_view text, bool from_file) {
  if (text.size() > kMaxUrlBytes) return wrong("a URL has 4096 bytes at most");
  if (std::ranges::any_of(text, is_control)) return wrong("it has a control byte");
  const std::size_t colon = text.find(':');
  const auto scheme = std::ranges::find(kSchemes, text.substr(0, std::min(colon, text.size())),
                                        &std::pair<std::string_view, Scheme>::first);
  if (colon == std::string_view::npos || scheme == kSchemes.end())
    return wrong("it begins with none of " + all_schemes());
  Url url;
  url.scheme = scheme->second;
  std::string_view rest = text.substr(colon + 1);
  if (url.scheme == Scheme::file) {
    if (rest.starts_with("//")) rest.remove_prefix(2);
    if (!rest.starts_with('/')) return wrong("file: takes an absolute path");
    const auto names = split(rest, '/');
    if (std::ranges::find(names, "..") != names.end()) return wrong("its path has ..");
    url.path = rest;
    while (url.path.size() > 1 && url.path.ends_with('/')) url.path.pop_back();
    return url;
  }
  if (!rest.starts_with("//")) return wrong("after its scheme come two slashes");
  rest.remove_prefix(2);
  const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, end);
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = authority.substr(0, at);
    if (user.find(':') != std::string_view::npos && !from_file)
      return wrong("a password on the command line is seen by everybody: put it into a netrc file (--netrc)");
    if (user.find(':') != std::string_view::npos)
      return wrong("a password belongs into a netrc file (--netrc)");
    auto decoded = decode(user);
    if (!decoded || decoded->empty() || decoded->starts_with('-')) return wrong("its user is no name");
    url.user = *std::move(decoded);
    authority.remove_prefix(at + 1);
  }
  if (auto taken = take_host(authority, url); !taken) return std::move(taken).error();
  if (auto taken = take_path(rest.substr(end), from_file, url); !taken) return std::move(taken).error();
  if (!url.query.empty() && url.scheme != Scheme::https) return wrong("only https:// may be signed");
  return url;
}

Result<Url> read_url(const std::string& typed) {
  if (!typed.starts_with('@')) {
    auto url = parse_url(typed, false);
    // What was typed is not said again: it may hold what should not be seen.
    return url ? std::move(url) : Result<Url>(std::move(url).error().within("URL"));
  }
  auto text = read_private_file(typed.substr(1), kMaxUrlBytes);
  if (!text) return std::move(text).error();
  auto url = parse_url(trim(text->view()), true);
  return url ? std::move(url) : Result<Url>(std::move(url).error().within(typed));
}

std::string place_of(const Url& url) {
  std::string place(scheme_name(url.scheme));
  if (url.scheme == Scheme::file) return place + ":" + url.path;
  const bool bracket = url.host.find(':') != std::string::npos;
  place += "://" + (bracket ? "[" + url.host + "]" : url.host);
  if (url.port != 0) place += ":" + std::to_string(url.port);
  return place + encode_path(url.path);
}

std::string encode_path(std::string_view path) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  return out;
}

std::string join_path(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.ends_with('/')) path += '/';
  return path.append(name);
}

}  // namespace ctriage::transfer
