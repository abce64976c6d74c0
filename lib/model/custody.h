#pragma once
// What was done with the evidence while a bundle was made.
#include <string>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

struct CustodyAction {  // one record of custody.jsonl, without its chain
  Timestamp at;
  Bytes action;
  Bytes phase;

  template <class Self, class V>
  static void fields(Self& self, V& v) {
    v("at", self.at, "when, by the clock of the node");
    v("action", self.action, "begin, phase, held, ...");
    v("phase", self.phase, "of action phase: which one ended");
  }
};

}  // namespace ctriage
