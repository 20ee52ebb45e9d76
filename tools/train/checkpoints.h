// The checkpoints of a run: folders step-N in one folder, each after N steps.
//
// One is there whole or not at all (tp/runtime/checkpoint.h), so the one with the greatest N is
// what a run goes on from, wherever it was cut short.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tp/core/status.h"

namespace tp::train {

// "FOLDER/step-200".
std::string CheckpointAt(const std::string& folder, int64_t step);

// The steps of the newest one; none where there is none, or no such folder.
std::optional<int64_t> NewestCheckpoint(const std::string& folder);

// Whether a folder can be made in this one, which is there: to be asked before long work. Leaves
// nothing behind.
Status CheckTakesCheckpoints(const std::string& folder);

// A folder that no other run writes to while this lives.
class FolderLock {
 public:
  // Errors: another run holds it.
  static StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}

  const int descriptor_;
};

// Errors: the file system's.
Status RemoveCheckpoint(const std::string& folder, int64_t step);

}  // namespace tp::train
