#include "planner/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

namespace shardc::planner {
namespace {

constexpr double kHuber = 0.2;
constexpr int kRounds = 80;
constexpr double kPull = 0.02;  // of the start: as much as a sample of which a constant is a fiftieth

using Matrix = std::vector<std::vector<double>>;

// Solves a x = b, where a is symmetric and positive definite (Cholesky). Nothing if it is not.
std::vector<double> solve(Matrix a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = a[i][j];
      for (std::size_t k = 0; k < j; ++k) sum -= a[i][k] * a[j][k];
      if (i == j && sum <= 0) return {};
      a[i][j] = i == j ? std::sqrt(sum) : sum / a[j][j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[k][i] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

double loss_of(const std::vector<double>& errors) {
  double loss = 0;
  for (double e : errors) loss += std::abs(e) < kHuber ? e * e : 2 * kHuber * std::abs(e) - kHuber * kHuber;
  return loss;
}

std::vector<double> exponentials(const std::vector<double>& logs) {
  std::vector<double> values;
  for (double log : logs) values.push_back(std::exp(log));
  return values;
}

struct Normal {
  Matrix matrix;
  std::vector<double> slope;
};

// Of the errors at `logs`, by differences, weighted after Huber.
Normal normal_equations(const std::vector<double>& logs, const std::vector<double>& here,
                        const LogErrors& errors) {
  constexpr double kStep = 1e-5;
  const std::size_t n = logs.size();
  Matrix slopes;
  for (std::size_t c = 0; c < n; ++c) {
    std::vector<double> moved = logs;
    moved[c] += kStep;
    slopes.push_back(errors(exponentials(moved)));
    for (std::size_t i = 0; i < here.size(); ++i) slopes[c][i] = (slopes[c][i] - here[i]) / kStep;
  }
  Normal normal{Matrix(n, std::vector<double>(n)), std::vector<double>(n)};
  for (std::size_t i = 0; i < here.size(); ++i) {
    const double weight = std::min(1.0, kHuber / std::max(std::abs(here[i]), 1e-12));
    for (std::size_t c = 0; c < n; ++c) {
      normal.slope[c] -= weight * slopes[c][i] * here[i];
      for (std::size_t d = 0; d < n; ++d) normal.matrix[c][d] += weight * slopes[c][i] * slopes[d][i];
    }
  }
  return normal;
}

double log_error(double predicted, double measured) { return std::log(predicted / measured); }

FitQuality summary(std::string what, std::vector<double> errors) {
  std::sort(errors.begin(), errors.end());
  return {std::move(what), errors.size(), errors[errors.size() / 2], errors.back()};
}

std::vector<FitQuality> summaries(const std::map<std::string, std::vector<double>>& errors) {
  std::vector<FitQuality> all;
  for (const auto& [what, list] : errors) all.push_back(summary(what, list));
  return all;
}

// The constants of a device that are fitted, in the order of the vector.
Device device_with(Device device, double peak, const std::vector<double>& c) {
  device.flops[DType::F32] = peak;
  device.efficiency = std::min(c[0] / peak, 1.0);
  device.vector = c[1];
  device.bandwidth = c[2];
  device.cache = {c[3], std::max(c[4], c[2])};
  device.launch = c[5];
  device.call = c[6];
  device.ramp.width = c[7];
  device.row = c[8];
  return device;
}

Level level_with(Level level, const std::vector<double>& c) {
  level.bandwidth = c[0];
  level.latency = c[1];
  level.start = c[2];
  level.cache = {c[3], std::max(c[4], c[0])};
  for (Collective::Kind kind :
       {Collective::Kind::AllReduce, Collective::Kind::AllGather, Collective::Kind::AllToAll,
        Collective::Kind::Permute})  // reduce-scatters are the measure
    level.speeds.of[static_cast<std::size_t>(kind)] = c[5 + static_cast<std::size_t>(kind)];
  level.speeds.of[static_cast<std::size_t>(Collective::Kind::Halo)] =
      level.speeds.of[static_cast<std::size_t>(Collective::Kind::Permute)];
  return level;
}

bool is_product(const WorkSample& sample, DType dtype) {
  return sample.work.calls > 0 && sample.work.dtype == dtype;
}

// The peak at which products of a type take as long as in the samples; all else is as on `device`.
double fit_peak(Device device, DType dtype, const std::vector<WorkSample>& samples) {
  const LogErrors errors = [&](const std::vector<double>& constants) {
    device.flops[dtype] = constants[0];
    std::vector<double> all;
    for (const WorkSample& sample : samples)
      if (is_product(sample, dtype))
        all.push_back(log_error(seconds_of(sample.work, device), sample.seconds));
    return all;
  };
  return fit_constants({device.flops.at(DType::F32)}, errors)[0];
}

// Three digits are more than any measurement is worth, and can be read.
double rounded(double value) { return std::stod(fmt::format("{:.3g}", value)); }

std::vector<double> rounded(std::vector<double> values) {
  for (double& value : values) value = rounded(value);
  return values;
}

}  // namespace

std::vector<double> fit_constants(std::vector<double> start, const LogErrors& of_samples) {
  std::vector<double> logs;
  for (double value : start) logs.push_back(std::log(value));
  const LogErrors errors = [&](const std::vector<double>& constants) {
    std::vector<double> all = of_samples(constants);
    for (std::size_t c = 0; c < start.size(); ++c) all.push_back(kPull * std::log(constants[c] / start[c]));
    return all;
  };
  std::vector<double> here = errors(start);
  double damping = 1e-2;
  for (int round = 0; round < kRounds && damping < 1e8; ++round) {
    Normal normal = normal_equations(logs, here, errors);
    for (std::size_t c = 0; c < logs.size(); ++c) normal.matrix[c][c] += damping;
    const std::vector<double> move = solve(std::move(normal.matrix), std::move(normal.slope));
    if (move.empty()) break;
    std::vector<double> next = logs;
    for (std::size_t c = 0; c < logs.size(); ++c) next[c] += std::clamp(move[c], -1.0, 1.0);
    std::vector<double> there = errors(exponentials(next));
    if (loss_of(there) < loss_of(here)) {
      logs = std::move(next);
      here = std::move(there);
      damping /= 3;
    } else {
      damping *= 4;
    }
  }
  return exponentials(logs);
}

Device fit_device(Device device, const std::vector<WorkSample>& samples) {
  if (samples.empty()) return device;
  double peak = 1e9;
  std::set<DType> others;  // in which products are made
  for (const WorkSample& sample : samples) {
    if (is_product(sample, DType::F32)) peak = std::max(peak, sample.work.flops / sample.seconds);
    if (sample.work.calls > 0 && sample.work.dtype != DType::F32) others.insert(sample.work.dtype);
  }
  const LogErrors errors = [&](const std::vector<double>& constants) {
    const Device trial = device_with(device, peak, constants);
    std::vector<double> all;
    for (const WorkSample& sample : samples)
      if (sample.work.calls == 0 || is_product(sample, DType::F32))
        all.push_back(log_error(seconds_of(sample.work, trial), sample.seconds));
    return all;
  };
  // Caches come in sizes that one start does not reach from another.
  std::optional<std::vector<double>> best;
  for (double cache : {512e3, 8e6, 32e6}) {
    std::vector<double> fitted =
        fit_constants({0.9 * peak, 40e9, 10e9, cache, 30e9, 2e-7, 2e-7, 4, 3e-9}, errors);
    if (!best || loss_of(errors(fitted)) < loss_of(errors(*best))) best = std::move(fitted);
  }
  Device fitted = device_with(device, rounded(peak), rounded(*best));
  for (const DType dtype : others) fitted.flops[dtype] = rounded(fit_peak(fitted, dtype, samples));
  return fitted;
}

Level fit_level(const Cluster& cluster, const Mesh& mesh, const std::vector<CollectiveSample>& samples) {
  const Level& level = cluster.topology.front();
  if (samples.empty()) return level;
  const LogErrors errors = [&](const std::vector<double>& constants) {
    Cluster trial = cluster;
    trial.topology = {level_with(level, constants)};
    std::vector<double> all;
    for (const CollectiveSample& sample : samples)
      all.push_back(log_error(seconds_of(sample.collective, sample.payload, mesh, trial), sample.seconds));
    return all;
  };
  return level_with(level, rounded(fit_constants({5e9, 1e-6, 1e-6, 512e3, 20e9, 1, 1, 1, 1, 1}, errors)));
}

std::vector<FitQuality> quality_of(const Device& device, const std::vector<WorkSample>& samples) {
  std::map<std::string, std::vector<double>> errors;
  for (const WorkSample& sample : samples)
    errors[sample.work.calls > 0 ? fmt::format("products of {}", name_of(sample.work.dtype)) : "loops"]
        .push_back(std::abs(seconds_of(sample.work, device) / sample.seconds - 1));
  return summaries(errors);
}

std::vector<FitQuality> quality_of(const Cluster& cluster, const Mesh& mesh,
                                   const std::vector<CollectiveSample>& samples) {
  std::map<std::string, std::vector<double>> errors;
  for (const CollectiveSample& sample : samples)
    errors[std::string(name_of(sample.collective.kind))].push_back(
        std::abs(seconds_of(sample.collective, sample.payload, mesh, cluster) / sample.seconds - 1));
  return summaries(errors);
}

}  // namespace shardc::planner
