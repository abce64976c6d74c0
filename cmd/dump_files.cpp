#include "cmd/dump_files.h"

#include "lib/core/path.h"
#include "lib/model/json.h"
#include "lib/report/dump.h"

namespace ctriage {

Status RangeFile::add(const PageRange& range) {
  constexpr std::size_t kBlockBytes = 64 << 10;
  block_ += to_json(range) + "\n";
  return block_.size() < kBlockBytes ? Status(Done{}) : flush();
}

Result<Digest> RangeFile::seal() {
  if (auto written = flush(); !written) return std::move(written).error();
  if (auto sealed = file_.seal(); !sealed) return std::move(sealed).error();
  return hash_.digest();
}

Status RangeFile::flush() {
  hash_.update(block_);
  auto written = file_.write(std::as_bytes(std::span(block_)));
  block_.clear();
  return written;
}

std::string DumpPlace::beside(const std::string& name) const {
  return path == "." ? name : child_of(path, name);
}

Result<DumpPlace> open_dump_place(const DumpArguments& arguments) {
  const std::string path = arguments.all ? arguments.output : directory_of(arguments.output);
  auto directory = Root::open(path);
  if (!directory) return std::move(directory).error().within("-o");
  return DumpPlace{*std::move(directory), path};
}

std::string dump_name(const DumpArguments& arguments) {
  return arguments.output.substr(arguments.output.rfind('/') + 1);
}

Exit end_dump(DumpResult& result, const Common& common, Io& io, GapLog& gaps, const Task& task) {
  gaps.finish();
  result.gaps = report::records_of(gaps.kept(), task.now());
  const bool text = common.output_format() == report::Format::text;
  auto written =
      io.out(text ? report::dump_text(result, common.verbose, io.out_style) : report::dump_json(result));
  if (!written) return fail(io, written.error());
  return exit_for(common, std::nullopt, gaps.count(Impact::lost));
}

}  // namespace ctriage
