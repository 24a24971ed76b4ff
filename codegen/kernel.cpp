#include "codegen/kernel.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "codegen/cpp_expr.h"
#include "codegen/inside.h"
#include "codegen/matrix_kernel.h"
#include "codegen/packed_product.h"
#include "codegen/selector.h"
#include "codegen/winograd.h"
#include "ir/support/check.h"

namespace shardc::codegen {
namespace {

// Of a max or min reduction, which clang does not vectorise by itself, and of the shortest rows gathered as
// such.
constexpr int kLanes = 8;
constexpr std::int64_t kSplitEvenly = 16;  // places; fewer are divided only where there is nothing longer
constexpr std::int64_t kRowUnit = 64;   // elements: whole vectors, so that all are computed as in a whole row
constexpr std::int64_t kUnrolled = 32;  // iterations of inner loops that may be written out
constexpr std::int64_t kGathered = 64;  // elements of short rows that are looked up one after another
// Of a row so long, lines that it steps through are gone from the first cache before the next row wants the
// neighbours: rows are cut, 16 of them by 8 elements. 16 is a line; more of either share too few places of
// the cache where lines are a power of two apart.
constexpr std::int64_t kLongRow = 256, kTileRows = 16, kTileColumns = 8;

class LoopKernel {
 public:
  LoopKernel(const LocalNest& nest, std::int64_t worth_splitting)
      : nest_(nest), worth_splitting_(worth_splitting), selector_(find_selector(nest)) {
    for (std::size_t f = 0; f < nest.factors.size(); ++f) loops_.push_back(f);
    find_needs();
  }

  Kernel make() {
    choose_order();
    choose_split();
    const Kind result = kind_of(nest_.output.dtype);
    CHECK(!nest_.adds || selector_, "rows are added at looked-up places");
    if (selector_)
      selected();
    else if (nest_.combine == Combine::None)
      plain();
    else if (unrolls_all())
      unrolled();
    else if (inner_is_reduced() || cpp_type(nest_.output.dtype) != cpp_type(result))
      reduced_inside();
    else
      reduced_outside();
    Kernel kernel{parameters(), body_, extra_, {}};
    if (split_) kernel.divide({count(*split_, true), is_row(*split_) ? kRowUnit : 1, split_row()});
    return kernel;
  }

 private:
  // --- what the body needs to know at run time
  // ---------------------------------------------------------------

  void find_needs() {
    indexed_.assign(nest_.factors.size(), false);
    std::function<void(const Expr&)> walk = [&](const Expr& e) {
      if (e->fn == Fn::Index) indexed_[static_cast<std::size_t>(e->index)] = true;
      if (e->fn == Fn::Uniform || e->fn == Fn::Normal) salted_ = true;
      for (const Expr& arg : e->args) walk(arg);
    };
    for (const LocalResult& result : nest_.results()) walk(result.body);
    auto guarded = [&](const LocalAccess& access) {
      for (const Guard& guard : access.guards)
        for (const Term& term : guard.index.terms) indexed_[*term.factor] = true;
    };
    for (const LocalAccess& input : nest_.inputs) guarded(input);
    if (selector_) indexed_[selector_->factor] = true;
  }

  std::string parameters() {
    std::vector<std::string> pointers;
    const std::vector<LocalResult> results = nest_.results();
    for (std::size_t r = 0; r < results.size(); ++r)
      if (const LocalAccess& access = results[r].access; !access.passed)
        pointers.push_back(fmt::format("{}* {}", cpp_type(access.dtype), name_of_result(r)));
    for (std::size_t k = 0; k < nest_.inputs.size(); ++k)
      if (const LocalAccess& access = nest_.inputs[k]; !access.made)
        pointers.push_back(fmt::format("const {}* x{}", cpp_type(access.dtype), k));
    std::string text = fmt::to_string(fmt::join(pointers, ", "));
    auto add = [&](const std::string& type, const std::string& name, const std::string& argument) {
      text += fmt::format(", {} {}", type, name);
      extra_.push_back(argument);
    };
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      if (const std::string n = fmt::format("n{}", f); !nest_.factors[f].length.empty() && mentions(body_, n))
        add("shardc_i64", n, nest_.factors[f].length);  // not of a dimension that threads divide
      if (indexed_[f] && !nest_.factors[f].offset.empty())
        add("shardc_i64", fmt::format("at{}", f), nest_.factors[f].offset);
    }
    if (salted_) add("shardc_u64", "salt", "salt");
    return text;
  }

