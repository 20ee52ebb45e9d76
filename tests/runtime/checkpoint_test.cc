// Session::Save and Load: the same bits on another mesh, and nothing but whole checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tests/runtime/killed_saver.h"
#include "tp/core/random.h"
#include "tp/io/npy.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/session.h"

namespace tp {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int64_t kIn = 10, kOut = 7;

std::unique_ptr<Session> MustCreate(Backend& backend, int tp, int dp, DType dtype,
                                    LinearMode mode = LinearMode::kRow) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 4;
  options.in_features = kIn;
  options.out_features = kOut;
  options.dtype = dtype;
  const Mesh mesh = *Mesh::Create(tp, dp);
  auto session = Session::Create(backend, mesh, *MakeLinearStep(options, mesh));
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  return *std::move(session);
}

ElementSource Random(uint64_t stream) {
  return [random = RandomTensor(3, stream)](int64_t i) {
    return random.Uniform(static_cast<uint64_t>(i));
  };
}

void ExpectOk(const Status& status) { ASSERT_TRUE(status.ok()) << status.ToString(); }

void WriteWeights(Session& session, uint64_t stream = 0) {
  ExpectOk(session.Write("w", Random(stream)));
  ExpectOk(session.Write("b", Random(stream)));
}

std::string BitsOf(Session& session, const std::string& name) {
  const StatusOr<HostTensor> tensor = session.Read(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status().ToString();
  return std::string(reinterpret_cast<const char*>(tensor->bytes().data()), tensor->bytes().size());
}

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteFile(const fs::path& path, const std::string& bytes) {
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
  // What lies beside the checkpoints.
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path root_;
  const std::unique_ptr<Backend> backend_ = cpu::MakeCpuBackend({});
};

TEST_F(CheckpointTest, AnyMeshLoadsWhatAnotherSaved) {
  for (DType dtype : kAllDTypes) {
    for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
      std::string w, b;
      {
        const auto session = MustCreate(*backend_, 4, 1, dtype, mode);
        WriteWeights(*session);
        w = BitsOf(*session, "w");
        b = BitsOf(*session, "b");
        ExpectOk(session->Save(Folder("1")));
      }
      {
        const auto session = MustCreate(*backend_, 3, 2, dtype, LinearMode::kColumn);
        ExpectOk(session->Load(Folder("1")));
        EXPECT_EQ(BitsOf(*session, "w"), w);
        ExpectOk(session->Save(Folder("2") + "/"));
      }
      const auto session = MustCreate(*backend_, 1, 1, dtype);
      ExpectOk(session->Load(Folder("2")));
      EXPECT_EQ(BitsOf(*session, "w"), w) << Name(dtype);
      EXPECT_EQ(BitsOf(*session, "b"), b) << Name(dtype);
      ExpectOk(session->Feed("x", Random(1)));
      ExpectOk(session->Feed("targets", Random(2)));
      ExpectOk(session->Step());
      EXPECT_EQ(ReadFile(Folder("1") + "/w.npy"), ReadFile(Folder("2") + "/w.npy"));
      EXPECT_EQ(Names(), (std::vector<std::string>{"1", "2"}));
    }
  }
}

// To the byte what the project's other writer makes, so its reader and NumPy's take it.
TEST_F(CheckpointTest, FilesAreThoseOfNumPy) {
  for (DType dtype : kAllDTypes) {
    const auto session = MustCreate(*backend_, 3, 2, dtype, LinearMode::kColumn);
    WriteWeights(*session);
    ExpectOk(session->Save(Folder()));
    for (const char* name : {"w", "b"}) {
      EXPECT_EQ(ReadFile(Folder() + "/" + name + ".npy"), io::EncodeNpy(*session->Read(name)))
          << Name(dtype) << " " << name;
    }
  }
}

// w lies transposed between the columns of a wider matrix, b behind it, in one file with a head.
Storage OddStorage(DType dtype) {
  const int64_t width = SizeOf(dtype), columns = kOut + 5, head = 3;
  return {{{"all", "odd", head + width * (kIn * columns + kOut)}},
          {{"w", 0, head + 2 * width, dtype, {1, columns}},
           {"b", 0, head + width * kIn * columns, dtype, {1}}}};
}

