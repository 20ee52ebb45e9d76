// The train tool as a user runs it: what it prints and writes, that a run which was cut short goes
// on to the same bits, and what it says to bad input.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tp/core/clock.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

constexpr char kTrain[] = "tools/train/train";
constexpr char kSmall[] =
    "--steps=4 --batch=4 --sequence=16 --warmup=2 --sample=0 --eval_every=0 --tp=1 ";

CommandResult Train(const std::string& arguments) {
  return RunCommand(kTrain, WithUsual(kSmall, arguments));
}

// A text of its own, with bytes beyond ASCII.
std::string WriteText(const std::string& folder) {
  const std::string path = folder + "/text";
  std::ofstream file(path);
  for (int i = 0; i < 3000; ++i) file << "line " << i * i % 97 << " naïve\n";
  return path;
}

// Every file below a folder.
std::map<std::string, std::string> Files(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files[fs::relative(entry.path(), folder).string()] = ReadWholeFile(entry.path().string());
  }
  return files;
}

// The losses of a log, by step; all digits.
std::vector<double> Losses(const std::string& log) {
  std::vector<double> losses;
  std::istringstream lines(ReadWholeFile(log));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (!json.contains("loss")) continue;
    EXPECT_EQ(json.at("step"), losses.size() + 1);
    losses.push_back(json.at("loss"));
  }
  return losses;
}

// "step 1/4  loss 5.5580" and so on, without times.
std::vector<std::string> LossLines(const std::string& out) {
  std::vector<std::string> lines;
  const std::regex pattern("step +[0-9]+/[0-9]+  loss [0-9.]+");
  for (std::sregex_iterator match(out.begin(), out.end(), pattern), end; match != end; ++match) {
    lines.push_back(match->str());
  }
  return lines;
}

void ExpectRefusal(const std::string& arguments, const std::string& words) {
  ExpectRefused(Train(arguments), arguments, words);
}

TEST(TrainTest, TellsWhatItTrainsAndHowItGoes) {
  const std::string folder = MakeScratchFolder();
  const CommandResult result = RunCommand(
      kTrain, fmt::format("--steps=6 --batch=4 --sequence=16 --eval_every=2 --sample=20 "
                          "--save={0}/save --save_every=2 --log={0}/log --logdir={0}/events",
                          folder));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* words :
       {"llama-tiny: 610,176 parameters in fp32, tp 2, dp 1", "a step: 4 sequences of 16 tokens",
        "are held out", "step 6/6  loss ", " lr ", " tokens/s", "held-out loss ", "after step 2\n",
        "after step 4\n", "after step 6\n", "/save/step-6\n", "\nThe "}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  EXPECT_EQ(LossLines(result.out).size(), 6u);
  EXPECT_EQ(Losses(folder + "/log").size(), 6u);
  // The last two checkpoints are kept, and hold the optimizer's state too.
  EXPECT_FALSE(fs::exists(folder + "/save/step-2"));
  EXPECT_TRUE(fs::exists(folder + "/save/step-4"));
  EXPECT_TRUE(fs::exists(folder + "/save/step-6"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder + "/events"), fs::directory_iterator()), 1);
}

// In fp64 what ranks round differently is far behind the digits that are printed.
TEST(TrainTest, EverySplitPrintsTheSameLosses) {
  const std::string base = "--dtype=fp64 --save= ";
  const CommandResult one = Train(base);
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const std::vector<std::string> expected = LossLines(one.out);
  ASSERT_EQ(expected.size(), 4u);
  EXPECT_EQ(std::set<std::string>(expected.begin(), expected.end()).size(), 4u);
  for (const char* split : {"--tp=2", "--dp=2", "--tp=3 --sequence_parallel",
                            "--tp=2 --dp=2 --micro_batches=2", "--micro_batches=4 --recompute"}) {
    const CommandResult other = Train(base + split);
    ASSERT_EQ(other.exit_code, 0) << split << other.err;
    EXPECT_EQ(LossLines(other.out), expected) << split;
  }
}

