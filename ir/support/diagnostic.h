// What a user did wrong, where, what was expected, and what was probably meant; or what is worth knowing.
//
// A diagnostic is a value: nothing is printed here. It renders as
//
//   model.yaml:12:9: error: unknown function 'layernorm'
//      12 |   - h: layernorm(x, g, b)
//         |        ^~~~~~~~~
//   hint: did you mean 'layer_norm'?
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace shardc {

// A span of a text file. Lines and columns count from 1; line 0 means "no place".
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  int length = 1;  // characters to underline
};

struct Diagnostic {
  Place place;
  std::string message;      // one sentence, no full stop: "unknown function 'layernorm'"
  std::string hint;         // what to do about it; may be empty
  std::string source_line;  // the text of place.line; may be empty
  bool mistake = true;      // false: nothing is wrong with the input, but the answer to the question is no
  bool remark = false;      // nothing is wrong at all
  bool warning = false;     // a remark on what is hardly meant
};

using Diagnostics = std::vector<Diagnostic>;

Diagnostic error_at(Place place, std::string message, std::string hint = {});

Diagnostic remark_at(Place place, std::string message, std::string hint = {});
Diagnostic warning_at(Place place, std::string message, std::string hint = {});

std::string render(const Diagnostic& diagnostic);
std::string render(const Diagnostics& diagnostics);

// "did you mean 'x'?" for the candidates that end in ".name" (a value without the blocks that it is in), else
// for the one nearest to `name` in edit distance, or "" when none is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace shardc
