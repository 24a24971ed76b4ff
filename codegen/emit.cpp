#include "codegen/emit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <set>
#include <utility>

#include "codegen/attention_kernel.h"
#include "codegen/cpp_expr.h"
#include "codegen/kernel.h"
#include "codegen/sweep_kernel.h"
#include "codegen/tables.h"
#include "codegen/winograd.h"
#include "ir/price.h"
#include "ir/siblings.h"
#include "ir/support/check.h"

namespace shardc::codegen {
namespace {

// What a variable must not be called: the language's words, and what else the step function refers to.
bool is_reserved(const std::string& name) {
  static const std::set<std::string_view> words = {
      "alignas",     "alignof",  "and",        "and_eq",    "asm",       "auto",         "bitand",
      "bitor",       "bool",     "break",      "case",      "catch",     "char",         "char16_t",
      "char32_t",    "char8_t",  "class",      "co_await",  "co_return", "co_yield",     "compl",
      "concept",     "const",    "const_cast", "consteval", "constexpr", "constinit",    "continue",
      "decltype",    "default",  "delete",     "do",        "double",    "dynamic_cast", "else",
      "enum",        "explicit", "export",     "extern",    "false",     "float",        "for",
      "friend",      "goto",     "if",         "inline",    "int",       "long",         "mutable",
      "namespace",   "new",      "noexcept",   "not",       "not_eq",    "nullptr",      "operator",
      "or",          "or_eq",    "private",    "protected", "public",    "register",     "reinterpret_cast",
      "requires",    "return",   "short",      "signed",    "sizeof",    "static",       "static_assert",
      "static_cast", "struct",   "switch",     "template",  "this",      "thread_local", "throw",
      "true",        "try",      "typedef",    "typeid",    "typename",  "union",        "unsigned",
      "using",       "virtual",  "void",       "volatile",  "wchar_t",   "while",        "xor",
      "xor_eq"};
  const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
  return words.contains(name) || starts("at_") || starts("len_") || starts("shardc_") || starts("__");
}

std::string identifier(const std::string& name) {
  std::string result;
  for (char c : name) result += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  if (result.empty() || std::isdigit(static_cast<unsigned char>(result[0])) || is_reserved(result))
    result = "v_" + result;
  return result;
}

// What all levels of one program share: kernels, regions, names.
struct Program {
  Program(const Mesh& m, std::int64_t worth) : mesh(m), worth_splitting(worth), tables(m) {}

  std::string unique(const std::string& wanted) {
    std::string name = identifier(wanted);
    if (names.insert(name).second) return name;
    for (int i = 2;; ++i)
      if (std::string next = fmt::format("{}_{}", name, i); names.insert(next).second) return next;
  }

  // The name of the function that runs this nest.
  std::string kernel(const LocalNest& nest, const Kernel& made) {
    const bool product = made.body.find("shardc_gemm") != std::string::npos ||
                         made.body.find("shardc_winograd(") != std::string::npos;
    return function(product                         ? "product"
                    : nest.combine == Combine::None ? "map"
                                                    : name_of(nest.combine),
                    made);
  }

  std::string function(std::string_view kind, const Kernel& made) {
    const std::string key = made.parameters + "{" + made.body;
    auto [it, fresh] = kernels.try_emplace(key);
    if (fresh) {
      it->second = unique(fmt::format("{}_{}", kind, kernels.size()));
      kernel_text += fmt::format("__attribute__((noinline)) void {}({}) {{\n{}}}\n\n", it->second,
                                 made.parameters, made.body);
    }
    return it->second;
  }

  int region(const std::string& name, double flops, double bytes) {
    regions += fmt::format("    {{{}, {:.17g}, {:.17g}}},\n", quoted(name), flops, bytes);
    return region_count++;
  }

  const Mesh& mesh;
  const std::int64_t worth_splitting;
  Tables tables;
  std::set<std::string> names = {"self", "rank", "salt", "arena", "arg", "output", "step", "begin", "end"};
  std::map<std::string, std::string> kernels;
  std::string kernel_text, regions;
  int region_count = 0;
  int tickets = 0;                                                        // of collectives that are started
  std::map<std::string, std::pair<std::int64_t, Axes>> offsets, lengths;  // run-time values in use
};

class Level {
 public:
  Level(Program& program, const Graph& graph, const BufferPlan& plan, int depth)
      : p_(program), graph_(graph), plan_(plan), depth_(depth), pointer_(graph.values.size()) {
    for (const Node& node : graph.nodes)
      if (std::holds_alternative<Wait>(node.op)) waits_[node.operands[0]] = node.results[0];
  }

