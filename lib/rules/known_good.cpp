#include "lib/rules/known_good.h"

#include <algorithm>
#include <utility>

#include "lib/core/text.h"

namespace ctriage::rules {

KnownGood::KnownGood(std::vector<Digest> digests) : digests_(std::move(digests)) {
  std::ranges::sort(digests_);
  digests_.erase(std::unique(digests_.begin(), digests_.end()), digests_.end());
}

bool KnownGood::has(const Digest& digest) const { return std::ranges::binary_search(digests_, digest); }

Result<KnownGood> read_known_good(ByteSource& in) {
  constexpr std::size_t kDigits = 64;
  LineReader lines(in, kMaxKnownGoodLine);
  std::vector<Digest> digests;
  std::string_view line;
  for (std::uint64_t number = 1;; ++number) {
    auto more = lines.next(line);
    const std::string where = "line " + std::to_string(number);
    if (!more) return std::move(more).error().within(where);
    if (!*more) return KnownGood(std::move(digests));
    line = trim(line);
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('\\')) line.remove_prefix(1);  // a name with a line end, sha256sum(1)
    std::string digits(line.substr(0, kDigits));
    for (char& c : digits) {
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    }
    Digest digest{};
    const bool alone = line.size() == digits.size() || line[kDigits] == ' ' || line[kDigits] == '\t';
    if (!alone || !parse_digest(digits, digest))
      return Error{Errc::malformed, where + ": not a SHA-256 of 64 hexadecimal digits"};
    if (digests.size() == kMaxKnownGood) return Error{Errc::limit, where + ": too many digests"};
    digests.push_back(digest);
  }
}

}  // namespace ctriage::rules
