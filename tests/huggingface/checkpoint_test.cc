// Checkpoints in Hugging Face's layout: the same bits on any mesh, whole at any moment, and nothing
// but what they say they are. That they are Hugging Face's is for tests/peer.
#include "tp/huggingface/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/model/small_transformer.h"
#include "tests/runtime/killed_saver.h"
#include "tp/io/safetensors.h"
#include "tp/model/initial.h"
#include "tp/runtime/session.h"

namespace tp::hf {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

void ExpectOk(const Status& status) { ASSERT_EQ(status.ToString(), "OK"); }

// A session for the small transformer's step.
class Trainer {
 public:
  Trainer(int tp, int dp, DType dtype = DType::kFloat32, bool sequence_parallel = false) {
    TransformerStepOptions options = SmallStep();
    options.dtype = dtype;
    options.sequence_parallel = sequence_parallel;
    const Mesh mesh = Mesh::Create(tp, dp).value();
    program_ = MakeTransformerStep(config_.sizes, options, mesh).value();
    session_ = Session::Create(*backend_, mesh, program_).value();
  }

  Session& session() { return *session_; }

  void Begin() {
    for (const auto& [name, source] : SourcesOf(program_, config_.sizes)) {
      const std::vector<std::string> names = session_->NamesOf(Role::kParameter);
      const bool parameter = std::find(names.begin(), names.end(), name) != names.end();
      ExpectOk(parameter ? session_->Write(name, source) : session_->Feed(name, source));
    }
  }

  void Fill(double value) {
    for (const std::string& name : session_->NamesOf(Role::kParameter)) {
      ExpectOk(session_->Write(name, [=](int64_t) { return value; }));
    }
  }

  StatusOr<Storage> ToSave(const SaveOptions& options = {}) const {
    return StorageToSave(config_, program_, options);
  }
  Status Save(const std::string& folder, const SaveOptions& options = {}) {
    TP_ASSIGN_OR_RETURN(const Storage storage, ToSave(options));
    return session_->Save(folder, storage);
  }
  Status LoadFrom(const std::string& folder, Load load = Load::kAll) {
    return session_->Load(folder, StorageIn(folder, config_, program_, load));
  }

  std::string BitsOf(const std::string& name) {
    const StatusOr<HostTensor> tensor = session_->Read(name);
    EXPECT_EQ(tensor.status().ToString(), "OK");
    return std::string(reinterpret_cast<const char*>(tensor->bytes().data()),
                       tensor->bytes().size());
  }
  // Of all parameters, by name.
  std::map<std::string, std::string> Bits() {
    std::map<std::string, std::string> bits;
    for (const std::string& name : session_->NamesOf(Role::kParameter)) bits[name] = BitsOf(name);
    return bits;
  }

 private:
  const ModelConfig config_ = ConfigOf(SmallTransformer(), 5);
  Program program_;
  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
  std::unique_ptr<Session> session_;
};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}
void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) /
            testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string Folder(const std::string& name = "checkpoint") const { return root_ / name; }
  std::vector<std::string> FilesIn(const std::string& folder) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path root_;
};

TEST_F(CheckpointTest, AnyMeshGoesOnWithTheSameBits) {
  for (DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat64}) {
    std::map<std::string, std::string> saved;
    {
      Trainer first(4, 1, dtype, /*sequence_parallel=*/true);
      first.Begin();
      for (int step = 0; step < 3; ++step) ExpectOk(first.session().Step());
      saved = first.Bits();
      ExpectOk(first.Save(Folder("1")));
    }
    {
      Trainer second(3, 2, dtype);
      ExpectOk(second.LoadFrom(Folder("1")));
      EXPECT_EQ(second.Bits(), saved) << Name(dtype);
      ExpectOk(second.Save(Folder("2"), {.shard_bytes = 1000}));
    }
    EXPECT_THAT(FilesIn(Folder("1")),
                ElementsAre("config.json", "model.safetensors", "optimizer.safetensors"));
    EXPECT_GT(FilesIn(Folder("2")).size(), 4u);
    Trainer third(1, 1, dtype);
    ExpectOk(third.LoadFrom(Folder("2")));
    EXPECT_EQ(third.Bits(), saved) << Name(dtype);
    ExpectOk(third.Save(Folder("3")));
    for (const std::string& file : FilesIn(Folder("1"))) {
      EXPECT_EQ(ReadFile(Folder("3") + "/" + file), ReadFile(Folder("1") + "/" + file)) << file;
    }
    for (const char* folder : {"1", "2", "3"}) fs::remove_all(Folder(folder));
  }
}