  // --- the order of loops
  // ------------------------------------------------------------------------------------

  bool reduced(std::size_t f) const { return !nest_.factors[f].in_output; }
  bool inner_is_reduced() const { return !loops_.empty() && reduced(loops_.back()); }

  // Prefers an innermost loop over neighbours in memory.
  int score(std::size_t f) const {
    auto of = [&](const LocalAccess& access) {
      return access.stride[f] == 1 ? 4 : access.stride[f] == 0 ? 1 : -2;
    };
    int sum = 0;
    for (const LocalAccess* access : nest_.accesses()) sum += of(*access);
    return nest_.factors[f].extent == 1 ? -100 : sum;
  }

  void choose_order() {
    if (selector_) {  // loops that find the index, then the looked-up factor (no loop), then the others
      std::erase(loops_, selector_->factor);
      const auto& stride = nest_.inputs[selector_->operand].stride;
      std::stable_partition(loops_.begin(), loops_.end(), [&](std::size_t f) { return !reduced(f); });
      std::stable_partition(loops_.begin(), loops_.end(), [&](std::size_t f) { return stride[f] != 0; });
      return;
    }
    std::stable_partition(loops_.begin(), loops_.end(), [&](std::size_t f) { return !reduced(f); });
    if (loops_.empty()) return;
    std::size_t best = loops_.back();
    for (std::size_t f : loops_)
      if (score(f) > score(best)) best = f;
    if (const auto row = row_of_short_sums(best)) best = *row;
    std::erase(loops_, best);
    loops_.push_back(best);
    merge_inner();
  }

  // Short sums over neighbours, as those of a pooling window, fill no vector: neighbouring results do.
  std::optional<std::size_t> row_of_short_sums(std::size_t best) const {
    if (!reduced(best) || nest_.factors[best].extent >= kLanes || !few_terms(loops_)) return std::nullopt;
    for (std::size_t f : loops_)
      if (!reduced(f) && nest_.output.stride[f] == 1 && nest_.factors[f].extent >= kRow) return f;
    return std::nullopt;
  }
  // Have the reduced factors among these so few settings that they can be written out?
  bool few_terms(const std::vector<std::size_t>& factors) const {
    std::int64_t terms = 1;
    for (std::size_t f : factors) {
      if (!reduced(f)) continue;
      if (!nest_.factors[f].length.empty()) return false;
      terms *= std::min(nest_.factors[f].extent, kUnrolled + 1);
      if (terms > kUnrolled) return false;
    }
    return true;
  }
  bool unrolls_all() const { return !loops_.empty() && !inner_is_reduced() && few_terms(loops_); }

  // Joins the two innermost loops while they walk memory as one: long loops vectorise better than short ones.
  void merge_inner() {
    while (loops_.size() > 1) {
      const std::size_t f = loops_[loops_.size() - 2], g = loops_.back();
      const LocalFactor& inner = nest_.factors[g];
      if (reduced(f) != reduced(g) || indexed_[f] || indexed_[g] || !inner.length.empty() ||
          counted_.count(g) != 0)
        return;
      const std::int64_t merged = inner.extent * (times_.count(g) != 0 ? times_[g] : 1);
      const std::vector<const LocalAccess*> all = nest_.accesses();
      if (!std::all_of(all.begin(), all.end(),
                       [&](const LocalAccess* a) { return a->stride[f] == a->stride[g] * merged; }))
        return;
      times_[g] = (times_.count(g) != 0 ? times_[g] : 1) *
                  (nest_.factors[f].length.empty() ? nest_.factors[f].extent : 1);
      if (!nest_.factors[f].length.empty()) counted_[g] = f;
      loops_.erase(loops_.end() - 2);
    }
  }

  // Of a loop whose count is known, merged ones included.
  std::int64_t iterations(std::size_t f) const {
    const auto times = times_.find(f);
    return nest_.factors[f].extent * (times == times_.end() ? 1 : times->second);
  }

  // --- what threads divide
  // -----------------------------------------------------------------------------------

  bool is_row(std::size_t f) const { return f == loops_.back(); }

