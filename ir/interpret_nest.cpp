#include "ir/interpret_nest.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

#include "ir/support/check.h"

namespace shardc {
namespace {

constexpr std::int64_t kBlock = 512;

// The body as a list of instructions over registers of kBlock values.
struct Instruction {
  Fn fn;
  std::array<int, 3> args = {-1, -1, -1};
  std::int32_t index = 0;  // Load: operand; Index: factor
  double literal = 0;
};

class Body {
 public:
  explicit Body(const Expr& e) {
    result_ = add(e);
    registers_.resize(program_.size() * kBlock);
  }
  const std::vector<Instruction>& program() const { return program_; }
  double* reg(int i) { return registers_.data() + static_cast<std::ptrdiff_t>(i) * kBlock; }
  const double* result() { return reg(result_); }

 private:
  int add(const Expr& e) {
    if (auto it = known_.find(e.get()); it != known_.end()) return it->second;
    Instruction instruction{
        e->fn, {}, e->index, e->fn == Fn::Int ? static_cast<double>(e->integer) : e->number};
    for (std::size_t i = 0; i < e->args.size(); ++i) instruction.args[i] = add(e->args[i]);
    program_.push_back(instruction);
    return known_[e.get()] = static_cast<int>(program_.size() - 1);
  }
  std::vector<Instruction> program_;
  std::vector<double> registers_;
  std::unordered_map<const ExprNode*, int> known_;
  int result_ = 0;
};

// Where an access points: affine in the innermost factor, re-based for every setting of the others.
struct Cursor {
  const Access* access;
  const LocalView* view;
  std::vector<bool> guarded;         // per dimension: may leave the global range
  std::vector<std::int64_t> stride;  // of the buffer
  std::vector<std::int64_t> base;    // global index at inner = 0
  std::vector<std::int64_t> step;    // per unit of inner
  bool any_guard = false;
};

Cursor make_cursor(const LoopNest& nest, const Access& access, const LocalView& view) {
  Cursor c{&access, &view, {}, {}, {}, {}, false};
  const std::size_t rank = access.size();
  c.stride.assign(rank, 1);
  for (std::size_t d = rank; d-- > 1;) c.stride[d - 1] = c.stride[d] * view.shape[d];
  c.base.resize(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    c.guarded.push_back(may_leave(nest, access[d], view.global[d]));
    c.any_guard = c.any_guard || c.guarded.back();
    std::int64_t step = 0;
    for (const Term& term : access[d].terms)
      if (*term.factor + 1 == nest.factors.size()) step = term.coefficient;
    c.step.push_back(step);
  }
  return c;
}

void rebase(Cursor& c, const std::vector<std::int64_t>& at) {
  for (std::size_t d = 0; d < c.access->size(); ++d) {
    c.base[d] = (*c.access)[d].offset;
    for (const Term& term : (*c.access)[d].terms) c.base[d] += term.coefficient * at[*term.factor];
  }
}

// Position in the buffer of inner = i, or -1 where the read leaves the tensor.
std::int64_t locate(const Cursor& c, std::int64_t i) {
  std::int64_t position = 0;
  for (std::size_t d = 0; d < c.base.size(); ++d) {
    const std::int64_t global = c.base[d] + i * c.step[d];
    if (c.guarded[d] && (global < 0 || global >= c.view->global[d])) return -1;
    const std::int64_t local = global - c.view->offset[d];
    CHECK(local >= 0 && local < c.view->shape[d],
          "a device reads or writes index {} of a dimension of which it holds {} from {}", global,
          c.view->shape[d], c.view->offset[d]);
    position += local * c.stride[d];
  }
  return position;
}

void load(const Cursor& c, std::int64_t from, std::int64_t count, double* out) {
  if (c.any_guard) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t p = locate(c, from + i);
      out[i] = p < 0 ? 0 : c.view->data[p];
    }
    return;
  }
  if (count == 0) return;
  const std::int64_t first = locate(c, from);
  const std::int64_t last = locate(c, from + count - 1);
  const std::int64_t step = count > 1 ? (last - first) / (count - 1) : 0;
  for (std::int64_t i = 0; i < count; ++i) out[i] = c.view->data[first + i * step];
}

// The arithmetic of contractions is spelled out, so that reference runs of whole models take seconds.
void compute(const Instruction& in, Body& body, double* out, std::int64_t count, std::uint64_t salt) {
  const double* a = body.reg(in.args[0]);
  const double* b = in.args[1] < 0 ? a : body.reg(in.args[1]);
  const double* c = in.args[2] < 0 ? a : body.reg(in.args[2]);
  if (in.fn == Fn::Mul) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] * b[i];
  } else if (in.fn == Fn::Add) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
  } else if (in.fn == Fn::Eq) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] == b[i];
  } else if (in.fn == Fn::Where) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = a[i] != 0 ? b[i] : c[i];
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::array<double, 3> args = {a[i], b[i], c[i]};
      out[i] = evaluate(in.fn, args.data(), salt);
    }
  }
}

double identity_of(Combine combine) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  return combine == Combine::Max ? -inf : combine == Combine::Min ? inf : 0;
}