TEST_F(CheckpointTest, WeightsAloneBeginTraining) {
  Trainer narrow(2, 1, DType::kBFloat16);
  narrow.Begin();
  const std::string weight = "layers.1.attention.query.weight";
  ExpectOk(narrow.Save(Folder()));
  fs::remove(Folder() + "/optimizer.safetensors");
  Trainer other(3, 1, DType::kBFloat16);
  other.Fill(7);
  ExpectOk(other.LoadFrom(Folder(), Load::kWeights));
  EXPECT_EQ(other.BitsOf(weight), narrow.BitsOf(weight));
  const std::vector<double> expected = narrow.session().Read(weight)->ToDoubles();
  EXPECT_EQ(other.session().Read(weight + ".master")->ToDoubles(), expected);
  EXPECT_EQ(other.session().Read(weight + ".moment")->At(0), 7);
  // In a wider type they are the same numbers; a narrower one is refused, where it loses some.
  Trainer wide(1, 1, DType::kFloat64);
  ExpectOk(wide.LoadFrom(Folder(), Load::kWeights));
  EXPECT_EQ(wide.session().Read(weight)->ToDoubles(), expected);
  const Status all = other.LoadFrom(Folder(), Load::kAll);
  EXPECT_EQ(all.code(), StatusCode::kNotFound);
  EXPECT_THAT(all.message(), HasSubstr("optimizer.safetensors"));
  Trainer single(1, 1);
  single.Begin();
  ExpectOk(single.Save(Folder("fp32")));
  EXPECT_THAT(other.LoadFrom(Folder("fp32"), Load::kWeights).message(),
              HasSubstr("which is no bf16, the type of"));
}

// Half precision, as many models are published in, is read where no number is lost by it.
TEST_F(CheckpointTest, HalfPrecisionIsWidened) {
  Trainer half(2, 1, DType::kFloat16);
  half.Begin();
  ExpectOk(half.Save(Folder()));
  Trainer single(3, 1);
  ExpectOk(single.LoadFrom(Folder(), Load::kWeights));
  for (const char* name : {"embedding.weight", "layers.0.mlp.down.weight", "norm.gain"}) {
    EXPECT_EQ(single.session().Read(name)->ToDoubles(), half.session().Read(name)->ToDoubles());
  }
  Trainer brain(1, 1, DType::kBFloat16);
  EXPECT_THAT(brain.LoadFrom(Folder(), Load::kWeights).message(),
              HasSubstr("which is no bf16, the type of 'embedding.weight'"));
}

TEST_F(CheckpointTest, MoreFilesGoAlong) {
  Trainer trainer(2, 1);
  trainer.Begin();
  ExpectOk(trainer.Save(Folder(), {.texts = {{"trainer.json", "{\"step\": 7}\n"}}}));
  EXPECT_EQ(ReadFile(Folder() + "/trainer.json"), "{\"step\": 7}\n");
  ExpectOk(trainer.Save(Folder(), {.texts = {{"trainer.json", "{\"step\": 8}\n"}}}));
  EXPECT_EQ(ReadFile(Folder() + "/trainer.json"), "{\"step\": 8}\n");
  EXPECT_THAT(trainer.Save(Folder()).message(), HasSubstr("holds 'trainer.json'"));
  ExpectOk(trainer.LoadFrom(Folder()));
}

// Each damage is told by the file and what is wrong, and loads nothing.
TEST_F(CheckpointTest, WhatIsNotThisModelIsTold) {
  Trainer trainer(2, 1);
  trainer.Begin();
  ExpectOk(trainer.Save(Folder(), {.shard_bytes = 3000}));
  const auto before = trainer.Bits();
  const std::string index = Folder() + "/model.safetensors.index.json";
  const std::string first = FilesIn(Folder())[1], second = FilesIn(Folder())[2];
  ASSERT_THAT(second, HasSubstr("model-00002-of-"));
  const std::string shard = Folder() + "/" + first;
  const auto expect = [&](const std::string& path, const std::string& from, const std::string& to,
                          const char* text) {
    const std::string good = ReadFile(path);
    std::string bad = good;
    const size_t at = bad.find(from);
    ASSERT_NE(at, bad.npos) << from;
    bad.replace(at, from.size(), to);
    WriteFile(path, bad);
    const Status status = trainer.LoadFrom(Folder());
    EXPECT_THAT(status.message(), HasSubstr(text));
    EXPECT_THAT(status.message(), HasSubstr(Folder()));
    EXPECT_EQ(trainer.Bits(), before) << text;
    WriteFile(path, good);
  };
  expect(shard, "[13,10]", "[10,13]", "has shape [10, 13], but shape [13, 10] is needed");
  expect(shard, "\"F32\",\"shape\":[13", "\"I32\",\"shape\":[13", "which is no fp32");
  expect(shard, "\"F32\",\"shape\":[13", "\"U32\",\"shape\":[13", "has dtype \"U32\"");
  expect(shard, "embed_tokens", "embed_tokenz", "says that tensor \"model.embed_tokens.weight\"");
  expect(index, first, second, "and it does not");
  expect(index, first, "../" + first, "which is no .safetensors file beside it");
  expect(index, first, "model-none.safetensors", "No such file");
  expect(index, "weight_map", "weight_mop", "has no object 'weight_map'");
  expect(index, "{", "[", "is not valid JSON");
  fs::copy_file(Folder() + "/" + second, Folder() + "/model-copy.safetensors");
  expect(index, second, "model-copy.safetensors", " too");
  fs::remove(Folder() + "/model-copy.safetensors");
  fs::rename(index, Folder("kept"));
  EXPECT_THAT(trainer.LoadFrom(Folder()).message(), HasSubstr("has neither model.safetensors nor"));
  fs::rename(Folder("kept"), index);
  ExpectOk(trainer.LoadFrom(Folder()));
}

