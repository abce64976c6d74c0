#pragma once
// What the relay's process does. Not for other modules.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/new_file.h"
#include "lib/core/told_pipe.h"
#include "lib/transfer/courier.h"
#include "lib/transfer/parts.h"
#include "lib/transfer/relay.h"

namespace ctriage::transfer {

class RelayWork {
 public:
  RelayWork(const RelayOptions& options, sys::Handler on_stop, UniqueFd pipe, Channel& parent)
      : options_(options), on_stop_(on_stop), parent_(parent), pipe_(std::move(pipe), parent) {}
  int run();

 private:
  struct Courier {
    std::unique_ptr<Child> child;  // none: given up
    ExportDestination told;
    bool busy = false;          // a parcel is with it, or its destination is asked for
    bool greeted = false;       // it has its destination
    std::int64_t since_ns = 0;  // busy
    std::size_t next = 0;       // of parcels_: the first that is not acknowledged
  };
  static constexpr std::size_t kSlots = 2;

  void start_couriers();
  // Looks at what the couriers say without waiting, or until one says something, and gives them what comes
  // next.
  void pump(std::int64_t wait_ns);
  void hear(Courier& courier);
  void give_up(Courier& courier, std::string why);
  void give_next(Courier& courier);
  [[nodiscard]] bool any_left() const;

  Status cut();
  // One volume; false at the end of the bundle.
  Result<bool> fill(std::span<std::byte> into, std::size_t& filled);
  [[nodiscard]] bool is_free(std::size_t slot) const;
  void add(Note note);
  // `manifest`: none when the bundle was not sealed.
  void send_end(const std::optional<Digest>& manifest);

  // The volume lies in the spill directory afterwards. False where it has no room.
  bool spill(Parcel& parcel, std::span<const std::byte> bytes);
  void drop_spilled();

  [[nodiscard]] std::string report() const;

  const RelayOptions& options_;
  sys::Handler on_stop_;
  Channel& parent_;
  ToldPipe pipe_;
  std::array<std::span<std::byte>, kSlots> slots_;
  std::vector<Courier> couriers_;
  std::array<std::optional<std::size_t>, kSlots> holds_;  // which of parcels_ lies there
  std::vector<Parcel> parcels_;  // all so far; small, and the COMPLETE marker names them
  std::size_t dropped_ = 0;      // of parcels_: no spilled file before that is still wanted
  std::string name_;
  std::uint64_t spill_left_bytes_ = 0;
  std::string spill_why_;
  std::optional<std::byte> ahead_;  // of the next volume: the one before it was not the last
  std::uint32_t volumes_ = 0;
  const std::atomic<bool> never_{false};
};

}  // namespace ctriage::transfer