  // The outermost loop over results that gives every one of a few threads something to do, or else the
  // longest. What is looked up may be anywhere in its dimension. A row in three pieces, for its guards, is
  // not divided: the middle one's vectors would begin elsewhere.
  void choose_split() {
    double settings = 1;
    for (std::size_t f = 0; f < nest_.factors.size(); ++f)
      if (!selector_ || f != selector_->factor) settings *= static_cast<double>(nest_.factors[f].extent);
    if (settings < static_cast<double>(worth_splitting_)) return;
    std::int64_t longest = 1;
    for (std::size_t f : loops_) {
      if (reduced(f) || (is_row(f) && has_guards()) || longest >= kSplitEvenly) continue;
      if (iterations(f) <= longest) continue;
      longest = iterations(f);
      split_ = f;
    }
  }
  std::int64_t split_row() const {
    std::int64_t elements = 1;
    for (const LocalFactor& factor : nest_.factors)
      if (factor.in_output) elements *= factor.extent;
    const std::int64_t row = nest_.output.stride[*split_];
    return row * iterations(*split_) == elements ? row : 0;
  }
  bool has_guards() const {
    return std::any_of(nest_.inputs.begin(), nest_.inputs.end(),
                       [](const LocalAccess& input) { return !input.guards.empty(); });
  }
  std::string first(std::size_t f) const { return split_ == f ? "begin" : "0"; }
  std::string last(std::size_t f) const { return split_ == f ? "end" : count(f); }

  // Within the kernel, or in the terms of its caller.
  std::string count(std::size_t f, bool outside = false) const {
    const auto variable = [&](std::size_t g) {
      return outside ? nest_.factors[g].length : fmt::format("n{}", g);
    };
    const LocalFactor& factor = nest_.factors[f];
    const std::int64_t n = iterations(f);
    const auto counted = counted_.find(f);
    if (counted != counted_.end()) return fmt::format("{} * {}", variable(counted->second), n);
    return factor.length.empty() ? fmt::format("{}", n) : variable(f);
  }

  // --- text
  // --------------------------------------------------------------------------------------------------

  static std::string var(std::size_t f) { return fmt::format("i{}", f); }
  std::string global(std::size_t f) const {
    if (selector_ && f == selector_->factor) return "selected";
    return nest_.factors[f].offset.empty() ? var(f) : fmt::format("({} + at{})", var(f), f);
  }

  std::string position(const LocalAccess& access) const {
    std::string text;
    for (std::size_t f = 0; f < access.stride.size(); ++f) {
      if (access.stride[f] == 0 || merged_away(f)) continue;
      if (!text.empty()) text += " + ";
      text += access.stride[f] == 1 ? var(f) : fmt::format("{} * {}", access.stride[f], var(f));
    }
    return text.empty() ? "0" : text;
  }
  bool merged_away(std::size_t f) const {
    const bool selected = selector_ && f == selector_->factor;
    return !selected && std::find(loops_.begin(), loops_.end(), f) == loops_.end();
  }

  std::string guard_text(const Guard& guard) const {
    std::string index = fmt::format("{}", guard.index.offset);
    for (const Term& term : guard.index.terms)
      index += fmt::format(" + {} * {}", term.coefficient, global(*term.factor));
    return fmt::format("(shardc_u64)({}) < {}ul", index, guard.size);
  }

  CppLeaf leaf(const ExprNode& node) const {
    if (node.fn == Fn::Index) return {global(static_cast<std::size_t>(node.index))};
    const LocalAccess& access = nest_.inputs[static_cast<std::size_t>(node.index)];
    if (access.made) return {loaded(access.dtype, fmt::format("made{}", *access.made))};
    const std::string element = loaded(access.dtype, fmt::format("x{}[{}]", node.index, position(access)));
    if (access.guards.empty() || inside_) return {element};
    std::vector<std::string> guards;
    for (const Guard& guard : access.guards) guards.push_back(guard_text(guard));
    return {fmt::format("({} ? {} : 0)", fmt::join(guards, " && "), element), false};
  }

  CppExpr value_of(const Expr& e) const { return values_of({e}).front(); }
  std::vector<CppExpr> values_of(const std::vector<Expr>& all) const {
    std::vector<Kind> kinds;
    for (const LocalAccess& input : nest_.inputs) kinds.push_back(kind_of(input.dtype));
    return cpp_exprs(all, kinds, [&](const ExprNode& node) { return leaf(node); });
  }

