#pragma once
// Memory as a digest per page, for who compares it with another's.
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/compare/project.h"
#include "lib/model/pages.h"

namespace ctriage::compare {

constexpr std::size_t kComparedPageBytes = 4'096;  // whatever the page of the machine is
constexpr std::size_t kMaxRunPages = 2'048;        // of one run that is handed on

struct PageArea {               // a mapping of a process
  std::uint32_t container = 0;  // its place in the request
  std::int32_t pid = 0;         // as the container sees it
  std::uint64_t start = 0;
  std::string protection;
  std::string path;
  auto operator<=>(const PageArea&) const = default;
};

struct PageRun {
  PageArea area;
  std::uint64_t address = 0;
  std::vector<std::uint64_t> digests;  // of that page and those behind it
  [[nodiscard]] std::uint64_t end() const { return address + digests.size() * kComparedPageBytes; }
};

struct PagesRequest {
  std::vector<std::string> containers;
  std::int32_t pid = 0;  // as the container sees it, 0: all
  std::string salt;      // begins every page that is hashed: nobody can have made two alike beforehand
};

// What a source's memory is handed to.
class PageDigester final : public MemoryVisitor {
 public:
  PageDigester(const PagesRequest& request, Projector& projector, std::vector<Bounds> bounds,
               const Emit<PageRun>& emit, Task& task);
  Status enter(MemoryArea&& area) override;
  std::span<std::byte> room() override { return buffer_; }
  Status filled(std::uint64_t address, std::size_t count) override;
  Status finish();  // after the last

 private:
  Status end_page();
  Status flush();
  [[nodiscard]] std::uint64_t mapping_start(std::uint64_t address) const;

  const PagesRequest& request_;
  Projector& projector_;
  std::vector<Bounds> bounds_;
  const Emit<PageRun>& emit_;
  Task& task_;
  std::vector<std::byte> buffer_;
  std::array<std::byte, kComparedPageBytes> page_{};
  std::size_t in_page_ = 0;
  std::uint64_t page_address_ = 0;
  bool wanted_ = false;
  std::int32_t source_pid_ = 0;
  std::uint64_t moved_ = 0;  // what is added to addresses of the area
  PageRun run_;
};

}  // namespace ctriage::compare
