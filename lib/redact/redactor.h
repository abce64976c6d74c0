#pragma once
// Hides secrets in texts and JSON: REDACTION.md here says which.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/result.h"

namespace ctriage::redact {

class Redactor {
 public:
  Redactor();
  ~Redactor();
  Redactor(const Redactor&) = delete;
  Redactor& operator=(const Redactor&) = delete;

  // A line, without its end, of a text: a key in PEM may go on in the next. begin() forgets that.
  std::string text(std::string_view line);
  void begin();
  // One that no other follows.
  std::string alone(std::string_view text);
  // Arguments or variables in their order: what follows an option that is called --password is one.
  std::vector<std::string> words(const std::vector<std::string>& words);

  // A JSON value, its strings hidden, its form kept. `ours`: a record of our own schema, whose members' names
  // say nothing of their values. Errc::malformed, limit.
  enum class Whose : std::uint8_t { ours, others };
  Result<std::string> json(std::string_view value, Whose whose);

  // Looked for from now on wherever they stand: all that was hidden so far and is long enough. Places are
  // counted anew. False: they are too many for all of them to be looked for.
  [[nodiscard]] bool look_for_known();
  [[nodiscard]] std::uint64_t values() const { return numbers_.size(); }  // different ones
  [[nodiscard]] std::uint64_t hidden() const { return hidden_; }          // places

 private:
  struct Forms;
  std::string mark(std::string_view secret);
  std::string hide_forms(std::string_view text);
  [[nodiscard]] bool is_secret_name(std::string_view name) const;
  friend class JsonRedaction;

  std::unique_ptr<Forms> forms_;
  std::map<std::string, std::uint64_t, std::less<>> numbers_;
  std::map<std::string, std::uint64_t, std::less<>> beginnings_;  // of those, to a mark that may end them
  bool crowded_ = false;
  std::uint64_t hidden_ = 0;
  bool in_key_ = false;  // between BEGIN and END of a private key
};

}  // namespace ctriage::redact
