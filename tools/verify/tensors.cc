#include "tools/verify/tensors.h"

#include <optional>
#include <utility>

#include "fmt/format.h"
#include "tools/bench/data.h"
#include "tools/io/paths.h"
#include "tp/io/npy.h"
#include "tp/io/safetensors.h"

namespace tp::verifier {
namespace {

using io::TensorPath;

// Where a tensor is, if the user has one.
StatusOr<std::optional<TensorPath>> Locate(const VerifierOptions& options, const char* name) {
  const auto named = options.tensors.find(name);
  if (named != options.tensors.end()) {
    TP_ASSIGN_OR_RETURN(TensorPath path, io::SplitTensorPath(named->second));
    return std::optional(std::move(path));
  }
  const std::string in_folder = fmt::format("{}/{}.npy", options.load, name);
  if (options.load.empty() || !io::Exists(in_folder)) return std::optional<TensorPath>();
  return std::optional(TensorPath{in_folder, ""});
}

std::string Describe(const TensorPath& path) {
  return path.name.empty() ? path.file : path.file + ":" + path.name;
}

// Loads the tensors of one problem, one after the other.
class Loader {
 public:
  Loader(const VerifierOptions& options, UserTensors& tensors)
      : options_(options), dtype_(options.engine.dtype), tensors_(tensors) {}

  // Whether the user has the tensor; if so, `out` is it. Its shape is that of `expected` if given.
  StatusOr<bool> Load(const char* name, const std::optional<Shape>& expected, HostTensor& out) {
    TP_ASSIGN_OR_RETURN(const std::optional<TensorPath> path, Locate(options_, name));
    if (!path) return false;
    StatusOr<HostTensor> read = path->name.empty()
                                    ? io::ReadNpy(path->file, expected)
                                    : io::ReadSafetensors(path->file, path->name, expected);
    if (!read.ok()) return read.status();
    const HostTensor& tensor = *read;
    if (tensor.shape().size() != (expected ? expected->size() : 2)) {
      return InvalidArgument(fmt::format("{}: {} must be a matrix, not of shape {}",
                                         Describe(*path), name, ToString(tensor.shape())));
    }
    TP_RETURN_IF_ERROR(bench::CheckElements(tensor, dtype_, Describe(*path)));
    out = bench::Fill(tensor.shape(), dtype_, [&](int64_t i) { return tensor.At(i); });
    const bool rounded = tensor.dtype() != dtype_;
    Tell(name, out.shape(),
         fmt::format("{}, {}{}", Describe(*path), Name(tensor.dtype()),
                     rounded ? fmt::format(" rounded to {}", Name(dtype_)) : ""));
    return true;
  }

  Status Require(const char* name, HostTensor& out) {
    TP_ASSIGN_OR_RETURN(const bool there, Load(name, std::nullopt, out));
    if (there) return OkStatus();
    if (options_.load.empty()) {
      return InvalidArgument(fmt::format(
          "no {0}: give it by --{0}=FILE:NAME, or a folder with {0}.npy by --load=DIR", name));
    }
    return NotFound(fmt::format("--load={}: there is no {}.npy", options_.load, name));
  }

  void Tell(const char* name, const Shape& shape, const std::string& origin) {
    tensors_.origins.push_back(fmt::format("{:<8} {:<14} {}", name, ToString(shape), origin));
  }