// Whole files of one tensor more, one less, and of one that two have.
TEST_F(CheckpointTest, AllTensorsAreTheModelsAndNoneIsMissing) {
  Trainer trainer(1, 1);
  trainer.Begin();
  ExpectOk(trainer.Save(Folder()));
  const std::string path = Folder() + "/model.safetensors";
  const std::string good = ReadFile(path);
  const auto write = [&](const std::string& from, const std::string& to) {
    std::vector<io::SafetensorsEntry> entries = io::ListSafetensors(path).value();
    const size_t data = io::EncodeSafetensorsHead(entries).size();
    for (io::SafetensorsEntry& entry : entries) {
      if (entry.name == from) entry.name = to;
    }
    WriteFile(path, io::EncodeSafetensorsHead(entries) + good.substr(data));
  };
  write("model.norm.weight", "model.norm.scale");
  EXPECT_THAT(trainer.LoadFrom(Folder()).message(),
              HasSubstr("there is no tensor \"model.norm.weight\", which 'norm.gain' is to be"));
  WriteFile(path, good);
  std::vector<io::SafetensorsEntry> entries = io::ListSafetensors(path).value();
  const size_t data = io::EncodeSafetensorsHead(entries).size();
  entries.push_back({.name = "model.layers.0.self_attn.q_proj.bias", .dtype = "F32", .shape = {2}});
  WriteFile(path, io::EncodeSafetensorsHead(entries) + good.substr(data) + "12345678");
  EXPECT_THAT(trainer.LoadFrom(Folder()).message(),
              HasSubstr("tensor \"model.layers.0.self_attn.q_proj.bias\" belongs to no parameter"));
  entries.back().name = "model.layers.0.self_attn.rotary_emb.inv_freq";
  WriteFile(path, io::EncodeSafetensorsHead(entries) + good.substr(data) + "12345678");
  ExpectOk(trainer.LoadFrom(Folder()));
}

// Saves one checkpoint after another until it is killed. Each holds one number everywhere.
[[noreturn]] void SaveForEver(const std::string& folder) {
  Trainer trainer(2, 1);
  for (int64_t round = 1;; ++round) {
    trainer.Fill(static_cast<double>(round));
    const bool saved = trainer.Save(folder, {.shard_bytes = 2000}).ok();
    if (!saved) _exit(1);
  }
}

TEST_F(CheckpointTest, KilledWhileSavingTheLastOneIsWhole) {
  double last = 0;
  for (int round = 0; round < 50; ++round) {
    ASSERT_NO_FATAL_FAILURE(KillWhileSaving(Folder(), round, [&] { SaveForEver(Folder()); }));
    ASSERT_TRUE(ReadConfig(Folder()).ok());
    Trainer trainer(3, 1);
    ExpectOk(trainer.LoadFrom(Folder()));
    const double number = trainer.session().Read("norm.gain")->At(0);
    EXPECT_GE(number, 1);
    for (const std::string& name : trainer.session().NamesOf(Role::kParameter)) {
      const std::vector<double> values = trainer.session().Read(name)->ToDoubles();
      ASSERT_EQ(values, std::vector<double>(values.size(), number)) << name;
    }
    last = std::max(last, number);
  }
  EXPECT_GT(last, 1) << "no save came after the first";
}

}  // namespace
}  // namespace tp::hf
