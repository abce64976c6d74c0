#pragma once
// The files of an image for tests: a directory of this machine, links followed inside it.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "lib/image/files.h"

namespace ctriage::image {

class TextSource final : public ByteSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)), in_(text_) {}
  Result<std::size_t> read(std::span<std::byte> into) override { return in_.read(into); }

 private:
  std::string text_;
  MemorySource in_;
};

class DirectoryFiles final : public Files {
 public:
  explicit DirectoryFiles(std::string top) : top_(std::move(top)) {}
  Result<OpenedFile> open(const std::string& path, Task&) override {
    const std::string real = top_ + path;
    if (!std::filesystem::is_regular_file(real)) return Error{Errc::not_found, path + ": no such file"};
    std::ifstream in(real, std::ios::binary);
    OpenedFile opened;
    opened.entry.path = Bytes(path);
    opened.bytes = std::make_unique<TextSource>(std::string(std::istreambuf_iterator<char>(in), {}));
    return opened;
  }
  Status list(const std::string& directory, const Emit<FileEntry>& emit, Task&) override {
    std::error_code failed;
    const std::filesystem::directory_iterator entries(top_ + directory, failed);
    if (failed) return Error{Errc::not_found, directory + ": " + failed.message()};
    for (const auto& one : entries) {
      FileEntry entry;
      entry.path = Bytes(directory + "/" + one.path().filename().string());
      if (one.is_symlink())
        entry.file.link_target = Bytes(std::filesystem::read_symlink(one.path()).string());
      if (auto status = emit(std::move(entry)); !status) return status;
    }
    return Done{};
  }

 private:
  std::string top_;
};

}  // namespace ctriage::image
