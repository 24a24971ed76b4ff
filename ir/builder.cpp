#include "ir/builder.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/attention.h"
#include "ir/support/check.h"

namespace shardc {

Builder::Builder(std::string name) { graph_.name = std::move(name); }

std::string Builder::unique(std::string_view name) {
  std::string wanted = name.empty() ? "t" : std::string(name);
  if (names_.insert(wanted).second) return wanted;
  for (int& suffix = next_suffix_[wanted];;) {
    std::string candidate = fmt::format("{}.{}", wanted, ++suffix);
    if (names_.insert(candidate).second) return candidate;
  }
}

ValueId Builder::add_value(std::string_view name, Type type, Sharding sharding) {
  graph_.values.push_back({unique(name), std::move(type), std::move(sharding)});
  return ValueId(graph_.values.size() - 1);
}

void Builder::rename(ValueId value, std::string_view name) {
  std::string& current = graph_.values[*value].name;
  if (current == name) return;
  names_.erase(current);
  current = unique(name);
}

ValueId Builder::arg(Arg arg, std::string_view name, Type type) {
  arg.value = add_value(name, std::move(type));
  graph_.args.push_back(std::move(arg));
  return graph_.args.back().value;
}

ValueId Builder::nest(LoopNest nest, std::vector<ValueId> operands, DType dtype, std::string_view name) {
  CHECK(nest.inputs.size() == operands.size(), "{} accesses for {} operands", nest.inputs.size(),
        operands.size());
  // The same tensor read the same way is one operand.
  std::vector<int> first(operands.size());
  for (std::size_t k = 0; k < operands.size(); ++k) {
    CHECK(nest.inputs[k].size() == type(operands[k]).rank(), "access of rank {} to {} of type {}",
          nest.inputs[k].size(), graph_[operands[k]].name, to_string(type(operands[k])));
    std::size_t j = 0;
    while (operands[j] != operands[k] || nest.inputs[j] != nest.inputs[k]) ++j;
    first[k] = static_cast<int>(j);
  }
  nest.body = substitute(nest.body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Load) return x(first[static_cast<std::size_t>(leaf.index)]);
    return index_of(FactorId(static_cast<std::size_t>(leaf.index)));
  });
  std::vector<int> used;
  nest = normalize(nest, &used);
  std::vector<ValueId> kept;
  for (int k : used) kept.push_back(operands[static_cast<std::size_t>(k)]);

  const ValueId result = add_value(name, {dtype, result_shape(nest)});
  graph_.nodes.push_back({std::move(nest), std::move(kept), {result}, place_});
  return result;
}

std::vector<ValueId> Builder::call(std::string op, std::vector<ValueId> operands, Attrs attrs,
                                   std::vector<Type> result_types, const std::vector<std::string>& names) {
  std::vector<ValueId> results;
  for (std::size_t i = 0; i < result_types.size(); ++i)
    results.push_back(add_value(i < names.size() ? names[i] : op, std::move(result_types[i])));
  graph_.nodes.push_back({Call{std::move(op), std::move(attrs)}, std::move(operands), results, place_});
  return results;
}

std::vector<ValueId> Builder::repeat(Repeat repeat, std::vector<ValueId> operands,
                                     const std::vector<std::string>& names) {
  const Graph& body = *repeat.body;
  CHECK(body.args.size() == operands.size(), "repeat: {} operands for {} arguments", operands.size(),
        body.args.size());
  std::vector<ValueId> results;
  for (std::size_t i = 0; i < body.outputs.size(); ++i) {
    Type type = body[body.outputs[i].value].type;
    if (i >= static_cast<std::size_t>(repeat.carried)) type.shape.insert(type.shape.begin(), repeat.times);
    results.push_back(add_value(i < names.size() ? names[i] : body.outputs[i].name, std::move(type)));
  }
  graph_.nodes.push_back({std::move(repeat), std::move(operands), results, place_});
  return results;
}

ValueId Builder::sweep(Sweep sweep, std::vector<ValueId> operands, std::string_view name) {
  Type made = type(operands.at(0));
  if (sweep.kind == Sweep::Kind::SortIndices) {
    made.dtype = DType::I32;
    if (sweep.count > 0) made.shape.at(static_cast<std::size_t>(sweep.dim)) = sweep.count;
  }
  const ValueId result = add_value(name, std::move(made));
  graph_.nodes.push_back({sweep, std::move(operands), {result}, place_});
  return result;
}

