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
#include "tests/support/ladder.h"
#include "tests/support/shardings.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

struct Mutant {
  std::string what;
  Graph graph;
  std::string of;  // "halo", "permute", "sweep" where it breaks one of those; counted by itself
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
        all.push_back({fmt::format("{}: {}", graph[graph.nodes[n].results[0]].name, what), std::move(changed),
                       kind_of(graph.nodes[n])});
      };
      const Node& node = graph.nodes[n];
      layouts(graph, n, all);
      unmoved(graph, n, all);
      if (const auto* s = std::get_if<Sweep>(&node.op)) sweep(graph, *s, node, add);
      if (const auto* a = std::get_if<Attention>(&node.op)) attention(*a, add);
      if (const auto* c = std::get_if<Collective>(&node.op)) collective(graph, node, *c, add);
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) loops(graph, node, *nest, add);
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
        for (Mutant& body : mutants(*repeat->body)) {
          Repeat changed = *repeat;
          changed.body = std::make_shared<const Graph>(std::move(body.graph));
          add(body.what, changed);
          all.back().of = body.of;
        }
        Repeat changed = *repeat;
        changed.reverse = !repeat->reverse;
        add("turned around", changed);
      }
    }
    return all;
  }

 private:
  static std::string kind_of(const Node& node) {
    if (std::holds_alternative<Sweep>(node.op)) return "sweep";
    if (std::holds_alternative<Attention>(node.op)) return "attention";
    const auto* c = std::get_if<Collective>(&node.op);
    if (c == nullptr) return "";
    return c->kind == Collective::Kind::Halo ? "halo" : c->kind == Collective::Kind::Permute ? "permute" : "";
  }

  // A permute among fewer devices, in which each still finds its part, is as good.
  bool fewer_do(const Graph& graph, const Node& node, const Collective& c) const {
    const Value &from = graph[node.operands[0]], &to = graph[node.results[0]];
    if (c.kind != Collective::Kind::Permute) return false;
    const auto sources = permute_sources(mesh_, c.axes, from.type.shape, from.sharding, to.sharding);
    return std::find(sources.begin(), sources.end(), -1) == sources.end();
  }

  // A node that takes what one of its operands was before it moved.
  static void unmoved(const Graph& graph, std::size_t n, std::vector<Mutant>& all) {
    const std::vector<NodeId> made_by = producers(graph);
    for (std::size_t k = 0; k < graph.nodes[n].operands.size(); ++k) {
      const NodeId maker = made_by[*graph.nodes[n].operands[k]];
      if (!maker.valid() || !std::holds_alternative<Collective>(graph[maker].op)) continue;
      Graph changed = graph;
      changed.nodes[n].operands[k] = graph[maker].operands[0];
      all.push_back({fmt::format("{}: reads {} before it is moved", graph[graph.nodes[n].results[0]].name,
                                 graph[graph[maker].operands[0]].name),
                     std::move(changed), kind_of(graph[maker])});
    }
  }

  // Halos and permutes do what the sharding of their result says: rows too few, or of the wrong neighbour;
  // parts on the wrong devices.
  void layouts(const Graph& graph, std::size_t n, std::vector<Mutant>& all) const {
    const auto* c = std::get_if<Collective>(&graph.nodes[n].op);
    const ValueId result = graph.nodes[n].results[0];
    const Sharding& is = graph[result].sharding;
    const auto add = [&](std::string what, const Sharding& sharding) {
      if (sharding == is) return;
      Graph changed = graph;
      changed.values[*result].sharding = sharding;
      all.push_back(
          {fmt::format("{}: {}", graph[result].name, what), std::move(changed), kind_of(graph.nodes[n])});
    };
    Sharding other = is;
    if (c != nullptr && c->kind == Collective::Kind::Halo) {
      DimSharding& dim = other.dims[static_cast<std::size_t>(c->dim)];
      const DimSharding right = dim;
      if (right.before > 0) --dim.before, add("a row before is missing", other);
      dim = right;
      if (right.after > 0) --dim.after, add("a row after is missing", other);
      dim = right;
      std::swap(dim.before, dim.after);
      add("rows of the other neighbours", other);
    }
    if (c == nullptr || c->kind != Collective::Kind::Permute) return;
    add("nothing goes anywhere", graph[graph.nodes[n].operands[0]].sharding);
    for (std::size_t d = 0; d < is.dims.size(); ++d) {
      other = is;
      std::reverse(other.dims[d].axes.begin(), other.dims[d].axes.end());
      add("parts in another order", other);
      for (std::size_t e = 0; e < d; ++e) {
        other = is;
        std::swap(other.dims[d].axes, other.dims[e].axes);
        add("parts of another dimension", other);
      }
    }
  }

  template <class Add>
  static void sweep(const Graph& graph, const Sweep& s, const Node& node, Add add) {
    Sweep changed = s;
    changed.reverse = !s.reverse;
    add("the other way", changed);
    const auto rank = static_cast<std::int32_t>(graph[node.operands[0]].type.rank());
    for (std::int32_t d = 0; d < rank; ++d) {
      changed = s;
      changed.dim = d;
      if (d != s.dim) add("along another dimension", changed);
    }
    changed = s;
    changed.count = s.count - 1;
    if (s.count > 1) add("one place fewer", changed);
  }

  template <class Add>
  static void attention(const Attention& a, Add add) {
    Attention changed = a;
    changed.causal = !a.causal;
    add(a.causal ? "sees what comes later" : "does not see what comes later", changed);
    changed = a;
    changed.scale = 2 * a.scale;
    add("twice the scale", changed);
    changed = a;
    changed.window = a.window + 1;
    add("another window", changed);
    const auto lose = [&](Axes Attention::* axes, const char* what) {
      changed = a;
      (changed.*axes).clear();
      if (changed != a) add(what, changed);
    };
    lose(&Attention::batch, "the whole batch on each device");
    lose(&Attention::heads, "all heads on each device");
    lose(&Attention::queries, "all queries on each device");
    for (const auto& [one, other] :
         {std::pair(&Attention::batch, &Attention::heads), std::pair(&Attention::batch, &Attention::queries),
          std::pair(&Attention::heads, &Attention::queries)}) {
      changed = a;
      std::swap(changed.*one, changed.*other);
      if (changed != a) add("other loops are split", changed);
    }
  }

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
      // A reduction does not care about the order, and to a permute axes only say who takes part.
      const bool ordered = c.kind != Collective::Kind::AllReduce && c.kind != Collective::Kind::Permute;
      if (ordered) add("axes swapped", changed);
      changed = c;
      changed.axes.pop_back();
      if (!fewer_do(graph, node, changed)) add("an axis forgotten", changed);
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

