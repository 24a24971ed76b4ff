#include "frontend/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "frontend/binding.h"
#include "frontend/elaborate.h"
#include "frontend/hints.h"
#include "frontend/train.h"

namespace shardc::frontend {
namespace {

// Reads the sections in the order in which they depend on each other.
class ModelReader {
 public:
  ModelReader(Reporter& reporter, const Yaml& root, const Overrides& overrides)
      : reporter_(reporter),
        overrides_(overrides),
        fields_(reporter, root, {0, 1}, "a model",
                {"model!", "dims", "inputs", "params", "blocks", "graph!", "outputs!", "train", "sharding",
                 "expect"}),
        builder_(name()) {}

  Model read() {
    Model model;
    read_dims();
    read_blocks();
    read_inputs();
    read_params();
    read_graph();
    read_outputs();
    read_train(model.train);
    read_sharding(model.hints);
    read_expect(model.expect);
    model.graph = builder_.finish();
    return model;
  }

 private:
  // The section's node; null when it is absent.
  const Yaml* section(std::string_view key) const { return fields_.get(key); }

  std::string name() {
    const Yaml* node = section("model");
    if (node == nullptr || !expect(reporter_, *node, Yaml::Kind::Scalar, fields_.key_span("model"), "a name"))
      return "";
    const bool plain = std::all_of(node->text.begin(), node->text.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
             c == '-' || c == '.';
    });
    if (!plain || node->text.empty() || node->text.size() > 100)
      reporter_.error(node->span, fmt::format("a model cannot be called {}", quoted(node->text)),
                      "a model's name has letters, digits, '_', '-' and '.', at most 100");
    return node->text;
  }

  void read_dims() {
    Overrides left = overrides_;
    const Yaml* node = section("dims");
    if (node != nullptr &&
        expect(reporter_, *node, Yaml::Kind::Map, fields_.key_span("dims"), "a map of 'name: size'")) {
      refuse_duplicates(reporter_, *node, "dimension");
      for (std::size_t i = 0; i < node->items.size() && !reporter_.full(); ++i) {
        const Yaml& key = node->keys[i];
        if (!check_name(reporter_, {key.text, key.span}, "a dimension")) continue;
        const auto it = overrides_.find(key.text);
        dims_.emplace(key.text, it != overrides_.end() ? std::optional(it->second) : read_dim(*node, i));
        left.erase(key.text);
      }
    }
    for (const auto& [name, size] : left)
      override_errors_.push_back(error_at({"--set"},
                                          fmt::format("the model has no dimension {}", quoted(name)),
                                          did_you_mean(name, names_of(dims_))));
    for (const auto& [name, size] : overrides_)
      if (size < 1)
        override_errors_.push_back(
            error_at({"--set"}, fmt::format("dimension '{}' must be at least 1, not {}", name, size)));
  }

  std::optional<std::int64_t> read_dim(const Yaml& section, std::size_t i) {
    const Yaml& key = section.keys[i];
    if (!expect(reporter_, section.items[i], Yaml::Kind::Scalar, key.span, "a size")) return std::nullopt;
    const std::optional<Ast> ast = parse_expression(reporter_, section.items[i]);
    if (!ast || mentions_later(section, i, *ast)) return std::nullopt;
    return evaluate_integer(reporter_, dims_, *ast, 1, fmt::format("dimension '{}'", key.text));
  }

  // A dimension may be an expression of those above it; one of those below it is reported.
  bool mentions_later(const Yaml& section, std::size_t i, const Ast& ast) {
    bool found = false;
    for (const Ast& item : ast.items) found |= mentions_later(section, i, item);
    if (ast.kind != Ast::Kind::Name || dims_.contains(ast.text)) return found;
    for (std::size_t later = i; later < section.keys.size(); ++later) {
      if (section.keys[later].text != ast.text) continue;
      reporter_.error(ast.span, fmt::format("dimension '{}' is used before it is declared", ast.text),
                      "move it to the front");
      return true;
    }
    return found;
  }

  void read_blocks() {
    if (const Yaml* node = section("blocks"))
      blocks_ = parse_blocks(reporter_, dims_, *node, fields_.key_span("blocks"));
    for (const auto& [name, block] : blocks_)
      if (dims_.contains(name)) check_free(reporter_, dims_, {}, block.name, nullptr);
    resolve_uses(reporter_, dims_, blocks_);
  }

  void read_inputs() {
    const Yaml* node = section("inputs");
    if (node == nullptr) return;
    if (!expect(reporter_, *node, Yaml::Kind::Map, fields_.key_span("inputs"), "a map of 'name: type'"))
      return;
    for (std::size_t i = 0; i < node->items.size() && !reporter_.full(); ++i) {
      const Named name{node->keys[i].text, node->keys[i].span};
      if (!check_name(reporter_, name, "an input")) continue;
      std::optional<Declaration> declaration;
      if (expect(reporter_, node->items[i], Yaml::Kind::Scalar, name.span, "a type like f32[B, S]"))
        declaration = parse_declaration(reporter_, dims_, node->items[i], Declares::Input);
      if (define(reporter_, dims_, blocks_, scope_, name))
        scope_.names[name.name] = {add_arg(name, declaration, Arg::Role::Input), name.span};
    }
  }

