#pragma once
// A view that is one list, as JSON: one document, or a line for each and the gaps behind them. Streamed.
#include <functional>
#include <string_view>

#include "lib/core/task.h"
#include "lib/report/document.h"

namespace ctriage::report {

// The gaps of what was read just now: when nothing is read any more.
inline Status write_gaps(Document& document, Task& task) {
  task.gaps.finish();
  return document.many<GapRecord>("gaps", [&](const auto& take) -> Status {
    for (const Gap& gap : task.gaps.kept()) {
      if (auto done = take(record_of(gap, task.now())); !done) return done;
    }
    return Done{};
  });
}

template <class T>
using ListAll = std::function<Status(const Emit<T>&)>;

// {"schema", `name`: [...], what `behind` writes, "gaps": [...]}. An error of `list` comes back, and leaves
// the document cut.
template <class T>
Status list_as_json(std::string_view schema, std::string_view name, const ListAll<T>& list, Format format,
                    const Out& out, Task& task, const std::function<Status(Document&)>& behind = nullptr) {
  Document document(format, out);
  document.begin(schema);
  auto done =
      document.many<T>(name, [&](const auto& take) { return list([&](T&& item) { return take(item); }); });
  if (done && behind) done = behind(document);
  if (done) done = write_gaps(document, task);
  return done ? document.end() : done;
}

}  // namespace ctriage::report