  void emit_nodes() {
    for (const Loop& loop : in_loops(graph_, plan_, p_.worth_splitting)) emit_loop(loop);
  }

  // Where the level's memory is.
  std::string arena = "arena", salt = "salt";
  // Typed pointer expressions by index in the graph, made when they are needed: what a body does not read is
  // not declared around it.
  std::vector<std::function<std::string()>> args, outputs;

  const std::string& pointer(ValueId value) {
    if (const auto wait = waits_.find(value); wait != waits_.end()) value = wait->second;
    std::string& name = pointer_[*value];
    if (!name.empty()) return name;
    const Value& v = graph_[value];
    const Storage& at = plan_.values[*value];
    const std::string type = cpp_type(v.type.dtype);
    std::string from;
    const auto turn = turns_.find(value);
    switch (at.kind) {
      case Storage::Kind::Arena:
        from = turn != turns_.end() ? turn->second : fmt::format("({}*)({} + {})", type, arena, at.offset);
        break;
      case Storage::Kind::Arg:
        from = args[static_cast<std::size_t>(at.index)]();
        break;
      case Storage::Kind::Output:
        from = outputs[static_cast<std::size_t>(at.index)]();
        break;
    }
    name = p_.unique(v.name);
    declarations_ += fmt::format("{}{}* const {} = {};\n", indent(), type, name, from);
    return name;
  }

  // Moves what declarations the last pointers needed in front of `text`.
  void line(const std::string& text) {
    body_ += std::exchange(declarations_, {});
    body_ += indent() + text + "\n";
  }
  void copy(const std::string& to, const std::string& from, const Value& v) {
    if (to != from) line(fmt::format("__builtin_memcpy({}, {}, {});", to, from, local_bytes(v)));
  }
  std::string take() {
    body_ += std::exchange(declarations_, {});
    return std::move(body_);
  }

 private:
  std::string indent() const { return std::string(2 * static_cast<std::size_t>(depth_), ' '); }

  std::string describe(const Value& v) const {
    std::string text = fmt::format("{}: {}", v.name, to_string(v.type));
    bool split = false;
    for (const DimSharding& dim : v.sharding.dims) split = split || !dim.axes.empty();
    if (split)
      text += fmt::format(", here {} of {}", to_string(local_shape(v.type.shape, v.sharding)),
                          to_string(p_.mesh, v.sharding));
    if (!v.sharding.partial.empty())
      text += fmt::format(", a part of the {} over {}", name_of(v.sharding.pending),
                          to_string(p_.mesh, v.sharding.partial));
    return text;
  }

  void emit_loop(const Loop& loop) {
    struct Visitor {
      Level& level;
      const Loop& loop;
      const Node& node;
      void operator()(const Call& call) const { CHECK(false, "call of {} in a local program", call.op); }
      void operator()(const LoopNest&) const { level.emit_nests(loop); }
      void operator()(const Repeat& repeat) const { level.emit_repeat(node, repeat); }
      void operator()(const Collective& collective) const { level.emit_collective(node, collective); }
      void operator()(const Wait&) const { level.emit_wait(node); }
      void operator()(const Sweep& sweep) const { level.emit_sweep(node, sweep); }
      void operator()(const Attention& attention) const { level.emit_attention(node, attention); }
    };
    std::visit(Visitor{*this, loop, loop.nodes.front()}, loop.nodes.front().op);
  }

  // Remembers which run-time values the step function has to compute.
  void note_axes(std::int64_t size, const Axes& axes) {
    if (axes.empty()) return;
    p_.offsets.try_emplace(offset_name(p_.mesh, size, axes), size, axes);
    p_.lengths.try_emplace(length_name(p_.mesh, size, axes), size, axes);
  }

