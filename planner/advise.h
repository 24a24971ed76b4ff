// What would have to change for a plan to fit, where none does. Nothing is named that was not tried: each
// change is solved, made a program and counted.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "planner/search.h"

namespace shardc::planner {

struct Advice {
  std::vector<std::string> changes;  // "16 devices (for 12 none was found)"; each alone is enough
  std::vector<std::string> in_vain;  // what was tried and does not fit: "up to 64 devices"
};

// The same question about another cluster.
using TaskOf = std::function<Task(const Cluster&)>;

// `others`: ways to run the step that the search may not choose by itself, thriftiest last. `go_on` is asked
// before each trial: false ends the search for advice.
Advice advise(const TaskOf& task_of, const Cluster& cluster, const std::vector<Variant>& others,
              const std::function<bool()>& go_on);

}  // namespace shardc::planner
