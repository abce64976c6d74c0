// Runs a fuzz target over every file of the directories given, for builds without libFuzzer. Each input lies
// in a heap buffer of exactly its size, so that the sanitizers see a read one past its end.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  std::size_t total = 0;
  for (int i = 1; i < argc; ++i) {
    std::set<fs::path> files;  // in order of name, so that two runs are alike
    std::error_code failed;
    for (fs::recursive_directory_iterator at(argv[i], failed), end; !failed && at != end;
         at.increment(failed)) {
      if (at->is_regular_file(failed)) files.insert(at->path());
    }
    if (failed || files.empty()) {
      std::fprintf(stderr, "%s: %s\n", argv[i], failed ? failed.message().c_str() : "no input to replay");
      return 1;
    }
    for (const fs::path& path : files) {
      std::ifstream in(path, std::ios::binary);
      const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
      std::copy(bytes.begin(), bytes.end(), exact.get());
      std::fprintf(stderr, "%s\n", path.c_str());  // the last line before a crash names its input
      LLVMFuzzerTestOneInput(exact.get(), bytes.size());
      ++total;
    }
  }
  std::printf("%zu inputs replayed\n", total);
  return total > 0 ? 0 : 1;
}