// Steps of which other tokens count, in pieces that count other numbers of them.
TEST(TrainTest, KeepsWithinDocumentsOnEverySplit) {
  const std::string base = "--dtype=fp64 --save= --within_documents --end_of_text=32 ";
  const std::vector<std::string> expected = LossLines(Train(base).out);
  ASSERT_EQ(expected.size(), 4u);
  EXPECT_NE(LossLines(Train("--dtype=fp64 --save=").out), expected);
  for (const char* split : {"--tp=3 --sequence_parallel", "--tp=2 --dp=2 --micro_batches=2"}) {
    EXPECT_EQ(LossLines(Train(base + split).out), expected) << split;
  }
}

TEST(TrainTest, LearnsAnotherTextAndAnotherSeed) {
  const std::string folder = MakeScratchFolder();
  const std::string text = "--save= --text=" + WriteText(folder) + " ";
  const CommandResult one = Train(text + "--steps=30 --sample=10");
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const auto loss = [](const std::string& line) { return std::stod(line.substr(line.rfind(' '))); };
  const std::vector<std::string> lines = LossLines(one.out);
  EXPECT_LT(loss(lines.back()), loss(lines.front()) / 1.5);
  const CommandResult other = Train(text + "--seed=1");
  EXPECT_NE(LossLines(other.out)[0].substr(8), lines[0].substr(8));
  const CommandResult two = Train(fmt::format("--save= --text={0},{0}", folder + "/text"));
  EXPECT_NE(two.out.find("2 files"), std::string::npos) << two.out;
}

// Parameters, optimizer, step and order of data: all of the state.
TEST(TrainTest, GoesOnToTheBitsOfAnUninterruptedRun) {
  const std::string folder = MakeScratchFolder();
  const auto run = [&](const std::string& name, const std::string& more) {
    const CommandResult result = Train(fmt::format(
        "--tp=2 --save={0}/{1} --log={0}/{1}.log --save_every=2 {2}", folder, name, more));
    EXPECT_EQ(result.exit_code, 0) << more << result.err;
    return result;
  };
  run("whole", "--steps=6");
  run("parts", "--steps=6");
  fs::remove_all(folder + "/parts/step-6");
  const CommandResult resumed = run("parts", "--steps=6 --resume");
  EXPECT_NE(resumed.out.find("goes on from " + folder + "/parts/step-4"), std::string::npos);
  EXPECT_EQ(LossLines(resumed.out).size(), 2u);
  EXPECT_EQ(Files(folder + "/parts/step-6"), Files(folder + "/whole/step-6"));
  EXPECT_EQ(Losses(folder + "/parts.log"), Losses(folder + "/whole.log"));
}

bool HasCheckpoint(const std::string& folder) {
  if (!fs::exists(folder)) return false;
  const std::regex name("step-[0-9]+");
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(), [&](const auto& e) {
    return std::regex_match(e.path().filename().string(), name);
  });
}

// Ended at any moment, it goes on from the last whole checkpoint.
TEST(TrainTest, SurvivesBeingKilledAtAnyMoment) {
  const std::string folder = MakeScratchFolder();
  const std::string run = WithUsual(kSmall, "--steps=12 --save_every=1 --save=" + folder);
  const int64_t begin = HostClock().NowNs();
  ASSERT_EQ(RunCommand(kTrain, run + "/whole").exit_code, 0);
  const double whole = static_cast<double>(HostClock().NowNs() - begin) / 1e9;
  std::mt19937 random(7);
  int killed = 0;
  CommandResult result;
  for (int i = 0; i < 100 && result.exit_code != 0; ++i) {
    const bool begun = HasCheckpoint(folder + "/cut");
    const double seconds = whole * static_cast<double>(1 + random() % 100) / 100;
    result = RunCommand(fmt::format("timeout -s KILL {:.2f} {}", seconds, kTrain),
                        run + "/cut" + (begun ? " --resume" : ""));
    killed += result.exit_code != 0;
    ASSERT_NE(result.exit_code, 1) << result.err;  // that is a refusal
  }
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(killed, 0);
  EXPECT_EQ(Files(folder + "/cut/step-12"), Files(folder + "/whole/step-12"));
}

