#include "passes/reshard.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/support/check.h"

namespace shardc::passes {
namespace {

std::size_t common_prefix(const Axes& a, const Axes& b) {
  std::size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

class Resharder {
 public:
  Resharder(Builder& to, ValueId value, const Sharding& target)
      : to_(to),
        value_(value),
        name_(to.peek()[value].name),
        shape_(to.type(value).shape),
        target_(target),
        now_(to.peek()[value].sharding) {}

  ValueId run() {
    reduce_partial();
    slice();
    for (std::size_t d = 0; d < now_.dims.size(); ++d) strip(d);
    slice();
    CHECK(settled(), "resharding of {} did not arrive", name_);
    return value_;
  }

 private:
  const Axes& wanted(std::size_t d) const { return target_.dims[d].axes; }
  Axes& have(std::size_t d) { return now_.dims[d].axes; }

  bool settled() {
    for (std::size_t d = 0; d < now_.dims.size(); ++d)
      if (have(d) != wanted(d)) return false;
    return now_.partial.empty();
  }

  // Scatters along a dimension that wants the axis next, all-reduces over the rest in one go.
  void reduce_partial() {
    for (bool moved = true; moved;) {
      moved = false;
      for (const AxisRef& axis : Axes(now_.partial)) {
        const auto dim = next_wanted(axis);
        if (!dim) continue;
        std::erase(now_.partial, axis);
        have(*dim).push_back(axis);
        emit({Collective::Kind::ReduceScatter, {axis}, now_.pending, static_cast<std::int32_t>(*dim), -1});
        moved = true;
      }
    }
    if (now_.partial.empty()) return;
    const Axes axes = now_.partial;
    now_.partial.clear();
    emit({Collective::Kind::AllReduce, axes, now_.pending, -1, -1});
  }

  // The dimension whose next missing axis is this one.
  std::optional<std::size_t> next_wanted(const AxisRef& axis) {
    for (std::size_t d = 0; d < now_.dims.size(); ++d)
      if (have(d).size() < wanted(d).size() && is_prefix(have(d), wanted(d)) &&
          wanted(d)[have(d).size()] == axis)
        return d;
    return std::nullopt;
  }

  // Takes this device's part along every dimension whose next axes nothing else uses.
  void slice() {
    bool any = false;
    for (std::size_t d = 0; d < now_.dims.size(); ++d) {
      if (!is_prefix(have(d), wanted(d))) continue;
      while (have(d).size() < wanted(d).size() && !now_.uses(wanted(d)[have(d).size()])) {
        have(d).push_back(wanted(d)[have(d).size()]);
        any = true;
      }
    }
    if (!any) return;
    LoopNest nest{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      nest.factors.push_back({fmt::format("d{}", d), shape_[d], have(d)});
      nest.output.push_back(Affine::of(FactorId(d)));
    }
    nest.inputs[0] = nest.output;
    value_ = to_.nest(std::move(nest), {value_}, to_.type(value_).dtype, name_ + ".slice");
    to_.set_sharding(value_, now_);
  }

  // Removes the axes of a dimension that the target does not have there, minor ones first.
  void strip(std::size_t d) {
    const std::size_t keep = common_prefix(have(d), wanted(d));
    while (have(d).size() > keep) {
      const AxisRef axis = have(d).back();
      if (const auto to = next_wanted(axis); to && *to != d) {
        have(d).pop_back();
        have(*to).push_back(axis);
        emit({Collective::Kind::AllToAll,
              {axis},
              Combine::None,
              static_cast<std::int32_t>(d),
              static_cast<std::int32_t>(*to)});
        continue;
      }
      // Even chunks of several axes are gathered in one collective.
      Axes axes = {axis};
      have(d).pop_back();
      while (have(d).size() > keep && shape_[d] % (ways(have(d)) * ways(axes)) == 0 &&
             !next_wanted(have(d).back())) {
        axes.insert(axes.begin(), have(d).back());
        have(d).pop_back();
      }
      emit({Collective::Kind::AllGather, axes, Combine::None, static_cast<std::int32_t>(d), -1});
    }
  }

  void emit(Collective collective) {
    const std::string suffix(name_of(collective.kind));
    if (now_.partial.empty()) now_.pending = Combine::None;
    value_ = to_.collective(std::move(collective), value_, now_, name_ + "." + suffix);
  }

  Builder& to_;
  ValueId value_;
  std::string name_;
  Shape shape_;
  const Sharding& target_;
  Sharding now_;
};

}  // namespace

ValueId reshard(Builder& to, ValueId value, const Sharding& target) {
  const Sharding& now = to.peek()[value].sharding;
  if (now.dims == target.dims && now.partial.empty()) return value;
  return Resharder(to, value, target).run();
}

}  // namespace shardc::passes
