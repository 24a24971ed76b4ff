#include "frontend/hints.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc::frontend {
namespace {

using Phase = Expectation::Phase;
using Relation = Expectation::Relation;

// Reads a map of free names; `each` gets the key and its item.
template <class Each>
void for_each_entry(Reporter& reporter, const Yaml& node, Span owner, std::string_view what,
                    std::string_view duplicate, Each each) {
  if (!expect(reporter, node, Yaml::Kind::Map, owner, what)) return;
  refuse_duplicates(reporter, node, duplicate);
  for (std::size_t i = 0; i < node.items.size() && !reporter.full(); ++i)
    each(Named{node.keys[i].text, node.keys[i].span}, node.items[i]);
}

// `whole`: a rule may also say that a dimension is not split.
void parse_rules(Reporter& reporter, const Dims& dims, const Yaml& node, Span owner, const AxisNames& names,
                 bool whole, DimRules& rules) {
  for_each_entry(reporter, node, owner, "a map of 'dimension: axis'", "the rule of dimension",
                 [&](const Named& key, const Yaml& item) {
                   if (!dims.contains(key.name))
                     reporter.error(key.span, fmt::format("unknown dimension {}", quoted(key.name)),
                                    did_you_mean(key.name, names_of(dims)));
                   const std::optional<DimSharding> dim = parse_dim_sharding(reporter, item, key.span, names);
                   if (dim && dim->axes.empty() && (dim->open || !whole))
                     reporter.error(item.span, "a rule names the axes that split a dimension",
                                    "leave out dimensions that nothing is said about");
                   else if (dim)
                     rules.emplace_back(key.name, *dim);
                 });
}

void parse_tensors(Reporter& reporter, const Yaml& node, Span owner, const AxisNames& names,
                   const Resolve& resolve, Hints& hints) {
  for_each_entry(reporter, node, owner, "a map of 'tensor: [axis per dimension]'", "the sharding of",
                 [&](const Named& key, const Yaml& item) {
                   const std::vector<InnerValue> targets = resolve(key);
                   const std::optional<Sharding> sharding = parse_sharding(reporter, item, key.span, names);
                   if (!sharding) return;
                   for (const InnerValue& target : targets) {
                     if (target.rank == sharding->dims.size()) {
                       hints.tensors.insert_or_assign(target.name, *sharding);
                       continue;
                     }
                     reporter.error(
                         item.span,
                         fmt::format("'{}' has {} dimension{}, its sharding {}", key.name, target.rank,
                                     target.rank == 1 ? "" : "s", sharding->dims.size()),
                         "write _ for a dimension that is not split");
                   }
                 });
}

// One group: at least two tensors of one rank.
void parse_group(Reporter& reporter, const Yaml& node, Span owner, const Resolve& resolve,
                 Constraints& constraints) {
  std::vector<std::string> group;
  std::optional<InnerValue> first;
  for (const Named& name : parse_names(reporter, node, owner, "the name of a tensor"))
    for (const InnerValue& value : resolve(name)) {
      if (first && first->rank != value.rank)
        reporter.error(name.span,
                       fmt::format("'{}' has {} dimension{}, and '{}' has {}", name.name, value.rank,
                                   value.rank == 1 ? "" : "s", first->name, first->rank),
                       "what is split alike has as many dimensions");
      if (!first) first = value;
      group.push_back(value.name);
    }
  if (node.kind == Yaml::Kind::List && node.items.size() < 2)
    reporter.error(node.span, "a group of tensors that are split alike has at least two");
  constraints.alike.push_back(std::move(group));
}

void parse_barrier(Reporter& reporter, const Named& key, const Yaml& item, const Resolve& resolve,
                   Constraints& constraints) {
  const std::vector<InnerValue> targets = resolve(key);
  if (!expect(reporter, item, Yaml::Kind::Scalar, key.span, "forward, backward or both")) return;
  std::vector<std::string> known;
  for (Barrier barrier : {Barrier::Forward, Barrier::Backward, Barrier::Both}) {
    known.emplace_back(name_of(barrier));
    if (item.text != known.back()) continue;
    for (const InnerValue& target : targets) constraints.barriers.emplace(target.name, barrier);
    return;
  }
  reporter.error(item.span, fmt::format("expected forward, backward or both, found {}", quoted(item.text)),
                 did_you_mean(item.text, known));
}

std::vector<std::string> expectation_keys() {
  std::vector<std::string> keys;
  for (std::string_view collective :
       {"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "permute", "halo"})
    for (std::string_view unit : {"", "_bytes"}) keys.push_back(fmt::format("{}{}", collective, unit));
  return keys;
}

// "forward", "backward" or, where nothing follows or "step" does, the whole step.
bool parse_phase(Parser& parser, Expectation& expectation) {
  const std::optional<Token> word = parser.name("forward, backward or step");
  if (!word) return false;
  if (word->text == "forward") {
    expectation.phase = Phase::Forward;
  } else if (word->text == "backward") {
    expectation.phase = Phase::Backward;
  } else if (word->text != "step") {
    parser.fail(word->span, fmt::format("expected forward, backward or step, found {}", quoted(word->text)),
                did_you_mean(word->text, {"forward", "backward", "step"}));
    return false;
  }
  return true;
}

bool parse_scope(Reporter& reporter, Parser& parser, Expectation& expectation,
                 const std::vector<std::string>* repeated) {
  if (parser.at_end()) return true;
  const std::optional<Token> word = parser.name("'in forward', 'in backward', 'in step' or 'per BLOCK'");
  if (!word) return false;
  if (word->text == "in") return parse_phase(parser, expectation) && parser.finish();
  if (word->text != "per") {
    parser.fail(word->span, fmt::format("expected 'in' or 'per', found {}", quoted(word->text)),
                "write '<= 2 in forward' or '<= 2 per layer'");
    return false;
  }
  const std::optional<Token> block = parser.name("the name of a block that is repeated");
  if (!block) return false;
  expectation.block = block->text;
  if (repeated != nullptr && std::find(repeated->begin(), repeated->end(), block->text) == repeated->end())
    reporter.error(block->span, fmt::format("no repeat of a block {}", quoted(block->text)),
                   did_you_mean(block->text, *repeated));
  return (parser.at_end() || parse_phase(parser, expectation)) && parser.finish();
}

std::optional<Expectation> parse_expectation(Reporter& reporter, const Named& key, const Yaml& item,
                                             const std::vector<std::string>* repeated) {
  if (!expect(reporter, item, Yaml::Kind::Scalar, key.span, "an expectation like '<= 2 in forward'"))
    return std::nullopt;
  Expectation expectation;
  expectation.bytes = key.name.ends_with("_bytes");
  expectation.collective = key.name.substr(0, key.name.size() - (expectation.bytes ? 6 : 0));
  expectation.place = reporter.source().place(item.span);
  expectation.source_line = std::string(reporter.source().line(expectation.place.line));
  Parser parser(reporter, item);
  for (Relation relation :
       {Relation::AtMost, Relation::AtLeast, Relation::Less, Relation::More, Relation::Equal})
    if (parser.accept(name_of(relation))) {
      expectation.relation = relation;
      break;
    }
  const std::optional<std::int64_t> limit = parser.integer("<, <=, ==, >= or > and a whole number");
  if (!limit || !parse_scope(reporter, parser, expectation, repeated)) return std::nullopt;
  expectation.limit = *limit;
  return expectation;
}

}  // namespace

Constraints parse_constraints(Reporter& reporter, const Fields& fields, const Resolve& resolve) {
  Constraints constraints;
  if (const Yaml* alike = fields.get("alike");
      alike != nullptr && expect(reporter, *alike, Yaml::Kind::List, fields.key_span("alike"),
                                 "a list of groups, like [[wq, wk, wv]]"))
    for (const Yaml& group : alike->items)
      parse_group(reporter, group, fields.key_span("alike"), resolve, constraints);
  if (const Yaml* barriers = fields.get("barriers"))
    for_each_entry(reporter, *barriers, fields.key_span("barriers"),
                   "a map of 'tensor: forward, backward or both'", "the barrier of",
                   [&](const Named& key, const Yaml& item) {
                     parse_barrier(reporter, key, item, resolve, constraints);
                   });
  if (const Yaml* strict = fields.get("explicit");
      strict != nullptr &&
      expect(reporter, *strict, Yaml::Kind::Scalar, fields.key_span("explicit"), "true or false")) {
    constraints.explicit_reshards = strict->text == "true";
    if (strict->text != "true" && strict->text != "false")
      reporter.error(strict->span, fmt::format("expected true or false, found {}", quoted(strict->text)));
  }
  return constraints;
}

Hints parse_hints(Reporter& reporter, const Dims& dims, bool trains, const Yaml& node, Span owner,
                  const Resolve& resolve) {
  Hints hints;
  const Fields fields(
      reporter, node, owner, "sharding",
      {"mesh!", "meshes", "rules", "gradients", "states", "tensors", "alike", "barriers", "explicit"});
  const Yaml* mesh = fields.get("mesh");
  if (mesh == nullptr) return hints;
  hints.mesh = parse_mesh(reporter, *mesh, fields.key_span("mesh"));
  AxisNames names(hints.mesh);
  bool clear = true;  // else what names axes is not judged
  if (const Yaml* meshes = fields.get("meshes"))
    clear = parse_meshes(reporter, *meshes, fields.key_span("meshes"), names);
  const std::pair<std::string_view, DimRules*> sections[] = {
      {"rules", &hints.rules}, {"gradients", &hints.gradients}, {"states", &hints.states}};
  for (const auto& [section, rules] : sections) {
    const Yaml* given = fields.get(section);
    const bool training = rules != &hints.rules;
    if (given != nullptr && training && !trains)
      reporter.error(fields.key_span(section), fmt::format("without 'train' there are no {}", section),
                     "rules speak of inputs and parameters");
    else if (given != nullptr && clear)
      parse_rules(reporter, dims, *given, fields.key_span(section), names, training, *rules);
  }
  if (const Yaml* tensors = fields.get("tensors"); tensors != nullptr && clear)
    parse_tensors(reporter, *tensors, fields.key_span("tensors"), names, resolve, hints);
  hints.constraints = parse_constraints(reporter, fields, resolve);
  return hints;
}

std::vector<Expectation> parse_expectations(Reporter& reporter, const Yaml& node, Span owner,
                                            const std::vector<std::string>* repeated) {
  std::vector<Expectation> all;
  const std::vector<std::string> known = expectation_keys();
  for_each_entry(reporter, node, owner, "a map like 'all_reduce: <= 2 per layer'", "the expectation of",
                 [&](const Named& key, const Yaml& item) {
                   if (std::find(known.begin(), known.end(), key.name) == known.end())
                     return reporter.error(key.span, fmt::format("unknown collective {}", quoted(key.name)),
                                           did_you_mean(key.name, known));
                   std::vector<const Yaml*> items = {&item};
                   if (item.kind == Yaml::Kind::List) {
                     items.clear();
                     for (const Yaml& one : item.items) items.push_back(&one);
                   }
                   for (const Yaml* one : items)
                     if (auto expectation = parse_expectation(reporter, key, *one, repeated))
                       all.push_back(std::move(*expectation));
                 });
  return all;
}

}  // namespace shardc::frontend
