// The bench on a transformer's step, as a user runs it.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tests/tools/command.h"
#include "tp/io/atomic_file.h"

namespace tp {
namespace {

CommandResult Bench(const std::string& arguments) {
  return RunCommand("tools/bench/bench", WithUsual("--steps=2 --warmup=1 --nopeak", arguments));
}

nlohmann::json Measure(const std::string& arguments) {
  const std::string file = MakeScratchFolder() + "/bench.json";
  const CommandResult result = Bench(arguments + " --json=" + file);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  return nlohmann::json::parse(ReadWholeFile(file));
}

TEST(BenchModelTest, ShowsWhatAStepTakes) {
  const CommandResult result = RunCommand(
      "tools/bench/bench", "--model=llama-tiny --tp=2 --batch=2 --sequence=16 --steps=2");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* words :
       {"llama-tiny: 610,176 parameters in fp32, tp 2", "of 2 steps (measured)", " tokens/s\n",
        "(6 N T + 12 L H Q S T)", "of the measured peak, ", "its matrix products alone",
        "collectives, exact", "all_reduce over tp: ", "took the memory that was planned",
        "`verify --model=llama-tiny --tp=2 --batch=2 --sequence=16`"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
}

TEST(BenchModelTest, NamesTheProofOfTheSameCuts) {
  const std::string folder = MakeScratchFolder() + "/a folder";
  ASSERT_TRUE(io::CreateDirectories(folder).ok());
  std::string text;
  while (text.size() < 1000) text += "some words.";
  std::ofstream(folder + "/text") << text;
  const std::string flags =
      "--model=llama-tiny --tp=2 --dp=2 --dtype=bf16 --lr=0.1 --seed=3 --text='" + folder +
      "/text' --batch=4 --sequence=16 --within_documents --end_of_text=46 --sequence_parallel "
      "--micro_batches=2 --recompute --overlap=false --clip=0 --masters=false";
  const CommandResult result = Bench(flags);
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  std::string out = result.out;
  std::replace(out.begin(), out.end(), '\n', ' ');
  EXPECT_NE(out.find("`verify " + flags + "`"), std::string::npos) << result.out;
  const CommandResult proof = RunCommand("tools/verify/verify", flags);
  EXPECT_EQ(proof.exit_code, 0) << proof.out << proof.err;
}

TEST(BenchModelTest, OverwritesNothingThatItReads) {
  const std::string text = MakeScratchFolder() + "/text";
  std::ofstream(text) << std::string(1000, 'a');
  const std::string flags =
      "--model=llama-tiny --tp=2 --batch=2 --sequence=16 --text=" + text + " --json=" + text;
  ExpectRefused(Bench(flags), flags, "--json would overwrite " + text + ", which --text names");
  EXPECT_EQ(ReadWholeFile(text), std::string(1000, 'a'));
}

TEST(BenchModelTest, SaysWhereNothingIsTrained) {
  const std::string file = MakeScratchFolder() + "/bench.json";
  const CommandResult result =
      Bench("--model=llama-tiny --batch=2 --sequence=16 --lr=1e30 --clip=0 --json=" + file);
  EXPECT_EQ(result.exit_code, 1) << result.out;
  EXPECT_EQ(nlohmann::json::parse(ReadWholeFile(file)).at("outcome"), "FAIL");
  EXPECT_NE(result.out.find("Verdict: NO TRAINING, the loss of step "), std::string::npos)
      << result.out;
}

// What to do with a file is said where the file is there.
TEST(BenchModelTest, NamesNoReportOfAFileThatIsNot) {
  const std::string small = "--model=llama-tiny --tp=1 --batch=2 --sequence=16 ";
  const std::string file = MakeScratchFolder() + "/bench.json";
  const CommandResult good = Bench(small + "--json=" + file);
  EXPECT_NE(good.out.find("next: report " + file + "\n"), std::string::npos) << good.out;
  for (const std::string& more : {small, std::string("--tokens=8 --verify=off ")}) {
    const CommandResult full = Bench(more + "--json=/dev/full");
    EXPECT_EQ(full.exit_code, 1) << full.out;
    EXPECT_NE(full.err.find("/dev/full"), std::string::npos) << full.err;
    EXPECT_EQ(full.out.find("next:"), std::string::npos) << full.out;
    // Written, and it can't be read again.
    const CommandResult piped = RunCommand(
        "bash -c", "'tools/bench/bench --steps=2 --nopeak " + more + "--json=/dev/stdout | cat'");
    EXPECT_NE(piped.out.find("\"complete\": true"), std::string::npos) << piped.out;
    EXPECT_EQ(piped.out.find("next:"), std::string::npos) << piped.out;
  }
}

// Each way to cut the step, with its bytes and its memory; the record names all that was asked for.
TEST(BenchModelTest, RecordsBytesAndMemoryExactly) {
  const nlohmann::json json = Measure(
      "--model=llama-tiny --tp=3 --dp=2 --batch=4 --sequence=16 --sequence_parallel "
      "--micro_batches=2 --recompute --dtype=bf16 --nomasters");
  const nlohmann::json& model = json.at("config").at("model");
  EXPECT_EQ(model.at("name"), "llama-tiny");
  EXPECT_EQ(model.at("micro_batches"), 2);
  EXPECT_EQ(model.at("recompute"), true);
  EXPECT_EQ(model.at("masters"), false);
  EXPECT_EQ(json.at("config").at("dtype"), "bf16");
  const nlohmann::json& result = json.at("results").at(0);
  EXPECT_EQ(result.at("memory_bytes").size(), 6u);  // ranks
  EXPECT_EQ(result.at("memory_bytes"), result.at("memory_bytes_allocated"));
  EXPECT_EQ(result.at("losses").size(), 3u);
  EXPECT_TRUE(result.at("share_of_peak").is_null());  // --nopeak
  int64_t moved = 0;
  for (const auto& kind : result.at("bytes").at("kinds"))
    moved += kind.at("moved_bytes").get<int64_t>();
  int64_t collectives = 0;
  for (const auto& one : result.at("bytes").at("collectives")) {
    EXPECT_TRUE(one.at("ok").get<bool>()) << one.dump();
    collectives += one.at("moved_bytes").get<int64_t>();
  }
  EXPECT_GT(moved, 0);
  EXPECT_EQ(moved, collectives);
}

// It trains, and is one step however it is cut: in the invariant order, to the bit.
TEST(BenchModelTest, TrainsTheSameStepOnEveryMesh) {
  const std::string sizes = "--model=llama-tiny --reduction=invariant --batch=2 --sequence=16 ";
  const nlohmann::json losses = Measure(sizes + "--tp=1").at("results").at(0).at("losses");
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_LT(losses.at(1).get<double>(), losses.at(0).get<double>());
  EXPECT_LT(losses.at(2).get<double>(), losses.at(1).get<double>());
  for (const char* cut : {"--tp=3", "--tp=2 --sequence_parallel --recompute"}) {
    EXPECT_EQ(Measure(sizes + cut).at("results").at(0).at("losses"), losses) << cut;
  }
}

// What the model asks for and what its program's products do differ by what has no product of its
// own: the gains, and attention. Recomputation does more, and the model asks for no more.
TEST(BenchModelTest, CountsOperationsTwice) {
  const std::string sizes = "--model=llama-tiny --tp=2 --batch=2 --sequence=16";
  const nlohmann::json json = Measure(sizes);
  const nlohmann::json& model = json.at("config").at("model");
  const nlohmann::json& flops = json.at("results").at(0).at("flops");
  const double tokens = 2 * 16, layers = model.at("layers"), hidden = model.at("hidden");
  EXPECT_EQ(flops.at("model").get<double>() - flops.at("products").get<double>(),
            (6 * (2 * layers + 1) * hidden + 12 * layers * hidden * 16) * tokens);
  const nlohmann::json again = Measure(sizes + " --recompute").at("results").at(0).at("flops");
  EXPECT_EQ(again.at("model"), flops.at("model"));
  EXPECT_GT(again.at("products").get<double>(), flops.at("products").get<double>());
}

TEST(BenchModelTest, TakesTheSizesOfAFolder) {
  const std::string folder = MakeScratchFolder();
  const std::string config =
      R"({"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8,
          "intermediate_size": 40, "vocab_size": 300, "max_position_embeddings": 32,
          "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true})";
  ASSERT_TRUE(io::WriteFileAtomically(folder + "/config.json", config).ok());
  const nlohmann::json json = Measure("--hf=" + folder + " --tp=2 --batch=2 --sequence=16");
  // Embedding 300 x 24, queries and their output 24 x 24, key and value 24 x 8, three of 24 x 40,
  // three gains.
  EXPECT_EQ(json.at("config").at("model").at("parameters"),
            300 * 24 + 2 * 24 * 24 + 2 * 24 * 8 + 3 * 24 * 40 + 3 * 24);
  const nlohmann::json block = Measure("--hf=" + folder + " --part=block --batch=2 --sequence=16");
  EXPECT_EQ(block.at("config").at("model").at("parameters"),
            2 * 24 * 24 + 2 * 24 * 8 + 3 * 24 * 40 + 2 * 24);
  const CommandResult longer = Bench("--hf=" + folder + " --sequence=33");
  EXPECT_EQ(longer.exit_code, 1);
  EXPECT_NE(longer.err.find("--sequence=33"), std::string::npos) << longer.err;
}

// One block, or one feed-forward layer: no text, no loss, no update.
TEST(BenchModelTest, TimesAPart) {
  const CommandResult result = Bench(
      "--model=llama-tiny --part=block --tp=2 --sequence_parallel --overlap --batch=2 "
      "--sequence=16 --verbose");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* words :
       {"llama-tiny's block: 181,504 parameters in fp32, tp 2 with sequence parallelism",
        "a step: forward and backward of 2 sequences of 16 tokens",
        "1 warm-up and 2 timed steps, seed 0", "(6 N T + 12 H Q S T)", "all_gather over tp: ",
        "reduce_scatter over tp: ", "collectives, exact", "took the memory that was planned"}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  std::string out = result.out;
  std::replace(out.begin(), out.end(), '\n', ' ');
  EXPECT_NE(out.find("`verify --model=llama-tiny --part=block --tp=2 --batch=2 --sequence=16 "
                     "--sequence_parallel --overlap`"),
            std::string::npos)
      << result.out;
  EXPECT_EQ(result.out.find("loss"), std::string::npos) << result.out;
}

TEST(BenchModelTest, RecordsAPartExactly) {
  const std::string sizes = "--model=llama-tiny --part=mlp --batch=2 --sequence=16 --dtype=bf16 ";
  const double products = 18.0 * 2 * 16 * 128 * 344;
  for (const auto& [cut, all_reduces] :
       {std::pair("--tp=1", 0), std::pair("--tp=2", 2), std::pair("--tp=3 --sequence_parallel", 0),
        std::pair("--tp=2 --dp=2", 5)}) {
    SCOPED_TRACE(cut);
    const nlohmann::json json = Measure(sizes + cut);
    EXPECT_EQ(json.at("config").at("model").at("part"), "mlp");
    EXPECT_EQ(json.at("config").at("model").at("parameters"), 3 * 128 * 344);
    const nlohmann::json& result = json.at("results").at(0);
    EXPECT_EQ(result.at("flops").at("model"), products);
    EXPECT_EQ(result.at("flops").at("products"), products);
    EXPECT_EQ(result.at("memory_bytes"), result.at("memory_bytes_allocated"));
    EXPECT_EQ(result.at("losses").size(), 0u);
    int64_t reduced = 0;
    for (const auto& one : result.at("bytes").at("collectives")) {
      EXPECT_TRUE(one.at("ok").get<bool>()) << one.dump();
      if (one.at("kind") == "all_reduce") ++reduced;
    }
    // Of y and dx, over tp; of three weights' gradients, over dp.
    EXPECT_EQ(reduced, all_reduces);
  }
  EXPECT_TRUE(Measure("--model=llama-tiny --batch=2 --sequence=16")
                  .at("config")
                  .at("model")
                  .at("part")
                  .is_null());
}

TEST(BenchModelTest, RefusesFlagsOfTheOtherStep) {
  for (const auto& [arguments, words] :
       {std::pair("--model=gpt5", "no model is called 'gpt5'"),
        std::pair("--model=llama-tiny --mode=row", "--mode is of the linear layer's step"),
        std::pair("--model=llama-tiny --tokens=5", "--tokens is of the linear layer's step"),
        std::pair("--model=llama-tiny --verify=full", "--verify is of the linear layer's step"),
        std::pair("--model=llama-tiny --micro_batches=3", "a divisor of --batch"),
        std::pair("--model=llama-tiny --strands=2",
                  "--strands=2: it must be at most --micro_batches"),
        std::pair("--model=llama-tiny --steps=2147483647 --warmup=1",
                  "--warmup=1: it must be from 0 to 0 with --steps=2147483647"),
        std::pair("--model=llama-tiny --part=head", "--part=head: it must be block or mlp"),
        std::pair("--model=llama-tiny --part=mlp --clip=2", "--clip is of a whole step"),
        std::pair("--model=llama-tiny --part=mlp --dtype=bf16 --nomasters",
                  "--masters is of a whole step"),
        std::pair("--model=llama-tiny --nomasters",
                  "--masters=false: weights in fp32 have no masters; only those in bf16 and fp16"),
        std::pair("--model=llama-tiny --part=mlp --lr=2", "--lr is of a whole step"),
        std::pair("--model=llama-tiny --part=mlp --strands=2", "--strands is of a whole step"),
        std::pair("--part=mlp", "--part is of a transformer's step"),
        std::pair("--sequence=5", "--sequence is of a transformer's step"),
        std::pair("--nomasters", "--masters is of a transformer's step"),
        std::pair("--recompute", "--recompute is of a transformer's step")}) {
    ExpectRefused(Bench(arguments), arguments, words);
  }
}

}  // namespace
}  // namespace tp