std::vector<ValueId> Builder::attention(Attention attention, std::vector<ValueId> operands,
                                        const std::vector<std::string>& names) {
  const std::vector<Type> types = result_types(attention, types_of(graph_, operands));
  std::vector<ValueId> results;
  for (std::size_t i = 0; i < types.size(); ++i) results.push_back(add_value(names.at(i), types[i]));
  graph_.nodes.push_back({std::move(attention), std::move(operands), results, place_});
  return results;
}

ValueId Builder::collective(Collective collective, ValueId operand, Sharding sharding,
                            std::string_view name) {
  const ValueId result = add_value(name, type(operand), std::move(sharding));
  graph_.nodes.push_back({std::move(collective), {operand}, {result}, place_});
  return result;
}

ValueId Builder::wait(ValueId started, ValueId operand, Sharding sharding, std::string_view name) {
  const ValueId result = add_value(name, type(started), std::move(sharding));
  graph_.nodes.push_back({Wait{}, {started, operand}, {result}, place_});
  return result;
}

std::vector<ValueId> Builder::copy(const Graph& from, const Node& node, std::vector<ValueId> operands) {
  std::vector<ValueId> results;
  for (ValueId value : node.results)
    results.push_back(add_value(from[value].name, from[value].type, from[value].sharding));
  graph_.nodes.push_back({node.op, std::move(operands), results, node.place});
  return results;
}

void Builder::output(Output output) { graph_.outputs.push_back(std::move(output)); }

void Builder::set_sharding(ValueId value, Sharding sharding) {
  graph_.values[*value].sharding = std::move(sharding);
}

Graph Builder::finish() {
  names_.clear();
  next_suffix_.clear();
  return std::move(graph_);
}

Shape result_shape(const LoopNest& nest) {
  Shape shape;
  for (const Affine& dim : nest.output) {
    std::int64_t size = 1;
    for (const Term& term : dim.terms) size *= nest[term.factor].size;
    shape.push_back(size);
  }
  return shape;
}

std::optional<Shape> broadcast(const std::vector<Shape>& shapes) {
  std::size_t rank = 0;
  for (const Shape& shape : shapes) rank = std::max(rank, shape.size());
  Shape result(rank, 1);
  for (const Shape& shape : shapes) {
    for (std::size_t d = 0; d < shape.size(); ++d) {
      std::int64_t& size = result[rank - shape.size() + d];
      if (size == 1) size = shape[d];
      if (shape[d] != 1 && shape[d] != size) return std::nullopt;
    }
  }
  return result;
}

namespace {

std::string factor_name(std::size_t i) {
  static constexpr std::string_view kLetters = "ijklmnopqrstuvw";
  return i < kLetters.size() ? std::string(1, kLetters[i]) : fmt::format("i{}", i);
}

}  // namespace

ValueId Builder::map(Expr body, const std::vector<ValueId>& operands, DType dtype, std::string_view name) {
  std::vector<Shape> shapes;
  for (ValueId operand : operands) shapes.push_back(type(operand).shape);
  const std::optional<Shape> shape = broadcast(shapes);
  CHECK(shape.has_value(), "map over shapes that do not broadcast");
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = std::move(body)};
  for (std::size_t d = 0; d < shape->size(); ++d) {
    nest.factors.push_back({factor_name(d), (*shape)[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
  }
  for (const Shape& operand : shapes) {
    Access access;
    for (std::size_t d = 0; d < operand.size(); ++d) {
      const std::size_t out = shape->size() - operand.size() + d;
      access.push_back(operand[d] == (*shape)[out] ? Affine::of(FactorId(out)) : Affine::constant(0));
    }
    nest.inputs.push_back(std::move(access));
  }
  return this->nest(std::move(nest), operands, dtype, name);
}

namespace {

// "b s (g r) 1" -> [[b], [s], [g, r], []]
using Word = std::vector<std::string>;
std::vector<Word> parse_side(std::string_view text) {
  std::vector<Word> dims;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == ' ') {
      ++i;
    } else if (text[i] == '(') {
      dims.emplace_back();
      inside = true;
      ++i;
    } else if (text[i] == ')') {
      inside = false;
      ++i;
    } else {
      const std::size_t end = std::min(text.find_first_of(" ()", i), text.size());
      std::string word(text.substr(i, end - i));
      if (!inside) dims.emplace_back();
      if (word != "1") dims.back().push_back(std::move(word));
      i = end;
    }
  }
  return dims;
}

class SpecReader {
 public:
  explicit SpecReader(const std::map<std::string, std::int64_t>& sizes) : sizes_(sizes) {}

  void learn(const std::vector<Word>& dims, const Shape& shape) {
    CHECK(dims.size() == shape.size(), "spec has {} dimensions for shape {}", dims.size(), to_string(shape));
    for (std::size_t d = 0; d < dims.size(); ++d)
      if (dims[d].size() == 1) sizes_.emplace(dims[d][0], shape[d]);
  }

  FactorId factor(const std::string& name) {
    auto it = ids_.find(name);
    if (it == ids_.end()) {
      auto size = sizes_.find(name);
      CHECK(size != sizes_.end(), "spec: the size of {} is unknown", name);
      it = ids_.emplace(name, FactorId(factors.size())).first;
      factors.push_back({name, size->second, {}});
    }
    return it->second;
  }

  Affine affine(const Word& word) {
    Affine result;
    for (const std::string& name : word) {
      const FactorId f = factor(name);
      result = with_minor(result, factors[*f].size, Affine::of(f));
    }
    return result;
  }

  std::vector<Factor> factors;

 private:
  std::map<std::string, std::int64_t> sizes_;
  std::map<std::string, FactorId> ids_;
};

}  // namespace

