#include <algorithm>

#include "lib/core/cursor.h"
#include "lib/core/text.h"
#include "lib/image/readers.h"
#include "lib/runtime/sqlite.h"

namespace ctriage::image {
namespace {

constexpr std::array<const char*, 2> kDirectories{"/usr/lib/sysimage/rpm", "/var/lib/rpm"};
constexpr std::uint32_t kMaxTags = 65'536;          // of one header
constexpr std::uint32_t kMaxHeaderFiles = 200'000;  // of one package

// rpmtag.h. A header is two counts, entries of {tag, type, offset, count}, then the data, all big-endian.
enum class Tag : std::uint32_t {
  name = 1000,
  version = 1001,
  release = 1002,
  epoch = 1003,
  arch = 1022,
  file_digests = 1035,
  file_flags = 1037,
  require_name = 1049,
  dir_indexes = 1116,
  base_names = 1117,
  dir_names = 1118,
  digest_algorithm = 5011,
};
constexpr std::uint32_t kInt32 = 4;
constexpr std::uint32_t kString = 6;
constexpr std::uint32_t kStringArray = 8;
constexpr std::uint32_t kConfiguration = 1;  // RPMFILE_CONFIG
constexpr std::uint32_t kGhost = 64;         // RPMFILE_GHOST: not in the package

struct Value {
  std::uint32_t type = 0;
  std::uint32_t count = 0;
  std::string_view data;  // from where it begins to the end of all data
};

class Header {
 public:
  static Result<Header> parse(std::string_view blob) {
    Header header;
    ByteCursor in(std::as_bytes(std::span(blob.data(), blob.size())), std::endian::big);
    const std::uint32_t count = in.u32();
    const std::uint32_t data_bytes = in.u32();
    if (count > kMaxTags) return Error{Errc::limit, "rpm header: " + std::to_string(count) + " tags"};
    const std::string_view entries = in.text(std::uint64_t{count} * 16);
    const std::string_view data = in.text(data_bytes);
    if (!in.ok()) return in.error("rpm header");
    ByteCursor each(std::as_bytes(std::span(entries.data(), entries.size())), std::endian::big);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t tag = each.u32();
      const std::uint32_t type = each.u32();
      const std::uint32_t offset = each.u32();
      const std::uint32_t values = each.u32();
      if (offset <= data.size()) header.values_.push_back({tag, {type, values, data.substr(offset)}});
    }
    return header;
  }
  [[nodiscard]] const Value* find(Tag tag) const {
    for (const auto& [number, value] : values_)
      if (number == static_cast<std::uint32_t>(tag)) return &value;
    return nullptr;
  }
  [[nodiscard]] std::string text(Tag tag) const {
    const Value* value = find(tag);
    if (value == nullptr || value->type != kString) return {};
    return std::string(value->data.substr(0, value->data.find('\0')));
  }
  [[nodiscard]] std::vector<std::uint32_t> numbers(Tag tag) const {
    std::vector<std::uint32_t> all;
    const Value* value = find(tag);
    if (value == nullptr || value->type != kInt32) return all;
    ByteCursor in(std::as_bytes(std::span(value->data.data(), value->data.size())), std::endian::big);
    for (std::uint32_t i = 0; i < value->count && i < kMaxHeaderFiles && in.left() >= 4; ++i)
      all.push_back(in.u32());
    return all;
  }
  [[nodiscard]] std::vector<std::string_view> texts(Tag tag) const {
    std::vector<std::string_view> all;
    const Value* value = find(tag);
    if (value == nullptr || value->type != kStringArray) return all;
    std::string_view rest = value->data;
    for (std::uint32_t i = 0; i < value->count && i < kMaxHeaderFiles && !rest.empty(); ++i) {
      const std::size_t end = std::min(rest.find('\0'), rest.size());
      all.push_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return all;
  }

 private:
  std::vector<std::pair<std::uint32_t, Value>> values_;
};

// RFC 4880 9.4, as rpmcrypto.h has it.
Algorithm algorithm_of(const std::vector<std::uint32_t>& numbers) {
  if (numbers.empty() || numbers[0] == 1) return Algorithm::md5;
  if (numbers[0] == 2) return Algorithm::sha1;
  if (numbers[0] == 8) return Algorithm::sha256;
  if (numbers[0] == 10) return Algorithm::sha512;
  return Algorithm::none;
}

}  // namespace

Status parse_rpm_header(std::string_view blob, Packages& into) {
  const auto header = Header::parse(blob);
  if (!header) return header.error();
  InstalledPackage package;
  package.manager = "rpm";
  package.name = header->text(Tag::name);
  if (package.name.empty()) return Error{Errc::malformed, "rpm header without a name"};
  const auto epoch = header->numbers(Tag::epoch);
  if (!epoch.empty()) package.version = std::to_string(epoch[0]) + ":";
  package.version += header->text(Tag::version) + "-" + header->text(Tag::release);
  package.architecture = header->text(Tag::arch);
  std::vector<std::string_view> requires_names = header->texts(Tag::require_name);
  std::ranges::sort(requires_names);
  const auto repeated = std::ranges::unique(requires_names);
  requires_names.erase(repeated.begin(), repeated.end());
  for (const std::string_view name : requires_names) {
    if (name.starts_with("rpmlib(")) continue;
    package.depends.append(package.depends.empty() ? "" : ", ").append(name);
  }
  auto number = into.add_package(std::move(package));
  if (!number) return std::move(number).error();

  const auto names = header->texts(Tag::base_names);
  const auto directories = header->texts(Tag::dir_names);
  const auto indexes = header->numbers(Tag::dir_indexes);
  const auto digests = header->texts(Tag::file_digests);
  const auto flags = header->numbers(Tag::file_flags);
  const Algorithm algorithm = algorithm_of(header->numbers(Tag::digest_algorithm));
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i >= indexes.size() || indexes[i] >= directories.size())
      return Error{Errc::malformed, "rpm header: file names"};
    const std::uint32_t flag = i < flags.size() ? flags[i] : 0;
    const bool fixed = (flag & (kConfiguration | kGhost)) == 0;
    const std::string digest = fixed && i < digests.size() ? parse_hex(digests[i], algorithm) : std::string();
    const std::string path = std::string(directories[indexes[i]]).append(names[i]);
    if (auto added = into.add_file(path, *number, digest.empty() ? Algorithm::none : algorithm, digest);
        !added)
      return added;
  }
  return Done{};
}

