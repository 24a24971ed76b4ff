#include "planner/symmetry.h"

#include <algorithm>
#include <numeric>

#include "ir/price.h"

namespace shardc::planner {
namespace {

// What collectives over a set of axes cost, short ones and long ones.
std::vector<double> prices_of(const Mesh& mesh, const Axes& axes, const Cluster& cluster) {
  std::vector<double> seconds;
  for (const auto kind :
       {Collective::Kind::AllReduce, Collective::Kind::AllGather, Collective::Kind::AllToAll})
    for (const double payload : {1e3, 1e9})
      seconds.push_back(seconds_of(Collective{kind, axes, Combine::Sum, 0, 0}, payload, mesh, cluster));
  return seconds;
}

// Whether axis i of one mesh is, to all prices, axis order[i] of the other.
bool alike(const Mesh& a, const Mesh& b, const std::vector<std::size_t>& order, const Cluster& cluster) {
  const std::size_t n = a.axes.size();
  for (std::size_t i = 0; i < n; ++i)
    if (a.axes[i].size != b.axes[order[i]].size) return false;
  for (std::size_t set = 1; set < (std::size_t{1} << n); ++set) {
    Axes axes, images;
    for (std::size_t i = 0; i < n; ++i)
      if ((set >> i & 1) != 0) {
        axes.push_back(whole(a, AxisId(i)));
        images.push_back(whole(b, AxisId(order[i])));
      }
    if (prices_of(a, axes, cluster) != prices_of(b, images, cluster)) return false;
  }
  return true;
}

std::vector<std::size_t> first_order(const Mesh& mesh) {
  std::vector<std::size_t> order(mesh.axes.size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

}  // namespace

std::vector<std::vector<AxisRef>> renamings_of(const Mesh& mesh, const Cluster& cluster) {
  std::vector<std::vector<AxisRef>> found;
  std::vector<std::size_t> order = first_order(mesh);
  while (std::next_permutation(order.begin(), order.end())) {
    if (!alike(mesh, mesh, order, cluster)) continue;
    found.emplace_back();
    for (const std::size_t axis : order) found.back().push_back(whole(mesh, AxisId(axis)));
  }
  return found;
}

bool equivalent(const Mesh& a, const Mesh& b, const Cluster& cluster) {
  if (a.axes.size() != b.axes.size()) return false;
  std::vector<std::size_t> order = first_order(a);
  do {
    if (alike(a, b, order, cluster)) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

}  // namespace shardc::planner
