// verify --salvage: what can be read of each stream.
#include "lib/bundle/verifier.h"

namespace ctriage::bundle {

std::vector<StreamState> list_salvage(const Seen& seen, bool cut, bool good) {
  std::vector<StreamState> states;
  for (std::size_t i = 0; i < seen.ledger.streams.size(); ++i) {
    const StreamRecord& stream = seen.ledger.streams[i];
    StreamState state{stream.path, seen.readable_bytes[i], false, {}};
    const bool numbered = stream.first != kNone && seen.ledger.chunks[stream.first].index != kWholeStream;
    if (!cut) {
      state.whole = good;
      if (!state.whole) state.why = "the bundle is wrong";
    } else if (seen.readable_bytes[i] > stream.size_bytes || stream.first == kNone) {
      state.why = "cut inside";
    } else if (numbered && !seen.ended[i]) {
      state.why = "the end may be missing";
    } else {
      state.whole = true;
    }
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace ctriage::bundle
