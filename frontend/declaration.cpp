#include "frontend/declaration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace shardc::frontend {
namespace {

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 60;
constexpr std::size_t kMaxRank = 16;

struct InitDef {
  std::string_view name, params;
  Init::Kind kind;
  std::size_t numbers;
};
constexpr InitDef kInits[] = {
    {"zeros", "", Init::Kind::Zeros, 0},
    {"ones", "", Init::Kind::Ones, 0},
    {"constant", "value", Init::Kind::Constant, 1},
    {"normal", "std", Init::Kind::Normal, 1},
    {"uniform", "low, high", Init::Kind::Uniform, 2},
};
constexpr std::string_view kInitHint =
    "initial values: zeros(), ones(), constant(c), normal(std), uniform(low, high)";

std::vector<std::string> dtypes() { return {"f32", "bf16", "f16", "i32", "i64", "bool"}; }

class DeclarationParser {
 public:
  DeclarationParser(Reporter& reporter, const Dims& dims, const Yaml& scalar)
      : reporter_(reporter), dims_(dims), scalar_(scalar), parser_(reporter, scalar) {}

  std::optional<Declaration> parse(Declares what) {
    Declaration result;
    if (!parse_type(result)) return std::nullopt;
    const bool fine = what == Declares::Input ? parse_bound(result) : parse_init(result);
    if (!fine || !parser_.finish()) return std::nullopt;
    return result;
  }

 private:
  // Everything up to the closing bracket is read before a size is judged, so that each of them is.
  bool parse_type(Declaration& result) {
    const std::optional<Token> name = parser_.name("a type like f32[B, S]");
    if (!name) return false;
    const std::optional<DType> dtype = dtype_named(name->text);
    if (!dtype) {
      std::string hint = did_you_mean(name->text, dtypes());
      if (hint.empty()) hint = fmt::format("types: {}", fmt::join(dtypes(), ", "));
      reporter_.error(name->span, fmt::format("unknown type {}", quoted(name->text)), std::move(hint));
      return false;
    }
    if (!parser_.at("[")) {
      parser_.expected("'[' and dimensions", fmt::format("a scalar is written {}[]", name->text));
      return false;
    }
    const std::optional<Ast> shape = parser_.list();
    if (!shape) return false;
    result.type.dtype = *dtype;
    return sizes(*shape, result) && check_size(join(name->span, shape->span), result.type);
  }

  bool sizes(const Ast& shape, Declaration& result) {
    for (const Ast& item : shape.items) {
      const std::optional<std::int64_t> size = evaluate_integer(reporter_, dims_, item, 1, "a dimension");
      if (!size) continue;
      result.type.shape.push_back(*size);
      result.dims.push_back(item.kind == Ast::Kind::Name ? item.text : "");
    }
    if (shape.items.size() > kMaxRank)
      reporter_.error(shape.span,
                      fmt::format("a tensor of rank {}; at most {}", shape.items.size(), kMaxRank));
    return result.type.shape.size() == shape.items.size() && shape.items.size() <= kMaxRank;
  }

  bool check_size(Span span, const Type& type) {
    std::int64_t bytes = 0;
    if (add_bytes(type, bytes)) return true;
    reporter_.error(span, fmt::format("{} is larger than 2^60 bytes", to_string(type)));
    return false;
  }

  bool parse_bound(Declaration& result) {
    if (parser_.at("=")) {
      parser_.fail(parser_.here(), "an input has no initial value",
                   "declare it under 'params' if it is trained");
      return false;
    }
    if (!parser_.accept("<")) return !parser_.failed();
    const std::optional<Ast> bound = parser_.expression();
    if (!bound) return false;
    const std::optional<std::int64_t> value = evaluate_integer(reporter_, dims_, *bound, 1, "an upper bound");
    if (!value) return false;
    if (kind_of(result.type.dtype) != Kind::Int) {
      reporter_.error(bound->span, fmt::format("only i32 and i64 inputs have an upper bound, this is {}",
                                               name_of(result.type.dtype)));
      return false;
    }
    result.bound = *value;
    return true;
  }

