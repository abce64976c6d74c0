#include "lib/core/text.h"
#include "lib/image/readers.h"

namespace ctriage::image {
namespace {

// lib/ is where apk 2 has it; Alpine 3.23 merges /usr.
constexpr std::array<const char*, 2> kInstalled{"/lib/apk/db/installed", "/usr/lib/apk/db/installed"};

}  // namespace

// apk-tools' database.c, apk_db_fdb_read(): a package's own lines, then F and below it R with Z.
Status parse_apk_installed(ByteSource& in, Packages& into) {
  LineReader lines(in, kMaxStanzaLineBytes);
  InstalledPackage package;
  std::optional<std::uint16_t> number;  // given when its files begin, or its stanza ends
  std::string directory;
  std::string file;
  const auto take_package = [&]() -> Status {
    if (number || package.name.empty()) return Done{};
    package.manager = "apk";
    auto added = into.add_package(std::move(package));
    package = {};
    if (!added) return std::move(added).error();
    number = *added;
    return Done{};
  };
  const auto take_file = [&](Algorithm algorithm, std::string_view digest) -> Status {
    if (file.empty() || !number) return Done{};
    const std::string path = directory.empty() ? file : directory + "/" + file;
    file.clear();
    return into.add_file(path, *number, algorithm, digest);
  };
  std::string_view line;
  while (true) {
    auto more = lines.next(line);
    if (!more) return std::move(more).error();
    const bool ended = !*more || line.empty();
    const char key = !ended && line.size() > 1 && line[1] == ':' ? line[0] : '\0';
    const std::string_view value = key == '\0' ? std::string_view() : line.substr(2);
    if (key == 'P') package.name = value;
    if (key == 'V') package.version = value;
    if (key == 'A') package.architecture = value;
    if (key == 'D') package.depends = value;
    if (ended || key == 'F' || key == 'R') {
      if (auto taken = take_package(); !taken) return taken;
      if (auto taken = take_file(Algorithm::none, {}); !taken) return taken;  // the one before had no Z
    }
    if (key == 'F') {
      directory = value;
      if (number && !directory.empty())
        if (auto added = into.add_file(directory, *number, Algorithm::none, {}); !added) return added;
    }
    if (key == 'R') file = value;
    if (key == 'Z' && value.size() > 2) {
      const auto digest = from_base64(value.substr(2));
      const Algorithm algorithm = value.starts_with("Q1")   ? Algorithm::sha1
                                  : value.starts_with("Q2") ? Algorithm::sha256
                                                            : Algorithm::none;
      if (auto taken = take_file(algorithm, digest.value_or("")); !taken) return taken;
    }
    if (ended) {
      package = {};
      number.reset();
      directory.clear();
    }
    if (!*more) return Done{};
  }
}

Result<bool> read_apk(Files& files, Packages& into, Task& task) {
  for (const char* path : kInstalled) {
    auto file = files.open(path, task);
    if (!file && file.error().is_gone()) continue;
    if (!file) return std::move(file).error();
    if (!file->bytes) return Error{Errc::malformed, std::string(path) + ": not a regular file"};
    if (auto parsed = parse_apk_installed(*file->bytes, into); !parsed)
      return std::move(parsed).error().within(path);
    return true;
  }
  return false;
}

}  // namespace ctriage::image
