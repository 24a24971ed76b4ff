// What the commands share: from what the user asked for to a program, stage by stage.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codegen/clang.h"
#include "frontend/model.h"
#include "ir/cluster.h"
#include "ir/plan.h"
#include "passes/pipeline.h"
#include "planner/search.h"
#include "runtime/shardc_rt.h"

namespace shardc::tools {

struct Compilation : codegen::CompileOptions {
  bool cached = true;  // look into the user's cache first, and keep there what is new
};

struct Request {
  std::string model;              // path
  std::string dims;               // --set
  std::string plan;               // --plan: path
  std::string mesh;               // --mesh
  std::string cluster;            // --cluster: path
  std::vector<std::string> pins;  // --pin: what the search is to keep, "NAME=[data, _]"
  std::int64_t ranks = 0;         // --ranks; 0: as --plan, --mesh, the model's hints or the cluster say,
  std::int64_t otherwise = 0;     // else this many; 0: one per core
  int axes = 2;                   // --axes: of the meshes that are searched, at most
  bool overlap = true;            // --no-overlap: collectives begin and end where they stand
  bool gradients = false;         // also outputs gradients
  bool lenient = false;  // for a look: what the program breaks of `expect` and `explicit` is no error
  // Called once the model is known to be right, before all else.
  std::function<void(const Graph& step)> loaded;
  Compilation compile;
};

struct Built {
  Model model;
  passes::Prepared prepared;
  Plan plan;
  passes::Seeds seeds;  // what propagation started from
  Graph sharded;
  passes::LocalProgram local;
  std::optional<planner::Trial> trial;  // of the search that made the plan
  std::int64_t memory = 0;              // of a device, for the search; 0: no limit
  Diagnostics stale;    // the plan was made for another model or cluster; also among the remarks
  Diagnostics remarks;  // what is worth knowing, and no mistake
};

// The machine that this runs on, as a cluster of `devices` ranks: sizes read, speeds assumed.
Cluster this_machine(std::int64_t devices);

Result<Model> load_model(const Request& request, const frontend::TrainChoices& train = {});
Result<Built> build(const Request& request);
std::string emit(const Built& built);  // C++

std::string summary_of(const Plan& plan);         // for people
std::string json_of(const Diagnostics& remarks);  // for programs: a list
std::string json_of(const Built& built, double search_seconds);

}  // namespace shardc::tools