  // The model's own parameters, then those of the blocks it uses.
  void read_params() {
    if (const Yaml* node = section("graph"))
      graph_ = parse_statements(reporter_, *node, fields_.key_span("graph"));
    uses_ = uses_in(reporter_, dims_, blocks_, graph_);
    std::vector<ParamDeclaration> params;
    if (const Yaml* node = section("params"))
      params = parse_params(reporter_, dims_, *node, fields_.key_span("params"));
    for (const ParamDeclaration& param : params)
      if (define(reporter_, dims_, blocks_, scope_, param.name))
        scope_.params[param.name.name] = {add_arg(param.name, param.declaration, Arg::Role::Param),
                                          param.name.span};
    for (const Use& use : uses_)
      for (const ParamSpec& spec : params_of(use))
        scope_.params[spec.name] = {add_arg({spec.name, use.span}, spec.declaration, Arg::Role::Param),
                                    spec.span};
  }

  std::optional<ValueId> add_arg(const Named& name, const std::optional<Declaration>& declaration,
                                 Arg::Role role) {
    if (!declaration || reporter_.full()) return std::nullopt;
    if (!add_bytes(declaration->type, bytes_)) {
      reporter_.error(name.span,
                      fmt::format("with '{}' of type {}, the tensors of the model exceed 2^60 bytes",
                                  name.name, to_string(declaration->type)));
      return std::nullopt;
    }
    Arg arg{.role = role};
    arg.init = declaration->init;
    arg.bound = declaration->bound;
    arg.dims = declaration->dims;
    return builder_.arg(std::move(arg), name.name, declaration->type);
  }

  void read_graph() {
    if (const Yaml* sharding = section("sharding"); sharding != nullptr && sharding->kind == Yaml::Kind::Map)
      for (std::size_t i = 0; i < sharding->keys.size(); ++i)
        if (sharding->keys[i].text == "mesh")  // what is wrong with it is reported once
          mesh_ = parse_mesh(reporter_, sharding->items[i], sharding->keys[i].span);
    scope_.mesh = mesh_ ? &*mesh_ : nullptr;
    scope_.trains = section("train") != nullptr;
    elaborate(reporter_, dims_, blocks_, uses_, graph_, builder_, scope_, bytes_);
  }

  // A name of the top level; null after a report, which proposes values of blocks where those would do.
  const Binding* find(const Named& name, bool inner = false) {
    if (const auto it = scope_.names.find(name.name); it != scope_.names.end()) return &it->second;
    if (const auto it = scope_.params.find(name.name); it != scope_.params.end()) return &it->second;
    std::vector<std::string> known;
    for (const auto& [key, binding] : scope_.names) known.push_back(key);
    for (const auto& [key, binding] : scope_.params) known.push_back(key);
    if (inner)
      for (const auto& [key, values] : scope_.inner) known.push_back(key);
    reporter_.error(name.span, fmt::format("unknown tensor {}", quoted(name.name)),
                    did_you_mean(name.name, known));
    return nullptr;
  }

  void read_outputs() {
    const Yaml* node = section("outputs");
    if (node == nullptr) return;
    for (const Named& name :
         parse_names(reporter_, *node, fields_.key_span("outputs"), "the name of a tensor")) {
      if (reporter_.full()) return;
      const Binding* binding = find(name);
      if (!outputs_.insert(name.name).second) {
        reporter_.error(name.span, fmt::format("output '{}' is given twice", name.name));
      } else if (binding != nullptr && binding->value) {
        builder_.output({.name = name.name, .value = *binding->value});
      }
    }
  }

  void read_train(Train& train) {
    const Yaml* node = section("train");
    if (node == nullptr) return;
    const TrainSection section = parse_train(reporter_, dims_, *node, fields_.key_span("train"));
    train = section.train;
    const Binding* loss = section.loss.name.empty() ? nullptr : find(section.loss);
    if (loss == nullptr || !loss->value) return;
    const Type& type = builder_.type(*loss->value);
    if (type.rank() != 0 || kind_of(type.dtype) != Kind::Float)
      reporter_.error(
          section.loss.span,
          fmt::format("the loss must be a scalar float, '{}' is {}", section.loss.name, to_string(type)),
          type.rank() > 0 ? fmt::format("take mean({})", section.loss.name) : "");
    else if (!outputs_.contains(section.loss.name))
      builder_.output({.name = section.loss.name, .value = *loss->value});
  }

  void read_sharding(Hints& hints) {
    if (const Yaml* node = section("sharding"))
      hints = parse_hints(reporter_, dims_, scope_.trains, *node, fields_.key_span("sharding"),
                          [&](const Named& name) { return values_called(name); });
    hints.manual = std::move(scope_.manual);
  }

