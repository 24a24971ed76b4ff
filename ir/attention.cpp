#include "ir/attention.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc {
namespace {

enum Operand : std::size_t { kQ, kK, kV, kLse, kDelta, kDo };

bool grouped(const Type& q, const Type& k) { return q.shape[2] != k.shape[2]; }

Shape without_features(Shape shape) {
  shape.pop_back();
  return shape;
}

}  // namespace

std::size_t operands_of(Attention::Kind kind) { return kind == Attention::Kind::Mix ? 3 : 6; }

std::string mistake_in(const Attention& a, const std::vector<Type>& in) {
  if (in.size() != operands_of(a.kind)) return fmt::format("{} operands", in.size());
  for (std::size_t i : {kQ, kK, kV})
    if (in[i].rank() != 4) return fmt::format("reads {}, which is not of rank 4", to_string(in[i]));
  const Shape &q = in[kQ].shape, &k = in[kK].shape, &v = in[kV].shape;
  const Shape o = {q[0], q[1], q[2], v[3]}, rows = without_features(q);
  const DType dtype = in[kQ].dtype;
  if (kind_of(dtype) != Kind::Float || in[kK].dtype != dtype || in[kV].dtype != dtype)
    return fmt::format("reads {}, {} and {}", to_string(in[kQ]), to_string(in[kK]), to_string(in[kV]));
  const bool share = k[2] == 0 ? q[2] == 0 : q[2] % k[2] == 0;
  if (k[0] != q[0] || k[3] != q[3] || v[0] != q[0] || v[1] != k[1] || v[2] != k[2] || !share)
    return fmt::format("q, k and v do not fit: {}, {} and {}", to_string(q), to_string(k), to_string(v));
  if (a.window < 0) return fmt::format("window={}", a.window);
  if (a.kind == Attention::Kind::Mix) return {};
  if (in[kLse] != Type{DType::F32, rows} || in[kDelta] != Type{DType::F32, rows} || in[kDo] != Type{dtype, o})
    return fmt::format("lse, delta and do do not fit: {}, {} and {}", to_string(in[kLse]),
                       to_string(in[kDelta]), to_string(in[kDo]));
  return {};
}

std::vector<Type> result_types(const Attention& a, const std::vector<Type>& in) {
  if (a.kind == Attention::Kind::Gradient)
    return {{DType::F32, in[kQ].shape}, {DType::F32, in[kK].shape}, {DType::F32, in[kV].shape}};
  Shape o = in[kQ].shape;
  o[3] = in[kV].shape[3];
  return {{in[kQ].dtype, o}, {DType::F32, without_features(in[kQ].shape)}};
}

LoopNest loops_of(const Attention& a, const std::vector<Type>& in, std::size_t result) {
  const Shape &q = in[kQ].shape, &k = in[kK].shape, &v = in[kV].shape;
  LoopNest nest{.factors = {{"b", q[0], a.batch}, {"i", q[1], a.queries}, {"g", k[2], a.heads}},
                .inputs = {},
                .output = {},
                .combine = Combine::Sum,
                .body = number(0)};
  const auto loop = [&](std::string name, std::int64_t size) {
    nest.factors.push_back({std::move(name), size, {}});
    return Affine::of(FactorId(nest.factors.size() - 1));
  };
  const Affine b = Affine::of(FactorId(0)), i = Affine::of(FactorId(1)), g = Affine::of(FactorId(2));
  Affine h = g;
  if (grouped(in[kQ], in[kK])) {
    const std::int64_t ratio = q[2] / k[2];
    h = with_minor(g, ratio, loop("r", ratio));
  }
  const Affine j = loop("j", k[1]), d = loop("d", q[3]), e = loop("e", v[3]);
  const Access rows = {b, i, h}, at_q = {b, i, h, d}, at_k = {b, j, g, d}, at_v = {b, j, g, e},
               at_o = {b, i, h, e};
  nest.inputs = {at_q, at_k, at_v};
  if (a.kind == Attention::Kind::Mix) {
    nest.output = result == 0 ? at_o : rows;
  } else {
    nest.inputs.insert(nest.inputs.end(), {rows, rows, at_o});
    nest.output = nest.inputs[result];
  }
  return nest;
}

Attention divided(Attention attention, const std::vector<Axes>& factors) {
  attention.batch = factors[0];
  attention.queries = factors[1];
  attention.heads = factors[2];
  return attention;
}

std::vector<FactorLimit> limits_of(const Attention&, const LoopNest& loops) {
  std::vector<FactorLimit> limits(loops.factors.size());
  for (std::size_t f = 3; f < limits.size(); ++f) limits[f].whole = true;
  limits[2].evenly = loops.factors.size() == 7;
  return limits;
}

Sight sight_of(const Attention& a, std::int64_t queries, std::int64_t keys) {
  Sight sight;
  const std::int64_t ahead = keys - queries;
  if (a.window > 0) sight = {ahead - a.window + 1, ahead + a.window};
  if (a.causal) sight.high = ahead + 1;
  sight.low = std::max(sight.low, -Sight::kFar);
  sight.high = std::min(sight.high, Sight::kFar);
  return sight;
}

double pairs_seen(const Attention& a, std::int64_t queries, std::int64_t keys, std::int64_t first,
                  std::int64_t count) {
  const Sight sight = sight_of(a, queries, keys);
  // The sum over queries i of min(max(i + offset, 0), keys).
  const auto before = [&](std::int64_t offset) {
    const auto up_to = [&](std::int64_t i) {  // for all queries before i
      const auto ramp = static_cast<double>(std::clamp<std::int64_t>(i + offset, 0, keys));
      const auto above = static_cast<double>(std::max<std::int64_t>(i + offset - keys, 0));
      return ramp * (ramp - 1) / 2 + above * static_cast<double>(keys);
    };
    return up_to(first + count) - up_to(first);
  };
  return std::max(before(sight.high) - before(sight.low), 0.0);
}

std::vector<Type> types_of(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<Type> types;
  for (ValueId value : values) types.push_back(graph[value].type);
  return types;
}

}  // namespace shardc
