#include "tp/io/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"

namespace tp::io {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const std::string kAll = "tests/io/testdata/all.safetensors";

std::string Contents(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string File(std::string_view header, size_t data_bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  file += header;
  return file + std::string(data_bytes, '\0');
}

// One F32 tensor "w" of shape [2, 3], described by `fields`.
std::string Tensor(const std::string& fields, size_t data_bytes = 24) {
  return File("{\"w\":{" + fields + "}}", data_bytes);
}

struct RealTensor {
  const char* name;
  Shape shape;
  DType dtype;
};

class RealTensorTest : public testing::TestWithParam<RealTensor> {};

TEST_P(RealTensorTest, IsReadAsTheLibraryWroteIt) {
  const RealTensor& expected = GetParam();
  const StatusOr<HostTensor> tensor = ReadSafetensors(kAll, expected.name, expected.shape);
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  EXPECT_EQ(tensor->shape(), expected.shape);
  EXPECT_EQ(tensor->dtype(), expected.dtype);
  // testdata/generate_safetensors.py's values.
  for (int64_t i = 0; i < tensor->size(); ++i) {
    EXPECT_EQ(tensor->At(i), (static_cast<double>(i) - 3) / 4) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RealTensorTest,
                         testing::ValuesIn(std::vector<RealTensor>{
                             {"f64", {3, 4}, DType::kFloat64},
                             {"f32", {3, 4}, DType::kFloat32},
                             {"f16", {3, 4}, DType::kFloat16},
                             {"bf16", {3, 4}, DType::kBFloat16},
                             {"scalar", {}, DType::kFloat32},
                             {"empty", {0, 3}, DType::kFloat32},
                             {"layers.0:weight", {2, 1, 3, 1}, DType::kFloat32},
                         }));

TEST(ListSafetensorsTest, ListsInOrderOfBytes) {
  const StatusOr<std::vector<SafetensorsEntry>> entries = ListSafetensors(kAll);
  ASSERT_TRUE(entries.ok()) << entries.status().ToString();
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : *entries) names.push_back(entry.name);
  EXPECT_THAT(names, ElementsAre("ids", "f64", "empty", "f32", "five", "layers.0:weight", "scalar",
                                 "bf16", "f16"));
  EXPECT_EQ((*entries)[1].dtype, "F64");
  EXPECT_EQ((*entries)[1].shape, (Shape{3, 4}));
  EXPECT_EQ((*entries)[1].begin, 24);
  EXPECT_EQ((*entries)[1].end, 120);
}

TEST(ListSafetensorsTest, TakesAFileWithoutTensors) {
  const std::string path = "tests/io/testdata/none.safetensors";
  EXPECT_THAT(ListSafetensors(path).value(), IsEmpty());
  EXPECT_THAT(ReadSafetensors(path, "w").status().message(), HasSubstr("it has none"));
}

TEST(ReadSafetensorsTest, SaysWhatIsWrongWithTheAskedTensor) {
  const Status missing = ReadSafetensors(kAll, "w").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_EQ(missing.message(),
            kAll +
                ": has no tensor \"w\"; it has \"ids\", \"f64\", \"empty\", \"f32\", \"five\", "
                "\"layers.0:weight\", \"scalar\", \"bf16\", ... (9 in all)");
  EXPECT_EQ(ReadSafetensors(kAll, "ids").status().message(),
            kAll + ": tensor \"ids\": has dtype \"I64\"; accepted are F64, F32, BF16 and F16");
  EXPECT_EQ(ReadSafetensors(kAll, "f32", Shape{4, 3}).status().message(),
            kAll + ": tensor \"f32\": has shape [3, 4], but shape [4, 3] is needed");
  EXPECT_THAT(ReadSafetensors(kAll, "five").status().message(),
              HasSubstr("more than 4 dimensions"));
}

TEST(ReadSafetensorsTest, NamesWhatIsNoFile) {
  const Status missing = ReadSafetensors(testing::TempDir() + "/no.safetensors", "w").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("no.safetensors: cannot be read: No such file"));
  EXPECT_THAT(ListSafetensors(testing::TempDir()).status().message(), HasSubstr("is a folder"));
}

TEST(ReadSafetensorsTest, RefusesEveryTruncationAndTrailingBytes) {
  const std::string file = Contents(kAll);
  ASSERT_TRUE(ParseSafetensorsList(Bytes(file), "t").ok());
  for (size_t size = 0; size < file.size(); ++size) {
    const Status status = ParseSafetensorsList(Bytes(file).first(size), "t").status();
    ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << size;
    ASSERT_THAT(status.message(), HasSubstr("truncated")) << size;
  }
  EXPECT_THAT(ParseSafetensorsList(Bytes(file + "x"), "t").status().message(),
              HasSubstr("belongs to no tensor"));
}

// A sparse file of 8 TiB, whose data no machine's memory holds.
TEST(ReadSafetensorsTest, ReadsOnlyTheAskedTensor) {
  const std::string path = testing::TempDir() + "/sparse.safetensors";
  const std::string header =
      "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
      "\"big\":{\"dtype\":\"F32\",\"shape\":[2199023255552],\"data_offsets\":[24,8796093022232]}}";
  std::ofstream(path, std::ios::binary) << File(header, 24);
  std::filesystem::resize_file(path, 8 + header.size() + (int64_t{1} << 43) + 24);
  const StatusOr<HostTensor> tensor = ReadSafetensors(path, "w");
  EXPECT_TRUE(tensor.ok()) << tensor.status().ToString();
  EXPECT_THAT(ReadSafetensors(path, "big").status().message(),
              HasSubstr("tensor \"big\": shape [2199023255552] of fp32 does not fit"));
  std::remove(path.c_str());
}

struct HostileFile {
  const char* name;
  std::string file;
  std::string reason;
};

class HostileFileTest : public testing::TestWithParam<HostileFile> {};

TEST_P(HostileFileTest, IsRefusedInOneClearLine) {
  for (const Status& status : {ParseSafetensorsList(Bytes(GetParam().file), "t").status(),
                               ParseSafetensors(Bytes(GetParam().file), "t", "w").status()}) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(StartsWith("t: "), HasSubstr(GetParam().reason), Not(HasSubstr("\n"))));
  }
}

