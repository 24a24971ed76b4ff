// What the commands share: from what the user asked for to a program, stage by stage.
#pragma once

#include <optional>
#include <string>

#include "codegen/clang.h"
#include "frontend/model.h"
#include "ir/cluster.h"
#include "ir/plan.h"
#include "passes/pipeline.h"
#include "runtime/shardc_rt.h"

namespace shardc::tools {

struct Request {
  std::string model;           // path
  std::string dims;            // --set
  std::string plan;            // --plan: path
  std::string mesh;            // --mesh
  std::string cluster;         // --cluster: path
  std::int64_t ranks = 0;      // --ranks; 0: as --plan, --mesh, the model's hints or the cluster say,
  std::int64_t otherwise = 0;  // else this many; 0: one per core
  bool gradients = false;      // also outputs gradients
  bool lenient = false;        // for a look: what the program breaks of `expect` and `explicit` is no error
  codegen::CompileOptions compile;
};

struct Built {
  Model model;
  passes::Prepared prepared;
  Plan plan;
  passes::Seeds seeds;  // what propagation started from
  Graph sharded;
  passes::LocalProgram local;
  Diagnostics remarks;  // what is worth knowing, and no mistake
};

// The machine that this runs on, as a cluster of `devices` ranks: sizes read, speeds assumed.
Cluster this_machine(std::int64_t devices);

Result<Model> load_model(const Request& request);
Result<Built> build(const Request& request);
std::string emit(const Built& built);  // C++

std::string summary_of(const Plan& plan);                      // for people
std::string json_of(const Plan& plan, double search_seconds);  // for programs

}  // namespace shardc::tools