TEST_F(CheckpointTest, AStorageSaysWhereElementsLie) {
  std::string w, b;
  {
    const auto session = MustCreate(*backend_, 3, 2, DType::kFloat32);
    WriteWeights(*session);
    w = BitsOf(*session, "w");
    b = BitsOf(*session, "b");
    ExpectOk(session->Save(Folder(), OddStorage(DType::kFloat32)));
  }
  const std::string file = ReadFile(Folder() + "/all");
  std::string expected(file.size(), '\0');
  expected.replace(0, 3, "odd");
  for (int64_t i = 0; i < kOut; ++i) {
    for (int64_t j = 0; j < kIn; ++j) {
      expected.replace(3 + 4 * (2 + j * (kOut + 5) + i), 4, w.substr(4 * (i * kIn + j), 4));
    }
  }
  expected.replace(file.size() - b.size(), b.size(), b);
  EXPECT_EQ(file, expected);
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    const auto session = MustCreate(*backend_, 2, 1, DType::kFloat32, mode);
    ExpectOk(session->Load(Folder(), OddStorage(DType::kFloat32)));
    EXPECT_EQ(BitsOf(*session, "w"), w);
    EXPECT_EQ(BitsOf(*session, "b"), b);
  }
}

TEST_F(CheckpointTest, APartOfTheParametersMayBeLoaded) {
  const auto session = MustCreate(*backend_, 2, 1, DType::kFloat32);
  WriteWeights(*session, 0);
  const std::string w = BitsOf(*session, "w");
  ExpectOk(session->Save(Folder(), OddStorage(DType::kFloat32)));
  const auto other = MustCreate(*backend_, 3, 1, DType::kFloat32);
  Storage only_w = OddStorage(DType::kFloat32);
  only_w.tensors.pop_back();
  EXPECT_THAT(session->Save(Folder(), only_w).message(), HasSubstr("'b' has no place"));
  ExpectOk(other->Load(Folder(), only_w));
  EXPECT_EQ(BitsOf(*other, "w"), w);
  ExpectOk(other->Feed("x", Random(1)));
  ExpectOk(other->Feed("targets", Random(2)));
  EXPECT_THAT(other->Step().message(), HasSubstr("'b' has no value"));
}

TEST_F(CheckpointTest, AStorageThatCannotBeIsTold) {
  const auto session = MustCreate(*backend_, 2, 1, DType::kFloat32);
  WriteWeights(*session);
  const std::string w = BitsOf(*session, "w");
  const Storage good = OddStorage(DType::kFloat32);
  ExpectOk(session->Save(Folder(), good));
  const auto expect = [&](const char* text, const std::function<void(Storage&)>& damage) {
    Storage bad = good;
    damage(bad);
    EXPECT_THAT(session->Load(Folder(), bad).message(), HasSubstr(text));
    EXPECT_EQ(BitsOf(*session, "w"), w) << text;
  };
  expect("does not lie in the", [](Storage& s) { --s.files[0].bytes; });
  expect("does not lie in the", [](Storage& s) { s.tensors[0].begin = 2; });
  expect("does not lie in the", [](Storage& s) { s.tensors[0].strides[1] = int64_t{1} << 62; });
  expect("has a stride of 0", [](Storage& s) { s.tensors[0].strides[1] = 0; });
  expect("2 dimensions and 1 strides", [](Storage& s) { s.tensors[0].strides.pop_back(); });
  expect("in no file", [](Storage& s) { s.tensors[1].file = 1; });
  expect("has two places", [](Storage& s) { s.tensors.push_back(s.tensors[0]); });
  expect("'x' is none", [](Storage& s) { s.tensors[1].parameter = "x"; });
  expect("bytes and should have", [](Storage& s) { ++s.files[0].bytes; });
  const Status none = session->Load(Folder(), InvalidArgument("no such model"));
  EXPECT_EQ(none.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(none.message(), HasSubstr("no such model"));
  ExpectOk(session->Load(Folder(), good));
}

// What all reads and writes of this process have moved, in bytes.
int64_t BytesRead() {
  std::ifstream file("/proc/self/io");
  std::string word;
  int64_t number = -1;
  while (file >> word >> number && word != "rchar:") {
  }
  return number;
}

TEST_F(CheckpointTest, ARankReadsNothingButItsPart) {
  const auto session = MustCreate(*backend_, 1, 1, DType::kFloat32);
  WriteWeights(*session);
  const Storage storage = OddStorage(DType::kFloat32);
  ExpectOk(session->Save(Folder(), storage));
  const int64_t width = SizeOf(DType::kFloat32), w = kOut * kIn * width, b = kOut * width;
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    const auto loading = MustCreate(*backend_, 5, 1, DType::kFloat32, mode);
    const int64_t nothing = BytesRead(), asking = BytesRead() - nothing;
    const int64_t before = BytesRead();
    ExpectOk(loading->Load(Folder(), storage));
    const int64_t read = BytesRead() - before - asking;
    EXPECT_EQ(read, w + (mode == LinearMode::kRow ? b : 5 * b));
  }
}

