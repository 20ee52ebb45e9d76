// The bench as a user runs it: its output, its files, and what it says to bad input.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tp/core/host_tensor.h"
#include "tp/io/npy.h"

namespace tp {
namespace {

constexpr char kBench[] = "tools/bench/bench";
constexpr char kSizes[] = "--tokens=6 --in_features=7 --out_features=5 ";
constexpr char kSmall[] =
    "--tokens=6 --in_features=7 --out_features=5 --steps=3 --warmup=1 --nopeak ";

CommandResult Bench(const std::string& arguments) { return RunCommand(kBench, arguments); }

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// One line that says what is wrong, a failing exit, nothing on stdout.
void ExpectRefusal(const std::string& arguments, const std::string& words) {
  ExpectRefused(Bench(arguments), arguments, words);
}

// Columns that a line takes: continuation bytes of UTF-8 take none.
size_t Columns(const std::string& line) {
  return static_cast<size_t>(
      std::count_if(line.begin(), line.end(), [](char byte) { return (byte & 0xc0) != 0x80; }));
}

// The text with each line broken at a space made whole again.
std::string Unwrapped(const std::string& text) {
  return std::regex_replace(text, std::regex("\\n *"), " ");
}

TEST(BenchTest, FitsAScreenWhereAllIsWell) {
  const CommandResult result = Bench("");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_LE(std::count(result.out.begin(), result.out.end(), '\n'), 32) << result.out;
  std::istringstream lines(result.out + Bench("--help").out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(Columns(line), 100u) << line;
  for (const char* words :
       {"row mode", "column mode", "max ", "of 10 steps (measured)", "tokens/s", "FLOP/s",
        "of the measured peak", "its matrix products alone", "a rank\n",
        " a step in 2 collectives, exact; ",
        "  row against fp64: 7 quantities, worst error/bound 0.592 in W: ok",
        " in W, of 3 of 12 steps (0, 1, 11): ok\n", "row / column: ", "10 pairs of blocks",
        "row against column: 7 quantities", "Verdict: the sharded steps agree"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  EXPECT_EQ(result.out.find("p99"), std::string::npos);
}

TEST(BenchTest, ShowsTablesWhereAsked) {
  const CommandResult result = Bench(std::string(kSmall) + "--verbose");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* words :
       {"loss by step", "gradient_sync", "dp 1: nothing to do", "all_gather of y over tp",
        "all_reduce of dx over tp", "all_reduce of y over tp", "all_gather of dx over tp",
        "side by side", "against the reference", "row against column"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  EXPECT_EQ(result.err, "");
}

TEST(BenchTest, SaysWhatItsTimesAreWorth) {
  const CommandResult few = Bench(std::string(kSmall) + "--speedup");
  EXPECT_NE(few.out.find("too few steps to tell them apart"), std::string::npos) << few.out;
  EXPECT_NE(few.out.find("speed-up over tp 1, which takes "), std::string::npos) << few.out;
  const CommandResult many = Bench(WithUsual(kSmall, "--steps=100 --tp=64 --mode=row"));
  EXPECT_NE(many.out.find("p99 "), std::string::npos) << many.out;
  EXPECT_NE(many.out.find("warning: 64 ranks share "), std::string::npos) << many.out;
}

TEST(BenchTest, SaysThatEveryProcessRunsTheWholeWorld) {
  const CommandResult result = RunCommand(
      "env RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=localhost tools/bench/bench", kSmall);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("warning: torchrun started 2 processes"), std::string::npos)
      << result.out;
}

TEST(BenchTest, EveryDtypeMeshAndAlgorithm) {
  for (const char* dtype : {"fp64", "fp32", "bf16", "fp16"}) {
    for (const char* mesh : {"--tp=1 --dp=1", "--tp=3 --dp=2", "--tp=8 --dp=1"}) {
      const CommandResult result = Bench(fmt::format("{} --dtype={} {}", kSmall, dtype, mesh));
      EXPECT_EQ(result.exit_code, 0) << dtype << " " << mesh << "\n" << result.out << result.err;
    }
  }
  for (const char* algorithm : {"ring", "tree", "halving_doubling", "direct"}) {
    const CommandResult result =
        Bench(fmt::format("{} --tp=3 --mode=column --verbose --algorithm={}", kSmall, algorithm));
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_NE(result.out.find(algorithm), std::string::npos) << result.out;
  }
}

// Two ranks' sums have one order, so their bits stay when the sums are cut.
TEST(BenchTest, SumsInPartsGiveTheSameBits) {
  const std::string folder = MakeScratchFolder();
  for (const auto& [name, part] : {std::pair("whole", 0), std::pair("parts", 1)}) {
    const CommandResult result = Bench(fmt::format("{} --tp=2 --dp=2 --sum_part_bytes={} --dump={}",
                                                   kSmall, part, folder + "/" + name));
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  }
  for (const char* mode : {"row", "column"}) {
    for (const char* name : {"y", "dx", "dw", "db", "w", "b"}) {
      const std::string file = fmt::format("{}/{}.npy", mode, name);
      const std::string contents = ReadWholeFile(folder + "/whole/" + file);
      EXPECT_FALSE(contents.empty()) << file;
      EXPECT_EQ(contents, ReadWholeFile(folder + "/parts/" + file)) << file;
    }
  }
}

TEST(BenchTest, SeededSchedulerGivesTheBitsOfTheFreeOne) {
  const std::string folder = MakeScratchFolder();
  ASSERT_EQ(Bench(fmt::format("{} --tp=3 --dump={}/free", kSmall, folder)).exit_code, 0);
  ASSERT_EQ(Bench(fmt::format("{} --tp=3 --scheduler=seeded --scheduler_seed=7 --dump={}/seeded",
                              kSmall, folder))
                .exit_code,
            0);
  for (const char* mode : {"row", "column"}) {
    for (const char* name : {"y", "dx", "dw", "db", "w", "b", "losses"}) {
      const std::string file = fmt::format("{}/{}.npy", mode, name);
      const std::string contents = ReadWholeFile(folder + "/free/" + file);
      EXPECT_FALSE(contents.empty()) << file;
      EXPECT_EQ(contents, ReadWholeFile(folder + "/seeded/" + file)) << file;
    }
  }
}

TEST(BenchTest, JsonHoldsConfigHostAndResults) {
  const std::string path = MakeScratchFolder() + "/result.json";
  ASSERT_EQ(Bench(fmt::format("{} --dp=2 --json={}", kSmall, path)).exit_code, 0);
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(path));
  EXPECT_EQ(json.at("config").at("dp"), 2);
  for (const char* key : {"gemm", "name", "processor"}) {
    EXPECT_TRUE(json.at("host").contains(key)) << key;
  }
  for (const char* key : {"commit", "date", "load", "warnings"}) {
    EXPECT_TRUE(json.at("run").contains(key)) << key;
  }
  EXPECT_EQ(json.at("complete"), true);
  EXPECT_EQ(json.at("row_over_column").at("blocks"), 3);
  ASSERT_EQ(json.at("results").size(), 2u);
  for (const nlohmann::json& result : json.at("results")) {
    for (const char* key : {"median", "min", "p99"}) {
      EXPECT_GT(result.at("step_ms").at(key).get<double>(), 0);
    }
    EXPECT_EQ(result.at("losses").size(), 4u);
    EXPECT_EQ(result.at("memory_bytes").size(), 4u);  // ranks
    EXPECT_GE(result.at("step_ms").at("max"), result.at("step_ms").at("median"));
    EXPECT_GT(result.at("phases").at("gradient_sync").at("communication_ms").get<double>(), 0);
    EXPECT_TRUE(result.at("bytes").at("ok").get<bool>());
    EXPECT_EQ(result.at("bytes").at("collectives").size(), 4u);  // y or xw, dx, dw, db
    EXPECT_TRUE(result.at("equivalence").at("ok").get<bool>());
    EXPECT_TRUE(result.at("equivalence").at("quantities").contains("dX"));
  }
}

// What is dumped is loaded again: the run goes on from the same weights and gives the same numbers.
TEST(BenchTest, LoadReadsWhatItIsGiven) {
  const std::string folder = MakeScratchFolder();
  HostTensor w({5, 7}, DType::kFloat64);
  for (int64_t i = 0; i < w.size(); ++i) w.Set(i, 0.25 * static_cast<double>(i % 9) - 1);
  ASSERT_TRUE(io::WriteNpy(folder + "/w.npy", w).ok());
  // With a learning rate of zero the weights stay what was loaded.
  const CommandResult result =
      Bench(fmt::format("{} --lr=0 --load={} --dump={}/out", kSmall, folder, folder));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* mode : {"row", "column"}) {
    const StatusOr<HostTensor> back = io::ReadNpy(fmt::format("{}/out/{}/w.npy", folder, mode));
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_EQ(back->ToDoubles(), w.ToDoubles());
  }
}

TEST(BenchTest, RefusesWrongFlags) {
  ExpectRefusal("--no_such_flag=1", "no_such_flag");
  ExpectRefusal("--tp=two", "tp");
  ExpectRefusal("--tp=-1", "--tp=-1: it must be at least 1");
  ExpectRefusal("--sum_part_bytes=64X", "--sum_part_bytes=64X");
  ExpectRefusal("--dp=-1", "--dp=-1");
  ExpectRefusal("--tokens=0", "--tokens=0");
  ExpectRefusal("--in_features=-5", "--in_features=-5");
  ExpectRefusal("--out_features=9223372036854775807", "out_features");
  ExpectRefusal("--steps=0", "--steps=0");
  ExpectRefusal("--lr=nan", "--lr=nan");
  ExpectRefusal("--lr=-1e39",
                "--lr=-1e+39: it must be at most 3.40282e+38 in size with --dtype=fp32");
  ExpectRefusal("--deadline=0", "--deadline=0");
  ExpectRefusal("--mode=diagonal", "row, column or both");
  ExpectRefusal("--dtype=fp8", "--dtype=fp8");
  ExpectRefusal("--algorithm=magic", "halving_doubling");
  ExpectRefusal("--scheduler=slow", "free or seeded");
  ExpectRefusal("--backend=gpu", "sim or nccl");
  ExpectRefusal("--dtype=tf32", "tf32 is a mode of GPUs");
  ExpectRefusal("stray", "'stray' is no flag");
  ExpectRefusal("--tp=70000 --dp=70000", "ranks");
  ExpectRefusal("--in_features=4000000 --out_features=4000000", "of memory, and ");
}

TEST(BenchTest, TakesSizesFromWhatItLoads) {
  const std::string folder = MakeScratchFolder();
  ASSERT_TRUE(io::WriteNpy(folder + "/w.npy", HostTensor({5, 7}, DType::kFloat32)).ok());
  const std::string flags = fmt::format("--load={} --nopeak --steps=1 ", folder);
  const CommandResult result = Bench(flags + "--tp=0");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out.rfind("20 tokens x 7 -> 5 features, fp32, tp 2", 0), 0u) << result.out;
  // What is asked for counts, and what files say otherwise is an error.
  ExpectRefusal(flags + "--in_features=8", "but shape [5, 8] is needed");
  ASSERT_TRUE(io::WriteNpy(folder + "/b.npy", HostTensor({6}, DType::kFloat32)).ok());
  ExpectRefusal(flags, folder + "/b.npy: has shape [6], but shape [5] is needed");
}

TEST(BenchTest, LosesNoFileToTheTextsReader) {
  const std::string folder = MakeScratchFolder();
  const std::string outputs =
      fmt::format("{} --json={}/r.json --dump={}/d", kSmall, folder, folder);
  // A reader that has left, a full disk, and a closed descriptor; the files are there each time.
  for (const auto& [where, status] :
       {std::pair("| true; exit ${PIPESTATUS[0]}", 0), {"> /dev/full", 1}, {">&-", 1}}) {
    const CommandResult result =
        RunCommand("bash -c", fmt::format("'tools/bench/bench {} {}'", outputs, where));
    EXPECT_EQ(result.exit_code, status) << where << result.err;
    EXPECT_EQ(result.err.empty(), status == 0) << where << result.err;
    EXPECT_TRUE(nlohmann::json::parse(ReadWholeFile(folder + "/r.json")).at("ok").get<bool>());
    for (const char* file : {"row/losses", "column/w"}) {
      EXPECT_TRUE(Exists(fmt::format("{}/d/{}.npy", folder, file))) << file;
    }
    std::filesystem::remove(folder + "/r.json");
    std::filesystem::remove_all(folder + "/d");
  }
}

TEST(BenchTest, CtrlCLeavesWhatWasMeasured) {
  const std::string path = MakeScratchFolder() + "/r.json";
  const std::string endless = fmt::format("{} --nopeak --steps=1000000000 --json={}", kSizes, path);
  for (const char* signal : {"INT", "TERM", "HUP"}) {
    const CommandResult result = RunCommand(
        fmt::format("timeout --preserve-status -s {} 2 tools/bench/bench", signal), endless);
    EXPECT_EQ(result.exit_code, -1) << result.out << result.err;  // 128 and the signal
    EXPECT_NE(result.out.find("\nInterrupted: "), std::string::npos) << result.out;
    EXPECT_NE(result.out.find(", of 1000000000 asked for"), std::string::npos) << result.out;
    const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(path));
    EXPECT_EQ(json.at("complete"), false);
    EXPECT_EQ(json.at("ok"), false);
    EXPECT_EQ(json.at("outcome"), "incomplete");
    ASSERT_GE(json.at("results").size(), 1u);
    EXPECT_GT(json.at("results")[0].at("step_ms_all").size(), 0u);
    EXPECT_EQ(json.at("results")[0].at("clock"), "measured");
  }
}

// As soon as it has begun: in what it measures before the first step, or in the first steps.
TEST(BenchTest, ASignalBeforeTheFirstStepLeavesTheFacts) {
  const std::string path = MakeScratchFolder() + "/r.json";
  for (const char* step : {"--tokens=2000 --in_features=2000 --out_features=2000",
                           "--model=llama-tiny --batch=32 --sequence=128"}) {
    const CommandResult result =
        RunUntil("timed steps", kBench, fmt::format("{} --steps=1000000 --json={}", step, path));
    EXPECT_EQ(result.exit_code, -1) << result.out << result.err;  // 128 and the signal
    EXPECT_NE(result.out.find("\nInterrupted: "), std::string::npos) << result.out;
    const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(path));
    EXPECT_EQ(json.at("complete"), false);
    EXPECT_EQ(json.at("ok"), false);
    EXPECT_EQ(json.at("outcome"), "incomplete");
    EXPECT_TRUE(json.at("host").at("cores").is_number_integer()) << json.at("host");
    std::filesystem::remove(path);
  }
}