  void in_region(const std::string& name, double flops, double bytes, const std::string& statement) {
    const int region = p_.region(name, flops, bytes);
    line(fmt::format("shardc_enter(self, {});  // {:.15g} flops, {:.15g} bytes", region, flops, bytes));
    line(statement);
    line(fmt::format("shardc_leave(self, {});", region));
  }

  void emit_nests(const Loop& loop) {
    for (const Factor& factor : std::get<LoopNest>(loop.nodes.front().op).factors)
      note_axes(factor.size, factor.axes);
    std::vector<ValueId> operands;
    const LocalNest local = localize(p_.mesh, graph_, plan_, loop, operands);
    const auto note = [&](ValueId value) {
      const Value& laid_out = graph_[plan_.laid_out_as(value)];
      for (std::size_t d = 0; d < laid_out.type.rank(); ++d)
        note_axes(laid_out.type.shape[d], laid_out.sharding.dims[d].axes);
    };
    for (ValueId operand : operands) note(operand);
    for (const Node& node : loop.nodes) note(node.results[0]);
    const Kernel kernel = make_kernel(local, p_.worth_splitting);
    std::vector<std::string> arguments;
    const auto add = [&](ValueId value, const LocalAccess& access) {
      const std::string name = pointer(value);
      arguments.push_back(access.shift.zero() ? name : fmt::format("{} + {}", name, access.shift.text()));
    };
    const std::vector<LocalResult> results = local.results();
    for (std::size_t r = 0; r < results.size(); ++r)
      if (!results[r].access.passed) add(loop.nodes[loop.adds ? 1 : r].results[0], results[r].access);
    for (std::size_t k = 0; k < operands.size(); ++k)
      if (!local.inputs[k].made) add(operands[k], local.inputs[k]);
    for (const std::string& extra : kernel.extra) arguments.push_back(extra == "salt" ? salt : extra);
    for (NodeId n : loop.all_reduces) line(comment_on(graph_[n], std::get<Collective>(graph_[n].op)));
    std::vector<std::string> names;
    for (const Node& node : loop.nodes) {
      names.push_back(graph_[node.results[0]].name);
      line("// " + describe(graph_[node.results[0]]));
    }
    const Work work = work_of(graph_, loop);  // of what is looked up, the hits
    const std::string call = fmt::format("{}({});", p_.kernel(local, kernel), fmt::join(arguments, ", "));
    in_region(fmt::to_string(fmt::join(names, " + ")), work.flops, work.bytes,
              all_reduced(loop, kernel.split, call));
  }

  // The statement that runs a loop's kernel, after the all-reduces that end in it, or with them.
  std::string all_reduced(const Loop& loop, const std::optional<Split>& split, const std::string& call) {
    std::string before, sums, results;
    const auto add_rows = [&](std::string& list, ValueId value) {
      list += fmt::format("{}{{{}, {}, {}}}", list.empty() ? "" : ", ", pointer(value), split->row,
                          static_cast<int>(graph_[value].type.dtype));
    };
    const bool together = split && split->row > 0;
    for (NodeId n : loop.all_reduces) {
      const Node& node = graph_[n];
      if (together)
        add_rows(sums, node.results[0]);
      else
        before +=
            fmt::format("shardc_all_reduce(self, {}); ", all_reduce(node, std::get<Collective>(node.op)));
    }
    if (loop.all_reduces.empty() || !together) return before + (split ? divided(*split, call) : call);
    for (const Node& node : loop.nodes)
      if (!loop.passed.contains(node.results[0])) add_rows(results, node.results[0]);
    const auto& collective = std::get<Collective>(graph_[loop.all_reduces.front()].op);
    return fmt::format("shardc_reduced(self, {}, {{{}}}, {}, {{{}}}, {}, {}, {});",
                       p_.tables.group(collective.axes), sums, code_of(collective.combine), results,
                       split->count, split->unit, part_of(call));
  }

  // A call that computes the part from `begin` to `end`, on all threads.
  static std::string divided(const Split& split, const std::string& call) {
    return fmt::format("shardc_split(self, {}, {}, {});", split.count, split.unit, part_of(call));
  }
  static std::string part_of(const std::string& call) {
    return fmt::format("[&](shardc_rank*{}, shardc_i64 begin, shardc_i64 end) {{ {} }}",
                       mentions(call, "self") ? " self" : "", call);
  }

