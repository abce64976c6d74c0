#include <map>
#include <set>

#include "lib/core/text.h"
#include "lib/image/readers.h"

namespace ctriage::image {
namespace {

constexpr const char* kStatus = "/var/lib/dpkg/status";
constexpr const char* kStatusDirectory = "/var/lib/dpkg/status.d";
constexpr const char* kInfo = "/var/lib/dpkg/info";
constexpr const char* kDiversions = "/var/lib/dpkg/diversions";

// Where a file of a package lies instead: dpkg-divert(1). All packages but the one that diverts.
struct Diversion {
  std::string to;
  std::string by;
};
using Diversions = std::map<std::string, Diversion, std::less<>>;

class Database {
 public:
  Database(Files& files, Packages& into, Task& task) : files_(files), into_(into), task_(task) {}
  Status read_status(const std::string& path, bool status_of_all);
  Status read_diversions();
  Status read_info(const std::string& directory, bool distroless);

 private:
  Status read_list(const std::string& path, std::uint16_t package);
  Status read_sums(const std::string& path, std::uint16_t package);
  Status add(std::string_view path, std::uint16_t package, std::string_view digest);
  Result<std::unique_ptr<ByteSource>> open(const std::string& path);

  Files& files_;
  Packages& into_;
  Task& task_;
  std::map<std::string, std::uint16_t, std::less<>> numbers_;  // by "name" and "name:arch"
  Diversions diversions_;
};

Result<std::unique_ptr<ByteSource>> Database::open(const std::string& path) {
  auto file = files_.open(path, task_);
  if (!file) return std::move(file).error();
  if (!file->bytes) return Error{Errc::malformed, path + ": not a regular file"};
  return std::move(file->bytes);
}

Status Database::read_status(const std::string& path, bool status_of_all) {
  auto in = open(path);
  if (!in) return std::move(in).error();
  auto parsed = parse_dpkg_status(**in, status_of_all, [&](InstalledPackage&& package) -> Status {
    const std::string name = package.name;
    const std::string architecture = package.architecture;
    auto number = into_.add_package(std::move(package));
    if (!number) return std::move(number).error();
    numbers_.emplace(name, *number);
    numbers_.emplace(name + ":" + architecture, *number);
    // Of distroless images, by the name of the file: a name that is longer than the package's is cut there.
    if (!status_of_all) numbers_.emplace(std::string(name_of(path)), *number);
    return Done{};
  });
  if (!parsed) return std::move(parsed).error().within(path);
  return Done{};
}

Status Database::read_diversions() {
  auto in = open(kDiversions);
  if (!in) return in.error().is_gone() ? Status(Done{}) : std::move(in).error();
  LineReader lines(**in, kMaxStanzaLineBytes);
  std::string_view line;
  std::array<std::string, 3> three;
  for (std::size_t i = 0;; ++i) {
    auto more = lines.next(line);
    if (!more) return std::move(more).error().within(kDiversions);
    if (!*more) return Done{};
    three[i % 3] = line;
    if (i % 3 == 2) diversions_[three[0]] = {three[1], three[2]};
    if (diversions_.size() > kMaxDiversions) return Error{Errc::limit, "diversions of dpkg"};
  }
}

Status Database::add(std::string_view path, std::uint16_t package, std::string_view digest) {
  const auto diverted = diversions_.find(path);
  if (diverted != diversions_.end() && diverted->second.by != into_.all()[package].name)
    path = diverted->second.to;
  return into_.add_file(path, package, digest.empty() ? Algorithm::none : Algorithm::md5, digest);
}

Status Database::read_list(const std::string& path, std::uint16_t package) {
  auto in = open(path);
  if (!in) return std::move(in).error();
  LineReader lines(**in, kMaxStanzaLineBytes);
  std::string_view line;
  while (true) {
    auto more = lines.next(line);
    if (!more) return std::move(more).error().within(path);
    if (!*more) return Done{};
    if (auto added = add(line, package, {}); !added) return added;
  }
}

Status Database::read_sums(const std::string& path, std::uint16_t package) {
  auto in = open(path);
  if (!in) return std::move(in).error();
  LineReader lines(**in, kMaxStanzaLineBytes);
  std::string_view line;
  constexpr std::size_t kDigits = 32;
  while (true) {
    auto more = lines.next(line);
    if (!more) return std::move(more).error().within(path);
    if (!*more) return Done{};
    const std::string digest = parse_hex(line.substr(0, kDigits), Algorithm::md5);
    if (digest.empty() || line.size() < kDigits + 3) continue;
    std::string name(line.substr(kDigits + 2));  // two blanks, or a blank and '*'
    while (name.starts_with("./")) name.erase(0, 2);
    if (!name.starts_with('/')) name.insert(0, 1, '/');
    if (auto added = add(name, package, digest); !added) return added;
  }
}

Status Database::read_info(const std::string& directory, bool distroless) {
  std::vector<std::string> names;  // read when the listing is done: a source has one caller at a time
  auto listed = files_.list(
      directory,
      [&](FileEntry&& entry) -> Status {
        const std::string_view name = name_of(entry.path.view());
        if (!name.ends_with(".list") && !name.ends_with(".md5sums") && !distroless) return Done{};
        if (names.size() >= 2 * kMaxPackages) return Error{Errc::limit, directory + ": too many files"};
        names.emplace_back(name);
        return Done{};
      },
      task_);
  if (!listed) return std::move(listed).error();
  if (distroless) {
    for (const std::string& name : names)
      if (!name.ends_with(".md5sums"))
        if (auto read = read_status(directory + "/" + name, false); !read) return read;
  }
  for (const std::string& name : names) {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string::npos) continue;
    const auto package = numbers_.find(std::string_view(name).substr(0, dot));
    if (package == numbers_.end()) continue;  // removed, its configuration is still there
    const std::string path = directory + "/" + name;
    Status read = Done{};
    if (name.ends_with(".list")) read = read_list(path, package->second);
    if (name.ends_with(".md5sums")) read = read_sums(path, package->second);
    if (!read) return read;
  }
  return Done{};
}

}  // namespace

