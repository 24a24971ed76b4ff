// Products summed over common dimensions: einsum, matmul, linear.
#include <algorithm>
#include <set>

#include "ir/ops/ops.h"

namespace shardc::ops {
namespace {

// One operand or the result of an einsum string: letters, and whether `...` stands before them. (Where an
// operand has `...` elsewhere, `at` says before which letter.)
struct Side {
  std::string letters;
  std::optional<std::size_t> ellipsis;
};

Side parse_side(std::string_view text) {
  Side side;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text.substr(i, 3) == "...") {
      if (side.ellipsis) fail("spec", "'...' occurs twice in '{}'", text);
      side.ellipsis = side.letters.size();
      i += 2;
    } else if (std::isalpha(static_cast<unsigned char>(text[i]))) {
      side.letters += text[i];
    } else {
      fail_with("spec", "dimensions are letters, as in \"bse,ef->bsf\"", "unexpected '{}' in the spec",
                text[i]);
    }
  }
  return side;
}

struct Spec {
  std::vector<Side> operands;
  Side result;
};

// Without `->`, the result has the letters that occur once, in alphabetical order.
Side implied_result(const std::vector<Side>& operands) {
  std::string all;
  Side result;
  for (const Side& side : operands) {
    all += side.letters;
    if (side.ellipsis) result.ellipsis = 0;
  }
  for (char c : std::set<char>(all.begin(), all.end()))
    if (std::count(all.begin(), all.end(), c) == 1) result.letters += c;
  return result;
}

void check_result(const Spec& spec) {
  const std::string& letters = spec.result.letters;
  for (char c : letters) {
    if (std::count(letters.begin(), letters.end(), c) > 1) fail("spec", "'{}' occurs twice in the result", c);
    const auto has = [c](const Side& side) { return side.letters.find(c) != std::string::npos; };
    if (std::none_of(spec.operands.begin(), spec.operands.end(), has))
      fail("spec", "'{}' of the result is in no operand", c);
  }
  const auto dots = [](const Side& side) { return side.ellipsis.has_value(); };
  if (spec.result.ellipsis.has_value() != std::any_of(spec.operands.begin(), spec.operands.end(), dots))
    fail("spec", "'...' must be in the result if and only if it is in an operand");
}

Spec parse_spec(std::string_view text, std::size_t operands) {
  Spec spec;
  const std::size_t arrow = text.find("->");
  std::string_view left = text.substr(0, arrow);
  for (;;) {
    const std::size_t comma = left.find(',');
    spec.operands.push_back(parse_side(left.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
  }
  if (spec.operands.size() != operands)
    fail("spec", "the spec has {} operands, but {} given", spec.operands.size(),
         operands == 1 ? "1 is" : fmt::format("{} are", operands));
  spec.result =
      arrow == std::string_view::npos ? implied_result(spec.operands) : parse_side(text.substr(arrow + 2));
  check_result(spec);
  return spec;
}

std::string words_of(const Side& side) {
  std::string text;
  for (std::size_t i = 0; i <= side.letters.size(); ++i) {
    if (side.ellipsis == i) text += " ...";
    if (i < side.letters.size()) text += fmt::format(" {}", side.letters[i]);
  }
  return text;
}

// "ii" -> "i": reads x[i, i'] where i == i', so that its gradient is a plain nest too.
ValueId take_diagonal(Builder& b, ValueId operand, Side* side, const std::string& name) {
  const Shape shape = b.type(operand).shape;
  const std::size_t dots = shape.size() - side->letters.size();  // dimensions of `...`
  LoopNest nest = loops_over(shape);
  nest.inputs = {straight(shape.size())};
  nest.output.clear();
  nest.combine = Combine::Sum;
  Side kept{.letters = {}, .ellipsis = side->ellipsis};
  const auto dim = [&](std::size_t letter) {
    return letter + (side->ellipsis && letter >= *side->ellipsis ? dots : 0);
  };
  Expr same = nullptr;
  for (std::size_t i = 0; i < side->letters.size(); ++i) {
    const std::size_t first = side->letters.find(side->letters[i]);
    if (side->ellipsis == i) kept.ellipsis = kept.letters.size();
    if (first == i) {
      kept.letters += side->letters[i];
      continue;
    }
    if (shape[dim(i)] != shape[dim(first)])
      fail(name, "dimension {} is both {} and {} in {}: {}", side->letters[i], shape[dim(first)],
           shape[dim(i)], name, to_string(shape));
    const Expr here = eq(index_of(factor(dim(first))), index_of(factor(dim(i))));
    same = same ? apply(Fn::And, {same, here}) : here;
  }
  if (side->ellipsis == side->letters.size()) kept.ellipsis = kept.letters.size();
  for (std::size_t d = 0, letter = 0; d < shape.size(); ++d) {
    const bool in_dots = side->ellipsis && d >= *side->ellipsis && d < *side->ellipsis + dots;
    if (in_dots || side->letters.find(side->letters[letter]) == letter)
      nest.output.push_back(Affine::of(factor(d)));
    if (!in_dots) ++letter;
  }
  const DType dtype = b.type(operand).dtype;
  nest.body = where(same, x(0), zero(dtype));
  *side = std::move(kept);
  return b.nest(std::move(nest), {operand}, dtype);
}

bool repeats_a_letter(const std::string& letters) {
  return std::set<char>(letters.begin(), letters.end()).size() != letters.size();
}

// What is left of two operands when those of `rest` and the result are still to come.
Side merged(const Side& a, const Side& b, const std::vector<Side>& rest, const Side& result) {
  Side side;
  if (a.ellipsis || b.ellipsis) side.ellipsis = 0;
  std::string later = result.letters;
  for (const Side& other : rest) later += other.letters;
  for (char c : a.letters + b.letters)
    if (later.find(c) != std::string::npos && side.letters.find(c) == std::string::npos) side.letters += c;
  return side;
}

// Sums a single operand, or multiplies two after the other from the left.
Values expand_einsum(Builder& b, const Args& args) {
  Values operands = args.values();
  Spec spec = parse_spec(args.text("spec"), operands.size());
  const DType dtype = numeric(promote(b, operands));
  std::vector<std::string> names;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    names.push_back(fmt::format("operand {}", k));
    const std::size_t rank = b.type(operands[k]).rank(), letters = spec.operands[k].letters.size();
    if (spec.operands[k].ellipsis ? rank < letters : rank != letters)
      fail("spec", "the spec gives operand {} {} dimension{}, but it is {}", k, letters,
           letters == 1 ? "" : "s", to_string(b.type(operands[k])));
    if (b.type(operands[k]).dtype == DType::Bool) operands[k] = b.cast(operands[k], DType::I32);
    if (repeats_a_letter(spec.operands[k].letters))
      operands[k] = take_diagonal(b, operands[k], &spec.operands[k], names[k]);
  }
  ValueId product = operands[0];
  Side side = spec.operands[0];
  if (operands.size() == 1)
    return {structured(b, words_of(side) + " -> " + words_of(spec.result), x(0), Combine::Sum, operands,
                       names, dtype)};
  for (std::size_t k = 1; k < operands.size(); ++k) {
    const bool last = k + 1 == operands.size();
    const std::vector<Side> rest(spec.operands.begin() + static_cast<std::ptrdiff_t>(k) + 1,
                                 spec.operands.end());
    const Side next = last ? spec.result : merged(side, spec.operands[k], rest, spec.result);
    const std::string line = words_of(side) + ", " + words_of(spec.operands[k]) + " -> " + words_of(next);
    product = structured(b, line, x(0) * x(1), Combine::Sum, {product, operands[k]},
                         {k == 1 ? names[0] : "the product so far", names[k]}, dtype, last ? "" : "product");
    side = next;
  }
  return {product};
}

Values expand_matmul(Builder& b, const Args& args) {
  const std::size_t left = args.type("a").rank(), right = args.type("b").rank();
  for (const char* name : {"a", "b"})
    if (args.type(name).rank() == 0) fail_with(name, "use multiply", "{} is a scalar", name);
  const std::string_view spec = left == 1 && right == 1 ? "k, k -> "
                                : left == 1             ? "k, ... k n -> ... n"
                                : right == 1            ? "... m k, k -> ... m"
                                                        : "... m k, ... k n -> ... m n";
  const DType dtype = numeric(promote(b, args.values()));
  return {structured(b, spec, x(0) * x(1), Combine::Sum, args.values(), {"a", "b"}, dtype)};
}

Values expand_linear(Builder& b, const Args& args) {
  const Values operands = args.values();
  const DType dtype = floating(promote(b, operands));
  const std::optional<ValueId> bias = args.maybe("b");
  const ValueId product = structured(b, "... i, i o -> ... o", x(0) * x(1), Combine::Sum,
                                     {operands[0], operands[1]}, {"x", "w"}, dtype, bias ? "product" : "");
  if (!bias) return {product};
  // Apart from the product: inside of it, a split of i would add the bias once per shard.
  return {structured(b, "... o, o -> ... o", x(0) + x(1), Combine::None, {product, *bias}, {"x @ w", "b"},
                     dtype)};
}

}  // namespace