// A checkpoint is a model in Hugging Face's layout, which any split begins with.
TEST(TrainTest, BeginsWithAModelOfHuggingFacesLayout) {
  const std::string folder = MakeScratchFolder();
  ASSERT_EQ(Train("--tp=2 --save=" + folder + "/save").exit_code, 0);
  const std::string model = folder + "/save/step-4";
  for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(fs::exists(model + "/" + name)) << name;
  }
  const std::string base = "--dtype=fp64 --save= --hf=" + model + " ";
  const CommandResult one = Train(base);
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(LossLines(Train(base + "--tp=3 --dp=2 --sequence_parallel").out), LossLines(one.out));
  EXPECT_NE(LossLines(Train("--dtype=fp64 --save=").out), LossLines(one.out));
  ExpectRefusal(base + "--model=llama-tiny", "--model and --hf both say which model");
  ExpectRefusal(base + "--sequence=32", "--sequence=32: the model was made for up to 16 tokens");
  ExpectRefusal("--save= --hf=" + folder + "/none", folder + "/none");
}

// The state is that of any split: within rounding, the same losses.
TEST(TrainTest, GoesOnOnAnotherSplit) {
  const std::string folder = MakeScratchFolder();
  const std::string base = "--dtype=fp64 --steps=6 --save_every=4 --save=" + folder;
  const CommandResult whole = Train(base + "/a --tp=4");
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const std::vector<std::string> all = LossLines(whole.out);
  for (const char* split : {"--tp=3 --dp=2", "--tp=1"}) {
    fs::remove_all(folder + "/a/step-6");
    const CommandResult rest = Train(base + "/a --resume " + split);
    ASSERT_EQ(rest.exit_code, 0) << rest.err;
    EXPECT_EQ(LossLines(rest.out), std::vector<std::string>(all.begin() + 4, all.end())) << split;
  }
}

// In the invariant order not even rounding is left: the files are those of one rank.
TEST(TrainTest, GoesOnOnOtherSplitsToTheSameBitsInTheInvariantOrder) {
  const std::string folder = MakeScratchFolder();
  const std::string many = folder + "/many";
  const auto run = [&](const std::string& flags) {
    const CommandResult result = Train("--reduction=invariant --steps=6 " + flags);
    ASSERT_EQ(result.exit_code, 0) << flags << result.err;
  };
  run("--save=" + folder + "/one --tp=1");
  run("--save=" + many + " --save_every=4 --tp=4 --sequence_parallel");
  fs::remove_all(many + "/step-6");
  run("--save=" + many + " --save_every=5 --tp=3 --dp=2 --resume");
  fs::remove_all(many + "/step-6");
  ASSERT_TRUE(fs::exists(many + "/step-5"));
  run("--save=" + many + " --tp=1 --resume");
  EXPECT_EQ(Files(many + "/step-6"), Files(folder + "/one/step-6"));
}