Status parse_dpkg_status(ByteSource& in, bool status_of_all, const Emit<InstalledPackage>& emit) {
  LineReader lines(in, kMaxStanzaLineBytes);
  InstalledPackage package;
  bool installed = !status_of_all;
  const auto end_stanza = [&]() -> Status {
    const bool whole = installed && !package.name.empty();
    InstalledPackage done = std::exchange(package, {});
    installed = !status_of_all;
    if (!whole) return Done{};
    done.manager = "dpkg";
    return emit(std::move(done));
  };
  std::string_view line;
  while (true) {
    auto more = lines.next(line);
    if (!more) {
      if (more.error().code == Errc::limit) continue;  // a description; the next line can be read
      return std::move(more).error();
    }
    if (!*more) return end_stanza();
    if (line.empty()) {
      if (auto ended = end_stanza(); !ended) return ended;
      continue;
    }
    const std::size_t colon = line.find(':');
    if (line.front() == ' ' || line.front() == '\t' || colon == std::string_view::npos) continue;
    const std::string_view field = line.substr(0, colon);
    const std::string_view value = trim(line.substr(colon + 1));
    if (field == "Package") package.name = value;
    if (field == "Version") package.version = value;
    if (field == "Architecture") package.architecture = value;
    // "want flag state": what is not there any more has config-files or not-installed.
    if (field == "Status")
      installed = value.ends_with(" installed") || value.ends_with(" unpacked") ||
                  value.ends_with(" half-configured") || value.ends_with(" triggers-pending") ||
                  value.ends_with(" triggers-awaited");
    if (field == "Depends" || field == "Pre-Depends") {
      if (!package.depends.empty()) package.depends += ", ";
      package.depends += value;
    }
  }
}

Result<bool> read_dpkg(Files& files, Packages& into, Task& task) {
  Database database(files, into, task);
  bool found = false;
  auto status = database.read_status(kStatus, true);
  if (!status && !status.error().is_gone()) return std::move(status).error();
  if (status) {
    found = true;
    if (auto read = database.read_diversions(); !read) return std::move(read).error();
    if (auto read = database.read_info(kInfo, false); !read) return std::move(read).error();
  }
  auto distroless = database.read_info(kStatusDirectory, true);
  if (!distroless && !distroless.error().is_gone()) return std::move(distroless).error();
  return found || distroless.has_value();
}

}  // namespace ctriage::image
