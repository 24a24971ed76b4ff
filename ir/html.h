// A graph's text form (text.h) as a page for a browser: a name leads to the statement that makes it and tells
// its type, a statement's own name leads to its first reader, all places of a value light up under the
// pointer, repeats fold. The page is one file and loads nothing; what is copied from it parses.
#pragma once

#include <string>
#include <string_view>

namespace shardc {

// `text` is what print() wrote, with or without remarks.
std::string print_html(std::string_view title, std::string_view text);

}  // namespace shardc
