// Lower bounds by message passing. A variable's and a pair's costs are moved between each other along
// messages, which changes no solution's cost; the sum of all their minima is then a bound. The passes are
// those of sequential reweighted message passing (Kolmogorov, "A new look at reweighted message passing",
// PAMI 2015; TRW-S, PAMI 2006): the bound never falls while prices stay.
//
// Memory is priced: usage beyond a time point's capacity costs `price` per unit, usage below earns as much
// (Lagrange). Every choice of prices >= 0 gives a bound.
#pragma once

#include <vector>

#include "planner/solve/network.h"

namespace shardc::planner::solve {

class Dual {
 public:
  explicit Dual(const Network& network);

  void pass();  // forward and back; decodes a choice on the way forward
  double bound() const { return constant_; }

  // What the last pass would choose: each variable the best for its predecessors' choices and its successors'
  // messages. It may break capacities and take forbidden pairs.
  const std::vector<std::int32_t>& decoded() const { return decoded_; }

  const std::vector<double>& prices() const { return prices_; }
  void set_prices(const std::vector<double>& prices);

  // The bound again, from messages and prices alone, less what rounding can amount to.
  double certified() const;

  // By strategy of all variables: whether any choice that takes it costs more than `limit`. One pass.
  std::vector<char> too_dear(double limit);

  struct State {  // what the bound follows from
    std::vector<double> messages, prices;
  };
  State state() const { return {messages_, prices_}; }
  void restore(const State& state);

 private:
  void pull(std::size_t v, std::size_t arc);
  void visit(std::size_t v, bool forward);
  void decode(std::size_t v);
  void add_prices(const std::vector<double>& sums);

  const Network& network_;
  std::vector<std::size_t> message_;  // by arc: where its variable's message from it lies
  std::vector<double> messages_;
  std::vector<double> potential_;  // costs of strategies with the messages
  std::vector<double> scratch_;
  std::vector<double> prices_;
  std::vector<std::int32_t> decoded_;
  double constant_ = 0;
  double threshold_ = kInfinity;  // of potentials, beyond which dead_ is set
  std::vector<char> dead_;
};

}  // namespace shardc::planner::solve
