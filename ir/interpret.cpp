#include "ir/interpret.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "ir/interpret_attention.h"
#include "ir/interpret_nest.h"
#include "ir/op.h"
#include "ir/random.h"
#include "ir/support/check.h"

namespace shardc {
namespace {

using Buffer = std::vector<double>;
using Buffers = std::vector<Buffer>;                        // of one value: one per device
using Environment = std::vector<std::shared_ptr<Buffers>>;  // per value

// Calls visit(position in a row-major buffer of `shape`, indices) for all indices below `extent`.
void each_index(const Shape& shape, const Shape& extent,
                const std::function<void(std::int64_t, const Shape&)>& visit) {
  for (std::int64_t e : extent)
    if (e == 0) return;
  Shape at(shape.size(), 0);
  while (true) {
    std::int64_t position = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) position = position * shape[d] + at[d];
    visit(position, at);
    std::size_t d = shape.size();
    while (d > 0 && ++at[d - 1] == extent[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

class Machine {
 public:
  explicit Machine(const Mesh& mesh) : mesh_(mesh), devices_(mesh.devices()) {}

  // On one device every tensor is whole, whatever a sharded graph says about it.
  const Sharding& placed(const Sharding& sharding) const {
    static const Sharding whole;
    return mesh_.axes.empty() ? whole : sharding;
  }

  Buffers cut(const Tensor& tensor, const Sharding& sharding) const {
    Buffers parts;
    for (std::int64_t device = 0; device < devices_; ++device) {
      const LocalView whole = view(tensor.type.shape, {}, 0, nullptr);
      Buffer part(static_cast<std::size_t>(elements_of(local_shape(tensor.type.shape, sharding))),
                  std::numeric_limits<double>::quiet_NaN());
      const LocalView local = view(tensor.type.shape, sharding, device, part.data());
      each_index(local.shape, extent(tensor.type.shape, sharding, device),
                 [&](std::int64_t p, const Shape& at) {
                   part[static_cast<std::size_t>(p)] =
                       tensor.data[static_cast<std::size_t>(position(whole, global(local, at)))];
                 });
      parts.push_back(std::move(part));
    }
    return parts;
  }

  // The global tensor; devices that hold copies of an element must agree on it.
  Tensor assemble(const Value& value, const Buffers& parts) const {
    CHECK(value.sharding.partial.empty(), "output {} is still partial", value.name);
    Tensor tensor{value.type, Buffer(static_cast<std::size_t>(elements_of(value.type.shape)), 0)};
    std::vector<bool> seen(tensor.data.size(), false);
    const LocalView whole = view(value.type.shape, {}, 0, nullptr);
    for (std::int64_t device = 0; device < devices_; ++device) {
      Buffer part = parts[static_cast<std::size_t>(device)];
      const LocalView local = view(value.type.shape, placed(value.sharding), device, part.data());
      each_index(local.shape, extent(value.type.shape, placed(value.sharding), device),
                 [&](std::int64_t p, const Shape& at) {
                   const auto g = static_cast<std::size_t>(position(whole, global(local, at)));
                   const double here = part[static_cast<std::size_t>(p)];
                   CHECK(
                       !seen[g] || here == tensor.data[g] || (std::isnan(here) && std::isnan(tensor.data[g])),
                       "devices disagree on element {} of {}", g, value.name);
                   tensor.data[g] = here;
                   seen[g] = true;
                 });
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](bool b) { return b; }), "no device holds all of {}",
          value.name);
    return tensor;
  }

  Environment run(const Graph& graph, std::vector<std::shared_ptr<Buffers>> args, std::uint64_t salt) const {
    Environment env(graph.values.size());
    for (std::size_t i = 0; i < graph.args.size(); ++i) env[*graph.args[i].value] = std::move(args[i]);
    std::vector<std::size_t> last_use(graph.values.size(), 0);
    for (std::size_t n = 0; n < graph.nodes.size(); ++n)
      for (ValueId operand : graph.nodes[n].operands) last_use[*operand] = n;
    for (const Output& output : graph.outputs) last_use[*output.value] = graph.nodes.size();
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      run_node(graph, graph.nodes[n], env, salt);
      for (ValueId operand : graph.nodes[n].operands)
        if (last_use[*operand] == n) env[*operand].reset();
    }
    return env;
  }

 private:
  LocalView view(const Shape& shape, const Sharding& sharding, std::int64_t device, double* data) const {
    LocalView v{data, local_shape(shape, sharding), {}, shape};
    for (std::size_t d = 0; d < shape.size(); ++d)
      v.offset.push_back(sharding.dims.empty()
                             ? 0
                             : shard_of(mesh_, shape[d], sharding.dims[d].axes, device).offset -
                                   sharding.dims[d].before);
    return v;
  }
  Shape extent(const Shape& shape, const Sharding& sharding, std::int64_t device) const {
    Shape e = shape;
    for (std::size_t d = 0; d < sharding.dims.size(); ++d)
      e[d] = shard_of(mesh_, shape[d], sharding.dims[d].axes, device).extent;
    return e;
  }
  static Shape global(const LocalView& v, const Shape& at) {
    Shape g = at;
    for (std::size_t d = 0; d < g.size(); ++d) g[d] += v.offset[d];
    return g;
  }
  static std::int64_t position(const LocalView& v, const Shape& global_index) {
    std::int64_t p = 0;
    for (std::size_t d = 0; d < global_index.size(); ++d) p = p * v.shape[d] + global_index[d] - v.offset[d];
    return p;
  }

  void run_node(const Graph& graph, const Node& node, Environment& env, std::uint64_t salt) const {
    struct Visitor {
      const Machine& m;
      const Graph& graph;
      const Node& node;
      Environment& env;
      std::uint64_t salt;
      void operator()(const Call& call) const { m.run_call(graph, node, call, env, salt); }
      void operator()(const LoopNest& nest) const { m.run_nest(graph, node, nest, env, salt); }
      void operator()(const Repeat& repeat) const { m.run_repeat(graph, node, repeat, env, salt); }
      void operator()(const Collective& c) const { m.run_collective(graph, node, c, env); }
      void operator()(const Wait&) const { env[*node.results[0]] = env[*node.operands[0]]; }
      void operator()(const Sweep& sweep) const { m.run_sweep(graph, node, sweep, env); }
      void operator()(const Attention& a) const { m.run_attention(graph, node, a, env); }
    };
    std::visit(Visitor{*this, graph, node, env, salt}, node.op);
  }

  void run_call(const Graph& graph, const Node& node, const Call& call, Environment& env,
                std::uint64_t salt) const {
    Builder builder(graph[node.results[0]].name);
    std::vector<ValueId> operands;
    std::vector<std::shared_ptr<Buffers>> args;
    for (ValueId operand : node.operands) {
      operands.push_back(builder.arg({}, graph[operand].name, graph[operand].type));
      args.push_back(env[*operand]);
    }
    const OpDef* op = find_op(call.op);
    CHECK(op != nullptr, "no op {}", call.op);
    Result<std::vector<ValueId>> results =
        expand(builder, *op, operands, call.attrs, graph[node.results[0]].name);
    CHECK(static_cast<bool>(results), "{} does not expand: {}", call.op, render(results.error()));
    for (ValueId result : results.value()) builder.output({"", result});
    const Graph body = builder.finish();
    const Environment inner = run(body, std::move(args), salt);
    for (std::size_t i = 0; i < node.results.size(); ++i)
      env[*node.results[i]] = inner[*body.outputs[i].value];
  }

  void run_nest(const Graph& graph, const Node& node, const LoopNest& nest, Environment& env,
                std::uint64_t salt) const {
    const Value& result = graph[node.results[0]];
    auto out = std::make_shared<Buffers>();
    for (std::int64_t device = 0; device < devices_; ++device) {
      const auto d = static_cast<std::size_t>(device);
      std::vector<Shard> shards;
      for (const Factor& factor : nest.factors)
        shards.push_back(shard_of(mesh_, factor.size, factor.axes, device));
      std::vector<LocalView> inputs;
      for (ValueId operand : node.operands)
        inputs.push_back(view(graph[operand].type.shape, placed(graph[operand].sharding), device,
                              (*env[*operand])[d].data()));
      Buffer buffer(
          static_cast<std::size_t>(elements_of(local_shape(result.type.shape, placed(result.sharding)))),
          std::numeric_limits<double>::quiet_NaN());
      shardc::run_nest(nest, shards, inputs,
                       view(result.type.shape, placed(result.sharding), device, buffer.data()), salt);
      store(result.type.dtype, buffer);
      out->push_back(std::move(buffer));
    }
    env[*node.results[0]] = std::move(out);
  }

  static void store(DType dtype, Buffer& buffer) {
    if (dtype != DType::BF16 && dtype != DType::F16) return;
    const Fn round = dtype == DType::BF16 ? Fn::RoundBF16 : Fn::RoundF16;
    for (double& v : buffer) v = evaluate(round, &v, 0);
  }

  void run_repeat(const Graph& graph, const Node& node, const Repeat& repeat, Environment& env,
                  std::uint64_t salt) const {
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    const auto devices = static_cast<std::size_t>(devices_);
    std::vector<std::shared_ptr<Buffers>> state;
    for (std::size_t i = 0; i < carried; ++i) state.push_back(env[*node.operands[i]]);
    std::vector<std::shared_ptr<Buffers>> stacks;
    for (std::size_t i = carried; i < node.results.size(); ++i) {
      const Value& v = graph[node.results[i]];
      stacks.push_back(std::make_shared<Buffers>(
          devices,
          Buffer(static_cast<std::size_t>(elements_of(local_shape(v.type.shape, placed(v.sharding)))))));
    }
    for (std::int64_t k = 0; k < repeat.times; ++k) {
      const std::int64_t i = repeat.reverse ? repeat.times - 1 - k : k;
      std::vector<std::shared_ptr<Buffers>> args = state;
      for (std::size_t a = carried; a < node.operands.size(); ++a) {
        const std::shared_ptr<Buffers>& whole = env[*node.operands[a]];
        args.push_back(a < carried + stacked ? slice_of(*whole, i, repeat.times) : whole);
      }
      const Environment inner =
          run(body, std::move(args), random_bits(salt, static_cast<std::uint64_t>(i) + 1));
      for (std::size_t o = 0; o < carried; ++o) state[o] = inner[*body.outputs[o].value];
      for (std::size_t o = 0; o < stacks.size(); ++o) {
        const Buffers& part = *inner[*body.outputs[carried + o].value];
        for (std::size_t d = 0; d < devices; ++d)
          std::copy(part[d].begin(), part[d].end(),
                    (*stacks[o])[d].begin() + static_cast<std::ptrdiff_t>(part[d].size()) * i);
      }
    }
    for (std::size_t o = 0; o < carried; ++o) env[*node.results[o]] = state[o];
    for (std::size_t o = 0; o < stacks.size(); ++o) env[*node.results[carried + o]] = stacks[o];
  }

  void run_attention(const Graph& graph, const Node& node, const Attention& attention,
                     Environment& env) const {
    const LoopNest loops = loops_of(attention, types_of(graph, node.operands), 0);
    for (ValueId result : node.results) env[*result] = std::make_shared<Buffers>();
    for (std::int64_t device = 0; device < devices_; ++device) {
      std::vector<Shard> shards;
      for (std::size_t f = 0; f < 3; ++f)
        shards.push_back(shard_of(mesh_, loops.factors[f].size, loops.factors[f].axes, device));
      const auto of = [&](ValueId id) {
        const Value& value = graph[id];
        return view(value.type.shape, placed(value.sharding), device,
                    (*env[*id])[static_cast<std::size_t>(device)].data());
      };
      std::vector<LocalView> inputs, results;
      for (ValueId operand : node.operands) inputs.push_back(of(operand));
      for (ValueId id : node.results) {
        const Shape shape = local_shape(graph[id].type.shape, placed(graph[id].sharding));
        env[*id]->emplace_back(static_cast<std::size_t>(elements_of(shape)),
                               std::numeric_limits<double>::quiet_NaN());
        results.push_back(of(id));
      }
      shardc::run_attention(attention, shards, inputs, results);
      for (ValueId id : node.results) store(graph[id].type.dtype, env[*id]->back());
    }
  }

  // Line by line: the places along the swept dimension, which every device has whole.
  void run_sweep(const Graph& graph, const Node& node, const Sweep& sweep, Environment& env) const {
    const Value &from = graph[node.operands[0]], &to = graph[node.results[0]];
    const auto dim = static_cast<std::size_t>(sweep.dim);
    const Shape shape = local_shape(from.type.shape, placed(from.sharding));
    const std::int64_t size = from.type.shape[dim], count = to.type.shape[dim];
    std::int64_t outer = 1, inner = 1;
    for (std::size_t d = 0; d < shape.size(); ++d) (d < dim ? outer : inner) *= d == dim ? 1 : shape[d];
    auto out = std::make_shared<Buffers>();
    for (std::size_t d = 0; d < static_cast<std::size_t>(devices_); ++d) {
      std::vector<const Buffer*> in;
      for (ValueId operand : node.operands) in.push_back(&(*env[*operand])[d]);
      Buffer made(static_cast<std::size_t>(outer * count * inner));
      for (std::int64_t line = 0; line < outer * inner; ++line) {
        const auto at = [&](std::int64_t length, std::int64_t i) {
          return static_cast<std::size_t>((line / inner * length + i) * inner + line % inner);
        };
        const std::vector<double> swept = sweep_line(
            sweep, size, [&](std::size_t k, std::int64_t i) { return (*in[k])[at(size, i)]; }, in.size());
        for (std::int64_t i = 0; i < count; ++i) made[at(count, i)] = swept[static_cast<std::size_t>(i)];
      }
      out->push_back(std::move(made));
    }
    env[*node.results[0]] = std::move(out);
  }

  static std::vector<double> sweep_line(const Sweep& sweep, std::int64_t size,
                                        const std::function<double(std::size_t, std::int64_t)>& in,
                                        std::size_t operands) {
    std::vector<double> line(static_cast<std::size_t>(size));
    if (sweep.kind == Sweep::Kind::SortIndices) {
      std::iota(line.begin(), line.end(), 0.0);
      std::stable_sort(line.begin(), line.end(), [&](double i, double j) {
        const double a = in(0, static_cast<std::int64_t>(i)), b = in(0, static_cast<std::int64_t>(j));
        if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
        return sweep.reverse ? a > b : a < b;
      });
      return line;
    }
    double y = 0;
    for (std::int64_t step = 0; step < size; ++step) {
      const std::int64_t i = sweep.reverse ? size - 1 - step : step;
      y = in(operands - 1, i) + (step == 0 ? 0 : operands == 2 ? in(0, i) * y : y);
      line[static_cast<std::size_t>(i)] = y;
    }
    return line;
  }

  static std::shared_ptr<Buffers> slice_of(const Buffers& whole, std::int64_t i, std::int64_t times) {
    auto slice = std::make_shared<Buffers>();
    for (const Buffer& buffer : whole) {
      const auto size = static_cast<std::ptrdiff_t>(buffer.size()) / times;
      slice->emplace_back(buffer.begin() + i * size, buffer.begin() + (i + 1) * size);
    }
    return slice;
  }

  // By definition: every element that a device should hold afterwards is looked up at the members of its
  // group.
  void run_collective(const Graph& graph, const Node& node, const Collective& c, Environment& env) const {
    const Value &from = graph[node.operands[0]], &to = graph[node.results[0]];
    if (c.kind == Collective::Kind::Halo) return run_halo(node, c, from, to, env);
    const bool combines = c.kind == Collective::Kind::AllReduce || c.kind == Collective::Kind::ReduceScatter;
    Buffers& in = *env[*node.operands[0]];
    auto out = std::make_shared<Buffers>();
    for (std::int64_t device = 0; device < devices_; ++device) {
      Buffer buffer(static_cast<std::size_t>(elements_of(local_shape(to.type.shape, to.sharding))),
                    std::numeric_limits<double>::quiet_NaN());
      std::vector<int> contributions(buffer.size(), 0);
      const LocalView target = view(to.type.shape, to.sharding, device, buffer.data());
      const Shape wanted = extent(to.type.shape, to.sharding, device);
      for (std::int64_t member : group_of(mesh_, c.axes, device)) {
        Buffer& part = in[static_cast<std::size_t>(member)];
        const LocalView source = view(from.type.shape, from.sharding, member, part.data());
        each_index(source.shape, extent(from.type.shape, from.sharding, member),
                   [&](std::int64_t p, const Shape& at) {
                     const Shape g = global(source, at);
                     for (std::size_t d = 0; d < g.size(); ++d)
                       if (g[d] < target.offset[d] || g[d] >= target.offset[d] + wanted[d]) return;
                     const auto q = static_cast<std::size_t>(position(target, g));
                     const double v = part[static_cast<std::size_t>(p)];
                     const bool first = contributions[q]++ == 0;
                     if (first || combines) buffer[q] = first ? v : combine(c.combine, buffer[q], v);
                   });
      }
      // Where copies exist, a permutation takes any one of them.
      const std::int64_t expected = combines ? ways(c.axes) : 1;
      if (c.kind == Collective::Kind::Permute)
        for (int& n : contributions) n = std::min(n, 1);
      each_index(target.shape, wanted, [&](std::int64_t p, const Shape&) {
        CHECK(contributions[static_cast<std::size_t>(p)] == expected, "{}: {} of {} contributions to {}",
              name_of(c.kind), contributions[static_cast<std::size_t>(p)], expected, to.name);
      });
      store(to.type.dtype, buffer);
      out->push_back(std::move(buffer));
    }
    env[*node.results[0]] = std::move(out);
  }

  // Rows of other devices' parts along one dimension; all other dimensions lie alike there.
  void run_halo(const Node& node, const Collective& c, const Value& from, const Value& to,
                Environment& env) const {
    const auto dim = static_cast<std::size_t>(c.dim);
    const std::int64_t size = from.type.shape[dim], chunk = chunk_of(size, c.axes);
    auto out = std::make_shared<Buffers>();
    for (std::int64_t device = 0; device < devices_; ++device) {
      const Shape shape = local_shape(to.type.shape, to.sharding);
      Buffer buffer(static_cast<std::size_t>(elements_of(shape)), std::numeric_limits<double>::quiet_NaN());
      const std::vector<std::int64_t> group = group_of(mesh_, c.axes, device);
      const std::int64_t first = shard_of(mesh_, size, c.axes, device).offset - to.sharding.dims[dim].before;
      const Shape source = local_shape(from.type.shape, from.sharding);
      each_index(shape, shape, [&](std::int64_t p, const Shape& at) {
        const std::int64_t row = first + at[dim];
        if (row < 0 || row >= size) return;
        std::int64_t q = 0;
        for (std::size_t d = 0; d < at.size(); ++d) q = q * source[d] + (d == dim ? row % chunk : at[d]);
        const std::int64_t owner = group[static_cast<std::size_t>(row / chunk)];
        buffer[static_cast<std::size_t>(p)] =
            (*env[*node.operands[0]])[static_cast<std::size_t>(owner)][static_cast<std::size_t>(q)];
      });
      out->push_back(std::move(buffer));
    }
    env[*node.results[0]] = std::move(out);
  }

  static double combine(Combine how, double a, double b) {
    const std::array<double, 2> args = {a, b};
    return evaluate(how == Combine::Max ? Fn::Max : how == Combine::Min ? Fn::Min : Fn::Add, args.data(), 0);
  }

  Mesh mesh_;
  std::int64_t devices_;
};

std::vector<Tensor> run_on(const Mesh& mesh, const Graph& graph, const std::vector<Tensor>& args,
                           std::uint64_t salt) {
  CHECK(args.size() == graph.args.size(), "{} tensors for {} arguments", args.size(), graph.args.size());
  const Machine machine(mesh);
  std::vector<std::shared_ptr<Buffers>> parts;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const Value& value = graph[graph.args[i].value];
    CHECK(args[i].type == value.type, "argument {} is {}, not {}", value.name, to_string(value.type),
          to_string(args[i].type));
    parts.push_back(std::make_shared<Buffers>(machine.cut(args[i], machine.placed(value.sharding))));
  }
  const Environment env = machine.run(graph, std::move(parts), salt);
  std::vector<Tensor> results;
  for (const Output& output : graph.outputs)
    results.push_back(machine.assemble(graph[output.value], *env[*output.value]));
  return results;
}

}  // namespace