  void emit_sweep(const Node& node, const Sweep& sweep) {
    const Value &from = graph_[node.operands[0]], &to = graph_[node.results[0]];
    const SweptLines lines = swept_lines(sweep, from);
    double bytes = static_cast<double>(local_bytes(to));
    for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph_[operand]));
    const double elements = static_cast<double>(lines.outer * lines.size * lines.inner);
    line(fmt::format("// {}, by {} along dimension {}", describe(to), name_of(sweep.kind), sweep.dim));
    std::vector<std::string> arguments;
    for (ValueId operand : node.operands) arguments.push_back(pointer(operand));
    if (sweep.kind == Sweep::Kind::Recurrence) {
      arguments.insert(arguments.begin(), pointer(node.results[0]));
      const Kernel kernel = recurrence_kernel(sweep, lines, from.type.dtype, node.operands.size() == 2);
      in_region(to.name, 2 * elements, bytes,
                fmt::format("{}({});", p_.function("recurrence", kernel), fmt::join(arguments, ", ")));
      return;
    }
    const std::int64_t count = to.type.shape[static_cast<std::size_t>(sweep.dim)];
    in_region(to.name, 0, bytes,
              fmt::format("shardc_sort_indices({}, {}, {}, {}, {}, {}, {}, {});", arguments[0],
                          static_cast<int>(from.type.dtype), lines.outer, lines.size, lines.inner,
                          sweep.reverse ? 1 : 0, count, pointer(node.results[0])));
  }

  void emit_attention(const Node& node, const Attention& attention) {
    const LoopNest loops = loops_of(attention, types_of(graph_, node.operands), 0);
    for (const Factor& factor : loops.factors) note_axes(factor.size, factor.axes);
    const AttentionCall call = attention_call(p_.mesh, graph_, node, attention);
    std::vector<std::string> arguments;
    for (const auto* values : {&node.results, &node.operands})
      for (ValueId value : *values) arguments.push_back(pointer(value));
    for (ValueId result : node.results)
      line(fmt::format("// {}, by {}", describe(graph_[result]), name_of(attention.kind)));
    const Work work = work_of(graph_, node);
    const std::string sizes = p_.unique(graph_[node.results[0]].name + "_sizes");
    line(fmt::format("const shardc_attention {} = {};", sizes, call.sizes));
    const std::string text =
        fmt::format("{}({}, {}, {}, {}, begin, end, (float*)shardc_scratch(self, 4 * {}));", call.function,
                    fmt::join(arguments, ", "), call.ratio, call.scale, sizes, call.scratch);
    in_region(graph_[node.results[0]].name, work.flops, work.bytes, divided({call.parts, 1}, text));
  }

  // As shardc_combine.
  static int code_of(Combine combine) {
    return combine == Combine::Max ? 1 : combine == Combine::Min ? 2 : 0;
  }

  std::string comment_on(const Node& node, const Collective& c) const {
    return fmt::format("// {}{}, by {} over {}", c.start ? "start of " : "",
                       describe(graph_[node.results[0]]), name_of(c.kind), to_string(p_.mesh, c.axes));
  }

  // The arguments that say what is reduced.
  std::string all_reduce(const Node& node, const Collective& c) {
    const Value& to = graph_[node.results[0]];
    return fmt::format("{}, {}, {}, {}, {}", p_.tables.group(c.axes), pointer(node.results[0]),
                       elements_of(local_shape(to.type.shape, to.sharding)), static_cast<int>(to.type.dtype),
                       code_of(c.combine));
  }

