#pragma once
// A destination that is a folder of files: what each protocol has to do for it, and what they do alike.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "lib/core/hash.h"
#include "lib/transfer/destination.h"

namespace ctriage::transfer {

// Of a file that lies there and is not ours, or no file: `how` it differs.
Refusal not_replaced(const std::string& place, const std::string& name, const std::string& how);

class Folder : public Destination {
 public:
  Answer<Done> put(const Item& item, const Task& task) final;
  Answer<Proof> prove(const Item& item, Proof wanted, const Task& task) final;

 protected:
  // None: there is no such file.
  virtual Answer<std::optional<std::uint64_t>> size_of(const std::string& name, const Task& task) = 0;
  // All of the item under `name`, over what lies there.
  virtual Answer<Done> upload(const Item& item, const std::string& name, const Task& task) = 0;
  // From NAME.part; what lies under `to` was looked for just before.
  virtual Answer<Done> rename(const std::string& from, const std::string& to, const Task& task) = 0;
  // Of a file that is that large: what has more bytes is refused once that is seen.
  virtual Answer<std::optional<Digest>> reread(const std::string& name, std::uint64_t size_bytes,
                                               const Task& task) = 0;
  // Whether `name`, as large as the item, has its bytes; reread() unless there is a cheaper way.
  virtual Answer<bool> is_same(const std::string& name, const Item& item, const Task& task);
  // None: it cannot do that. The same of reread(): `size` is then all that can be proved.
  virtual Answer<std::optional<Digest>> server_digest(const std::string& name, const Task& task);
  // False: what it takes is under its name at once or not at all, and there is no renaming.
  [[nodiscard]] virtual bool renames() const { return true; }

 private:
  Answer<bool> has(const Item& item, const Task& task);
};

}  // namespace ctriage::transfer
