#include "cmd/completion.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

namespace ctriage {
namespace {

struct Flag {
  std::string name;  // "--format", "-o"
  std::string description;
  bool takes_value = false;
  std::vector<std::string> choices;
};

struct Command {
  std::string path;  // "" is the program itself, "rules list" a command of a command
  std::vector<std::pair<std::string, std::string>> children;  // name, description
  std::vector<Flag> flags;
  std::vector<std::string> choices;  // of the first positional that has some
};

// CLI11 shows a choice as "TEXT:{text,json,jsonl}" in --help; there is no other way to ask for it.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string shown = option.get_type_name();
  const auto open = shown.find('{');
  const auto close = shown.find('}', open == std::string::npos ? 0 : open);
  std::vector<std::string> choices;
  if (open == std::string::npos || close == std::string::npos) return choices;
  std::string one;
  for (const char c : shown.substr(open + 1, close - open)) {
    if (c != ',' && c != '}') {
      one += c;
    } else if (!one.empty()) {
      choices.push_back(std::exchange(one, {}));
    }
  }
  return choices;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// `inherited`: what the commands above take too, where a command lets options fall through to them.
void read_tree(const CLI::App& app, const std::string& path, const std::vector<Flag>& inherited,
               std::vector<Command>& into) {
  Command command{path, {}, {}, {}};
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    if (option->get_group().empty()) continue;
    const bool takes_value = option->get_items_expected_max() > 0;
    const auto choices = choices_of(*option);
    if (option->get_positional() && command.choices.empty()) command.choices = choices;
    const std::string description = first_line(option->get_description());
    for (const std::string& name : option->get_lnames()) {
      command.flags.push_back({"--" + name, description, takes_value, choices});
    }
    for (const std::string& name : option->get_snames()) {
      command.flags.push_back({"-" + name, description, takes_value, choices});
    }
  }
  for (const Flag& flag : inherited) {
    if (app.get_fallthrough() &&
        std::ranges::find(command.flags, flag.name, &Flag::name) == command.flags.end()) {
      command.flags.push_back(flag);
    }
  }
  const std::vector<Flag> handed_down = command.flags;
  const auto children = app.get_subcommands(
      [](const CLI::App* child) { return !child->get_name().empty() && !child->get_group().empty(); });
  for (const CLI::App* child : children) {
    command.children.emplace_back(child->get_name(), first_line(child->get_description()));
  }
  into.push_back(std::move(command));
  for (const CLI::App* child : children) {
    read_tree(*child, path.empty() ? child->get_name() : path + ' ' + child->get_name(), handed_down, into);
  }
}

// A single-quoted word of bash and zsh.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out += '\'';
}

