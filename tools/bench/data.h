// The tensors that a run starts from: read from .npy files, or generated.
//
// Generated ones are counter-based random numbers of the seed (tp/core/random.h), indexed by
// element of the global tensor: x and targets uniform in [-1, 1), w and b uniform within
// 1/sqrt(in_features), as PyTorch's nn.Linear begins. All are rounded to the run's element type.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/bench/options.h"
#include "tools/io/paths.h"
#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/runtime/parts.h"
#include "tp/verify/reference.h"
#include "tp/verify/report.h"

namespace tp::bench {

struct TrainingData {
  // "x", "targets", "w", "b"; elements already rounded to the dtype.
  std::map<std::string, ElementSource> sources;
  // The same as whole tensors, for the reference; empty where nothing is to be verified.
  verify::LinearProblem problem;
  // In which it is to be verified.
  verify::Lane lane = verify::Lane::kBounded;
};

// The data of a problem that is there already, of tensors in the run's element type.
TrainingData DataOf(verify::LinearProblem problem, verify::Lane lane);

// Element `index` of the generated tensor `stream` (0 is x, 1 targets, 2 w, 3 b) of a seed: uniform
// in [-bound, bound).
ElementSource Generate(uint64_t seed, uint64_t stream, double bound);

// A tensor of these elements, rounded to `dtype`.
HostTensor Fill(const Shape& shape, DType dtype, const ElementSource& source);

// An error that names the first element, if one is no finite number, or none in `dtype`. `what` is
// where the tensor comes from.
Status CheckElements(const HostTensor& tensor, DType dtype, const std::string& what);

// Where tensors are looked for in a folder that --load names; none where it is "".
std::vector<io::NamedFile> FilesToLoad(const std::string& folder);

// Takes the sizes that were not asked for from the tensors in options.load. Errors: no such folder,
// a file that can't be read. Files that contradict each other are left for MakeData to name.
Status TakeSizesFromFiles(BenchOptions& options);

// Errors: what the files lack, named; a value that is NaN or infinite, also after rounding.
StatusOr<TrainingData> MakeData(const BenchOptions& options);

}  // namespace tp::bench
