#include "lib/runtime/bolt.h"

#include <array>
#include <utility>
#include <vector>

#include "lib/core/cursor.h"

namespace ctriage::runtime {
namespace {

constexpr std::uint32_t kMagic = 0xED0CDAED;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint16_t kBranch = 1;
constexpr std::uint16_t kLeaf = 2;
constexpr std::uint16_t kMeta = 4;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kElementBytes = 16;
constexpr std::size_t kMetaBytes = 64;
constexpr std::size_t kSummedBytes = 56;
constexpr std::uint32_t kLeastPageBytes = 512;  // what bolt tries, too, where page 0 does not say
constexpr std::uint32_t kMostPageBytes = 64 << 10;
constexpr std::uint64_t kMostRunBytes = 32 << 20;  // a page with all its overflow: one large value
constexpr std::uint64_t kMostReadBytes = 1 << 30;  // of one database: a page that is its own child ends here
constexpr std::uint64_t kMostScanned = 1 << 16;    // pages
constexpr std::size_t kMostDepth = 32;             // of branches; 2 keys in each would be 4 billion leaves

Error malformed(std::string what) { return {Errc::malformed, "bolt: " + std::move(what)}; }

std::uint64_t fnv1a(std::span<const std::byte> bytes) {
  std::uint64_t hash = 14695981039346656037U;
  for (const std::byte byte : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 1099511628211U;
  return hash;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Page {
  std::uint16_t flags = 0;
  std::uint16_t count = 0;
};

Result<Page> parse_header(std::string_view page, std::uint64_t id, bool is_inline) {
  ByteCursor in(bytes_of(page));
  const std::uint64_t own = in.u64();
  Page header;
  header.flags = in.u16();
  header.count = in.u16();
  (void)in.u32();
  if (!in.ok()) return in.error("bolt page");
  if (!is_inline && own != id) {
    return malformed("page " + std::to_string(id) + " says it is page " + std::to_string(own));
  }
  if (header.flags != kBranch && header.flags != kLeaf) {
    return malformed("page " + std::to_string(id) + " is neither branch nor leaf");
  }
  if (page.size() < kHeaderBytes + header.count * kElementBytes) {
    return malformed("page " + std::to_string(id) + " has room for less than its " +
                     std::to_string(header.count) + " elements");
  }
  return header;
}

// A run of bytes of a page, from the place `begin` of an element. Never past its end.
Result<std::string_view> part(std::string_view page, std::uint64_t begin, std::uint64_t size) {
  if (begin > page.size() || size > page.size() - begin) return malformed("an element leads out of its page");
  return page.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
}

// value of a bucket: page, sequence, maybe the page itself
Result<Bolt::Bucket> parse_bucket(std::string_view value) {
  ByteCursor in(bytes_of(value));
  Bolt::Bucket bucket;
  bucket.page = in.u64();
  (void)in.u64();
  if (!in.ok()) return in.error("bolt bucket");
  if (bucket.page == 0) bucket.inline_page = std::string(value.substr(kHeaderBytes));
  return bucket;
}

}  // namespace

Result<Bolt::Meta> Bolt::read_meta() const {
  std::optional<Meta> best;
  for (std::uint32_t offset = 0; offset <= kMostPageBytes;
       offset = offset == 0 ? kLeastPageBytes : offset * 2) {
    std::array<std::byte, kHeaderBytes + kMetaBytes> bytes{};
    const auto got = read_(bytes, offset);
    if (!got) return Error(got.error()).within("bolt meta page");
    if (*got < bytes.size()) continue;
    ByteCursor in(bytes);
    (void)in.u64();
    const std::uint16_t flags = in.u16();
    (void)in.u16();
    (void)in.u32();
    Meta meta;
    const std::uint32_t magic = in.u32();
    const std::uint32_t version = in.u32();
    meta.page_size = in.u32();
    (void)in.u32();
    meta.root = in.u64();
    (void)in.u64();
    (void)in.u64();
    meta.high_water = in.u64();
    meta.transaction = in.u64();
    const std::uint64_t sum = in.u64();
    const auto summed = std::span(bytes).subspan(kHeaderBytes, kSummedBytes);
    if (flags != kMeta || magic != kMagic || version != kVersion || sum != fnv1a(summed)) continue;
    const std::uint32_t size = meta.page_size;
    if (size < kLeastPageBytes || size > kMostPageBytes || (size & (size - 1)) != 0) continue;
    if (offset != 0 && offset != size) continue;  // page 1 lies one page behind page 0
    if (!best || meta.transaction > best->transaction) best = meta;
  }
  if (!best) return malformed("no valid meta page");
  return *best;
}

Result<Bolt> Bolt::open(ReadAt read) {
  Bolt bolt(std::move(read));
  const auto meta = bolt.read_meta();
  if (!meta) return meta.error();
  bolt.page_size_ = meta->page_size;
  bolt.high_water_ = meta->high_water;
  bolt.transaction_ = meta->transaction;
  bolt.root_.page = meta->root;
  if (meta->root < 2) return malformed("its root is a meta page");
  return bolt;
}

Status Bolt::is_unchanged() const {
  const auto meta = read_meta();
  if (!meta) return meta.error();
  if (meta->transaction != transaction_) return Error{Errc::mismatch, "bolt: was written to while we read"};
  return Done{};
}

Result<std::string> Bolt::read_page(std::uint64_t id) {
  if (id < 2 || id >= high_water_) return malformed("page " + std::to_string(id) + " is none of its pages");
  std::string page(page_size_, '\0');
  const auto fill = [&](std::size_t from) -> Status {
    bytes_read_ += page.size() - from;
    if (bytes_read_ > kMostReadBytes) {
      return Error{Errc::limit, "bolt: more than 1 GiB of pages: it has loops, or is too large for us"};
    }
    const auto got = read_(std::as_writable_bytes(std::span(page)).subspan(from), id * page_size_ + from);
    if (!got) return Error(got.error()).within("bolt page " + std::to_string(id));
    if (*got < page.size() - from)
      return Error{Errc::truncated, "bolt: page " + std::to_string(id) + " is cut"};
    return Done{};
  };
  if (id > UINT64_MAX / page_size_ - 1) return malformed("page " + std::to_string(id) + " is out of range");
  if (auto filled = fill(0); !filled) return std::move(filled).error();
  ByteCursor in(bytes_of(page));
  (void)in.take(kHeaderBytes - sizeof(std::uint32_t));
  const std::uint64_t overflow = in.u32();
  if (overflow == 0) return page;
  if (overflow >= high_water_ - id) return malformed("page " + std::to_string(id) + " overflows the file");
  if ((overflow + 1) * page_size_ > kMostRunBytes) {
    return Error{Errc::limit, "bolt: page " + std::to_string(id) + " is larger than 32 MiB"};
  }
  page.resize(static_cast<std::size_t>((overflow + 1) * page_size_));
  if (auto filled = fill(page_size_); !filled) return std::move(filled).error();
  return page;
}

Status Bolt::walk(std::string_view page, std::size_t depth, const Take& take) {
  ByteCursor in(bytes_of(page));
  const std::uint64_t id = in.u64();
  const auto header = parse_header(page, id, true);
  if (!header) return header.error();
  (void)in.take(kHeaderBytes - sizeof(std::uint64_t));
  for (std::size_t i = 0; i < header->count; ++i) {
    const std::uint64_t own = kHeaderBytes + i * kElementBytes;
    if (header->flags == kBranch) {
      (void)in.u32();
      (void)in.u32();
      const std::uint64_t child = in.u64();
      if (depth >= kMostDepth) return Error{Errc::limit, "bolt: more than 32 levels of pages: a loop"};
      const auto below = read_page(child);
      if (!below) return below.error();
      if (const auto checked = parse_header(*below, child, false); !checked) return checked.error();
      if (auto walked = walk(*below, depth + 1, take); !walked) return walked;
      continue;
    }
    const bool is_bucket = (in.u32() & 1U) != 0;
    const std::uint64_t pos = in.u32();
    const std::uint64_t key_size = in.u32();
    const std::uint64_t value_size = in.u32();
    const auto key = part(page, own + pos, key_size);
    if (!key) return key.error();
    const auto value = part(page, own + pos + key_size, value_size);
    if (!value) return value.error();
    Entry entry{*key, is_bucket ? std::string_view{} : *value, {}};
    if (is_bucket) {
      // A page inside the value is copied for each bucket that shows it.
      bytes_read_ += value->size();
      if (bytes_read_ > kMostReadBytes)
        return Error{Errc::limit, "bolt: more pages than a database of ours has"};
      auto bucket = parse_bucket(*value);
      if (!bucket) return std::move(bucket).error();
      entry.bucket = *std::move(bucket);
    }
    if (auto taken = take(entry); !taken) return taken;
  }
  return Done{};
}

Status Bolt::scan(const TakePage& take) {
  for (std::uint64_t id = 2; id < high_water_ && id < kMostScanned; ++id) {
    std::array<std::byte, kHeaderBytes> bytes{};
    const auto got = read_(bytes, id * page_size_);
    if (!got) return Error(got.error()).within("bolt page " + std::to_string(id));
    if (*got < bytes.size()) return Done{};  // the end of the file
    ByteCursor in(bytes);
    if (in.u64() != id || in.u16() != kLeaf || in.u16() == 0) continue;
    const auto page = read_page(id);
    if (!page && page.error().code == Errc::limit && bytes_read_ > kMostReadBytes) return page.error();
    if (!page) continue;
    std::vector<Entry> entries;
    const Status walked = walk(*page, 0, [&](const Entry& entry) -> Status {
      entries.push_back(entry);
      return Done{};
    });
    if (!walked) continue;
    if (auto taken = take(entries); !taken) return taken;
  }
  return Done{};
}

Status Bolt::list(const Bucket& bucket, const Take& take) {
  if (bucket.page == 0) {
    const auto header = parse_header(bucket.inline_page, 0, true);
    if (!header) return header.error();
    if (header->flags != kLeaf) return malformed("an inline page is no leaf");
    return walk(bucket.inline_page, 0, take);
  }
  const auto page = read_page(bucket.page);
  if (!page) return page.error();
  if (const auto header = parse_header(*page, bucket.page, false); !header) return header.error();
  return walk(*page, 0, take);
}

Result<std::optional<Bolt::Bucket>> Bolt::find_bucket(const Bucket& in, std::string_view name) {
  std::optional<Bucket> found;
  const Status listed = list(in, [&](const Entry& entry) -> Status {
    if (entry.key == name && entry.bucket) found = entry.bucket;
    return Done{};
  });
  if (!listed) return listed.error();
  return found;
}

Result<std::optional<std::string>> Bolt::find_value(const Bucket& in, std::string_view name) {
  std::optional<std::string> found;
  const Status listed = list(in, [&](const Entry& entry) -> Status {
    if (entry.key == name && !entry.bucket) found = std::string(entry.value);
    return Done{};
  });
  if (!listed) return listed.error();
  return found;
}

}  // namespace ctriage::runtime
