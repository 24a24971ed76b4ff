// From measured times to the constants of the machine model: the formulas of ir/price.h turned round.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/cluster.h"
#include "ir/graph.h"
#include "ir/price.h"

namespace shardc::planner {

// Relative errors of predictions, |predicted / measured - 1|.
struct FitQuality {
  std::string what;
  std::size_t samples = 0;
  double median = 0, worst = 0;
};

struct WorkSample {
  Work work;
  double seconds = 0;
};
struct CollectiveSample {
  Collective collective;
  double payload = 0;  // bytes
  double seconds = 0;
};

// Fits rates, bandwidths, launch costs, the ramp and the cache of `device` to the samples, of types but f32
// the rate of products alone. What it says of memory, names and the host stays. Nothing to fit: the device as
// it is.
Device fit_device(Device device, const std::vector<WorkSample>& samples);

// Fits the only level of a cluster to collectives along axes of `mesh`.
Level fit_level(const Cluster& cluster, const Mesh& mesh, const std::vector<CollectiveSample>& samples);

// One entry per group of samples that has any: products by type, loops, collectives by kind.
std::vector<FitQuality> quality_of(const Device& device, const std::vector<WorkSample>& samples);
std::vector<FitQuality> quality_of(const Cluster& cluster, const Mesh& mesh,
                                   const std::vector<CollectiveSample>& samples);

// Positive constants that bring `errors` (logarithms of predicted over measured) near 0, from `start`: least
// squares on the constants' logarithms (Levenberg and Marquardt), where errors beyond 20% count by their size
// and not by their square (Huber 1964). What no sample speaks of stays near its start.
using LogErrors = std::function<std::vector<double>(const std::vector<double>& constants)>;
std::vector<double> fit_constants(std::vector<double> start, const LogErrors& errors);

}  // namespace shardc::planner
