#include "backends/predict/measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace tp::predict {
namespace {

using Json = nlohmann::ordered_json;

constexpr CollectiveKind kKinds[] = {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                     CollectiveKind::kReduceScatter, CollectiveKind::kBroadcast,
                                     CollectiveKind::kAllToAll};

std::optional<CollectiveKind> ParseKind(const std::string& name) {
  for (CollectiveKind kind : kKinds) {
    if (Name(kind) == name) return kind;
  }
  return std::nullopt;
}

// One entry: texts, then numbers above 0.
class Entry {
 public:
  Entry(const Json& json, size_t texts, size_t numbers) : json_(json), texts_(texts) {
    ok_ = json.is_array() && json.size() == texts + numbers;
    for (size_t i = 0; ok_ && i < json.size(); ++i) {
      ok_ = i < texts
                ? json[i].is_string()
                : json[i].is_number() && json[i].get<double>() > 0 && json[i].get<double>() < 1e18;
    }
  }
  bool ok() const { return ok_; }
  std::string Text(size_t i) const { return json_[i].get<std::string>(); }
  double Number(size_t i) const { return json_[texts_ + i].get<double>(); }
  int64_t Size(size_t i) const { return static_cast<int64_t>(Number(i)); }
  std::optional<DType> Type(size_t i) const { return ParseDType(Text(i)); }
  // "bf16", "bf16 nt", or "bf16 ntt".
  std::optional<MeasuredProduct> Product() const {
    const std::string text = Text(0);
    const size_t space = text.find(' ');
    const std::optional<DType> dtype = ParseDType(text.substr(0, space));
    const std::string turned = space == std::string::npos ? "nn" : text.substr(space + 1);
    const auto known = [](char c) { return c == 'n' || c == 't'; };
    if (!dtype || turned.size() < 2 || turned.size() > 3 || !std::ranges::all_of(turned, known)) {
      return std::nullopt;
    }
    const ProductShape shape = {.m = Size(0),
                                .n = Size(1),
                                .k = Size(2),
                                .a_turned = turned[0] == 't',
                                .b_turned = turned[1] == 't',
                                .c_turned = turned.size() == 3 && turned[2] == 't'};
    if (shape.m < 1 || shape.n < 1 || shape.k < 1) return std::nullopt;
    return MeasuredProduct{*dtype, shape, Number(3)};
  }

 private:
  const Json& json_;
  const size_t texts_;
  bool ok_ = false;
};

// Calls read(entry) for each entry of the list `key`; false: it is not one.
template <typename Read>
Status ReadList(const Json& json, const char* key, size_t texts, size_t numbers,
                const std::string& name, const Read& read) {
  if (!json.contains(key)) return OkStatus();
  const Json& list = json[key];
  if (!list.is_array()) return InvalidArgument(name + ".fit." + key + ": must be a list");
  for (size_t i = 0; i < list.size(); ++i) {
    const Entry entry(list[i], texts, numbers);
    if (!entry.ok() || !read(entry)) {
      return InvalidArgument(fmt::format("{}.fit.{}[{}]: {} is no such measurement", name, key, i,
                                         list[i].dump().substr(0, 80)));
    }
  }
  return OkStatus();
}

// Something near 1, or absent.
Status ReadPart(const Json& json, const char* key, double least, const std::string& name,
                double& value) {
  if (!json.contains(key)) return OkStatus();
  if (json[key].is_number()) value = json[key].get<double>();
  constexpr double kMost = 1000;
  if (json[key].is_number() && value >= least && value <= kMost) return OkStatus();
  return InvalidArgument(fmt::format("{}.fit.{}: {} must be a number from {} to {}", name, key,
                                     json[key].dump().substr(0, 80), least, kMost));
}

Status ReadParameters(const Json& json, const std::string& name, Measurements& read) {
  if (!json.contains("product_parameters")) return OkStatus();
  const Json& all = json["product_parameters"];
  const Status bad = InvalidArgument(name + ".fit.product_parameters: must be lists of numbers");
  if (!all.is_object()) return bad;
  for (const auto& [key, list] : all.items()) {
    const std::optional<DType> dtype = ParseDType(key);
    if (!dtype || !list.is_array()) return bad;
    for (const Json& value : list) {
      if (!value.is_number()) return bad;
      read.product_parameters[*dtype].push_back(value.get<double>());
    }
  }
  return OkStatus();
}

// " nt", " ntt", or nothing where all is as it comes.
std::string Turned(const ProductShape& shape) {
  if (!shape.a_turned && !shape.b_turned && !shape.c_turned) return "";
  return fmt::format(" {}{}{}", shape.a_turned ? 't' : 'n', shape.b_turned ? 't' : 'n',
                     shape.c_turned ? "t" : "");
}

Json ToObject(const Measurements& m) {
  Json json = {{"when", m.when}, {"where", m.where}, {"repeat_floor", m.repeat_floor}};
  Json products = Json::array(), ops = Json::array(), collectives = Json::array(),
       steps = Json::array(), parameters = Json::object();
  for (const MeasuredProduct& p : m.products) {
    products.push_back(
        {std::string(Name(p.dtype)) + Turned(p.shape), p.shape.m, p.shape.n, p.shape.k, p.us});
  }
  for (const MeasuredOp& op : m.ops) ops.push_back({op.action, Name(op.dtype), op.bytes, op.us});
  for (const MeasuredCollective& c : m.collectives) {
    collectives.push_back({Name(c.kind), c.members, c.bytes, c.us});
  }
  for (const MeasuredStep& s : m.steps) {
    steps.push_back(
        {s.mode, Name(s.dtype), s.tokens, s.in_features, s.out_features, s.tp, s.dp, s.us});
  }
  for (const auto& [dtype, values] : m.product_parameters) {
    parameters[std::string(Name(dtype))] = values;
  }
  json["products"] = products;
  json["ops"] = ops;
  json["collectives"] = collectives;
  json["steps"] = steps;
  if (m.step_spread > 0) json["step_spread"] = m.step_spread;
  json["product_parameters"] = parameters;
  return json;
}

}  // namespace

