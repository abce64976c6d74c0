#pragma once
// The file that grows: whole members are appended or nothing, and the room for the ending is always kept
// free. It may be encrypted on its way: lengths, hashes and marks are those of the plain tar all the same,
// limits and room those of what is stored.
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/bundle/age.h"
#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/core/unique_fd.h"

namespace ctriage::bundle {

enum class Priority : std::uint8_t {
  data,     // leaves kTailBytes
  closing,  // gaps, findings, summary: leaves kCustodyBytes
  custody,  // leaves the ending
  ending,   // SHA256SUMS, the manifest and its digest: what the room was kept for
};
constexpr std::uint64_t kTailBytes = 1 << 20;
constexpr std::uint64_t kCustodyBytes = 128 << 10;
constexpr std::uint64_t kLeastBundle = 2 << 20;  // smallest max_bytes

class PartFile {
 public:
  // NAME.ctriage.tar.part in `directory`, or NAME-2, ... Errc::full when there is no room for the ending.
  // With recipients: NAME.ctriage.tar.age.
  static Result<PartFile> create(const Root& directory, std::string_view name, std::uint64_t max_bytes,
                                 std::span<const AgeRecipient> recipients = {});

  // A pipe or a file that was given: written from where it stands, without names, room or a way back.
  static Result<PartFile> stream(UniqueFd file, std::string_view name, std::uint64_t max_bytes,
                                 std::span<const AgeRecipient> recipients = {});

  // All of it or nothing: what was written of a failed append is cut off again, but not of a stream nor of
  // what is encrypted, which end there (a chunk's nonce is used once). Errc::full, io.
  Status append(std::span<const std::byte> bytes, Priority priority);
  // What the ending will take grows by this much.
  void expect_ending(std::uint64_t more_bytes) { ending_.fetch_add(more_bytes); }
  // True when an append of this much data cannot fail for lack of room. Any thread.
  [[nodiscard]] bool surely_fits(std::uint64_t more_bytes) const;

  [[nodiscard]] std::uint64_t length() const { return length_; }        // plain bytes; any thread
  [[nodiscard]] std::uint64_t stored_bytes() const { return stored_; }  // any thread
  // SHA-256 of all bytes so far, once: hashing of the file ends with it.
  std::optional<Digest> take_digest();
  Status sync();
  // Cuts off what was allocated ahead, syncs and renames: gives the final name, which part_name() is from
  // then on, also where the last sync failed.
  Result<std::string> seal();
  [[nodiscard]] const std::string& part_name() const { return part_name_; }

  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;

 private:
  class Tail;  // where stored bytes go
  explicit PartFile(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}
  Status encrypt_to(std::span<const AgeRecipient> recipients);
  Status begin();
  [[nodiscard]] std::string file_name(unsigned copy) const;
  [[nodiscard]] bool is_taken(unsigned copy, Status& looked) const;
  [[nodiscard]] std::uint64_t stored_for(std::uint64_t plain_bytes) const;
  Status make_room(std::uint64_t plain_end);
  Status ask_file_system(std::uint64_t end);
  Status roll_back(Error error);

  std::optional<Root> directory_;  // none: a stream
  UniqueFd file_;
  std::string name_;  // as the caller gave it
  std::string part_name_;
  unsigned copy_ = 1;  // its number among those of the same name
  std::uint64_t max_bytes_;
  std::atomic<std::uint64_t> length_{0};
  std::atomic<std::uint64_t> stored_{0};  // in the file; without encryption the same
  std::atomic<std::uint64_t> ending_{0};
  std::atomic<std::uint64_t> allocated_{0};  // the file has blocks up to here
  bool allocates_ = true;                    // the file system knows fallocate(2) with FALLOC_FL_KEEP_SIZE
  bool broken_ = false;                      // the tail could not be cut off: no further byte may follow it
  std::optional<Sha256> hash_{std::in_place};
  std::optional<AgeEncryptor> encryptor_;
};

}  // namespace ctriage::bundle
