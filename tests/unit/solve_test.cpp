// The problem's definition, its reader, and what single parts of the solver promise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/solve/ascent.h"
#include "planner/solve/exact.h"
#include "planner/solve/local.h"
#include "planner/solve/read.h"
#include "planner/solve/reduce.h"

namespace shardc::testing {
namespace {

using namespace planner::solve;  // NOLINT: a test of that namespace
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const kTiny = R"({"problem": {
  "usage_limit": 30, "name": "t\"iny", "unknown": [1, {"a": [null, true, -1.5e3]}],
  "edges": {"nodes": [[0, 1]], "costs": [[30, 4e1]]},
  "nodes": {"intervals": [[0, 4], [2, 6]], "usages": [[10, 5], [25]], "costs": [[15, 20.0], [55]]}}})";

Problem parsed(const std::string& json) {
  auto result = parse_problem(json);
  EXPECT_TRUE(result) << render(result.error());
  return result ? std::move(result).value() : Problem{};
}

TEST(ReadProblem, TakesKeysInAnyOrder) {
  const Problem p = parsed(kTiny);
  EXPECT_EQ(p.nodes(), 2U);
  EXPECT_THAT(p.node_costs, ElementsAre(15, 20, 55));
  EXPECT_THAT(p.node_usages, ElementsAre(10, 5, 25));
  EXPECT_THAT(p.edge_costs, ElementsAre(30, 40));
  EXPECT_EQ(p.usage_limit, 30);
  EXPECT_EQ(p.intervals[1].upper, 6);
}

TEST(ReadProblem, SaysWhatIsWrongAndWhere) {
  const auto nodes = [](const std::string& inner) { return R"({"problem": {"nodes": {)" + inner + "}}}"; };
  const auto with_edges = [](const std::string& edges) {
    return R"({"problem": {"nodes": {"intervals": [[0, 1]], "costs": [[1, 2]], "usages": [[0, 0]]}, "edges": {)" +
           edges + "}}}";
  };
  for (const auto& [json, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "expected '{' at byte 0, found the end of the file"},
           {"[]", "expected '{' at byte 0, found '['"},
           {"{}", "the key 'problem'"},
           {"{\"problem\": 3}", "expected '{' at byte 12, found '3'"},
           {R"({"problem": {}})", "'intervals', 'costs' and 'usages'"},
           {nodes(R"("intervals": [[0, 1])"), "expected ',' or ']' at byte 43, found '}'"},
           {nodes(R"("intervals": [[0, 1, 2]])"), "other than 2 numbers"},
           {nodes(R"("intervals": [[0]])"), "other than 2 numbers"},
           {nodes(R"("costs": [[1, x]])"), "expected an integer at byte 37, found 'x'"},
           {nodes(R"("costs": [[1.5]])"), "1.5 is no 64-bit integer"},
           {nodes(R"("costs": [[1e40]])"), "no 64-bit integer"},
           {nodes(R"("costs": [[99999999999999999999]])"), "a number of 64 bits"},
           {nodes(R"("costs": [[9223372036854775808]])"), "a number of 64 bits"},
           {nodes(R"("costs": [[1]], "costs": [[1]])"), "'costs' is given twice"},
           {nodes(R"("intervals": [[0, 1]], "costs": [[1, 2]], "usages": [[1]])"),
            "node 0 has 2 costs and 1 usages"},
           {nodes(R"("intervals": [[0, 1]], "costs": [], "usages": [[1]])"), "1 intervals, 0 lists of costs"},
           {nodes(R"("intervals": [[0, 1]], "costs": [[]], "usages": [[]])"), "node 0 has no strategies"},
           {nodes(R"("intervals": [[0, 1]], "costs": [[1]], "usages": [[-1]])"), "negative usage"},
           {nodes(R"("intervals": [[0, 1]], "costs": [[-2e18]], "usages": [[1]])"), "below -1e18"},
           {with_edges(R"("nodes": [[0, 1]], "costs": [[1]])"), "edge 0 names node 1, and there are 1"},
           {with_edges(R"("nodes": [[0, -1]], "costs": [[1]])"), "edge 0 names node -1"},
           {with_edges(R"("nodes": [[0, 0]], "costs": [[1, 2, 3]])"), "2 x 2 strategies"},
           {with_edges(R"("nodes": [[0, 0]], "costs": [])"), "1 pairs of nodes and 0 lists"},
           {std::string(kTiny) + "x", "expected the end of the file"},
           {"{\"a\": \"" + std::string(9000, 'a') + "\"}", "expected a shorter string"},
           {"{\"a\": " + std::string(200, '['), "expected fewer nested values"},
           {"{\"a\": \"\n\"}", "expected the end of a string"},
           {"{\"a\": nil}", "expected a value"},
       }) {
    SCOPED_TRACE(json.substr(0, 200));
    const auto result = parse_problem(json, "p.json");
    ASSERT_FALSE(result);
    EXPECT_THAT(render(result.error()), HasSubstr(message));
    EXPECT_TRUE(result.error().front().mistake);
  }
}