  void line(const std::string& text) { body_ += std::string(2 * depth_, ' ') + text + "\n"; }
  enum class As { CompilerLikes, Vectors, ShortVectors, WrittenOut };
  // Loops around others stay loops: their copies, in which all addresses are constants, look free to the
  // compiler, which then writes out all that is inside them too. So do short ones that are to be vectors.
  void open(std::size_t f, As form = As::CompilerLikes) {
    if (form == As::Vectors || form == As::ShortVectors) line("#pragma clang loop vectorize(assume_safety)");
    if (form == As::WrittenOut)
      line("#pragma clang loop unroll(full)");
    else if (form == As::ShortVectors || surrounds_many(f))
      line("#pragma clang loop unroll(disable)");
    line(fmt::format("for (shardc_i64 {0} = {1}; {0} < {2}; ++{0}) {{", var(f), first(f), last(f)));
    ++depth_;
  }
  void close() {
    --depth_;
    line("}");
  }
  bool surrounds_many(std::size_t f) const {
    std::int64_t inside = 1;
    for (auto g = std::find(loops_.rbegin(), loops_.rend(), f); g != loops_.rbegin();)
      inside = std::min(kUnrolled + 1, inside * std::min(kUnrolled + 1, iterations(*--g)));
    return inside > kUnrolled;
  }
  std::string y() const { return fmt::format("y[{}]", position(nest_.output)); }
  std::string kind_type() const { return cpp_type(kind_of(nest_.output.dtype)); }

  std::string identity() const {
    const bool floats = kind_of(nest_.output.dtype) == Kind::Float;
    switch (nest_.combine) {
      case Combine::Max:
        return floats ? "-__builtin_inff()" : "(-0x7fffffffffffffffl - 1)";
      case Combine::Min:
        return floats ? "__builtin_inff()" : "0x7fffffffffffffffl";
      case Combine::None:
      case Combine::Sum:
        return "0";
    }
    return "0";
  }
  std::string combined(const std::string& a, const std::string& b) const {
    if (nest_.combine == Combine::Sum) return fmt::format("{} + {}", a, b);
    return fmt::format("shardc_{}<{}>({}, {})", name_of(nest_.combine), kind_type(), a, b);
  }

  // --- shapes of kernels
  // -------------------------------------------------------------------------------------

  void plain() {
    const auto element = [&] {
      if (!nest_.beside.empty()) return together();
      const CppExpr value = value_of(nest_.body);
      for (const std::string& text : value.lines) line(text);
      line(fmt::format("{} = {};", y(), stored(nest_.output.dtype, value.kind, value.value)));
    };
    if (const auto rows = crossing_rows())
      in_tiles(*rows, element);
    else
      sweep(element);
  }

  // Siblings: all values of an element before any is written, since one may be written where another is read.
  void together() {
    const std::vector<LocalResult> results = nest_.results();
    std::vector<Expr> bodies;
    for (const LocalResult& result : results) bodies.push_back(result.body);
    const std::vector<CppExpr> values = values_of(bodies);
    for (std::size_t r = 0; r < results.size(); ++r) {
      const DType dtype = results[r].access.dtype;
      for (const std::string& text : values[r].lines) line(text);
      line(fmt::format("const {} made{} = {};", cpp_type(dtype), r,
                       stored(dtype, values[r].kind, values[r].value)));
    }
    for (std::size_t r = 0; r < results.size(); ++r)
      if (!results[r].access.passed)
        line(fmt::format("{}[{}] = made{};", name_of_result(r), position(results[r].access), r));
  }
  static std::string name_of_result(std::size_t r) { return r == 0 ? "y" : fmt::format("y{}", r); }

  // The loop along which an operand lies in memory that the long innermost one steps through: a transpose.
  // Functions want longer rows.
  std::optional<std::size_t> crossing_rows() const {
    if (loops_.size() < 2 || has_guards() || transcendental(nest_.body)) return std::nullopt;
    const std::size_t row = loops_.back();
    if (iterations(row) < kLongRow) return std::nullopt;
    for (const LocalAccess& input : nest_.inputs)
      for (std::size_t f : loops_)
        if (f != row && input.stride[f] == 1 && input.stride[row] >= kTileRows && iterations(f) >= kTileRows)
          return f;
    return std::nullopt;
  }

