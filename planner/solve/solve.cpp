#include "planner/solve/solve.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <thread>

#include "ir/random.h"
#include "ir/support/check.h"
#include "planner/solve/ascent.h"
#include "planner/solve/branch.h"
#include "planner/solve/exact.h"
#include "planner/solve/local.h"
#include "planner/solve/reduce.h"

namespace shardc::planner::solve {
namespace {

constexpr std::uint64_t kRoundWork = 20'000'000;  // table entries per thread: some tens of milliseconds
constexpr std::uint64_t kLeastRoundWork = 200'000;
constexpr std::size_t kExactTimes = 200;
constexpr std::int64_t kExactNodes = 20'000;
constexpr double kWorthDropping = 0.08;          // of all strategies, that reductions start again for
constexpr std::size_t kBranchEntries = 500'000;  // larger models are left to the moves
constexpr double kStalled = 0.03;                // of the way to the target, in one round of the ascent
constexpr int kStalledRounds = 2;
constexpr double kWorthCertifying = 0.02;  // of the way to the target, since the last time
constexpr int kRepairRounds = 4;           // of a start that does not fit, before a newer one is tried

// How good a choice is that may break things: feasible ones first.
struct Rank {
  bool feasible = false;
  double cost = kInfinity;  // with fines
  bool operator<(const Rank& other) const {
    return feasible != other.feasible ? feasible : cost < other.cost;
  }
};

Rank rank(const Network& network, const Choice& choice) {
  const Local state(network, choice, 0);
  return {state.feasible(), state.feasible() ? state.cost() : state.fined_cost()};
}

double at_most(Wide cost) {
  const auto near = static_cast<double>(cost);
  return static_cast<Wide>(near) > cost ? std::nextafter(near, -kInfinity) : near;
}

// More than the bound of a problem that has a solution can be.
double dearest(const Model& model) {
  double most = model.constant;
  const auto add = [&](const std::vector<double>& costs) {
    double largest = -kInfinity;
    for (const double cost : costs)
      if (cost < kInfinity) largest = std::max(largest, cost);
    most += largest;
  };
  for (const Variable& variable : model.variables) add(variable.cost);
  for (const Pair& pair : model.pairs) add(pair.cost);
  return most + 1e-6 * (std::abs(most) + 1);
}

}  // namespace

class Solver {
 public:
  explicit Solver(const Problem& problem) : problem_(problem) {}
  Solution run(const Options& options);

 private:
  void begin();
  void work();
  bool worth_certifying() const;
  void certify();
  bool stopped() const;
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool closed() const { return (found_ && cost_ <= bound_) || (bounded_ && too_much(bound_)); }
  bool too_much(Wide cost) const { return options_.cutoff && cost >= *options_.cutoff; }
  bool exhausted() const;

  void install(Model model);
  bool solve_small();
  void round();
  void raise_bound(std::uint64_t work);
  void merge();
  void begin_branching();
  void join_branching();
  bool worth_a_start(const Rank& proposal);
  void take_choice(const Choice& choice) { take(expand(problem_, *model_, choice)); }
  void take(Assignment assignment);
  void shrink();
  void report();
  void note_bound(double bound);
  double target() const;
  std::uint64_t next_seed() { return random_bits(options_.seed, ++seeds_); }
  Solution finish() const;

  using Clock = std::chrono::steady_clock;
  const Problem& problem_;
  Options options_;  // of this run
  Clock::time_point start_;
  Statistics statistics_;
  bool begun_ = false, done_ = false, infeasible_ = false;
  double most_ = 0;                // what the bound of a problem that has a solution cannot reach
  double certified_ = -kInfinity;  // the ascent's bound when it was last certified
  bool found_ = false, bounded_ = false;
  Assignment assignment_;
  Wide cost_ = 0, bound_ = 0;
  std::uint64_t seeds_ = 0, round_work_ = 0;