// Every prefix of a problem, and every byte of it changed, is read or refused: nothing else happens.
TEST(ReadProblem, SurvivesDamage) {
  const std::string whole = kTiny;
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_FALSE(parse_problem(whole.substr(0, i)));
    for (const char c : {'0', '9', '-', '[', ']', '{', '"', ',', 'e', '\0', '\xff'}) {
      std::string damaged = whole;
      damaged[i] = c;
      refused += static_cast<int>(!parse_problem(damaged));
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Problem, CountsCostsAndUsages) {
  Problem p = parsed(kTiny);
  EXPECT_EQ(evaluate(p, {0, 0}).cost, 15 + 55 + 30);
  EXPECT_EQ(evaluate(p, {0, 0}).peak, 35);
  EXPECT_FALSE(evaluate(p, {0, 0}).valid);
  EXPECT_TRUE(evaluate(p, {1, 0}).valid);
  EXPECT_FALSE(evaluate(p, {2, 0}).valid);
  EXPECT_FALSE(evaluate(p, {0}).valid);
  p.intervals[0].upper = 2;  // ends where the other begins
  EXPECT_EQ(evaluate(p, {0, 0}).peak, 25);
  p.add_edge(1, 1, {7});  // a loop counts its diagonal
  EXPECT_EQ(evaluate(p, {0, 0}).cost, 15 + 55 + 30 + 7);
  p.add_edge(1, 0, {1, kForbidden});
  EXPECT_TRUE(evaluate(p, {0, 0}).valid);
  EXPECT_FALSE(evaluate(p, {1, 0}).valid);
}

TEST(Problem, SumsDoNotOverflow) {
  Problem p;
  for (int v = 0; v < 30; ++v) p.add_node({}, {kForbidden - 1}, {0});
  EXPECT_EQ(to_string(evaluate(p, Assignment(30, 0)).cost), "29999999999999999970");
  const Solution solution = solve(p, {});
  EXPECT_EQ(to_string(solution.cost), "29999999999999999970");
  EXPECT_LE(solution.bound, solution.cost);
  EXPECT_LT(solution.gap(), 1e-9);
  EXPECT_EQ(to_string(-12), "-12");
  EXPECT_EQ(to_string(0), "0");
}

TEST(Problem, UsagesThatCannotBeAddedAreRefused) {
  Problem p;
  for (int v = 0; v < 10; ++v) p.add_node({0, 1}, {1}, {kForbidden - 1});
  EXPECT_TRUE(validate(p));
  p.usage_limit = kForbidden;
  EXPECT_FALSE(validate(p));
  p.usage_limit = 1000;  // no strategy is possible then, which is no mistake
  EXPECT_TRUE(validate(p));
  EXPECT_EQ(solve(p, {}).status, Status::Infeasible);
}

TEST(Solve, OfNothing) {
  const Solution solution = solve(Problem{}, {});
  EXPECT_EQ(solution.status, Status::Optimal);
  EXPECT_TRUE(solution.found());
  EXPECT_EQ(solution.cost, 0);
}

// A limit below zero leaves room for nothing that lives, and does not concern what never does.
TEST(Solve, OfANegativeLimit) {
  Problem p;
  p.usage_limit = -1;
  p.add_node({3, 3}, {5}, {10});
  EXPECT_EQ(solve(p, {}).cost, 5);
  p.add_node({3, 4}, {5}, {0});
  EXPECT_EQ(solve(p, {}).status, Status::Infeasible);
  EXPECT_EQ(solve_brute_force(p).status, Status::Infeasible);
}

// Nodes tied by edges that forbid unequal strategies become one, whose usage is a row per span.
TEST(Reduce, MergesNodesOfOneStrategy) {
  Problem p;
  p.usage_limit = 10;
  p.add_node({0, 2}, {1, 1, 9}, {0, 8, 4});
  p.add_node({2, 4}, {1, 1, 1}, {8, 0, 4});
  p.add_edge(0, 1, {0, kForbidden, kForbidden, kForbidden, 0, kForbidden, kForbidden, kForbidden, 0});
  p.add_node({0, 4}, {30, 20, 0}, {0, 4, 8});
  const Model model = reduce(p);
  ASSERT_EQ(model.variables.size(), 2U);
  const Variable& merged = model.variables[0].node == 2 ? model.variables[1] : model.variables[0];
  EXPECT_EQ(merged.pieces.size(), 2U);
  EXPECT_TRUE(model.pairs.empty());
  EXPECT_EQ(solve(p, {}).cost, 10 + 20);  // strategy 2, and then 4 of 10 units leave room for 4
}

TEST(Reduce, EliminatesChainsAndTrees) {
  Problem p;
  for (int v = 0; v < 6; ++v) p.add_node({0, 10}, {v, 5 - v, 2}, {1, 2, 3});
  for (std::size_t v = 1; v < 6; ++v) p.add_edge(v / 2, v, {0, 7, 3, 2, 0, 5, 4, 1, 0});
  EXPECT_TRUE(reduce(p).variables.empty());  // without a limit
  p.usage_limit = 6;
  EXPECT_TRUE(reduce(p).variables.empty());  // all must use the least
  EXPECT_EQ(solve(p, {}).assignment, Assignment(6, 0));
}

// Two nodes of which one at a time fits in its large strategy: the price of memory alone cannot tell them
// apart.
TEST(Ascent, BoundsAKnapsack) {
  Problem p;
  p.usage_limit = 10;
  for (int v = 0; v < 4; ++v) p.add_node({0, 1}, {10 + v, 0}, {0, 4});
  const Model model = load(p);
  const Network network(model);
  Ascent ascent(network);
  for (int i = 0; i < 400; ++i) ascent.step(kInfinity);
  // The relaxation fills 10 of 16 units: 1.5 of the cheaper strategies must go.
  EXPECT_GT(ascent.certified(), 15.2);
  EXPECT_LE(ascent.certified(), 10 + 0.5 * 11);
  EXPECT_EQ(solve(p, {}).cost, 21);
}

TEST(Local, RepairsAndImproves) {
  Problem p;
  p.usage_limit = 40;
  for (int v = 0; v < 20; ++v) p.add_node({v, v + 5}, {0, 3, 10}, {20, 8, 1});
  for (std::size_t v = 1; v < 20; ++v) p.add_edge(v - 1, v, {kForbidden, 1, 1, 1, kForbidden, 1, 1, 1, 2});
  const Model model = load(p);
  const Network network(model);
  Local local(network, Choice(model.variables.size(), 0), 1);
  EXPECT_FALSE(local.feasible());
  local.run(1'000'000, std::vector<double>(model.capacity.size(), 0), [] { return false; });
  ASSERT_TRUE(local.feasible());
  const Evaluation found = evaluate(p, expand(p, model, local.choice()));
  EXPECT_TRUE(found.valid);
  const Solution best = solve_exact_glpk(p, {.seconds = 20});
  EXPECT_EQ(best.status, Status::Optimal);
  EXPECT_LE(static_cast<double>(found.cost), 1.1 * static_cast<double>(best.cost));
}

}  // namespace
}  // namespace shardc::testing
