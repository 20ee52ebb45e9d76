// Runs a program as a user would, and keeps what it says.
#pragma once

#include <string>

namespace tp {

struct CommandResult {
  int exit_code = -1;  // -1: it did not exit by itself (a signal, a core dump)
  std::string out;
  std::string err;
};

// Runs `program` (a path among the test's runfiles) with `arguments`, quoted as for a shell.
CommandResult RunCommand(const std::string& program, const std::string& arguments);

// The same, which SIGTERM ends as soon as its standard output has `words`.
CommandResult RunUntil(const std::string& words, const std::string& program,
                       const std::string& arguments);

// `usual` flags but for those that `given` has, too, and these: a flag is given once.
std::string WithUsual(const std::string& usual, const std::string& given);

// Expects of a program that it refused what `arguments` ask for: one line that has `words`, a
// failing exit, nothing on the standard output.
void ExpectRefused(const CommandResult& result, const std::string& arguments,
                   const std::string& words);

// A new, empty folder of this test's own.
std::string MakeScratchFolder();

// The whole file; "" where there is none.
std::string ReadWholeFile(const std::string& path);

}  // namespace tp
