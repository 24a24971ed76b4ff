// The machine that a plan is made for: devices, and the networks that join them.
//
// A homogeneous cluster is one device and levels of a hierarchy, innermost first: 8 devices on NVLink make
// a node, 16 nodes on InfiniBand make the cluster. A heterogeneous one is a list of groups, each homogeneous
// and present `count` times, and links between them; its own device and topology are then empty.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/types.h"

namespace shardc {

// What is small moves faster than memory or network allow; `size` 0: there is none.
struct Cache {
  double size = 0;       // bytes
  double bandwidth = 0;  // bytes per second
  bool operator==(const Cache&) const = default;
};

// Sizes at which work reaches half of its full speed: w / (w + half). 0: at once.
struct Ramp {
  double flops = 0;  // of one matrix product
  double bytes = 0;  // moved by one loop
  double width = 0;  // rows, columns and inner length of a matrix product, each
  bool operator==(const Ramp&) const = default;
};

// Memory beside the device's own, and the link to it, in bytes per second and direction.
struct Host {
  std::int64_t memory = 0;
  double bandwidth = 0;
  bool operator==(const Host&) const = default;
};

// How these make times: ir/price.h.
struct Device {
  std::string name;
  std::int64_t memory = 0;        // bytes
  double bandwidth = 0;           // of the memory, bytes per second
  std::map<DType, double> flops;  // peak floating-point operations per second
  double efficiency = 1;          // of the peak that large products reach, in (0, 1]
  double memory_efficiency = 1;   // of the bandwidth that long loops reach, in (0, 1]
  double vector = 0;              // operations per second outside of matrix products; 0: as inside
  double row = 0;                 // seconds to begin an innermost loop
  double launch = 1e-7;           // seconds to enter a loop or a kernel
  double dispatch = 0;  // seconds of a host that hands out kernels, each; it runs ahead of the device
  double call = 0;      // seconds to enter each matrix product of a batch
  Ramp ramp;
  Cache cache;
  Host host;
  bool operator==(const Device&) const = default;
};

// How much faster than by its formula each kind of collective goes: all_reduce, reduce_scatter, all_gather,
// all_to_all, permute, halo (in the order of Collective::Kind, graph.h).
struct Speeds {
  std::array<double, 6> of = {1, 1, 1, 1, 1, 1};
  bool operator==(const Speeds&) const = default;
};

// `size` units of the level inside (devices, at the innermost) on one network.
struct Level {
  std::string name;
  std::int64_t size = 1;
  double bandwidth = 0;  // bytes per second and direction, of one device
  double latency = 0;    // seconds, of one message
  double start = 0;      // seconds to begin a collective, whatever it is
  Cache cache;           // messages up to its size move at its bandwidth
  Speeds speeds;         // of kinds of collectives, in multiples of those bandwidths
  double overlap = 0;    // of a collective, the part that runs beside computation, in [0, 1]
  bool operator==(const Level&) const = default;
};

struct DeviceGroup {
  std::string name;
  std::int64_t count = 1;  // how many of these there are
  Device device;
  std::vector<Level> topology;
  std::int64_t devices() const;  // of all `count`
  bool operator==(const DeviceGroup&) const = default;
};

// Between two groups, or, when both are the same, between its `count` copies.
struct GroupLink {
  std::size_t from = 0, to = 0;  // indices into groups; from <= to
  double bandwidth = 0;
  double latency = 0;
  bool operator==(const GroupLink&) const = default;
};

struct Cluster {
  std::string name;
  Device device;
  std::vector<Level> topology;
  std::vector<DeviceGroup> groups;  // not empty: heterogeneous
  std::vector<GroupLink> links;
  std::int64_t devices() const;
  bool operator==(const Cluster&) const = default;
};

}  // namespace shardc
