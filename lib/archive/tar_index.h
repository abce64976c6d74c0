#pragma once
// The members of a tar by their headers; contents are passed over. ustar, GNU tar's long names, pax(1)
// extended headers.
#include <cstdint>
#include <functional>
#include <string>

#include "lib/archive/bytes_at.h"
#include "lib/core/values.h"

namespace ctriage::archive {

struct TarMember {
  std::string name;  // as it is stored, any bytes
  std::string link;
  std::uint64_t offset = 0;  // of its content
  std::uint64_t size_bytes = 0;
  std::uint64_t real_size_bytes = 0;  // with its holes, where it is sparse; else size_bytes
  Timestamp mtime;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  char type = '0';      // as in the header; regular files are '0'
  bool sparse = false;  // what is stored is not the content: GNU tar's maps of holes
};

// In the order of the tar. `emit` may read contents. Errc::truncated where the tar ends inside a member
// (which was given) or without its two blocks of zeros, malformed, limit.
Status index_tar(BytesAt& tar, const Emit<TarMember>& emit, const Task& task);

}  // namespace ctriage::archive
