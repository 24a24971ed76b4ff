#include "planner/layouts.h"

#include <algorithm>
#include <limits>

#include "ir/price.h"
#include "ir/support/check.h"

namespace shardc::planner {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

bool uses(const std::vector<Axes>& dims, const AxisRef& axis) {
  return std::any_of(dims.begin(), dims.end(), [&](const Axes& axes) {
    return std::find(axes.begin(), axes.end(), axis) != axes.end();
  });
}

}  // namespace

Layouts::Layouts(const Type& type, const Mesh& mesh, const Cluster& cluster)
    : type_(type), mesh_(mesh), cluster_(cluster) {
  for (std::size_t a = 0; a < mesh.axes.size(); ++a)
    if (mesh.axes[a].size > 1) axes_.push_back(whole(mesh, AxisId(a)));
  std::vector<Axes> none(type.rank());
  place(0, none);
  connect();
}

// Each axis in turn: nowhere, or at any place of any dimension's list.
void Layouts::place(std::size_t axis, std::vector<Axes>& dims) {
  if (axis == axes_.size()) {
    std::int64_t elements = 1;
    for (std::size_t d = 0; d < dims.size(); ++d) elements *= chunk_of(type_.shape[d], dims[d]);
    index_.emplace(dims, all_.size());
    all_.push_back(dims);
    bytes_.push_back(static_cast<double>(elements * bytes_of(type_.dtype)));
    return;
  }
  place(axis + 1, dims);
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (ways(dims[d]) * axes_[axis].size > type_.shape[d]) continue;
    for (std::size_t at = 0; at <= dims[d].size(); ++at) {
      const auto position = static_cast<std::ptrdiff_t>(at);
      dims[d].insert(dims[d].begin() + position, axes_[axis]);
      place(axis + 1, dims);
      dims[d].erase(dims[d].begin() + position);
    }
  }
}

std::optional<std::size_t> Layouts::find(const std::vector<Axes>& dims) const {
  const auto found = index_.find(dims);
  return found == index_.end() ? std::nullopt : std::optional(found->second);
}

double Layouts::price(Collective::Kind kind, const Axes& axes, std::size_t from) const {
  return seconds_of(Collective{kind, axes, Combine::Sum, 0, 0}, bytes_[from], mesh_, cluster_);
}

void Layouts::move(std::size_t from, const std::vector<Axes>& to, double seconds) {
  const auto found = find(to);
  if (found) table_[from * size() + *found] = std::min(table_[from * size() + *found], seconds);
}

// Floyd and Warshall's: the table is dense, and small.
void Layouts::connect() {
  const std::size_t n = size();
  table_.assign(n * n, kNever);
  for (std::size_t i = 0; i < n; ++i) {
    table_[i * n + i] = 0;
    add_gathers(i);
    add_slices(i);
    add_exchanges(i);
    add_permutations(i);
  }
  for (std::size_t via = 0; via < n; ++via)
    for (std::size_t i = 0; i < n; ++i) {
      const double first = table_[i * n + via];
      if (first == kNever) continue;
      const double* second = &table_[via * n];
      double* row = &table_[i * n];
      for (std::size_t j = 0; j < n; ++j) row[j] = std::min(row[j], first + second[j]);
    }
}

// The last axes of a dimension go; several in one collective where chunks are even.
void Layouts::add_gathers(std::size_t from) {
  for (std::size_t d = 0; d < type_.rank(); ++d) {
    std::vector<Axes> to = all_[from];
    Axes gone;
    while (!to[d].empty()) {
      gone.insert(gone.begin(), to[d].back());
      to[d].pop_back();
      if (gone.size() > 1 && type_.shape[d] % ways(all_[from][d]) != 0) break;
      move(from, to, price(Collective::Kind::AllGather, gone, from));
    }
  }
}

void Layouts::add_slices(std::size_t from) {
  for (const AxisRef& axis : axes_) {
    if (uses(all_[from], axis)) continue;
    for (std::size_t d = 0; d < type_.rank(); ++d) {
      std::vector<Axes> to = all_[from];
      to[d].push_back(axis);
      if (const auto sliced = find(to))
        move(from, to, seconds_of_loop(0, bytes_[*sliced], type_.dtype, cluster_.device));
    }
  }
}

void Layouts::add_exchanges(std::size_t from) {
  for (std::size_t d = 0; d < type_.rank(); ++d) {
    if (all_[from][d].empty()) continue;
    for (std::size_t e = 0; e < type_.rank(); ++e) {
      if (e == d) continue;
      std::vector<Axes> to = all_[from];
      const AxisRef axis = to[d].back();
      to[d].pop_back();
      to[e].push_back(axis);
      move(from, to, price(Collective::Kind::AllToAll, {axis}, from));
    }
  }
}

// Whole parts change devices: an axis stands in for one of the same size, or two swap their places. In one
// dimension two of different sizes may too, where chunks are even; then the parts of those in between move
// along.
void Layouts::add_permutations(std::size_t from) {
  const auto swap = [&](const AxisRef& a, const AxisRef& b, const Axes& moving) {
    std::vector<Axes> to = all_[from];
    for (Axes& axes : to)
      for (AxisRef& axis : axes) axis = axis == a ? b : axis == b ? a : axis;
    move(from, to, price(Collective::Kind::Permute, moving, from));
  };
  for (std::size_t i = 0; i < axes_.size(); ++i)
    for (std::size_t j = i + 1; j < axes_.size(); ++j)
      if (axes_[i].size == axes_[j].size && (uses(all_[from], axes_[i]) || uses(all_[from], axes_[j])))
        swap(axes_[i], axes_[j], {axes_[i], axes_[j]});
  for (std::size_t d = 0; d < type_.rank(); ++d) {
    const Axes& axes = all_[from][d];
    if (type_.shape[d] % ways(axes) != 0) continue;
    for (std::size_t i = 0; i < axes.size(); ++i)
      for (std::size_t j = i + 1; j < axes.size(); ++j)
        if (axes[i].size != axes[j].size)
          swap(axes[i], axes[j],
               Axes(axes.begin() + static_cast<std::ptrdiff_t>(i),
                    axes.begin() + static_cast<std::ptrdiff_t>(j) + 1));
  }
}

const std::vector<double>& Layouts::seconds_reduced(std::size_t from, const Axes& partial) {
  const auto key = std::pair(from, partial);
  if (const auto known = reduced_.find(key); known != reduced_.end()) return known->second;
  std::vector<double> best(table_.begin() + static_cast<std::ptrdiff_t>(from * size()),
                           table_.begin() + static_cast<std::ptrdiff_t>((from + 1) * size()));
  if (!partial.empty()) {
    const double all = price(Collective::Kind::AllReduce, partial, from);
    for (double& seconds : best) seconds += all;
    for (const AxisRef& axis : partial) {
      Axes rest = partial;
      std::erase(rest, axis);
      const double scatter = price(Collective::Kind::ReduceScatter, {axis}, from);
      for (std::size_t d = 0; d < type_.rank(); ++d) {
        std::vector<Axes> to = all_[from];
        to[d].push_back(axis);
        const auto scattered = find(to);
        if (!scattered) continue;
        const std::vector<double>& then = seconds_reduced(*scattered, rest);
        for (std::size_t j = 0; j < size(); ++j) best[j] = std::min(best[j], scatter + then[j]);
      }
    }
  }
  return reduced_.emplace(key, std::move(best)).first->second;
}

}  // namespace shardc::planner
