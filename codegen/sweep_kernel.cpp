#include "codegen/sweep_kernel.h"

#include <fmt/format.h>

#include "codegen/cpp_expr.h"

namespace shardc::codegen {

SweptLines swept_lines(const Sweep& sweep, const Value& operand) {
  const Shape shape = local_shape(operand.type.shape, operand.sharding);
  const auto dim = static_cast<std::size_t>(sweep.dim);
  SweptLines lines;
  for (std::size_t d = 0; d < shape.size(); ++d)
    (d < dim ? lines.outer : d == dim ? lines.size : lines.inner) *= shape[d];
  return lines;
}

Kernel recurrence_kernel(const Sweep& sweep, const SweptLines& lines, DType dtype, bool gated) {
  const std::string type = cpp_type(dtype), wide = cpp_type(kind_of(dtype));
  Kernel kernel{
      fmt::format("{0}* y, const {0}* x0{1}", type, gated ? fmt::format(", const {}* x1", type) : ""),
      {},
      {}};
  const std::string b = gated ? "x1" : "x0";
  if (lines.outer * lines.size * lines.inner == 0) {
    kernel.body = fmt::format("  (void)y;\n  (void)x0;\n{}", gated ? "  (void)x1;\n" : "");
    return kernel;
  }
  // The place before p along the way is p - back.
  const std::int64_t back = sweep.reverse ? -lines.inner : lines.inner;
  const std::string rows = sweep.reverse
                               ? fmt::format("for (shardc_i64 i = {0}; i >= 0; --i)", lines.size - 2)
                               : fmt::format("for (shardc_i64 i = 1; i < {}; ++i)", lines.size);
  const std::int64_t first = sweep.reverse ? lines.size - 1 : 0;
  const std::string before = fmt::format("({})y[p {} {}]", wide, back < 0 ? "+" : "-", std::abs(back));
  const std::string next =
      gated ? fmt::format("{} * ({})x0[p] + {}[p]", before, wide, b) : fmt::format("{} + {}[p]", before, b);
  const auto place = [&](const std::string& i) {
    return fmt::format("const shardc_i64 p = o * {} + {} * {} + j;", lines.size * lines.inner, i,
                       lines.inner);
  };
  const std::string columns = fmt::format("for (shardc_i64 j = 0; j < {}; ++j) {{", lines.inner);
  std::string& text = kernel.body;
  if (gated && lines.size == 1) text += "  (void)x0;\n";
  text += fmt::format("  for (shardc_i64 o = 0; o < {}; ++o) {{\n", lines.outer);
  text += fmt::format("    {}\n      {}\n      y[p] = {}[p];\n    }}\n", columns,
                      place(std::to_string(first)), b);
  if (lines.size > 1) {
    text += fmt::format("    {} {{\n#pragma clang loop vectorize(assume_safety)\n      {}\n", rows, columns);
    text += fmt::format("        {}\n        y[p] = ({})({});\n      }}\n    }}\n", place("i"), type, next);
  }
  text += "  }\n";
  return kernel;
}

}  // namespace shardc::codegen
