#include "lib/image/deps.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "lib/core/hash.h"
#include "lib/core/path.h"
#include "lib/core/text.h"
#include "lib/elf/content.h"
#include "lib/image/facts.h"
#include "lib/image/loader.h"

namespace ctriage::image {
namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string environment_of(const Container& container, std::string_view name) {
  for (const Bytes& each : container.environ)
    if (each.view().starts_with(name) && each.view().substr(name.size()).starts_with('='))
      return std::string(each.view().substr(name.size() + 1));
  return {};
}

struct Looked {  // a file, once
  std::size_t index = 0;
  std::optional<elf::ElfFile> elf;
  std::string script;         // its interpreter
  std::size_t by = SIZE_MAX;  // who loaded it first, by its place in `looked_`
};

class Closure {
 public:
  Closure(Files& files, const Packages& packages, const Container& container, ImageDepsResult& into,
          Task& task)
      : files_(files),
        packages_(packages),
        library_path_(environment_of(container, "LD_LIBRARY_PATH")),
        into_(into),
        task_(task) {}

  // What is not there is told as missing.
  Status add_program(const std::string& asked, const std::string& path) {
    auto looked = look(path, asked, SIZE_MAX);
    if (!looked) return std::move(looked).error();
    return follow();
  }

  Status add_missing(const std::string& name, std::size_t by, std::string why) {
    LoadedFile file;
    file.needed_as = Bytes(name);
    if (by != SIZE_MAX) file.needed_by = into_.files[looked_[by].index].path;
    file.missing = std::move(why);
    into_.files.push_back(std::move(file));
    return Done{};
  }

  [[nodiscard]] const std::set<std::size_t>& loaded_packages() const { return loaded_; }

 private:
  // Where it is in looked_; reads and hashes it the first time. A file that is not there is missing.
  Status look(const std::string& path, const std::string& as, std::size_t by) {
    if (auto go_on = task_.check(); !go_on) return go_on;
    auto opened = files_.open(path, task_);
    if (!opened || !opened->bytes)
      return add_missing(as, by, opened ? "not a regular file" : opened.error().what);
    const std::string real = opened->entry.path.raw;
    if (!seen_.insert(real).second) return Done{};
    if (looked_.size() >= kMaxLoadedFiles)
      return Error{Errc::limit, "over " + std::to_string(kMaxLoadedFiles) + " programs and libraries"};
    LoadedFile file;
    file.path = Bytes(real);
    file.needed_as = Bytes(as);
    if (by != SIZE_MAX) file.needed_by = into_.files[looked_[by].index].path;
    Looked looked;
    looked.by = by;
    Sha256 hash;
    std::vector<std::byte> kept;
    std::vector<std::byte> block(kBlockBytes);
    for (;;) {
      auto got = opened->bytes->read(block);
      if (!got) {
        if (auto go_on = task_.check(); !go_on) return go_on;
        task_.gaps.add({Impact::lost, "image.deps", real, got.error()});
        break;
      }
      if (*got == 0) {
        file.sha256 = to_hex(hash.digest());
        break;
      }
      const auto bytes = std::span<const std::byte>(block).first(*got);
      hash.update(bytes);
      const std::size_t room = std::min(bytes.size(), kMaxElfKeptBytes - kept.size());
      kept.insert(kept.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(room));
    }
    file.size_bytes = hash.size_bytes();
    if (elf::is_elf(kept)) {
      elf::MemoryBytes memory(kept);
      auto read = elf::read_elf(memory);
      if (read) looked.elf = *std::move(read);
      if (!read) task_.gaps.add({Impact::lost, "image.deps", real, read.error()});
    } else {
      looked.script = elf::program_of_script(elf::parse_content(kept, name_of(real))).raw;
    }
    if (const auto package = packages_.find_package_of(real)) {
      loaded_.insert(*package);
      file.package = packages_.all()[*package].name;
      file.version = packages_.all()[*package].version;
    }
    looked.index = into_.files.size();
    into_.files.push_back(std::move(file));
    looked_.push_back(std::move(looked));
    todo_.push_back(looked_.size() - 1);
    return Done{};
  }

  Status follow() {
    while (!todo_.empty()) {
      const std::size_t at = todo_.front();
      todo_.pop_front();
      if (!looked_[at].script.empty()) {
        const std::string script = looked_[at].script;
        const std::string path = script.starts_with('/') ? script : find_in(script, kDefaultPath);
        auto looked = path.empty() ? add_missing(script, at, "not in the image") : look(path, script, at);
        if (!looked) return looked;
      }
      if (!looked_[at].elf) continue;
      const elf::ElfFile file = *looked_[at].elf;
      if (!file.interpreter.empty()) {
        interpreters_.emplace(name_of(file.interpreter.view()));
        if (auto looked = look(file.interpreter.raw, file.interpreter.raw, at); !looked) return looked;
      }
      for (const Bytes& needed : file.needed) {
        if (interpreters_.contains(needed.raw)) continue;  // libc needs the loader, which is there already
        const std::string path = find_library(needed.raw, at);
        auto looked = path.empty() ? add_missing(needed.raw, at, "in none of the loader's directories")
                                   : look(path, needed.raw, at);
        if (!looked) return looked;
      }
    }
    return Done{};
  }

