#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

constexpr std::array kProgramDirs{"/bin/",      "/sbin/",          "/usr/bin/",
                                  "/usr/sbin/", "/usr/local/bin/", "/busybox/"};
constexpr std::array kShells{"sh", "bash", "ash", "dash", "busybox"};
constexpr std::array kManagers{"apt-get", "dpkg", "apk",    "rpm",    "dnf", "microdnf",
                               "yum",     "tdnf", "zypper", "pacman", "opkg"};
constexpr std::array kCommonTools{"ls", "cat", "cp", "rm"};
constexpr std::size_t kMaxOsReleaseBytes = 64 << 10;

// "debian 12" of ID=debian and VERSION_ID="12", os-release(5).
Bytes distribution_of(std::string_view text) {
  std::string id;
  std::string version;
  for (const std::string_view line : split(text, '\n')) {
    const auto equals = line.find('=');
    if (equals == line.npos) continue;
    std::string_view value = trim(line.substr(equals + 1));
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\''))
      value = value.substr(1, value.size() - 2);
    if (line.substr(0, equals) == "ID") id = value;
    if (line.substr(0, equals) == "VERSION_ID") version = value;
  }
  return Bytes(version.empty() ? id : id + ' ' + version);
}

}  // namespace

std::optional<ImageFacts> find_image_facts(const Scene& scene, Task& task) {
  image::ContainerFiles files(scene.snapshot, scene.container.id);
  GapLog aside;  // a file that is looked for and is not there is no gap
  Task looking = task.with(aside);
  if (const auto top = files.open("/", looking); !top) return std::nullopt;
  bool sure = true;
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(kProgramDirs, [&](const char* directory) {
      const auto opened = files.open(std::string(directory) += name, looking);
      if (!opened && opened.error().code != Errc::not_found) sure = false;
      return opened && opened->entry.file.type == FileType::regular;
    });
  };
  ImageFacts facts;
  facts.container = scene.container.id;
  facts.name = scene.container.image;
  facts.digest = scene.container.image_digest;
  facts.shell = std::ranges::any_of(kShells, has);
  for (const char* manager : kManagers) {
    if (has(manager)) facts.package_managers.emplace_back(manager);
  }
  // What could not be looked at may be a shell.
  facts.distroless =
      sure && (!facts.shell || (facts.package_managers.empty() && std::ranges::none_of(kCommonTools, has)));
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    const auto text = image::read_text(files, path, kMaxOsReleaseBytes, looking);
    if (!text) continue;
    facts.distribution = distribution_of(*text);
    break;
  }
  return facts;
}

}  // namespace ctriage::verdict
