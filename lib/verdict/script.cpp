// What an interpreter was told to run. Only options that change where the script's name stands are known;
// each interpreter's manual page lists them.
#include <algorithm>
#include <array>

#include "lib/core/text.h"
#include "lib/verdict/judge.h"

namespace ctriage::verdict {
namespace {

struct Interpreter {
  std::string_view family;
  std::string_view inline_letters;  // -c CODE: no file. In a cluster too (-ec)
  std::string_view takes_value;     // -X VALUE, where the value is a word of its own
  std::string_view names_file;      // -f FILE: the script
  std::string_view ends_word;       // -XVALUE: the rest of the word is its value, and never the next word
};
constexpr std::array kInterpreters{
    Interpreter{"sh", "cs", "oO", "", ""},        Interpreter{"bash", "cs", "oO", "", ""},
    Interpreter{"dash", "cs", "oO", "", ""},      Interpreter{"ash", "cs", "oO", "", ""},
    Interpreter{"zsh", "cs", "o", "", ""},        Interpreter{"ksh", "cs", "oO", "", ""},
    Interpreter{"rbash", "cs", "oO", "", ""},     Interpreter{"hush", "cs", "oO", "", ""},
    Interpreter{"python", "cm", "WXQ", "", ""},   Interpreter{"perl", "eE", "I", "", "mMFixDCV"},
    Interpreter{"ruby", "e", "rICE", "", "FKxi"}, Interpreter{"node", "ep", "rC", "", ""},
    Interpreter{"nodejs", "ep", "rC", "", ""},    Interpreter{"php", "rBR", "dczS", "fF", ""},
    Interpreter{"lua", "ei", "l", "", ""},        Interpreter{"tclsh", "", "", "", ""},
};
constexpr std::array<std::string_view, 6> kLongInline{"--eval",    "--print", "--command",
                                                      "--version", "--help",  "--test"};
constexpr std::array<std::string_view, 5> kLongValue{"--require", "--import", "--loader", "--rcfile",
                                                     "--init-file"};
constexpr std::array<std::string_view, 7> kJavaValue{
    "-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--upgrade-module-path"};

bool has(std::string_view letters, char letter) { return letters.find(letter) != std::string_view::npos; }

std::string_view java_archive(const std::vector<Bytes>& argv) {
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const std::string_view word = argv[i].view();
    if (word == "-jar") return i + 1 < argv.size() ? argv[i + 1].view() : std::string_view();
    if (!word.starts_with('-')) return {};  // a class
    if (std::ranges::find(kJavaValue, word) != kJavaValue.end()) ++i;
  }
  return {};
}

}  // namespace

std::string_view script_argument(std::string_view family, const std::vector<Bytes>& argv) {
  if (family == "java") return java_archive(argv);
  const auto last = family.find_last_not_of("0123456789.-");
  family = family.substr(0, last == family.npos ? 0 : last + 1);
  const auto* interpreter = std::ranges::find(kInterpreters, family, &Interpreter::family);
  if (interpreter == kInterpreters.end()) return {};
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const std::string_view word = argv[i].view();
    if (word == "-" || word.empty()) return {};
    if (word == "--") return i + 1 < argv.size() ? argv[i + 1].view() : std::string_view();
    if (word.starts_with("--")) {
      const std::string_view name = word.substr(0, word.find('='));
      if (std::ranges::find(kLongInline, name) != kLongInline.end()) return {};
      if (name == word && std::ranges::find(kLongValue, name) != kLongValue.end()) ++i;
      continue;
    }
    if (!word.starts_with('-') && !(word.starts_with('+') && interpreter->inline_letters.starts_with("cs")))
      return word;
    for (std::size_t k = 1; k < word.size(); ++k) {
      if (has(interpreter->inline_letters, word[k])) return {};
      if (has(interpreter->names_file, word[k])) {
        if (k + 1 < word.size()) return word.substr(k + 1);
        return i + 1 < argv.size() ? argv[i + 1].view() : std::string_view();
      }
      if (has(interpreter->ends_word, word[k])) break;
      if (!has(interpreter->takes_value, word[k])) continue;
      if (k + 1 == word.size()) ++i;
      break;  // the rest of the word is its value
    }
  }
  return {};
}

std::string absolute_path(std::string_view directory, std::string_view path) {
  std::string whole(path);
  if (!path.starts_with('/')) whole.insert(0, std::string(directory) + '/');
  std::vector<std::string_view> names;
  for (const std::string_view name : split(whole, '/')) {
    if (name.empty() || name == ".") continue;
    if (name != "..") {
      names.push_back(name);
    } else if (!names.empty()) {
      names.pop_back();
    }
  }
  std::string out;
  for (const std::string_view name : names) out.append("/").append(name);
  return out.empty() ? "/" : out;
}

}  // namespace ctriage::verdict
