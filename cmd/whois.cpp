#include "lib/source/whois.h"

#include <CLI/CLI.hpp>

#include "cmd/commands.h"
#include "lib/core/text.h"
#include "lib/report/collect_screen.h"

namespace ctriage {
namespace {

Exit run_whois(const std::string& token, const std::string& root, const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto node = source::open_node(task, root);
  if (!node) return fail(io, node.error());
  auto found = source::whois(**node, token, task);
  if (!found) {
    tell_gaps(io, common, gaps);
    return fail(io, found.error());
  }
  WhoisResult result;
  result.token = Bytes(token);
  for (source::Belongs& one : *found) {
    WhoisMatch match;
    match.as = std::move(one.as);
    match.detail = Bytes(std::move(one.detail));
    match.container = one.container.id;
    match.name = one.container.name;
    match.pod = one.container.pod;
    result.matches.push_back(std::move(match));
  }
  gaps.finish();
  const bool text = common.output_format() == report::Format::text;
  if (!text) result.gaps = report::records_of(gaps.kept(), task.now());
  auto written = io.out(text ? report::whois_text(result) : report::whois_json(result));
  if (text) tell_gaps(io, common, gaps);
  if (!written) return fail(io, written.error());
  const bool lost = gaps.count(Impact::lost) > 0;
  if (!result.matches.empty()) return lost ? Exit::lost : Exit::complete;
  return fail(io, Error{Errc::not_found, token + ": belongs to no container that can be seen here" +
                                             (lost ? ", and not everything could be looked into" : "")});
}

}  // namespace

void add_whois(CLI::App& app, const Common& common, Action& chosen) {
  auto token = std::make_shared<std::string>();
  auto root = std::make_shared<std::string>();
  CLI::App* sub =
      app.add_subcommand("whois", "Which pod and container a path, pid, address, port or hash belongs to");
  sub->group("On the node");
  sub->add_option("token", *token,
                  "path, pid, container ID, IP, :port, cgroup, SHA-256 of a program, image digest")
      ->required();
  add_root_option(*sub, *root);
  sub->footer("Examples:\n  ctriage whois 48213\n  ctriage whois 10.88.0.14\n  ctriage whois :4444\n");
  sub->callback([token, root, &common, &chosen] {
    chosen = [token, root, &common](Io& io) { return run_whois(*token, *root, common, io); };
  });
}

}  // namespace ctriage
