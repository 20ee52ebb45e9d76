// The predict tool as a user runs it: what it says of a step, of many meshes, of a score, and of
// bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/command.h"

namespace tp {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

CommandResult Predict(const std::string& arguments) {
  return RunCommand("tools/predict/predict", arguments);
}

// The step's time: "..., tp 8 dp 1: 1.23 ms a step".
double StepMs(const std::string& out) {
  const size_t end = out.find(" a step");
  const size_t begin = out.rfind(": ", end) + 2;
  const double value = std::atof(out.substr(begin).c_str());
  const std::string unit = out.substr(0, end).substr(out.rfind(' ', end - 1) + 1);
  return unit == "s" ? value * 1e3 : unit == "ms" ? value : value / 1e3;
}

// The cells of the last line that begins so.
std::vector<std::string> CellsOf(const std::string& out, const std::string& begin) {
  const size_t at = out.rfind("\n" + begin);
  std::istringstream words(at == std::string::npos ? "" : out.substr(at + 1));
  std::string line;
  std::getline(words, line);
  std::istringstream cells(line);
  return {std::istream_iterator<std::string>(cells), {}};
}

TEST(PredictTest, SaysThatItPredictsAndThatNothingBacksThePreset) {
  const CommandResult row = Predict("--mode=row --tp=8");
  ASSERT_EQ(row.exit_code, 0) << row.err;
  for (const char* words : {"predicted", "unvalidated", "closed form", "exposed", "no interval"}) {
    EXPECT_THAT(row.out, HasSubstr(words));
  }
  const CommandResult both = Predict("--tp=8");
  EXPECT_THAT(both.out, HasSubstr("row mode"));
  EXPECT_THAT(both.out, HasSubstr("column mode"));
}

TEST(PredictTest, ASignalInASweepLeavesAFile) {
  const std::string path = MakeScratchFolder() + "/plan.json";
  const CommandResult result =
      RunUntil("predicted", "tools/predict/predict",
               "--machine=preset:h100x8-ib400 --model=llama3-70b --sweep=tp:1..8,dp:1..128 "
               "--json=" +
                   path);
  EXPECT_EQ(result.exit_code, -1) << result.out << result.err;  // 128 and the signal
  EXPECT_THAT(result.out, HasSubstr("\nInterrupted: this is not the whole sweep.\n"));
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(path));
  EXPECT_EQ(json.at("complete"), false);
  EXPECT_TRUE(json.at("configurations").is_array());
}

TEST(PredictTest, WhatIf) {
  const double even = StepMs(Predict("--mode=row --tp=8").out);
  EXPECT_GT(StepMs(Predict("--mode=row --tp=8 --straggler=5:1.5").out), even);
  EXPECT_GT(StepMs(Predict("--mode=row --tp=8 --link=0-1:0.1").out), even);
  EXPECT_LT(StepMs(Predict("--mode=row --tp=8 --machine=preset:b200x8").out), even);
  EXPECT_GT(StepMs(Predict("--mode=row --tp=1").out), even);
}

// A block is more than its feed-forward layer, and less than a model of 32 of them.
TEST(PredictTest, PredictsAPart) {
  const std::string step = "--model=llama3-8b --batch=1 --sequence=4096 --tp=2 --sequence_parallel";
  const CommandResult block = Predict(step + " --part=block"), mlp = Predict(step + " --part=mlp");
  EXPECT_THAT(block.out, HasSubstr("llama3-8b's block, tp 2 dp 1 sequence-parallel: "));
  EXPECT_THAT(mlp.out, HasSubstr("llama3-8b's mlp, "));
  EXPECT_GT(StepMs(mlp.out), 0);
  EXPECT_GT(StepMs(block.out), StepMs(mlp.out));
  EXPECT_GT(StepMs(Predict(step).out), 32 * StepMs(block.out));
}

TEST(PredictTest, WritesTracesThatSayPredicted) {
  const std::string folder = MakeScratchFolder() + "/traces";
  const CommandResult result = Predict("--mode=column --tp=4 --trace_dir=" + folder);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string trace = ReadWholeFile(folder + "/rank0.json");
  ASSERT_NE(trace, "");
  EXPECT_THAT(trace, HasSubstr("predicted"));
  EXPECT_TRUE(nlohmann::json::parse(trace).contains("traceEvents"));
}

TEST(PredictTest, NamesNoTracesThatCouldNotBeWritten) {
  for (const char* flag : {"--trace_dir=/dev/null/traces", "--chakra=/nowhere/t"}) {
    const CommandResult result = Predict(std::string("--mode=column --tp=2 ") + flag);
    EXPECT_EQ(result.exit_code, 1) << flag;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_THAT(result.out, Not(HasSubstr("traces")));
  }
}

