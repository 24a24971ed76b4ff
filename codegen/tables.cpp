#include "codegen/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace shardc::codegen {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 ? fmt::format("\\{:03o}", byte) : std::string(1, c);
  }
  return result + "\"";
}

std::string Tables::axes(const Axes& wanted) {
  if (wanted.empty()) return "nullptr";
  auto [it, fresh] = axes_.try_emplace(wanted, fmt::format("axes_{}", axes_.size()));
  if (fresh) {
    std::string items;
    for (const AxisRef& ref : wanted)
      items += fmt::format("{}{{{}, {}}}", items.empty() ? "" : ", ", stride_of(mesh_, ref), ref.size);
    declarations_ +=
        fmt::format("const shardc_axis {}[] = {{{}}};  // {}\n", it->second, items, to_string(mesh_, wanted));
  }
  return it->second;
}

int Tables::group(const Axes& wanted) {
  const auto it = std::find(groups_.begin(), groups_.end(), wanted);
  if (it != groups_.end()) return static_cast<int>(it - groups_.begin());
  axes(wanted);
  groups_.push_back(wanted);
  return static_cast<int>(groups_.size() - 1);
}

std::string Tables::groups() const {
  std::string text;
  for (const Axes& group : groups_)
    text += fmt::format("{}{{{}, {}}}", text.empty() ? "" : ", ", group.size(), axes_.at(group));
  return text;
}

std::string Tables::tensor(const Value& value, const std::string& name) {
  std::string dims = "nullptr";
  if (value.type.rank() > 0) {
    std::string items;
    for (std::size_t d = 0; d < value.type.rank(); ++d) {
      const Axes& split = value.sharding.dims[d].axes;
      items += fmt::format("{}{{{}, {}, {}}}", items.empty() ? "" : ", ", value.type.shape[d], split.size(),
                           axes(split));
    }
    auto [it, fresh] = dims_.try_emplace(items, fmt::format("dims_{}", dims_.size()));
    if (fresh) declarations_ += fmt::format("const shardc_dim {}[] = {{{}}};\n", it->second, items);
    dims = it->second;
  }
  return fmt::format("{{{}, {}, {}, {}}}", quoted(name), static_cast<int>(value.type.dtype),
                     value.type.rank(), dims);
}

std::string Tables::numbers(const std::vector<std::int64_t>& values) {
  return numbers_
      .try_emplace(fmt::format("{}", fmt::join(values, ", ")), fmt::format("ranks_{}", numbers_.size()))
      .first->second;
}

std::string Tables::number_text() const {
  std::string text;
  for (const auto& [items, name] : numbers_) text += fmt::format("const int {}[] = {{{}}};\n", name, items);
  return text.empty() ? text : text + "\n";
}

std::string Tables::text() const { return declarations_; }

}  // namespace shardc::codegen
