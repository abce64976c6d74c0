#pragma once
// Names of streams and of their chunks: FORMAT.md, "Streams and chunks".
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ctriage::bundle {

constexpr std::string_view kCustody = "custody.jsonl";
constexpr std::string_view kGaps = "gaps.jsonl";
constexpr std::string_view kSummary = "SUMMARY.txt";
constexpr std::string_view kSums = "SHA256SUMS";
constexpr std::string_view kManifest = "manifest.json";
constexpr std::string_view kManifestSignature = "manifest.json.sig";
constexpr std::string_view kManifestDigest = "manifest.json.sha256";
constexpr std::string_view kZstdSuffix = ".zst";
constexpr std::string_view kJsonlSuffix = ".jsonl";
constexpr std::size_t kMaxMemberName = 255;         // what ustar holds
constexpr std::uint32_t kWholeStream = UINT32_MAX;  // index of a member that is its stream

// Relative, of [A-Za-z0-9._~%/-], no empty, "." or ".." component, at most 255 bytes.
bool is_member_name(std::string_view name);
// True for the members that end a bundle.
bool is_closing_member(std::string_view name);
// The path itself ends like a chunk, so its members are always numbered.
bool looks_numbered(std::string_view path);

struct MemberName {
  std::string_view stream;
  std::uint32_t chunk = kWholeStream;
};
// "a/b.tar.zst.00002" is chunk 2 of a/b.tar.zst. What has a number that join_member would not write is a
// whole stream.
MemberName split_member(std::string_view name);
std::string join_member(std::string_view stream, std::uint32_t chunk);

}  // namespace ctriage::bundle
