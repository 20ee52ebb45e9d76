// What the train tool prints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/train/options.h"
#include "tools/train/text.h"
#include "tools/train/trainer.h"
#include "tp/model/transformer.h"
#include "tp/schedule/schedule.h"

namespace tp::train {

// What is trained, on what, where.
std::string RenderHead(const TrainOptions& options, const TransformerConfig& config,
                       const Text& text);

// One line: "step   12/1000  loss 2.9876  lr 1.20e-03  31,200 tokens/s  65.6 ms".
std::string RenderStep(const TrainOptions& options, const StepMetrics& metrics);

// One line: "held-out loss 1.9034 nats a token after step 250".
std::string RenderHeldOut(int64_t step, double loss);

// Lines: how to prove the step that trained this checkpoint, where there is one, and how to look at
// what --logdir has.
std::string RenderNext(const TrainOptions& options, const std::string& checkpoint);

// What a rank's buffers take, of the ranks that need the least and the most. `schedules` are those
// of each program, by rank; the step's come first.
std::string RenderPlan(const TrainOptions& options, const TransformerConfig& config,
                       const std::vector<std::vector<Schedule>>& schedules, double seconds);

}  // namespace tp::train