double combined(Combine combine, double a, double b) {
  const std::array<double, 2> args = {a, b};
  switch (combine) {
    case Combine::Sum:
      return a + b;
    case Combine::Max:
      return evaluate(Fn::Max, args.data(), 0);
    case Combine::Min:
      return evaluate(Fn::Min, args.data(), 0);
    case Combine::None:
      return b;
  }
  return b;
}

class Runner {
 public:
  Runner(const LoopNest& nest, const std::vector<Shard>& shards, const std::vector<LocalView>& inputs,
         const LocalView& result, std::uint64_t salt)
      : nest_(nest),
        shards_(shards),
        body_(nest.body),
        salt_(salt),
        at_(nest.factors.size()),
        out_(make_cursor(nest, nest.output, result)) {
    for (std::size_t k = 0; k < inputs.size(); ++k)
      in_.push_back(make_cursor(nest, nest.inputs[k], inputs[k]));
    inner_is_reduced_ = !nest.factors.empty() && !nest.in_output(FactorId(nest.factors.size() - 1));
  }

  void run() {
    if (nest_.combine != Combine::None) each_setting([&] { fill_identity(); });
    each_setting([&] { run_inner(); });
  }

 private:
  std::int64_t inner_extent() const { return shards_.empty() ? 1 : shards_.back().extent; }
  std::int64_t inner_offset() const { return shards_.empty() ? 0 : shards_.back().offset; }

  // Calls `visit` for every setting of all factors but the innermost, whose at_ stays 0.
  template <class Visit>
  void each_setting(Visit visit) {
    const std::size_t outer = nest_.factors.empty() ? 0 : nest_.factors.size() - 1;
    for (const Shard& shard : shards_)
      if (shard.extent == 0) return visit_empty();
    for (std::size_t f = 0; f < outer; ++f) at_[f] = shards_[f].offset;
    if (!nest_.factors.empty()) at_.back() = 0;
    while (true) {
      visit();
      std::size_t f = outer;
      while (f > 0 && ++at_[f - 1] == shards_[f - 1].offset + shards_[f - 1].extent) {
        at_[f - 1] = shards_[f - 1].offset;
        --f;
      }
      if (f == 0) return;
    }
  }

  // A combination over nothing is the identity, everywhere in the result that exists here.
  void visit_empty() {
    if (nest_.combine == Combine::None || emptied_) return;
    emptied_ = true;
    const LocalView& view = *out_.view;
    std::fill_n(view.data, elements_of(view.shape), identity_of(nest_.combine));
  }

  void fill_identity() {
    rebase(out_, at_);
    for (std::int64_t i = 0; i < inner_extent(); ++i)
      out_.view->data[locate(out_, inner_offset() + i)] = identity_of(nest_.combine);
  }

  void run_inner() {
    rebase(out_, at_);
    for (Cursor& c : in_) rebase(c, at_);
    for (std::int64_t done = 0; done < inner_extent(); done += kBlock) {
      const std::int64_t from = inner_offset() + done;
      const std::int64_t count = std::min(kBlock, inner_extent() - done);
      evaluate_block(from, count);
      const double* value = body_.result();
      double* data = out_.view->data;
      if (nest_.combine != Combine::None && inner_is_reduced_) {
        double& target = data[locate(out_, from)];
        for (std::int64_t i = 0; i < count; ++i) target = combined(nest_.combine, target, value[i]);
        continue;
      }
      for (std::int64_t i = 0; i < count; ++i) {
        double& target = data[locate(out_, from + i)];
        target = nest_.combine == Combine::None ? value[i] : combined(nest_.combine, target, value[i]);
      }
    }
  }

  void evaluate_block(std::int64_t from, std::int64_t count) {
    const auto& program = body_.program();
    for (std::size_t p = 0; p < program.size(); ++p) {
      const Instruction& in = program[p];
      double* out = body_.reg(static_cast<int>(p));
      if (in.fn == Fn::Load) {
        load(in_[static_cast<std::size_t>(in.index)], from, count, out);
      } else if (in.fn == Fn::Index) {
        const bool inner = static_cast<std::size_t>(in.index) + 1 == nest_.factors.size();
        for (std::int64_t i = 0; i < count; ++i)
          out[i] = static_cast<double>(inner ? from + i : at_[static_cast<std::size_t>(in.index)]);
      } else if (in.fn == Fn::Float || in.fn == Fn::Int) {
        std::fill_n(out, count, in.literal);
      } else {
        compute(in, body_, out, count, salt_);
      }
    }
  }

  const LoopNest& nest_;
  const std::vector<Shard>& shards_;
  Body body_;
  std::uint64_t salt_;
  std::vector<std::int64_t> at_;
  Cursor out_;
  std::vector<Cursor> in_;
  bool emptied_ = false;
  bool inner_is_reduced_ = false;
};

}  // namespace

void run_nest(const LoopNest& nest, const std::vector<Shard>& shards, const std::vector<LocalView>& inputs,
              const LocalView& result, std::uint64_t salt) {
  Runner(nest, shards, inputs, result, salt).run();
}

}  // namespace shardc
