#include "codegen/cpp_expr.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "ir/support/check.h"

namespace shardc::codegen {
namespace {

std::string converted(Kind from, Kind to, const std::string& value) {
  if (from == to) return value;
  if (to == Kind::Bool) return fmt::format("({} != 0)", value);
  return fmt::format("({})({})", cpp_type(to), value);
}

class Writer {
 public:
  Writer(const std::vector<Kind>& operands, const std::function<CppLeaf(const ExprNode&)>& leaf)
      : operands_(operands), leaf_(leaf) {}

  std::vector<CppExpr> run(const std::vector<Expr>& all) {
    for (const Expr& e : all) count(e);
    std::vector<CppExpr> results;
    for (const Expr& e : all) {
      std::string value = write(e);
      results.push_back({std::exchange(lines_, {}), std::move(value), kind_of(e, operands_)});
    }
    return results;
  }

 private:
  void count(const Expr& e) {
    if (++uses_[e.get()] > 1) return;
    for (const Expr& arg : e->args) count(arg);
  }

  std::string write(const Expr& e) {
    if (auto it = names_.find(e.get()); it != names_.end()) return it->second;
    std::string text = spell(e);
    const bool literal = e->fn == Fn::Float || e->fn == Fn::Int || e->fn == Fn::Index;
    const bool early = e->fn == Fn::Load && arms_ > 0 && leaf_(*e).anytime;
    if ((uses_[e.get()] < 2 && !early) || literal) return text;
    std::string name = fmt::format("t{}", names_.size());
    lines_.push_back(fmt::format("const {} {} = {};", cpp_type(kind_of(e, operands_)), name, text));
    names_[e.get()] = name;
    return name;
  }

  std::string as(Kind kind, const Expr& e) { return converted(kind_of(e, operands_), kind, write(e)); }

  std::string spell(const Expr& e) {
    switch (e->fn) {
      case Fn::Load:
      case Fn::Index:
        return leaf_(*e).text;
      case Fn::Float:
        return cpp_float(e->number);
      case Fn::Int:
        return fmt::format("{}", e->integer);
      case Fn::ToFloat:
        return as(Kind::Float, e->args[0]);
      case Fn::ToInt:
        return as(Kind::Int, e->args[0]);
      case Fn::ToBool:
        return as(Kind::Bool, e->args[0]);
      case Fn::StopGradient:
        return write(e->args[0]);
      case Fn::Where: {
        const Kind kind = kind_of(e, operands_);
        const std::string c = as(Kind::Bool, e->args[0]);
        ++arms_;
        const std::string yes = as(kind, e->args[1]), no = as(kind, e->args[2]);
        --arms_;
        return fmt::format("({} ? {} : {})", c, yes, no);
      }
      case Fn::Uniform:
      case Fn::Normal:
        return fmt::format("shardc_{}(salt, {}, {})", info(e->fn).name, as(Kind::Int, e->args[0]),
                           as(Kind::Int, e->args[1]));
      case Fn::Not:
        return fmt::format("!({})", as(Kind::Bool, e->args[0]));
      case Fn::And:
      case Fn::Or: {
        const std::string a = as(Kind::Bool, e->args[0]), b = as(Kind::Bool, e->args[1]);
        return fmt::format("({} {} {})", a, e->fn == Fn::And ? "&" : "|", b);  // no branch: vectorisable
      }
      case Fn::Neg:
      case Fn::Abs:
      case Fn::Sign:
      case Fn::Floor:
      case Fn::Exp:
      case Fn::Log:
      case Fn::Log1p:
      case Fn::Sqrt:
      case Fn::Rsqrt:
      case Fn::Sin:
      case Fn::Cos:
      case Fn::Tanh:
      case Fn::Sigmoid:
      case Fn::Erf:
      case Fn::RoundBF16:
      case Fn::RoundF16:
        return unary(e);
      case Fn::Add:
      case Fn::Sub:
      case Fn::Mul:
      case Fn::Div:
      case Fn::Pow:
      case Fn::Max:
      case Fn::Min:
      case Fn::FloorDiv:
      case Fn::Mod:
      case Fn::Lt:
      case Fn::Le:
      case Fn::Gt:
      case Fn::Ge:
      case Fn::Eq:
      case Fn::Ne:
        return binary(e);
    }
    CHECK(false, "no C++ for a function");
  }

