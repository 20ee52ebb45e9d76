// The tensors that --dump asks for: <mode>/{y,dx,dw,db,w,b,losses}.npy in its folder.
#pragma once

#include <vector>

#include "tools/bench/options.h"
#include "tools/bench/run.h"
#include "tools/io/outputs.h"
#include "tools/io/paths.h"
#include "tp/core/status.h"

namespace tp::bench {

// All of them; none where they are not asked for.
std::vector<io::NamedFile> FilesToDump(const BenchOptions& options);

// Makes the folders. Errors: the first folder or file that can't be written. To be asked before
// long work.
Status PrepareDump(const BenchOptions& options);

// Writes each file, whole or not at all, and goes on where one can't be written.
void DumpTensors(const BenchOptions& options, const BenchResult& result, io::Outputs& outputs);

}  // namespace tp::bench
