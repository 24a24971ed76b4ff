#include "ir/json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ir/spelling.h"

namespace shardc {
namespace {

using Json = nlohmann::ordered_json;

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(spell_float(value)); }

Json attr_json(const Attr& attr) {
  struct Visitor {
    Json operator()(Attr::None) const { return nullptr; }
    Json operator()(bool b) const { return b; }
    Json operator()(std::int64_t i) const { return i; }
    Json operator()(double d) const { return number_json(d); }
    Json operator()(const std::string& s) const { return s; }
    Json operator()(const AttrList& list) const {
      Json array = Json::array();
      for (const Attr& item : list) array.push_back(attr_json(item));
      return array;
    }
  };
  return std::visit(Visitor{}, attr.value);
}

class GraphJson {
 public:
  GraphJson(const Graph& graph, const Mesh* mesh) : graph_(graph), mesh_(mesh) {}

  Json graph() const {
    Json json;
    if (mesh_ != nullptr) json["mesh"] = mesh();
    return body(std::move(json));
  }

 private:
  Json body(Json json) const {
    json["name"] = graph_.name;
    json["args"] = list(graph_.args);
    json["values"] = list(graph_.values);
    json["nodes"] = list(graph_.nodes);
    json["outputs"] = list(graph_.outputs);
    return json;
  }

  template <class T>
  Json list(const std::vector<T>& items) const {
    Json array = Json::array();
    for (const T& item : items) array.push_back(json_of(item));
    return array;
  }

  Json mesh() const {
    Json array = Json::array();
    for (const Axis& axis : mesh_->axes) array.push_back({{"name", axis.name}, {"size", axis.size}});
    return array;
  }

  Json axes_json(const Axes& axes) const {
    Json array = Json::array();
    for (const AxisRef& axis : axes) array.push_back(to_string(*mesh_, Axes{axis}));
    return array;
  }

  Json json_of(ValueId value) const { return graph_[value].name; }

  Json json_of(const Value& value) const {
    Json json = {{"name", value.name}, {"dtype", name_of(value.type.dtype)}, {"shape", value.type.shape}};
    if (mesh_ == nullptr || value.sharding == Sharding{}) return json;
    Json dims = Json::array();
    for (const DimSharding& dim : value.sharding.dims)
      dims.push_back({{"axes", axes_json(dim.axes)}, {"open", dim.open}});
    for (std::size_t d = 0; d < dims.size(); ++d) {
      const DimSharding& dim = value.sharding.dims[d];
      if (dim.before != 0 || dim.after != 0) dims[d]["halo"] = {dim.before, dim.after};
    }
    json["sharding"] = {{"dims", std::move(dims)},
                        {"replicated", axes_json(value.sharding.replicated)},
                        {"partial", axes_json(value.sharding.partial)},
                        {"pending", name_of(value.sharding.pending)}};
    return json;
  }

  Json json_of(const Arg& arg) const {
    static constexpr std::array<std::string_view, 4> kRoles = {"input", "param", "state", "body"};
    Json json = {{"value", json_of(arg.value)}, {"role", kRoles[static_cast<std::size_t>(arg.role)]}};
    if (arg.role == Arg::Role::Param || arg.role == Arg::Role::State) json["init"] = to_string(arg.init);
    if (arg.bound != 0) json["bound"] = arg.bound;
    const bool named =
        std::any_of(arg.dims.begin(), arg.dims.end(), [](const auto& d) { return !d.empty(); });
    if (named) json["dims"] = arg.dims;
    return json;
  }

  Json json_of(const Output& output) const {
    static constexpr std::array<std::string_view, 3> kRoles = {"result", "gradient", "update"};
    Json json = {{"name", output.name},
                 {"value", json_of(output.value)},
                 {"role", kRoles[static_cast<std::size_t>(output.role)]}};
    if (output.of >= 0) json["of"] = json_of(graph_.args.at(static_cast<std::size_t>(output.of)).value);
    return json;
  }

  Json json_of(const Node& node) const {
    static constexpr std::array<std::string_view, 7> kKinds = {"call", "nest",  "repeat",   "collective",
                                                               "wait", "sweep", "attention"};
    Json json = {{"kind", kKinds[node.op.index()]},
                 {"operands", list(node.operands)},
                 {"results", list(node.results)}};
    std::visit([&](const auto& op) { add(json, node, op); }, node.op);
    return json;
  }

  void add(Json& json, const Node&, const Call& call) const {
    json["op"] = call.op;
    json["attrs"] = Json::object();
    for (const auto& [name, attr] : call.attrs) json["attrs"][name] = attr_json(attr);
  }

  void add(Json& json, const Node& node, const LoopNest& nest) const {
    json["factors"] = Json::array();
    for (const Factor& factor : nest.factors) {
      json["factors"].push_back({{"name", factor.name}, {"size", factor.size}});
      if (mesh_ != nullptr) json["factors"].back()["axes"] = axes_json(factor.axes);
    }
    json["inputs"] = Json::array();
    for (const Access& access : nest.inputs) json["inputs"].push_back(access_json(nest, access));
    json["output"] = access_json(nest, nest.output);
    json["combine"] = name_of(nest.combine);
    std::vector<std::string> names;
    for (ValueId operand : node.operands) names.push_back(graph_[operand].name);
    json["body"] = spell_body(nest, names);
  }

  static Json access_json(const LoopNest& nest, const Access& access) {
    Json dims = Json::array();
    for (const Affine& dim : access) {
      Json terms = Json::array();
      for (const Term& term : dim.terms)
        terms.push_back(Json::array({nest[term.factor].name, term.coefficient}));
      dims.push_back({{"offset", dim.offset}, {"terms", std::move(terms)}});
    }
    return dims;
  }

  void add(Json& json, const Node&, const Repeat& repeat) const {
    json["times"] = repeat.times;
    json["reverse"] = repeat.reverse;
    json["carried"] = repeat.carried;
    json["stacked"] = repeat.stacked;
    json["body"] = GraphJson(*repeat.body, mesh_).body(Json::object());
  }

  void add(Json& json, const Node&, const Collective& collective) const {
    json["op"] = name_of(collective.kind);
    json["axes"] = mesh_ == nullptr ? Json::array() : axes_json(collective.axes);
    json["combine"] = name_of(collective.combine);
    json["dim"] = collective.dim;
    json["to"] = collective.to;
    if (collective.start) json["start"] = true;
  }

  void add(Json&, const Node&, const Wait&) const {}

  void add(Json& json, const Node&, const Sweep& sweep) const {
    json["op"] = name_of(sweep.kind);
    json["dim"] = sweep.dim;
    json["reverse"] = sweep.reverse;
    json["count"] = sweep.count;
  }

  void add(Json& json, const Node&, const Attention& attention) const {
    json["op"] = name_of(attention.kind);
    json["scale"] = attention.scale;
    json["causal"] = attention.causal;
    json["window"] = attention.window;
    if (mesh_ == nullptr) return;
    json["batch"] = axes_json(attention.batch);
    json["heads"] = axes_json(attention.heads);
    json["queries"] = axes_json(attention.queries);
  }

  const Graph& graph_;
  const Mesh* mesh_;
};

// Names need not be UTF-8; JSON must be.
std::string text_of(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string print_json(const Graph& graph) { return text_of(GraphJson(graph, nullptr).graph()); }
std::string print_json(const Graph& graph, const Mesh& mesh) {
  return text_of(GraphJson(graph, &mesh).graph());
}
std::string print_json(const SpmdProgram& program) { return print_json(program.graph, program.mesh); }

}  // namespace shardc
