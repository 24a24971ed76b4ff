// The cheapest way from one sharding of a value to another: a shortest path over slices, all-gathers,
// all-to-alls, permutations, reduce-scatters and all-reduces at the cluster's prices (Zhuang et al. 2022, "On
// optimizing the communication of model parallelism", call this cross-mesh and intra-mesh resharding).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/builder.h"
#include "ir/cluster.h"

namespace shardc::passes {

// One step; `after` is the value's sharding when it is done.
struct ReshardStep {
  std::optional<Collective> collective;  // none: each device takes its slice of what it has
  Sharding after;
};

struct Route {
  std::vector<ReshardStep> steps;
  double seconds = 0;
};

// Finds routes, and remembers them. Halos are laid on last, dimension by dimension.
class Resharder {
 public:
  Resharder(const Mesh& mesh, const Cluster& cluster) : mesh_(mesh), cluster_(cluster) {}

  // `to` is partial over all or none of what `from` is partial over. Nothing where `from` cannot become `to`
  // (a partial value that would have to be gathered first).
  const std::optional<Route>& route(const Type& type, const Sharding& from, const Sharding& to);

  // Appends the steps; returns the value in its new form.
  ValueId apply(Builder& to, ValueId value, const Sharding& target);

  const Mesh& mesh() const { return mesh_; }
  const Cluster& cluster() const { return cluster_; }

 private:
  const Mesh& mesh_;
  const Cluster& cluster_;
  std::map<std::string, std::optional<Route>> known_;
};

}  // namespace shardc::passes
