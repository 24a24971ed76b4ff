#include "frontend/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace shardc::frontend {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr Unit kSizes[] = {
    {"B", 1},         {"kB", 1e3},       {"KB", 1e3},     {"MB", 1e6},        {"GB", 1e9},
    {"TB", 1e12},     {"PB", 1e15},      {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0},
    {"TiB", 0x1p40},  {"PiB", 0x1p50},   {"bit", 0.125},  {"kbit", 125.0},    {"Mbit", 1.25e5},
    {"Gbit", 1.25e8}, {"Tbit", 1.25e11},
};
constexpr Unit kRates[] = {{"", 1}, {"FLOP/s", 1}, {"GFLOP/s", 1e9}, {"TFLOP/s", 1e12}, {"PFLOP/s", 1e15}};
constexpr Unit kTimes[] = {{"s", 1}, {"ms", 1e3}, {"us", 1e6}, {"µs", 1e6}, {"ns", 1e9}};  // to be divided by

struct MeasureDef {
  std::string_view what, example;
};
MeasureDef describe(Measure measure) {
  switch (measure) {
    case Measure::Bytes:
      return {"a size", "80GB or 512MiB"};
    case Measure::BytesPerSecond:
      return {"a bandwidth", "450GB/s or 400Gbit/s"};
    case Measure::Seconds:
      return {"a time", "2us or 0.5ms"};
    case Measure::FlopsPerSecond:
      return {"a rate of operations", "67e12 or 67TFLOP/s"};
    case Measure::Fraction:
      return {"a fraction", "0.6"};
    case Measure::Count:
      return {"a number", "1e9"};
  }
  return {};
}

std::optional<double> factor_of(std::string_view unit, Measure measure) {
  const auto find = [](auto& table, std::string_view name) -> std::optional<double> {
    const auto* it =
        std::find_if(std::begin(table), std::end(table), [&](const Unit& u) { return u.name == name; });
    return it == std::end(table) ? std::nullopt : std::optional(it->factor);
  };
  if (measure == Measure::Fraction || measure == Measure::Count)
    return unit.empty() ? std::optional(1.0) : std::nullopt;
  if (measure == Measure::FlopsPerSecond) return find(kRates, unit);
  if (measure == Measure::Seconds) return find(kTimes, unit);
  if (measure == Measure::Bytes) return find(kSizes, unit);
  return unit.ends_with("/s") ? find(kSizes, unit.substr(0, unit.size() - 2)) : std::nullopt;
}

std::string hint_for(std::string_view unit, Measure measure) {
  const MeasureDef def = describe(measure);
  const bool bits = unit == "Gb" || unit == "Mb" || unit == "Gb/s" || unit == "Mb/s" || unit == "Gbps";
  const char prefix = bits ? unit.front() : ' ';
  if (bits) return fmt::format("write {}bit/s for bits or {}B/s for bytes", prefix, prefix);
  if (measure == Measure::BytesPerSecond && factor_of(unit, Measure::Bytes))
    return fmt::format("did you mean '{}/s'?", unit);
  return fmt::format("for example {}", def.example);
}

}  // namespace

std::optional<double> parse_quantity(Reporter& reporter, const Yaml& node, Span owner, Measure measure) {
  const MeasureDef def = describe(measure);
  const bool bare =
      measure == Measure::Fraction || measure == Measure::FlopsPerSecond || measure == Measure::Count;
  const std::string what = fmt::format("{}{}", def.what, bare ? "" : " with its unit");
  if (!expect(reporter, node, Yaml::Kind::Scalar, owner, what)) return std::nullopt;
  const std::vector<std::size_t> offsets = offsets_of(reporter.source(), node);
  const std::string_view text = node.text;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::size_t at = static_cast<std::size_t>(end - text.data());
  if (error != std::errc{} || !std::isfinite(value)) {
    reporter.error(node.span, fmt::format("expected {}, found {}", what, quoted(text)),
                   fmt::format("for example {}", def.example));
    return std::nullopt;
  }
  while (at < text.size() && text[at] == ' ') ++at;
  const std::string_view unit = text.substr(at);
  const std::optional<double> factor = factor_of(unit, measure);
  if (!factor) {
    const Span span = unit.empty() ? node.span : Span{offsets[at], node.span.end};
    reporter.error(span,
                   unit.empty() ? fmt::format("{} needs a unit", def.what)
                                : fmt::format("{} is no unit of {}", quoted(unit), def.what),
                   hint_for(unit, measure));
    return std::nullopt;
  }
  value = measure == Measure::Seconds ? value / *factor : value * *factor;
  const bool legal = value > 0 || (value == 0 && measure == Measure::Seconds);
  if (legal && (value <= 1 || measure != Measure::Fraction)) return value;
  reporter.error(node.span, fmt::format("{} must be {}, not {}", def.what,
                                        measure == Measure::Seconds    ? "0 or more"
                                        : measure == Measure::Fraction ? "above 0 and at most 1"
                                                                       : "more than 0",
                                        quoted(text)));
  return std::nullopt;
}

}  // namespace shardc::frontend
