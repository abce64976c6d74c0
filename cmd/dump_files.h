#pragma once
// What dump of a live process and of a checkpoint share.
#include <string>

#include "cmd/commands.h"
#include "cmd/freeze.h"
#include "cmd/pid_option.h"
#include "lib/core/hash.h"
#include "lib/core/new_file.h"
#include "lib/model/memory.h"
#include "lib/source/target.h"

namespace ctriage {

struct DumpArguments {
  source::TargetQuery query;
  std::string output;
  source::PidChoice pid;
  bool all = false;
  std::string file_pages = "changed";
  std::string registers = "syscall";
  SwapIn swap_in = SwapIn::automatic;
  FreezeArguments freeze;
};

// Lines of page_range, a block at a time.
class RangeFile {
 public:
  explicit RangeFile(NewFile& file) : file_(file) {}
  Status add(const PageRange& range);
  Result<Digest> seal();

 private:
  Status flush();
  NewFile& file_;
  Sha256 hash_;
  std::string block_;
};

struct DumpPlace {  // the directory that the output goes to
  Root directory;
  std::string path;  // as typed

  [[nodiscard]] std::string beside(const std::string& name) const;
};
Result<DumpPlace> open_dump_place(const DumpArguments& arguments);
// The last part of -o: the core, where one is written.
std::string dump_name(const DumpArguments& arguments);

Exit end_dump(DumpResult& result, const Common& common, Io& io, GapLog& gaps, const Task& task);

// Of a checkpoint, dump_checkpoint.cpp.
Exit dump_checkpoint(const DumpArguments& arguments, const Common& common, Io& io);

}  // namespace ctriage