TEST(TrainTest, SaysWhatIsWrongWithCheckpoints) {
  const std::string folder = MakeScratchFolder();
  const std::string save = "--save=" + folder + "/save ";
  ExpectRefusal(save + "--resume", "there is no checkpoint to go on from");
  ASSERT_EQ(Train(save).exit_code, 0);
  ExpectRefusal(save, "save/step-4 is there from another run: --resume goes on from it");
  const auto files = Files(folder + "/save/step-4");
  ASSERT_FALSE(files.empty());
  for (const auto& [name, contents] : files) {
    const std::string path = folder + "/save/step-4/" + name;
    fs::resize_file(path, contents.size() / 2);
    const CommandResult result = Train(save + "--steps=8 --resume");
    EXPECT_EQ(result.exit_code, 1) << name;
    EXPECT_NE(result.err.find(name), std::string::npos) << result.err;
    std::ofstream(path, std::ios::binary) << contents;
  }
  ExpectRefusal(save + "--steps=3 --resume",
                "--steps=3: " + folder + "/save/step-4 has 4 steps behind it");
  ExpectRefusal(save + "--steps=8 --resume --seed=1", "that run had --seed=0, and not 1");
  ExpectRefusal(save + "--steps=8 --resume --batch=8", "that run had --batch=4, and not 8");
  ExpectRefusal(save + "--steps=8 --resume --dtype=bf16",
                "that run had --dtype=fp32, and not bf16");
  ExpectRefusal(save + "--steps=8 --resume --text=" + WriteText(folder),
                "the --text of that run had 237320 tokens, and not ");
  ExpectRefusal(save + "--steps=8 --resume --model=gpt2",
                "save/step-4: is another model than gpt2");
  ExpectRefusal(save + "--steps=8 --resume --within_documents",
                "that run had --within_documents=false, and not true");
  EXPECT_EQ(Train(save + "--steps=8 --resume --model=llama-tiny").exit_code, 0);
  // Of an older version, which said less.
  const std::string state = folder + "/save/step-8/trainer.json";
  std::ofstream(state) << R"({"step": 8, "seed": 0, "batch": 4, "sequence": 16})";
  EXPECT_EQ(Train(save + "--steps=9 --resume").exit_code, 0);
}

TEST(TrainTest, RefusesBadInputInOneLine) {
  const std::string folder = MakeScratchFolder();
  std::ofstream(folder + "/empty");
  std::ofstream(folder + "/short") << "too short";
  ExpectRefusal("--model=gpt5", "no model is called 'gpt5'; there are ");
  ExpectRefusal("--save= --text=" + folder + "/none", folder + "/none");
  ExpectRefusal("--save= --text=" + folder, folder);
  ExpectRefusal("--save= --text=" + folder + "/empty", folder + "/empty");
  ExpectRefusal("--save= --text=" + folder + "/short", "a text of 9 tokens has no sequence of 16");
  ExpectRefusal("--save= --text=,", "--text=,: it must be files, with commas between");
  ExpectRefusal("--steps=0", "--steps=0: it must be at least 1");
  ExpectRefusal("--batch=0", "--batch=0: it must be at least 1");
  ExpectRefusal("--micro_batches=3", "--micro_batches=3: it must be a divisor of --batch, 4");
  ExpectRefusal("--end_of_text=32", "--end_of_text says where documents end: it needs");
  ExpectRefusal("--save= --within_documents --end_of_text=256",
                "--end_of_text=256: the model knows the tokens below 256");
  ExpectRefusal("--save= --model=llama3-70b --tp=2",
                "steps of llama3-70b with 4 sequences of 16 tokens on 2 ranks need about");
  ExpectRefusal("--lr=-1", "--lr=-1: it must be a finite number, 0 or more");
  ExpectRefusal("--lr=nan", "--lr=nan");
  ExpectRefusal("--min_lr=-2", "--min_lr=-2: it must be a finite number, 0 or more");
  ExpectRefusal("--weight_decay=inf", "--weight_decay=inf");
  ExpectRefusal("--weight_decay=1e300", "--weight_decay=1e+300: it must be at most 3.40282e+38");
  ExpectRefusal("--min_lr=1e300", "--min_lr=1e+300: it must be at most 3.40282e+38");
  ExpectRefusal("--temperature=-1", "--temperature=-1");
  ExpectRefusal("--warmup=-1", "--warmup=-1: it must be at least 0");
  ExpectRefusal("--tp=-1", "--tp=-1");
  ExpectRefusal("--dtype=int8", "--dtype=int8");
  ExpectRefusal("--sample=1 --prompt=", "--prompt is empty");
  ExpectRefusal("--save= --resume", "--resume goes on from a checkpoint in --save, which is empty");
  ExpectRefusal("--save= --save_every=1", "--save_every");
  ExpectRefusal("--mode=row", "--mode: train has no such flag");
  ExpectRefusal("--part=mlp", "--part: train has no such flag");
  ExpectRefusal("word", "'word' is no flag");
}

