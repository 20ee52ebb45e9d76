// A sweep as JSON, for tools/report and for programs. All of its times are predicted.
//
//   config             model, batch, sequence, dtype, micro_batches, overlap, strands, masters,
//                      algorithm, straggler, link
//   machine            name, device, nodes, devices_per_node, memory_bytes (of a device), fitted_on
//                      (points that were measured), unvalidated (why; "" where measurements back
//                      it)
//   run                commit, date, ...: bench's
//   clock              "predicted"
//   complete           false: the sweep was interrupted
//   configurations[]   by closed_ms, those that fit first: tp, dp, sequence_parallel, recompute,
//                      closed_ms (a step by the closed form), memory_bytes (of the fullest rank),
//                      fits; of the first ones, which were predicted whole, step_ms, compute_ms and
//                      exposed_ms (of the average rank), of others null
#pragma once

#include <string>
#include <vector>

#include "backends/predict/world.h"
#include "tools/predict/machine_files.h"
#include "tools/predict/options.h"
#include "tools/predict/plan.h"

namespace tp::predict_tool {

std::string ToJson(const PredictOptions& options, const LoadedMachine& loaded, const Plan& plan);

}  // namespace tp::predict_tool
