// Checkpoint: a folder with a .npy file for each parameter, as NumPy and `bench --load` read it.
//
// A file holds the whole tensor, row-major and little-endian: fp64 as float64, every other type as
// float32, which is exact. Each rank writes, and reads, just its own part of it; replicas are
// written by the first. So what one mesh saved any other can load, if all ranks reach the folder.
//
// Saving fills the folder FOLDER.part, syncs it, and gives it its name in one step. Whenever that
// is cut short, FOLDER is what it was before, and the next save removes what was left. A folder
// that is there already is replaced if it holds nothing but this program's files; one save of it
// at a time.
#pragma once

#include <string>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/schedule.h"

namespace tp {

// A rank and the parameters that it has a part of.
struct RankParts {
  RankContext& context;
  Executor& executor;
  const Schedule& schedule;
  std::vector<const Binding*> parameters;
  const Mesh& mesh;
};

// Called by all ranks alike, each in its thread. What a file system or a file says goes to `told`,
// the same on every rank, and then nothing has changed: no folder, no parameter. Errors: the
// executor's, and other ranks'.
//   NOT_FOUND         a folder or file is missing
//   INVALID_ARGUMENT  a file that is not this parameter's, or is cut off; an element that the
//                     parameter's type can't hold; a folder with other things in it
//   UNAVAILABLE       a full disk
Status SaveParts(const RankParts& rank, const std::string& folder, Status& told);
Status LoadParts(const RankParts& rank, const std::string& folder, Status& told);

}  // namespace tp
