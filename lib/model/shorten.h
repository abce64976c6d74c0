#pragma once
// Makes an artifact fit one line of a .jsonl stream: argv of megabytes or thousands of extended attributes
// come from whoever wants the line, and all that follow it, to be lost.
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string>
#include <vector>

#include "lib/core/values.h"
#include "lib/model/fields.h"

namespace ctriage {

// What is left of an artifact that is too long: each text up to kTextBytes, in the order of its members,
// while all of them stay below kBudgetBytes; of each list the first kElements. Escaped and encoded twice that
// is far below kMaxJsonLineBytes.
class Shorten {
 public:
  static constexpr std::size_t kTextBytes = 4'096;
  static constexpr std::size_t kBudgetBytes = 512 << 10;
  static constexpr std::size_t kElements = 4'096;

  template <class T>
  void operator()(std::string_view, T& member, std::string_view) {
    cut(member);
  }

 private:
  template <class T>
  void cut(T& member) {
    if constexpr (std::same_as<T, Bytes>) {
      cut(member.raw);
    } else if constexpr (std::same_as<T, std::string>) {
      member.resize(std::min({member.size(), kTextBytes, left_}));
      left_ -= member.size();
    } else if constexpr (requires { member.has_value(); }) {
      if (member.has_value()) cut(*member);
    } else if constexpr (Artifact<T>) {
      T::fields(member, *this);
    } else if constexpr (requires { member.resize(kElements); }) {
      if (member.size() > kElements) member.resize(kElements);
      for (auto& element : member) cut(element);
    }
  }

  std::size_t left_ = kBudgetBytes;
};

template <Artifact T>
T shortened(T item) {
  Shorten shorten;
  T::fields(item, shorten);
  return item;
}

}  // namespace ctriage