TEST(PredictTest, OverwritesNothingThatItReads) {
  const std::string folder = MakeScratchFolder();
  for (const auto& [name, flags] :
       {std::pair("rank1.json", "--mode=row --tp=2 --trace_dir=" + folder),
        std::pair("a.1.et", "--mode=row --tp=2 --chakra=" + folder + "/a"),
        std::pair("s.json", "--model=llama3-8b --sweep=tp:1..2 --json=" + folder + "/s.json")}) {
    const std::string file = folder + "/" + name;
    std::ofstream(file) << "kept";
    const std::string arguments = flags + " --fit=" + file;
    ExpectRefused(Predict(arguments), arguments, " would overwrite " + file + ", which --fit");
    const std::string machine = flags + " --machine=" + file;
    ExpectRefused(Predict(machine), machine, " would overwrite " + file + ", which --machine");
    EXPECT_EQ(ReadWholeFile(file), "kept");
  }
}

TEST(PredictTest, ComparesMeshesWithinTheMemory) {
  const CommandResult result =
      Predict("--model=llama3-8b --sweep=tp:1..8,dp:1..4 --batch=4 --sequence=512 --top=2");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("fit in the memory"));
  EXPECT_THAT(result.out, HasSubstr("twice the network"));
  EXPECT_THAT(result.out, HasSubstr("tp 8"));
  EXPECT_THAT(result.out, HasSubstr("of exposed communication"));
  const CommandResult large = Predict(
      "--machine=preset:h100x8 --model=llama3-70b --sweep=tp:8,dp:1 --batch=1 --sequence=512");
  ASSERT_EQ(large.exit_code, 0) << large.err;
  EXPECT_THAT(large.out, HasSubstr("none fits"));
}

// What the first layers hide later ones may not: of one layer and two, recomputation costs nothing
// here, and of all 32 it costs a fifth of the step.
TEST(PredictTest, ComparesWholeModels) {
  const std::string step = "--model=llama3-8b --batch=128";
  const std::string file = MakeScratchFolder() + "/plan.json";
  const CommandResult swept = Predict(step + " --sweep=tp:8..8,dp:64..64 --top=3");
  ASSERT_EQ(swept.exit_code, 0) << swept.err;
  const size_t without = swept.out.find("tp 8 dp 64  ");
  const size_t with = swept.out.find("tp 8 dp 64 sequence-parallel recompute  ");
  ASSERT_NE(without, std::string::npos) << swept.out;
  EXPECT_LT(without, with) << swept.out;
  Predict(step + " --sweep=tp:8..8,dp:64..64 --top=1 --json=" + file);
  const nlohmann::json plan = nlohmann::json::parse(ReadWholeFile(file));
  ASSERT_EQ(plan.at("configurations").size(), 4u);
  for (const nlohmann::json& config : plan.at("configurations")) {
    std::string alone = step + " --tp=8 --dp=64";
    for (const char* flag : {"sequence_parallel", "recompute"}) {
      if (config.at(flag).get<bool>()) alone += std::string(" --") + flag;
    }
    const std::string out = Predict(alone).out;
    const size_t closed = out.find("closed form ") + std::string("closed form ").size();
    // Printed with three digits, in milliseconds.
    EXPECT_NEAR(config.at("closed_ms").get<double>(), std::atof(out.substr(closed).c_str()), 0.5)
        << config;
  }
}

TEST(PredictTest, ScoresWhatItWasNotFittedOnAlone) {
  const std::string folder = MakeScratchFolder();
  nlohmann::json fitted = {{"products", nlohmann::json::array()}};
  for (int m = 1; m <= 16; ++m) {
    fitted["products"].push_back({"bf16", 256 * m, 1024, 1024, 10.0 + 2.0 * m});
  }
  nlohmann::json held_out = {
      {"products", {{"bf16", 256, 1024, 1024, 12.0}, {"bf16", 640, 1024, 1024, 15.0}}}};
  std::ofstream(folder + "/fit.json") << fitted;
  std::ofstream(folder + "/heldout.json") << held_out;
  const std::string score =
      "--machine=preset:h100x8 --fit=" + folder + "/fit.json --score=" + folder + "/heldout.json";
  const CommandResult result = Predict(score);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("1 points refused: the machine was fitted on them"));
  EXPECT_THAT(result.out, HasSubstr("bf16 product 640 x 1024 x 1024"));
  EXPECT_THAT(result.out, Not(HasSubstr("bf16 product 256 x 1024 x 1024")));
  EXPECT_THAT(Predict(score + " --verbose").out,
              ContainsRegex("bf16 products +bf16 product 640 x 1024 x 1024 +[0-9.]+ [^ ]+ +15.0 "
                            "[^ ]+ +[0-9.]+\n"));
}

