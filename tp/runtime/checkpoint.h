// Checkpoint: a program's parameters in the files of a folder, as a Storage says.
//
// A file holds whole tensors. Each rank writes, and reads, just its own part of them; replicas are
// written by the first. So what one mesh saved any other can load, if all ranks reach the folder.
//
// Saving fills the folder FOLDER.part, syncs it, and gives it its name in one step. Whenever that
// is cut short, FOLDER is what it was before, and the next save removes what was left. A folder
// that is there already is replaced if it holds nothing but files of the storage; one save of it
// at a time.
#pragma once

#include <string>

#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/executor.h"
#include "tp/runtime/storage.h"
#include "tp/schedule/schedule.h"

namespace tp {

// A rank and what it runs.
struct RankParts {
  RankContext& context;
  Executor& executor;
  const Schedule& schedule;
  const Mesh& mesh;
};

// Called by all ranks alike, each in its thread, with a storage that CheckStorage allows, or with
// why there is none on this rank. What a file system or a file says goes to `told`, the same on
// every rank, and then nothing has changed: no folder, no parameter. Elements are rounded to the
// type of the file that is written. Errors: the executor's, and other ranks'.
//   NOT_FOUND         a folder or file is missing
//   INVALID_ARGUMENT  a file that is cut off; an element that the parameter's type can't hold; a
//                     folder with other things in it
//   UNAVAILABLE       a full disk
Status SaveParts(const RankParts& rank, const std::string& folder, const Storage& storage,
                 Status& told);
Status LoadParts(const RankParts& rank, const std::string& folder, const StatusOr<Storage>& storage,
                 Status& told);

}  // namespace tp
