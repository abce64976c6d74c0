// receive: a bundle from standard input into a directory, verified while it is written.
#include <CLI/CLI.hpp>

#include "cmd/acknowledge.h"
#include "cmd/evidence.h"
#include "lib/bundle/age.h"
#include "lib/bundle/tee.h"
#include "lib/bundle/verify.h"
#include "lib/bundle/writer.h"
#include "lib/core/new_file.h"
#include "lib/core/path.h"
#include "lib/core/sandbox.h"
#include "lib/core/sys.h"
#include "lib/core/text.h"
#include "lib/report/hands.h"

namespace ctriage {
namespace {

struct ReceiveArguments {
  std::string output;
  std::string name;
  bool ack = false;
};

// The first bytes, which say whether it is encrypted, and then the rest.
class Prefixed final : public ByteSource {
 public:
  explicit Prefixed(ByteSource& in) : in_(in) {}
  Status look() {
    first_.resize(bundle::kAgeIntroBytes);
    std::size_t size = 0;
    while (size < first_.size()) {
      auto got = in_.read(std::span(first_).subspan(size));
      if (!got) return std::move(got).error();
      if (*got == 0) break;
      size += *got;
    }
    first_.resize(size);
    return Done{};
  }
  [[nodiscard]] bool encrypted() const { return bundle::age_form(first_) != bundle::AgeForm::none; }
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (at_ == first_.size()) return in_.read(into);
    const std::size_t size = std::min(into.size(), first_.size() - at_);
    std::copy_n(first_.begin() + static_cast<std::ptrdiff_t>(at_), size, into.begin());
    at_ += size;
    return size;
  }

 private:
  ByteSource& in_;
  std::vector<std::byte> first_;
  std::size_t at_ = 0;
};

std::string name_now(const Task& task) {
  std::string name = "received-";
  for (const char c : to_rfc3339(task.now()).substr(0, 19)) {
    if (c != '-' && c != ':') name += c;
  }
  return name + "Z";
}

Exit take(const ReceiveArguments& arguments, const Root& into, ByteSource& input, const Common& common,
          Task& task, Io& io) {
  Prefixed in(input);
  if (auto looked = in.look(); !looked) return fail(io, looked.error());
  const std::string stem = arguments.name.empty() ? name_now(task) : bundle::member_name(arguments.name);
  const std::string name = stem + (in.encrypted() ? ".ctriage.tar.age" : ".ctriage.tar");
  auto file = NewFile::create(into, name, UINT64_MAX);
  if (!file) return fail(io, file.error());
  bundle::TeeSource tee(in, *file);
  ReceiveResult result;
  if (in.encrypted()) {
    const auto keep = [&](const Error& error) {
      io.err("ctriage: " + escape_terminal(name + ".part: " + error.what) + "; what came is kept\n");
      return error.code == Errc::truncated ? Exit::lost : Exit::failed;
    };
    const auto info = bundle::describe_age(tee);
    if (auto copied = tee.drain(); !copied) return fail(io, copied.error());
    if (!info) return keep(info.error());
    if (auto ends = bundle::check_age_size(*info, tee.size_bytes()); !ends) return keep(ends.error());
  } else {
    auto report = bundle::verify(tee, std::optional<Digest>(), task);
    if (!report) return fail(io, Error(report.error()).within(name + ".part"));
    for (const std::string& problem : report->problems) io.err("ctriage: " + escape_terminal(problem) + "\n");
    if (report->verdict != bundle::Verdict::whole) {
      const bool cut = report->verdict == bundle::Verdict::cut;
      io.err("ctriage: " + escape_terminal(name) + ".part: " +
             (cut ? "cut: it ended early; what came is kept\n" : "WRONG; it is kept as it came\n"));
      return cut ? Exit::lost : Exit::failed;
    }
    result.manifest_sha256 = to_hex(*report->manifest_digest);
    result.verified = true;
  }
  if (auto sealed = file->seal(); !sealed) return fail(io, sealed.error());
  result.path = Bytes(name_in(arguments.output, name));
  result.size_bytes = tee.size_bytes();
  result.sha256 = to_hex(tee.digest());
  const std::string said = common.output_format() == report::Format::text ? report::receive_text(result)
                                                                          : report::receive_json(result);
  if (!arguments.ack) {
    auto told = io.out(said);
    return told ? Exit::complete : fail(io, told.error());
  }
  io.err(said);
  // Only now: it has its name and is on the disk.
  auto told = io.out(acknowledgement(tee.digest(), tee.size_bytes()) + "\n");
  return told ? Exit::complete : fail(io, told.error());
}

Exit run_receive(const ReceiveArguments& arguments, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto own = sys::duplicate(0, "standard input");
  if (!own) return fail(io, own.error());
  auto into = Root::open(arguments.output);
  if (!into) return fail(io, std::move(into).error().within("-o"));
  SandboxPlan plan;
  plan.writable.push_back(into->fd());
  if (auto inside = enter_sandbox(plan, task.gaps); !inside) return fail(io, inside.error());
  FdSource input(*std::move(own), "standard input", task);
  return take(arguments, *into, input, common, task, io);
}

}  // namespace

void add_receive(CLI::App& app, const Common& common, Action& chosen) {
  auto arguments = std::make_shared<ReceiveArguments>();
  CLI::App* sub =
      app.add_subcommand("receive", "Take a bundle from standard input, verified while it is written");
  sub->group("Evidence");
  sub->add_option("-o,--output", arguments->output, "directory to write into")->required();
  sub->add_option("--name", arguments->name, "NAME of NAME.ctriage.tar; without: received-TIME");
  sub->add_flag(
      "--ack", arguments->ack,
      "when it is whole and on the disk: 'ctriage-ack SHA256 BYTES', of all bytes, to standard output");
  sub->footer(
      "Exit status: 0 whole, or encrypted and received; 1 wrong, 3 cut: then NAME.part stays. Of what is "
      "encrypted a cut between two chunks cannot be seen here: the sender compares with --ack.\n"
      "Example:\n  ctriage collect shop/web-7d9f -o - | ssh lab ctriage receive -o /evidence --name web\n");
  sub->callback([arguments, &common, &chosen] {
    chosen = [arguments, &common](Io& io) { return run_receive(*arguments, common, io); };
  });
}

}  // namespace ctriage
