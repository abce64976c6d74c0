#include "lib/archive/tar_index.h"

#include <algorithm>

#include "lib/archive/tar_header.h"
#include "lib/core/limits.h"
#include "lib/core/text.h"

namespace ctriage::archive {
namespace {

// What extended headers say of the member behind them.
struct Extended {
  std::optional<std::string> name;
  std::optional<std::string> link;
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<Timestamp> mtime;
  std::optional<std::uint64_t> real_size_bytes;
  bool sparse = false;
};

Error at(std::uint64_t offset, Errc code, std::string_view what) {
  return {code, "tar at byte " + std::to_string(offset) + ": " + std::string(what)};
}

// "1700000000.123456789": seconds, then at most nine digits that count.
std::optional<Timestamp> parse_pax_time(std::string_view text) {
  const auto dot = text.find('.');
  const auto seconds = parse_number<std::int64_t>(text.substr(0, dot));
  if (!seconds) return std::nullopt;
  Timestamp time{*seconds, 0};
  std::uint32_t unit = 100'000'000;
  for (std::size_t i = dot; i != std::string_view::npos && ++i < text.size() && unit > 0; unit /= 10) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    time.nanoseconds += static_cast<std::uint32_t>(text[i] - '0') * unit;
  }
  return time;
}

// pax(1), "pax Extended Header": records of "LENGTH KEY=VALUE\n", the length that of the whole record.
bool read_pax(std::string_view records, Extended& into) {
  while (!records.empty()) {
    const auto blank = records.find(' ');
    if (blank == std::string_view::npos) return false;
    const auto size = parse_number<std::size_t>(records.substr(0, blank));
    if (!size || *size <= blank + 1 || *size > records.size() || records[*size - 1] != '\n') return false;
    const std::string_view record = records.substr(blank + 1, *size - blank - 2);
    records.remove_prefix(*size);
    const auto equals = record.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") into.name = std::string(value);
    if (key == "linkpath") into.link = std::string(value);
    if (key == "uid") into.uid = parse_number<std::uint32_t>(value);
    if (key == "gid") into.gid = parse_number<std::uint32_t>(value);
    if (key == "mtime") into.mtime = parse_pax_time(value);
    if (key == "size") {
      into.size_bytes = parse_number<std::uint64_t>(value);
      if (!into.size_bytes) return false;
    }
    if (key.starts_with("GNU.sparse.")) into.sparse = true;
    if (key == "GNU.sparse.name") into.name = std::string(value);  // `path` is one that tar made up
    if (key == "GNU.sparse.realsize" || key == "GNU.sparse.size")
      into.real_size_bytes = parse_number<std::uint64_t>(value);
  }
  return true;
}

constexpr std::size_t kShownNameBytes = 60;

class Indexer {
 public:
  Indexer(BytesAt& tar, const Emit<TarMember>& emit, const Task& task)
      : tar_(tar), emit_(emit), task_(task) {}

  Status run() {
    TarBlock block{};
    for (;;) {
      if (auto go_on = task_.check(); !go_on) return go_on;
      auto got = tar_.read_at(offset_, block);
      if (!got) return std::move(got).error();
      if (*got < kTarBlock) return at(offset_, Errc::truncated, "ends without its last blocks");
      auto parsed = parse_tar_header(block);
      if (!parsed) return at(offset_, parsed.error().code, parsed.error().what);
      if (!*parsed) return Done{};
      if (++members_ > kMaxArchiveMembers)
        return at(offset_, Errc::limit, "over " + std::to_string(kMaxArchiveMembers) + " members");
      if (auto seen = see(*std::move(*parsed)); !seen) return seen;
    }
  }

 private:
  // Behind the header and, of a sparse file, the rest of its map.
  Result<std::uint64_t> content_of(const TarHeader& header) {
    std::uint64_t content = offset_ + kTarBlock;
    TarBlock map{};
    constexpr std::size_t kMore = 504;  // tar(5): isextended of a block of the map
    for (bool more = header.map_goes_on; more; content += kTarBlock) {
      if (auto go_on = task_.check(); !go_on) return std::move(go_on).error();
      auto got = tar_.read_at(content, map);
      if (!got) return std::move(got).error();
      if (*got < kTarBlock) return at(offset_, Errc::truncated, "ends inside a map of holes");
      more = map[kMore] != std::byte{0};
    }
    return content;
  }