  // The values that a hint means by a name: one, or one for each use of the block that it is in.
  std::vector<InnerValue> values_called(const Named& name) {
    if (scope_.manual_names.contains(name.name)) {
      reporter_.error(name.span,
                      fmt::format("'{}' is in a manual region, which says where it lies", name.name),
                      "say it of what the region takes and gives");
      return {};
    }
    if (const auto inner = scope_.inner.find(name.name); inner != scope_.inner.end()) return inner->second;
    const Binding* binding = find(name, /*inner=*/true);
    if (binding == nullptr || !binding->value) return {};
    const Value& value = builder_.peek()[*binding->value];
    return {{value.name, value.type.rank()}};
  }

  void read_expect(std::vector<Expectation>& expect) {
    const Yaml* node = section("expect");
    if (node == nullptr) return;
    std::vector<std::string> repeated;
    add_repeated(builder_.peek(), repeated);
    expect = parse_expectations(reporter_, *node, fields_.key_span("expect"), &repeated);
  }

  static void add_repeated(const Graph& graph, std::vector<std::string>& blocks) {
    for (const Node& node : graph.nodes)
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
        blocks.push_back(repeat->body->name);
        add_repeated(*repeat->body, blocks);
      }
  }

 public:
  Diagnostics override_errors_;

 private:
  Reporter& reporter_;
  const Overrides& overrides_;
  Fields fields_;
  Builder builder_;
  Dims dims_;
  Blocks blocks_;
  std::vector<Statement> graph_;
  std::vector<Use> uses_;
  Scope scope_;
  std::optional<Mesh> mesh_;  // as manual regions see it
  std::set<std::string, std::less<>> outputs_;
  std::int64_t bytes_ = 0;
};

}  // namespace

namespace {

Result<Model> read_model(const Document& document, const Overrides& dims) {
  Diagnostics override_errors;
  Result<Model> model = read_with(document, [&](Reporter& reporter) {
    ModelReader reader(reporter, document.root, dims);
    Model read = reader.read();
    override_errors = std::move(reader.override_errors_);
    return read;
  });
  if (override_errors.empty()) return model;
  if (!model) override_errors.insert(override_errors.end(), model.error().begin(), model.error().end());
  return override_errors;
}

// With microbatches the graph is that of one: the same model with its batch dimension, the leading one of
// every input, divided.
Result<Overrides> microbatch_dims(const Model& model, const std::string& file, Overrides dims) {
  const std::int64_t n = model.train.microbatches;
  std::string batch;
  for (const Arg& arg : model.graph.args) {
    if (arg.role != Arg::Role::Input) continue;
    const Value& value = model.graph[arg.value];
    const std::string name = arg.dims.empty() ? "" : arg.dims[0];
    if (name.empty() || (!batch.empty() && name != batch))
      return error_at(
          {file},
          fmt::format("microbatches cut the batch, but input '{}' is {}", value.name, to_string(value.type)),
          "give every input the same named leading dimension");
    batch = name;
    if (value.type.shape[0] % n != 0)
      return error_at(
          {file},
          fmt::format("{} microbatches do not divide the batch {} = {}", n, batch, value.type.shape[0]),
          "choose a divisor");
    dims.insert_or_assign(batch, value.type.shape[0] / n);
  }
  if (batch.empty()) return error_at({file}, "microbatches cut the batch, but the model has no inputs");
  return dims;
}

}  // namespace

Result<Model> parse_model(std::string_view text, const std::string& file, const Overrides& dims,
                          const TrainChoices& train) {
  TRY(const Document document, read_document(text, file));
  TRY(Model model, read_model(document, dims));
  const auto choose = [&](Train& section) {
    section.microbatches = train.microbatches.value_or(section.microbatches);
    section.recompute = train.recompute.value_or(section.recompute);
  };
  choose(model.train);
  if (model.train.microbatches == 1) return model;
  TRY(const Overrides smaller, microbatch_dims(model, file, dims));
  TRY(Model one, read_model(document, smaller));
  choose(one.train);
  return one;
}

Result<Model> load_model(const std::string& path, const Overrides& dims, const TrainChoices& train) {
  TRY(const std::string text, read_text(path));
  return parse_model(text, path, dims, train);
}

Result<Overrides> parse_overrides(std::string_view text) {
  const Source source("--set", std::string(text));
  TRY(const Done readable, check_text(source));
  static_cast<void>(readable);
  Reporter reporter(source);
  Parser parser(reporter);
  Overrides overrides;
  do {
    const std::optional<Token> name = parser.name("a dimension, like S=64");
    if (!name || !parser.require("=", "and a size")) break;
    const std::optional<std::int64_t> size = parser.integer("a size");
    if (size && !overrides.emplace(name->text, *size).second)
      reporter.error(name->span, fmt::format("dimension '{}' is given twice", name->text));
  } while (parser.accept(","));
  parser.finish();
  if (reporter.failed()) return std::move(reporter).finish();
  return overrides;
}

}  // namespace shardc::frontend