  // A tile's elements are whole vectors of the row wherever threads cut it, as kRowUnit is.
  void in_tiles(std::size_t rows, const std::function<void()>& statements) {
    static_assert(kRowUnit % kTileColumns == 0);
    const std::size_t row = loops_.back();
    for (std::size_t f : loops_)
      if (f != rows && f != row) open(f);
    const auto cut = [&](std::size_t f, std::int64_t size) {
      line("#pragma clang loop unroll(disable)");
      line(fmt::format("for (shardc_i64 {0}_from = {1}; {0}_from < {2}; {0}_from += {3}) {{", var(f),
                       first(f), last(f), size));
      ++depth_;
      line(fmt::format("const shardc_i64 {0}_to = {0}_from + {1} < {2} ? {0}_from + {1} : {2};", var(f), size,
                       last(f)));
    };
    const auto within = [&](std::size_t f) {
      line(fmt::format("for (shardc_i64 {0} = {0}_from; {0} < {0}_to; ++{0}) {{", var(f)));
      ++depth_;
    };
    cut(rows, kTileRows);
    cut(row, kTileColumns);
    within(rows);
    line("#pragma clang loop vectorize(assume_safety)");
    within(row);
    statements();
    while (depth_ > 1) close();
  }

  // Results in vectors, each the sum of few terms: those are written out.
  void unrolled() {
    const Kind kind = kind_of(nest_.output.dtype);
    sweep([&] {
      line(fmt::format("{} sum = {};", kind_type(), identity()));
      const std::size_t depth = depth_;
      for (std::size_t f : loops_) {
        if (reduced(f)) open(f, As::WrittenOut);
      }
      accumulate("sum");
      while (depth_ > depth) close();
      line(fmt::format("{} = {};", y(), stored(nest_.output.dtype, kind, "sum")));
    });
  }

  // --- rows of results
  // ---------------------------------------------------------------------------------------

  // Loops over the results, the last one in vectors. Where guards forbid few of a row's elements, those in
  // the middle are computed without them.
  void sweep(const std::function<void()>& statements) {
    std::vector<std::size_t> outer;
    for (std::size_t f : loops_)
      if (!reduced(f)) outer.push_back(f);
    const auto row = [&](const std::string& from, const std::string& to) {
      if (outer.empty()) return statements();
      line("#pragma clang loop vectorize(assume_safety)");
      line(fmt::format("for (shardc_i64 {0} = {1}; {0} < {2}; ++{0}) {{", var(outer.back()), from, to));
      ++depth_;
      statements();
      close();
    };
    for (std::size_t f : outer)
      if (f != outer.back()) open(f);
    const std::vector<std::string> bounds =
        outer.empty() ? std::vector<std::string>{} : middle_of(outer.back());
    if (bounds.empty()) {
      row(outer.empty() ? "" : first(outer.back()), outer.empty() ? "" : last(outer.back()));
    } else {
      for (const std::string& bound : bounds) line(bound);
      row("0", "from");
      inside_ = true;
      row("from", "to");
      inside_ = false;
      row("to", count(outer.back()));
    }
    while (depth_ > 1) close();
  }

  std::vector<std::string> middle_of(std::size_t f) const {
    std::vector<Guard> guards;
    for (const LocalAccess& input : nest_.inputs)
      guards.insert(guards.end(), input.guards.begin(), input.guards.end());
    return bound_inside(
        nest_, guards,
        {f, count(f), [&](std::size_t g) { return global(g); }, [&](std::size_t g) { return reduced(g); }});
  }

  // A scalar accumulator per element of the result.
  void reduced_inside() {
    std::vector<std::size_t> inner;
    for (std::size_t f : loops_) {
      if (reduced(f))
        inner.push_back(f);
      else
        open(f);
    }
    const std::size_t depth = depth_;
    line(fmt::format("{} sum = {};", kind_type(), identity()));
    const bool lanes =
        nest_.combine != Combine::Sum && kind_of(nest_.output.dtype) == Kind::Float && !inner.empty();
    if (lanes) {
      in_lanes(inner);
    } else {
      for (std::size_t f : inner) open(f);
      accumulate("sum");
    }
    while (depth_ > depth) close();
    line(fmt::format("{} = {};", y(), stored(nest_.output.dtype, kind_of(nest_.output.dtype), "sum")));
    while (depth_ > 1) close();
  }

