#include "tp/io/npy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"

namespace tp::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string TestData(const std::string& name) { return "tests/io/testdata/" + name; }

std::string Contents(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// testdata/generate_npy.py's values.
HostTensor Expected(const Shape& shape, DType dtype) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, (static_cast<double>(i) - 3) / 4);
  return tensor;
}

void ExpectSame(const HostTensor& actual, const HostTensor& expected) {
  EXPECT_EQ(actual.shape(), expected.shape());
  EXPECT_EQ(actual.dtype(), expected.dtype());
  EXPECT_TRUE(std::ranges::equal(actual.bytes(), expected.bytes()));
}

StatusOr<HostTensor> Parse(std::string_view bytes) {
  return ParseNpy(std::as_bytes(std::span(bytes)), "t.npy");
}

// A version 1.0 file.
std::string File(std::string_view header, size_t data_bytes) {
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  return file + std::string(data_bytes, '\0');
}

std::string Header(std::string_view shape, std::string_view descr = "<f4") {
  return fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n", descr, shape);
}

struct RealFile {
  const char* name;
  Shape shape;
  DType dtype;
};

class RealFileTest : public testing::TestWithParam<RealFile> {};

TEST_P(RealFileTest, IsReadAsNumPyWroteIt) {
  const StatusOr<HostTensor> tensor = ReadNpy(TestData(GetParam().name), GetParam().shape);
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  ExpectSame(*tensor, Expected(GetParam().shape, GetParam().dtype));
}

constexpr DType kF4 = DType::kFloat32;
constexpr DType kF8 = DType::kFloat64;
INSTANTIATE_TEST_SUITE_P(All, RealFileTest,
                         testing::ValuesIn(std::vector<RealFile>{
                             {"0d_f4.npy", {}, kF4},
                             {"0d_f4_big.npy", {}, kF4},
                             {"0d_f8.npy", {}, kF8},
                             {"0d_f8_big.npy", {}, kF8},
                             {"1d_f4.npy", {5}, kF4},
                             {"1d_f4_big.npy", {5}, kF4},
                             {"1d_f8.npy", {5}, kF8},
                             {"1d_f8_big.npy", {5}, kF8},
                             {"2d_f4.npy", {3, 4}, kF4},
                             {"2d_f4_big.npy", {3, 4}, kF4},
                             {"2d_f8.npy", {3, 4}, kF8},
                             {"2d_f8_big.npy", {3, 4}, kF8},
                             {"3d_f4.npy", {2, 3, 2}, kF4},
                             {"3d_f4_big.npy", {2, 3, 2}, kF4},
                             {"3d_f8.npy", {2, 3, 2}, kF8},
                             {"3d_f8_big.npy", {2, 3, 2}, kF8},
                             {"empty_f4.npy", {0, 3}, kF4},
                             {"empty_f4_big.npy", {0, 3}, kF4},
                             {"empty_f8.npy", {0, 3}, kF8},
                             {"empty_f8_big.npy", {0, 3}, kF8},
                             {"2d_f4_fortran.npy", {3, 4}, kF4},
                             {"2d_f8_fortran.npy", {3, 4}, kF8},
                             {"3d_f4_fortran.npy", {2, 3, 2}, kF4},
                             {"3d_f8_fortran.npy", {2, 3, 2}, kF8},
                             {"2d_f4_version2.npy", {3, 4}, kF4},
                             {"2d_f4_version3.npy", {3, 4}, kF4},
                         }),
                         [](const auto& info) {
                           return std::string(info.param.name,
                                              std::string_view(info.param.name).find('.'));
                         });

TEST(WriteNpyTest, WritesTheBytesThatNumPyWrites) {
  const std::string path = testing::TempDir() + "/written.npy";
  for (DType dtype : {kF4, kF8}) {
    const std::string type = dtype == kF4 ? "f4" : "f8";
    for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
             {"0d", {}}, {"1d", {5}}, {"2d", {3, 4}}, {"3d", {2, 3, 2}}, {"empty", {0, 3}}}) {
      SCOPED_TRACE(name + type);
      ASSERT_TRUE(WriteNpy(path, Expected(shape, dtype)).ok());
      EXPECT_EQ(Contents(path), Contents(TestData(name + "_" + type + ".npy")));
    }
  }
  std::remove(path.c_str());
}

TEST(WriteNpyTest, NamesThePathItCannotWrite) {
  const std::string path = testing::TempDir() + "/missing/t.npy";
  EXPECT_THAT(WriteNpy(path, Expected({2}, kF4)).message(), StartsWith(path));
}

