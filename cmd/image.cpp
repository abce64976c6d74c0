#include "lib/report/image.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"
#include "lib/core/root.h"
#include "lib/image/deps.h"
#include "lib/image/facts.h"
#include "lib/image/listing.h"
#include "lib/image/verify.h"
#include "lib/source/image/source.h"
#include "lib/source/open.h"

namespace ctriage {
namespace {

struct Arguments {
  source::TargetQuery query;
  bool all = false;
};

struct Subject {  // whose image
  std::unique_ptr<Snapshot> snapshot;
  Container container;
  bool all = false;  // programs, of deps
};

// One container has to be meant: a pod's only one, or that of -c.
Result<Subject> open_subject(const source::TargetQuery& query, Task& task) {
  Subject subject;
  auto snapshot = source::open_source(query, {}, task);
  if (!snapshot) return std::move(snapshot).error();
  subject.snapshot = *std::move(snapshot);
  std::vector<Container> containers;
  auto listed = subject.snapshot->list_containers(
      [&](Container&& container) -> Status {
        if (!container.sandbox) containers.push_back(std::move(container));
        return Done{};
      },
      task);
  if (!listed) return std::move(listed).error();
  if (containers.empty()) return Error{Errc::not_found, query.token + ": no such container"};
  if (containers.size() > 1) {
    std::string names;
    for (const Container& container : containers) names += (names.empty() ? "" : ", ") + container.name.raw;
    return Error{Errc::mismatch, query.token + ": several containers, name one with -c: " + names};
  }
  subject.container = std::move(containers.front());
  return subject;
}

template <class Answer>
Exit print(Answer& answer, std::string (*as_json)(const Answer&),
           std::string (*as_text)(const Answer&, bool, const report::Style&), GapLog& gaps, Task& task,
           const Common& common, Io& io) {
  gaps.finish();
  answer.gaps = report::records_of(gaps.kept(), task.now());
  const bool text = common.output_format() == report::Format::text;
  auto written = io.out(text ? as_text(answer, common.verbose, io.out_style) : as_json(answer));
  if (!written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

// Opens the source, asks what `answer` says of its image, and prints that.
template <class Answer>
Exit run(const Arguments& arguments, Result<Answer> (*answer)(Subject&, Task&),
         std::string (*as_json)(const Answer&),
         std::string (*as_text)(const Answer&, bool, const report::Style&), bool (*failed)(const Answer&),
         const Common& common, Io& io) {
  GapLog gaps;
  Task task = make_task(gaps, io);
  auto subject = open_subject(arguments.query, task);
  if (subject) subject->all = arguments.all;
  auto result = subject ? answer(*subject, task) : Result<Answer>(subject.error());
  if (!result) {
    tell_gaps(io, common, gaps);
    return fail(io, result.error());
  }
  const Exit exit = print(*result, as_json, as_text, gaps, task, common, io);
  return failed(*result) ? worse(exit, Exit::failed) : exit;
}

Result<ImagePackagesResult> find_packages(Subject& subject, Task& task) {
  image::ContainerFiles files(*subject.snapshot, subject.container.id);
  auto packages = image::Packages::read(files, task);
  if (!packages) return std::move(packages).error();
  if (!packages->complete())
    task.gaps.add({Impact::lost, "image.packages", subject.container.id,
                   Error{Errc::limit, "the list of packages is not whole: another gap says why"}});
  ImagePackagesResult result;
  result.image = image::read_facts(files, *packages, subject.container, task);
  result.packages = image::list_packages(*packages);
  auto changed = image::list_changed(*subject.snapshot, subject.container.id, *packages, result, task);
  if (!changed) return std::move(changed).error();
  return result;
}

Result<ImageVerifyResult> verify_layers(Subject& subject, Task& task) {
  if (auto* archive = dynamic_cast<source::ImageSnapshot*>(subject.snapshot.get()))
    return archive->verify(subject.container.id, task);
  auto node = source::node_root_of(*subject.snapshot);
  if (!node) return std::move(node).error();
  return image::verify(*subject.snapshot, subject.container, *node, task);
}

Exit run_packages(const Arguments& arguments, const Common& common, Io& io) {
  return run<ImagePackagesResult>(
      arguments, find_packages, report::image_packages_json, report::image_packages_text,
      [](const ImagePackagesResult&) { return false; }, common, io);
}

Exit run_verify(const Arguments& arguments, const Common& common, Io& io) {
  return run<ImageVerifyResult>(
      arguments, verify_layers, report::image_verify_json, report::image_verify_text,
      [](const ImageVerifyResult& result) {
        return std::ranges::any_of(
            result.layers, [](const LayerCheck& one) { return one.verdict == LayerVerdict::differs; });
      },
      common, io);
}

Result<ImageDepsResult> find_libraries(Subject& subject, Task& task) {
  image::ContainerFiles files(*subject.snapshot, subject.container.id);
  auto packages = image::Packages::read(files, task);
  if (!packages) return std::move(packages).error();
  return image::find_deps(files, *packages, subject.container, subject.all, task);
}

Exit run_deps(const Arguments& arguments, const Common& common, Io& io) {
  return run<ImageDepsResult>(
      arguments, find_libraries, report::image_deps_json, report::image_deps_text,
      [](const ImageDepsResult&) { return false; }, common, io);
}

using Run = Exit (*)(const Arguments&, const Common&, Io&);

void add_one(CLI::App& parent, const Common& common, Action& chosen, const char* name, const char* what,
             Run run, const char* footer, bool deps = false) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* sub = parent.add_subcommand(name, what);
  sub->add_option("source", arguments->query.token,
                  "a container, running or not: shop/web-7d9f, a name, an ID; or an image: an OCI layout, "
                  "the archive of "
                  "docker save or podman save")
      ->required();
  add_target_options(*sub, arguments->query);
  add_spool_option(*sub, arguments->query.spool);
  if (deps)
    sub->add_flag("--all", arguments->all, "every ELF program, not only the one that the image starts");
  sub->footer(footer);
  sub->callback([arguments, run, &common, &chosen] {
    chosen = [arguments, run, &common](Io& io) { return run(*arguments, common, io); };
  });
}

}  // namespace

void add_image(CLI::App& app, const Common& common, Action& chosen) {
  CLI::App* sub = app.add_subcommand("image", "What is in the image that a container was made from");
  sub->group("Analysis");
  sub->require_subcommand(1);
  sub->footer(
      "Examples:\n  ctriage image packages shop/web-7d9f\n  ctriage image verify shop/web-7d9f -c app\n"
      "  ctriage image verify web --root /mnt/disk --json\n");
  add_one(*sub, common, chosen, "packages",
          "Packages by dpkg's, apk's or rpm's database; which files changed", run_packages,
          "Examples:\n  ctriage image packages shop/web-7d9f\n  ctriage image packages web --json | jq "
          "'.packages[].name'\n");
  add_one(*sub, common, chosen, "verify",
          "The layers in the engine's store against their digests: 1 where one differs", run_verify,
          "Examples:\n  ctriage image verify shop/web-7d9f -c app\n  ctriage image verify web --root "
          "/mnt/disk\n");
  add_one(
      *sub, common, chosen, "deps",
      "The libraries that its programs load, their packages, and packages that nothing loads", run_deps,
      "What a program loads by itself (dlopen) is not in its file.\n"
      "Examples:\n  ctriage image deps image.tar\n  ctriage image deps shop/web-7d9f --all --json | jq -r "
      "'.files[] | [.package, .version, .sha256] | @tsv'\n",
      true);
}

}  // namespace ctriage
