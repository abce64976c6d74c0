#pragma once
// What `collect` tells while it runs and at its end, from what lib/collect gives it. Not a command:
// collect.cpp is.
#include <cstdint>
#include <string>
#include <vector>

#include "cmd/commands.h"
#include "lib/collect/plan.h"
#include "lib/report/collect_screen.h"

namespace ctriage {

// What collect tells goes to the screen; its gaps are kept for the JSON as well.
class ToScreen final : public collect::Progress {
 public:
  // `writes`: the line that says where to. The others outlive this.
  ToScreen(report::CollectScreen& screen, const collect::LeftOut& left_out,
           const collect::MemoryOptions& memory, std::string writes)
      : screen_(screen), left_out_(left_out), memory_(memory), writes_(std::move(writes)) {}

  void held(const source::HoldCounts& counts, const source::LiveSnapshot& snapshot, Timestamp at) override;
  void phase_ended(const collect::PhaseEnd& phase) override;
  void found(const Finding& finding) override { screen_.found(finding); }
  void changed(ChangeKind kind) override { screen_.changed(kind); }
  void gap(const Gap& gap) override;
  std::string summary_text(const collect::Summary& summary) override;
  [[nodiscard]] const std::vector<Gap>& gaps() const { return gaps_; }

 private:
  report::CollectScreen& screen_;
  const collect::LeftOut& left_out_;
  const collect::MemoryOptions& memory_;
  std::string writes_;
  std::vector<Gap> gaps_;
};

// Whole seconds that a plan takes at least, about.
std::uint64_t seconds_of(const std::vector<collect::PlanLine>& plan);
// "shop/web on node: 2 containers, 9 processes, up 3h12m".
std::string target_text(const source::LiveSnapshot& snapshot, const Source& source);
// The JSON of the end, its gaps aside.
CollectResult result_of(const std::string& path, const collect::Summary& summary,
                        const collect::LeftOut& left_out, Exit exit);
// The end of the screen; `piped`: nobody has the bundle under its name yet.
report::Closing closing_of(const CollectResult& result, const collect::Summary& summary,
                           const report::CollectScreen& screen, bool piped);
// "by plan: sockets, logs (--skip)", by option; and processes without their memory.
std::vector<std::string> left_out_lines(const collect::LeftOut& left_out, const collect::Summary& summary);
// What keeps the pod and its node from being replaced under our hands: for whoever may talk to the API.
void add_keep_lines(const source::LiveSnapshot& snapshot, const Source& source, const std::string& case_id,
                    report::Closing& closing);

}  // namespace ctriage