std::string NameOf(const MeasuredProduct& product) {
  return fmt::format("{} product {} x {} x {}{}", Name(product.dtype), product.shape.m,
                     product.shape.n, product.shape.k, Turned(product.shape));
}

std::string NameOf(const MeasuredOp& op) {
  return fmt::format("{} {} of {:.0f} bytes", Name(op.dtype), op.action, op.bytes);
}

std::string NameOf(const MeasuredCollective& collective) {
  return fmt::format("{} of {:.0f} bytes among {}", Name(collective.kind), collective.bytes,
                     collective.members);
}

std::string NameOf(const MeasuredStep& step) {
  return fmt::format("{} {} step {} x {} x {}, tp {}, dp {}", Name(step.dtype), step.mode,
                     step.tokens, step.in_features, step.out_features, step.tp, step.dp);
}

bool IsHeldOut(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return (hash ^ hash >> 32) % 4 == 0;
}

StatusOr<Measurements> ParseMeasurements(std::string_view text, const std::string& name) {
  const Json file = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!file.is_object()) return InvalidArgument(name + ": is no JSON object");
  Measurements read;
  if (file.contains("device") && !file.contains("fit")) return read;
  const Json& json = file.contains("fit") ? file["fit"] : file;
  if (!json.is_object()) return InvalidArgument(name + ".fit: must be an object");
  for (auto [key, value] : {std::pair("when", &read.when), std::pair("where", &read.where)}) {
    if (json.contains(key) && json[key].is_string()) *value = json[key].get<std::string>();
  }
  TP_RETURN_IF_ERROR(ReadPart(json, "repeat_floor", 0, name, read.repeat_floor));
  TP_RETURN_IF_ERROR(ReadPart(json, "step_spread", 1, name, read.step_spread));
  TP_RETURN_IF_ERROR(ReadList(json, "products", 1, 4, name, [&](const Entry& e) {
    const std::optional<MeasuredProduct> product = e.Product();
    if (product) read.products.push_back(*product);
    return product.has_value();
  }));
  TP_RETURN_IF_ERROR(ReadList(json, "ops", 2, 2, name, [&](const Entry& e) {
    if (!e.Type(1)) return false;
    read.ops.push_back({e.Text(0), *e.Type(1), e.Number(0), e.Number(1)});
    return true;
  }));
  TP_RETURN_IF_ERROR(ReadList(json, "collectives", 1, 3, name, [&](const Entry& e) {
    if (!ParseKind(e.Text(0)) || e.Number(0) < 2 || e.Number(0) > 65536) return false;
    read.collectives.push_back(
        {*ParseKind(e.Text(0)), static_cast<int>(e.Number(0)), e.Number(1), e.Number(2)});
    return true;
  }));
  TP_RETURN_IF_ERROR(ReadList(json, "steps", 2, 6, name, [&](const Entry& e) {
    if (!e.Type(1) || (e.Text(0) != "row" && e.Text(0) != "column")) return false;
    if (e.Number(3) > 65536 || e.Number(4) > 65536) return false;
    read.steps.push_back({e.Text(0), *e.Type(1), e.Size(0), e.Size(1), e.Size(2),
                          static_cast<int>(e.Size(3)), static_cast<int>(e.Size(4)), e.Number(5)});
    return true;
  }));
  TP_RETURN_IF_ERROR(ReadParameters(json, name, read));
  return read;
}

std::string ToJson(const Measurements& measurements) {
  return ToObject(measurements).dump() + "\n";
}

std::string WithFit(const std::string& machine_json, const Measurements& measurements) {
  Json json = Json::parse(machine_json);
  json["fit"] = ToObject(measurements);
  return json.dump() + "\n";
}

}  // namespace tp::predict
