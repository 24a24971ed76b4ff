// Are the verifier and the comparison with the reference able to fail? Correct programs are broken in one
// place at a time; what breaks a program must turn a check red.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <unordered_map>

#include "ir/random.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/fuse.h"
#include "passes/lower.h"
#include "passes/partition.h"
#include "passes/propagate.h"
#include "passes/simplify.h"
#include "tests/support/shardings.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

struct Mutant {
  std::string what;
  Graph graph;
};

// --- broken bodies -----------------------------------------------------------------------------------------

Fn opposite(Fn fn) {
  switch (fn) {
    case Fn::Lt:
      return Fn::Ge;
    case Fn::Le:
      return Fn::Gt;
    case Fn::Eq:
      return Fn::Ne;
    case Fn::Max:
      return Fn::Min;
    case Fn::Min:
      return Fn::Max;
    case Fn::Add:
      return Fn::Sub;
    case Fn::Mul:
      return Fn::Add;
    default:
      return fn;
  }
}

// The ways to break one node of an expression, its arguments left alone.
std::vector<std::pair<std::string, Expr>> broken_here(const ExprNode& e) {
  std::vector<std::pair<std::string, Expr>> all;
  ExprNode changed = e;
  const std::string name(info(e.fn).name);
  const bool differ = e.args.size() > 1 && !same(e.args[0], e.args[1]);
  if ((e.fn == Fn::Sub || e.fn == Fn::Div) && differ) {
    std::swap(changed.args[0], changed.args[1]);
    all.emplace_back("operands of " + name + " swapped", std::make_shared<const ExprNode>(changed));
  } else if (e.fn == Fn::Where && !same(e.args[1], e.args[2])) {
    std::swap(changed.args[1], changed.args[2]);
    all.emplace_back("branches of where swapped", std::make_shared<const ExprNode>(changed));
    all.emplace_back("mask dropped", e.args[1]);
  } else if (e.fn == Fn::Float && e.number != 0) {
    changed.number *= 1.25;
    all.emplace_back(fmt::format("wrong constant for {}", e.number),
                     std::make_shared<const ExprNode>(changed));
  } else if (opposite(e.fn) != e.fn) {
    changed.fn = opposite(e.fn);
    all.emplace_back(name + " became " + std::string(info(changed.fn).name),
                     std::make_shared<const ExprNode>(changed));
  }
  return all;
}

std::vector<std::pair<std::string, Expr>> broken(const Expr& e) {
  auto all = broken_here(*e);
  for (std::size_t i = 0; i < e->args.size(); ++i)
    for (auto& [what, arg] : broken(e->args[i])) {
      ExprNode changed = *e;
      changed.args[i] = arg;
      all.emplace_back(what, std::make_shared<const ExprNode>(changed));
    }
  return all;
}

// --- broken nodes ------------------------------------------------------------------------------------------

class Breaker {
 public:
  explicit Breaker(const Mesh& mesh) : mesh_(mesh) {}