// All 65,536 numbers of each 16-bit type: every one must come back with its bits.
TEST(EncodeNpyTest, WidensSixteenBitTypesExactly) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    SCOPED_TRACE(Name(dtype));
    HostTensor tensor({256, 256}, dtype);
    for (size_t i = 0; i < 65536; ++i) {
      tensor.bytes()[2 * i] = static_cast<std::byte>(i & 0xff);
      tensor.bytes()[2 * i + 1] = static_cast<std::byte>(i >> 8);
    }
    const StatusOr<HostTensor> read = Parse(EncodeNpy(tensor));
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(read->dtype(), kF4);
    EXPECT_EQ(read->shape(), tensor.shape());
    for (int64_t i = 0; i < tensor.size(); ++i) {
      if (std::isnan(tensor.At(i))) {
        ASSERT_TRUE(std::isnan(read->At(i))) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint64_t>(read->At(i)), std::bit_cast<uint64_t>(tensor.At(i))) << i;
      }
    }
  }
}

TEST(EncodeNpyTest, RoundTripsAnyTensor) {
  EXPECT_TRUE(rc::check("parse(encode(t)) == t", [] {
    const auto rank = *rc::gen::inRange(0, 5);
    const auto sizes = *rc::gen::container<std::vector<int>>(rank, rc::gen::inRange(0, 9));
    HostTensor tensor(Shape(sizes.begin(), sizes.end()), *rc::gen::element(kF4, kF8));
    for (std::byte& byte : tensor.bytes())
      byte = static_cast<std::byte>(*rc::gen::arbitrary<char>());
    const std::string file = EncodeNpy(tensor);
    RC_ASSERT((file.size() - tensor.bytes().size()) % 64 == 0u);
    const StatusOr<HostTensor> read = Parse(file);
    RC_ASSERT(read.ok());
    RC_ASSERT(read->shape() == tensor.shape());
    RC_ASSERT(read->dtype() == tensor.dtype());
    RC_ASSERT(std::ranges::equal(read->bytes(), tensor.bytes()));
  }));
}

TEST(ParseNpyTest, TakesWhatOtherWritersWrite) {
  for (const std::string& header : {
           Header("(2, 3)"),
           Header("(2,3)", "=f4"),
           Header("( 2 , 3 , )", "|f4"),
           Header("(2L, 3L)", "f4"),
           std::string("{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}"),
           std::string("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}   \n"),
       }) {
    const StatusOr<HostTensor> tensor = Parse(File(header, 24));
    ASSERT_TRUE(tensor.ok()) << header << tensor.status().ToString();
    EXPECT_EQ(tensor->shape(), (Shape{2, 3}));
    EXPECT_EQ(tensor->dtype(), kF4);
  }
}

TEST(ParseNpyTest, RefusesEveryTruncationAndTrailingBytes) {
  for (const char* name : {"2d_f4.npy", "2d_f4_version2.npy", "2d_f8_fortran.npy"}) {
    const std::string file = Contents(TestData(name));
    ASSERT_TRUE(Parse(file).ok());
    for (size_t size = 0; size < file.size(); ++size) {
      const Status status = Parse(file.substr(0, size)).status();
      ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << size;
      ASSERT_THAT(status.message(), HasSubstr(size == 0 ? "t.npy: the file is empty" : "truncated"))
          << size;
    }
    EXPECT_THAT(Parse(file + "x").status().message(), HasSubstr("trailing bytes"));
  }
}

struct HostileFile {
  const char* name;
  std::string file;
  std::string reason;
};

class HostileFileTest : public testing::TestWithParam<HostileFile> {};

TEST_P(HostileFileTest, IsRefusedInOneClearLine) {
  const Status status = Parse(GetParam().file).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              AllOf(StartsWith("t.npy: "), HasSubstr(GetParam().reason), Not(HasSubstr("\n"))));
}

std::string WithByte(std::string file, size_t at, char byte) {
  file[at] = byte;
  return file;
}

const std::string kGood = File(Header("(2, 3)"), 24);

