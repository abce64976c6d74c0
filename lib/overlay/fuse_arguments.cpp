// The arguments of a fuse-overlayfs process, fuse-overlayfs(1):
//   arguments = program *(flag | "-o" options | "-o" without a blank | word)    the last word: the mount
//   point options   = option *("," option)                    a backslash takes the next character as it is,
//   or
//                                                       \ooo as octal: fuse_opt_parse(3)
//   option    = "lowerdir=" path *(":" path) | "upperdir=" path | "workdir=" path | anything else
#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {
namespace {

Error malformed(std::string_view what) {
  return {Errc::malformed, std::string("arguments of fuse-overlayfs: ").append(what)};
}

bool is_octal(char c) { return c >= '0' && c <= '7'; }

std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> options(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      options.emplace_back();
    } else if (text[i] != '\\' || i + 1 == text.size()) {
      options.back().push_back(text[i]);
    } else if (text.size() - i > 3 && text[i + 1] <= '3' && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
               is_octal(text[i + 3])) {
      const int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      options.back().push_back(static_cast<char>(value));
      i += 3;
    } else {
      options.back().push_back(text[++i]);
    }
  }
  return options;
}

Status add_option(Options& into, const std::string& option) {
  const auto equals = option.find('=');
  const std::string_view key = std::string_view(option).substr(0, equals);
  const std::string value = equals == std::string::npos ? std::string() : option.substr(equals + 1);
  if (option.find('\0') != std::string::npos) return malformed("a NUL");
  if (key == "upperdir" || key == "workdir") {  // the last one counts
    if (value.empty()) return malformed(std::string(key) + ": empty");
    (key == "upperdir" ? into.upper : into.work) = value;
  } else if (key == "lowerdir") {
    into.lowers.clear();
    for (const std::string_view path : split(value, ':')) {
      if (path.empty()) return malformed("lowerdir has an empty path");
      if (path.starts_with("//"))
        return Error{Errc::unsupported, "fuse-overlayfs: a plugin has the layer " + std::string(path)};
      into.lowers.emplace_back(path);
      if (into.lowers.size() > kMaxLayers)
        return Error{Errc::limit, "fuse-overlayfs: more than " + std::to_string(kMaxLayers) + " layers"};
    }
  } else if (!option.empty()) {
    into.flags.push_back(option);
  }
  return Done{};
}

}  // namespace

Result<FuseMount> parse_fuse_arguments(std::span<const std::string> arguments) {
  FuseMount mount;
  mount.options.fuse = true;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with('-')) {
      if (!argument.empty()) mount.target = argument;
      continue;
    }
    if (!argument.starts_with("-o")) continue;
    if (argument.size() == 2 && i + 1 == arguments.size()) return malformed("-o and nothing");
    const std::string_view text =
        argument.size() == 2 ? std::string_view(arguments[++i]) : std::string_view(argument).substr(2);
    for (const std::string& option : split_options(text)) {
      if (auto added = add_option(mount.options, option); !added) return std::move(added).error();
    }
  }
  if (mount.target.empty()) return malformed("no mount point");
  if (mount.options.lowers.empty()) return malformed("no lowerdir");
  return mount;
}

}  // namespace ctriage::overlay
