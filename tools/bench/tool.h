// What the main function of each tool does, beside its work.
#pragma once

#include <functional>
#include <string>

#include "tools/io/outputs.h"
#include "tp/core/status.h"

namespace tp::bench {

// Exit statuses.
inline constexpr int kHeld = 0;    // every check that was made held
inline constexpr int kFailed = 1;  // one did not, or the input can't be used, or an output is lost

// Runs `work`, which returns an exit status, and says on stderr, one line each, what went wrong
// with it and with its outputs: an output that could not be written makes the status kFailed. A
// reader who leaves costs the text only.
int RunTool(const char* name, int argc, char** argv,
            const std::function<StatusOr<int>(int, char**, io::Outputs&)>& work);

// The line that says what to do with the JSON that was written. None where it went to no regular
// file, such as a pipe or a terminal: it can't be read again.
std::string RenderNextReport(const std::string& json);

// The end of RunTool, for a thread that ends the process otherwise: says what went wrong with the
// outputs, and whether nothing did.
bool SayErrors(const char* name, const io::Outputs& outputs);

}  // namespace tp::bench
