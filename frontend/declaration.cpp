#include "frontend/declaration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "frontend/binding.h"

namespace shardc::frontend {
namespace {

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 60;
constexpr std::size_t kMaxRank = 16;

struct InitDef {
  std::string_view name, params;
  Init::Kind kind;
};
constexpr InitDef kInits[] = {
    {"zeros", "", Init::Kind::Zeros},
    {"ones", "", Init::Kind::Ones},
    {"constant", "value", Init::Kind::Constant},
    {"normal", "std", Init::Kind::Normal},
    {"uniform", "low, high", Init::Kind::Uniform},
};
constexpr std::string_view kInitHint =
    "initial values: zeros(), ones(), constant(c), normal(std), uniform(low, high)";

// What other tools call the element types.
struct Alias {
  std::string_view theirs, ours;
};
constexpr Alias kAliases[] = {
    {"float", "f32"},     {"float32", "f32"}, {"double", "f32"},   {"float64", "f32"}, {"f64", "f32"},
    {"bfloat16", "bf16"}, {"float16", "f16"}, {"half", "f16"},     {"int", "i32"},     {"int32", "i32"},
    {"int64", "i64"},     {"long", "i64"},    {"F32", "f32"},      {"BF16", "bf16"},   {"F16", "f16"},
    {"I32", "i32"},       {"I64", "i64"},     {"boolean", "bool"},
};

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
      std::string hint = "types: f32, bf16, f16, i32, i64, bool";
      for (const Alias& alias : kAliases)
        if (alias.theirs == name->text) hint = fmt::format("write {}", alias.ours);
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
          call.kind == Ast::Kind::Integer || call.kind == Ast::Kind::Real
              ? fmt::format("write constant({})", call.text)
          : hint.empty() || call.kind == Ast::Kind::Name ? std::string(kInitHint)
                                                         : hint);
      return false;
    }
    return numbers(call, *def, result);
  }

  bool numbers(const Ast& call, const InitDef& def, Init& result) {
    std::vector<Parameter> wanted;
    for (std::string_view rest = def.params; !rest.empty();) {
      const std::size_t comma = std::min(rest.find(", "), rest.size());
      wanted.push_back({std::string(rest.substr(0, comma))});
      rest.remove_prefix(std::min(comma + 2, rest.size()));
    }
    const std::optional<Bound> bound =
        bind_arguments(reporter_, call, 0, wanted, fmt::format("{}({})", def.name, def.params));
    if (!bound) return false;
    std::array<double, 2> values{};
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::optional<double> value =
          evaluate_real(reporter_, dims_, *(*bound)[i][0], "an initial value");
      if (!value) return false;
      values[i] = *value;
    }
    result = {def.kind, values[0], values[1]};
    if (def.kind == Init::Kind::Normal && values[0] < 0) {
      reporter_.error(call.items[0].span, fmt::format("a standard deviation cannot be {}", values[0]));
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
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return false;
  if (bytes > kMaxBytes - total) return false;
  total += bytes;
  return true;
}

std::optional<Declaration> parse_declaration(Reporter& reporter, const Dims& dims, const Yaml& scalar,
                                             Declares what) {
  return DeclarationParser(reporter, dims, scalar).parse(what);
}

}  // namespace shardc::frontend
