// Cluster files.
//
//   cluster: h100-16x8
//   device: {name: H100-SXM, memory: 80GB, bandwidth: 3.35TB/s, flops: {f32: 67e12, bf16: 989e12},
//            efficiency: 0.6}
//   topology:                        # innermost level first; the device count is the product
//     - {name: nvlink, size: 8,  bandwidth: 450GB/s, latency: 2us}
//     - {name: ib,     size: 16, bandwidth: 50GB/s,  latency: 6us}
//
// What else is known of a machine may be said (ir/price.h has the meaning, docs/machine.md the story):
//
//   device: {..., memory_efficiency: 0.9, vector: 30e12, row: 4ns, launch: 4us, dispatch: 30us, call: 0.2us,
//            ramp: {flops: 1e9, bytes: 1MB, width: 16}, cache: {size: 512KiB, bandwidth: 60GB/s},
//            host: {memory: 512GB, bandwidth: 25GB/s}}
//   a level: {..., start: 5us, cache: {size: 256KiB, bandwidth: 40GB/s}, speeds: {all_reduce: 1.5}}
//
// Heterogeneous: in place of device and topology,
//
//   groups:
//     - {name: fast, count: 2, device: {...}, topology: [...]}
//     - {name: slow, device: {...}}                               # one device: no topology
//   links:
//     - {between: [fast, slow], bandwidth: 5GB/s, latency: 20us}
//     - {between: [fast, fast], bandwidth: 25GB/s, latency: 5us}  # among the two copies
//
// Sizes have units: B kB MB GB TB PB (powers of 1000), KiB MiB GiB TiB PiB (of 1024), bit kbit Mbit Gbit
// Tbit; with /s they are bandwidths. Times: s ms us ns.
#pragma once

#include <string>
#include <string_view>

#include "ir/cluster.h"
#include "ir/support/result.h"

namespace shardc::frontend {

Result<Cluster> load_cluster(const std::string& path);
Result<Cluster> parse_cluster(std::string_view text, const std::string& file);
std::string print(const Cluster& cluster);  // parse_cluster(print(c)) = c

}  // namespace shardc::frontend
