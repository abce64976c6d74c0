#pragma once
// Writes bolt databases as lib/runtime/bolt.h has the format, for tests.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace ctriage::runtime::bolt_writer {

constexpr std::size_t kPage = 1024;

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

template <class T>
void poke(std::string& in, std::size_t at, T value) {
  std::string bytes;
  put(bytes, value);
  in.replace(at, bytes.size(), bytes);
}

struct Leaf {
  std::string key;
  std::string value;
  bool bucket = false;
};

inline std::string header(std::uint64_t id, std::uint16_t flags, std::size_t count,
                          std::uint32_t overflow = 0) {
  std::string out;
  put(out, id);
  put(out, flags);
  put(out, static_cast<std::uint16_t>(count));
  put(out, overflow);
  return out;
}

inline std::string leaf(std::uint64_t id, const std::vector<Leaf>& entries, std::uint32_t overflow = 0) {
  std::string out = header(id, 2, entries.size(), overflow);
  std::string tail;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    put(out, std::uint32_t{entries[i].bucket});
    put(out, static_cast<std::uint32_t>((entries.size() - i) * 16 + tail.size()));
    put(out, static_cast<std::uint32_t>(entries[i].key.size()));
    put(out, static_cast<std::uint32_t>(entries[i].value.size()));
    tail += entries[i].key + entries[i].value;
  }
  return out + tail;
}

inline std::string branch(std::uint64_t id, const std::vector<std::uint64_t>& children) {
  std::string out = header(id, 1, children.size());
  for (std::size_t i = 0; i < children.size(); ++i) {
    put(out, std::uint32_t{0});
    put(out, std::uint32_t{0});
    put(out, children[i]);
  }
  return out;
}

inline std::string bucket(std::uint64_t page, const std::string& inline_page = "") {
  std::string out;
  put(out, page);
  put(out, std::uint64_t{0});
  return out + inline_page;
}

inline std::string meta(std::uint64_t id, std::uint64_t root, std::uint64_t high_water,
                        std::uint64_t transaction) {
  std::string body;
  for (const std::uint32_t word : {0xED0CDAEDU, 2U, static_cast<std::uint32_t>(kPage), 0U}) put(body, word);
  for (const std::uint64_t word : {root, std::uint64_t{0}, std::uint64_t{2}, high_water, transaction})
    put(body, word);
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : body) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  put(body, hash);
  return header(id, 4, 0) + body;
}

inline std::string file(const std::vector<std::string>& pages) {
  std::string out;
  for (std::string page : pages) {
    page.resize(std::max<std::size_t>(1, (page.size() + kPage - 1) / kPage) * kPage);
    out += page;
  }
  return out;
}

}  // namespace ctriage::runtime::bolt_writer
