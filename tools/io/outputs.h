// Where a tool's results go: its text, and files, each on its own account.
//
// What fails is remembered and said at the end, and nothing is left out for it: a full disk under
// the text does not cost the files, nor one file the others. A reader of the text who has left (`|
// head`) is no failure; SIGPIPE must be ignored for that, as tool.h does. Any thread may call.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/status.h"

namespace tp::io {

class Outputs {
 public:
  // The descriptor that takes the text; 1 is the standard output.
  explicit Outputs(int descriptor = 1) : descriptor_(descriptor) {}
  Outputs(const Outputs&) = delete;
  Outputs& operator=(const Outputs&) = delete;

  // Writes `text` at once. After a failure, or where the reader has left, it is dropped.
  void Print(std::string_view text);

  // Takes into account how writing a file went, and returns whether it went well.
  bool Account(const Status& status);

  // What could not be written, in the order of the attempts.
  std::vector<Status> errors() const;

 private:
  mutable std::mutex mutex_;
  const int descriptor_;
  bool open_ = true;
  std::vector<Status> errors_;
};

}  // namespace tp::io
