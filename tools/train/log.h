// The log of a run: a file with a line of JSON for each step, in the order of steps.
//
//   {"step":1,"loss":5.54,"gradient_norm":2.1,"learning_rate":6e-05,"seconds":0.11,"tokens":2048}
//   {"step":250,"held_out_loss":1.92}
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tools/train/trainer.h"
#include "tp/core/status.h"

namespace tp::train {

class Log {
 public:
  // Makes the file anew; of one that is there the lines of the first `done` steps are kept. Errors:
  // the file system's.
  static StatusOr<std::unique_ptr<Log>> Open(const std::string& path, int64_t done);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Each line is written at once. Errors: a full disk.
  Status AddStep(const StepMetrics& metrics, int64_t tokens);
  Status AddHeldOut(int64_t step, double loss);

 private:
  Log(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  Status Append(const std::string& line);

  const std::string path_;
  const int descriptor_;
};

// Of the lines of a log, those that are whole and of the first `done` steps.
std::string KeptLines(std::string_view log, int64_t done);

}  // namespace tp::train
