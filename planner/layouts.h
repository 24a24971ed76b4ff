// All ways to lay a tensor out over a mesh, and the cheapest way from each to each other: the layouts are
// vertices, collectives and slices edges at the cluster's prices, and the table holds all pairs of shortest
// paths. passes/reshard.h finds the same paths one at a time.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc::planner {

class Layouts {
 public:
  // Every assignment of whole mesh axes to dimensions, in every order, that gives no device nothing to hold.
  Layouts(const Type& type, const Mesh& mesh, const Cluster& cluster);

  std::size_t size() const { return all_.size(); }
  const std::vector<Axes>& operator[](std::size_t layout) const { return all_[layout]; }  // per dimension
  std::optional<std::size_t> find(const std::vector<Axes>& dims) const;
  double bytes(std::size_t layout) const { return bytes_[layout]; }  // of one device's buffer

  // Seconds from one layout to another.
  double seconds(std::size_t from, std::size_t to) const { return table_[from * size() + to]; }
  // From a partial value of the same layout, to every layout without partial axes.
  const std::vector<double>& seconds_reduced(std::size_t from, const Axes& partial);

 private:
  void place(std::size_t axis, std::vector<Axes>& dims);
  void connect();
  void move(std::size_t from, const std::vector<Axes>& to, double seconds);
  void add_gathers(std::size_t from);
  void add_slices(std::size_t from);
  void add_exchanges(std::size_t from);
  void add_permutations(std::size_t from);
  double price(Collective::Kind kind, const Axes& axes, std::size_t from) const;

  Type type_;
  const Mesh& mesh_;
  const Cluster& cluster_;
  Axes axes_;  // of more than one device
  std::vector<std::vector<Axes>> all_;
  std::map<std::vector<Axes>, std::size_t> index_;
  std::vector<double> bytes_;
  std::vector<double> table_;
  std::map<std::pair<std::size_t, Axes>, std::vector<double>> reduced_;
};

}  // namespace shardc::planner