  std::string unary(const Expr& e) {
    const Kind kind = kind_of(e, operands_);
    const std::string a = as(kind, e->args[0]);
    const bool ints = kind == Kind::Int;
    switch (e->fn) {
      case Fn::Neg:
        return fmt::format("-({})", a);
      case Fn::Floor:
        return ints ? a : fmt::format("__builtin_floorf({})", a);
      case Fn::Abs:
        return ints ? fmt::format("__builtin_labs({})", a) : fmt::format("__builtin_fabsf({})", a);
      case Fn::Sign:
        return fmt::format("shardc_sign({})", a);
      case Fn::Exp:
        return fmt::format("__builtin_expf({})", a);
      case Fn::Log:
        return fmt::format("__builtin_logf({})", a);
      case Fn::Sqrt:
        return fmt::format("__builtin_sqrtf({})", a);
      case Fn::Rsqrt:
        return fmt::format("(1.0f / __builtin_sqrtf({}))", a);
      case Fn::Sin:
        return fmt::format("__builtin_sinf({})", a);
      case Fn::Cos:
        return fmt::format("__builtin_cosf({})", a);
      default:
        return fmt::format("shardc_{}({})", info(e->fn).name, a);  // the prelude's
    }
  }

  // A comparison of equal texts, which compilers take for a mistake. Only a NaN is not equal to itself.
  static std::string with_itself(Fn fn, Kind kind, const std::string& a) {
    const bool equal = fn == Fn::Le || fn == Fn::Ge || fn == Fn::Eq;
    if (kind == Kind::Float && (equal || fn == Fn::Ne))
      return fmt::format("{}__builtin_isnan({})", equal ? "!" : "", a);
    if (fn == Fn::Max || fn == Fn::Min) return a;
    return fmt::format("((void)({}), {})", a, equal ? "true" : "false");
  }

  std::string binary(const Expr& e) {
    Kind kind = kind_of(e, operands_);
    if (kind == Kind::Bool) {  // a comparison computes in the wider kind of its sides
      const Kind a = kind_of(e->args[0], operands_), b = kind_of(e->args[1], operands_);
      kind = a == Kind::Float || b == Kind::Float ? Kind::Float
             : a == Kind::Int || b == Kind::Int   ? Kind::Int
                                                  : Kind::Bool;
    }
    const std::string a = as(kind, e->args[0]), b = as(kind, e->args[1]);
    if (a == b && kind_of(e, operands_) == Kind::Bool) return with_itself(e->fn, kind, a);
    if (info(e->fn).infix) return fmt::format("({} {} {})", a, info(e->fn).name, b);
    if (e->fn == Fn::Pow) return fmt::format("__builtin_powf({}, {})", a, b);
    // A literal is an int, no shardc_i64: what type a template works in is said.
    const bool typed = kind == Kind::Int && (e->fn == Fn::Max || e->fn == Fn::Min);
    return fmt::format("shardc_{}{}({}, {})", info(e->fn).name, typed ? "<shardc_i64>" : "", a, b);
  }