  std::vector<Mutant> mutants(const Graph& graph) {
    std::vector<Mutant> all;
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const auto add = [&](std::string what, Op op) {
        Graph changed = graph;
        changed.nodes[n].op = std::move(op);
        all.push_back(
            {fmt::format("{}: {}", graph[graph.nodes[n].results[0]].name, what), std::move(changed)});
      };
      const Node& node = graph.nodes[n];
      if (const auto* c = std::get_if<Collective>(&node.op)) collective(graph, node, *c, add);
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) loops(graph, node, *nest, add);
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
        for (Mutant& body : mutants(*repeat->body)) {
          Repeat changed = *repeat;
          changed.body = std::make_shared<const Graph>(std::move(body.graph));
          add(body.what, changed);
        }
        Repeat changed = *repeat;
        changed.reverse = !repeat->reverse;
        add("turned around", changed);
      }
    }
    return all;
  }

 private:
  template <class Add>
  void collective(const Graph& graph, const Node& node, const Collective& c, Add add) {
    const Value& from = graph[node.operands[0]];
    LoopNest copy{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
    for (std::size_t d = 0; d < from.type.rank(); ++d) {
      copy.factors.push_back(
          {"d" + std::to_string(d), from.type.shape[d], graph[node.results[0]].sharding.dims[d].axes});
      copy.output.push_back(Affine::of(FactorId(d)));
    }
    copy.inputs[0] = copy.output;
    add("collective dropped", copy);
    Collective changed = c;
    if (c.kind == Collective::Kind::AllReduce || c.kind == Collective::Kind::ReduceScatter) {
      changed.combine = c.combine == Combine::Sum ? Combine::Max : Combine::Sum;
      add("combines in another way", changed);
      changed = c;
    }
    if (c.axes.size() > 1) {
      std::swap(changed.axes[0], changed.axes[1]);
      // A reduction does not care about the order.
      if (c.kind != Collective::Kind::AllReduce) add("axes swapped", changed);
      changed = c;
      changed.axes.pop_back();
      add("an axis forgotten", changed);
    }
    for (std::size_t a = 0; a < mesh_.axes.size(); ++a) {
      changed = c;
      changed.axes[0] = whole(mesh_, AxisId(a));
      if (changed.axes != c.axes) add("along another axis", changed);
    }
    for (std::int32_t d = 0; d < static_cast<std::int32_t>(from.type.rank()); ++d) {
      changed = c;
      changed.dim = d;
      if (c.dim >= 0 && d != c.dim && d != c.to) add("of another dimension", changed);
    }
  }

  template <class Add>
  void loops(const Graph& graph, const Node& node, const LoopNest& nest, Add add) {
    for (auto& [what, body] : broken(nest.body)) {
      LoopNest changed = nest;
      changed.body = body;
      add(what, changed);
    }
    for (std::size_t k = 0; k < nest.inputs.size(); ++k)
      for (std::size_t d = 0; d < nest.inputs[k].size(); ++d)
        if (graph[node.operands[k]].type.shape[d] > 1) {
          LoopNest changed = nest;
          changed.inputs[k][d].offset += 1;
          add("access shifted", changed);
        }
    if (nest.combine != Combine::None) {
      LoopNest changed = nest;
      changed.combine = nest.combine == Combine::Sum ? Combine::Max : Combine::Sum;
      add("combines in another way", changed);
    }
    for (std::size_t f = 0; f < nest.factors.size(); ++f) {
      LoopNest changed = nest;
      changed.factors[f].size -= 1;
      if (nest.factors[f].size > 1) add("loop cut short", changed);
      if (nest.factors[f].axes.empty()) continue;
      changed = nest;
      changed.factors[f].axes.clear();
      add("factor no longer split", changed);
      for (std::size_t g = 0; g < f; ++g) {
        changed = nest;
        std::swap(changed.factors[f].axes, changed.factors[g].axes);
        if (changed.factors[g].axes != nest.factors[g].axes) add("axes of factors swapped", changed);
      }
    }
  }

  const Mesh& mesh_;
};

// --- programs ----------------------------------------------------------------------------------------------

struct Subject {
  std::string name;
  SpmdProgram program;
  std::vector<Tensor> args, want;
};

Subject subject(std::string name, const std::string& model, const std::string& loss, const Mesh& mesh,
                const std::map<std::string, Sharding>& hints, bool fused) {
  passes::Seeds seeds;
  for (const auto& [value, sharding] : hints) seeds.tensors[value] = {sharding, ""};
  const Result<Graph> parsed = parse_graph(model);
  EXPECT_TRUE(parsed) << render(parsed.error());
  Graph graph = passes::simplify(passes::lower(parsed.value()));
  if (!loss.empty()) graph = passes::gradients(graph, loss);
  SpmdProgram program = passes::partition(passes::propagate(graph, mesh, seeds), mesh);
  if (fused) program = passes::fuse(program);
  std::vector<Tensor> args = testing::arguments_of(graph);
  std::vector<Tensor> want = interpret(graph, args);
  return {std::move(name), std::move(program), std::move(args), std::move(want)};
}

Sharding split(std::vector<Axes> dims) {
  Sharding sharding;
  for (Axes& axes : dims) sharding.dims.push_back({std::move(axes), true});
  return sharding;
}

