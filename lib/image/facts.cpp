#include "lib/image/facts.h"

#include <array>
#include <span>

#include "lib/core/text.h"

namespace ctriage::image {
namespace {

constexpr std::size_t kMaxOsReleaseBytes = 64 << 10;
constexpr std::array<const char*, 5> kDirectories{"/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/",
                                                  "/usr/local/bin/"};
constexpr std::array<const char*, 9> kShells{"sh",  "bash", "dash", "ash",    "zsh",
                                             "ksh", "mksh", "fish", "busybox"};
constexpr std::array<const char*, 13> kManagers{"apt",    "apt-get",  "dpkg",        "apk",  "rpm",
                                                "dnf",    "microdnf", "yum",         "tdnf", "zypper",
                                                "pacman", "opkg",     "xbps-install"};
constexpr std::array<const char*, 6> kTools{"ls", "cat", "cp", "chmod", "toybox", "coreutils"};

// Is there a program of that name?
class Looker {
 public:
  Looker(Files& files, Task& task) : files_(files), task_(task) {}
  bool has(const std::string& name) {
    for (const char* directory : kDirectories) {
      const auto found = files_.open(directory + name, task_);
      if (found && found->bytes) return true;
      if (!found && !found.error().is_gone()) tell(directory + name, found.error());
    }
    return false;
  }
  bool has_any(std::span<const char* const> names) {
    for (const char* name : names)
      if (has(name)) return true;
    return false;
  }

 private:
  void tell(const std::string& path, const Error& error) {
    if (told_) return;  // the next would be the same
    told_ = true;
    task_.gaps.add({Impact::degraded, "image.facts", path, error});
  }
  Files& files_;
  Task& task_;
  bool told_ = false;
};

// os-release(5): NAME=value, perhaps in quotes.
std::string value_of(std::string_view text, std::string_view name) {
  for (std::string_view line : split(text, '\n')) {
    line = trim(line);
    if (!line.starts_with(name) || line.substr(name.size(), 1) != "=") continue;
    std::string_view value = line.substr(name.size() + 1);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front())
      value = value.substr(1, value.size() - 2);
    return std::string(value);
  }
  return {};
}

}  // namespace

ImageFacts read_facts(Files& files, const Packages& packages, Task& task) {
  ImageFacts facts;
  Looker looker(files, task);
  facts.shell = looker.has_any(kShells);
  for (const char* manager : kManagers)
    if (looker.has(manager)) facts.package_managers.emplace_back(manager);
  facts.distroless = !facts.shell || (facts.package_managers.empty() && !looker.has_any(kTools));
  facts.package_database = packages.manager();
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    const auto text = read_text(files, path, kMaxOsReleaseBytes, task);
    if (!text) continue;
    const std::string id = value_of(*text, "ID");
    const std::string version = value_of(*text, "VERSION_ID");
    facts.distribution = Bytes(version.empty() ? id : id + " " + version);
    break;
  }
  return facts;
}

ImageFacts read_facts(Files& files, const Packages& packages, const Container& container, Task& task) {
  ImageFacts facts = read_facts(files, packages, task);
  facts.container = container.id;
  facts.name = container.image;
  facts.digest = container.image_digest.empty() ? container.image_id : container.image_digest;
  return facts;
}

}  // namespace ctriage::image