  [[nodiscard]] bool is_there(const std::string& path) {
    const auto known = there_.find(path);
    if (known != there_.end()) return known->second;
    auto opened = files_.open(path, task_);
    const bool there = opened && opened->bytes;
    if (there_.size() < kMaxLoadedFiles * 8) there_[path] = there;
    return there;
  }

 public:
  std::string find_in(const std::string& name, std::string_view directories) {
    for (const std::string_view directory : split(directories, ':')) {
      if (!directory.starts_with('/')) continue;
      std::string path = child_of(directory, name);
      if (is_there(path)) return path;
    }
    return {};
  }

 private:
  const LoaderSettings& settings_of(std::size_t at) {
    std::size_t top = at;  // the program: its interpreter loads all
    for (std::size_t steps = 0; looked_[top].by != SIZE_MAX && steps < looked_.size(); ++steps) {
      const Looked& by = looked_[looked_[top].by];
      if (!by.elf) break;
      top = looked_[top].by;
    }
    const elf::ElfFile& program = *looked_[top].elf;
    const std::string key = program.interpreter.raw + " " + program.machine;
    const auto known = settings_.find(key);
    if (known != settings_.end()) return known->second;
    return settings_[key] =
               read_loader(files_, program.interpreter.view(), program.machine, library_path_, task_);
  }

  std::string find_library(const std::string& name, std::size_t at) {
    const std::string origin = parent_of(into_.files[looked_[at].index].path.raw);
    const std::string machine = looked_[at].elf->machine;
    if (name.find('/') != std::string::npos) return expand(name, origin, machine);
    const LoaderSettings& settings = settings_of(at);
    std::vector<std::string> directories;
    const auto add = [&](const std::vector<Bytes>& from, const std::string& where) {
      for (const Bytes& each : from) directories.push_back(expand(each.view(), where, machine));
    };
    const auto add_chain = [&](bool runpath_too) {
      for (std::size_t each = at, steps = 0; each != SIZE_MAX && steps <= looked_.size(); ++steps) {
        const Looked& of = looked_[each];
        if (!of.elf) break;
        const std::string where = parent_of(into_.files[of.index].path.raw);
        if (of.elf->runpath.empty()) add(of.elf->rpath, where);
        if (runpath_too) add(of.elf->runpath, where);
        each = of.by;
      }
    };
    const auto add_environment = [&] {
      directories.insert(directories.end(), settings.environment.begin(), settings.environment.end());
    };
    if (settings.musl) {
      add_environment();
      add_chain(true);
    } else {
      if (looked_[at].elf->runpath.empty()) add_chain(false);
      add_environment();
      add(looked_[at].elf->runpath, origin);
    }
    directories.insert(directories.end(), settings.directories.begin(), settings.directories.end());
    for (const std::string& directory : directories) {
      if (!directory.starts_with('/')) continue;
      std::string path = child_of(directory.size() > 1 && directory.ends_with('/')
                                      ? directory.substr(0, directory.size() - 1)
                                      : directory,
                                  name);
      if (is_there(path)) return path;
    }
    return {};
  }

