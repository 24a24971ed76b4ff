#include "passes/divide.h"

#include <algorithm>
#include <limits>

#include "ir/division.h"
#include "ir/price.h"
#include "ir/reach.h"
#include "ir/support/check.h"

namespace shardc::passes {
namespace {

constexpr int kMostCandidates = 400;

bool overlaps(const Axes& a, const Axes& b) {
  return std::any_of(a.begin(), a.end(), [&](const AxisRef& axis) { return overlap(axis, b); });
}

// What the operands that are partial are partial over, when the nest may hand that on; nothing when it may
// not.
Axes passable(const NestTask& task) {
  if (!task.may_pass) return {};
  const LoopNest& nest = task.nest;
  std::vector<bool> partial;
  Axes axes;
  Combine pending = Combine::None;
  for (std::size_t k = 0; k < task.present.size(); ++k) {
    Axes own = task.present[k].partial;
    std::sort(own.begin(), own.end());
    partial.push_back(!own.empty());
    if (own.empty()) continue;
    if (!axes.empty() && (own != axes || task.present[k].pending != pending)) return {};
    if (task.graph[task.node.operands[k]].type.dtype != task.graph[task.node.results[0]].type.dtype)
      return {};
    axes = own;
    pending = task.present[k].pending;
  }
  if (pending == Combine::Sum) {
    const bool sums = nest.combine == Combine::None || nest.combine == Combine::Sum;
    return sums && linear_in(nest.body, partial) ? axes : Axes{};
  }
  return nest.combine == Combine::None && nest.body->fn == Fn::Load ? axes : Axes{};
}

class Divider {
 public:
  Divider(const NestTask& task, Resharder& resharder)
      : task_(task),
        resharder_(resharder),
        nest_(task.nest),
        work_(task.nest),
        passable_(passable(task)),
        options_(task.nest.factors.size()),
        limits_(task.limits) {
    if (task.demanded == nullptr)
      find_options();
    else
      for (std::size_t f = 0; f < options_.size(); ++f) options_[f].push_back((*task.demanded)[f]);
  }

  Division run() {
    if (!passable_.empty()) {
      passed_ = passable_;
      enumerate(0);
      passed_.clear();
      perfect_ = false;
    }
    enumerate(0);
    CHECK(best_.has_value(), "no way to divide {}", task_.graph[task_.node.results[0]].name);
    return std::move(*best_);
  }

 private:
  const Shape& shape_of(std::size_t k) const { return task_.graph[task_.node.operands[k]].type.shape; }
  const Value& result() const { return task_.graph[task_.node.results[0]]; }

  void find_options() {
    for (std::size_t d = 0; d < nest_.output.size(); ++d)
      if (const auto parts = compound(nest_, nest_.output[d], result().type.shape[d]); !parts.empty())
        add_options(parts[0], task_.wanted.dims[d].axes);
    for (std::size_t k = 0; k < nest_.inputs.size(); ++k)
      for (std::size_t d = 0; d < nest_.inputs[k].size(); ++d)
        if (const auto factor = leading(nest_, nest_.inputs[k][d], shape_of(k)[d]))
          add_options(*factor, task_.present[k].dims[d].axes);
    for (std::size_t f = 0; f < options_.size(); ++f) {
      for (const Axes& option : options_[f])
        for (const AxisRef& axis : option)
          if (!overlap(axis, all_)) all_.push_back(axis);
      options_[f].push_back({});
    }
  }

  // The axes, and every beginning of them, longest first.
  void add_options(FactorId f, const Axes& axes) {
    if (limits_[*f].whole) return;
    for (std::size_t n = axes.size(); n > 0; --n) {
      Axes option(axes.begin(), axes.begin() + static_cast<std::ptrdiff_t>(n));
      if (limits_[*f].evenly && nest_[f].size % ways(option) != 0) continue;
      auto& options = options_[*f];
      if (std::find(options.begin(), options.end(), option) == options.end())
        options.push_back(std::move(option));
    }
  }

