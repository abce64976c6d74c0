// System calls that make us another program.
#include "lib/core/sys_program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "lib/core/sys_attempt.h"

namespace ctriage::sys {
namespace {

// execve(2) changes none of the texts; its type is older than const.
std::vector<char*> pointers_to(std::span<const std::string> texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<UniqueFd> nameless_file(std::string_view name) {
  const std::string shown(name);
  UniqueFd file(attempt(Call::open, [&] { return ::memfd_create(shown.c_str(), MFD_CLOEXEC); }));
  if (!file) return failed("memfd_create", name);
  if (attempt(Call::open, [&] { return ::fchmod(file.get(), S_IRUSR | S_IWUSR); }) < 0)
    return failed("chmod", name);
  return file;
}

Status keep_over_exec(int fd) {
  return done_or(attempt(Call::duplicate, [&] { return ::fcntl(fd, F_SETFD, 0); }), "keep",
                 std::to_string(fd));
}

Error become(int program, std::span<const std::string> words, std::span<const std::string> environment) {
  const std::vector<char*> arguments = pointers_to(words);
  const std::vector<char*> variables = pointers_to(environment);
  (void)attempt(Call::process,
                [&] { return ::execveat(program, "", arguments.data(), variables.data(), AT_EMPTY_PATH); });
  return failed("execute", words.empty() ? std::string_view("a program") : std::string_view(words.front()));
}

}  // namespace ctriage::sys
