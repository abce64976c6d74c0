#pragma once
// What the tests of checkpoints share: bytes in memory, a task, and a writer of CRIU images and tars for what
// no real archive has.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/archive/bytes_at.h"
#include "lib/archive/tar_header.h"
#include "lib/source/checkpoint/source.h"

namespace ctriage::source {

class MemoryBytes final : public archive::BytesAt {
 public:
  explicit MemoryBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const std::size_t count = std::min(into.size(), bytes_.size() - static_cast<std::size_t>(offset));
    if (count > 0) std::memcpy(into.data(), bytes_.data() + offset, count);
    return count;
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return bytes_.size(); }

 private:
  std::string bytes_;
};

struct CheckpointTestTask {
  GapLog gaps;
  std::atomic<bool> stop{false};
  Task task{gaps, stop, [] { return Timestamp{1'795'289'331, 5}; }};

  [[nodiscard]] std::string told() const {
    std::string all;
    for (const Gap& gap : gaps.kept()) all += gap.artifact + " " + gap.origin + ": " + gap.error.what + "\n";
    return all;
  }
};

// "crio_tar_xz": what a test may be called.
inline std::string test_name_of(std::string archive) {
  std::ranges::replace_if(
      archive, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return archive;
}

inline Result<std::unique_ptr<CheckpointSnapshot>> open_checkpoint(std::string archive, Task& task) {
  auto store = CheckpointStore::open_tar(std::make_unique<MemoryBytes>(std::move(archive)), "test.tar", task);
  if (!store) return std::move(store).error();
  return CheckpointSnapshot::open(*std::move(store), task);
}

struct TarEntry {
  std::string name;  // any bytes, at most 100
  std::string content = "";
  char type = '0';
  std::string link = "";
  unsigned mode = 0600;
};

// A ustar archive, in the order given.
inline std::string make_tar_in_order(const std::vector<TarEntry>& entries) {
  std::string tar;
  for (const TarEntry& entry : entries) {
    const bool plain = std::ranges::all_of(entry.name, [](char c) { return c > ' ' && c <= '~'; });
    auto header =
        archive::make_tar_header(plain ? entry.name : "x", entry.content.size(), 1'795'289'331).value();
    constexpr std::size_t kMode = 100;
    constexpr std::size_t kSum = 148;
    constexpr std::size_t kType = 156;
    constexpr std::size_t kLink = 157;
    const auto octal = [&](std::size_t at, std::size_t digits, unsigned value) {
      for (std::size_t i = digits; i-- > 0; value /= 8)
        header[at + i] = static_cast<std::byte>('0' + value % 8);
    };
    if (!plain) std::memcpy(header.data(), entry.name.data(), std::min<std::size_t>(entry.name.size(), 100));
    octal(kMode, 7, entry.mode);
    header[kType] = static_cast<std::byte>(entry.type);
    std::memcpy(header.data() + kLink, entry.link.data(), std::min<std::size_t>(entry.link.size(), 100));
    std::fill_n(header.begin() + kSum, 8, std::byte{' '});
    unsigned sum = 0;
    for (const std::byte each : header) sum += std::to_integer<unsigned>(each);
    octal(kSum, 6, sum);
    header[kSum + 6] = std::byte{0};
    tar.append(reinterpret_cast<const char*>(header.data()), header.size()).append(entry.content);
    tar.append(archive::tar_padding(entry.content.size()), '\0');
  }
  return tar.append(2 * archive::kTarBlock, '\0');
}

// Of regular files; a name that ends in " -> TARGET" is a symbolic link.
inline std::string make_tar(const std::map<std::string, std::string>& files) {
  std::vector<TarEntry> entries;
  for (const auto& [name, content] : files) {
    const auto arrow = name.find(" -> ");
    entries.push_back({name.substr(0, arrow), content});
    if (arrow == std::string::npos) continue;
    entries.back().type = '2';
    entries.back().link = name.substr(arrow + 4);
  }
  return make_tar_in_order(entries);
}

inline std::string word(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

class ImageWriter {
 public:
  explicit ImageWriter(std::uint32_t magic, bool common = true)
      : bytes_(common ? word(0x54564319) + word(magic) : word(magic)) {}
  template <class Fill>
  ImageWriter& entry(const Fill& fill) {
    std::string message;
    protozero::pbf_writer out(message);
    fill(out);
    bytes_ += word(static_cast<std::uint32_t>(message.size())) + message;
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

using Out = protozero::pbf_writer;
constexpr std::uint64_t kArgAddress = 0x7000'0000;

// One process whose arguments are "made\0up\0" at the beginning of the page at kArgAddress. `pagemap` writes
// the entries of its page map.
template <class PageMap>
std::map<std::string, std::string> make_images(const std::string& dir, const PageMap& pagemap,
                                               const std::string& pages, std::uint64_t page_bytes = 4096,
                                               std::uint32_t version = 2) {
  std::map<std::string, std::string> files;
  const auto put = [&](const std::string& name, const ImageWriter& image) {
    files[dir + name] = image.bytes();
  };
  put("inventory.img", ImageWriter(0x58313116, false).entry([&](Out& out) { out.add_uint32(1, version); }));
  put("pstree.img", ImageWriter(0x50273030).entry([](Out& out) {
    out.add_uint32(1, 7);
    out.add_uint32(2, 0);
    out.add_uint32(3, 7);
    out.add_uint32(4, 7);
    out.add_uint32(5, 7);
  }));
  put("core-7.img", ImageWriter(0x55053847).entry([](Out& out) {
    out.add_uint32(1, 1);
    Out task(out, 3);
    task.add_uint32(1, 1);
    task.add_string(6, "made");
  }));
  put("ids-7.img", ImageWriter(0x54432030).entry([](Out& out) {
    out.add_uint32(1, 1);
    out.add_uint32(2, 3);
    out.add_uint32(9, 4);
  }));
  put("fdinfo-3.img", ImageWriter(0x56213732));
  put("mountpoints-4.img", ImageWriter(0x55563928));
  put("fs-7.img", ImageWriter(0x51403912).entry([](Out& out) { out.add_uint32(1, 1); }));
  put("files.img", ImageWriter(0x56303138).entry([](Out& out) {
    out.add_uint32(1, 1);
    out.add_uint32(2, 1);
    Out reg(out, 3);
    reg.add_uint32(1, 1);
    reg.add_string(6, "/usr/bin/made");
  }));
  put("mm-7.img", ImageWriter(0x57492820).entry([&](Out& out) {
    out.add_uint64(8, kArgAddress);
    out.add_uint64(9, kArgAddress + 8);
    out.add_uint32(12, 1);
    out.add_uint64(13, 6);  // AT_PAGESZ
    out.add_uint64(13, page_bytes);
    Out vma(out, 14);
    vma.add_uint64(1, kArgAddress);
    vma.add_uint64(2, kArgAddress + 16 * page_bytes);
    vma.add_uint32(5, 3);
    vma.add_uint32(6, 0x22);
    vma.add_uint32(7, 1U << 9);
  }));
  ImageWriter map(0x56084025);
  map.entry([](Out& out) { out.add_uint32(1, 1); });
  pagemap(map);
  put("pagemap-7.img", map);
  if (!pages.empty()) files[dir + "pages-1.img"] = pages;
  return files;
}

// /usr/bin/made has no name any more; ghost-file-1.img is what `image` says.
inline void add_ghost(std::map<std::string, std::string>& files, const std::string& image) {
  files["checkpoint/remap-fpath.img"] = ImageWriter(0x59133954)
                                            .entry([](Out& out) {
                                              out.add_uint32(1, 1);
                                              out.add_uint32(2, 1);
                                              out.add_uint32(3, 1);
                                            })
                                            .bytes();
  files["checkpoint/ghost-file-1.img"] = image;
}

// A part of such an image; `claims`: its size, where that is not so.
inline std::string ghost_chunk(std::uint64_t offset, const std::string& bytes,
                               std::optional<std::uint64_t> claims = {}) {
  std::string message;
  Out out(message);
  out.add_uint64(1, claims.value_or(bytes.size()));
  out.add_uint64(2, offset);
  return word(static_cast<std::uint32_t>(message.size())) + message + bytes;
}

}  // namespace ctriage::source
