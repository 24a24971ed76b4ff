#include "frontend/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/cluster_text.h"
#include "frontend/expression.h"
#include "frontend/quantity.h"
#include "frontend/yaml_text.h"
#include "ir/graph.h"

namespace shardc::frontend {
namespace {

constexpr std::int64_t kMaxDevices = std::int64_t{1} << 24;
constexpr double kMaxMemory = 0x1p60;

class ClusterReader {
 public:
  explicit ClusterReader(Reporter& reporter) : reporter_(reporter) {}

  Cluster read(const Yaml& root, Span owner) {
    Cluster cluster;
    const Fields fields(reporter_, root, owner, "a cluster",
                        {"cluster!", "device", "topology", "groups", "links"});
    cluster.name = text(fields, "cluster");
    if (const Yaml* groups = fields.get("groups")) {
      for (std::string_view key : {"device", "topology"})
        if (fields.get(key) != nullptr)
          reporter_.error(fields.key_span(key), fmt::format("a cluster has either '{}' or 'groups'", key),
                          "with groups, each group has its own");
      read_groups(*groups, fields.key_span("groups"), cluster);
      if (const Yaml* links = fields.get("links")) read_links(*links, fields.key_span("links"), cluster);
      check_links(fields.key_span("groups"), cluster);
      return cluster;
    }
    if (fields.get("links") != nullptr)
      reporter_.error(fields.key_span("links"), "links join groups, and there are none", "add 'groups'");
    if (root.kind == Yaml::Kind::Map && fields.get("device") == nullptr)
      reporter_.error(owner, "a cluster needs 'device' and 'topology', or 'groups'");
    cluster.device = read_device(fields);
    cluster.topology = read_topology(fields);
    return cluster;
  }

 private:
  std::string text(const Fields& fields, std::string_view key) {
    const Yaml* node = fields.get(key);
    if (node == nullptr || !expect(reporter_, *node, Yaml::Kind::Scalar, fields.key_span(key), "a name"))
      return "";
    return node->text;
  }

  double quantity(const Fields& fields, std::string_view key, Measure measure, double absent = 0) {
    const Yaml* node = fields.get(key);
    if (node == nullptr) return absent;
    return parse_quantity(reporter_, *node, fields.key_span(key), measure).value_or(absent);
  }

  std::int64_t count(const Fields& fields, std::string_view key, std::string_view what) {
    const Yaml* node = fields.get(key);
    if (node == nullptr) return 1;
    if (!expect(reporter_, *node, Yaml::Kind::Scalar, fields.key_span(key), what)) return 1;
    Parser parser(reporter_, *node);
    const std::optional<std::int64_t> value = parser.integer(what);
    if (!value || !parser.finish()) return 1;
    if (*value >= 1 && *value <= kMaxDevices) return *value;
    reporter_.error(node->span, fmt::format("{} must be from 1 to {}, not {}", what, kMaxDevices, *value));
    return 1;
  }

  Device read_device(const Fields& owner) {
    Device device;
    const Yaml* node = owner.get("device");
    if (node == nullptr) return device;
    const Fields fields(reporter_, *node, owner.key_span("device"), "a device",
                        {"name", "memory!", "bandwidth!", "flops!", "efficiency", "memory_efficiency",
                         "vector", "row", "launch", "dispatch", "call", "ramp", "cache", "host"});
    device.name = text(fields, "name");
    device.memory = read_memory(fields, "a device");
    device.bandwidth = quantity(fields, "bandwidth", Measure::BytesPerSecond);
    if (const Yaml* flops = fields.get("flops")) read_flops(*flops, fields.key_span("flops"), device);
    device.efficiency = quantity(fields, "efficiency", Measure::Fraction, 1);
    device.memory_efficiency = quantity(fields, "memory_efficiency", Measure::Fraction, 1);
    device.vector = quantity(fields, "vector", Measure::FlopsPerSecond);
    device.row = quantity(fields, "row", Measure::Seconds);
    device.launch = quantity(fields, "launch", Measure::Seconds, device.launch);
    device.dispatch = quantity(fields, "dispatch", Measure::Seconds);
    device.call = quantity(fields, "call", Measure::Seconds);
    device.ramp = read_ramp(fields);
    device.cache = read_cache(fields);
    device.host = read_host(fields);
    return device;
  }

  std::int64_t read_memory(const Fields& fields, std::string_view what) {
    const double memory = quantity(fields, "memory", Measure::Bytes);
    if (memory <= kMaxMemory) return static_cast<std::int64_t>(memory);
    reporter_.error(fields.get("memory")->span, fmt::format("{} with more than 2^60 bytes", what));
    return 0;
  }