  const std::vector<Kind>& operands_;
  const std::function<CppLeaf(const ExprNode&)>& leaf_;
  std::unordered_map<const ExprNode*, int> uses_;
  std::unordered_map<const ExprNode*, std::string> names_;
  std::vector<std::string> lines_;
  int arms_ = 0;  // of conditions, around what is being written
};

struct PreludeFunction {
  std::string_view name;
  std::string_view text;
};

// Accuracy in units of float's last place, against double: sigmoid 2, tanh 5, erf 8, log1p 3.
constexpr std::array kPrelude = {
    PreludeFunction{"shardc_sign", R"(template <class T>
inline T shardc_sign(T x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : x;
}
)"},
    PreludeFunction{"shardc_max", R"(template <class T>
inline T shardc_max(T a, T b) {  // NaN wins, as in NumPy
  return ((a >= b) | (a != a)) ? a : b;
}
)"},
    PreludeFunction{"shardc_min", R"(template <class T>
inline T shardc_min(T a, T b) {
  return ((a <= b) | (a != a)) ? a : b;
}
)"},
    PreludeFunction{"shardc_steps", R"(// How many steps it takes to get from 0 to `to` or beyond.
inline shardc_i64 shardc_steps(shardc_i64 to, shardc_i64 step) { return to > 0 ? (to + step - 1) / step : 0; }
)"},
    PreludeFunction{"shardc_sigmoid",
                    R"(inline float shardc_sigmoid(float x) { return 1.0f / (1.0f + __builtin_expf(-x)); }
)"},
    PreludeFunction{"shardc_tanh", R"(inline float shardc_tanh(float x) {
  // A quotient of polynomials in x * x, fitted to relative errors of 2e-8 up to 9, where a float's tanh is 1.
  const float c = x < -9.0f ? -9.0f : x > 9.0f ? 9.0f : x, z = c * c;
  const float over = c * (0.999999979f + z * (0.133810263f + z * (0.00349558889f + z * (2.06090946e-05f + z * 1.33546775e-08f))));
  const float under = 1.0f + z * (0.467143419f + z * (0.0258769851f + z * (0.000328563606f + z * 7.77656508e-07f)));
  const float q = over / under;
  return q < -1.0f ? -1.0f : q > 1.0f ? 1.0f : q;
}
)"},
    PreludeFunction{"shardc_erf", R"(inline float shardc_erf(float x) {
  const float a = __builtin_fabsf(x), x2 = x * x, t = 1.0f / (1.0f + 0.3275911f * a);
  // Abramowitz and Stegun 7.1.26 beyond 0.5, the series below.
  const float tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float large = __builtin_copysignf(1.0f - tail * __builtin_expf(-x2), x);
  const float small = x * (1.12837917f + x2 * (-0.376126389f + x2 * (0.112837917f + x2 * (-0.0268661706f + x2 * 0.00522397762f))));
  return a < 0.5f ? small : large;
}
)"},
    PreludeFunction{"shardc_log1p", R"(inline float shardc_log1p(float x) {
  const float u = 1.0f + x;  // its rounding error is undone by the quotient (Kahan)
  return u == 1.0f ? x : u == __builtin_inff() ? u : __builtin_logf(u) * (x / (u - 1.0f));
}
)"},
    PreludeFunction{"shardc_floor_div",
                    R"(inline float shardc_floor_div(float a, float b) { return __builtin_floorf(a / b); }
inline shardc_i64 shardc_floor_div(shardc_i64 a, shardc_i64 b) {
  return a / b - ((a % b != 0) & ((a < 0) != (b < 0)));
}
)"},
    PreludeFunction{"shardc_mod",
                    R"(inline float shardc_mod(float a, float b) { return a - __builtin_floorf(a / b) * b; }
inline shardc_i64 shardc_mod(shardc_i64 a, shardc_i64 b) {
  const shardc_i64 r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
)"},
    PreludeFunction{
        "shardc_from_bf16",
        R"(inline float shardc_from_bf16(shardc_u16 x) { return __builtin_bit_cast(float, (unsigned)x << 16); }
)"},
    PreludeFunction{"shardc_to_bf16",
                    R"(inline shardc_u16 shardc_to_bf16(float x) {  // to nearest even; NaN stays NaN
  const unsigned u = __builtin_bit_cast(unsigned, x);
  return (shardc_u16)(x != x ? 0x7fc0u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
)"},
    PreludeFunction{"shardc_round_bf16", R"(inline float shardc_round_bf16(float x) {
  const unsigned u = __builtin_bit_cast(unsigned, x);
  return x != x ? x : __builtin_bit_cast(float, (u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u);
}
)"},
    PreludeFunction{"shardc_round_f16",
                    R"(inline float shardc_round_f16(float x) { return (float)(_Float16)x; }
)"},
    PreludeFunction{"shardc_bits", R"(inline shardc_u64 shardc_mix(shardc_u64 z) {
  z += 0x9e3779b97f4a7c15ul;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
  return z ^ (z >> 31);
}
// Counter-based random bits (SplitMix64's finaliser, twice): no state, so no sharding changes a number.
inline shardc_u64 shardc_bits(shardc_u64 key, shardc_u64 counter) {
  return shardc_mix(shardc_mix(key) ^ (counter * 0xd1342543de82ef95ul));
}
)"},
    PreludeFunction{"shardc_uniform",
                    R"(inline float shardc_uniform(shardc_u64 salt, shardc_i64 key, shardc_i64 counter) {
  return (float)(shardc_bits(shardc_bits(salt, (shardc_u64)key), (shardc_u64)counter) >> 40) * 0x1p-24f;
}
)"},
    PreludeFunction{"shardc_normal",
                    R"(inline float shardc_normal(shardc_u64 salt, shardc_i64 key, shardc_i64 counter) {
  const shardc_u64 bits = shardc_bits(shardc_bits(salt, (shardc_u64)key), (shardc_u64)counter / 2);
  const double uniform = (double)((bits >> 40) + 1) * 0x1p-24, turn = (double)(bits >> 8 & 0xfffffful) * 0x1p-24;
  const double angle = 6.283185307179586 * (counter % 2 == 0 ? turn : turn - 0.25);
  return (float)(__builtin_sqrt(-2 * __builtin_log(uniform)) * __builtin_cos(angle));
}
)"},
};

}  // namespace

