// The verify tool on results of the user's own: right ones, wrong ones, and what can't be told.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tests/tools/verify_inputs.h"
#include "tp/io/npy.h"

namespace tp {
namespace {

// Results of the bench on the same tensors: an implementation that is right.
std::string MakeResults(const std::string& inputs, const std::string& flags) {
  const std::string folder = MakeScratchFolder();
  const CommandResult bench = RunCommand(
      "tools/bench/bench",
      fmt::format("--load={} --dump={} --tokens={} --in_features={} --out_features={} {}", inputs,
                  folder, kTokens, kIn, kOut, flags));
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  return folder;
}

void Change(const std::string& path, const std::function<void(HostTensor&)>& change) {
  StatusOr<HostTensor> tensor = io::ReadNpy(path);
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  change(*tensor);
  Write(path, *tensor);
}

TEST(VerifyResultsTest, RightResultsOfTheUserAgree) {
  for (const char* dtype : {"fp64", "fp32", "bf16", "fp16"}) {
    const std::string inputs = MakeInputs(DType::kFloat64);
    const std::string flags = fmt::format("--tp=2 --dp=2 --dtype={} --lr=0.1", dtype);
    const std::string results = MakeResults(inputs, flags + " --warmup=1 --steps=2");
    for (const char* mode : {"row", "column"}) {
      const CommandResult result =
          Verify(fmt::format("--load={} --expect={}/{} --mode={} --steps=3 --lanes=none {}", inputs,
                             results, mode, mode, flags));
      EXPECT_EQ(result.exit_code, 0) << dtype << result.out << result.err;
      EXPECT_TRUE(Contains(result.out, "Verdict: your results: agree.\n")) << result.out;
      EXPECT_TRUE(Contains(result.out, "your results against fp64: 7 quantities")) << result.out;
      EXPECT_FALSE(Contains(result.out, "Our engine")) << result.out;
    }
  }
}

// After many steps, too: weights of another run do not pass, and where rounding may have moved the
// right ones as far, the verdict says that it does not know.
TEST(VerifyResultsTest, LongRunsAreDecidedOrSaidNotToBe) {
  const std::string inputs = MakeInputs();
  const auto verify = [&](const std::string& dtype, const HostTensor* w) {
    const std::string flags = fmt::format("--tp=2 --mode=row --lr=0.3 --dtype={}", dtype);
    const std::string results = MakeScratchFolder() + "/results";
    const CommandResult bench = RunCommand(
        "tools/bench/bench", fmt::format("--load={} --dump={} --tokens={} --in_features={} "
                                         "--out_features={} --warmup=0 --steps=300 {}",
                                         inputs, results, kTokens, kIn, kOut, flags));
    EXPECT_NE(bench.exit_code, 1) << bench.out << bench.err;
    if (w != nullptr) Write(results + "/row/w.npy", *w);
    return Verify(fmt::format("--load={} --expect={}/row --steps=300 --lanes=none {}", inputs,
                              results, flags));
  };
  const HostTensor garbage = Random({kOut, kIn}, 17);
  EXPECT_EQ(verify("fp32", nullptr).exit_code, 0);
  EXPECT_EQ(verify("fp32", &garbage).exit_code, 1);
  for (const HostTensor* w : {static_cast<const HostTensor*>(nullptr), &garbage}) {
    const CommandResult result = verify("bf16", w);
    EXPECT_EQ(result.exit_code, 3) << result.out << result.err;
    EXPECT_TRUE(Contains(result.out, "Verdict: your results: undecided.")) << result.out;
  }
}

TEST(VerifyResultsTest, WrongResultsOfTheUserAreNamed) {
  const std::string inputs = MakeInputs();
  const std::string flags = fmt::format("--load={} --tp=3 --lanes=none ", inputs);
  const HostTensor b = Random({kOut}, 3);
  const auto expect = [&](const char* mode, const std::string& file,
                          const std::function<void(HostTensor&)>& change, const char* quantity,
                          const char* cause) {
    const std::string folder = MakeResults(inputs, "--tp=3 --warmup=0 --steps=1") + "/" + mode;
    Change(folder + "/" + file, change);
    const std::string json = folder + "/report.json";
    const CommandResult result =
        Verify(fmt::format("{} --mode={} --expect={} --json={}", flags, mode, folder, json));
    EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
    EXPECT_EQ(result.err, "");
    EXPECT_TRUE(Contains(result.out, fmt::format("DIFFERS, first in {}\n", quantity)))
        << result.out;
    EXPECT_TRUE(Contains(result.out, cause)) << result.out;
    EXPECT_TRUE(Contains(result.out, "Verdict: your results: DIFFER.")) << result.out;
    const nlohmann::json report = nlohmann::json::parse(ReadWholeFile(json));
    EXPECT_EQ(report["ok"], false);
    EXPECT_EQ(report["expect"]["first_divergence"], quantity);
  };
  expect(
      "column", "y.npy",
      [&](HostTensor& y) {
        for (int64_t i = 0; i < y.size(); ++i) y.Set(i, y.At(i) + 2 * b.At(i % kOut));
      },
      "Y", "the bias is added on every one of the 3 tp ranks");
  expect(
      "row", "y.npy",
      [&](HostTensor& y) {
        const std::vector<double> right = y.ToDoubles();
        int64_t next = 0;
        for (const auto& [begin, end] : {std::pair(0, 3), std::pair(3, 5), std::pair(5, 7)}) {
          for (int64_t m = 0; m < kTokens; ++m) {
            for (int64_t n = begin; n < end; ++n) y.Set(next++, right[m * kOut + n]);
          }
        }
      },
      "Y", "laid out rank-major");
  expect(
      "row", "db.npy", [](HostTensor& db) { db.Set(4, 1.001 * db.At(4)); }, "db",
      "FAIL: 1 elements");
  expect(
      "column", "w.npy",
      [](HostTensor& w) {
        w = Random({kOut, kIn}, 2);
      },
      "W", "no gradient reaches W");
  expect(
      "row", "dx.npy", [](HostTensor& dx) { dx.Set(0, std::nan("")); }, "dX", "1 NaN");
  expect(
      "row", "losses.npy", [](HostTensor& losses) { losses.Set(0, 3 * losses.At(0)); }, "loss",
      "scaled by tp (3)");
}

TEST(VerifyResultsTest, ResultsNeedNotBeAll) {
  const std::string inputs = MakeInputs();
  const std::string results = MakeScratchFolder();
  const std::string all = MakeResults(inputs, "--tp=1 --mode=row --warmup=0 --steps=1") + "/row";
  Write(results + "/y.npy", io::ReadNpy(all + "/y.npy").value());
  const std::string flags =
      fmt::format("--load={} --expect={} --tp=1 --lanes=none", inputs, results);
  EXPECT_EQ(Verify(flags).exit_code, 0);  // what is not split needs no --mode
  EXPECT_TRUE(Contains(Verify(flags).out, "your results against fp64: 1 of 7 quantities, "));
  ASSERT_EQ(std::remove((inputs + "/targets.npy").c_str()), 0);
  EXPECT_EQ(Verify(flags).exit_code, 0);
  Write(results + "/db.npy", io::ReadNpy(all + "/db.npy").value());
  ExpectRefusal(flags, "db.npy depends on the targets of the loss");
}

TEST(VerifyResultsTest, RefusesBadResults) {
  const std::string inputs = MakeInputs();
  const auto refuse = [&](const char* file, const HostTensor& tensor, const std::string& flags,
                          const std::string& words) {
    const std::string folder = MakeScratchFolder();
    Write(folder + "/" + file, tensor);
    ExpectRefusal(fmt::format("--load={} --expect={} --mode=row {}", inputs, folder, flags), words);
  };
  refuse("y.npy", Random({kOut, kTokens}, 0), "", "y.npy");
  refuse("y.npy", Random({kTokens, kOut}, 0), "--dtype=fp64", "say --dtype=fp32");
  refuse("losses.npy", Random({2}, 0), "--steps=3", "holds 2 losses; --steps=3 makes 3");
}

}  // namespace
}  // namespace tp
