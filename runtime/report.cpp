#include "runtime/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "runtime/rank.h"

namespace shardc::runtime {
namespace {

double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

template <class... Parts>
std::string format(const char* pattern, Parts... parts) {
  std::string text(static_cast<std::size_t>(std::snprintf(nullptr, 0, pattern, parts...)), '\0');
  std::snprintf(text.data(), text.size() + 1, pattern, parts...);
  return text;
}

std::string share(double part, double whole) {
  return whole > 0 ? format("%.1f%%", 100 * part / whole) : "-";
}

std::string milliseconds(double seconds) { return seconds > 0 ? format("%.3f", seconds * 1e3) : "-"; }

std::string giga(double per_second) { return per_second > 0 ? format("%.2f", per_second * 1e-9) : "-"; }

}  // namespace

double Limits::seconds(double operations, double moved) const {
  return std::max(flops > 0 ? operations / flops : 0, bytes > 0 ? moved / bytes : 0);
}

double Report::predicted_seconds() const {
  return std::accumulate(regions.begin(), regions.end(), 0.0,
                         [](double sum, const RegionTime& r) { return sum + r.predicted_seconds; });
}

double Report::seconds() const {
  return std::accumulate(regions.begin(), regions.end(), 0.0,
                         [](double sum, const RegionTime& r) { return sum + r.seconds; });
}

Report report_of(const shardc_program& program, const std::vector<std::vector<Event>>& events,
                 const std::vector<double>& step_seconds, const Limits& limits,
                 const std::vector<double>& predicted) {
  Report report{
      static_cast<int>(events.size()), static_cast<std::int64_t>(step_seconds.size()), 0, limits, {}};
  if (step_seconds.empty() || events.empty()) return report;
  report.step_seconds = std::accumulate(step_seconds.begin(), step_seconds.end(), 0.0) /
                        static_cast<double>(step_seconds.size());
  std::vector<RegionTime> times(static_cast<std::size_t>(program.regions));
  const double once = 1.0 / (static_cast<double>(events.size()) * static_cast<double>(report.steps));
  for (const std::vector<Event>& rank : events)
    for (std::size_t i = 0; i < rank.size(); ++i) {
      const Event& event = rank[i];
      if (event.region < 0 || event.region >= program.regions) continue;
      RegionTime& time = times[static_cast<std::size_t>(event.region)];
      time.calls += once;
      time.seconds += once * static_cast<double>(event.duration_ns) * 1e-9;
      if (!time.what.empty()) continue;
      const bool collective =
          i > 0 && program.region[event.region].flops == 0 && is_collective(event, rank[i - 1]);
      time.what =
          collective ? kCollectiveNames.at(static_cast<std::size_t>(rank[i - 1].collective)) : "compute";
    }
  for (std::size_t r = 0; r < times.size(); ++r) {
    RegionTime& time = times[r];
    if (time.calls == 0) continue;
    const shardc_region& region = program.region[r];
    time.region = static_cast<int>(r);
    time.name = region.name;
    time.flops = time.calls * region.flops;
    time.bytes = time.calls * region.bytes;
    if (time.what == "compute") time.limit_seconds = limits.seconds(time.flops, time.bytes);
    if (r < predicted.size()) time.predicted_seconds = time.calls * predicted[r];
    report.regions.push_back(std::move(time));
  }
  std::stable_sort(report.regions.begin(), report.regions.end(),
                   [](const RegionTime& a, const RegionTime& b) { return a.seconds > b.seconds; });
  return report;
}

std::vector<std::string> lines_of(const Report& report, std::size_t most) {
  std::vector<std::string> lines;
  if (report.regions.empty()) return {"report: nothing was profiled"};
  const double predicted = report.predicted_seconds();
  lines.push_back(format("report of %lld steps, %.3f ms each%s; %s of a rank: %.3g GFLOP/s, %.3g GB/s",
                         static_cast<long long>(report.steps), report.step_seconds * 1e3,
                         predicted > 0 ? format(" (predicted %.3f)", predicted * 1e3).c_str() : "",
                         report.limits.measured ? "measured speeds" : "speeds by the cluster file",
                         report.limits.flops * 1e-9, report.limits.bytes * 1e-9));
  lines.push_back(format("%7s %10s %7s %9s %8s %9s %10s  %s", "share", "ms", "calls", "GFLOP/s", "GB/s",
                         "roofline", "predicted", "region"));
  const double step = report.step_seconds;
  double listed = 0;
  for (std::size_t i = 0; i < std::min(most, report.regions.size()); ++i) {
    const RegionTime& r = report.regions[i];
    listed += r.seconds;
    const std::string suffix = r.what == "compute" ? "" : ", " + r.what;
    lines.push_back(format("%7s %10s %7.4g %9s %8s %9s %10s  %s", share(r.seconds, step).c_str(),
                           milliseconds(r.seconds).c_str(), r.calls, giga(rate(r.flops, r.seconds)).c_str(),
                           giga(rate(r.bytes, r.seconds)).c_str(),
                           r.limit_seconds > 0 ? share(r.limit_seconds, r.seconds).c_str() : "-",
                           milliseconds(r.predicted_seconds).c_str(), (r.name + suffix).c_str()));
  }
  if (report.regions.size() > most)
    lines.push_back(format("%7s %10s  %zu other regions", share(report.seconds() - listed, step).c_str(),
                           milliseconds(report.seconds() - listed).c_str(), report.regions.size() - most));
  const double between = std::max(0.0, step - report.seconds());
  lines.push_back(format("%7s %10s  between regions, and waiting for the slowest rank",
                         share(between, step).c_str(), milliseconds(between).c_str()));
  return lines;
}

std::string to_json(const Report& report) {
  nlohmann::ordered_json regions = nlohmann::ordered_json::array();
  for (const RegionTime& r : report.regions) {
    nlohmann::ordered_json one = {{"region", r.name},
                                  {"what", r.what},
                                  {"calls", r.calls},
                                  {"seconds", r.seconds},
                                  {"share", rate(r.seconds, report.step_seconds)},
                                  {"flops", r.flops},
                                  {"bytes", r.bytes},
                                  {"flops_per_second", rate(r.flops, r.seconds)},
                                  {"bytes_per_second", rate(r.bytes, r.seconds)}};
    if (r.limit_seconds > 0) one["roofline"] = rate(r.limit_seconds, r.seconds);
    if (r.predicted_seconds > 0) one["predicted_seconds"] = r.predicted_seconds;
    regions.push_back(std::move(one));
  }
  const nlohmann::ordered_json json = {{"steps", report.steps},
                                       {"step_seconds", report.step_seconds},
                                       {"predicted_seconds", report.predicted_seconds()},
                                       {"limits",
                                        {{"flops_per_second", report.limits.flops},
                                         {"bytes_per_second", report.limits.bytes},
                                         {"measured", report.limits.measured}}},
                                       {"regions", std::move(regions)}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace shardc::runtime
