// The verify tool on a transformer's step: on a preset, on a model in Hugging Face's layout, and on
// bad input.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tests/tools/command.h"
#include "tp/io/atomic_file.h"

namespace tp {
namespace {

CommandResult Verify(const std::string& arguments) {
  return RunCommand("tools/verify/verify", WithUsual("--batch=2 --sequence=16", arguments));
}

void ExpectAgrees(const CommandResult& result, const std::string& words) {
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const std::string& expected :
       {words, std::string("0 undecided, 0 wrong"),
        std::string("Verdict: the sharded step is the unsharded program, but for rounding.")}) {
    EXPECT_NE(result.out.find(expected), std::string::npos) << expected << "\n" << result.out;
  }
}

TEST(VerifyModelTest, ProvesAStepOpByOp) {
  ExpectAgrees(Verify("--model=llama-tiny --tp=4 --steps=2"),
               "llama-tiny: 610,176 parameters in fp32, tp 4, dp 1");
  ExpectAgrees(Verify("--model=llama-tiny --tp=3 --dp=2 --sequence_parallel --micro_batches=2 "
                      "--recompute --dtype=bf16"),
               "in 2 micro-batches, activations recomputed");
  ExpectAgrees(Verify("--model=llama-tiny --tp=2 --dtype=bf16 --nomasters --steps=2"),
               "a step: 2 sequences of 16 tokens, no masters\n");
}

TEST(VerifyModelTest, ProvesAPartOpByOp) {
  ExpectAgrees(Verify("--model=llama-tiny --part=block --tp=3 --sequence_parallel --overlap"),
               "llama-tiny's block: 181,504 parameters in fp32, tp 3 with sequence parallelism");
  ExpectAgrees(Verify("--model=gpt2 --part=mlp --tp=2 --dp=2 --dtype=bf16 --steps=2"),
               "gpt2's mlp: 4,722,432 parameters in bf16, tp 2, dp 2");
  ExpectAgrees(Verify("--model=llama-tiny --part=block --tp=2 --reduction=invariant"),
               "llama-tiny's block");
}

TEST(VerifyModelTest, TakesTheSizesOfAPartAlone) {
  const std::string folder = MakeScratchFolder();
  const std::string config =
      R"({"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
          "intermediate_size": 40, "vocab_size": 300, "max_position_embeddings": 32,
          "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true})";
  ASSERT_TRUE(io::WriteFileAtomically(folder + "/config.json", config).ok());
  ExpectAgrees(Verify("--part=block --tp=2 --hf=" + folder), folder + "'s block: 5,232 parameters");
}

TEST(VerifyModelTest, TakesWeightsInHuggingFacesLayout) {
  const std::string folder = MakeScratchFolder();
  const CommandResult trained =
      RunCommand("tools/train/train",
                 "--steps=2 --batch=2 --sequence=16 --sample=0 --eval_every=0 --save=" + folder);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ExpectAgrees(Verify("--hf=" + folder + "/step-2"), folder + "/step-2: 610,176 parameters");
}

nlohmann::json ReadJson(const std::string& path) {
  return nlohmann::json::parse(ReadWholeFile(path));
}

TEST(VerifyModelTest, HasTheSameBitsForEveryTp) {
  const std::string json = MakeScratchFolder() + "/v.json";
  const CommandResult both =
      Verify("--model=llama-tiny --tp=2 --steps=2 --lanes=ops,invariant --json=" + json);
  EXPECT_EQ(both.exit_code, 0) << both.out << both.err;
  for (const char* words : {"0 undecided, 0 wrong", "6 runs, tp 1 to 8: the same bits in all ",
                            "but for rounding; in the invariant order"}) {
    EXPECT_NE(both.out.find(words), std::string::npos) << words << "\n" << both.out;
  }
  const nlohmann::json written = ReadJson(json);
  EXPECT_EQ(written["outcome"], "ok");
  EXPECT_EQ(written["config"]["model"]["name"], "llama-tiny");
  EXPECT_GT(written["op_by_op"]["values"].size(), 100u);
  EXPECT_EQ(written["op_by_op"]["step"], 1);
  ASSERT_EQ(written["invariant"].size(), 6u);
  EXPECT_EQ(written["invariant"][5],
            nlohmann::json({{"tp", 8}, {"different", nlohmann::json::array()}}));

  const CommandResult part =
      Verify("--model=llama-tiny --part=block --sequence_parallel --dtype=bf16 --lanes=invariant");
  EXPECT_EQ(part.exit_code, 0) << part.out << part.err;
  EXPECT_EQ(part.out.find("op by op"), std::string::npos) << part.out;
  EXPECT_NE(part.out.find("in the invariant order its bits are the same for tp 1 to 8."),
            std::string::npos)
      << part.out;
}

TEST(VerifyModelTest, NamesTheOpsThatTheExactLaneCannotDecide) {
  const std::string json = MakeScratchFolder() + "/v.json";
  const CommandResult result = Verify("--model=llama-tiny --tp=2 --lanes=exact --json=" + json);
  EXPECT_EQ(result.exit_code, 3) << result.out << result.err;
  for (const char* words : {"may round on these inputs, and so not for this lane: ",
                            "attention (6)", " 0 wrong", "Verdict: undecided"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << result.out;
  }
  EXPECT_EQ(result.out.find("ok, 0 undecided"), std::string::npos) << result.out;
  EXPECT_EQ(ReadJson(json)["outcome"], "undecided");
}

TEST(VerifyModelTest, ASignalLeavesWhatThereIs) {
  const std::string json = MakeScratchFolder() + "/v.json";
  const CommandResult result =
      RunUntil("op by op", "tools/verify/verify",
               "--model=llama-tiny --batch=2 --sequence=64 --lanes=ops,invariant --json=" + json);
  EXPECT_EQ(result.exit_code, -1) << result.out << result.err;  // 128 and the signal
  EXPECT_NE(result.out.find("Verdict: interrupted before all was verified"), std::string::npos)
      << result.out;
  EXPECT_EQ(ReadJson(json)["outcome"], "incomplete");
}

TEST(VerifyModelTest, RefusesBadInputInOneLine) {
  for (const auto& [arguments, words] :
       {std::pair("--model=gpt5", "no model is called 'gpt5'"),
        std::pair("--hf=/nowhere", "/nowhere"),
        std::pair("--model=llama-tiny --mode=row", "--mode is of the linear layer's step"),
        std::pair("--model=llama-tiny --verbose", "--verbose is of the linear layer's step"),
        std::pair("--load=/tmp", "--batch is of a transformer's step: ask for one with --model"),
        std::pair("--model=llama-tiny --lanes=bounded", "ops, exact, invariant"),
        std::pair("--model=llama-tiny --lanes=none", "ops, exact, invariant"),
        std::pair("--model=llama-tiny --lanes=invariant --dp=5", "a divisor of 24"),
        std::pair("--model=llama-tiny --json=/nowhere/v.json", "/nowhere/v.json"),
        std::pair("--model=llama-tiny --nomasters", "--masters=false: weights in fp32 have no"),
        std::pair("--model=llama-tiny --text=/nowhere", "/nowhere")}) {
    ExpectRefused(Verify(arguments), arguments, words);
  }
}

}  // namespace
}  // namespace tp