std::vector<Subject> subjects() {
  const Mesh mesh = testing::mesh_of({2, 3});
  const Axes none, x = {whole(mesh, AxisId(0))}, y = {whole(mesh, AxisId(1))};
  const Axes both = {x[0], y[0]};
  std::vector<Subject> all;
  const std::string mlp = R"(graph mlp {
  input %x: f32[4, 5]
  input %t: f32[4, 3]
  param %w: f32[5, 7] = zeros()
  param %v: f32[7, 3] = zeros()
  %h: f32[4, 7] = matmul(%x, %w)
  %g: f32[4, 7] = tanh(%h)
  %y: f32[4, 3] = matmul(%g, %v)
  %d: f32[4, 3] = subtract(%y, %t)
  %s: f32[4, 3] = square(%d)
  %loss: f32[] = mean(%s)
  output loss = %loss
  output y = %y
})";
  all.push_back(subject("mlp, tensor parallel", mlp, "loss", mesh,
                        {{"x", split({x, none})}, {"w", split({none, y})}, {"v", split({y, none})}}, false));
  all.push_back(subject(
      "mlp, uneven, moved", mlp, "loss", mesh,
      {{"x", split({y, x})}, {"w", split({x, y})}, {"v", split({none, both})}, {"y", split({both, none})}},
      true));
  all.push_back(subject("norm and windows", R"(graph norm {
  input %x: f32[6, 5]
  param %g: f32[5] = ones()
  param %b: f32[5] = zeros()
  %n: f32[6, 5] = layer_norm(%x, %g, %b, eps=0.1)
  %p: f32[8, 5] = pad(%n, widths=[[1, 1], [0, 0]])
  %q: f32[4, 5] = slice(%p, start=1, stop=8, step=2)
  %m: f32[5] = max(%q, axis=0)
  %r: f32[10, 3] = reshape(%n, shape=[10, 3])
  output q = %q
  output m = %m
  output r = %r
})",
                        "", mesh, {{"x", split({x, y})}, {"q", split({y, x})}, {"m", split({both})}}, false));
  all.push_back(subject("lookup in layers", R"(graph layers {
  input %t: i32[4] < 6
  param %e: f32[6, 4] = zeros()
  param %w: f32[3, 4, 4] = zeros()
  %h0: f32[4, 4] = take(%e, %t)
  %h: f32[4, 4], %all: f32[3, 4] = repeat 3 of layer {
    carried %c: f32[4, 4] = %h0
    stacked %k: f32[4, 4] = %w
    %m: f32[4, 4] = matmul(%c, %k)
    %n: f32[4, 4] = sin(%m)
    %s: f32[4] = sum(%n, axis=0)
    yield %n, all = %s
  }
  %u: f32[4, 4] = square(%h)
  %a: f32[] = sum(%u)
  %b: f32[] = mean(%all)
  %loss: f32[] = subtract(%a, %b)
  output loss = %loss
})",
                        "loss", mesh, {{"e", split({y, none})}, {"k", split({none, x})}, {"t", split({x})}},
                        true));
  return all;
}

bool caught(const Subject& subject, const Graph& mutant) {
  const SpmdProgram program{subject.program.mesh, mutant};
  if (!verify(program).empty()) return true;
  try {
    return !testing::difference(interpret(program, subject.args), subject.want, mutant.outputs, 1e-9).empty();
  } catch (const std::exception&) {
    return true;  // the interpreter refuses it
  }
}

TEST(Mutation, BreaksAreNoticed) {
  int total = 0, noticed = 0, collectives = 0;
  std::string survivors;
  for (const Subject& s : subjects()) {
    ASSERT_FALSE(caught(s, s.program.graph)) << s.name << " is wrong before it is broken";
    for (const Mutant& mutant : Breaker(s.program.mesh).mutants(s.program.graph)) {
      ++total;
      collectives += mutant.what.find("collective dropped") != std::string::npos;
      if (caught(s, mutant.graph))
        ++noticed;
      else
        survivors += fmt::format("  {}: {}\n", s.name, mutant.what);
    }
  }
  EXPECT_GE(collectives, 20);
  EXPECT_GE(total, 300);
  EXPECT_GE(noticed, 0.95 * total) << noticed << " of " << total << "; survivors:\n" << survivors;
  RecordProperty("mutants", total);
  RecordProperty("noticed", noticed);
}

}  // namespace
}  // namespace shardc
