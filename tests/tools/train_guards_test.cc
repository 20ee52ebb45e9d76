// What the train tool keeps a run from: weights that are no numbers, a folder that another run
// writes to, and a plan of another model.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "tests/tools/command.h"

namespace tp {
namespace {

namespace fs = std::filesystem;

CommandResult Train(const std::string& arguments) {
  return RunCommand(
      "tools/train/train",
      WithUsual("--steps=4 --batch=4 --sequence=16 --sample=0 --eval_every=0", arguments));
}

void ExpectRefusal(const std::string& arguments, const std::string& words) {
  ExpectRefused(Train(arguments), arguments, words);
}

TEST(TrainGuardsTest, PlansTheModelThatItGoesOnWith) {
  const std::string save = "--save=" + MakeScratchFolder() + "/save ";
  ASSERT_EQ(Train(save).exit_code, 0);
  ExpectRefusal(save + "--plan --resume --model=gpt2", "save/step-4: is another model than gpt2");
  EXPECT_NE(Train(save + "--plan --resume").out.find("save/step-4: 610,176 parameters"),
            std::string::npos);
}

// Not the step's memory alone: held-out text and the sample have programs of their own.
TEST(TrainGuardsTest, PlansAllThatARunAllocates) {
  const auto mib = [](const std::string& flags) {
    const std::string out = Train("--plan --tp=1 " + flags).out;
    std::smatch found;
    const std::regex memory("memory: ([0-9.]+) MiB a rank\n +([0-9.]+) MiB for the step, ");
    EXPECT_TRUE(std::regex_search(out, found, memory)) << out;
    return std::pair(std::stod(found[1]), std::stod(found[2]));
  };
  const auto [all, step] = mib("--sample=1");
  const auto [without, same] = mib("--sample=0");
  EXPECT_EQ(step, same);
  constexpr double kParameters = 610176 * 4 / 1048576.0;
  EXPECT_GT(without, step + kParameters);
  EXPECT_GT(all, without + kParameters);
  const auto [most, masters] = mib("--dtype=bf16");
  const auto [least, none] = mib("--dtype=bf16 --nomasters");
  EXPECT_NEAR(masters - none, kParameters, kParameters / 10);
  EXPECT_LT(least, most);
}

// With masters and without are two runs: neither goes on with the other.
TEST(TrainGuardsTest, GoesOnWithMastersOrWithout) {
  const std::string folder = MakeScratchFolder();
  for (const char* masters : {"true", "false"}) {
    const bool with = std::string(masters) == "true";
    const std::string save =
        "--tp=2 --dtype=bf16 --save_every=2 --save=" + folder + "/" + masters + " ";
    const std::string own = std::string("--masters=") + masters;
    ASSERT_EQ(Train(save + own).exit_code, 0);
    const std::string optimizer = folder + "/" + masters + "/step-4/optimizer.safetensors";
    const std::string whole = ReadWholeFile(optimizer);
    EXPECT_EQ(whole.find(".master") != std::string::npos, with);
    ExpectRefusal(
        save + "--steps=8 --resume --masters=" + (with ? "false" : "true"),
        fmt::format("that run had --masters={}, and not {}: its steps were others", with, !with));
    fs::remove_all(folder + "/" + masters + "/step-4");
    ASSERT_EQ(Train(save + own + " --resume").exit_code, 0);
    EXPECT_EQ(ReadWholeFile(optimizer), whole);
  }
  // Its weights begin another run, with masters.
  const CommandResult begun = Train("--dtype=bf16 --save= --hf=" + folder + "/false/step-4");
  EXPECT_EQ(begun.exit_code, 0) << begun.err;
}

// Weights that are no numbers are no checkpoint, even where the loss, of the step before, is one.
TEST(TrainGuardsTest, SavesNothingThatIsNoNumber) {
  const std::string folder = MakeScratchFolder();
  const std::string rate = "--warmup=0 --clip=0 --save=" + folder;
  const CommandResult norm = Train(rate + "/norm --lr=1e37 --save_every=1");
  EXPECT_EQ(norm.exit_code, 1);
  EXPECT_NE(
      norm.err.find("the norm of the gradients of step 2 is no finite number: take a smaller"),
      std::string::npos)
      << norm.err;
  EXPECT_FALSE(fs::exists(folder + "/norm/step-2"));
  const CommandResult last = Train(rate + "/last --lr=3e38 --weight_decay=10 --steps=1");
  EXPECT_EQ(last.exit_code, 1);
  EXPECT_NE(last.err.find("the held-out loss of step 1 is no finite number"), std::string::npos)
      << last.out << last.err;
  EXPECT_FALSE(fs::exists(folder + "/last/step-1"));
}

TEST(TrainGuardsTest, LeavesAFolderToTheRunThatWritesToIt) {
  const std::string folder = MakeScratchFolder();
  const int held = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  ExpectRefusal("--save=" + folder, folder + ": another run writes its checkpoints to it");
  close(held);
  EXPECT_EQ(Train("--save=" + folder).exit_code, 0);
}

TEST(TrainGuardsTest, OverwritesNothingThatItReads) {
  const std::string folder = MakeScratchFolder();
  const std::string text = folder + "/text", save = folder + "/save", words(2000, 'a');
  std::ofstream(text) << words;
  ExpectRefusal("--save= --text=" + text + " --log=" + text,
                "--log would overwrite " + text + ", which --text names");
  EXPECT_EQ(ReadWholeFile(text), words);
  ExpectRefusal("--save=" + save + " --log=" + save, "--log and --save both name " + save);
  ExpectRefusal("--save= --logdir=" + save + " --log=" + save,
                "--log and --logdir both name " + save);
  EXPECT_FALSE(fs::exists(save));
  // A log beside the checkpoints is none of them.
  ASSERT_EQ(Train("--save=" + save + " --logdir=" + save).exit_code, 0);
  const std::string config = save + "/step-4/config.json", before = ReadWholeFile(config);
  ExpectRefusal("--resume --save=" + save + " --log=" + config,
                "--log would overwrite " + config + ", which --resume names");
  ExpectRefusal("--hf=" + save + "/step-4 --save= --log=" + config,
                "--log would overwrite " + config + ", which --hf names");
  EXPECT_EQ(ReadWholeFile(config), before);
  const std::string log = " --log=" + save + "/step-4/log";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Train("--save= --hf=" + save + "/step-4" + log).exit_code, 0);
  }
}

// Not when it is held out, and all steps are done.
TEST(TrainGuardsTest, ReadsTheTextToItsEndBeforeTheFirstStep) {
  const std::string folder = MakeScratchFolder();
  std::ofstream file(folder + "/ids.bin", std::ios::binary);
  for (int i = 0; i < 1000; ++i) file << static_cast<char>(i % 10) << (i == 990 ? '\1' : '\0');
  file.close();
  ExpectRefusal("--text=" + folder + "/ids.bin --save=" + folder + "/save",
                "ids.bin: token 990 is 256, and the model knows ids from 0 to 255");
  EXPECT_FALSE(fs::exists(folder + "/save"));
}

}  // namespace
}  // namespace tp