CppExpr cpp_expr(const Expr& e, const std::vector<Kind>& operands,
                 const std::function<CppLeaf(const ExprNode&)>& leaf) {
  return cpp_exprs({e}, operands, leaf).front();
}

std::vector<CppExpr> cpp_exprs(const std::vector<Expr>& all, const std::vector<Kind>& operands,
                               const std::function<CppLeaf(const ExprNode&)>& leaf) {
  return Writer(operands, leaf).run(all);
}

std::string cpp_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "float";
    case DType::BF16:
      return "shardc_u16";
    case DType::F16:
      return "_Float16";
    case DType::I32:
      return "shardc_i32";
    case DType::I64:
      return "shardc_i64";
    case DType::Bool:
      return "bool";
  }
  return {};
}

std::string cpp_type(Kind kind) {
  return kind == Kind::Float ? "float" : kind == Kind::Int ? "shardc_i64" : "bool";
}

std::string loaded(DType dtype, const std::string& element) {
  switch (dtype) {
    case DType::F32:
    case DType::Bool:
    case DType::I64:
      return element;
    case DType::BF16:
      return fmt::format("shardc_from_bf16({})", element);
    case DType::F16:
      return fmt::format("(float)({})", element);
    case DType::I32:
      return fmt::format("(shardc_i64)({})", element);
  }
  return element;
}

std::string stored(DType dtype, Kind kind, const std::string& value) {
  const std::string same_kind = converted(kind, kind_of(dtype), value);
  switch (dtype) {
    case DType::F32:
    case DType::I64:
    case DType::Bool:
      return same_kind;
    case DType::BF16:
      return fmt::format("shardc_to_bf16({})", same_kind);
    case DType::F16:
      return fmt::format("(_Float16)({})", same_kind);
    case DType::I32:
      return fmt::format("(shardc_i32)({})", same_kind);
  }
  return same_kind;
}

std::string cpp_float(double value) {
  if (std::isnan(value)) return "__builtin_nanf(\"\")";
  const auto f = static_cast<float>(value);
  if (std::isinf(f)) return f > 0 ? "__builtin_inff()" : "(-__builtin_inff())";
  std::string text = fmt::format("{}", f);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return f < 0 ? "(" + text + "f)" : text + "f";
}

std::string prelude_for(const std::string& source) {
  std::string result;
  for (std::size_t i = kPrelude.size(); i-- > 0;) {
    const std::string name(kPrelude[i].name);
    const std::string text = source + result;
    const bool used =
        text.find(name + "(") != std::string::npos || text.find(name + "<") != std::string::npos;
    if (used) result = std::string(kPrelude[i].text) + result;
  }
  return result;
}

bool mentions(const std::string& text, const std::string& name) {
  const auto part_of_word = [&](std::size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) != 0 || text[i] == '_');
  };
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
    if (!(at > 0 && part_of_word(at - 1)) && !part_of_word(at + name.size())) return true;
  return false;
}

}  // namespace shardc::codegen