  void enumerate(std::size_t f) {
    if (perfect_ || tried_ > kMostCandidates) return;
    if (f == options_.size()) return evaluate();
    const Axes before = nest_.factors[f].axes;
    for (const Axes& option : options_[f]) {
      if (overlaps(option, used_) || overlaps(option, passed_)) continue;
      const std::size_t size = used_.size();
      used_.insert(used_.end(), option.begin(), option.end());
      nest_.factors[f].axes = option;
      enumerate(f + 1);
      used_.resize(size);
    }
    nest_.factors[f].axes = before;
  }

  void evaluate() {
    ++tried_;
    Division division;
    double bytes = 0;
    double moving = 0;  // seconds to reshard
    for (std::size_t k = 0; k < nest_.inputs.size(); ++k) division.operands.push_back(cheapest_form(k));
    widen_halos(division.operands);
    for (std::size_t k = 0; k < nest_.inputs.size(); ++k) {
      const Type& type = task_.graph[task_.node.operands[k]].type;
      if (has_halo(division.operands[k]) && !division.operands[k].partial.empty())
        return;  // none of sums to come
      const auto& route = resharder_.route(type, task_.present[k], division.operands[k]);
      if (!route) return;
      bytes += static_cast<double>(elements_of(local_shape(type.shape, division.operands[k])) *
                                   bytes_of(type.dtype));
      const bool there = seen_before(division.operands, k) || task_.has_form(k, division.operands[k]);
      // Of equals, the operand moves that others may want in the same form.
      if (!there) moving += route->seconds * (task_.shared[k] ? 1 - 1e-6 : 1);
    }
    division.result = made();
    bytes += static_cast<double>(elements_of(local_shape(result().type.shape, division.result)) *
                                 bytes_of(result().type.dtype));
    moving += resharder_.route(result().type, division.result, task_.wanted)->seconds;
    if (task_.beside) moving += task_.beside(nest_);
    division.seconds =
        moving + seconds_of(work_.of(nest_, bytes, result().type.dtype), resharder_.cluster().device);
    if (moving == 0 && task_.demanded == nullptr && ways(used_) == ways(all_)) perfect_ = true;
    // A product or a sum is divided as far as its data is, however small: gathering it to save a message
    // would surprise whoever wrote the sharding, and be wrong as soon as sizes grow.
    const bool free = nest_.combine == Combine::None || task_.demanded != nullptr;
    const std::int64_t divided = free ? 1 : ways(used_) * ways(passed_);
    if (best_ && divided < most_ways_) return;
    if (best_ && divided == most_ways_ && division.seconds >= best_->seconds * (1 - 1e-9)) return;
    most_ways_ = divided;
    for (const Factor& factor : nest_.factors) division.axes.push_back(factor.axes);
    best_ = std::move(division);
  }

  // The same operand in the same form, for another access.
  bool seen_before(const std::vector<Sharding>& forms, std::size_t k) const {
    for (std::size_t j = 0; j < k; ++j)
      if (task_.node.operands[j] == task_.node.operands[k] && forms[j] == forms[k]) return true;
    return false;
  }

  Sharding made() const {
    Sharding made = made_by(nest_, result().type.shape);
    if (!passed_.empty()) {
      made.partial.insert(made.partial.end(), passed_.begin(), passed_.end());
      for (const Sharding& sharding : task_.present)
        if (!sharding.partial.empty()) made.pending = sharding.pending;
    }
    return made;
  }

  // What has to be moved anyway may be cut to what is read first, so that less of it moves.
  Sharding cheapest_form(std::size_t k) {
    Sharding near = readable(k);
    const Sharding& present = task_.present[k];
    if (near == present || !near.partial.empty() || task_.has_form(k, near)) return near;
    Sharding cut = Sharding::replicated_of(present.dims.size());
    for (std::size_t d = 0; d < present.dims.size(); ++d)
      if (const Axes* limit = limit_of(k, d)) cut.dims[d] = held(k, d, *limit);
    if (cut == near) return near;
    const Type& type = task_.graph[task_.node.operands[k]].type;
    const auto &whole = resharder_.route(type, present, near), &part = resharder_.route(type, present, cut);
    return part && whole && part->seconds < whole->seconds * (1 - 1e-9) ? cut : near;
  }