  void emit_collective(const Node& node, const Collective& c) {
    const Value &from = graph_[node.operands[0]], &to = graph_[node.results[0]];
    const Shape in = local_shape(from.type.shape, from.sharding),
                out = local_shape(to.type.shape, to.sharding);
    const std::string source = pointer(node.operands[0]), target = pointer(node.results[0]);
    const int group = p_.tables.group(c.axes), dtype = static_cast<int>(to.type.dtype);
    const int combine = code_of(c.combine);
    auto product = [&](std::size_t first, std::size_t last) {
      std::int64_t n = 1;
      for (std::size_t d = first; d < last; ++d) n *= in[d];
      return n;
    };
    const auto dim = static_cast<std::size_t>(std::max(c.dim, 0));
    const std::int64_t size = to.type.rank() == 0 ? 0 : to.type.shape[dim];
    std::string call, first = "self";  // what the call begins with
    if (c.start) {
      tickets_[node.results[0]] = p_.tickets;
      first = fmt::format("self, {}", p_.tickets++);
    }
    const std::string name = fmt::format("shardc_{}{}", c.start ? "start_" : "", name_of(c.kind));
    line(comment_on(node, c));
    switch (c.kind) {
      case Collective::Kind::AllReduce: {
        if (plan_.values[*node.operands[0]] != plan_.values[*node.results[0]]) copy(target, source, to);
        call = fmt::format("{}({}, {});", name, first, all_reduce(node, c));
        break;
      }
      case Collective::Kind::AllGather:
        call = fmt::format("{}({}, {}, {}, {}, {}, {}, {}, {}, {});", name, first, group,
                           plan_.within.contains(node.operands[0]) ? "nullptr" : source, target,
                           product(0, dim), in[dim], out[dim], product(dim + 1, in.size()), dtype);
        break;
      case Collective::Kind::ReduceScatter:
        call = fmt::format("{}({}, {}, {}, {}, {}, {}, {}, {}, {}, {});", name, first, group, source, target,
                           product(0, dim), out[dim], in[dim], product(dim + 1, in.size()), dtype, combine);
        break;
      case Collective::Kind::Permute:
        call = fmt::format(
            "{}({}, {}, {}, {}, {}, {}, {});", name, first, group, source, target, elements_of(in), dtype,
            p_.tables.numbers(permute_sources(p_.mesh, c.axes, to.type.shape, from.sharding, to.sharding)));
        break;
      case Collective::Kind::Halo:
        call = fmt::format("{}({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", name, first, group, source,
                           target, product(0, dim), in[dim], size, product(dim + 1, in.size()),
                           to.sharding.dims[dim].before, to.sharding.dims[dim].after, dtype);
        break;
      case Collective::Kind::AllToAll: {
        const std::string shape = p_.unique(to.name + "_shape");
        line(fmt::format("const shardc_i64 {}[] = {{{}}};", shape, fmt::join(in, ", ")));
        call =
            fmt::format("{}({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", name, first, group, source, target,
                        in.size(), shape, c.dim, c.to, out[dim], out[static_cast<std::size_t>(c.to)], dtype);
        break;
      }
    }
    in_region(to.name, 0, static_cast<double>(payload_bytes(c, from, to)), call);
  }

  void emit_wait(const Node& node) {
    const Value& result = graph_[node.results[0]];
    line("// " + describe(result));
    in_region(result.name, 0, 0, fmt::format("shardc_wait(self, {});", tickets_.at(node.operands[0])));
  }