std::string words_of(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

// The loop that finds the command the words so far name: the same text for bash and zsh but for the array.
std::string walk_words(const std::vector<Command>& commands, std::string_view word) {
  std::string out = fmt::format(
      "    case \"$command $"
      "{{{}}}\" in\n",
      word);
  for (const Command& command : commands) {
    if (command.path.empty()) continue;
    const bool nested = command.path.find(' ') != std::string::npos;
    out += fmt::format("      {}) command={} ;;\n", shell_quoted((nested ? "" : " ") + command.path),
                       shell_quoted(command.path));
  }
  return out + "    esac\n";
}

std::string bash_script(const std::string& program, const std::vector<Command>& commands) {
  std::string out = fmt::format(
      "# bash completion of {0}: source <({0} completion bash)\n_{0}() {{\n"
      "  local command='' current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} i\n"
      "  COMPREPLY=()\n  for ((i = 1; i < COMP_CWORD; i++)); do\n",
      program);
  out += walk_words(commands, "COMP_WORDS[i]") + "  done\n  case \"$command:$previous\" in\n";
  for (const Command& command : commands) {
    for (const Flag& flag : command.flags) {
      if (!flag.takes_value) continue;
      const std::string reply =
          flag.choices.empty() ? std::string("compgen -f -- \"$current\"")
                               : "compgen -W " + shell_quoted(words_of(flag.choices)) + " -- \"$current\"";
      out += fmt::format("    {}) mapfile -t COMPREPLY < <({}); return ;;\n",
                         shell_quoted(command.path + ':' + flag.name), reply);
    }
  }
  out += "  esac\n  local words='' flags=''\n  case \"$command\" in\n";
  for (const Command& command : commands) {
    std::vector<std::string> words = command.choices;
    std::vector<std::string> flags;
    for (const auto& [name, description] : command.children) words.push_back(name);
    for (const Flag& flag : command.flags) flags.push_back(flag.name);
    out += fmt::format("    {}) words={} flags={} ;;\n", shell_quoted(command.path),
                       shell_quoted(words_of(words)), shell_quoted(words_of(flags)));
  }
  return out + fmt::format(
                   "  esac\n  if [[ $current == -* ]]; then\n    mapfile -t COMPREPLY < <(compgen -W "
                   "\"$flags\" -- \"$current\")\n"
                   "  elif [[ -n $words ]]; then\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
                   "\"$current\")\n"
                   "  else\n    mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n  fi\n}}\n"
                   "complete -o filenames -F _{0} {0}\n",
                   program);
}

// "name:description" of _describe; a colon in the name would end it.
std::string described(std::string_view name, std::string_view description) {
  std::string out;
  for (const char c : name) out += c == ':' ? std::string("\\:") : std::string(1, c);
  return shell_quoted(out + ':' + std::string(description));
}

std::string zsh_script(const std::string& program, const std::vector<Command>& commands) {
  std::string out = fmt::format(
      "#compdef {0}\n# zsh completion of {0}: source <({0} completion zsh), or as _{0} in a folder of "
      "fpath\n_{0}() {{\n"
      "  local command='' previous=${{words[CURRENT-1]}} i\n  local -a found flags\n"
      "  for ((i = 2; i < CURRENT; i++)); do\n",
      program);
  out += walk_words(commands, "words[i]") + "  done\n  case \"$command:$previous\" in\n";
  for (const Command& command : commands) {
    for (const Flag& flag : command.flags) {
      if (!flag.takes_value) continue;
      const std::string reply =
          flag.choices.empty() ? std::string("_files") : "compadd -- " + words_of(flag.choices);
      out += fmt::format("    {}) {}; return ;;\n", shell_quoted(command.path + ':' + flag.name), reply);
    }
  }
  out += "  esac\n  case \"$command\" in\n";
  for (const Command& command : commands) {
    std::string found;
    for (const auto& [name, description] : command.children) found += ' ' + described(name, description);
    for (const std::string& choice : command.choices) found += ' ' + described(choice, "");
    std::string flags;
    for (const Flag& flag : command.flags) flags += ' ' + described(flag.name, flag.description);
    out += fmt::format("    {})\n      found=({})\n      flags=({})\n      ;;\n", shell_quoted(command.path),
                       found.empty() ? found : found.substr(1), flags.empty() ? flags : flags.substr(1));
  }
  return out + fmt::format(
                   "  esac\n  if [[ ${{words[CURRENT]}} == -* ]]; then\n    _describe -o option flags\n"
                   "  elif ((${{#found}})); then\n    _describe command found\n  else\n    _files\n  fi\n}}\n"
                   "if [[ ${{funcstack[1]}} == _{0} ]]; then\n  _{0} \"$@\"\nelse\n  compdef _{0} {0}\nfi\n",
                   program);
}

// Inside single quotes fish knows \\ and \'.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out += '\'';
}

std::string fish_script(const std::string& program, const std::vector<Command>& commands) {
  std::string out = fmt::format("# fish completion of {0}: {0} completion fish | source\n", program);
  for (const Command& command : commands) {
    std::string when;
    std::string path = command.path;
    while (!path.empty()) {  // every word of the path has been seen
      const auto blank = path.find(' ');
      when += (when.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + path.substr(0, blank));
      path = blank == std::string::npos ? "" : path.substr(blank + 1);
    }
    std::vector<std::string> names;
    for (const auto& [name, description] : command.children) names.push_back(name);
    std::string choosing = when.empty() ? "__fish_use_subcommand"
                                        : when + "; and not __fish_seen_subcommand_from " + words_of(names);
    for (const auto& [name, description] : command.children) {
      out += fmt::format("complete -c {} -f -n {} -a {} -d {}\n", program, fish_quoted(choosing),
                         fish_quoted(name), fish_quoted(description));
    }
    const std::string condition = when.empty() ? std::string() : " -n " + fish_quoted(when);
    if (!command.choices.empty()) {
      out += fmt::format("complete -c {} -f{} -a {}\n", program, condition,
                         fish_quoted(words_of(command.choices)));
    }
    for (const Flag& flag : command.flags) {
      const bool is_long = flag.name.starts_with("--");
      out += fmt::format("complete -c {}{} -{} {}", program, condition, is_long ? 'l' : 's',
                         fish_quoted(flag.name.substr(is_long ? 2 : 1)));
      if (flag.takes_value) out += " -r";
      if (!flag.choices.empty()) out += " -f -a " + fish_quoted(words_of(flag.choices));
      out += " -d " + fish_quoted(flag.description) + '\n';
    }
  }
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, Shell shell) {
  std::vector<Command> commands;
  read_tree(app, {}, {}, commands);
  const std::string program = app.get_name().empty() ? std::string("ctriage") : app.get_name();
  switch (shell) {
    case Shell::bash:
      return bash_script(program, commands);
    case Shell::zsh:
      return zsh_script(program, commands);
    case Shell::fish:
      return fish_script(program, commands);
  }
  return {};
}

}  // namespace ctriage