TEST(BenchTest, RefusesBadTensors) {
  const std::string folder = MakeScratchFolder();
  const std::string load = fmt::format("{} --load={} --json={}/r.json", kSmall, folder, folder);
  const std::string path = folder + "/w.npy";
  ExpectRefusal(fmt::format("{} --load={}/none", kSmall, folder), "no such folder");

  ASSERT_TRUE(io::WriteNpy(path, HostTensor({7, 5}, DType::kFloat32)).ok());
  ExpectRefusal(load, "[7, 5]");

  const std::string whole = io::EncodeNpy(HostTensor({5, 7}, DType::kFloat32));
  std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() - 3);
  ExpectRefusal(load, path);

  std::string huge = whole;
  huge.replace(huge.find("(5, 7)"), 6, "(9223372036854775807, 9223372036854775807)");
  std::ofstream(path, std::ios::binary) << huge;
  ExpectRefusal(load, path);

  std::string integers = whole;
  integers.replace(integers.find("<f4"), 3, "<i4");
  std::ofstream(path, std::ios::binary) << integers;
  ExpectRefusal(load, "i4");

  HostTensor with_nan({5, 7}, DType::kFloat32);
  with_nan.Set(9, std::nan(""));
  ASSERT_TRUE(io::WriteNpy(path, with_nan).ok());
  ExpectRefusal(load, "[1, 2]");

  HostTensor large({5, 7}, DType::kFloat64);
  large.Set(3, 1e39);
  ASSERT_TRUE(io::WriteNpy(path, large).ok());
  ExpectRefusal(load, "too large for fp32");

  EXPECT_FALSE(Exists(folder + "/r.json"));
}