  bool parse_init(Declaration& result) {
    if (kind_of(result.type.dtype) != Kind::Float) {
      reporter_.error(scalar_.span,
                      fmt::format("a parameter must be f32, bf16 or f16, not {}", name_of(result.type.dtype)),
                      "integers and bools come in as inputs");
      return false;
    }
    if (parser_.at_end()) {
      parser_.fail(scalar_.span, "a parameter needs an initial value",
                   fmt::format("for example {} = normal(0.02); {}", scalar_.text, kInitHint));
      return false;
    }
    if (parser_.at("<")) {
      parser_.fail(parser_.here(), "only inputs have an upper bound", std::string(kInitHint));
      return false;
    }
    if (!parser_.require("=", "and an initial value")) return false;
    const std::optional<Ast> call = parser_.expression();
    return call && init(*call, result.init);
  }

  bool init(const Ast& call, Init& result) {
    const auto* def = std::find_if(std::begin(kInits), std::end(kInits),
                                   [&](const InitDef& d) { return call.is_call(d.name); });
    if (def == std::end(kInits)) {
      std::vector<std::string> known;
      for (const InitDef& d : kInits) known.emplace_back(d.name);
      const bool word = call.kind == Ast::Kind::Name || (call.kind == Ast::Kind::Call && !call.infix);
      const std::string hint = word ? did_you_mean(call.text, known) : "";
      reporter_.error(
          call.kind == Ast::Kind::Call && !call.infix ? call.head : call.span,
          word ? fmt::format("unknown initial value {}", quoted(call.text)) : "expected an initial value",
          hint.empty() || call.kind == Ast::Kind::Name ? std::string(kInitHint) : hint);
      return false;
    }
    if (call.items.size() != def->numbers) {
      reporter_.error(call.span, fmt::format("{}({}) takes {} number{}, {} given", def->name, def->params,
                                             def->numbers, def->numbers == 1 ? "" : "s", call.items.size()));
      return false;
    }
    return numbers(call, *def, result);
  }

  bool numbers(const Ast& call, const InitDef& def, Init& result) {
    std::array<double, 2> values{};
    for (std::size_t i = 0; i < def.numbers; ++i) {
      if (!call.keys[i].empty() && def.params.find(call.keys[i]) == std::string_view::npos) {
        reporter_.error(call.key_spans[i],
                        fmt::format("{} has no argument {}", def.name, quoted(call.keys[i])),
                        fmt::format("write {}({})", def.name, def.params));
        return false;
      }
      const std::optional<double> value = evaluate_real(reporter_, dims_, call.items[i], "an initial value");
      if (!value) return false;
      values[i] = *value;
    }
    result = {def.kind, values[0], values[1]};
    if (def.kind == Init::Kind::Normal && values[0] < 0) {
      reporter_.error(call.items[0].span, fmt::format("a standard deviation of {}", values[0]));
      return false;
    }
    if (def.kind == Init::Kind::Uniform && values[0] >= values[1]) {
      reporter_.error(call.span, fmt::format("an empty range: {} is not below {}", values[0], values[1]));
      return false;
    }
    return true;
  }

  Reporter& reporter_;
  const Dims& dims_;
  const Yaml& scalar_;
  Parser parser_;
};

}  // namespace

bool add_bytes(const Type& type, std::int64_t& total) {
  std::int64_t bytes = bytes_of(type.dtype);
  for (std::int64_t size : type.shape)
    if (__builtin_mul_overflow(bytes, size, &bytes)) return false;
  if (bytes > kMaxBytes - total) return false;
  total += bytes;
  return true;
}

std::optional<Declaration> parse_declaration(Reporter& reporter, const Dims& dims, const Yaml& scalar,
                                             Declares what) {
  return DeclarationParser(reporter, dims, scalar).parse(what);
}

}  // namespace shardc::frontend