// A lowered graph with its shardings, as text. Messages cost nothing there, so that nothing is gathered that
// can be sent.
Subject sharded_subject(std::string name, const std::string& text) {
  const Result<SpmdProgram> parsed = parse_program(text);
  EXPECT_TRUE(parsed) << render(parsed.error());
  const auto& [mesh, graph] = parsed.value();
  std::vector<Tensor> args = testing::arguments_of(graph);
  std::vector<Tensor> want = interpret(graph, args);
  return {std::move(name), passes::partition(graph, mesh, testing::without_latency(mesh.devices())),
          std::move(args), std::move(want)};
}

std::vector<Subject> moving_subjects() {
  std::vector<Subject> all;
  all.push_back(sharded_subject("windows and shifts", R"(mesh {x=3, y=2}
graph windows {
  input %a: f32[9, 4]@[x, y]
  param %w: f32[3]@[_] = zeros()
  %c: f32[i=9, j=4]@[x, y] = sum[k=3](%a[i + k - 1, j] * %w[k])
  %s: f32[i=9, j=4]@[x, y] = %c[i + 4, j] + %a[i - 1, j]
  %d: f32[i=9, j=4]@[x, y] = %s[i, j + 1] - %s[i, j - 1]
  %m: f32[i=9, j=4]@[x, y] = max[k=2](%d[i + k, j])
  output d = %d
  output m = %m
})"));
  all.push_back(sharded_subject("uneven windows", R"(mesh {x=4}
graph uneven {
  input %a: f32[10, 3]@[x, _]
  %c: f32[i=10, j=3]@[x, _] = sum[k=5](%a[i + k - 2, j])
  %s: f32[i=5, j=3]@[x, _] = sum[k=3](%c[2*i + k - 1, j])
  output c = %c
  output s = %s
})"));
  all.push_back(sharded_subject("permuted parts", R"(mesh {x=2, y=2, z=3}
graph permuted {
  input %a: f32[8, 6]@[x, y]
  input %v: f32[7]@[[x, z]]
  %b: f32[i=8, j=6]@[y, x] = sin(%a[i, j])
  %c: f32[i=8, j=6]@[[x, y], _] = cos(%b[i, j])
  %d: f32[i=8, j=6]@[[y, x], _] = %c[i, j] * 3.0
  %e: f32[i=8]@[x] = sum[j=6](%d[i, j])
  %f: f32[i=8]@[y] = %e[i] + 1.0
  %u: f32[i=7]@[[y, z]] = %v[i] * 2.0
  output b = %b
  output d = %d
  %g: f32[i=8]@[y] = %f[i] * 2.0
  %w: f32[i=7]@[[y, z]] = %u[i] + 1.0
  output g = %g
  output w = %w
})"));
  all.push_back(sharded_subject("sweeps", R"(mesh {x=3, y=2}
graph sweeps {
  input %a: f32[4, 7]@[y, x]
  input %b: f32[4, 7]@[y, x]
  %y: f32[4, 7]@[y, x] = recurrence(%a, %b, dim=1)
  %r: f32[4, 7]@[y, x] = recurrence(%b, dim=1, reverse)
  %s: f32[4, 7]@[_, x] = recurrence(%a, %b, dim=0, reverse)
  %k: i32[4, 3]@[y, _] = sort_indices(%b, dim=1, reverse, count=3)
  %o: i32[4, 7]@[_, x] = sort_indices(%a, dim=0)
  output y = %y
  output r = %r
  output s = %s
  output k = %k
  output o = %o
})"));
  all.push_back(sharded_subject("attention", R"(mesh {x=2, y=3}
graph attention {
  input %q: f32[2, 5, 4, 3]@[x, y, _, _]
  input %k: f32[2, 6, 2, 3]@[x, _, _, _]
  input %v: f32[2, 6, 2, 2]@[x, _, _, _]
  input %l: f32[2, 5, 4]@[x, y, _]
  input %e: f32[2, 5, 4]@[x, y, _]
  input %g: f32[2, 5, 4, 2]@[x, y, _, _]
  %o: f32[2, 5, 4, 2]@[x, y, _, _], %lse: f32[2, 5, 4]@[x, y, _] = attend(%q, %k, %v, scale=0.5, causal, window=2)
  %h: f32[2, 5, 4, 2]@[_, y, x, _], %hse: f32[2, 5, 4]@[_, y, x] = attend(%q, %k, %v, scale=0.5)
  %a: f32[2, 5, 4, 3]@[x, y, _, _], %b: f32[2, 6, 2, 3]@[x, _, _, _], %c: f32[2, 6, 2, 2]@[x, _, _, _] = attend_gradient(%q, %k, %v, %l, %e, %g, scale=0.5, causal)
  output o = %o
  output lse = %lse
  output h = %h
  output a = %a
  output b = %b
  output c = %c
})"));
  return all;
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

struct Score {
  int total = 0, noticed = 0, collectives = 0;
  std::string survivors;
};

// By what is broken: halos, permutes and sweeps by themselves, the rest under "".
std::map<std::string, Score> scores_of(const std::vector<Subject>& subjects) {
  std::map<std::string, Score> scores;
  for (const Subject& s : subjects) {
    EXPECT_FALSE(caught(s, s.program.graph)) << s.name << " is wrong before it is broken";
    for (const Mutant& mutant : Breaker(s.program.mesh).mutants(s.program.graph)) {
      Score& score = scores[mutant.of];
      ++score.total;
      score.collectives += mutant.what.find("collective dropped") != std::string::npos;
      if (caught(s, mutant.graph))
        ++score.noticed;
      else
        score.survivors += fmt::format("  {}: {}\n", s.name, mutant.what);
    }
  }
  return scores;
}

void expect_noticed(const Score& score, int at_least) {
  EXPECT_GE(score.total, at_least);
  EXPECT_GE(score.noticed, 0.95 * score.total) << score.noticed << " of " << score.total << "; survivors:\n"
                                               << score.survivors;
}

TEST(Mutation, BreaksAreNoticed) {
  const std::map<std::string, Score> scores = scores_of(subjects());
  expect_noticed(scores.at(""), 300);
  EXPECT_GE(scores.at("").collectives, 20);
  ::testing::Test::RecordProperty("mutants", scores.at("").total);
  ::testing::Test::RecordProperty("noticed", scores.at("").noticed);
}

// Each kind is judged by itself: they are few beside the loops, and would hide among them.
TEST(Mutation, BreaksOfWhatMovesAreNoticed) {
  const std::map<std::string, Score> scores = scores_of(moving_subjects());
  for (const auto& [kind, at_least] : {std::pair("halo", 40), std::pair("permute", 30),
                                       std::pair("sweep", 20), std::pair("attention", 15)}) {
    SCOPED_TRACE(kind);
    ASSERT_TRUE(scores.contains(kind));
    expect_noticed(scores.at(kind), at_least);
    ::testing::Test::RecordProperty(kind,
                                    fmt::format("{} of {}", scores.at(kind).noticed, scores.at(kind).total));
  }
  expect_noticed(scores.at(""), 100);
}

}  // namespace
}  // namespace shardc
