#pragma once
// A source in a process of its own, and who asks it: two of them are compared, and neither is in the sandbox
// of the other, nor are clones of layers forbidden to the second when the first is open.
//
// Who asks sends a letter and what it is about; the answer comes in messages, each of a letter, and after
// each message that is not the last the asker says whether to go on. What the other process says has been
// made from what an attacker wrote: everything is bounded.
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/compare/page_digest.h"
#include "lib/compare/project.h"
#include "lib/core/child.h"

namespace ctriage::compare {

constexpr std::size_t kBatchBytes = 128 << 10;  // of things that are sent at once
constexpr std::size_t kMaxMessageBytes = 4 << 20;
constexpr std::size_t kMaxContainers = 1'024;  // of one source

// Answers until the other end is gone. Where the source could not be opened that is the answer.
Status serve(Result<std::unique_ptr<Snapshot>>& opened, Channel& asker, const std::atomic<bool>& stop,
             Task& task);

struct ServedContainer {
  std::string id;
  std::string name;
  std::string pod;  // "shop/web-7d9f", or empty
  std::string image;
  bool sandbox = false;
  std::uint64_t init_start_ticks = 0;
  Item item;
};

struct ServedSource {
  Source source;
  std::vector<ServedContainer> containers;
  std::array<Coverage, enum_names(Facet{}).size()> coverage;  // by Facet
};

// Who asks.
class Side {
 public:
  Side(std::string name, Channel& channel, const std::atomic<bool>& stop)
      : name_(std::move(name)), channel_(channel), stop_(stop) {}
  [[nodiscard]] const std::string& name() const { return name_; }  // "A"

  Result<ServedSource> describe();
  // One list at a time: asked for, then taken to its end or given up.
  Status begin_list(const ListRequest& request);
  // Nothing at the end.
  Result<std::optional<Item>> next();
  Status begin_pages(const PagesRequest& request);
  Result<std::optional<PageRun>> next_pages();
  Status give_up();  // what is left of the list or of the pages
  // Why the last list was not whole, where it was not.
  [[nodiscard]] const std::optional<Error>& cut() const { return cut_; }
  // What was recorded in the source as missing, and what could not be read now.
  Status take_gaps(GapLog& gaps);

 private:
  Status ask(std::string message);
  // The next message; nothing after the last.
  Result<bool> receive();
  Error nonsense() const;

  std::string name_;
  Channel& channel_;
  const std::atomic<bool>& stop_;
  std::string message_;
  std::size_t at_ = 0;  // of the message
  bool asked_ = false;
  std::optional<Error> cut_;
  std::optional<PageArea> area_;  // that the next run of pages lies in
};

}  // namespace ctriage::compare
