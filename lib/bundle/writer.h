#pragma once
// Writes a bundle: a canonical tar that grows as NAME.ctriage.tar.part and is renamed when sealed. Format:
// FORMAT.md here.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lib/bundle/age.h"
#include "lib/bundle/outcome.h"
#include "lib/bundle/sshsig.h"
#include "lib/core/hash.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"
#include "lib/core/unique_fd.h"

namespace ctriage::bundle {

enum class Encoding : std::uint8_t {
  plain,  // stored as it is; P or P.00000, P.00001, ...
  zstd,   // each chunk one zstd frame; the path given must end in ".zst"
  jsonl,  // stored as it is in chunks of at most kJsonChunkBytes that close at the end of each phase
};

struct WriterOptions {
  Timestamp started_at;  // mtime of every member, so that verify can re-create each header
  unsigned workers = 2;  // compressing threads; 0: all in the caller's thread
  // zstd: 1.6 times as fast as level 1, and 13 % larger (/usr/bin): on the node time is what is short.
  int level = -1;
  std::uint64_t max_bytes = UINT64_MAX;  // the whole file, ending included; at least 2 MiB
  std::string tool = "ctriage";          // name and version, for the manifest
  std::vector<AgeRecipient> recipients;  // none: not encrypted
  std::shared_ptr<Signer> signer;        // none: not signed. Asked once, at the end
};

struct Sealed {
  std::string path;              // final name, relative to the directory
  std::uint64_t size_bytes = 0;  // of the file
  Digest manifest_digest{};      // of manifest.json: names every byte of the file
  std::string custody_why;       // why custody.jsonl is not whole; empty: it is
  std::string late_why;          // a stream failed after its finish(); empty: none did
  std::string unsigned_why;      // why there is no signature though there is a signer
};

// One stream. Not finished when destroyed: the manifest says partial, "not finished".
class Stream : public ByteSink {
 public:
  // Errc::full when the disk or max_bytes has no room left (the ending always has), Errc::io otherwise; also
  // for what was taken by an earlier call and failed in a worker. The stream then ends where its last chunk
  // in the file does. Errc::stopped and timeout by the task, but not for gaps, custody, findings and
  // SUMMARY.txt: those belong to the end.
  Status write(std::span<const std::byte> bytes) override = 0;
  Status write_hashed(std::span<const std::byte> bytes, const std::shared_ptr<LateSha256>& hash) override = 0;
  // jsonl: the line and its '\n', in one chunk (over kChunkBytes: in several). Errc::limit over
  // kMaxJsonLineBytes.
  Status write_line(std::string_view json);
  virtual Status finish(Outcome outcome, std::string_view why) = 0;
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
};

// A member of a custody record.
using Detail = std::pair<std::string, std::variant<std::string, std::uint64_t>>;

// One caller at a time, for the writer and all its streams; the task stays with the caller for as long.
class Writer {
 public:
  // Creates NAME.ctriage.tar.part or, encrypted, NAME.ctriage.tar.age.part (O_EXCL, 0600) in `directory`;
  // NAME-2, NAME-3, ... when NAME is taken as either. Starts the worker threads: fork before.
  static Result<std::unique_ptr<Writer>> create(const Root& directory, std::string_view name,
                                                const WriterOptions& options, const Task& task);
  // The same bundle to a pipe, from its first byte to its last.
  static Result<std::unique_ptr<Writer>> stream(UniqueFd out, std::string_view name,
                                                const WriterOptions& options, const Task& task);
  virtual ~Writer() = default;

  // `path` is ASCII as member_name makes it, joined by '/'; it ends in ".zst" exactly for Encoding::zstd and
  // in ".jsonl" exactly for jsonl (Errc::malformed, limit). custody.jsonl is the writer's own; gaps.jsonl
  // closes next to last. `source` says where the bytes are from, for the manifest. A path that is taken is
  // Errc::malformed, too: names come from evidence.
  virtual Result<std::unique_ptr<Stream>> open(std::string path, Encoding encoding, std::string source) = 0;
  // A whole member at once.
  virtual Status add(std::string path, std::string_view bytes, std::string source) = 0;
  // For the manifest: planned, and why it is not there.
  virtual void not_collected(std::string path, std::string source, std::string why) = 0;

  // One hash-chained record in custody.jsonl: what we did. Values are our own text or evidence, or numbers,
  // whose unit is in the key. The writer's own are "begin" (the first), "phase" and "seal" (the last).
  virtual Status record(std::string_view action, const std::vector<Detail>& details) = 0;

  // Closes all jsonl chunks, waits for the workers, records the phase in custody.jsonl and syncs the file.
  // Gives the length of the file up to there and, the first time, the SHA-256 of those bytes; later times the
  // SHA-256 of the SHA256SUMS lines of the members up to there (FORMAT.md, "custody.jsonl"). An error of a
  // finished stream that no call has told comes first; the phase can then be ended by calling again.
  struct Mark {
    std::uint64_t length_bytes = 0;
    Digest digest{};
  };
  virtual Result<Mark> end_phase(std::string_view phase) = 0;

  // Writes SHA256SUMS, manifest.json, its signature, manifest.json.sha256, the end of the tar, syncs and
  // renames. Also after Errc::full: the room for it was reserved. Nothing can be written afterwards.
  virtual Result<Sealed> seal() = 0;

  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  [[nodiscard]] virtual const std::string& part_name() const = 0;
};

// Parts of member and bundle names: [A-Za-z0-9._-] as they are, the rest %XX; "." and ".." and a leading dot
// escaped; over 80 bytes: the first 60, "~" and 16 digits of the SHA-256 of the whole. The dot of ".zst" or
// ".jsonl" at the end is escaped too: those endings say how a stream is stored. No text gives "%".
std::string member_name(std::string_view text);

}  // namespace ctriage::bundle
