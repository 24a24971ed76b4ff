// Reads strategy-selection problems in the JSON format of the IOPDDL contest, plain or gzipped:
//
//   {"problem": {"name": "tiny",
//                "nodes": {"intervals": [[0, 4], [2, 6]], "costs": [[15, 20], [55]], "usages": [[10, 5],
//                [25]]}, "edges": {"nodes": [[0, 1]], "costs": [[30, 40]]}, "usage_limit": 30}}
//
// Keys come in any order and unknown ones are skipped; `edges` and `usage_limit` may be missing. The text is
// scanned as it is decompressed, since a file of 2 MB may hold 140 MB of it, and never held as a whole.
#pragma once

#include <string>
#include <string_view>

#include "planner/solve/problem.h"

namespace shardc::planner::solve {

// A diagnostic says at which byte of the (decompressed) text what was expected.
Result<Problem> read_problem(const std::string& path);
Result<Problem> parse_problem(std::string_view json, const std::string& file = "");

}  // namespace shardc::planner::solve