  void emit_repeat(const Node& node, const Repeat& repeat) {
    const auto n = static_cast<std::size_t>(&node - graph_.nodes.data());
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    const std::string i = p_.unique("i");
    const BufferPlan& inner = plan_.bodies.at(n);
    line(fmt::format("// {} times: {}", repeat.times, body.name));
    std::map<std::size_t, Turns> turns;
    for (std::int32_t k : inner.in_turns)
      turns.emplace(k, begin_turns(n, node, repeat, static_cast<std::size_t>(k)));
    for (std::size_t k = 0; k < carried; ++k) {
      if (turns.contains(k)) continue;
      if (plan_.values[*node.operands[k]] == plan_.values[*node.results[k]]) continue;
      const std::string to = pointer(node.results[k]), from = pointer(node.operands[k]);
      copy(to, from, graph_[node.results[k]]);
    }
    Level inside(p_, body, inner, depth_ + 1);
    inside.arena = p_.unique("arena");
    inside.salt = p_.unique("salt");
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const ValueId outer = k < carried ? node.results[k] : node.operands[k];
      const bool slices = k >= carried && k < carried + stacked;
      const Value& v = body[body.args[k].value];
      if (const auto turn = turns.find(k); turn != turns.end())
        inside.args.emplace_back([from = turn->second.from] { return from; });
      else
        inside.args.emplace_back(
            [=, this, &v] { return slices ? slice(pointer(outer), i, v) : pointer(outer); });
    }
    for (std::size_t k = 0; k < node.results.size(); ++k) {
      const ValueId outer = node.results[k];
      const Value& v = body[body.outputs[k].value];
      inside.outputs.emplace_back(
          [=, this, &v] { return k < carried ? pointer(outer) : slice(pointer(outer), i, v); });
    }
    for (const auto& [k, turn] : turns) inside.turns_[body.outputs[k].value] = turn.to;
    inside.emit_nodes();
    for (std::size_t k = 0; k < carried; ++k) {
      if (turns.contains(k)) {
        inside.line(turns.at(k).next());
        continue;
      }
      const ValueId value = body.outputs[k].value;
      const Storage& at = inside.plan_.values[*value];
      const bool in_place = at.kind == Storage::Kind::Arg && at.index == static_cast<std::int32_t>(k);
      if (!in_place) inside.copy(inside.args[k](), inside.pointer(value), body[value]);
    }
    const std::string text = inside.take();
    line(repeat.reverse ? fmt::format("for (shardc_i64 {0} = {1}; {0} >= 0; --{0}) {{", i, repeat.times - 1)
                        : fmt::format("for (shardc_i64 {0} = 0; {0} < {1}; ++{0}) {{", i, repeat.times));
    if (mentions(text, inside.arena))
      line(fmt::format("  char* const {} = {} + {};", inside.arena, arena, plan_.body_offset.at(n)));
    if (mentions(text, inside.salt))
      line(fmt::format("  const shardc_u64 {} = shardc_bits({}, (shardc_u64){} + 1);", inside.salt, salt, i));
    body_ += text;
    line("}");
  }

  // Pointers of a carry whose iterations write to two places in turns.
  struct Turns {
    std::string from, to, other;
    std::string next() const { return fmt::format("{0} = {1}, {1} = {2}, {2} = {0};", from, to, other); }
  };
  Turns begin_turns(std::size_t n, const Node& node, const Repeat& repeat, std::size_t k) {
    const ValueId out = repeat.body->outputs[k].value;
    const Value& v = (*repeat.body)[out];
    const std::string type = cpp_type(v.type.dtype);
    const bool joined = plan_.values[*node.operands[k]] == plan_.values[*node.results[k]];
    const std::string to = pointer(node.results[k]);
    std::string from = pointer(node.operands[k]);
    const Turns turns{p_.unique(v.name + "_from"), p_.unique(v.name + "_to"), p_.unique(v.name + "_other")};
    const std::string spare = fmt::format("({}*)({} + {})", type, arena,
                                          plan_.body_offset.at(n) + plan_.bodies.at(n).values[*out].offset);
    const bool odd =
        repeat.times % 2 != 0;  // then the first iteration writes to the carry, as the last one does
    if (joined && odd) {
      copy(spare, from, v);
      from = spare;
    }
    line(fmt::format("{0}* {1} = {2};", type, turns.from, from));
    line(fmt::format("{0}* {1} = {2};", type, turns.to, odd ? to : spare));
    line(fmt::format("{0}* {1} = {2};", type, turns.other, odd ? spare : to));
    return turns;
  }

  static std::string slice(const std::string& stack, const std::string& i, const Value& v) {
    return fmt::format("{} + {} * {}", stack, i, elements_of(local_shape(v.type.shape, v.sharding)));
  }

  Program& p_;
  const Graph& graph_;
  const BufferPlan& plan_;
  int depth_;
  std::vector<std::string> pointer_;
  std::map<ValueId, ValueId> waits_;      // what is started lies where the result of its wait does
  std::map<ValueId, int> tickets_;        // of what is started
  std::map<ValueId, std::string> turns_;  // variables that say where a carried value is made this time
  std::string body_, declarations_;
};

bool is_table_output(const Output& output) { return output.role != Output::Role::Update; }

