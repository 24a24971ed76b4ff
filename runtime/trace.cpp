#include "runtime/trace.h"

#include <nlohmann/json.hpp>

namespace shardc::runtime {
namespace {

using Json = nlohmann::ordered_json;

// `inside`: the event before it, which a collective's region holds.
Json bar(const shardc_program& program, int rank, const Event& event, const Event& inside,
         const Limits& limits) {
  const double seconds = static_cast<double>(event.duration_ns) * 1e-9;
  Json args;
  std::string name, category;
  if (event.region >= 0 && event.region < program.regions) {
    const shardc_region& region = program.region[event.region];
    name = region.name;
    category = "region";
    args = {{"flops", region.flops}, {"bytes", region.bytes}};
    args["GFLOP/s"] = seconds > 0 ? region.flops / seconds * 1e-9 : 0.0;
    args["GB/s"] = seconds > 0 ? region.bytes / seconds * 1e-9 : 0.0;
    const double least =
        region.flops == 0 && is_collective(event, inside) ? 0 : limits.seconds(region.flops, region.bytes);
    if (least > 0 && seconds > 0) args["roofline %"] = 100 * least / seconds;
  } else {
    name = std::string(kCollectiveNames.at(static_cast<std::size_t>(event.collective)));
    category = "collective";
    args = {{"bytes", event.bytes},
            {"GB/s", seconds > 0 ? static_cast<double>(event.bytes) / seconds * 1e-9 : 0.0}};
  }
  return {{"name", name},
          {"cat", category},
          {"ph", "X"},
          {"pid", 0},
          {"tid", rank},
          {"ts", static_cast<double>(event.start_ns) * 1e-3},
          {"dur", static_cast<double>(event.duration_ns) * 1e-3},
          {"args", args}};
}

}  // namespace

void write_chrome_trace(std::ostream& out, const shardc_program& program,
                        const std::vector<std::vector<Event>>& events, const Limits& limits) {
  const auto replace = Json::error_handler_t::replace;  // names come from files: any bytes
  out << "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  const Json process = {
      {"name", "process_name"}, {"ph", "M"}, {"pid", 0}, {"args", {{"name", std::string(program.model)}}}};
  out << process.dump(-1, ' ', false, replace);
  for (std::size_t rank = 0; rank < events.size(); ++rank) {
    const int tid = static_cast<int>(rank);
    const Json thread = {{"name", "thread_name"},
                         {"ph", "M"},
                         {"pid", 0},
                         {"tid", tid},
                         {"args", {{"name", "rank " + std::to_string(rank)}}}};
    out << ",\n" << thread.dump(-1, ' ', false, replace);
    Event before;
    for (const Event& event : events[rank]) {
      out << ",\n" << bar(program, tid, event, before, limits).dump(-1, ' ', false, replace);
      before = event;
    }
  }
  out << "\n]}\n";
}

}  // namespace shardc::runtime
