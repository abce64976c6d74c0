#include "lib/overlay/marks.h"

#include <algorithm>

#include "lib/core/text.h"

namespace ctriage::overlay {
namespace {

constexpr std::size_t kMaxRedirectBytes = 4'096;  // the kernel writes up to 256, OVL_REDIRECT_MAX

const std::string* find(const std::vector<Xattr>& xattrs, std::string_view prefix, std::string_view name) {
  const auto at = std::find_if(xattrs.begin(), xattrs.end(), [&](const Xattr& x) {
    return x.name.size() == prefix.size() + name.size() && x.name.starts_with(prefix) &&
           x.name.ends_with(name);
  });
  return at == xattrs.end() ? nullptr : &at->value;
}

// ovl_get_redirect_xattr(): an absolute path without empty components, or one name.
bool is_redirect(std::string_view value) {
  if (value.empty() || value.size() > kMaxRedirectBytes || value.find('\0') != std::string_view::npos)
    return false;
  if (value.front() != '/') return value.find('/') == std::string_view::npos && value != "." && value != "..";
  const auto parts = split(value.substr(1), '/');
  return std::none_of(parts.begin(), parts.end(),
                      [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

}  // namespace

bool is_bookkeeping(std::string_view name, std::string_view prefix) {
  const auto is_of = [name](std::string_view its) {
    return name.starts_with(its) && !name.substr(its.size()).starts_with("overlay.");
  };
  if (prefix != kFusePrefix) return is_of(prefix);
  return is_of(kFusePrefix) || is_of(kTrustedPrefix) || is_of(kUserPrefix) ||
         name == "security.fuseoverlayfs.override_stat" || name == "user.containers.override_stat";
}

bool is_whiteout_device(const FileInfo& info) {
  return info.is_char_device() && info.rdev_major == 0 && info.rdev_minor == 0;
}

Result<Marks> read_marks(const FileInfo& info, const std::vector<Xattr>& xattrs, std::string_view prefix) {
  Marks marks;
  marks.whiteout = is_whiteout_device(info);
  if (prefix == kFusePrefix) {  // it renames no directory of the image and copies no owner alone
    for (const std::string_view each : {kFusePrefix, kTrustedPrefix, kUserPrefix}) {
      const std::string* opaque = info.is_directory() ? find(xattrs, each, "opaque") : nullptr;
      marks.opaque = marks.opaque || (opaque != nullptr && *opaque == "y");
    }
    return marks;
  }
  if (info.is_directory()) {
    if (const std::string* opaque = find(xattrs, prefix, "opaque")) {
      // "x" says that xattr whiteouts are among the names, which each name says itself.
      if (*opaque != "y" && *opaque != "x")
        return Error{Errc::unsupported,
                     "overlay opaque=" + escape_terminal(opaque->substr(0, 16)) + " is not known"};
      marks.opaque = *opaque == "y";
    }
  } else if (info.is_regular()) {
    marks.metacopy = find(xattrs, prefix, "metacopy") != nullptr;
    marks.whiteout = info.size_bytes == 0 && find(xattrs, prefix, "whiteout") != nullptr;
  } else {
    return marks;
  }
  if (const std::string* redirect = find(xattrs, prefix, "redirect");
      redirect != nullptr && !marks.whiteout) {
    if (!info.is_directory() && !marks.metacopy) return marks;
    if (!is_redirect(*redirect)) {
      return Error{Errc::malformed, "overlay redirect to " + escape_terminal(redirect->substr(0, 256)) +
                                        ": no name and no path"};
    }
    marks.redirect = *redirect;
  }
  return marks;
}

}  // namespace ctriage::overlay