 private:
  const VerifierOptions& options_;
  const DType dtype_;
  UserTensors& tensors_;
};

// A result whose element type holds what the run's type holds.
StatusOr<HostTensor> ReadResult(const std::string& path, const std::optional<Shape>& shape,
                                DType dtype) {
  TP_ASSIGN_OR_RETURN(HostTensor tensor, io::ReadNpy(path, shape));
  if (UnitRoundoff(tensor.dtype()) <= UnitRoundoff(dtype)) return tensor;
  return InvalidArgument(
      fmt::format("{}: results in {} can't be held against the bounds of {}; store them as {}, or "
                  "say --dtype={}",
                  path, Name(tensor.dtype()), Name(dtype), Name(dtype), Name(tensor.dtype())));
}

}  // namespace

std::vector<io::NamedFile> FilesRead(const VerifierOptions& options) {
  std::vector<io::NamedFile> files = bench::FilesToLoad(options.load);
  for (const auto& [name, path] : options.tensors) {
    const StatusOr<TensorPath> split = io::SplitTensorPath(path);
    if (split.ok()) files.push_back({"--" + name, split->file});
  }
  if (options.expect.empty()) return files;
  for (const char* name : {"y", "dx", "dw", "db", "w", "b", "losses"}) {
    files.push_back({"--expect", fmt::format("{}/{}.npy", options.expect, name)});
  }
  return files;
}

StatusOr<UserTensors> LoadTensors(VerifierOptions& options) {
  if (!options.load.empty() && !io::Exists(options.load)) {
    return NotFound(fmt::format("--load={}: there is no such folder", options.load));
  }
  UserTensors tensors;
  verify::LinearProblem& problem = tensors.problem;
  Loader loader(options, tensors);
  TP_RETURN_IF_ERROR(loader.Require("x", problem.x));
  TP_RETURN_IF_ERROR(loader.Require("w", problem.w));
  bench::BenchOptions& engine = options.engine;
  engine.tokens = problem.x.shape()[0];
  engine.in_features = problem.x.shape()[1];
  engine.out_features = problem.w.shape()[0];
  if (problem.w.shape()[1] != engine.in_features) {
    return InvalidArgument(fmt::format(
        "x is {} and w is {}: w must have a column for each column of x, as in PyTorch's Linear",
        ToString(problem.x.shape()), ToString(problem.w.shape())));
  }
  TP_ASSIGN_OR_RETURN(const bool has_bias, loader.Load("b", Shape{engine.out_features}, problem.b));
  if (!has_bias) {
    problem.b = HostTensor({engine.out_features}, engine.dtype);
    loader.Tell("b", problem.b.shape(), "none, so zero");
  }
  const Shape y_shape = {engine.tokens, engine.out_features};
  TP_ASSIGN_OR_RETURN(tensors.has_targets, loader.Load("targets", y_shape, problem.targets));
  if (!tensors.has_targets) {
    problem.targets = bench::Fill(y_shape, engine.dtype, bench::Generate(engine.seed, 1, 1));
    loader.Tell("targets", y_shape, fmt::format("none, so generated, seed {}", engine.seed));
  }
  problem.learning_rate = engine.learning_rate;
  problem.steps = engine.steps;
  return tensors;
}

StatusOr<verify::Observed> LoadResults(const VerifierOptions& options, const UserTensors& tensors) {
  if (!io::Exists(options.expect)) {
    return NotFound(fmt::format("--expect={}: there is no such folder", options.expect));
  }
  verify::Observed results;
  const verify::LinearProblem& problem = tensors.problem;
  const std::pair<const char*, HostTensor*> places[] = {{"y", &results.y},   {"dx", &results.dx},
                                                        {"dw", &results.dw}, {"db", &results.db},
                                                        {"w", &results.w},   {"b", &results.b}};
  bool any = false;
  for (const auto& [name, place] : places) {
    const std::string path = fmt::format("{}/{}.npy", options.expect, name);
    if (!io::Exists(path)) continue;
    const bool is_y = place == &results.y;
    const Shape shape = is_y                                          ? problem.targets.shape()
                        : place == &results.dx                        ? problem.x.shape()
                        : place == &results.dw || place == &results.w ? problem.w.shape()
                                                                      : problem.b.shape();
    if (!is_y && !tensors.has_targets) {
      return InvalidArgument(
          fmt::format("{} depends on the targets of the loss: give them, too", path));
    }
    TP_ASSIGN_OR_RETURN(*place, ReadResult(path, shape, options.engine.dtype));
    any = true;
  }
  const std::string path = options.expect + "/losses.npy";
  if (io::Exists(path)) {
    if (!tensors.has_targets) {
      return InvalidArgument(
          fmt::format("{} depends on the targets of the loss: give them, too", path));
    }
    TP_ASSIGN_OR_RETURN(const HostTensor losses,
                        ReadResult(path, std::nullopt, AccumulatorOf(options.engine.dtype)));
    if (losses.size() != problem.steps) {
      return InvalidArgument(fmt::format("{} holds {} losses; --steps={} makes {}", path,
                                         losses.size(), problem.steps, problem.steps));
    }
    results.losses = losses.ToDoubles();
    any = true;
  }
  if (any) return results;
  return NotFound(fmt::format(
      "--expect={}: there is none of y.npy, dx.npy, dw.npy, db.npy, w.npy, b.npy, losses.npy",
      options.expect));
}

}  // namespace tp::verifier
