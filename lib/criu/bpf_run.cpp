// What a seccomp filter answers: the program is run for each number of a call, and wherever a value is not
// known (arguments, the instruction pointer) both ways are gone.
#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "lib/criu/bpf.h"
#include "lib/criu/criu.h"
#include "lib/criu/seccomp.h"
#include "lib/criu/syscalls.h"

namespace ctriage::criu {
namespace {

using namespace bpf;
constexpr std::size_t kMaxWays = 16'384;     // that one call leaves open
using Value = std::optional<std::uint32_t>;  // nothing: it may be any

struct Call {
  Value number;
  std::uint32_t arch = 0;
};

struct State {
  std::size_t at = 0;
  Value a = 0, x = 0;
  std::array<Value, kWords> memory{};
  auto operator<=>(const State&) const = default;
};

Value load(const BpfInstruction& one, const State& state, const Call& call) {
  switch (mode_of(one)) {
    case kAbsolute:
      if (one.k == kNumberAt) return call.number;
      if (one.k == kArchAt) return call.arch;
      return std::nullopt;
    case kMemory:
      return one.k < kWords ? state.memory.at(one.k) : std::nullopt;
    case kLength:
      return kDataBytes;
    default:
      return one.k;
  }
}

// As the kernel does it, on 32 bits; it refuses a constant division by zero and shifts that are too far.
Value calculate(const BpfInstruction& one, Value a, Value x) {
  const Value with = takes_x(one) ? x : Value(one.k);
  if (!a || (!with && operation_of(one) != kNegate)) return std::nullopt;
  const std::uint32_t by = with.value_or(0);
  switch (operation_of(one)) {
    case 0x00:
      return *a + by;
    case 0x10:
      return *a - by;
    case 0x20:
      return *a * by;
    case 0x30:
      return by == 0 ? Value() : Value(*a / by);
    case 0x40:
      return *a | by;
    case 0x50:
      return *a & by;
    case 0x60:
      return by > 31 ? Value() : Value(*a << by);
    case 0x70:
      return by > 31 ? Value() : Value(*a >> by);
    case kNegate:
      return 0U - *a;
    default:
      return *a ^ by;
  }
}

// Nothing: both ways.
std::optional<bool> holds(const BpfInstruction& one, const State& state) {
  const Value with = takes_x(one) ? state.x : Value(one.k);
  if (!state.a || !with) return std::nullopt;
  switch (operation_of(one)) {
    case kJumpEqual:
      return *state.a == *with;
    case kJumpGreater:
      return *state.a > *with;
    case kJumpGreaterEqual:
      return *state.a >= *with;
    default:
      return (*state.a & *with) != 0;
  }
}

// The actions that one kind of call may get, in the order in which they were met.
class Run {
 public:
  Run(const std::vector<BpfInstruction>& program, const Call& call, std::size_t& steps)
      : program_(program), call_(call), steps_(steps) {}

  Result<std::vector<std::string>> answers() {
    open_.push_back({});
    while (!open_.empty()) {
      State state = open_.back();
      open_.pop_back();
      while (step(state)) {
        if (steps_ == 0)
          return Error{Errc::limit, "what the seccomp filters answer takes too many steps: not worked out"};
        --steps_;
      }
    }
    return std::move(actions_);
  }

 private:
  // False: the program has returned.
  bool step(State& state) {
    const BpfInstruction& one = program_.at(state.at);
    std::size_t next = state.at + 1;
    switch (class_of(one)) {
      case Class::ld:
        state.a = load(one, state, call_);
        break;
      case Class::ldx:
        state.x = load(one, state, call_);
        break;
      case Class::st:
        if (one.k < kWords) state.memory.at(one.k) = state.a;
        break;
      case Class::stx:
        if (one.k < kWords) state.memory.at(one.k) = state.x;
        break;
      case Class::alu:
        state.a = calculate(one, state.a, state.x);
        break;
      case Class::jmp:
        if (operation_of(one) == kJumpAlways) {
          next += one.k;
        } else if (const auto known = holds(one, state)) {
          next += *known ? one.if_true : one.if_false;
        } else {
          State other = state;
          other.at = next + one.if_false;
          if (been_.insert(other).second) open_.push_back(other);
          if (been_.size() > kMaxWays) steps_ = 0;
          next += one.if_true;
        }
        break;
      case Class::ret:
        add(returns_a(one) ? state.a : Value(one.k));
        return false;
      case Class::misc:
        (one.code == kMoveXToA ? state.a : state.x) = one.code == kMoveXToA ? state.x : state.a;
        break;
    }
    state.at = next;
    return true;
  }

  void add(Value value) {
    std::string action = value ? action_text(*value) : "not known";
    if (std::ranges::find(actions_, action) == actions_.end()) actions_.push_back(std::move(action));
  }

  const std::vector<BpfInstruction>& program_;
  const Call call_;
  std::size_t& steps_;
  std::vector<State> open_;
  std::set<State> been_;
  std::vector<std::string> actions_;
};

}  // namespace

Result<SeccompAnswers> answers_of(const std::vector<BpfInstruction>& program, std::uint32_t machine,
                                  std::size_t& steps) {
  const Arch* arch = arch_of(machine);
  if (arch == nullptr || program.empty())
    return Error{Errc::unsupported, "the numbers of this machine's system calls are not known here"};
  constexpr std::uint32_t kNoCall = 0x3fff'fffe;  // below those of x32
  SeccompAnswers answers;
  auto otherwise = Run(program, {kNoCall, arch->audit}, steps).answers();
  if (!otherwise) return std::move(otherwise).error();
  answers.otherwise = *std::move(otherwise);
  auto other = Run(program, {std::nullopt, arch->audit_32}, steps).answers();
  if (!other) return std::move(other).error();
  answers.other_machine = *std::move(other);
  for (const Syscall& call : syscalls_of(machine)) {
    auto actions = Run(program, {call.number, arch->audit}, steps).answers();
    if (!actions) return std::move(actions).error();
    if (*actions == answers.otherwise) continue;
    auto group = std::ranges::find(answers.groups, *actions, &SeccompAnswers::Group::actions);
    if (group == answers.groups.end())
      group = answers.groups.insert(group, SeccompAnswers::Group{*std::move(actions), {}});
    group->calls.push_back(call.name);
  }
  return answers;
}

}  // namespace ctriage::criu
