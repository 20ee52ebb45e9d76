// The verify tool as a user runs it on tensors of theirs, in each lane, and on bad input.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tests/tools/verify_inputs.h"
#include "tp/io/atomic_file.h"
#include "tp/io/npy.h"

namespace tp {
namespace {

std::string Safetensors(const std::vector<std::pair<std::string, HostTensor>>& tensors) {
  const std::pair<DType, const char*> names[] = {{DType::kFloat64, "F64"},
                                                 {DType::kFloat32, "F32"},
                                                 {DType::kBFloat16, "BF16"},
                                                 {DType::kFloat16, "F16"}};
  nlohmann::ordered_json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const auto* dtype = std::find_if(std::begin(names), std::end(names), [&](const auto& pair) {
      return pair.first == tensor.dtype();
    });
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
    header[name] = {{"dtype", dtype->second},
                    {"shape", tensor.shape()},
                    {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  return file + text + data;
}

TEST(VerifyTest, OurEngineAgreesOnTensorsOfTheUser) {
  const std::string inputs = MakeInputs();
  const std::string json = MakeScratchFolder() + "/report.json";
  const CommandResult result =
      Verify(fmt::format("--load={} --tp=3 --dp=2 --steps=3 --json={}", inputs, json));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* words :
       {"6 tokens x 9 -> 7 features, fp32, tp 3 x dp 2, 3 steps", "/x.npy, fp32",
        "  row against fp64: 7 quantities, worst error/bound ",
        "  column against fp64: ", "  row against column: ", "bounded lane, on these tensors",
        "exact lane, on integers of the same sizes, 3 steps",
        "Verdict: our engine, bounded: agrees; our engine, exact: agrees.\n"}) {
    EXPECT_TRUE(Contains(result.out, words)) << words << "\n" << result.out;
  }
  const nlohmann::json report = nlohmann::json::parse(ReadWholeFile(json));
  EXPECT_EQ(report["ok"], true);
  ASSERT_EQ(report["lanes"].size(), 2u);
  EXPECT_EQ(report["lanes"][0]["results"][1]["mode"], "column");
  EXPECT_EQ(report["lanes"][1]["results"][0]["equivalence"]["quantities"]["Y"]["error"], 0);
  EXPECT_FALSE(report.contains("expect"));
}

TEST(VerifyTest, LosesNothingUnsaid) {
  const std::string json = MakeScratchFolder() + "/report.json";
  const CommandResult result = RunCommand(
      "bash -c",
      fmt::format("'tools/verify/verify --load={} --json={} > /dev/full'", MakeInputs(), json));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Contains(result.err, "verify: the standard output: cannot be written"));
  const nlohmann::json report = nlohmann::json::parse(ReadWholeFile(json));
  EXPECT_EQ(report["ok"], true);
  EXPECT_EQ(report["complete"], true);
  const CommandResult full = Verify("--json=/dev/full --lanes=bounded --load=" + MakeInputs());
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_FALSE(Contains(full.out, "written: ")) << full.out;
}

TEST(VerifyTest, ShowsTablesWhereAsked) {
  const CommandResult result = Verify("--verbose --lanes=bounded --load=" + MakeInputs());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(Contains(result.out, "error/bound  verdict\n")) << result.out;
}

TEST(VerifyTest, ReadsSafetensorsOfEveryType) {
  const std::string folder = MakeScratchFolder();
  for (DType dtype : kAllDTypes) {
    const std::string file = fmt::format("{}/{}.safetensors", folder, Name(dtype));
    ASSERT_TRUE(io::WriteFileAtomically(
                    file, Safetensors({{"layer.weight", Random({kOut, kIn}, 2, dtype)},
                                       {"layer.bias", Random({kOut}, 3, dtype)},
                                       {"input", Random({kTokens, kIn}, 0, dtype)},
                                       {"in:colons", Random({kTokens, kOut}, 1, dtype)}}))
                    .ok());
    const CommandResult result = Verify(
        fmt::format("--x={0}:input --w={0}:layer.weight --b={0}:layer.bias --targets={0}:in:colons "
                    "--dtype={1} --steps=2",
                    file, Name(dtype)));
    EXPECT_EQ(result.exit_code, 0) << Name(dtype) << result.out << result.err;
    EXPECT_TRUE(Contains(result.out, fmt::format("{}:layer.bias, {}\n", file, Name(dtype))))
        << result.out;
  }
  const CommandResult rounded =
      Verify(fmt::format("--x={0}/fp64.safetensors:input --w={0}/fp32.safetensors:layer.weight "
                         "--dtype=bf16 --lanes=bounded",
                         folder));
  EXPECT_EQ(rounded.exit_code, 0) << rounded.out << rounded.err;
  EXPECT_TRUE(Contains(rounded.out, "input, fp64 rounded to bf16")) << rounded.out;
  EXPECT_TRUE(Contains(rounded.out, "none, so zero")) << rounded.out;
  EXPECT_TRUE(Contains(rounded.out, "none, so generated, seed 0")) << rounded.out;
  EXPECT_FALSE(Contains(rounded.out, "exact lane")) << rounded.out;
}

TEST(VerifyTest, TheExactLaneTakesTensorsThatAreExact) {
  const std::string folder = MakeScratchFolder();
  const auto integers = [](const Shape& shape, uint64_t stream) {
    HostTensor tensor = Random(shape, stream);
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, std::round(3 * tensor.At(i)));
    return tensor;
  };
  Write(folder + "/x.npy", integers({4, 5}, 0));
  Write(folder + "/w.npy", integers({8, 5}, 1));
  Write(folder + "/targets.npy", integers({4, 8}, 2));
  const std::string flags = fmt::format("--load={} --lanes=exact ", folder);
  const CommandResult exact = Verify(flags + "--lr=0.5");
  EXPECT_EQ(exact.exit_code, 0) << exact.out << exact.err;
  EXPECT_TRUE(Contains(exact.out, "exact lane, on these tensors, which leave no room"))
      << exact.out;
  const CommandResult rounding = Verify(flags + "--lr=0.3");
  EXPECT_EQ(rounding.exit_code, 0) << rounding.out << rounding.err;
  EXPECT_TRUE(Contains(rounding.out, "learning rate 0.3 must be")) << rounding.out;
}

TEST(VerifyTest, TheInvariantLaneSeesTheSameBits) {
  const std::string json = MakeScratchFolder() + "/report.json";
  const CommandResult result =
      Verify(fmt::format("--load={} --lanes=invariant --steps=3 --json={}", MakeInputs(), json));
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_TRUE(Contains(result.out, "Verdict: our engine, invariant: agrees.")) << result.out;
  const nlohmann::json runs = nlohmann::json::parse(ReadWholeFile(json))["invariant"];
  ASSERT_EQ(runs.size(), 12u);  // six tp degrees in both modes
  for (const nlohmann::json& run : runs) EXPECT_TRUE(run["different"].empty()) << run;
}

TEST(VerifyTest, TheLaneOfOpsHoldsEveryValueOfTheLastStep) {
  const std::string json = MakeScratchFolder() + "/report.json";
  const CommandResult result =
      Verify(fmt::format("--load={} --lanes=ops --tp=2 --steps=3 --json={}", MakeInputs(), json));
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_TRUE(Contains(result.out, "Verdict: our engine, op by op: agrees.")) << result.out;
  const nlohmann::json runs = nlohmann::json::parse(ReadWholeFile(json))["op_by_op"];
  ASSERT_EQ(runs.size(), 2u);  // a mode each
  for (const nlohmann::json& run : runs) {
    EXPECT_EQ(run["step"], 2);
    EXPECT_EQ(run["outcome"], "ok");
    EXPECT_FALSE(run.contains("first_failure"));
    EXPECT_GE(run["values"].size(), 12u);
    for (const nlohmann::json& value : run["values"]) {
      EXPECT_EQ(value["checked"], value["total"]) << value;
      EXPECT_LE(value["error"], value["bound"]) << value;
    }
  }
}

// The engine's own steps are held one by one, all of them.
TEST(VerifyTest, OurOwnStepsAreHeldOneByOne) {
  const CommandResult result =
      Verify(fmt::format("--load={} --lanes=bounded --steps=20 --mode=row", MakeInputs()));
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_TRUE(Contains(result.out, "20 of 20 steps (0, 1, 2,")) << result.out;
}

// 3e-41 is no normal number of fp32: with 15 of 24 bits, what it multiplies is off by as much.
TEST(VerifyTest, ASubnormalRateIsNoDefect) {
  const std::string folder = MakeScratchFolder();
  HostTensor x({1, 4}, DType::kFloat32);
  for (int64_t i = 0; i < 4; ++i) x.Set(i, 1e19);
  HostTensor targets({1, 1}, DType::kFloat32);
  targets.Set(0, 1e18);
  Write(folder + "/x.npy", x);
  Write(folder + "/w.npy", HostTensor({1, 4}, DType::kFloat32));
  Write(folder + "/targets.npy", targets);
  for (const char* steps : {"1", "3"}) {
    const CommandResult result =
        Verify(fmt::format("--load={} --lr=3e-41 --lanes=bounded --steps={}", folder, steps));
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  }
}

TEST(VerifyTest, RefusesBadFlags) {
  const std::string load = "--load=" + MakeInputs() + " ";
  ExpectRefusal("", "no x: give it by --x=FILE:NAME, or a folder with x.npy by --load=DIR");
  ExpectRefusal(load + "--lanes=exactly", "--lanes=exactly: it must be bounded");
  ExpectRefusal(load + "--lanes=", "--lanes=: it must be");
  ExpectRefusal(load + "--lanes=invariant --backend=nccl --dtype=tf32",
                "without invariant with --dtype=tf32");
  ExpectRefusal(load + "--reduction=invariant --backend=nccl --dtype=tf32",
                "fast with --dtype=tf32");
  ExpectRefusal(load + "--lanes=invariant --dp=5", "--dp=5: it must be a divisor of 24");
  ExpectRefusal(load + "--lanes=none", "leaves nothing to verify");
  ExpectRefusal(load + "--steps=0", "--steps=0: it must be at least 1");
  ExpectRefusal(load + "--tp=-1", "--tp=-1: it must be at least 1");
  ExpectRefusal(load + "--mode=diagonal", "--mode=diagonal");
  ExpectRefusal(load + "--dtype=fp8", "--dtype=fp8");
  ExpectRefusal(load + "--tokens=6", "tokens");  // the tensors say that
  ExpectRefusal(load + "word", "'word' is no flag");
  ExpectRefusal(load + "--json=/nowhere/report.json", "/nowhere/report.json");
  ExpectRefusal(load + "--expect=/nowhere", "--expect needs --mode=row or --mode=column");
  ExpectRefusal(load + "--expect=/nowhere --mode=row",
                "--expect=/nowhere: there is no such folder");
  ExpectRefusal(load + "--expect=" + MakeScratchFolder() + " --mode=row", "there is none of y.npy");
  ExpectRefusal("--load=/nowhere", "--load=/nowhere: there is no such folder");
  ExpectRefusal("--load=" + MakeScratchFolder(), "there is no x.npy");
}

TEST(VerifyTest, OverwritesNothingThatItReads) {
  const std::string folder = MakeInputs(), x = folder + "/x.npy", before = ReadWholeFile(x);
  for (const auto& [flag, flags] :
       {std::pair("--load", "--load=" + folder), std::pair("--w", "--x=" + x + " --w=" + x),
        std::pair("--expect", "--x=" + x + " --w=" + x + " --mode=row --expect=" + folder)}) {
    const std::string file = flag == std::string("--expect") ? folder + "/w.npy" : x;
    ExpectRefusal(flags + " --json=" + file,
                  "--json would overwrite " + file + ", which " + flag + " names");
  }
  EXPECT_EQ(ReadWholeFile(x), before);
}

TEST(VerifyTest, RefusesBadFiles) {
  const auto refuse = [](const char* file, const std::string& contents, const std::string& words) {
    const std::string folder = MakeInputs();
    ASSERT_TRUE(io::WriteFileAtomically(folder + "/" + file, contents).ok());
    ExpectRefusal("--load=" + folder, words);
  };
  const std::string x = io::EncodeNpy(Random({kTokens, kIn}, 0));
  refuse("x.npy", "", "x.npy");
  refuse("x.npy", "not a tensor at all", "x.npy");
  refuse("x.npy", x.substr(0, x.size() - 1), "x.npy");
  refuse("x.npy", x.substr(0, 20), "x.npy");
  std::string huge = x;
  huge.replace(huge.find("(6, 9)"), 6, "(9223372036854775807, 9)");
  refuse("x.npy", huge, "x.npy");
  refuse("x.npy", io::EncodeNpy(Random({5}, 0)), "x must be a matrix");
  refuse("w.npy", io::EncodeNpy(Random({kOut, kIn + 1}, 0)), "a column for each column of x");
  refuse("b.npy", io::EncodeNpy(Random({kOut + 1}, 0)), "b.npy");
  refuse("targets.npy", io::EncodeNpy(Random({kOut, kTokens}, 0)), "targets.npy");
  refuse("x.npy", io::EncodeNpy(HostTensor({0, kIn}, DType::kFloat32)), "[0, 7] is needed");
  HostTensor nan = Random({kOut, kIn}, 0);
  nan.Set(12, std::nan(""));
  refuse("w.npy", io::EncodeNpy(nan), "[1, 3]");
  HostTensor large = Random({kOut}, 0, DType::kFloat64);
  large.Set(2, 1e200);
  refuse("b.npy", io::EncodeNpy(large), "too large for fp32");
}

TEST(VerifyTest, RefusesBadSafetensors) {
  const std::string folder = MakeInputs();
  const std::string file = folder + "/bad.safetensors";
  const std::string good = Safetensors({{"x", Random({kTokens, kIn}, 0)}});
  const auto refuse = [&](const std::string& contents, const std::string& words) {
    ASSERT_TRUE(io::WriteFileAtomically(file, contents).ok());
    ExpectRefusal(fmt::format("--load={} --x={}:x", folder, file), words);
  };
  refuse(good.substr(0, good.size() - 1), "bad.safetensors");
  refuse("\xff\xff\xff\xff\xff\xff\xff\x7f" + good.substr(8), "bad.safetensors");
  std::string outside = good;
  outside.replace(outside.find("[0,216]"), 7, "[0,999]");
  refuse(outside, "bad.safetensors");
  refuse(Safetensors({{"other", Random({kTokens, kIn}, 0)}}), "has no tensor \"x\"");
  ExpectRefusal(fmt::format("--load={} --x={}", folder, file), "bad.safetensors");
  ExpectRefusal(fmt::format("--load={} --x=/nowhere.safetensors:x", folder), "/nowhere");
}

TEST(VerifyTest, PathsAreThoseOfWhereTheUserIs) {
  const std::string folder = MakeInputs();
  ASSERT_EQ(setenv("BUILD_WORKING_DIRECTORY", folder.c_str(), 1), 0);
  const CommandResult result = Verify("--load=. --x=./x.npy --lanes=bounded --json=report.json");
  ASSERT_EQ(unsetenv("BUILD_WORKING_DIRECTORY"), 0);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(ReadWholeFile(folder + "/report.json"), "");
}

TEST(VerifyTest, HelpListsEveryFlagOfItsOwn) {
  const CommandResult result = Verify("--help");
  EXPECT_EQ(result.exit_code, 0);
  for (const char* flag :
       {"--load", "--x", "--w", "--b", "--targets", "--expect", "--lanes", "--mode", "--tp", "--dp",
        "--dtype", "--steps", "--lr", "--json", "--backend"}) {
    EXPECT_TRUE(Contains(result.out, fmt::format("  {}=", flag))) << flag;
  }
  EXPECT_FALSE(Contains(result.out, "--tokens"));
}

}  // namespace
}  // namespace tp
