// Chrome traces (chrome://tracing, Perfetto) of profiled steps: one row per rank, one bar per region or
// collective.
#pragma once

#include <ostream>
#include <vector>

#include "runtime/rank.h"
#include "runtime/report.h"

namespace shardc::runtime {

// {"traceEvents": [{"name": "layer.h = layer_norm", "ph": "X", "pid": 0, "tid": rank, "ts": us, "dur": us,
//   "args": {"flops": n, "bytes": n, "GFLOP/s": x, "GB/s": x, "roofline %": x}}, ...]}; `events` are per
//   rank,
// in the order they ended. Without limits there is no roofline.
void write_chrome_trace(std::ostream& out, const shardc_program& program,
                        const std::vector<std::vector<Event>>& events, const Limits& limits = {});

}  // namespace shardc::runtime
