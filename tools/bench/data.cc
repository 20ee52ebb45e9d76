#include "tools/bench/data.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tools/io/paths.h"
#include "tp/core/random.h"
#include "tp/io/npy.h"
#include "tp/io/tensor_checks.h"
#include "tp/verify/report.h"

namespace tp::bench {
namespace {

struct TensorSpec {
  const char* name;
  Shape shape;
  double bound;  // of the generated elements
};

StatusOr<ElementSource> Load(const std::string& path, const TensorSpec& spec, DType dtype) {
  TP_ASSIGN_OR_RETURN(HostTensor tensor, io::ReadNpy(path, spec.shape));
  TP_RETURN_IF_ERROR(CheckElements(tensor, dtype, path));
  auto shared = std::make_shared<const HostTensor>(std::move(tensor));
  return ElementSource([shared](int64_t index) { return shared->At(index); });
}

}  // namespace

TrainingData DataOf(verify::LinearProblem problem, verify::Lane lane) {
  TrainingData data;
  const auto source = [](const HostTensor& tensor) {
    auto shared = std::make_shared<const HostTensor>(tensor);
    return [shared](int64_t index) { return shared->At(index); };
  };
  data.sources = {{"x", source(problem.x)},
                  {"targets", source(problem.targets)},
                  {"w", source(problem.w)},
                  {"b", source(problem.b)}};
  data.problem = std::move(problem);
  data.lane = lane;
  return data;
}

ElementSource Generate(uint64_t seed, uint64_t stream, double bound) {
  return [random = RandomTensor(seed, stream), bound](int64_t index) {
    return bound * random.Uniform(static_cast<uint64_t>(index));
  };
}

HostTensor Fill(const Shape& shape, DType dtype, const ElementSource& source) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, source(i));
  return tensor;
}

Status CheckElements(const HostTensor& tensor, DType dtype, const std::string& what) {
  TP_RETURN_IF_ERROR(io::CheckFinite(tensor, what));
  for (int64_t i = 0; i < tensor.size(); ++i) {
    if (std::isfinite(RoundTo(dtype, tensor.At(i)))) continue;
    return InvalidArgument(fmt::format("{}: element {} is {}, too large for {}", what,
                                       verify::ElementName(tensor.shape(), i), tensor.At(i),
                                       Name(dtype)));
  }
  return OkStatus();
}

std::vector<io::NamedFile> FilesToLoad(const std::string& folder) {
  std::vector<io::NamedFile> files;
  if (folder.empty()) return files;
  for (const char* name : {"x", "targets", "w", "b"}) {
    files.push_back({"--load", fmt::format("{}/{}.npy", folder, name)});
  }
  return files;
}

Status TakeSizesFromFiles(BenchOptions& options) {
  if (options.load.empty()) return OkStatus();
  if (!io::Exists(options.load)) {
    return NotFound(fmt::format("--load={}: there is no such folder", options.load));
  }
  // Where each dimension of a file stands; the first file to have a size says it.
  struct Dimension {
    int64_t* size;
    bool* given;
  };
  const Dimension tokens = {&options.tokens, &options.tokens_given};
  const Dimension in = {&options.in_features, &options.in_features_given};
  const Dimension out = {&options.out_features, &options.out_features_given};
  const std::pair<const char*, std::vector<Dimension>> files[] = {
      {"x", {tokens, in}}, {"targets", {tokens, out}}, {"w", {out, in}}, {"b", {out}}};
  for (const auto& [name, dimensions] : files) {
    const std::string path = fmt::format("{}/{}.npy", options.load, name);
    if (!io::Exists(path)) continue;
    TP_ASSIGN_OR_RETURN(const Shape shape, io::ReadNpyShape(path));
    for (size_t i = 0; i < dimensions.size() && shape.size() == dimensions.size(); ++i) {
      const bool usable = !*dimensions[i].given && shape[i] > 0;
      if (!usable) continue;
      *dimensions[i].size = shape[i];
      *dimensions[i].given = true;
    }
  }
  return OkStatus();
}

StatusOr<TrainingData> MakeData(const BenchOptions& options) {
  const double fan_in = 1 / std::sqrt(static_cast<double>(options.in_features));
  const TensorSpec specs[] = {
      {"x", {options.tokens, options.in_features}, 1},
      {"targets", {options.tokens, options.out_features}, 1},
      {"w", {options.out_features, options.in_features}, fan_in},
      {"b", {options.out_features}, fan_in},
  };
  TrainingData data;
  uint64_t stream = 0;
  for (const TensorSpec& spec : specs) {
    const std::string path = fmt::format("{}/{}.npy", options.load, spec.name);
    if (!options.load.empty() && io::Exists(path)) {
      TP_ASSIGN_OR_RETURN(data.sources[spec.name], Load(path, spec, options.dtype));
    } else {
      data.sources[spec.name] = Generate(options.seed, stream, spec.bound);
    }
    ++stream;
  }
  if (options.verify == VerifyMode::kOff) return data;
  HostTensor* const tensors[] = {&data.problem.x, &data.problem.targets, &data.problem.w,
                                 &data.problem.b};
  for (size_t i = 0; i < std::size(specs); ++i) {
    *tensors[i] = Fill(specs[i].shape, options.dtype, data.sources[specs[i].name]);
  }
  data.problem.learning_rate = options.learning_rate;
  data.problem.steps = options.warmup + options.steps;
  return data;
}

}  // namespace tp::bench
