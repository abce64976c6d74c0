// The supervisor's side; the reader's is in tracer.cpp.
#include "lib/proc/registers.h"

#include <algorithm>

#include "lib/core/cursor.h"
#include "lib/core/sys.h"
#include "lib/proc/detail.h"
#include "lib/proc/reader_protocol.h"
#include "lib/proc/tracer.h"

namespace ctriage::proc {

class RegisterReader {
 public:
  RegisterReader(Readers& readers, std::int32_t pid, const TakeRegisters& take, const Task& task)
      : readers_(readers),
        pid_(pid),
        name_("registers of " + std::to_string(pid)),
        take_(take),
        task_(task) {}

  // `first` is the number of the first of them. How long they stood.
  Result<std::int64_t> read(std::span<const std::int32_t> tids, std::size_t first) {
    std::string request(1, kRegisters);
    append_integer(request, static_cast<std::uint32_t>(pid_), 4);
    for (const std::int32_t tid : tids) append_integer(request, static_cast<std::uint32_t>(tid), 4);
    if (auto sent = readers_.send_request(request, name_, task_); !sent) return std::move(sent).error();
    const auto answer = readers_.receive_answer(kBytes, name_, task_);
    if (!answer) return answer.error();
    ByteCursor in(std::as_bytes(std::span(answer->data(), answer->size())));
    must_end_ = in.u8() != 0;
    const auto stood_ns = static_cast<std::int64_t>(in.u64());
    for (std::size_t i = 0; i < tids.size(); ++i) {
      const auto number = static_cast<int>(in.u32());
      const std::array<std::uint64_t, 3> sizes{in.u32(), in.u32(), in.u32()};
      if (!in.ok() || sizes[0] + sizes[1] + sizes[2] > kRoomOfThread)
        return Error{Errc::malformed, name_ + ": the helper process answered nonsense"};
      take_(first + i, number != 0 ? Result<ThreadRegisters>(why(tids[i], number)) : sets(i, sizes));
    }
    if (must_end_) readers_.drop_reader();  // it has ended
    return stood_ns;
  }

  [[nodiscard]] bool must_end() const { return must_end_; }

 private:
  static Error why(std::int32_t tid, int number) {
    return name_capability(system_error(number, "stop thread " + std::to_string(tid)));
  }

  [[nodiscard]] ThreadRegisters sets(std::size_t number, const std::array<std::uint64_t, 3>& sizes) const {
    const std::string_view all = to_text(readers_.shared().subspan(number * kRoomOfThread, kRoomOfThread));
    return {all.substr(0, sizes[0]), all.substr(sizes[0], sizes[1]),
            all.substr(sizes[0] + sizes[1], sizes[2])};
  }

  Readers& readers_;
  std::int32_t pid_;
  std::string name_;
  const TakeRegisters& take_;
  const Task& task_;
  bool must_end_ = false;
};

Result<std::int64_t> read_registers(Readers& readers, std::int32_t pid, std::span<const std::int32_t> tids,
                                    const TakeRegisters& take, const Task& task) {
  if (pid == sys::own_pid())
    return Error{Errc::unsupported, "pid " + std::to_string(pid) + " is ctriage itself"};
  RegisterReader reader(readers, pid, take, task);
  std::int64_t stood_ns = 0;
  for (std::size_t first = 0; first < tids.size(); first += kThreadsAtATime) {
    const auto some = tids.subspan(first, std::min(kThreadsAtATime, tids.size() - first));
    const auto took_ns = reader.read(some, first);
    if (!took_ns) return took_ns.error();
    stood_ns += *took_ns;
    if (!reader.must_end()) continue;
    // What holds one up holds up the others, too.
    const Error error{Errc::timeout, "not stopped: another thread of it could not be"};
    for (std::size_t left = first + some.size(); left < tids.size(); ++left) take(left, error);
    break;
  }
  return stood_ns;
}

}  // namespace ctriage::proc
