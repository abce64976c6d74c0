#pragma once
// Paths of the regions of a plan, each once: libraries have five mappings each.
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/memory/plan.h"

namespace ctriage::memory {

class Paths {
 public:
  explicit Paths(std::vector<std::string>& kept) : kept_(kept) { kept_.assign(1, {}); }
  // 0, the empty path, where there is no more room: kMaxPathBytes.
  std::uint32_t place(const std::string& path) {
    if (path.empty()) return 0;
    const auto found = places_.find(path);
    if (found != places_.end()) return found->second;
    if (path.size() > kMaxPathBytes - bytes_) {
      ++left_out_;
      return 0;
    }
    bytes_ += path.size();
    const auto place = static_cast<std::uint32_t>(kept_.size());
    kept_.push_back(path);
    places_.emplace(path, place);
    return place;
  }
  [[nodiscard]] std::uint64_t left_out() const { return left_out_; }

 private:
  std::vector<std::string>& kept_;
  std::unordered_map<std::string, std::uint32_t> places_;
  std::size_t bytes_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace ctriage::memory