TEST(BenchTest, SaysWhenTrainingDiverges) {
  const CommandResult result = Bench(WithUsual(kSmall, "--lr=1e30 --steps=8"));
  EXPECT_EQ(result.exit_code, 1) << result.out;
}

// A long run whose training is stable is proved to its end, however many steps it has; and some of
// its steps one by one.
TEST(BenchTest, LongRunsAreDecided) {
  const CommandResult result =
      Bench("--tokens=6 --in_features=7 --out_features=5 --mode=row --warmup=0 --lr=1 --steps=600");
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("row step by step: 7 quantities"), std::string::npos) << result.out;
  EXPECT_NE(Unwrapped(result.out).find("8 of 600 steps (74, 149, 224, 299, 374, 449, 524, 599)"),
            std::string::npos)
      << result.out;
}

// In bf16 each of many steps may round the weights by so much that in the end nobody can tell.
TEST(BenchTest, WhatCannotBeToldIsNoAgreement) {
  const std::string path = MakeScratchFolder() + "/result.json";
  const CommandResult result =
      Bench(fmt::format("--tokens=6 --in_features=7 --out_features=5 --dtype=bf16 --steps=500 "
                        "--mode=column --json={}",
                        path));
  EXPECT_EQ(result.exit_code, 3) << result.out << result.err;
  EXPECT_NE(result.out.find("Verdict: undecided"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("FAIL"), std::string::npos) << result.out;
  const nlohmann::json json = nlohmann::json::parse(ReadWholeFile(path));
  EXPECT_EQ(json.at("ok"), false);
  EXPECT_EQ(json.at("outcome"), "undecided");
  const nlohmann::json& column = json.at("results").at(0);
  EXPECT_EQ(column.at("equivalence").at("quantities").at("W").at("outcome"), "undecided");
  EXPECT_EQ(column.at("equivalence").at("quantities").at("W").at("undecided"), 35);
  EXPECT_EQ(column.at("step_by_step").at("outcome"), "ok");
}

TEST(BenchTest, TheVerdictSaysWhatRan) {
  const auto expect = [](const std::string& flags, const std::string& verdict) {
    const CommandResult result = Bench(WithUsual(kSmall, flags));
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_NE(Unwrapped(result.out).find(" " + verdict + " "), std::string::npos) << result.out;
  };
  expect("--tp=2",
         "Verdict: the sharded steps agree with the unsharded one and with each other, and moved "
         "exactly the bytes they must.");
  expect("--tp=2 --mode=column",
         "Verdict: the sharded column step agrees with the unsharded one, and moved exactly the "
         "bytes it must.");
  expect("--tp=1",
         "Verdict: on one rank, where nothing is sharded, the steps of both modes agree with the "
         "fp64 reference.");
  expect("--tp=1 --mode=row",
         "Verdict: on one rank, where nothing is sharded, the row step agrees with the fp64 "
         "reference.");
  expect("--tp=1 --dp=2 --mode=row",
         "Verdict: over dp alone, where the layer is not sharded, the row step agrees with the "
         "unsharded one, and moved exactly the bytes it must.");
  expect("--tp=2 --verify=off", "Not verified (--verify=off).");
}

TEST(BenchTest, HelpIsGroupedAndNamesTheModes) {
  const CommandResult result = Bench("--help");
  EXPECT_EQ(result.exit_code, 0);
  for (const char* words : {"What runs", "--tp=0", "--algorithm=auto", "ColwiseParallel"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words;
  }
}

}  // namespace
}  // namespace tp
