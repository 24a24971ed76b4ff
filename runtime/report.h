// Where the time of steps went: what profiled steps leave behind, by region, against what the machine could
// do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/event.h"
#include "runtime/shardc_rt.h"

namespace shardc::runtime {

// What one rank can do while all work: the roof of the roofline.
struct Limits {
  double flops = 0;  // operations per second of products
  double bytes = 0;  // moved between processor and memory, per second
  bool measured = false;

  // The least time that so much takes.
  double seconds(double operations, double moved) const;
};

// A region of the program, per step: mean over ranks and steps.
struct RegionTime {
  int region = 0;          // index into shardc_program::region
  std::string name, what;  // what: "compute", or the collective that it is
  double calls = 0;
  double seconds = 0;
  double flops = 0, bytes = 0;   // of a collective, bytes are the payload
  double limit_seconds = 0;      // by the limits; 0: they do not speak of it
  double predicted_seconds = 0;  // by the cost model; 0: not known
};

struct Report {
  int ranks = 0;
  std::int64_t steps = 0;
  double step_seconds = 0;  // mean
  Limits limits;
  std::vector<RegionTime> regions;  // the longest first

  double seconds() const;            // of all regions
  double predicted_seconds() const;  // of all regions; 0: not known
};

// `events` are those of `steps` steps, per rank; `predicted` has the seconds of one execution of each region,
// or nothing.
Report report_of(const shardc_program& program, const std::vector<std::vector<Event>>& events,
                 const std::vector<double>& step_seconds, const Limits& limits,
                 const std::vector<double>& predicted);

std::vector<std::string> lines_of(const Report& report, std::size_t most = 10);  // for people: a table
std::string to_json(
    const Report& report);  // {"steps": n, "step_seconds": x, "limits": {...}, "regions": [...]}

}  // namespace shardc::runtime