std::vector<OpDef> contractions() {
  return {
      {.name = "einsum",
       .params = "spec=, *operands",
       .doc = "Einstein summation, as in NumPy: `einsum(\"bse,ef->bsf\", x, w)`. More than two operands are "
              "multiplied "
              "from the left.",
       .tier = Tier::Composite,
       .expand = expand_einsum,
       .samples = {"einsum(\"bse,ehd->bshd\", f32[2, 3, 4], f32[4, 3, 2])", "einsum(\"ij->j\", f32[3, 4])",
                   "einsum(\"ij,jk\", f32[3, 4], f32[4, 2])", "einsum(\"i,j->ij\", f32[3], f32[2])",
                   "einsum(\"...i,i...->...\", f32[2, 3], f32[3, 1])", "einsum(\"ii->i\", f32[3, 3])",
                   "einsum(\"ij,jk,kl->il\", f32[2, 3], f32[3, 4], f32[4, 2])",
                   "einsum(\"i,i->\", f32[5], f32[5])", "einsum(\"ij,jk->ik\", f32[2, 0], f32[0, 3])"}},
      {.name = "matmul",
       .params = "a, b",
       .doc = "The matrix product, as in NumPy: leading dimensions broadcast, a vector counts as a row on "
              "the left and "
              "as a column on the right.",
       .tier = Tier::Composite,
       .expand = expand_matmul,
       .samples = {"matmul(f32[3, 4], f32[4, 5])", "matmul(f32[2, 1, 3, 4], f32[5, 4, 2])",
                   "matmul(f32[4], f32[4])", "matmul(f32[4], f32[2, 4, 3])", "matmul(f32[2, 3, 4], f32[4])",
                   "matmul(i32[2, 3], i32[3, 2])"}},
      {.name = "linear",
       .params = "x, w, b?",
       .doc = "`x[..., i] w[i, o] + b[o]`: the weight has the input dimension first, as in JAX libraries.",
       .tier = Tier::Composite,
       .expand = expand_linear,
       .samples = {"linear(f32[3, 4], f32[4, 5], f32[5])", "linear(f32[2, 3, 4], f32[4, 5])",
                   "linear(f32[4], f32[4, 5], f32[5])"}},
  };
}

}  // namespace shardc::ops