TEST_F(CheckpointTest, WhatIsNotThisCheckpointIsToldAndLoadsNothing) {
  const auto session = MustCreate(*backend_, 2, 1, DType::kBFloat16);
  WriteWeights(*session, 0);
  ExpectOk(session->Save(Folder()));
  const std::string w = BitsOf(*session, "w");
  const std::string path = Folder() + "/b.npy";
  const std::string good = ReadFile(path);
  const size_t begin = good.find('\n') + 1;
  std::string other_type = good, no_bf16 = good;
  other_type.replace(good.find("<f4"), 3, "<f8");
  no_bf16[begin] = '\x01';  // a bit beyond those of bf16
  const std::pair<std::string, const char*> wrong[] = {
      {"", "b.npy: is no .npy file"},
      {"PK\x03\x04 and more of another format", "b.npy: is no .npy file"},
      {good.substr(0, 40), "b.npy: says"},
      {good.substr(0, good.size() - 1), "bytes and should have"},
      {good + "x", "bytes and should have"},
      {other_type, "'descr': '<f8', 'fortran_order': False, 'shape': (7,), }, and 'b' needs"},
      {no_bf16, "which is no bf16, the type of 'b'"},
  };
  WriteWeights(*session, 1);
  const std::string now = BitsOf(*session, "w");
  ASSERT_NE(now, w);
  for (const auto& [bytes, text] : wrong) {
    WriteFile(path, bytes);
    const Status status = session->Load(Folder());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(text));
    EXPECT_THAT(status.message(), HasSubstr(path));
  }
  fs::remove(path);
  EXPECT_EQ(session->Load(Folder()).code(), StatusCode::kNotFound);
  EXPECT_EQ(session->Load(Folder("nowhere")).code(), StatusCode::kNotFound);
  EXPECT_EQ(BitsOf(*session, "w"), now);
  WriteFile(path, good);
  ExpectOk(session->Load(Folder()));
  EXPECT_EQ(BitsOf(*session, "w"), w);
}

TEST_F(CheckpointTest, NothingElseIsEverReplaced) {
  const auto session = MustCreate(*backend_, 2, 1, DType::kFloat32);
  WriteWeights(*session);
  fs::create_directories(Folder("mine"));
  WriteFile(Folder("mine") + "/photo.jpg", "a photo");
  EXPECT_THAT(session->Save(Folder("mine")).message(), HasSubstr("holds 'photo.jpg', which is no"));
  EXPECT_EQ(ReadFile(Folder("mine") + "/photo.jpg"), "a photo");
  WriteFile(Folder("file"), "a file");
  EXPECT_THAT(session->Save(Folder("file")).message(), HasSubstr("is not a folder"));
  EXPECT_EQ(ReadFile(Folder("file")), "a file");
  EXPECT_EQ(session->Save(Folder("no/where")).code(), StatusCode::kNotFound);
  EXPECT_EQ(session->Save("").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(session->Save("/").code(), StatusCode::kInvalidArgument);
  fs::create_directories(Folder("empty"));
  ExpectOk(session->Save(Folder("empty")));
  ExpectOk(session->Save(Folder("empty")));  // over itself
  EXPECT_EQ(Names(), (std::vector<std::string>{"empty", "file", "mine"}));
}

// Saves one checkpoint after another until it is killed. Each holds one number everywhere.
[[noreturn]] void SaveForEver(const std::string& folder) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = MustCreate(*backend, 2, 1, DType::kFloat32);
  for (int64_t round = 1;; ++round) {
    const auto number = [=](int64_t) { return static_cast<double>(round); };
    const bool saved = session->Write("w", number).ok() && session->Write("b", number).ok() &&
                       session->Save(folder).ok();
    if (!saved) _exit(1);
  }
}

TEST_F(CheckpointTest, AFullDiskIsToldAndGetsItsRoomBack) {
  const auto session = MustCreate(*backend_, 2, 1, DType::kFloat32);
  WriteWeights(*session);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit little = {.rlim_cur = 64, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &little), 0);
  const Status status = session->Save(Folder("saved"));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("free some space"));
  EXPECT_THAT(Names(), testing::IsEmpty());
}

TEST_F(CheckpointTest, KilledWhileSavingTheLastOneIsWhole) {
  double last = 0;
  for (int round = 0; round < 20; ++round) {
    ASSERT_NO_FATAL_FAILURE(KillWhileSaving(Folder(), round, [&] { SaveForEver(Folder()); }));
    const auto session = MustCreate(*backend_, 3, 1, DType::kFloat32);
    ExpectOk(session->Load(Folder()));
    const std::vector<double> w = session->Read("w")->ToDoubles();
    const std::vector<double> b = session->Read("b")->ToDoubles();
    EXPECT_GE(w[0], 1);
    EXPECT_EQ(w, std::vector<double>(w.size(), w[0]));
    EXPECT_EQ(b, std::vector<double>(b.size(), w[0]));
    last = std::max(last, w[0]);
  }
  EXPECT_GT(last, 1) << "no save came after the first";
}

}  // namespace
}  // namespace tp
