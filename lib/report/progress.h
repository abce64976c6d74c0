#pragma once
// One line on the terminal that says that work goes on: drawn at most once a second after the first second,
// wiped before anything else is written.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/core/task.h"

namespace ctriage::report {

class ProgressLine {
 public:
  using Write = std::function<void(std::string_view)>;  // to the terminal and nowhere else
  using Clock = std::function<std::int64_t()>;          // nanoseconds that never go back
  ProgressLine(Write write, Clock clock)
      : write_(std::move(write)),
        clock_(std::move(clock)),
        began_ns_(clock_()),
        next_ns_(began_ns_ + kEveryNs) {}

  void draw(const Meter& meter);  // may be called as often as one likes
  void clear();

 private:
  static constexpr std::int64_t kEveryNs = 1'000'000'000;
  Write write_;
  Clock clock_;
  std::int64_t began_ns_;
  std::int64_t next_ns_;
  bool drawn_ = false;
};

}  // namespace ctriage::report
