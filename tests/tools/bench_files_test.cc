// The files of the bench: what it can't write, or would lose, is refused before anything runs.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "fmt/format.h"
#include "tests/tools/command.h"
#include "tp/core/host_tensor.h"
#include "tp/io/atomic_file.h"
#include "tp/io/npy.h"

namespace tp {
namespace {

constexpr char kSmall[] =
    "--tokens=6 --in_features=7 --out_features=5 --steps=3 --warmup=1 --nopeak ";

void ExpectRefusal(const std::string& arguments, const std::string& words) {
  ExpectRefused(RunCommand("tools/bench/bench", arguments), arguments, words);
}

TEST(BenchFilesTest, RefusesWhatItCannotWrite) {
  const std::string folder = MakeScratchFolder();
  // Files where --dump's folders and files would be.
  ASSERT_TRUE(io::CreateDirectories(folder + "/a").ok());
  ASSERT_TRUE(io::WriteFileAtomically(folder + "/a/column", "x").ok());
  ExpectRefusal(fmt::format("{} --dump={}/a", kSmall, folder), folder + "/a/column");
  ASSERT_TRUE(io::CreateDirectories(folder + "/b/row/w.npy").ok());
  ExpectRefusal(fmt::format("{} --dump={}/b", kSmall, folder), folder + "/b/row/w.npy");
  ExpectRefusal(fmt::format("{} --json={}/none/result.json", kSmall, folder), folder + "/none");
  ExpectRefusal(fmt::format("{} --json={}", kSmall, folder), folder);
  ASSERT_TRUE(io::WriteFileAtomically(folder + "/file", "x").ok());
  ExpectRefusal(fmt::format("{} --dump={}/file", kSmall, folder), folder + "/file");
}

TEST(BenchFilesTest, RefusesOneFileForTwoPurposes) {
  const std::string folder = MakeScratchFolder();
  ASSERT_TRUE(io::CreateDirectories(folder + "/row").ok());
  const std::string w = folder + "/row/w.npy";
  ASSERT_TRUE(io::WriteNpy(w, HostTensor({5, 7}, DType::kFloat32)).ok());
  const std::string before = ReadWholeFile(w);
  const std::string load = fmt::format("{} --mode=row --load={}/row ", kSmall, folder);
  ExpectRefusal(load + "--json=" + w, "--json would overwrite " + w + ", which --load names");
  ExpectRefusal(load + "--dump=" + folder, "--dump would overwrite " + w + ", which --load names");
  EXPECT_EQ(ReadWholeFile(w), before);
  const std::string same = folder + "/same";
  ExpectRefusal(fmt::format("{} --json={} --dump={}", kSmall, same, same),
                "--json and --dump both name " + same);
  ExpectRefusal(fmt::format("{} --json={} --profile --trace_dir={}", kSmall, same, same),
                "--json and --trace_dir both name " + same);
  EXPECT_FALSE(std::filesystem::exists(same));
}

}  // namespace
}  // namespace tp
