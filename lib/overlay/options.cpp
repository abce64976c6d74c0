// The super options of an overlay mount, as ovl_show_options() in fs/overlayfs/params.c prints them:
//   options  = option *("," option)                    commas inside values are \054
//   option   = "lowerdir=" paths | "lowerdir+=" path | "datadir+=" path | "upperdir=" path | "workdir=" path
//   | flag paths    = path *(":" path) *("::" path)           \: \, \\ are overlay's own escapes, in paths
//   and path of
//                                                      lowerdir, upperdir and workdir; what follows "::" is
//                                                      data-only
// and all of it with seq_file's octal escapes (\040) around.
#include <algorithm>
#include <optional>

#include "lib/core/limits.h"
#include "lib/core/text.h"
#include "lib/overlay/overlay.h"

namespace ctriage::overlay {
namespace {

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// seq_escape(): three octal digits after a backslash. A backslash of the text itself is always written so,
// hence one that is not followed by digits is kept as it is.
std::string undo_octal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && text.size() - i > 3 && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3]) && text[i + 1] <= '3') {
      const int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      out.push_back(static_cast<char>(value));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// One path up to an unescaped ':' (if `list`) or the end, with overlay's escapes undone, ovl_unescape().
// Nothing for a backslash at the very end.
std::optional<std::string> take_path(std::string_view& rest, bool list) {
  std::string path;
  std::size_t i = 0;
  for (; i < rest.size(); ++i) {
    if (list && rest[i] == ':') break;
    if (rest[i] == '\\' && ++i == rest.size()) return std::nullopt;
    path.push_back(rest[i]);
  }
  rest.remove_prefix(i);
  return path;
}

Error malformed(std::string_view what, std::string_view value) {
  return {Errc::malformed,
          std::string("overlay options: ").append(what).append(": ").append(value.substr(0, 256))};
}

Status add_lowers(Options& options, std::string_view list) {
  std::string_view rest = list;
  bool data_only = false;
  while (true) {
    auto path = take_path(rest, true);
    if (!path) return malformed("lowerdir ends in a backslash", list);
    if (path->empty()) return malformed("lowerdir has an empty path", list);
    (data_only ? options.data_only : options.lowers).push_back(*std::move(path));
    if (rest.empty()) return Done{};
    rest.remove_prefix(1);
    if (!rest.empty() && rest.front() == ':') {
      data_only = true;
      rest.remove_prefix(1);
    }
  }
}

Status set_once(std::string& into, std::string_view key, std::string_view value) {
  std::string_view rest = value;
  auto path = take_path(rest, false);
  if (!path || path->empty() || !into.empty()) return malformed(key, value);
  into = *std::move(path);
  return Done{};
}

Status add_option(Options& options, const std::string& option) {
  if (option.find('\0') != std::string::npos) return malformed("a NUL", "");
  const auto equals = option.find('=');
  const std::string_view key = std::string_view(option).substr(0, equals);
  const std::string_view value =
      equals == std::string::npos ? std::string_view() : std::string_view(option).substr(equals + 1);
  if (equals != std::string::npos) {
    if (key == "upperdir") return set_once(options.upper, key, value);
    if (key == "workdir") return set_once(options.work, key, value);
    if (key == "lowerdir") return add_lowers(options, value);
    if (key == "lowerdir+" || key == "datadir+") {
      if (value.empty()) return malformed(key, "empty");
      (key == "lowerdir+" ? options.lowers : options.data_only).emplace_back(value);
      return Done{};
    }
  }
  options.flags.push_back(option);
  return Done{};
}

}  // namespace

bool Options::has(std::string_view flag) const {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

Result<Options> parse_options(std::string_view raw_super_options) {
  Options options;
  for (const std::string_view raw : split(raw_super_options, ',')) {
    if (raw.empty()) continue;
    if (auto added = add_option(options, undo_octal(raw)); !added) return std::move(added).error();
    if (options.lowers.size() + options.data_only.size() > kMaxLayers) {
      return Error{Errc::limit, "overlay options: more than " + std::to_string(kMaxLayers) + " layers"};
    }
  }
  if (options.lowers.empty()) {
    return Error{Errc::unsupported, "overlay options: no lowerdir: not a mount of the kernel's overlayfs"};
  }
  return options;
}

}  // namespace ctriage::overlay
