// A cluster as a part of another file: what cluster files and plans share.
#pragma once

#include <string>

#include "frontend/yaml.h"
#include "ir/cluster.h"

namespace shardc::frontend {

Cluster read_cluster(Reporter& reporter, const Yaml& node, Span owner);
std::string print_cluster(const Cluster& cluster, int indent);  // lines, each after `indent` spaces

}  // namespace shardc::frontend
