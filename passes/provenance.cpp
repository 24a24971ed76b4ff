#include "passes/provenance.h"

namespace shardc::passes {

std::vector<Origin> chain_of(const Provenance& provenance, std::size_t index) {
  std::vector<Origin> chain;
  for (auto i = static_cast<std::int64_t>(index); i >= 0; i = chain.back().from)
    chain.push_back(provenance[static_cast<std::size_t>(i)]);
  return chain;
}

}  // namespace shardc::passes
