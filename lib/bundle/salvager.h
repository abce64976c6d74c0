#pragma once
// verify --salvage -o: the streams of a bundle as files of a directory, as far as they can be read.
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/root.h"
#include "lib/core/unique_fd.h"

namespace ctriage::bundle {

class Salvager {
 public:
  // `into` is empty, or what is there stays: a name that is taken ends it.
  explicit Salvager(Root into) : into_(std::move(into)) {}
  // What comes next of that stream: "a/b.tar.zst" goes to a/b.tar. Streams may come by turns.
  Status write(std::string_view stream, std::span<const std::byte> bytes);

 private:
  Status open(std::string_view stream);
  Root into_;
  std::set<std::string, std::less<>> begun_;
  std::string name_;  // of the stream whose file is open
  UniqueFd file_;
};

}  // namespace ctriage::bundle