INSTANTIATE_TEST_SUITE_P(
    All, HostileFileTest,
    testing::ValuesIn(std::vector<HostileFile>{
        {"BadMagic", WithByte(kGood, 0, 'x'), "is not a NumPy file"},
        {"ShortText", "hello, world", "is not a NumPy file"},
        {"Zip", "PK\x03\x04", "zip archive"},
        {"Version0", WithByte(kGood, 6, 0), "version 0.0"},
        {"Version4", WithByte(kGood, 6, 4), "version 4.0"},
        {"Version1Point1", WithByte(kGood, 7, 1), "version 1.1"},
        {"HeaderBeyondTheFile", WithByte(kGood, 9, '\x7f'), "truncated: its header has"},
        {"HeaderOfFourGigabytes", std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14),
         "header has 4294967295 bytes, the file 14"},
        {"HeaderTooLong",
         std::string("\x93NUMPY\x02\x00\x00\x00\x01\x00", 12) + std::string(65536, ' '),
         "at most 65535 are read"},
        {"EmptyHeader", File("", 0), "not a Python dict"},
        {"NoDict", File("[1, 2]", 0), "not a Python dict"},
        {"OpenDict", File("{'descr': '<f4'", 0), "',' or '}' is missing"},
        {"OpenString", File("{'descr", 0), "string without end"},
        {"KeyNoString", File("{1: 2}", 0), "a key is no string"},
        {"NoColon", File("{'descr' '<f4'}", 0), "no ':' after \"descr\""},
        {"LoneComma", File("{,}", 0), "a key is no string"},
        {"AfterTheDict", File(Header("(2, 3)") + "x", 24), "goes on after"},
        {"NoDescr", File("{'fortran_order': False, 'shape': (1,)}", 4), "has no 'descr'"},
        {"NoOrder", File("{'descr': '<f4', 'shape': (1,)}", 4), "has no 'fortran_order'"},
        {"NoShape", File("{'descr': '<f4', 'fortran_order': False}", 4), "has no 'shape'"},
        {"UnknownKey", File("{'extra\n': 1}", 4), "unknown key \"extra\\n\""},
        {"DuplicateKey", File("{'descr': '<f4', 'descr': '<f4'}", 4), "has \"descr\" twice"},
        {"OrderNoBool", File("{'fortran_order': 1}", 4), "neither True nor False"},
        {"Half", Contents(TestData("1d_f2.npy")), "has dtype \"<f2\"; accepted are float32"},
        {"Integers", Contents(TestData("1d_i8.npy")), "has dtype \"<i8\"; accepted are float32"},
        {"Objects", Contents(TestData("1d_object.npy")), "has dtype \"|O\"; accepted are float32"},
        {"Structured", Contents(TestData("1d_structured.npy")), "structured dtype"},
        {"EmptyDescr", File(Header("(1,)", ""), 4), "has dtype \"\""},
        {"ShapeNoTuple", File(Header("[2, 3]"), 24), "not a tuple of whole numbers"},
        {"ShapeANumber", File(Header("(6)"), 24), "not a tuple of whole numbers"},
        {"ShapeOfFloats", File(Header("(2.0, 3)"), 24), "not a tuple of whole numbers"},
        {"ShapeOpen", File("{'shape': (2, 3", 24), "not a tuple of whole numbers"},
        {"ShapeLoneComma", File(Header("(,)"), 24), "not a tuple of whole numbers"},
        {"ShapeNoCommas", File(Header("(2 3)"), 24), "not a tuple of whole numbers"},
        {"NegativeDim", File(Header("(-2, -3)"), 24), "impossible dimension \"-2\""},
        {"TwoTo63", File(Header("(9223372036854775808,)"), 24),
         "impossible dimension \"9223372036854775808\""},
        {"TwoTo63Less1", File(Header("(9223372036854775807,)"), 24), "more than can exist"},
        {"ProductOverflows", File(Header("(4294967296, 4294967296)"), 24), "more than can exist"},
        {"ProductWrapsTo24", File(Header("(4611686018427387910,)"), 24), "more than can exist"},
        {"ZeroHidesOverflow", File(Header("(4611686018427387904, 4611686018427387904, 0)"), 0),
         "more than can exist"},
        {"FiveDims", File(Header("(1, 1, 1, 1, 1)"), 4), "more than 4 dimensions"},
        {"Huge", File(Header("(1000000, 1000000, 1000)"), 24), "truncated"},
    }),
    [](const auto& info) { return info.param.name; });

TEST(ReadNpyTest, NamesBothShapes) {
  EXPECT_EQ(ReadNpy(TestData("2d_f4.npy"), Shape{4, 3}).status().message(),
            TestData("2d_f4.npy") + ": has shape [3, 4], but shape [4, 3] is needed");
}

TEST(ReadNpyTest, NamesWhatIsNoFile) {
  const Status missing = ReadNpy(testing::TempDir() + "/missing.npy").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("missing.npy: cannot be read: No such file"));
  EXPECT_THAT(ReadNpy(testing::TempDir()).status().message(), HasSubstr("is a folder"));
  EXPECT_THAT(ReadNpy("").status().message(), HasSubstr("path is empty"));

  const std::string pipe = testing::TempDir() + "/pipe.npy";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(ReadNpy(pipe).status().message(), HasSubstr("is not a regular file"));
  std::remove(pipe.c_str());
}

// A sparse file of 8 TiB is refused by its shape, or by its size, before memory is asked for.
TEST(ReadNpyTest, LooksBeforeItAllocates) {
  const std::string path = testing::TempDir() + "/sparse.npy";
  std::ofstream(path, std::ios::binary) << File(Header("(2, 3)"), 24);
  std::filesystem::resize_file(path, int64_t{1} << 43);
  EXPECT_THAT(ReadNpy(path, Shape{3}).status().message(), HasSubstr("shape [3] is needed"));
  EXPECT_THAT(ReadNpy(path).status().message(), HasSubstr("trailing bytes"));
  std::remove(path.c_str());
}

TEST(ReadNpyTest, KeepsNanAndInfinity) {
  HostTensor tensor({2}, kF8);
  tensor.Set(0, std::numeric_limits<double>::quiet_NaN());
  tensor.Set(1, std::numeric_limits<double>::infinity());
  const StatusOr<HostTensor> read = Parse(EncodeNpy(tensor));
  ASSERT_TRUE(read.ok());
  ExpectSame(*read, tensor);
}

}  // namespace
}  // namespace tp::io
