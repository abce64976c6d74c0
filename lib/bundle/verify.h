#pragma once
// Checks a bundle in one pass: every header is re-created, every chunk and stream hashed, the manifest,
// SHA256SUMS and the custody chain compared, so that no byte of the file is uncovered.
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/bundle/age.h"
#include "lib/bundle/sshsig.h"
#include "lib/core/hash.h"
#include "lib/core/stream.h"
#include "lib/core/task.h"

namespace ctriage::bundle {

enum class Verdict : std::uint8_t {
  whole,  // exit 0
  wrong,  // exit 1: a byte differs from what was sealed, or it is not a bundle
  cut,    // exit 3: ends early; all that is there is as it was written, as far as that can be known
};

struct StreamState {  // one line of what is not whole, or of verify --salvage
  std::string name;
  std::uint64_t size_bytes = 0;  // original bytes readable
  bool whole = false;
  std::string why;
};

struct Report {
  Verdict verdict = Verdict::wrong;
  std::vector<std::string> problems;  // each names the member and what is wrong; bounded
  std::uint64_t problem_count = 0;
  std::uint64_t members = 0;
  std::uint64_t streams = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t custody_records = 0;
  std::vector<StreamState> not_whole;  // what the writer could not end, by the manifest; bounded
  std::optional<Digest> manifest_digest;
  std::string signed_by;   // fingerprint of the key whose signature fits; empty: not signed
  std::string signer;      // who that is, by `signers`
  bool encrypted = false;  // read through age
  std::string last_phase;  // a cut bundle: the last phase whose end custody.jsonl vouches for
  std::vector<StreamState> salvage;
};

struct VerifyOptions {
  std::optional<Digest> digest;                  // --digest HEX, what manifest.json must hash to
  const AllowedSigners* signers = nullptr;       // --signers: by one of them it must be signed
  std::span<const AgeIdentity> identities = {};  // --identity
  // Gets the original bytes of every stream, in order, before it is known whether they are as they were. An
  // error of it ends the verifying.
  std::function<Status(std::string_view stream, std::span<const std::byte> bytes)> originals = {};
};
// A bundle, or an encrypted one: its first bytes say which. What is encrypted is a plain bundle inside: a
// file that ends early is cut, a changed chunk wrong. Errc::denied when it is encrypted and no identity fits;
// the message then says to how many.
Result<Report> verify(ByteSource& file, const VerifyOptions& options, Task& task);
Result<Report> verify(ByteSource& file, const std::optional<Digest>& expected, Task& task);

}  // namespace ctriage::bundle
