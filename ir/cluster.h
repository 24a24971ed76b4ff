// The machine that a plan is made for: devices, and the networks that join them.
//
// A homogeneous cluster is one device and levels of a hierarchy, innermost first: 8 devices on NVLink make
// a node, 16 nodes on InfiniBand make the cluster. A heterogeneous one is a list of groups, each homogeneous
// and present `count` times, and links between them; its own device and topology are then empty.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/types.h"

namespace shardc {

struct Device {
  std::string name;
  std::int64_t memory = 0;        // bytes
  double bandwidth = 0;           // of the memory, bytes per second
  std::map<DType, double> flops;  // peak floating-point operations per second
  double efficiency = 1;          // of the peak that large products reach, in (0, 1]
  bool operator==(const Device&) const = default;
};

// `size` units of the level inside (devices, at the innermost) on one network.
struct Level {
  std::string name;
  std::int64_t size = 1;
  double bandwidth = 0;  // bytes per second and direction, of one device
  double latency = 0;    // seconds
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