ValueId Builder::einsum(std::string_view spec, Expr body, Combine combine,
                        const std::vector<ValueId>& operands, DType dtype,
                        const std::map<std::string, std::int64_t>& sizes, std::string_view name) {
  const std::size_t arrow = spec.find("->");
  CHECK(arrow != std::string_view::npos, "spec '{}' has no ->", spec);
  std::vector<std::vector<Word>> sides;
  for (std::string_view rest = spec.substr(0, arrow); sides.size() < operands.size();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    sides.push_back(parse_side(rest.substr(0, comma)));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  SpecReader reader(sizes);
  for (std::size_t k = 0; k < operands.size(); ++k) reader.learn(sides[k], type(operands[k]).shape);
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = combine, .body = std::move(body)};
  for (const Word& word : parse_side(spec.substr(arrow + 2))) {
    if (word.empty()) {  // a dimension of size one has a factor too
      nest.output.push_back(Affine::of(FactorId(reader.factors.size())));
      reader.factors.push_back({fmt::format("one{}", nest.output.size()), 1, {}});
    } else {
      nest.output.push_back(reader.affine(word));
    }
  }
  for (const auto& side : sides) {
    Access access;
    for (const Word& word : side) access.push_back(reader.affine(word));
    nest.inputs.push_back(std::move(access));
  }
  nest.factors = reader.factors;
  return this->nest(std::move(nest), operands, dtype, name);
}

ValueId Builder::reduce(Combine combine, ValueId v, const std::vector<int>& axes, bool keepdims,
                        std::string_view name) {
  const Shape& shape = type(v).shape;
  LoopNest nest{.factors = {}, .inputs = {Access{}}, .output = {}, .combine = combine, .body = x(0)};
  std::size_t ones = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    nest.factors.push_back({factor_name(d), shape[d], {}});
    nest.inputs[0].push_back(Affine::of(FactorId(d)));
    const bool away = std::find(axes.begin(), axes.end(), static_cast<int>(d)) != axes.end();
    if (!away) nest.output.push_back(Affine::of(FactorId(d)));
    if (away && keepdims) nest.output.push_back(Affine::of(FactorId(shape.size() + ones++)));
  }
  for (std::size_t i = 0; i < ones; ++i) nest.factors.push_back({factor_name(shape.size() + i), 1, {}});
  if (nest.reduced().empty()) nest.combine = Combine::None;
  return this->nest(std::move(nest), {v}, type(v).dtype, name);
}

ValueId Builder::cast(ValueId v, DType dtype, std::string_view name) {
  if (type(v).dtype == dtype) return v;
  Fn fn = Fn::ToFloat;
  switch (kind_of(dtype)) {
    case Kind::Float:
      fn = dtype == DType::BF16 ? Fn::RoundBF16 : dtype == DType::F16 ? Fn::RoundF16 : Fn::ToFloat;
      break;
    case Kind::Int:
      fn = Fn::ToInt;
      break;
    case Kind::Bool:
      fn = Fn::ToBool;
      break;
  }
  return map(apply(fn, {x(0)}), {v}, dtype, name);
}

}  // namespace shardc
