// Manual pages, made from the tree of commands and options that --help prints: `ctriage manual` names the
// pages, `ctriage manual PAGE` is one in man(7). Hidden: packages are made with it, a person has --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cmd/commands.h"

namespace ctriage {
namespace {

// roff(7): a backslash begins an escape, a bare - may be set as a hyphen, a line that begins with . or ' is a
// request.
std::string escape_roff(std::string_view text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else {
      out += c == '-' ? "\\-" : std::string(1, c);
    }
    begins = c == '\n';
  }
  return out;
}

std::string heading(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? char(c - 32) : c; });
  return fmt::format(".SH \"{}\"\n", escape_roff(upper));
}

std::string term(std::string_view name, std::string_view rest, std::string_view what) {
  return fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", escape_roff(name), escape_roff(rest), escape_roff(what));
}

std::string options_of(const CLI::App& app, const CLI::Formatter& format, bool positional) {
  std::string out;
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    if (option->get_group().empty() || option->nonpositional() == positional) continue;
    out += term(format.make_option_name(option, positional), format.make_option_opts(option),
                format.make_option_desc(option));
  }
  return out;
}

std::vector<const CLI::App*> shown_children(const CLI::App& app) {
  return app.get_subcommands(
      [](const CLI::App* child) { return !child->get_name().empty() && !child->get_group().empty(); });
}

// The command's name with those above it: "ctriage rules list", or its page's, "ctriage-rules-list".
std::string name_of(const CLI::App& app, char between) {
  return (app.get_parent() == nullptr ? "" : name_of(*app.get_parent(), between) + between) + app.get_name();
}

// "Examples:" and what is indented below it, "Exit status: ..." on a line of its own: a section each.
std::string footer_of(const std::string& footer) {
  std::string out;
  bool literal = false;
  std::size_t at = 0;
  while (at < footer.size()) {
    const std::size_t end = std::min(footer.find('\n', at), footer.size());
    const std::string_view line = std::string_view(footer).substr(at, end - at);
    at = end + 1;
    if (const bool indented = line.starts_with("  "); indented != literal) {
      out += indented ? ".nf\n" : ".fi\n";
      literal = indented;
    }
    const std::size_t colon = line.find(':');
    if (line.starts_with("Example") && colon + 1 == line.size()) {
      out += heading("Examples");
    } else if (line.starts_with("Exit status:")) {
      out += heading("Exit status") + escape_roff(line.substr(colon + 2)) + "\n";
    } else if (!line.empty()) {
      out += escape_roff(literal ? line.substr(2) : line) + "\n";
    }
  }
  return out + (literal ? ".fi\n" : "");
}

std::string page_of(const CLI::App& app) {
  const CLI::Formatter format;
  const std::string page = name_of(app, '-');
  std::string out =
      fmt::format(".TH \"{}\" 1 \"\" \"ctriage {}\" \"Container forensics\"\n", escape_roff(page), kVersion);
  out += heading("Name") + escape_roff(page) + " \\- " + escape_roff(app.get_description()) + "\n";
  const std::string usage = format.make_usage(&app, name_of(app, ' '));
  const std::string::size_type begins = usage.find(' ');
  out += heading("Synopsis") + escape_roff(usage.substr(begins + 1));
  if (const std::string named = options_of(app, format, true); !named.empty())
    out += heading("Arguments") + named;
  std::string group;
  for (const CLI::App* child : shown_children(app)) {
    if (child->get_group() != group) out += heading(group = child->get_group());
    out += term(child->get_name(), "", child->get_description());
  }
  if (const std::string named = options_of(app, format, false); !named.empty())
    out += heading("Options") + named;
  out += footer_of(app.get_footer());
  if (app.get_parent() != nullptr) {
    out += heading("See also") + fmt::format("\\fB{}\\fR(1), for the options that every command takes\n",
                                             escape_roff(name_of(*app.get_parent(), '-')));
  }
  return out;
}

void every_page(const CLI::App& app, std::vector<const CLI::App*>& into) {
  into.push_back(&app);
  for (const CLI::App* child : shown_children(app)) every_page(*child, into);
}

Exit run_manual(const CLI::App& app, const std::string& asked, Io& io) {
  std::vector<const CLI::App*> pages;
  every_page(app, pages);
  std::string out;
  for (const CLI::App* page : pages) {
    const std::string name = name_of(*page, '-');
    if (asked.empty()) out += name + "\n";
    if (asked == name) out = page_of(*page);
  }
  if (out.empty())
    return fail(io,
                Error{Errc::not_found, "manual " + asked + ": no such page; `ctriage manual` names them"});
  if (auto written = io.out(out); !written) return fail(io, written.error());
  return Exit::complete;
}

}  // namespace

void add_manual(CLI::App& app, Action& chosen) {
  auto page = std::make_shared<std::string>();
  CLI::App* sub = app.add_subcommand("manual", "Manual page of a command, in man(7)");
  sub->group("");
  sub->add_option("page", *page, "ctriage, ctriage-collect, ...; none: their names");
  sub->callback(
      [page, &app, &chosen] { chosen = [page, &app](Io& io) { return run_manual(app, *page, io); }; });
}

}  // namespace ctriage