  Ramp read_ramp(const Fields& owner) {
    const Yaml* node = owner.get("ramp");
    if (node == nullptr) return {};
    const Fields fields(reporter_, *node, owner.key_span("ramp"), "a ramp", {"flops", "bytes", "width"});
    return {quantity(fields, "flops", Measure::Count), quantity(fields, "bytes", Measure::Bytes),
            quantity(fields, "width", Measure::Count)};
  }

  Cache read_cache(const Fields& owner) {
    const Yaml* node = owner.get("cache");
    if (node == nullptr) return {};
    const Fields fields(reporter_, *node, owner.key_span("cache"), "a cache", {"size!", "bandwidth!"});
    return {quantity(fields, "size", Measure::Bytes), quantity(fields, "bandwidth", Measure::BytesPerSecond)};
  }

  Speeds read_speeds(const Fields& owner) {
    Speeds speeds;
    const Yaml* node = owner.get("speeds");
    if (node == nullptr) return speeds;
    const Fields fields(reporter_, *node, owner.key_span("speeds"), "speeds",
                        {"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "permute", "halo"});
    for (std::size_t kind = 0; kind < speeds.of.size(); ++kind)
      speeds.of[kind] = quantity(fields, name_of(static_cast<Collective::Kind>(kind)), Measure::Count, 1);
    return speeds;
  }

  Host read_host(const Fields& owner) {
    const Yaml* node = owner.get("host");
    if (node == nullptr) return {};
    const Fields fields(reporter_, *node, owner.key_span("host"), "a host", {"memory!", "bandwidth!"});
    return {read_memory(fields, "a host"), quantity(fields, "bandwidth", Measure::BytesPerSecond)};
  }

  void read_flops(const Yaml& node, Span owner, Device& device) {
    if (!expect(reporter_, node, Yaml::Kind::Map, owner, "a map of types, like {f32: 67e12, bf16: 989e12}"))
      return;
    refuse_duplicates(reporter_, node, "type");
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const Yaml& key = node.keys[i];
      const std::optional<DType> dtype = dtype_named(key.text);
      if (!dtype || kind_of(*dtype) != Kind::Float) {
        reporter_.error(key.span, fmt::format("unknown floating-point type {}", quoted(key.text)),
                        "types: f32, bf16, f16");
        continue;
      }
      const auto value = parse_quantity(reporter_, node.items[i], key.span, Measure::FlopsPerSecond);
      if (value) device.flops[*dtype] = *value;
    }
    if (node.items.empty())
      reporter_.error(node.span, "flops names no type", "for example {f32: 67e12, bf16: 989e12}");
  }

  std::vector<Level> read_topology(const Fields& owner) {
    std::vector<Level> levels;
    const Yaml* node = owner.get("topology");
    if (node == nullptr) return levels;
    const Span key = owner.key_span("topology");
    if (!expect(reporter_, *node, Yaml::Kind::List, key, "a list of levels, innermost first")) return levels;
    std::int64_t devices = 1;
    for (const Yaml& item : node->items) {
      if (reporter_.full()) break;
      const Fields fields(
          reporter_, item, item.span, "a level",
          {"name!", "size!", "bandwidth!", "latency!", "start", "cache", "speeds", "overlap"});
      Level level{text(fields, "name"),
                  count(fields, "size", "a size, a whole number"),
                  quantity(fields, "bandwidth", Measure::BytesPerSecond),
                  quantity(fields, "latency", Measure::Seconds),
                  quantity(fields, "start", Measure::Seconds),
                  read_cache(fields),
                  read_speeds(fields),
                  quantity(fields, "overlap", Measure::Fraction)};
      if (std::any_of(levels.begin(), levels.end(), [&](const Level& l) { return l.name == level.name; }) &&
          fields.get("name"))
        reporter_.error(fields.get("name")->span, fmt::format("level {} is given twice", quoted(level.name)));
      if (devices > kMaxDevices / level.size) {
        reporter_.error(item.span, fmt::format("a cluster of more than {} devices", kMaxDevices));
        break;
      }
      devices *= level.size;
      levels.push_back(std::move(level));
    }
    return levels;
  }

  void read_groups(const Yaml& node, Span owner, Cluster& cluster) {
    if (!expect(reporter_, node, Yaml::Kind::List, owner, "a list of groups")) return;
    if (node.items.empty()) reporter_.error(node.span, "a cluster without groups");
    std::int64_t devices = 0;
    for (const Yaml& item : node.items) {
      if (reporter_.full()) break;
      const Fields fields(reporter_, item, item.span, "a group", {"name!", "count", "device!", "topology"});
      DeviceGroup group{text(fields, "name"), count(fields, "count", "a count, a whole number"),
                        read_device(fields), read_topology(fields)};
      if (find(cluster, group.name))
        reporter_.error(fields.get("name")->span, fmt::format("group {} is given twice", quoted(group.name)));
      devices += std::min(group.devices(), kMaxDevices + 1);
      if (devices > kMaxDevices) {
        reporter_.error(item.span, fmt::format("a cluster of more than {} devices", kMaxDevices));
        break;
      }
      cluster.groups.push_back(std::move(group));
    }
  }

  static std::optional<std::size_t> find(const Cluster& cluster, std::string_view name) {
    const auto it = std::find_if(cluster.groups.begin(), cluster.groups.end(),
                                 [&](const DeviceGroup& g) { return g.name == name; });
    return it == cluster.groups.end() ? std::nullopt
                                      : std::optional(static_cast<std::size_t>(it - cluster.groups.begin()));
  }

  void read_links(const Yaml& node, Span owner, Cluster& cluster) {
    if (!expect(reporter_, node, Yaml::Kind::List, owner, "a list of links")) return;
    for (const Yaml& item : node.items) {
      if (reporter_.full()) break;
      const Fields fields(reporter_, item, item.span, "a link", {"between!", "bandwidth!", "latency!"});
      GroupLink link{0, 0, quantity(fields, "bandwidth", Measure::BytesPerSecond),
                     quantity(fields, "latency", Measure::Seconds)};
      const Yaml* between = fields.get("between");
      if (between == nullptr || !read_ends(*between, fields.key_span("between"), cluster, link)) continue;
      if (std::any_of(cluster.links.begin(), cluster.links.end(),
                      [&](const GroupLink& l) { return l.from == link.from && l.to == link.to; }))
        reporter_.error(between->span, "this link is given twice");
      cluster.links.push_back(link);
    }
  }

  bool read_ends(const Yaml& node, Span owner, const Cluster& cluster, GroupLink& link) {
    if (!expect(reporter_, node, Yaml::Kind::List, owner, "the names of two groups")) return false;
    std::vector<std::string> known;
    for (const DeviceGroup& group : cluster.groups) known.push_back(group.name);
    std::vector<std::size_t> ends;
    for (const Yaml& item : node.items) {
      if (!expect(reporter_, item, Yaml::Kind::Scalar, node.span, "the name of a group")) return false;
      const std::optional<std::size_t> end = find(cluster, item.text);
      if (end)
        ends.push_back(*end);
      else
        reporter_.error(item.span, fmt::format("unknown group {}", quoted(item.text)),
                        did_you_mean(item.text, known));
    }
    if (ends.size() != node.items.size()) return false;
    if (ends.size() != 2)
      reporter_.error(node.span, fmt::format("a link joins two groups, not {}", ends.size()));
    if (ends.size() != 2) return false;
    link.from = std::min(ends[0], ends[1]);
    link.to = std::max(ends[0], ends[1]);
    return true;
  }

  // Every group, and every copy of it, can be reached from every other.
  void check_links(Span groups, const Cluster& cluster) {
    if (reporter_.failed()) return;
    std::vector<bool> reached(cluster.groups.size());
    reached[0] = true;
    for (std::size_t round = 0; round < cluster.groups.size(); ++round)
      for (const GroupLink& link : cluster.links)
        if (reached[link.from] || reached[link.to]) reached[link.from] = reached[link.to] = true;
    for (std::size_t g = 0; g < cluster.groups.size(); ++g) {
      const DeviceGroup& group = cluster.groups[g];
      if (!reached[g])
        reporter_.error(groups, fmt::format("no link leads to group '{}'", group.name),
                        fmt::format("add {{between: [{}, {}], bandwidth: ..., latency: ...}} to 'links'",
                                    cluster.groups[0].name, group.name));
      const bool joined = std::any_of(cluster.links.begin(), cluster.links.end(),
                                      [&](const GroupLink& l) { return l.from == g && l.to == g; });
      if (group.count > 1 && !joined)
        reporter_.error(groups, fmt::format("no link joins the {} groups '{}'", group.count, group.name),
                        fmt::format("add {{between: [{}, {}], bandwidth: ..., latency: ...}} to 'links'",
                                    group.name, group.name));
    }
  }

  Reporter& reporter_;
};

// "name: value, ..." of what differs from the default.
class Entries {
 public:
  Entries& add(std::string_view key, const std::string& value) {
    text_ += fmt::format("{}{}: {}", text_.empty() ? "" : ", ", key, value);
    return *this;
  }
  template <class T, class Print>
  Entries& add(std::string_view key, const T& value, const T& absent, Print print) {
    return value == absent ? *this : add(key, print(value));
  }
  std::string braces() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

std::string plain(double value) { return fmt::format("{}", value); }
std::string print_size(double bytes) { return print_bytes(bytes); }

std::string print(const Ramp& ramp) {
  return Entries()
      .add("flops", ramp.flops, 0.0, plain)
      .add("bytes", ramp.bytes, 0.0, print_size)
      .add("width", ramp.width, 0.0, plain)
      .braces();
}

std::string print(const Cache& cache) {
  return Entries()
      .add("size", print_bytes(cache.size))
      .add("bandwidth", print_bandwidth(cache.bandwidth))
      .braces();
}

std::string print(const Speeds& speeds) {
  Entries entries;
  for (std::size_t kind = 0; kind < speeds.of.size(); ++kind)
    entries.add(name_of(static_cast<Collective::Kind>(kind)), speeds.of[kind], 1.0, plain);
  return entries.braces();
}

std::string print(const Host& host) {
  return Entries()
      .add("memory", print_bytes(host.memory))
      .add("bandwidth", print_bandwidth(host.bandwidth))
      .braces();
}

std::string print(const Device& device) {
  const Device absent;
  Entries flops;
  for (const auto& [dtype, rate] : device.flops) flops.add(name_of(dtype), plain(rate));
  return Entries()
      .add("name", device.name, absent.name, yaml_scalar)
      .add("memory", print_bytes(device.memory))
      .add("bandwidth", print_bandwidth(device.bandwidth))
      .add("flops", flops.braces())
      .add("efficiency", device.efficiency, absent.efficiency, plain)
      .add("memory_efficiency", device.memory_efficiency, absent.memory_efficiency, plain)
      .add("vector", device.vector, absent.vector, plain)
      .add("row", device.row, absent.row, print_seconds)
      .add("launch", device.launch, absent.launch, print_seconds)
      .add("dispatch", device.dispatch, absent.dispatch, print_seconds)
      .add("call", device.call, absent.call, print_seconds)
      .add("ramp", device.ramp, absent.ramp, [](const Ramp& ramp) { return print(ramp); })
      .add("cache", device.cache, absent.cache, [](const Cache& cache) { return print(cache); })
      .add("host", device.host, absent.host, [](const Host& host) { return print(host); })
      .braces();
}

std::string print(const Level& level) {
  return Entries()
      .add("name", yaml_scalar(level.name))
      .add("size", fmt::format("{}", level.size))
      .add("bandwidth", print_bandwidth(level.bandwidth))
      .add("latency", print_seconds(level.latency))
      .add("start", level.start, 0.0, print_seconds)
      .add("cache", level.cache, Cache{}, [](const Cache& cache) { return print(cache); })
      .add("speeds", level.speeds, Speeds{}, [](const Speeds& speeds) { return print(speeds); })
      .add("overlap", level.overlap, 0.0, plain)
      .braces();
}

std::string print_topology(const std::vector<Level>& topology, const std::string& indent) {
  if (topology.empty()) return "";
  std::string out = indent + "topology:\n";
  for (const Level& level : topology) out += fmt::format("{}  - {}\n", indent, print(level));
  return out;
}

}  // namespace

Cluster read_cluster(Reporter& reporter, const Yaml& node, Span owner) {
  return ClusterReader(reporter).read(node, owner);
}

std::string print_cluster(const Cluster& cluster, int indent) {
  const std::string in(static_cast<std::size_t>(indent), ' ');
  std::string out = fmt::format("{}cluster: {}\n", in, yaml_scalar(cluster.name));
  if (cluster.groups.empty())
    return out + fmt::format("{}device: {}\n", in, print(cluster.device)) +
           print_topology(cluster.topology, in);
  out += in + "groups:\n";
  for (const DeviceGroup& group : cluster.groups) {
    out += fmt::format("{}  - name: {}\n{}    count: {}\n{}    device: {}\n", in, yaml_scalar(group.name), in,
                       group.count, in, print(group.device));
    out += print_topology(group.topology, in + "    ");
  }
  if (!cluster.links.empty()) out += in + "links:\n";
  for (const GroupLink& link : cluster.links)
    out += fmt::format("{}  - {{between: [{}, {}], bandwidth: {}, latency: {}}}\n", in,
                       yaml_scalar(cluster.groups[link.from].name), yaml_scalar(cluster.groups[link.to].name),
                       print_bandwidth(link.bandwidth), print_seconds(link.latency));
  return out;
}

std::string print(const Cluster& cluster) { return print_cluster(cluster, 0); }

Result<Cluster> parse_cluster(std::string_view text, const std::string& file) {
  TRY(const Document document, read_document(text, file));
  return read_with(document,
                   [&](Reporter& reporter) { return read_cluster(reporter, document.root, {0, 1}); });
}

Result<Cluster> load_cluster(const std::string& path) {
  TRY(const std::string text, read_text(path));
  return parse_cluster(text, path);
}

}  // namespace shardc::frontend
