#pragma once
// Reads a bolt database without its lock, which its owner holds for life, and without mapping it: page by
// page with pread(2). go.etcd.io/bbolt, page.go, bucket.go, db.go; all integers little-endian on what we run
// on:
//
//   file   = page*                       of one size, which the meta pages tell
//   page   = id u64, flags u16, count u16, overflow u32, then the rest of 1 + overflow pages
//   flags  = 1 branch | 2 leaf | 4 meta | 16 free list
//   meta   = magic 0xED0CDAED u32, version 2 u32, page size u32, flags u32, root bucket {page u64, sequence
//   u64},
//            free list u64, high water u64, transaction u64, FNV-1a-64 of the 56 bytes before u64
//            pages 0 and 1; the valid one with the higher transaction counts
//   branch = {pos u32, key size u32, page u64}*                  pos from the element's own beginning
//   leaf   = {flags u32, pos u32, key size u32, value size u32}* flags 1: the value is a bucket
//   bucket = page u64, sequence u64; with page 0 the bucket's only page follows, "inline"
//
// A writer copies pages before it changes them, but may reuse those that a transaction freed as soon as the
// next one begins. So what was read counts only if the transaction is the same at the end: is_unchanged().
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/result.h"

namespace ctriage::runtime {

class Bolt {
 public:
  // As pread(2): how many bytes there were.
  using ReadAt = std::function<Result<std::size_t>(std::span<std::byte> into, std::uint64_t offset)>;
  struct Bucket {
    std::uint64_t page = 0;   // 0: inline
    std::string inline_page;  // the bytes of that
  };

  // Errc::malformed where neither meta page is valid.
  static Result<Bolt> open(ReadAt read);

  [[nodiscard]] const Bucket& root() const { return root_; }
  [[nodiscard]] std::uint64_t transaction() const { return transaction_; }

  struct Entry {
    std::string_view key;
    std::string_view value;  // empty for a bucket
    std::optional<Bucket> bucket;
  };
  using Take = std::function<Status(const Entry&)>;  // an error ends the walk and is passed on
  // All entries in order of the keys. Errc::malformed, truncated, limit; loops end by depth and by the number
  // of pages that one database may cost.
  Status list(const Bucket& bucket, const Take& take);
  // Nothing: no such key, or it is of the other kind.
  Result<std::optional<Bucket>> find_bucket(const Bucket& in, std::string_view name);
  Result<std::optional<std::string>> find_value(const Bucket& in, std::string_view name);

  // What lies in leaf pages, also in those that no bucket leads to any more: a page that is freed keeps its
  // bytes until it is used again. Page by page; what does not look like a leaf is passed over. Unverified by
  // nature.
  using TakePage = std::function<Status(std::span<const Entry>)>;
  Status scan(const TakePage& take);

  // Errc::mismatch when a transaction was committed since open().
  [[nodiscard]] Status is_unchanged() const;

 private:
  struct Meta {
    std::uint32_t page_size = 0;
    std::uint64_t root = 0;
    std::uint64_t high_water = 0;
    std::uint64_t transaction = 0;
  };
  explicit Bolt(ReadAt read) : read_(std::move(read)) {}
  [[nodiscard]] Result<Meta> read_meta() const;
  Result<std::string> read_page(std::uint64_t id);
  Status walk(std::string_view page, std::size_t depth, const Take& take);

  ReadAt read_;
  Bucket root_;
  std::uint32_t page_size_ = 0;
  std::uint64_t high_water_ = 0;
  std::uint64_t transaction_ = 0;
  std::uint64_t bytes_read_ = 0;
};

}  // namespace ctriage::runtime