  Files& files_;
  const Packages& packages_;
  std::string library_path_;
  ImageDepsResult& into_;
  Task& task_;
  std::vector<Looked> looked_;
  std::deque<std::size_t> todo_;
  std::set<std::string> seen_;
  std::set<std::size_t> loaded_;
  std::set<std::string> interpreters_;  // last names
  std::map<std::string, bool> there_;
  std::map<std::string, LoaderSettings> settings_;
};

Status add_all_programs(Files& files, Closure& closure, Task& task) {
  std::vector<std::string> todo{"/"};
  std::vector<std::string> programs;
  std::size_t names = 0;
  while (!todo.empty()) {
    const std::string directory = std::move(todo.back());
    todo.pop_back();
    auto listed = files.list(
        directory,
        [&](FileEntry&& entry) -> Status {
          if (++names > kMaxDepsNames)
            return Error{Errc::limit, "over " + std::to_string(kMaxDepsNames) + " names in the image"};
          if (entry.file.type == FileType::directory) todo.push_back(entry.path.raw);
          constexpr std::uint32_t kExecutable = 0111;
          const bool runs = entry.file.type == FileType::regular && (entry.file.mode & kExecutable) != 0;
          if (runs) programs.push_back(entry.path.raw);
          return Done{};
        },
        task);
    if (!listed) return listed;
  }
  std::ranges::sort(programs);
  for (const std::string& path : programs) {
    auto opened = files.open(path, task);
    if (!opened || !opened->bytes) continue;
    std::array<std::byte, 64> first{};
    const auto got = opened->bytes->read(first);
    if (!got || !elf::is_elf(std::span(first).first(*got))) continue;
    opened->bytes.reset();
    if (auto added = closure.add_program(path, path); !added) return added;
  }
  return Done{};
}

void add_packages(const Packages& packages, const std::set<std::size_t>& loaded, ImageDepsResult& into) {
  const auto& all = packages.all();
  std::map<std::string_view, std::size_t> by_name;
  for (std::size_t i = 0; i < all.size(); ++i) by_name.emplace(all[i].name, i);
  std::set<std::size_t> needed = loaded;
  std::set<std::string> not_installed;
  std::deque<std::size_t> todo(loaded.begin(), loaded.end());
  while (!todo.empty()) {
    const InstalledPackage& package = all[todo.front()];
    todo.pop_front();
    for (const auto& alternatives : parse_depends(package.manager, package.depends)) {
      std::optional<std::size_t> found;
      for (const std::string& name : alternatives) {
        const auto known = by_name.find(name);
        if (known != by_name.end()) found = known->second;
        if (!found && name.starts_with('/')) found = packages.find_package_of(name);
        if (found) break;
      }
      if (!found && !alternatives.empty()) not_installed.insert(alternatives.front());
      if (found && needed.insert(*found).second) todo.push_back(*found);
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    NeededPackage one;
    one.role = loaded.contains(i)   ? PackageRole::loaded
               : needed.contains(i) ? PackageRole::dependency
                                    : PackageRole::never_loaded;
    one.manager = all[i].manager;
    one.name = all[i].name;
    one.version = all[i].version;
    one.architecture = all[i].architecture;
    into.packages.push_back(std::move(one));
  }
  std::ranges::sort(into.packages, {},
                    [](const NeededPackage& one) { return std::tie(one.name, one.version); });
  into.not_installed.assign(not_installed.begin(), not_installed.end());
}

}  // namespace

std::vector<std::vector<std::string>> parse_depends(std::string_view manager, std::string_view text) {
  std::vector<std::vector<std::string>> all;
  const bool apk = manager == "apk";
  const bool rpm = manager == "rpm";
  for (std::string_view one : split(text, apk ? ' ' : ',')) {
    std::vector<std::string> alternatives;
    for (std::string_view name : split(one, rpm ? '\n' : '|')) {
      name = trim(name);
      const bool path = name.starts_with('/');
      // dpkg: "libc6:any (>= 2)"; apk: "name>=1", "so:libc.so", "!no"; rpm: "lib.so()(64bit)", "rpmlib(x)"
      if (name.empty() || name.starts_with('!') || name.starts_with("rpmlib(")) continue;
      if ((apk || rpm) && !path && name.find_first_of(":(") != std::string_view::npos) continue;
      if (rpm && !path && name.find(".so") != std::string_view::npos) continue;
      name = name.substr(0, name.find_first_of(path ? " \t" : " \t(<>=~:[\n"));
      if (!name.empty()) alternatives.emplace_back(name);
    }
    if (!alternatives.empty()) all.push_back(std::move(alternatives));
  }
  return all;
}

Result<ImageDepsResult> find_deps(Files& files, const Packages& packages, const Container& container,
                                  bool all, Task& task) {
  ImageDepsResult result;
  result.image = read_facts(files, packages, container, task);
  Closure closure(files, packages, container, result, task);
  if (!container.args.empty()) {
    const std::string asked = container.args.front().raw;
    std::string path = asked;
    if (asked.find('/') == std::string::npos) {
      const std::string own = environment_of(container, "PATH");
      path = closure.find_in(asked, own.empty() ? kDefaultPath : std::string_view(own));
    } else if (!asked.starts_with('/')) {
      path = child_of(container.cwd.empty() ? "/" : container.cwd.view(), asked);
    }
    auto added = path.empty() ? closure.add_missing(asked, SIZE_MAX, "in no directory of PATH")
                              : closure.add_program(asked, path);
    if (!added) return std::move(added).error();
  } else if (!all) {
    return Error{Errc::not_found, "the image says no program to start: --all looks at every ELF program"};
  }
  if (all) {
    if (auto added = add_all_programs(files, closure, task); !added) return std::move(added).error();
  }
  add_packages(packages, closure.loaded_packages(), result);
  task.gaps.add({Impact::note,
                 "image.deps",
                 container.image.raw,
                 {Errc::unsupported,
                  "what programs load by themselves (dlopen: plugins, name services) or start "
                  "cannot be known from their files"}});
  return result;
}

}  // namespace ctriage::image
