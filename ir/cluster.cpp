#include "ir/cluster.h"

namespace shardc {
namespace {

std::int64_t devices_of(const std::vector<Level>& topology) {
  std::int64_t product = 1;
  for (const Level& level : topology) product *= level.size;
  return product;
}

}  // namespace

std::int64_t DeviceGroup::devices() const { return count * devices_of(topology); }

std::int64_t Cluster::devices() const {
  if (groups.empty()) return devices_of(topology);
  std::int64_t sum = 0;
  for (const DeviceGroup& group : groups) sum += group.devices();
  return sum;
}

}  // namespace shardc
