#include "lib/scan/rules.h"

#include <yara.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "lib/core/path.h"
#include "lib/core/root.h"
#include "lib/core/stream.h"

namespace ctriage::scan {
namespace {

constexpr std::string_view kCompiledMagic = "YARA";
// What rules of collections expect their scanner to tell: filled in for each object...
constexpr std::array<const char*, 3> kExternals{"filename", "filepath", "extension"};
// ... but these.
constexpr std::array<const char*, 2> kUnanswered{"filetype", "owner"};

struct Mistakes {
  std::string file;
  int lines = 0;  // of the file
  std::string text;
  std::size_t count = 0;

  static void take(int level, const char*, int line, const YR_RULE*, const char* message, void* self) {
    if (level != YARA_ERROR_LEVEL_ERROR) return;
    auto& mistakes = *static_cast<Mistakes*>(self);
    if (++mistakes.count > kMaxMistakesTold) return;
    if (!mistakes.text.empty()) mistakes.text += '\n';
    mistakes.text += mistakes.file + ":" + std::to_string(line > 0 ? line : mistakes.lines) + ": " +
                     message;  // 0: its end
  }
};

class Compile {
 public:
  explicit Compile(const Task& task) : task_(task) {}
  ~Compile() {
    if (compiler_ != nullptr) yr_compiler_destroy(compiler_);
  }
  Compile(const Compile&) = delete;
  Compile& operator=(const Compile&) = delete;

  Status begin() {
    if (yr_compiler_create(&compiler_) != ERROR_SUCCESS) return Error{Errc::io, "libyara: no compiler"};
    yr_compiler_set_callback(compiler_, Mistakes::take, &mistakes_);
    yr_compiler_set_include_callback(compiler_, nullptr, nullptr, nullptr);
    return define(kExternals);
  }

  Status add_path(const std::string& path) {
    auto directory = Root::open(path);
    if (directory) {
      const std::size_t before = files_;
      if (auto done = add_directory(*directory, path, 0); !done) return done;
      if (files_ > before) return Done{};
      return Error{Errc::not_found, path + ": no *.yar or *.yara file is in it"};
    }
    auto above = Root::open(directory_of(path));
    if (!above) return std::move(above).error();
    const auto slash = path.rfind('/');
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    auto file = above->open_in_root(name);
    if (!file) return std::move(file).error();
    return add_file(*std::move(file), path);
  }

  std::vector<std::string> take_unanswered() { return std::move(unanswered_); }

  Result<YR_RULES*> end() {
    if (mistakes_.count > kMaxMistakesTold)
      mistakes_.text += "\nand " + std::to_string(mistakes_.count - kMaxMistakesTold) + " mistakes more";
    if (mistakes_.count > 0) return Error{Errc::malformed, std::move(mistakes_.text)};
    YR_RULES* rules = nullptr;
    const int code = yr_compiler_get_rules(compiler_, &rules);
    if (code != ERROR_SUCCESS)
      return Error{Errc::io, "libyara: error " + std::to_string(code) + " when the rules were put together"};
    return rules;
  }

  Status define(std::span<const char* const> names) {
    for (const char* name : names) {
      if (yr_compiler_define_string_variable(compiler_, name, "") != ERROR_SUCCESS)
        return Error{Errc::io, std::string("libyara: variable ") + name};
    }
    return Done{};
  }

 private:
  Status add_directory(const Root& directory, const std::string& path, unsigned depth) {
    std::string after;
    for (;;) {
      const auto names = list_names(directory, after);
      if (!names) return names.error();
      for (const std::string& name : names->names) {
        if (name.starts_with("..")) continue;  // of a ConfigMap's volume: what its links lead to
        const std::string each = child_of(path, name);
        const auto info = directory.stat_beneath(name);
        if (!info) return info.error();
        if (info->is_symlink()) {
          const auto target = directory.stat_in_root(name);
          if (target && target->is_directory())
            return Error{Errc::unsupported, each + ": leads to a directory; name that one"};
        }
        if (info->is_directory()) {
          if (depth >= kMaxRuleDepth)
            return Error{Errc::limit, each + ": over " + std::to_string(kMaxRuleDepth) + " directories deep"};
          auto below = directory.descend(name);
          if (!below) return std::move(below).error();
          if (auto done = add_directory(*below, each, depth + 1); !done) return done;
        } else if (name.ends_with(".yar") || name.ends_with(".yara")) {
          auto file = directory.open_in_root(name);
          if (!file) return std::move(file).error();
          if (auto done = add_file(*std::move(file), each); !done) return done;
        }
      }
      if (!names->more || names->names.empty()) return Done{};
      after = names->names.back();
    }
  }