  void accumulate(const std::string& target) {
    const CppExpr value = value_of(nest_.body);
    for (const std::string& text : value.lines) line(text);
    line(fmt::format("{} = {};", target, combined(target, stored(DType::F32, value.kind, value.value))));
  }

  // Max and min: independent partial results, which the compiler keeps in one vector register.
  void in_lanes(const std::vector<std::size_t>& inner) {
    for (std::size_t f : inner)
      if (f != inner.back()) open(f);
    const std::size_t f = inner.back();
    const CppExpr value = value_of(nest_.body);
    line(fmt::format("const auto element = [&](shardc_i64 {}) {{", var(f)));
    ++depth_;
    for (const std::string& text : value.lines) line(text);
    line(fmt::format("return {};", stored(DType::F32, value.kind, value.value)));
    --depth_;
    line("};");
    line(fmt::format("float lane[{}];", kLanes));
    line("for (float& v : lane) v = sum;");
    line("shardc_i64 i = 0;");
    line(fmt::format("for (; i + {0} <= {1}; i += {0})", kLanes, count(f)));
    line(fmt::format("  for (int l = 0; l < {}; ++l) lane[l] = {};", kLanes,
                     combined("lane[l]", "element(i + l)")));
    line(fmt::format("for (; i < {}; ++i) lane[0] = {};", count(f), combined("lane[0]", "element(i)")));
    line(fmt::format("for (float v : lane) sum = {};", combined("sum", "v")));
  }

  // The result is swept once per setting of the reduced factors: rows are added to rows.
  void reduced_outside() {
    const std::size_t inner = loops_.back();
    for (std::size_t f : loops_)
      if (!reduced(f) && f != inner) open(f);
    open(inner);
    line(fmt::format("{} = {};", y(), identity()));
    close();
    for (std::size_t f : loops_)
      if (reduced(f)) open(f);
    open(inner, As::Vectors);
    accumulate(y());
    while (depth_ > 1) close();
  }