std::string step_body(Program& p, const SpmdProgram& program, const BufferPlan& plan) {
  const Graph& graph = program.graph;
  Level level(p, graph, plan, 1);
  const auto fixed = [&](ValueId value, std::string_view array, std::size_t i) {
    const std::string text = fmt::format("({}*){}[{}]", cpp_type(graph[value].type.dtype), array, i);
    return [text] { return text; };
  };
  for (std::size_t i = 0; i < graph.args.size(); ++i)
    level.args.emplace_back(fixed(graph.args[i].value, "arg", i));
  std::size_t next = 0;
  for (const Output& output : graph.outputs)
    level.outputs.emplace_back(fixed(output.value, "output", is_table_output(output) ? next++ : 0));
  level.emit_nodes();
  for (const Output& output : graph.outputs) {
    const Storage& at = plan.values[*output.value];
    if (output.role != Output::Role::Update || (at.kind == Storage::Kind::Arg && at.index == output.of))
      continue;
    level.copy(level.pointer(graph.args[static_cast<std::size_t>(output.of)].value),
               level.pointer(output.value), graph[output.value]);
  }
  return level.take();
}

// Offsets and lengths of this rank's shards; only those that the text uses.
std::string run_time_values(const Program& p, const std::string& body) {
  std::string text;
  auto used = [&](const std::string& name) { return mentions(body, name); };
  auto shard = [&](std::int64_t size, const Axes& axes, bool length) {
    std::string offset, extent = fmt::format("{}", size);
    std::int64_t chunk = size;
    for (const AxisRef& ref : axes) {
      chunk = chunk_of(chunk, {ref});
      const std::string skip = fmt::format("rank / {} % {} * {}", stride_of(p.mesh, ref), ref.size, chunk);
      offset += (offset.empty() ? "" : " + ") + skip;
      extent = fmt::format("shardc_part({}, {}, {})", extent, skip, chunk);
    }
    return length ? extent : offset;
  };
  for (const auto& [name, dim] : p.offsets)
    if (used(name))
      text += fmt::format("  const shardc_i64 {} = {};\n", name, shard(dim.first, dim.second, false));
  for (const auto& [name, dim] : p.lengths)
    if (used(name))
      text += fmt::format("  const shardc_i64 {} = {};\n", name, shard(dim.first, dim.second, true));
  return text;
}

constexpr std::string_view kPart = R"(// How many of `extent` elements are left after `skip`, at most `chunk`.
inline shardc_i64 shardc_part(shardc_i64 extent, shardc_i64 skip, shardc_i64 chunk) {
  const shardc_i64 left = extent - skip;
  return left < 0 ? 0 : left < chunk ? left : chunk;
}

)";

constexpr std::string_view kWork = R"(// Work as the runtime takes it: a function, and what to call it with.
template <class Work>
inline void shardc_call(shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* work) {
  (*(const Work*)work)(self, begin, end);
}

)";

constexpr std::string_view kSplit =
    R"(// work(self, begin, end) for all of [0, count), by the threads of this rank.
template <class Work>
inline void shardc_split(shardc_rank* self, shardc_i64 count, shardc_i64 unit, const Work& work) {
  if (self->threads <= 1) return work(self, 0, count);
  shardc_parallel(self, count, unit, shardc_call<Work>, &work);
}

)";

constexpr std::string_view kReduced =
    R"(// All-reduces of `sums`, then work(self, begin, end) for all of [0, count), which makes the same `results` on
// all members of the group.
template <int Sums, int Results, class Work>
inline void shardc_reduced(shardc_rank* self, int group, const shardc_rows (&sums)[Sums], int combine,
                           const shardc_rows (&results)[Results], shardc_i64 count, shardc_i64 unit,
                           const Work& work) {
  shardc_all_reduce_map(self, group, sums, Sums, combine, results, Results, count, unit, shardc_call<Work>,
                        &work);
}

)";

std::string arg_table(Program& p, const Graph& graph) {
  std::string text;
  for (const Arg& arg : graph.args) {
    const int role = arg.role == Arg::Role::Param ? 1 : arg.role == Arg::Role::State ? 2 : 0;
    text += fmt::format("    {{{}, {}, {}, {:.17g}, {:.17g}, {}}},\n",
                        p.tables.tensor(graph[arg.value], graph[arg.value].name), role,
                        static_cast<int>(arg.init.kind), arg.init.a, arg.init.b, arg.bound);
  }
  return text;
}

