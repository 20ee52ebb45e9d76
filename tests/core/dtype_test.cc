#include "tp/core/dtype.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace tp {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kPatterns = 1 << 16;

// The number that a 16-bit pattern stands for, from the definition in IEEE 754-2019, 3.4.
double Meaning(DType dtype, int bits) {
  const int mantissa_bits = dtype == DType::kFloat16 ? 10 : 7;
  const int exponent_bits = 15 - mantissa_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  double magnitude;
  if (exponent == (1 << exponent_bits) - 1) {
    magnitude = mantissa == 0 ? kInfinity : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    magnitude = std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

double Decode(DType dtype, int bits) {
  const auto pattern = static_cast<uint16_t>(bits);
  return dtype == DType::kFloat16 ? ToFloat(Half{pattern}) : ToFloat(BFloat16{pattern});
}

int EncodeFloat(DType dtype, float value) {
  return dtype == DType::kFloat16 ? ToHalf(value).bits : ToBFloat16(value).bits;
}

int EncodeDouble(DType dtype, double value) {
  uint16_t bits = 0;
  EncodeFromDouble(dtype, std::span(&value, 1), std::as_writable_bytes(std::span(&bits, 1)));
  return bits;
}

class SixteenBits : public testing::TestWithParam<DType> {
 protected:
  // The pattern of infinity: below it lie all finite magnitudes, in order.
  int InfinityBits() const { return GetParam() == DType::kFloat16 ? 0x7c00 : 0x7f80; }

  // All three ways to round must give `bits`.
  void ExpectRoundsTo(double value, int bits) {
    const DType dtype = GetParam();
    EXPECT_EQ(EncodeDouble(dtype, value), bits) << std::hexfloat << value;
    const double rounded = RoundTo(dtype, value);
    EXPECT_EQ(rounded, Meaning(dtype, bits)) << std::hexfloat << value;
    EXPECT_EQ(std::signbit(rounded), (bits & 0x8000) != 0) << std::hexfloat << value;
    if (static_cast<double>(static_cast<float>(value)) != value) return;
    EXPECT_EQ(EncodeFloat(dtype, static_cast<float>(value)), bits) << std::hexfloat << value;
  }
};

TEST_P(SixteenBits, DecodesEveryPatternToItsMeaning) {
  const DType dtype = GetParam();
  for (int bits = 0; bits < kPatterns; ++bits) {
    const double meaning = Meaning(dtype, bits);
    const double decoded = Decode(dtype, bits);
    double from_bytes = 0;
    const auto pattern = static_cast<uint16_t>(bits);
    DecodeToDouble(dtype, std::as_bytes(std::span(&pattern, 1)), std::span(&from_bytes, 1));
    if (std::isnan(meaning)) {
      EXPECT_TRUE(std::isnan(decoded)) << bits;
      EXPECT_TRUE(std::isnan(from_bytes)) << bits;
      continue;
    }
    EXPECT_EQ(decoded, meaning) << bits;
    EXPECT_EQ(from_bytes, meaning) << bits;
    EXPECT_EQ(std::signbit(decoded), (bits & 0x8000) != 0) << bits;
  }
}

TEST_P(SixteenBits, EveryNumberRoundsToItself) {
  for (int bits = 0; bits < kPatterns; ++bits) {
    const double meaning = Meaning(GetParam(), bits);
    if (!std::isnan(meaning)) ExpectRoundsTo(meaning, bits);
  }
}

TEST_P(SixteenBits, EveryNanStaysANanOfItsSign) {
  const DType dtype = GetParam();
  for (int bits = 0; bits < kPatterns; ++bits) {
    if (!std::isnan(Meaning(dtype, bits))) continue;
    // ToFloat may quieten a NaN; its bits are built here instead.
    const uint32_t widened = dtype == DType::kFloat16
                                 ? (static_cast<uint32_t>(bits & 0x8000) << 16) | 0x7f800000u |
                                       (static_cast<uint32_t>(bits & 0x3ff) << 13)
                                 : static_cast<uint32_t>(bits) << 16;
    const int back = EncodeFloat(dtype, std::bit_cast<float>(widened));
    EXPECT_TRUE(std::isnan(Meaning(dtype, back))) << bits;
    EXPECT_EQ(back & 0x8000, bits & 0x8000) << bits;
  }
  // One whose payload lies in bits that are cut off.
  EXPECT_TRUE(std::isnan(Meaning(dtype, EncodeFloat(dtype, std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(RoundTo(dtype, std::numeric_limits<double>::quiet_NaN())));
}

// Between neighbours: a tie goes to the even pattern, anything else to the nearer one. The numbers
// beside the ties differ from them by less than a float can tell.
TEST_P(SixteenBits, RoundsToNearestTiesToEvenBetweenAllNeighbours) {
  const DType dtype = GetParam();
  for (int sign : {0, 0x8000}) {
    for (int bits = 0; bits + 1 < InfinityBits(); ++bits) {
      const double low = Meaning(dtype, sign | bits);
      const double high = Meaning(dtype, sign | (bits + 1));
      const double tie = low + (high - low) / 2;
      ExpectRoundsTo(tie, sign | (bits % 2 == 0 ? bits : bits + 1));
      ExpectRoundsTo(std::nextafter(tie, low), sign | bits);
      ExpectRoundsTo(std::nextafter(tie, high), sign | (bits + 1));
      ExpectRoundsTo(low + (high - low) / 4, sign | bits);
      ExpectRoundsTo(low + (high - low) * 3 / 4, sign | (bits + 1));
    }
  }
}

TEST_P(SixteenBits, OverflowsFromHalfAnUlpBeyondTheLargestNumber) {
  const DType dtype = GetParam();
  const int largest = InfinityBits() - 1;
  const double ulp = Meaning(dtype, largest) - Meaning(dtype, largest - 1);
  const double threshold = Meaning(dtype, largest) + ulp / 2;
  for (double sign : {1.0, -1.0}) {
    const int sign_bit = sign < 0 ? 0x8000 : 0;
    ExpectRoundsTo(sign * std::nextafter(threshold, 0), sign_bit | largest);
    ExpectRoundsTo(sign * threshold, sign_bit | InfinityBits());
    ExpectRoundsTo(sign * 1e300, sign_bit | InfinityBits());
    ExpectRoundsTo(sign * kInfinity, sign_bit | InfinityBits());
  }
}

TEST_P(SixteenBits, TinyNumbersRoundToZeroOfTheirSign) {
  const double smallest = Meaning(GetParam(), 1);
  for (double sign : {1.0, -1.0}) {
    const int sign_bit = sign < 0 ? 0x8000 : 0;
    ExpectRoundsTo(sign * 0.0, sign_bit);
    ExpectRoundsTo(sign * smallest / 2, sign_bit);
    ExpectRoundsTo(sign * std::nextafter(smallest / 2, 1), sign_bit | 1);
    ExpectRoundsTo(sign * std::numeric_limits<double>::denorm_min(), sign_bit);
  }
}

TEST_P(SixteenBits, LimitsAreThoseOfThePatterns) {
  const DType dtype = GetParam();
  const int one = EncodeDouble(dtype, 1);
  EXPECT_EQ(UnitRoundoff(dtype), (Meaning(dtype, one + 1) - 1) / 2);
  EXPECT_EQ(MaxFinite(dtype), Meaning(dtype, InfinityBits() - 1));
  const int mantissa_bits = dtype == DType::kFloat16 ? 10 : 7;
  EXPECT_EQ(MinNormal(dtype), Meaning(dtype, 1 << mantissa_bits));
}

INSTANTIATE_TEST_SUITE_P(DType, SixteenBits, testing::Values(DType::kBFloat16, DType::kFloat16),
                         [](const auto& param) { return std::string(Name(param.param)); });

TEST(DType, LimitsOfTheNativeTypes) {
  EXPECT_EQ(UnitRoundoff(DType::kFloat64), std::numeric_limits<double>::epsilon() / 2);
  EXPECT_EQ(MaxFinite(DType::kFloat64), std::numeric_limits<double>::max());
  EXPECT_EQ(MinNormal(DType::kFloat64), std::numeric_limits<double>::min());
  EXPECT_EQ(UnitRoundoff(DType::kFloat32), std::numeric_limits<float>::epsilon() / 2);
  EXPECT_EQ(MaxFinite(DType::kFloat32), std::numeric_limits<float>::max());
  EXPECT_EQ(MinNormal(DType::kFloat32), std::numeric_limits<float>::min());
}

TEST(DType, NamesParseBack) {
  for (DType dtype : kAllDTypes) EXPECT_EQ(ParseDType(Name(dtype)), dtype);
  for (const char* name : {"", "fp", "FP32", "fp32 ", "float32"}) {
    EXPECT_EQ(ParseDType(name), std::nullopt) << name;
  }
}

TEST(DType, SumsOfNarrowTypesAccumulateInFp32) {
  EXPECT_EQ(AccumulatorOf(DType::kFloat64), DType::kFloat64);
  EXPECT_EQ(AccumulatorOf(DType::kFloat32), DType::kFloat32);
  EXPECT_EQ(AccumulatorOf(DType::kBFloat16), DType::kFloat32);
  EXPECT_EQ(AccumulatorOf(DType::kFloat16), DType::kFloat32);
}

RC_GTEST_PROP(DType, EncodingStoresWhatRoundToSays, ()) {
  const auto values = *rc::gen::container<std::vector<double>>(rc::gen::map(
      rc::gen::pair(rc::gen::inRange<int64_t>(-(int64_t{1} << 53), int64_t{1} << 53),
                    rc::gen::inRange(-110, 60)),
      [](const auto& p) { return std::ldexp(static_cast<double>(p.first), p.second); }));
  const DType dtype = *rc::gen::elementOf(std::vector<DType>(kAllDTypes, kAllDTypes + 4));
  std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
  EncodeFromDouble(dtype, values, bytes);
  std::vector<double> decoded(values.size());
  DecodeToDouble(dtype, bytes, decoded);
  for (size_t i = 0; i < values.size(); ++i) RC_ASSERT(decoded[i] == RoundTo(dtype, values[i]));
}

TEST(DTypeDeathTest, SizesMustAgree) {
  const std::vector<double> values(3);
  std::vector<std::byte> bytes(5);
  EXPECT_DEATH(EncodeFromDouble(DType::kBFloat16, values, bytes), "Check failed");
}

}  // namespace
}  // namespace tp