  std::unique_ptr<Model> model_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Ascent> ascent_;
  std::unique_ptr<Local> local_, second_;
  std::unique_ptr<Branching> branching_;
  int stalled_rounds_ = 0;
  int repair_rounds_ = 0, repair_patience_ = kRepairRounds;
  std::optional<std::pair<Rank, Choice>> proposal_;  // of this round's passes
  double shrunk_at_ = -kInfinity;                    // the bound when strategies were last dropped
  Wide shrunk_cost_ = 0;
};

bool Solver::stopped() const {
  return elapsed() >= options_.seconds || (options_.stop != nullptr && options_.stop->load());
}

bool Solver::exhausted() const {
  return stopped() || (options_.work_limit > 0 && statistics_.work >= options_.work_limit);
}

// What the bound is to reach.
double Solver::target() const {
  const double cost = found_ ? at_most(cost_) : kInfinity;
  return options_.cutoff ? std::min(cost, at_most(*options_.cutoff)) : cost;
}

void Solver::note_bound(double bound) {
  // The model leaves out only what costs more than the best solution.
  const Wide valid = found_ ? std::min(round_up(bound), cost_) : round_up(bound);
  bound_ = bounded_ ? std::max(bound_, valid) : valid;
  bounded_ = true;
}

void Solver::report() {
  if (!options_.progress) return;
  const Solution view{.status = Status::Feasible,
                      .assignment = found_ ? Assignment{0} : Assignment{},
                      .cost = cost_,
                      .bound = bound_};
  options_.progress({elapsed(), found_, cost_, bound_, view.gap()});
}

// Keeps a feasible assignment if it is the best so far.
void Solver::take(Assignment assignment) {
  const Evaluation evaluation = evaluate(problem_, assignment);
  CHECK(evaluation.valid, "an invalid solution of cost {}", to_string(evaluation.cost));
  if (found_ && evaluation.cost >= cost_) return;
  found_ = true;
  cost_ = evaluation.cost;
  assignment_ = std::move(assignment);
}

void Solver::install(Model model) {
  local_.reset();
  second_.reset();
  stalled_rounds_ = 0;
  std::vector<double> prices;
  if (ascent_ && ascent_->best_prices().size() == model.capacity.size()) prices = ascent_->best_prices();
  ascent_.reset();
  network_.reset();
  model_ = std::make_unique<Model>(std::move(model));
  network_ = std::make_unique<Network>(*model_);
  ascent_ = std::make_unique<Ascent>(*network_);
  if (!prices.empty()) ascent_->start_from(prices);
  round_work_ = std::clamp<std::uint64_t>(50 * network_->entries(), kLeastRoundWork, kRoundWork);
}

// Small models are for GLPK. Returns whether nothing is left to do.
bool Solver::solve_small() {
  if (model_->variables.empty()) {
    take_choice({});
    note_bound(static_cast<double>(cost_));
    return true;
  }
  if (network_->entries() > options_.exact_entries || model_->capacity.size() > kExactTimes) return false;
  const double left = options_.seconds - elapsed();
  const ExactChoice exact =
      solve_model_glpk(*model_, {.seconds = std::max(0.01, 0.5 * left), .nodes = kExactNodes});
  if (exact.choice.size() == model_->variables.size() && rank(*network_, exact.choice).feasible)
    take_choice(exact.choice);
  if (exact.status == Status::Optimal) note_bound(exact.bound);
  return exact.status == Status::Infeasible && !found_;
}

// Passes of the dual until the work is done; the best of the choices they decode becomes the round's
// proposal.
void Solver::raise_bound(std::uint64_t work) {
  const std::uint64_t end = ascent_->work() + work;
  do {  // once at least: there is something to begin with, however late it is
    ascent_->step(target());
    const Rank found = rank(*network_, ascent_->decoded());
    if (!proposal_ || found < proposal_->first) proposal_ = {found, ascent_->decoded()};
  } while (ascent_->work() < end && !stopped());
}

// One share of work on each thread. What the threads see of each other was fixed before the round.
void Solver::round() {
  // While the ascent still rises, cases get every other round.
  const bool ascending = !ascent_->settled() && (!branching_ || statistics_.rounds % 2 == 0);
  const std::uint64_t branched = branching_ ? branching_->work() : 0;
  const double bound = ascent_->best();
  const std::vector<double> prices = ascent_->best_prices();
  const Stop stop = [this] { return stopped(); };
  proposal_.reset();
  const auto first = [&] {
    if (ascending)
      raise_bound(round_work_);
    else if (branching_)
      branching_->run(round_work_, stop);
    else if (second_)
      second_->run(round_work_, prices, stop);
  };
  const auto moves =
      ascending ? static_cast<std::uint64_t>(options_.moves * static_cast<double>(round_work_)) : round_work_;
  const auto other = [&] {
    if (local_) local_->run(moves, prices, stop);
  };
  if (options_.threads > 1 && local_) {
    std::thread thread(other);
    first();
    thread.join();
  } else {
    first();
    other();
  }
  ++statistics_.rounds;
  statistics_.work +=
      (local_ ? moves : 0) + (!ascending && branching_ ? branching_->work() - branched : round_work_);
  merge();
  if (branching_) {
    join_branching();
  } else if (network_->entries() <= kBranchEntries) {
    const bool stalled =
        ascent_->settled() || ascent_->best() - bound < kStalled * (target() - ascent_->best());
    stalled_rounds_ = stalled ? stalled_rounds_ + 1 : 0;
    if (stalled_rounds_ >= kStalledRounds) begin_branching();
  }
}

void Solver::begin_branching() {
  branching_ = std::make_unique<Branching>(problem_, *model_, at_most(bound_), ascent_->best_prices(),
                                           target(), next_seed());
}

// What the two searches know of each other.
void Solver::join_branching() {
  if (branching_->found()) {
    const bool news = !found_ || evaluate(problem_, *branching_->found()).cost < cost_;
    take(*branching_->found());
    if (news) local_->adopt(choice_of(*model_, assignment_));
  }
  branching_->lower_cutoff(target());
  note_bound(branching_->bound());
}

// Takes over what the round's passes propose, and what the other search found.
void Solver::merge() {
  if (proposal_) {
    if (worth_a_start(proposal_->first)) {
      std::optional<Choice> old;
      if (local_ && local_->feasible()) old = local_->choice();
      local_ = std::make_unique<Local>(*network_, std::move(proposal_->second), next_seed());
      if (old) local_->adopt(*old);
    } else {
      local_->adopt(proposal_->second);
    }
  }
  if (second_ && second_->feasible()) {
    local_->adopt(second_->choice());
    if (!local_->feasible() || second_->cost() < local_->cost()) std::swap(local_, second_);
  }
  const bool idle = !second_ || second_->feasible() || local_->feasible();
  if (ascent_->settled() && idle) second_ = std::make_unique<Local>(*network_, local_->choice(), next_seed());
  if (local_->feasible()) take_choice(local_->choice());
}

// Whether the local search should go on from a proposal. A choice that is under repair gets its time, and
// every next one twice of it.
bool Solver::worth_a_start(const Rank& proposal) {
  if (!local_) return true;
  if (local_->feasible()) return proposal.feasible && proposal.cost < local_->cost();
  if (!proposal.feasible && (++repair_rounds_ < repair_patience_ || proposal.cost >= local_->fined_cost()))
    return false;
  repair_rounds_ = 0;
  repair_patience_ *= 2;
  return true;
}

// Drops the strategies that no better solution can have, when they are many, and reduces again.
void Solver::shrink() {
  if (!found_ || !local_ || !local_->feasible() || branching_) return;
  const double gap = static_cast<double>(cost_) - ascent_->best();
  const double before = static_cast<double>(shrunk_cost_) - shrunk_at_;
  if (gap > 0.7 * before) return;
  shrunk_at_ = ascent_->best();
  shrunk_cost_ = cost_;
  const std::vector<char> dropped = ascent_->too_dear(static_cast<double>(cost_));
  const auto count = std::count(dropped.begin(), dropped.end(), 1);
  if (static_cast<double>(count) < kWorthDropping * static_cast<double>(dropped.size())) return;
  Assignment incumbent = assignment_;
  Model model =
      reduce_further(problem_, std::move(*model_), dropped, &incumbent, [this] { return stopped(); });
  CHECK(model.feasible, "the best solution was lost");
  install(std::move(model));
  const Choice kept = choice_of(*model_, incumbent);
  local_ = std::make_unique<Local>(*network_, kept, next_seed());
  assignment_ = expand(problem_, *model_, kept);  // without the strategies that the reductions replaced
}

Solution Solver::finish() const {
  Solution solution{.bound = bound_, .statistics = statistics_};
  if (found_) {
    solution.status = cost_ <= bound_ ? Status::Optimal : Status::Feasible;
    solution.assignment = assignment_;
    solution.cost = cost_;
  } else if (infeasible_) {
    solution.status = Status::Infeasible;
  }
  return solution;
}

void Solver::begin() {
  begun_ = true;
  Model model = reduce(problem_, [this] { return stopped(); });
  if (!model.feasible) {
    done_ = infeasible_ = true;
    return;
  }
  statistics_.variables = model.variables.size();
  statistics_.pairs = model.pairs.size();
  statistics_.times = model.capacity.size();
  for (const Variable& variable : model.variables) statistics_.strategies += variable.size();
  most_ = dearest(model);
  install(std::move(model));
  done_ = solve_small();
  infeasible_ = done_ && !found_;
}

// A certificate takes as long as some passes.
bool Solver::worth_certifying() const {
  const double gained = ascent_->best() - certified_, left = target() - certified_;
  return certified_ == -kInfinity || ascent_->best() >= target() ||
         gained > (left < kInfinity ? kWorthCertifying * left : 1e-7 * std::abs(certified_));
}

void Solver::certify() {
  certified_ = ascent_->best();
  note_bound(ascent_->certified());
}

void Solver::work() {
  while (!done_ && !closed()) {
    round();
    const Wide before_cost = cost_, before_bound = bound_;
    if (worth_certifying()) certify();
    if (before_cost != cost_ || before_bound != bound_ || statistics_.rounds == 1) report();
    if (!found_ && static_cast<double>(bound_) > most_) {
      done_ = infeasible_ = true;
      return;
    }
    if (closed()) break;
    if (exhausted()) {
      if (ascent_->best() > certified_) certify();
      break;
    }
    const Model* same = model_.get();
    shrink();
    if (model_.get() == same) continue;
    certified_ = -kInfinity;
    done_ = solve_small();
  }
  if (done_ || closed()) report();
}

Solution Solver::run(const Options& options) {
  CHECK(!options_.cutoff || (options.cutoff && *options.cutoff <= *options_.cutoff), "the cutoff has risen");
  options_ = options;
  start_ = Clock::now();
  const double before = statistics_.seconds;
  if (!begun_) begin();
  if (!infeasible_) work();
  statistics_.seconds = before + elapsed();
  return finish();
}

double Solution::gap() const {
  if (!found()) return 1;
  if (bound >= cost) return 0;
  const double difference = static_cast<double>(cost - bound);
  return std::min(1.0, difference / std::max(1.0, std::abs(static_cast<double>(cost))));
}

Solution solve(const Problem& problem, const Options& options) { return Solver(problem).run(options); }

Solving::Solving(Problem problem)
    : problem_(std::make_unique<const Problem>(std::move(problem))),
      solver_(std::make_unique<Solver>(*problem_)) {}
Solving::Solving(Solving&&) noexcept = default;
Solving& Solving::operator=(Solving&&) noexcept = default;
Solving::~Solving() = default;
Solution Solving::run(const Options& options) { return solver_->run(options); }

}  // namespace shardc::planner::solve