// What the numbers are is for an idle machine to say; here, that all of it is measured, kept apart,
// and refused where the machine was fitted on it.
TEST(PredictTest, CalibratesThisCpu) {
  const std::string file = MakeScratchFolder() + "/cpu.machine";
  const CommandResult calibrated =
      Predict("--calibrate=" + file + " --backend=sim --tp=2 --calibrate_seconds=0");
  ASSERT_EQ(calibrated.exit_code, 0) << calibrated.err;
  EXPECT_THAT(calibrated.out, HasSubstr("whole steps"));
  EXPECT_THAT(calibrated.out, HasSubstr("the same steps, their ops timed"));
  EXPECT_THAT(calibrated.out, Not(HasSubstr("refused")));
  const nlohmann::json machine = nlohmann::json::parse(ReadWholeFile(file));
  const nlohmann::json held_out = nlohmann::json::parse(ReadWholeFile(file + ".heldout.json"));
  EXPECT_EQ(machine.at("unvalidated"), "");
  for (const char* kind : {"products", "ops", "collectives"}) {
    EXPECT_GT(machine.at("fit").at(kind).size(), 10u) << kind;
    EXPECT_GT(held_out.at(kind).size(), 0u) << kind;
  }
  EXPECT_EQ(held_out.at("steps").size(), 24u);
  const CommandResult again = Predict("--machine=" + file + " --score=" + file);
  EXPECT_THAT(again.out, HasSubstr("points refused: the machine was fitted on them"));
  const CommandResult timed = Predict("--machine=" + file + " --score=" + file +
                                      ".heldout.json --ops=" + file + ".ops.json");
  EXPECT_THAT(timed.out, HasSubstr("ops timed on "));
  EXPECT_GT(CellsOf(timed.out, "whole steps").size(), 8u);
  EXPECT_EQ(CellsOf(timed.out, "whole steps"), CellsOf(calibrated.out, "whole steps"));
  const CommandResult step = Predict("--machine=" + file + " --mode=row --tp=2 --tokens=64");
  EXPECT_THAT(step.out, HasSubstr("90 %:"));
}

// On a machine of which nothing was measured, ops that were timed here: each of a rank of two, but
// collectives; and the same again from the file.
TEST(PredictTest, TimesTheOpsOfAStep) {
  const std::string file = MakeScratchFolder() + "/ops.json";
  for (const char* step :
       {"--mode=row --tokens=64 --in_features=96 --out_features=80", "--model=llama-tiny"}) {
    const std::string asked = std::string("--machine=preset:h100x8 --dtype=fp32 --tp=2 ") + step;
    const CommandResult timed =
        Predict(asked + " --time_ops=" + file + " --backend=sim --calibrate_seconds=0");
    ASSERT_EQ(timed.exit_code, 0) << timed.err;
    EXPECT_THAT(timed.out, HasSubstr("ops timed on "));
    EXPECT_EQ(Predict(asked + " --ops=" + file).out, timed.out);
    EXPECT_NE(Predict(asked).out, timed.out);
  }
  const nlohmann::json ops = nlohmann::json::parse(ReadWholeFile(file));
  EXPECT_GT(ops.at("products").size(), 3u);
  EXPECT_GT(ops.at("ops").size(), 3u);
}