  Status add_file(UniqueFd file, const std::string& path) {
    if (++files_ > kMaxRuleFiles)
      return Error{Errc::limit, path + ": over " + std::to_string(kMaxRuleFiles) + " rule files"};
    FdSource source(std::move(file), path, task_);
    auto text = read_all(source, std::min(kMaxRuleFileBytes, kMaxRuleBytes - bytes_));
    if (!text) return std::move(text).error();
    bytes_ += text->size();
    if (text->starts_with(kCompiledMagic))
      return Error{Errc::unsupported, path + ": compiled by yarac; name the rules as text"};
    if (const auto nul = text->find('\0'); nul != std::string::npos) {
      const auto line =
          std::ranges::count(text->begin(), text->begin() + static_cast<std::ptrdiff_t>(nul), '\n');
      return Error{Errc::malformed, path + ":" + std::to_string(line + 1) + ": a zero byte"};
    }
    mistakes_.lines = static_cast<int>(std::ranges::count(*text, '\n')) + 1;
    // After a mistake libyara takes no further rule: a compiler of its own tells those of the other files.
    if (mistakes_.count > 0) return check_alone(*text, path);
    mistakes_.file = path;
    if (auto asked = look_for_unanswered(*text, path); !asked) return asked;
    const std::size_t before = mistakes_.count;
    const int wrong = yr_compiler_add_string(compiler_, text->c_str(), path.c_str());
    if (wrong != 0 && mistakes_.count == before)
      return Error{Errc::malformed, path + ": libyara takes it not"};
    return Done{};
  }

  // Whether it has mistakes only as long as these variables are not there.
  Status look_for_unanswered(const std::string& text, const std::string& path) {
    const auto is_in_it = [&text](const char* name) { return text.find(name) != std::string::npos; };
    if (std::ranges::none_of(kUnanswered, is_in_it)) return Done{};
    std::array<std::size_t, 2> mistakes{};
    for (const bool defined : {false, true}) {
      Compile alone(task_);
      if (auto begun = alone.begin(); !begun) return begun;
      if (auto done = defined ? alone.define(kUnanswered) : Status(Done{}); !done) return done;
      (void)yr_compiler_add_string(alone.compiler_, text.c_str(), path.c_str());
      mistakes.at(defined ? 1 : 0) = alone.mistakes_.count;
      if (mistakes[0] == 0) return Done{};
    }
    if (mistakes[1] < mistakes[0]) unanswered_.push_back(path);
    return Done{};
  }

  Status check_alone(const std::string& text, const std::string& path) {
    if (mistakes_.count > kMaxMistakesTold) return Done{};
    Compile alone(task_);
    if (auto begun = alone.begin(); !begun) return begun;
    if (auto done = alone.define(kUnanswered); !done) return done;
    yr_compiler_set_callback(alone.compiler_, Mistakes::take, &mistakes_);
    mistakes_.file = path;
    (void)yr_compiler_add_string(alone.compiler_, text.c_str(), path.c_str());
    return Done{};
  }

  const Task& task_;
  YR_COMPILER* compiler_ = nullptr;
  Mistakes mistakes_;
  std::size_t files_ = 0;
  std::size_t bytes_ = 0;
  std::vector<std::string> unanswered_;
};

}  // namespace

Result<std::unique_ptr<Library>> Library::open() {
  if (const int code = yr_initialize(); code != ERROR_SUCCESS)
    return Error{Errc::io, "libyara does not start: error " + std::to_string(code)};
  return std::unique_ptr<Library>(new Library());
}

Library::~Library() { (void)yr_finalize(); }

Result<std::unique_ptr<Rules>> Rules::compile(const std::vector<std::string>& paths, const Task& task) {
  auto library = Library::open();
  if (!library) return std::move(library).error();
  Compile compile(task);
  auto done = compile.begin();
  if (done) done = compile.define(kUnanswered);
  for (std::size_t i = 0; done && i < paths.size(); ++i) done = compile.add_path(paths[i]);
  if (!done) return std::move(done).error();
  auto rules = compile.end();
  if (!rules) return std::move(rules).error();
  std::size_t count = 0;
  YR_RULES* compiled = *rules;
  YR_RULE* rule = nullptr;
  yr_rules_foreach(compiled, rule) { ++count; }
  if (count == 0) {
    (void)yr_rules_destroy(compiled);
    return Error{Errc::malformed, "no rule is in " + paths.front()};
  }
  return std::unique_ptr<Rules>(new Rules(*std::move(library), compiled, count, compile.take_unanswered()));
}

Rules::~Rules() { (void)yr_rules_destroy(rules_); }

}  // namespace ctriage::scan
