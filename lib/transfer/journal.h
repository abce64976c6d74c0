#pragma once
// NAME.sent.jsonl beside a bundle: what is known to be at which place, so that a second run sends only the
// rest. One line an item (sent_item, lib/model/SCHEMA.md), on the disk before the next is sent; a torn last
// line and lines of another bundle count for nothing. Never a secret: places have none.
#include <map>
#include <span>
#include <string>
#include <utility>

#include "lib/core/root.h"
#include "lib/core/unique_fd.h"
#include "lib/model/transfer.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

class Journal {
 public:
  // Made where it is missing, and locked: Errc::changed while another export of the bundle runs.
  static Result<Journal> open(const Root& directory, const std::string& name, const std::string& bundle_id);

  // What is known of the item there, or null.
  [[nodiscard]] const SentItem* find(const std::string& place, const std::string& name) const;
  // A volume that is known to be there under a name or with a size that none of `volumes` has: it was begun
  // with another size of volumes.
  [[nodiscard]] const SentItem* find_other(const std::string& place, const std::string& bundle,
                                           std::span<const Item> volumes) const;
  Status add(SentItem item);

 private:
  Journal(UniqueFd file, std::string name, std::string bundle_id)
      : file_(std::move(file)), name_(std::move(name)), bundle_id_(std::move(bundle_id)) {}
  void read_line(std::string_view line);
  UniqueFd file_;
  std::string name_;
  std::string bundle_id_;
  std::map<std::pair<std::string, std::string>, SentItem> items_;  // by place and name
};

}  // namespace ctriage::transfer
