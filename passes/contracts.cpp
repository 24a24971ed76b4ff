#include "passes/contracts.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "ir/price.h"
#include "passes/reshard_chains.h"

namespace shardc::passes {
namespace {

using Phase = Expectation::Phase;

// A repeat that a collective stands in, and how often the collective runs in one of its iterations.
struct Inside {
  std::string block;
  std::size_t repeat;  // numbers the repeats of the program
  std::int64_t times;
};

struct Occurrence {
  std::string collective, value;
  Place place;
  std::int64_t bytes = 0;  // of one run
  std::int64_t times = 1;  // per step
  Phase phase = Phase::Forward;
  std::vector<Inside> inside;
};

std::vector<bool> needed_for(const Graph& graph, const std::vector<ValueId>& roots) {
  std::vector<bool> needed(graph.values.size(), false);
  for (ValueId root : roots) needed[*root] = true;
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (std::none_of(node.results.begin(), node.results.end(), [&](ValueId v) { return needed[*v]; }))
      continue;
    for (ValueId operand : node.operands) needed[*operand] = true;
  }
  return needed;
}

class Collector {
 public:
  std::vector<Occurrence> run(const Graph& graph) {
    std::vector<ValueId> roots;
    for (const Output& output : graph.outputs)
      if (output.role == Output::Role::Result) roots.push_back(output.value);
    split(graph, roots, 1, {});
    return std::move(found_);
  }

 private:
  // A level that holds both phases: `roots` are what the forward one is for.
  void split(const Graph& graph, const std::vector<ValueId>& roots, std::int64_t times,
             const std::vector<Inside>& inside) {
    const std::vector<bool> needed = needed_for(graph, roots);
    for (const Node& node : graph.nodes) {
      const auto is_needed = [&](ValueId v) { return needed[*v]; };
      const bool forward = std::any_of(node.results.begin(), node.results.end(), is_needed);
      const auto* repeat = std::get_if<Repeat>(&node.op);
      if (repeat == nullptr || !repeat->body->name.ends_with(".microbatch")) {
        add(graph, node, times, forward ? Phase::Forward : Phase::Backward, inside);
        continue;
      }
      std::vector<ValueId> inner;
      for (std::size_t i = 0; i < node.results.size(); ++i)
        if (needed[*node.results[i]]) inner.push_back(repeat->body->outputs[i].value);
      split(*repeat->body, inner, times * repeat->times, entered(inside, *repeat));
    }
  }

  std::vector<Inside> entered(std::vector<Inside> inside, const Repeat& repeat) {
    for (Inside& outer : inside) outer.times *= repeat.times;
    const std::string& name = repeat.body->name;
    inside.push_back({name.ends_with(".grad") ? name.substr(0, name.size() - 5) : name, repeats_++, 1});
    return inside;
  }

  void add(const Graph& graph, const Node& node, std::int64_t times, Phase phase,
           const std::vector<Inside>& inside) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      const std::vector<Inside> here = entered(inside, *repeat);
      for (const Node& inner : repeat->body->nodes)
        add(*repeat->body, inner, times * repeat->times, phase, here);
    }
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr) return;
    const Value& operand = graph[node.operands[0]];
    found_.push_back({std::string(name_of(collective->kind)), tensor_of(operand.name), node.place,
                      payload_bytes(*collective, operand, graph[node.results[0]]), times, phase, inside});
  }

  std::vector<Occurrence> found_;
  std::size_t repeats_ = 0;
};

// What an expectation counts of one collective; 0 where it does not speak of it.
std::int64_t counted(const Expectation& e, const Occurrence& o, std::int64_t times) {
  if (o.collective.find(e.collective) == std::string::npos) return 0;
  if (e.phase != Phase::Step && e.phase != o.phase) return 0;
  return times * (e.bytes ? o.bytes : 1);
}

struct Tally {
  std::int64_t total = 0;
  std::vector<std::string> culprits;
  bool repeated = true;  // is there a repeat of the block?
};

void blame(const Expectation& e, const Occurrence& o, std::int64_t times, Tally& tally) {
  if (counted(e, o, times) == 0) return;
  std::string text = fmt::format("{} ({} bytes", o.value, o.bytes);
  if (times > 1) text += fmt::format(", {} times", times);
  if (o.place.line > 0) text += fmt::format(", {}:{}", o.place.file, o.place.line);
  tally.culprits.push_back(text + ")");
}

// Within one iteration of a repeat of the block. Of several repeats the one with the most counts, forward and
// backward by themselves.
Tally per_block(const Expectation& e, const std::vector<Occurrence>& all) {
  Tally tally;
  for (const Phase phase : {Phase::Forward, Phase::Backward}) {
    std::map<std::size_t, std::int64_t> sums;
    const auto each = [&](const auto& visit) {
      for (const Occurrence& o : all)
        for (const Inside& inside : o.inside)
          if (inside.block == e.block && o.phase == phase) visit(o, inside);
    };
    each([&](const Occurrence& o, const Inside& in) { sums[in.repeat] += counted(e, o, in.times); });
    if (sums.empty()) continue;
    const auto most = std::max_element(sums.begin(), sums.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    tally.total += most->second;
    each([&](const Occurrence& o, const Inside& in) {
      if (in.repeat == most->first) blame(e, o, in.times, tally);
    });
  }
  return tally;
}

Tally in_step(const Expectation& e, const std::vector<Occurrence>& all) {
  Tally tally;
  for (const Occurrence& o : all) {
    tally.total += counted(e, o, o.times);
    blame(e, o, o.times, tally);
  }
  return tally;
}

bool holds(const Expectation& e, std::int64_t total) {
  using Relation = Expectation::Relation;
  switch (e.relation) {
    case Relation::Less:
      return total < e.limit;
    case Relation::AtMost:
      return total <= e.limit;
    case Relation::Equal:
      return total == e.limit;
    case Relation::AtLeast:
      return total >= e.limit;
    case Relation::More:
      return total > e.limit;
  }
  return false;
}

void add_blocks(const Graph& graph, std::vector<std::string>& blocks) {
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      blocks.push_back(repeat->body->name);
      add_blocks(*repeat->body, blocks);
    }
}