  // The form nearest to the present one that the nest can read. An axis that has to leave a dimension moves
  // to one whose factor has it next, so that less is gathered.
  Sharding readable(std::size_t k) const {
    const Sharding& present = task_.present[k];
    Sharding form = Sharding::replicated_of(present.dims.size());
    if (!passed_.empty() && !present.partial.empty()) {
      form.partial = present.partial;
      form.pending = present.pending;
    }
    Axes leaving = form.partial.empty() ? present.partial : Axes{};  // a partial value may be scattered
    for (std::size_t d = 0; d < present.dims.size(); ++d) {
      const Axes& have = present.dims[d].axes;
      const Axes* limit = limit_of(k, d);
      std::size_t keep = 0;
      while (limit != nullptr && keep < have.size() && keep < limit->size() && have[keep] == (*limit)[keep])
        ++keep;
      form.dims[d] = held(k, d, Axes(have.begin(), have.begin() + static_cast<std::ptrdiff_t>(keep)));
      leaving.insert(leaving.end(), have.begin() + static_cast<std::ptrdiff_t>(form.dims[d].axes.size()),
                     have.end());
    }
    for (std::size_t d = 0; d < present.dims.size(); ++d) {
      const Axes* limit = limit_of(k, d);
      if (limit == nullptr || !is_prefix(form.dims[d].axes, *limit)) continue;
      Axes axes = form.dims[d].axes;
      while (axes.size() < limit->size() &&
             std::find(leaving.begin(), leaving.end(), (*limit)[axes.size()]) != leaving.end())
        axes.push_back((*limit)[axes.size()]);
      if (axes.size() > form.dims[d].axes.size()) form.dims[d] = held(k, d, axes);
    }
    return form;
  }

  const Axes* limit_of(std::size_t k, std::size_t d) const {
    const auto factor = leading(nest_, nest_.inputs[k][d], shape_of(k)[d]);
    return factor ? &nest_[*factor].axes : nullptr;
  }

  DimSharding held(std::size_t k, std::size_t d, Axes axes) const {
    return read_by(nest_, nest_.inputs[k][d], shape_of(k)[d], std::move(axes));
  }

  // Accesses of one operand that need halos of the same dimension share the widest.
  void widen_halos(std::vector<Sharding>& forms) const {
    for (std::size_t k = 0; k < forms.size(); ++k)
      for (std::size_t j = 0; j < forms.size(); ++j) {
        if (task_.node.operands[j] != task_.node.operands[k] || !split_alike(forms[j], forms[k])) continue;
        for (std::size_t d = 0; d < forms[k].dims.size(); ++d) {
          forms[k].dims[d].before = std::max(forms[k].dims[d].before, forms[j].dims[d].before);
          forms[k].dims[d].after = std::max(forms[k].dims[d].after, forms[j].dims[d].after);
        }
      }
  }
  static bool split_alike(const Sharding& a, const Sharding& b) {
    return std::equal(a.dims.begin(), a.dims.end(), b.dims.begin(),
                      [](const DimSharding& x, const DimSharding& y) { return x.axes == y.axes; });
  }

  const NestTask& task_;
  Resharder& resharder_;
  LoopNest nest_;  // with the axes of the candidate at hand
  const NestWork work_;
  Axes passable_, passed_;
  std::vector<std::vector<Axes>> options_;
  std::vector<FactorLimit> limits_;
  Axes all_, used_;
  int tried_ = 0;
  std::int64_t most_ways_ = 1;  // of the best candidate, where they count
  bool perfect_ = false;
  std::optional<Division> best_;
};

}  // namespace

Division divide(const NestTask& task, Resharder& resharder) { return Divider(task, resharder).run(); }

}  // namespace shardc::passes
