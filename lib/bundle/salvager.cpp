#include "lib/bundle/salvager.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <cerrno>

#include "lib/bundle/names.h"
#include "lib/core/sys.h"

namespace ctriage::bundle {

Status Salvager::write(std::string_view stream, std::span<const std::byte> bytes) {
  if (stream != name_ || !file_) {
    if (auto opened = open(stream); !opened) return opened;
  }
  return sys::write_all(file_.get(), bytes, name_);
}

Status Salvager::open(std::string_view stream) {
  file_.reset();
  name_ = stream;
  std::string_view path = stream;
  if (path.ends_with(kZstdSuffix)) path.remove_suffix(kZstdSuffix.size());
  // Names of members climb nowhere and are no links, names.h; what lies in the directory already may be one.
  constexpr std::uint64_t kResolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const bool begun = begun_.contains(stream);
  if (!begun) {
    auto folder = into_.duplicate();
    if (!folder) return std::move(folder).error();
    std::string_view rest = path;
    for (std::size_t slash = rest.find('/'); slash != std::string_view::npos; slash = rest.find('/')) {
      const std::string_view part = rest.substr(0, slash);
      if (auto made = sys::mkdirat(folder->fd(), part, 0700); !made && made.error().number != EEXIST)
        return made;
      auto below = folder->descend(part);
      if (!below) return std::move(below).error();
      folder = std::move(below);
      rest.remove_prefix(slash + 1);
    }
  }
  auto file = sys::openat2(into_.fd(), path, O_WRONLY | (begun ? O_APPEND : O_CREAT | O_EXCL), kResolve,
                           begun ? 0 : 0600);
  if (!file) return std::move(file).error().within("salvage");
  file_ = *std::move(file);
  begun_.emplace(stream);
  return Done{};
}

}  // namespace ctriage::bundle