TEST(PredictTest, BadInputIsOneLineThatSaysWhat) {
  const auto error = [](const std::string& arguments) {
    const CommandResult result = Predict(arguments);
    EXPECT_EQ(result.exit_code, 1) << arguments;
    return result.err;
  };
  EXPECT_THAT(error("--machine=preset:h99x8"), HasSubstr("h100x8-ib400"));
  EXPECT_THAT(error("--machine=/nowhere"), HasSubstr("/nowhere: can't be read"));
  EXPECT_THAT(error("--model=llama9"), HasSubstr("llama3-70b"));
  EXPECT_THAT(error("--machine=preset:h100x8 --tp=16"), HasSubstr("has 8 devices"));
  EXPECT_THAT(error("--straggler=5"), HasSubstr("--straggler"));
  EXPECT_THAT(error("--machine=preset:h100x8 --straggler=9:2"), HasSubstr("no device 9"));
  EXPECT_THAT(error("--link=3-3:0.5"), HasSubstr("--link"));
  EXPECT_THAT(error("--sweep=tp:1..8"), HasSubstr("--model"));
  EXPECT_THAT(error("--model=llama3-8b --sweep=pp:1..8"), HasSubstr("--sweep"));
  EXPECT_THAT(error("--model=llama3-8b --part=head"), HasSubstr("--part=head: it must be block"));
  EXPECT_THAT(error("--part=mlp"), HasSubstr("name one with --model"));
  EXPECT_THAT(error("--model=llama3-8b --part=mlp --sweep=tp:1..8"), HasSubstr("without --sweep"));
  EXPECT_THAT(error("--model=llama3-8b --part=mlp --recompute"), HasSubstr("--recompute"));
  EXPECT_THAT(error("--model=llama3-8b --part=mlp --nomasters"), HasSubstr("--nomasters"));
  EXPECT_THAT(error("--model=llama3-8b --dtype=fp32 --nomasters"),
              HasSubstr("--masters=false: weights in fp32 have no masters"));
  EXPECT_THAT(error("--tokens=0"), HasSubstr("at least 1"));
  EXPECT_THAT(error("--json=/tmp/x.json"), HasSubstr("--sweep"));
  EXPECT_THAT(error("--model=llama3-8b --sweep=tp:1 --json=/nowhere/x.json"),
              HasSubstr("/nowhere"));
  EXPECT_THAT(error("--score=/nowhere.json"), HasSubstr("/nowhere.json"));
  EXPECT_THAT(error("--ops=/nowhere.json"), HasSubstr("/nowhere.json"));
  EXPECT_THAT(error("--time_ops=/nowhere/f.json"), HasSubstr("/nowhere"));
  EXPECT_THAT(error("--time_ops=/tmp/f.json --ops=/tmp/g.json"), HasSubstr("give one of both"));
  EXPECT_THAT(error("--time_ops=/tmp/f.json --mode=row --tp=2 --backend=sim --tokens=2000000 "
                    "--in_features=200000 --out_features=200000"),
              HasSubstr("the ops of this step need about"));
}

// A flag that would change nothing is no flag of what is asked for.
TEST(PredictTest, RefusesWhatWouldChangeNothing) {
  for (const auto& [arguments, words] :
       {std::pair("--model=llama3-8b --tokens=7", "--tokens: a transformer's step has no such"),
        std::pair("--model=llama3-8b --mode=row", "--mode: a transformer's step has no such flag"),
        std::pair("--mode=row --sequence=9", "--sequence: the linear step"),
        std::pair("--mode=row --recompute", "--recompute: the linear step"),
        std::pair("--mode=row --nomasters", "--masters: the linear step"),
        std::pair("--mode=row --reduction=invariant", "--reduction: the linear step"),
        std::pair("--model=llama3-8b --strands=2", "--strands=2: it must be at most --micro_batch"),
        std::pair("--mode=row --top=3", "--top: the linear step"),
        std::pair("--mode=row --calibrate_seconds=3", "--calibrate_seconds: the linear step"),
        std::pair("--calibrate=/tmp/x --calibrate_seconds=-1", "--calibrate_seconds=-1: it must"),
        std::pair("--calibrate=/tmp/x --model=llama3-8b", "--model: a calibration has no such"),
        std::pair("--score=/tmp/x --tp=2", "--tp: a score has no such flag"),
        std::pair("--model=llama3-8b --sweep=tp:1..2 --tp=4", "--tp: a sweep, which tries tp"),
        std::pair("--model=llama3-8b --sweep=tp:1..2 --trace_dir=/tmp/x", "--trace_dir holds one"),
        std::pair("--model=llama3-8b --sweep=tp:1..2,tp:4", "one range of each"),
        std::pair("--model=llama3-8b --sweep=tp:1..2 --ops=/tmp/x", "--ops: a sweep, which tries"),
        std::pair("--mode=row --deadline=3", "--deadline: the linear step"),
        std::pair("--tp=2 --trace_dir=/tmp/x", "--trace_dir holds one step"),
        std::pair("--mode=row --tp=2 --straggler=1:2,1:3", "each device once"),
        std::pair("--mode=row --tp=4 --link=1-2:0.5,2-1:0.5", "each pair of devices once"),
        std::pair("--mode=row --tp=2 --straggler=2:2", "--straggler: device 2 has no part"),
        std::pair("--mode=row --tp=2 --link=0-5:0.5", "--link: device 5 has no part")}) {
    const CommandResult result = Predict(arguments);
    EXPECT_EQ(result.exit_code, 1) << arguments;
    EXPECT_THAT(result.err, HasSubstr(words)) << arguments;
    EXPECT_EQ(result.out, "") << arguments;
  }
}

}  // namespace
}  // namespace tp