std::string output_table(Program& p, const Graph& graph) {
  std::string text;
  for (const Output& output : graph.outputs)
    if (is_table_output(output))
      text += fmt::format("    {{{}, {}}},\n", p.tables.tensor(graph[output.value], output.name),
                          output.role == Output::Role::Gradient ? 1 : 0);
  return text;
}

std::string array(const std::string& type, const std::string& name, const std::string& items) {
  if (items.empty()) return {};
  return fmt::format("const {} {}[] = {{\n{}}};\n", type, name, items);
}

}  // namespace

std::string emit(const SpmdProgram& program, const BufferPlan& buffers, const std::string& loss,
                 std::int64_t worth_splitting) {
  const Graph& graph = program.graph;
  const Mesh& mesh = program.mesh;
  Program p(mesh, worth_splitting);
  const std::string body = step_body(p, program, buffers);
  const std::string values = run_time_values(p, body);
  std::string step =
      "void step(shardc_rank* self, shardc_i64 rank, shardc_u64 salt, char* arena, void* const* arg,\n       "
      "   void* const* output) {\n";
  for (const std::string name : {"self", "rank", "salt", "arena", "arg", "output"})
    if (!mentions(values + body, name)) step += fmt::format("  (void){};\n", name);
  step += values + body + "}\n\n";

  const std::string args = arg_table(p, graph), outputs = output_table(p, graph);
  std::string axis_names, axis_sizes;
  for (const Axis& axis : mesh.axes) {
    axis_names += (axis_names.empty() ? "" : ", ") + quoted(axis.name);
    axis_sizes += fmt::format("{}{}", axis_sizes.empty() ? "" : ", ", axis.size);
  }
  auto name_or_null = [](const std::string& items, const char* name) {
    return items.empty() ? "nullptr" : name;
  };
  const auto lines = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };

  std::string out = fmt::format(
      "// {} on mesh {}. Every rank runs this on its own part of every tensor.\n#include "
      "\"shardc_rt.h\"\n\nnamespace {{\n\n",
      graph.name, to_string(mesh));
  if (values.find("shardc_part(") != std::string::npos) out += kPart;
  const bool splits = body.find("shardc_split(") != std::string::npos,
             reduces = body.find("shardc_reduced(") != std::string::npos;
  if (splits || reduces) out += kWork;
  if (splits) out += kSplit;
  if (reduces) out += kReduced;
  const std::string kernels = attention_prelude(step) + winograd_prelude(p.kernel_text) + p.kernel_text;
  const std::string prelude = prelude_for(kernels + step);
  out += prelude + (prelude.empty() ? "" : "\n") + kernels + p.tables.number_text() + step + p.tables.text();
  const std::string groups = p.tables.groups();
  if (!groups.empty()) out += fmt::format("const shardc_group groups[] = {{{}}};\n", groups);
  if (!mesh.axes.empty())
    out += fmt::format("const char* const axis_names[] = {{{}}};\nconst shardc_i64 axis_sizes[] = {{{}}};\n",
                       axis_names, axis_sizes);
  out += array("shardc_arg", "args", args) + array("shardc_output", "outputs", outputs) +
         array("shardc_region", "regions", p.regions);
  out += "\n}  // namespace\n\n";
  out += fmt::format(
      "extern \"C\" {{\nextern const shardc_program shardc_the_program;\nconst shardc_program "
      "shardc_the_program = {{\n    SHARDC_ABI, {}, {}, {}, {},\n    {}, {},\n    {}, {},\n    {}, {},\n    "
      "{},\n    {}, {},\n    {},\n    step,\n}};\n}}\n",
      quoted(graph.name), mesh.axes.size(), mesh.axes.empty() ? "nullptr" : "axis_names",
      mesh.axes.empty() ? "nullptr" : "axis_sizes", p.tables.group_count(), name_or_null(groups, "groups"),
      lines(args), name_or_null(args, "args"), lines(outputs), name_or_null(outputs, "outputs"),
      buffers.bytes, p.region_count, name_or_null(p.regions, "regions"),
      loss.empty() ? "nullptr" : quoted(loss));
  return out;
}

}  // namespace shardc::codegen