  // Gather and scatter: the one term that is not zero is written, or added to the result, which is cleared
  // first where it cannot be summed up in a register.
  void selected() {
    const Selector& s = *selector_;
    const auto sum = std::find_if(loops_.begin(), loops_.end(), [&](std::size_t f) { return reduced(f); });
    const bool gathers = reduced(s.factor) && sum == loops_.end();
    const auto& stride = nest_.inputs[s.operand].stride;
    const bool sums = reduced(s.factor) && !gathers && stride[*sum] != 0 &&
                      cpp_type(nest_.output.dtype) == kind_type() &&
                      std::all_of(sum, loops_.end(), [&](std::size_t f) { return reduced(f); });
    CHECK(!nest_.adds || (!gathers && !sums), "only scattered rows are added");
    if (!gathers && !sums && !nest_.adds) clear_selected();

    const bool by_row = sums && gathers_whole_row();
    std::size_t next = 0, depth_of_sum = 0;
    const auto open_next = [&] {
      const std::size_t f = loops_[next++];
      if (sums && f == *sum) {
        depth_of_sum = depth_;
        line(fmt::format("{} sum = 0;", kind_type()));
      }
      if (by_row && next + 1 == loops_.size())
        line(fmt::format("#pragma clang loop unroll_count({})", kGathered / iterations(loops_.back())));
      open(f, next < loops_.size()        ? As::CompilerLikes
              : gathers && stride[f] == 0 ? As::Vectors
              : by_row                    ? As::ShortVectors
                                          : As::CompilerLikes);
    };
    while (next < loops_.size() && stride[loops_[next]] != 0) open_next();
    const bool always = find_selected();
    const std::size_t depth = depth_, first = next;
    while (next < loops_.size()) open_next();
    const CppExpr value = value_of(s.value);
    for (const std::string& text : value.lines) line(text);
    const Kind kind = kind_of(nest_.output.dtype);
    const std::string term = stored(kind == Kind::Float ? DType::F32 : DType::I64, value.kind, value.value);
    if (sums) {
      line(fmt::format("sum = sum + {};", term));
      while (depth_ > depth_of_sum) close();
      line(fmt::format("{} = sum;", y()));
    } else {
      const std::string all = gathers ? term : fmt::format("{} + {}", loaded(nest_.output.dtype, y()), term);
      line(fmt::format("{} = {};", y(), stored(nest_.output.dtype, kind, all)));
    }
    if (gathers && !always) {
      while (depth_ > depth) close();
      not_selected(first);
    }
    while (depth_ > 1) close();
  }
  // Are a row's indices a few whole vectors of neighbours? Left to itself, the compiler writes the row out
  // and gathers one element for each of several rows at a time, whose indices it has to collect first.
  bool gathers_whole_row() const {
    const std::size_t f = loops_.back();
    return always_selected() && nest_.inputs[selector_->operand].stride[f] == 1 &&
           nest_.factors[f].length.empty() && iterations(f) % kLanes == 0 && iterations(f) <= kUnrolled;
  }
  // Opens the block that runs where the index is one of the factor's, unless it always is.
  bool find_selected() {
    const Selector& s = *selector_;
    const LocalFactor& factor = nest_.factors[s.factor];
    line(fmt::format("const shardc_i64 selected = {};",
                     loaded(nest_.inputs[s.operand].dtype,
                            fmt::format("x{}[{}]", s.operand, position(nest_.inputs[s.operand])))));
    line(fmt::format("const shardc_i64 {} = selected{};", var(s.factor),
                     factor.offset.empty() ? "" : fmt::format(" - at{}", s.factor)));
    if (always_selected()) return true;
    line(
        fmt::format("if (0 <= {0} && {0} < {1}) {{", var(s.factor),
                    factor.length.empty() ? fmt::format("{}", factor.extent) : fmt::format("n{}", s.factor)));
    ++depth_;
    return false;
  }
  // Is every index that there may be a place of something?
  bool always_selected() const {
    const Selector& s = *selector_;
    const LocalFactor& factor = nest_.factors[s.factor];
    const auto goes_by = [&](const LocalAccess& access) { return access.stride[s.factor] != 0; };
    const std::int64_t bound = nest_.inputs[s.operand].bound;
    return bound > 0 && bound <= factor.extent && factor.offset.empty() && factor.length.empty() &&
           (goes_by(nest_.output) || std::any_of(nest_.inputs.begin(), nest_.inputs.end(), goes_by));
  }
  // What is not found is 0.
  void not_selected(std::size_t next) {
    --depth_;
    line("} else {");
    ++depth_;
    for (; next < loops_.size(); ++next) open(loops_[next]);
    line(fmt::format("{} = 0;", y()));
  }
  void clear_selected() {
    std::vector<std::size_t> results;
    for (std::size_t f = 0; f < nest_.factors.size(); ++f)
      if (nest_.factors[f].in_output) results.push_back(f);
    const std::vector<std::size_t> all = std::exchange(loops_, results);
    const std::optional<Selector> saved = std::exchange(selector_, std::nullopt);
    for (std::size_t f : results) open(f);
    line(fmt::format("{} = 0;", y()));
    while (depth_ > 1) close();
    loops_ = all;
    selector_ = saved;
  }

  const LocalNest& nest_;
  const std::int64_t worth_splitting_;
  std::optional<Selector> selector_;
  std::optional<std::size_t> split_;
  std::vector<std::size_t> loops_;  // outermost first
  std::map<std::size_t, std::int64_t>
      times_;  // factor -> how many iterations of merged loops each stands for
  std::map<std::size_t, std::size_t> counted_;  // factor -> the merged outer one of a run-time count
  std::vector<bool> indexed_;                   // the body or a guard uses the global index
  bool salted_ = false;
  bool inside_ = false;  // of all guards
  std::string body_;
  std::vector<std::string> extra_;
  std::size_t depth_ = 1;
};

}  // namespace

void Kernel::divide(const Split& by) {
  parameters += ", shardc_i64 begin, shardc_i64 end";
  extra.insert(extra.end(), {"begin", "end"});
  split = by;
}

Kernel make_kernel(const LocalNest& nest, std::int64_t worth_splitting) {
  // Of a window, what lies in memory as a matrix is at most a sliver.
  const bool window = std::any_of(nest.inputs.begin(), nest.inputs.end(),
                                  [&](const LocalAccess& access) { return is_window(nest, access); });
  if (std::optional<Kernel> product = winograd_product(nest)) return *product;
  for (const bool packs : {window, !window})
    if (std::optional<Kernel> product = packs ? packed_product(nest) : matrix_kernel(nest)) return *product;
  return LoopKernel(nest, worth_splitting).make();
}

}  // namespace shardc::codegen
