#include "lib/image/loader.h"

#include <algorithm>

#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/image/deps.h"

namespace ctriage::image {
namespace {

constexpr std::size_t kMaxIncludeDepth = 4;

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

// "*.conf": one star, in the last name, is what distributions write.
bool fits(std::string_view name, std::string_view pattern) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return name == pattern;
  const std::string_view tail = pattern.substr(star + 1);
  return name.size() >= star + tail.size() && name.starts_with(pattern.substr(0, star)) &&
         name.ends_with(tail);
}

class Config {
 public:
  Config(Files& files, std::vector<std::string>& into, Task& task)
      : files_(files), into_(into), task_(task) {}

  void read(const std::string& path, std::size_t depth) {
    if (depth > kMaxIncludeDepth || ++read_ > kMaxLoaderDirectories) return;
    const auto text = read_text(files_, path, kMaxLoaderConfigBytes, task_);
    if (!text) {
      if (!text.error().is_gone()) task_.gaps.add({Impact::degraded, "image.deps", path, text.error()});
      return;
    }
    for (std::string_view line : split(*text, '\n')) {
      line = trim(line.substr(0, line.find('#')));
      if (line.starts_with("include ") || line.starts_with("include\t")) {
        include(std::string(trim(line.substr(8))), parent_of(path), depth);
      } else if (line.starts_with('/') && into_.size() < kMaxLoaderDirectories) {
        into_.emplace_back(line);
      }
    }
  }

 private:
  void include(std::string pattern, const std::string& beside, std::size_t depth) {
    if (!pattern.starts_with('/')) pattern = child_of(beside, pattern);
    const std::string directory = parent_of(pattern);
    const std::string name = pattern.substr(pattern.rfind('/') + 1);
    std::vector<std::string> found;
    (void)files_.list(
        directory,
        [&](FileEntry&& entry) -> Status {
          const std::string each(name_of(entry.path.view()));
          if (fits(each, name) && found.size() < kMaxLoaderDirectories) found.push_back(each);
          return Done{};
        },
        task_);
    std::ranges::sort(found);
    for (const std::string& each : found) read(child_of(directory, each), depth + 1);
  }

  Files& files_;
  std::vector<std::string>& into_;
  Task& task_;
  std::size_t read_ = 0;
};

// Debian's name of an architecture's directory.
std::string triplet_of(std::string_view machine) {
  if (machine == "armv7l" || machine == "arm") return "arm-linux-gnueabihf";
  if (machine == "i686" || machine == "i386") return "i386-linux-gnu";
  if (machine == "ppc64le") return "powerpc64le-linux-gnu";
  return std::string(machine) + "-linux-gnu";
}

}  // namespace

std::string expand(std::string_view directory, std::string_view origin, std::string_view machine) {
  std::string path(directory);
  for (const std::string_view name : {"${ORIGIN}", "$ORIGIN"}) replace_all(path, name, origin);
  for (const std::string_view name : {"${LIB}", "$LIB"})
    replace_all(path, name, "lib/" + triplet_of(machine));
  return path;
}

LoaderSettings read_loader(Files& files, std::string_view interpreter, std::string_view machine,
                           std::string_view library_path, Task& task) {
  LoaderSettings settings;
  for (const std::string_view directory : split(library_path, ':'))
    if (!directory.empty()) settings.environment.emplace_back(directory);
  const std::string name(name_of(interpreter));
  settings.musl = name.starts_with("ld-musl-");
  if (settings.musl) {
    const std::string path = "/etc/" + name.substr(0, name.find(".so")) + ".path";
    const auto text = read_text(files, path, kMaxLoaderConfigBytes, task);
    if (text) {
      for (const std::string_view line : split(*text, '\n'))
        for (const std::string_view directory : split(line, ':'))
          if (!directory.empty() && settings.directories.size() < kMaxLoaderDirectories)
            settings.directories.emplace_back(directory);
      return settings;
    }
    settings.directories = {"/lib", "/usr/local/lib", "/usr/lib"};
    return settings;
  }
  Config(files, settings.directories, task).read("/etc/ld.so.conf", 0);
  const std::string triplet = triplet_of(machine);
  for (const std::string& own : {"/lib/" + triplet, "/usr/lib/" + triplet, std::string("/lib64"),
                                 std::string("/usr/lib64"), std::string("/lib"), std::string("/usr/lib")})
    settings.directories.push_back(own);
  return settings;
}

}  // namespace ctriage::image