Diagnostic unmet(const Expectation& e, const Tally& tally) {
  constexpr std::size_t kShown = 8;
  std::string hint;
  for (std::size_t i = 0; i < std::min(kShown, tally.culprits.size()); ++i)
    hint += (i == 0 ? "they are " : ", ") + tally.culprits[i];
  if (tally.culprits.size() > kShown) hint += fmt::format(" and {} more", tally.culprits.size() - kShown);
  Diagnostic diagnostic =
      error_at(e.place, fmt::format("expected {} {}, found {}", key_of(e), to_string(e), tally.total),
               std::move(hint));
  diagnostic.source_line = e.source_line;
  return diagnostic;
}

}  // namespace

Diagnostics check_expectations(const SpmdProgram& program, const std::vector<Expectation>& expect) {
  Diagnostics errors;
  if (expect.empty()) return errors;
  const std::vector<Occurrence> all = Collector().run(program.graph);
  std::vector<std::string> blocks;
  add_blocks(program.graph, blocks);
  for (const Expectation& e : expect) {
    if (!e.block.empty() && std::find(blocks.begin(), blocks.end(), e.block) == blocks.end()) {
      Diagnostic diagnostic =
          error_at(e.place, fmt::format("the model has no repeat of a block '{}'", e.block),
                   did_you_mean(e.block, blocks));
      diagnostic.source_line = e.source_line;
      errors.push_back(std::move(diagnostic));
      continue;
    }
    const Tally tally = e.block.empty() ? in_step(e, all) : per_block(e, all);
    if (!holds(e, tally.total)) errors.push_back(unmet(e, tally));
  }
  return errors;
}

namespace {

bool moves(const Node& node) {
  const auto* collective = std::get_if<Collective>(&node.op);
  if (collective == nullptr) return false;
  const std::string_view name = name_of(collective->kind);
  return name != "all_reduce" && name != "reduce_scatter" && name.find("halo") == std::string_view::npos;
}

class ReshardFinder {
 public:
  ReshardFinder(const Mesh& mesh, const std::map<std::string, Sharding, std::less<>>& told,
                const std::map<std::string, Sharding, std::less<>>& manual, Diagnostics& errors)
      : mesh_(mesh), told_(told), manual_(manual), errors_(errors) {}

  void walk(const Graph& graph) {
    const ReshardChains chains(graph);
    for (const Node& node : graph.nodes) {
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) walk(*repeat->body);
      if (moves(node)) judge(graph, chains, node);
    }
  }

 private:
  // Speaks once for each chain of steps, at its last collective that moves something.
  void judge(const Graph& graph, const ReshardChains& chains, const Node& node) {
    const ReshardChain chain = chains.of(node);
    const auto at = std::find(chain.steps.begin(), chain.steps.end(), &node);
    if (std::any_of(at + 1, chain.steps.end(), [](const Node* step) { return moves(*step); })) return;
    const Value &from = graph[chain.from], &to = graph[chain.to];
    const std::string name = tensor_of(from.name);
    if (manual_.contains(name) ||
        (chain.reader != nullptr && manual_.contains(graph[chain.reader->results[0]].name)))
      return;
    if (asked_for(name, to.sharding) || (chain.reader != nullptr && elementwise(*chain.reader) &&
                                         told_.contains(graph[chain.reader->results[0]].name)))
      return;
    errors_.push_back(error_at(
        node.place,
        fmt::format("'{}' is resharded from {} to {} for {}, by {}", name, to_string(mesh_, from.sharding),
                    to_string(mesh_, to.sharding), reader_of(graph, chain),
                    name_of(std::get<Collective>(node.op).kind)),
        "explicit: true allows what sharding.tensors asks for; give one of the two a sharding there"));
  }

  static bool elementwise(const Node& node) {
    const auto* nest = std::get_if<LoopNest>(&node.op);
    return nest != nullptr && nest->combine == Combine::None;
  }

  bool asked_for(const std::string& name, const Sharding& form) const {
    const auto told = told_.find(name);
    return told != told_.end() &&
           std::equal(form.dims.begin(), form.dims.end(), told->second.dims.begin(), told->second.dims.end(),
                      [](const DimSharding& a, const DimSharding& b) { return a.axes == b.axes; });
  }

  const Mesh& mesh_;
  const std::map<std::string, Sharding, std::less<>>& told_;
  const std::map<std::string, Sharding, std::less<>>& manual_;
  Diagnostics& errors_;
};

}  // namespace

Diagnostics check_reshards(const SpmdProgram& program,
                           const std::map<std::string, Sharding, std::less<>>& told,
                           const std::map<std::string, Sharding, std::less<>>& manual) {
  Diagnostics errors;
  ReshardFinder(program.mesh, told, manual, errors).walk(program.graph);
  return errors;
}

}  // namespace shardc::passes