std::vector<Tensor> interpret(const Graph& graph, const std::vector<Tensor>& args, std::uint64_t salt) {
  return run_on(Mesh{}, graph, args, salt);
}

std::vector<Tensor> interpret(const SpmdProgram& program, const std::vector<Tensor>& args,
                              std::uint64_t salt) {
  return run_on(program.mesh, program.graph, args, salt);
}

Tensor initial_value(const Graph& graph, const Arg& arg, std::uint64_t seed) {
  const Value& value = graph[arg.value];
  Tensor tensor{value.type, Buffer(static_cast<std::size_t>(elements_of(value.type.shape)))};
  const std::uint64_t key = random_key(seed, value.name);
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    switch (arg.init.kind) {
      case Init::Kind::Zeros:
        tensor.data[i] = 0;
        break;
      case Init::Kind::Ones:
        tensor.data[i] = 1;
        break;
      case Init::Kind::Constant:
        tensor.data[i] = arg.init.a;
        break;
      case Init::Kind::Normal:
        tensor.data[i] = arg.init.a * random_normal(key, i);
        break;
      case Init::Kind::Uniform:
        tensor.data[i] = arg.init.a + (arg.init.b - arg.init.a) * random_uniform(key, i);
        break;
    }
  }
  return tensor;
}

}  // namespace shardc