TEST(TrainTest, SaysWhereNothingCanBeWritten) {
  const CommandResult log = Train("--save= --log=/nowhere/log");
  EXPECT_EQ(log.exit_code, 1);
  EXPECT_NE(log.err.find("/nowhere/log"), std::string::npos) << log.err;
  const CommandResult full = Train("--save= --log=/dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.err.find("/dev/full"), std::string::npos) << full.err;
  EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
  // Before the work, not when its end is to be saved: where no file can be made, not by root
  // either.
  ExpectRefusal("--save=/proc", "/proc: no checkpoint can be made in it");
  ExpectRefusal("--save=/proc/none", "/proc/none");
  ExpectRefusal("--save= --logdir=/proc", "/proc/events.out.tfevents");
}

// What is said at the end is a command line that works, with all that makes the step this one.
TEST(TrainTest, NamesTheProofOfItsStep) {
  const std::string folder = MakeScratchFolder();
  const CommandResult result = Train("--sequence_parallel --tp=3 --save=" + folder + "/save");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string flags =
      "--hf=" + folder + "/save/step-4 --tp=3 --batch=4 --sequence=16 " + "--sequence_parallel";
  EXPECT_TRUE(result.out.ends_with("\nnext: verify " + flags + "\n")) << result.out;
  EXPECT_EQ(RunCommand("tools/verify/verify", flags).exit_code, 0);

  const CommandResult events = Train("--save= --logdir=" + folder + "/events");
  EXPECT_TRUE(events.out.ends_with("\nnext: tensorboard --logdir " + folder + "/events\n"))
      << events.out;
}

// A sample begins with bytes beyond ASCII as with others: in this model all are tokens.
TEST(TrainTest, BeginsASampleWithAnyByte) {
  const CommandResult result = Train("--save= --sample=1 --prompt=é");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("\n\\xc3\\xa9"), std::string::npos) << result.out;
}

// Ids of a tokenizer are no bytes: a sample begins with ids, and is shown as such.
TEST(TrainTest, WritesIdsWhereItLearnsIds) {
  const std::string folder = MakeScratchFolder();
  const std::string text = "--save= --text=" + folder + "/ids.bin ";
  std::ofstream file(folder + "/ids.bin", std::ios::binary);
  for (int i = 0; i < 1000; ++i) file << static_cast<char>(100 + i % 10) << '\0';
  file.close();
  const CommandResult result = Train(text + "--sample=2");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::regex held_out("\n100 101 102 103 104 105 106 107( [0-9]+){2}\n$");
  EXPECT_TRUE(std::regex_search(result.out, held_out)) << result.out;
  const CommandResult given = Train(text + "--sample=1 --prompt=7,255");
  EXPECT_TRUE(std::regex_search(given.out, std::regex("\n7 255 [0-9]+\n$"))) << given.out;
  ExpectRefusal(text + "--sample=1 --prompt=7,256",
                "the model knows no token 256, only those below");
  ExpectRefusal(text + "--sample=1 --prompt=The", "it must be whole numbers with commas between");
  EXPECT_EQ(Train(text + "--prompt=The").exit_code, 0);
}

TEST(TrainTest, PlansWithoutRunning) {
  const CommandResult result = Train("--plan --model=smollm2-135m --tp=4 --sequence=512");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* words :
       {"smollm2-135m: 134,515,008 parameters", "memory: ", "a rank", "planned in "}) {
    EXPECT_NE(result.out.find(words), std::string::npos) << words << "\n" << result.out;
  }
  EXPECT_TRUE(LossLines(result.out).empty());
}

}  // namespace
}  // namespace tp