Result<bool> read_rpm(Files& files, Packages& into, Task& task) {
  for (const std::string directory : kDirectories) {
    runtime::SqliteFiles database;
    const std::string path = directory + "/rpmdb.sqlite";
    auto text = read_text(files, path, runtime::kMaxSqliteBytes, task);
    if (!text && text.error().is_gone()) {
      // Before rpm 4.16, and SUSE: neither Berkeley DB nor ndb is read.
      for (const char* other : {"/Packages", "/Packages.db"}) {
        if (files.open(directory + other, task))
          return Error{Errc::unsupported, directory + other + ": not the SQLite form of rpm's database"};
      }
      continue;
    }
    if (!text) return std::move(text).error();
    database.database = *std::move(text);
    for (auto [suffix, part] : {std::pair("-journal", &database.journal), std::pair("-wal", &database.log)}) {
      auto more = read_text(files, path + suffix, runtime::kMaxSqliteBytes, task);
      if (!more && !more.error().is_gone()) return std::move(more).error();
      if (more) *part = *std::move(more);
    }
    constexpr std::array<std::string_view, 1> kColumns{"blob"};
    auto read = runtime::read_sqlite(
        database, "Packages", kColumns,
        [&](runtime::SqliteRow row) -> Status { return parse_rpm_header(row[0], into); }, task);
    if (!read) return std::move(read).error().within(path);
    return true;
  }
  return false;
}

}  // namespace ctriage::image
