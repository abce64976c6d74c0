#pragma once
// `collect` of several targets: a supervisor that forks one process for each, because what a process gives up
// when its target is open (clones of layers) it gives up for good. The first few hold at the same time, each
// its own; they are taken one after the other, so that memory is that of one collect.
#include "cmd/collect_one.h"
#include "lib/source/several.h"

namespace ctriage {

struct ManyTargets {
  const CollectArguments& arguments;
  const Wanted& wanted;
  const Common& common;
};
// `gaps`: of finding the targets. --plan, too.
Exit collect_many(const ManyTargets& many, const source::Targets& targets, const GapLog& gaps, Io& io);

}  // namespace ctriage