  Status see(TarHeader&& header) {
    const auto begin = content_of(header);
    if (!begin) return begin.error();
    const std::uint64_t content = *begin;
    switch (header.type) {
      case 'x':
      case 'L':
      case 'K':
        return extend(header, content);
      case 'g':  // of all that follow: nothing we ask
        return pass(content, header.size_bytes);
      default:
        break;
    }
    TarMember member;
    member.name = extended_.name ? *std::move(extended_.name) : std::move(header.name);
    member.link = extended_.link ? *std::move(extended_.link) : std::move(header.link);
    member.offset = content;
    member.size_bytes = extended_.size_bytes.value_or(header.size_bytes);
    member.mtime = extended_.mtime.value_or(Timestamp{header.mtime_seconds, 0});
    member.mode = header.mode;
    member.uid = extended_.uid.value_or(header.uid);
    member.gid = extended_.gid.value_or(header.gid);
    member.type = header.type == '7' ? '0' : header.type;  // contiguous: a regular file
    member.sparse = extended_.sparse || header.type == 'S';
    member.real_size_bytes = !member.sparse       ? member.size_bytes
                             : header.type == 'S' ? header.real_size_bytes
                                                  : extended_.real_size_bytes.value_or(member.size_bytes);
    extended_ = {};
    // Links, devices and directories have no content, whatever their size says.
    const bool has_content = member.type == '0' || member.type == 'S';
    if (!has_content) member.size_bytes = 0;
    const std::uint64_t size = member.size_bytes;
    if (member.name.size() > kMaxMemberNameBytes || member.link.size() > kMaxMemberNameBytes) {
      // It is left out, and what follows is not.
      task_.gaps.add({Impact::lost, "archive.member", member.name.substr(0, kShownNameBytes) + "...",
                      Error{Errc::limit, "at byte " + std::to_string(offset_) + ": a name over " +
                                             std::to_string(kMaxMemberNameBytes) + " bytes"}});
      return pass(content, size);
    }
    if (auto taken = emit_(std::move(member)); !taken) return taken;
    return pass(content, size);
  }

  Status extend(const TarHeader& header, std::uint64_t content) {
    if (header.size_bytes > kMaxPaxHeaderBytes)
      return at(offset_, Errc::limit,
                "an extended header over " + std::to_string(kMaxPaxHeaderBytes) + " bytes");
    std::string text(static_cast<std::size_t>(header.size_bytes), '\0');
    auto got = tar_.read_at(content, std::as_writable_bytes(std::span(text)));
    if (!got) return std::move(got).error();
    if (*got < text.size()) return at(offset_, Errc::truncated, "ends inside an extended header");
    if (header.type == 'x') {
      if (!read_pax(text, extended_)) return at(offset_, Errc::malformed, "an extended header that is none");
    } else {
      auto& name = header.type == 'L' ? extended_.name : extended_.link;
      name = text.substr(0, text.find('\0'));
    }
    return pass(content, header.size_bytes);
  }

  // Sizes are hostile: no sum may wrap, and none may lead behind the end.
  Status pass(std::uint64_t content, std::uint64_t size) {
    const std::uint64_t padded = size + tar_padding(size);
    if (padded < size || content + padded < content)
      return at(offset_, Errc::malformed, "a member larger than any file");
    if (const auto end = tar_.size_bytes(); end && size > 0 && content + size > *end)
      return at(offset_, Errc::truncated, "ends inside a member");
    offset_ = content + padded;
    return Done{};
  }

  BytesAt& tar_;
  const Emit<TarMember>& emit_;
  const Task& task_;
  std::uint64_t offset_ = 0;
  std::uint64_t members_ = 0;
  Extended extended_;
};

}  // namespace

Status index_tar(BytesAt& tar, const Emit<TarMember>& emit, const Task& task) {
  return Indexer(tar, emit, task).run();
}

}  // namespace ctriage::archive