constexpr char kShapeAndDtype[] = "\"dtype\":\"F32\",\"shape\":[2,3],";

std::string WithOffsets(const std::string& offsets) {
  return Tensor(kShapeAndDtype + ("\"data_offsets\":" + offsets));
}

std::string WithShape(const std::string& shape) {
  return Tensor("\"dtype\":\"F32\",\"data_offsets\":[0,24],\"shape\":" + shape);
}

// Two F32 tensors of one dimension at the given bytes.
std::string Pair(int begin_a, int end_a, int begin_b, int end_b, size_t data_bytes) {
  const auto tensor = [](char name, int begin, int end) {
    return fmt::format("\"{}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", name,
                       (end - begin) / 4, begin, end);
  };
  return File(fmt::format("{{{},{}}}", tensor('a', begin_a, end_a), tensor('b', begin_b, end_b)),
              data_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileFileTest,
    testing::ValuesIn(std::vector<HostileFile>{
        {"Empty", "", "truncated: 0 bytes"},
        {"HeaderBeyondTheFile", std::string("\xff\0\0\0\0\0\0\0{}", 10), "header of 255 bytes"},
        {"HeaderOf2To64", std::string(8, '\xff') + "{}", "header of 18446744073709551615 bytes"},
        {"HeaderOver100MB", File("{}" + std::string(100'000'000, ' '), 0), "at most 100000000"},
        {"NoBrace", File(" {}", 0), "does not begin with '{'"},
        {"NotJson", File("{\"w\":", 0), "not valid JSON"},
        {"AfterTheJson", File("{}x", 0), "not valid JSON"},
        {"BadUtf8", File("{\"\xff\":1}", 0), "not valid JSON"},
        {"HugeNumber", File("{\"w\":1e999}", 0), "not valid JSON"},
        {"DuplicateName", File("{\"a\\n\":{},\"a\\n\":{}}", 0), "has \"a\\n\" twice"},
        {"DuplicateKey", Tensor("\"dtype\":\"F32\",\"dtype\":\"F64\""), "has \"dtype\" twice"},
        {"DeepArrays", File("{\"w\":" + std::string(100'000, '['), 0), "nested too deeply"},
        {"DeepObjects", File("{\"w\":{\"a\":{\"b\":{\"c\":1}}}}", 0), "nested too deeply"},
        {"MetadataNoObject", File("{\"__metadata__\":1}", 0), "__metadata__ is not"},
        {"EntryNoObject", File("{\"w\":[]}", 0), "tensor \"w\" is not described by"},
        {"UnknownKey", Tensor("\"stride\":[1]"), "tensor \"w\" has an unknown key \"stride\""},
        {"MissingKey", Tensor("\"dtype\":\"F32\""), "needs dtype, shape and data_offsets"},
        {"DtypeNoString", Tensor("\"dtype\":1,\"shape\":[],\"data_offsets\":[0,24]"),
         "dtype that is no string"},
        {"ShapeNoList", WithShape("6"), "shape that is no list"},
        {"ShapeOfFloats", WithShape("[2.0,3]"), "shape that is no list"},
        {"NegativeSize", WithShape("[-2,3]"), "shape that is no list"},
        {"TwoTo63", WithShape("[9223372036854775808]"), "shape that is no list"},
        {"ProductOverflows", WithShape("[4294967296,4294967296]"), "larger than can exist"},
        {"ProductWrapsTo24", WithShape("[4611686018427387910]"), "larger than can exist"},
        {"ZeroHidesOverflow", WithShape("[4611686018427387904,4,0]"), "larger than can exist"},
        {"WrongSize", WithShape("[2,4]"), "takes 32 bytes, but its offsets span 24"},
        {"OffsetsNoPair", WithOffsets("[0,12,24]"), "no pair of whole numbers"},
        {"OffsetsNegative", WithOffsets("[-24,0]"), "no pair of whole numbers"},
        {"OffsetsTwoTo63", WithOffsets("[0,9223372036854775808]"), "no pair of whole numbers"},
        {"OffsetsReversed", WithOffsets("[24,0]"), "ends at byte 0, before its begin 24"},
        {"OffsetsBeyond", WithOffsets("[4,28]"), "ends at byte 28 of the data, which have only 24"},
        {"OffsetsFarBeyond", WithOffsets("[9223372036854775783,9223372036854775807]"),
         "ends at byte 9223372036854775807"},
        {"Overlap", Pair(0, 8, 4, 12, 12), "tensors \"a\" and \"b\" overlap"},
        {"SameBytes", Pair(0, 8, 0, 8, 8), "tensors \"a\" and \"b\" overlap"},
        {"HoleAtTheBegin", Pair(4, 8, 8, 12, 12), "from byte 0"},
        {"HoleBetween", Pair(8, 12, 0, 4, 12), "from byte 4"},
        {"HoleAtTheEnd", Pair(0, 4, 4, 8, 12), "from byte 8"},
    }),
    [](const auto& info) { return info.param.name; });

TEST(ParseSafetensorsTest, TakesEntriesInAnyOrderAndUnknownDtypes) {
  EXPECT_TRUE(ParseSafetensors(Bytes(Pair(8, 12, 0, 8, 12)), "t", "b").ok());
  const std::string odd =
      File("{\"w\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[0,3]}}  ", 3);
  EXPECT_EQ(ParseSafetensorsList(Bytes(odd), "t")->at(0).dtype, "F4");
  EXPECT_THAT(ParseSafetensors(Bytes(odd), "t", "w").status().message(), HasSubstr("dtype \"F4\""));
}

TEST(SplitTensorPathTest, SplitsAfterTheFile) {
  const auto split = [](std::string_view text) {
    const TensorPath path = SplitTensorPath(text).value();
    return std::pair(path.file, path.name);
  };
  using Parts = std::pair<std::string, std::string>;
  EXPECT_EQ(split("d/m.safetensors:layers.0.w"), Parts("d/m.safetensors", "layers.0.w"));
  EXPECT_EQ(split("c:/m.safetensors:a:b"), Parts("c:/m.safetensors", "a:b"));
  EXPECT_EQ(split("x.npy"), Parts("x.npy", ""));
  EXPECT_EQ(split("d:e/x.npy"), Parts("d:e/x.npy", ""));
  for (const char* text : {"m.safetensors", "m.safetensors:"}) {
    EXPECT_EQ(SplitTensorPath(text).status().message(),
              "m.safetensors: which of its tensors? Write FILE.safetensors:NAME");
  }
}

// What a program writes is what this reader, and so any other, reads; the peer's own library reads
// it in tests/peer.
TEST(EncodeSafetensorsHeadTest, AccountsForEachByte) {
  std::vector<SafetensorsEntry> entries = {{.name = "a \"b\"", .dtype = "F64", .shape = {2, 3}},
                                           {.name = "scalar", .dtype = "I32", .shape = {}},
                                           {.name = "none", .dtype = "BF16", .shape = {0, 7}},
                                           {.name = "half", .dtype = "F16", .shape = {3}}};
  const std::string head = EncodeSafetensorsHead(entries);
  EXPECT_EQ(head.size() % 8, 0u);
  EXPECT_EQ(entries[0].end, 48);
  EXPECT_EQ(entries[3].begin, 52);
  const std::string file = head + std::string(58, 'x');
  const auto read = ParseSafetensorsList(Bytes(file), "file");
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->size(), 4u);
  for (const SafetensorsEntry& entry : entries) {
    const auto same = [&](const SafetensorsEntry& other) {
      return other.name == entry.name && other.dtype == entry.dtype && other.shape == entry.shape &&
             other.begin == entry.begin && other.end == entry.end;
    };
    EXPECT_EQ(std::count_if(read->begin(), read->end(), same), 1) << entry.name;
  }
  EXPECT_FALSE(ParseSafetensorsList(Bytes(file + "x"), "file").ok());
}

TEST(SafetensorsDTypeTest, GoesBothWays) {
  for (const char* name : {"F64", "F32", "BF16", "F16", "I32"}) {
    EXPECT_EQ(SafetensorsName(*SafetensorsDType(name)), name);
  }
  EXPECT_EQ(SafetensorsDType("I64"), std::nullopt);
}

}  // namespace
}  // namespace tp::io
