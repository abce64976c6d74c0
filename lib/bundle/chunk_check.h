#pragma once
// verify of one member that is a chunk: its stream, its place in it, its bytes.
#include <optional>
#include <vector>

#include "lib/bundle/verifier.h"

namespace ctriage::bundle {

class ChunkCheck {
 public:
  ChunkCheck(Input& in, Seen& seen, CustodyChain& custody, Problems& problems, const VerifyOptions& options)
      : in_(in), seen_(seen), custody_(custody), problems_(problems), options_(options) {}
  // Reads the content to its end and notes it in `seen`. At a cut content.cut() is true. Errc::limit; what is
  // wrong with the chunk is a problem and no error.
  Status check(const archive::TarHeader& header, Content& content, CustodyChain::Here here);

 private:
  // Where the content's original bytes go as they are read.
  struct Passing {
    std::string_view stream;
    Sha256* hash = nullptr;  // of the stream, where that is more than this chunk
  };
  Status pass(const Passing& passing, std::span<const std::byte> original);
  // What the content is once read.
  struct Original {
    std::uint64_t size_bytes = 0;
    Digest digest{};  // of a zstd chunk whose stream has no hash of its own
  };
  Result<std::uint32_t> stream_of(const std::string& member, const MemberName& name);
  void check_place(const std::string& member, const MemberName& name, std::uint32_t id);
  Status check_size(const archive::TarHeader& header, const StreamRecord& stream, std::uint64_t original);
  Status check_plain(Content& content, const Passing& passing, Original& original);
  Status check_frame(const std::string& member, Content& content, const Passing& passing, Original& original);

  Input& in_;
  Seen& seen_;
  CustodyChain& custody_;
  Problems& problems_;
  const VerifyOptions& options_;
  std::optional<FrameDecoder> decoder_;
  std::vector<std::byte> piece_;
};

}  // namespace ctriage::bundle
