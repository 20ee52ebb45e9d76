#include "tp/ops/parse.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/schedule/random_program.h"
#include "tp/model/linear_step.h"
#include "tp/passes/passes.h"

namespace tp {
namespace {

constexpr char kX[] = "x: fp32 [4, 6] {tp: Replicate, dp: Shard(0)} = input()\n";

// The same program but for ids, and but for the names of letters.
void ExpectSame(const Program& a, const Program& b) {
  RC_ASSERT(ToString(a) == ToString(b));
  RC_ASSERT(a.sum_order() == b.sum_order());
  RC_ASSERT(a.ops().size() == b.ops().size());
  for (size_t i = 0; i < a.ops().size(); ++i) {
    RC_ASSERT(a.ops()[i].def == b.ops()[i].def && a.ops()[i].phase == b.ops()[i].phase);
    for (const auto& [name, value] : a.ops()[i].attributes.entries()) {
      if (name == "letters") continue;
      if (!std::holds_alternative<double>(value)) continue;  // which print as they are
      const double there = std::get<double>(value);
      const double here = b.ops()[i].attributes.Number(name);
      RC_ASSERT(std::memcmp(&there, &here, sizeof(there)) == 0);
    }
  }
}

RC_GTEST_PROP(ParseProgram, ReadsWhatIsPrinted, ()) {
  Program program = DrawProgram().program;
  if (*rc::gen::arbitrary<bool>()) program.set_sum_order(SumOrder::kInvariant);
  if (*rc::gen::arbitrary<bool>()) Optimize(program, DrawMesh());
  if (*rc::gen::arbitrary<bool>()) {
    std::vector<Op> ops = program.ops();
    for (Op& op : ops) {
      for (const char* name : {"scale", "rate"}) {
        if (op.attributes.Has(name)) op.attributes.Set(name, *rc::gen::arbitrary<double>());
      }
    }
    program.ReplaceOps(std::move(ops));
  }
  const StatusOr<Program> parsed = ParseProgram(ToString(program));
  RC_ASSERT(parsed.status().ToString() == "OK");
  ExpectSame(program, *parsed);
}

TEST(ParseProgram, ReadsIdsAndMaxima) {
  constexpr char kText[] =
      "x: fp32 [4, 6] {tp: Shard(1), dp: Replicate} = input()  # forward\n"
      "ids: int32 [4] {tp: Replicate, dp: Replicate} = input()  # forward\n"
      "m: fp32 [4] {tp: Partial(max), dp: Replicate} = row_max(x)  # forward\n"
      "p: fp32 [4] {tp: Partial, dp: Replicate}, c: fp32 [4] {tp: Partial, dp: Replicate} = "
      "pick(x, "
      "ids)  # forward\n";
  const StatusOr<Program> parsed = ParseProgram(kText);
  ASSERT_EQ(parsed.status().ToString(), "OK");
  EXPECT_EQ(ToString(*parsed), kText);
}

TEST(ParseProgram, ReadsAxesOfAnyNameInTheOrderInWhichTheyCut) {
  const std::string ops = " = input()  # forward\n";
  for (const char* line : {"x: fp32 [4, 6] {tp: Replicate, dp: Replicate, kv: Shard(0)}",
                           "x: fp32 [4, 6] {dp: Shard(0), tp: Shard(0)}",
                           "x: fp32 [4, 6] {tp: Shard(0), dp: Shard(0)}",
                           "x: fp32 [4, 6] {kv: Shard(1), dp: Partial, tp: Shard(1)}"}) {
    const StatusOr<Program> parsed = ParseProgram(line + ops);
    ASSERT_EQ(parsed.status().ToString(), "OK");
    EXPECT_EQ(ToString(*parsed), line + ops);
  }
  // What is not told is Replicate, and told in another order all the same.
  EXPECT_EQ(ToString(*ParseProgram("x: fp32 [4] {kv: Shard(0)}" + ops)),
            "x: fp32 [4] {tp: Replicate, dp: Replicate, kv: Shard(0)}" + ops);
  EXPECT_EQ(ToString(*ParseProgram("x: fp32 [4] {pp: Replicate, dp: Partial, tp: Shard(0)}" + ops)),
            "x: fp32 [4] {tp: Shard(0), dp: Partial}" + ops);
}

// More operands or outputs than any op has; nothing but an error may come of it.
TEST(ParseProgram, TakesAsManyOperandsAsLettersSay) {
  const std::string x = "x: fp32 [2] {tp: Replicate, dp: Replicate} = input()  # forward\n";
  EXPECT_TRUE(ParseProgram(x + "y = matmul(x, x, x, x, x, x, x, x, x, "
                               "letters='m,m,m,m,m,m,m,m,m->m')\n")
                  .ok());
  EXPECT_FALSE(ParseProgram(x + "a, b, c, d, e = matmul(x, letters='m->m,m,m,m,m')\n").ok());
}

std::string Edited(std::string text) {
  const std::vector<std::string> tokens = {"(",
                                           ")",
                                           ",",
                                           " = ",
                                           "^T",
                                           "'",
                                           "\\",
                                           "\n",
                                           "-1",
                                           "#",
                                           "result ",
                                           "[",
                                           ": ",
                                           "{",
                                           "nan",
                                           "1e999",
                                           "sum order ",
                                           "scale=",
                                           "99999999999999999999"};
  const auto at = *rc::gen::inRange<size_t>(0, text.size());
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      text.erase(at, *rc::gen::inRange<size_t>(1, 20));
      break;
    case 1: {
      const auto from = *rc::gen::inRange<size_t>(0, text.size());
      text.insert(at, text.substr(from, *rc::gen::inRange<size_t>(1, 40)));
      break;
    }
    case 2:
      text[at] = *rc::gen::arbitrary<char>();
      break;
    default:
      text.insert(at, *rc::gen::elementOf(tokens));
  }
  return text;
}

// Any text: a program that prints to one that parses, or an error that says where.
RC_GTEST_PROP(ParseProgram, SaysWhereBrokenTextIsBroken, ()) {
  std::string text = ToString(DrawProgram().program);
  for (int edits = *rc::gen::inRange(1, 4); edits > 0 && !text.empty(); --edits) {
    text = Edited(std::move(text));
  }
  const StatusOr<Program> parsed = ParseProgram(text);
  RC_CLASSIFY(parsed.ok());
  if (parsed.ok()) {
    const std::string printed = ToString(*parsed);
    const StatusOr<Program> again = ParseProgram(printed);
    RC_ASSERT(again.status().ToString() == "OK");
    RC_ASSERT(ToString(*again) == printed);
    return;
  }
  const std::string& message = parsed.status().message();
  int line = 0;
  int column = 0;
  RC_ASSERT(std::sscanf(message.c_str(), "line %d, column %d: ", &line, &column) == 2);
  RC_ASSERT(line > 0 && column > 0);
  RC_ASSERT(message.find('\n') == std::string::npos);
}

TEST(ParseProgram, ReadsALinearStep) {
  const Mesh mesh = Mesh::Create(2, 2).value();
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (SumOrder order : {SumOrder::kFast, SumOrder::kInvariant}) {
      LinearStepOptions options;
      options.mode = mode;
      options.sum_order = order;
      const std::string text = ToString(MakeLinearStep(options, mesh).value());
      const StatusOr<Program> parsed = ParseProgram(text);
      ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
      EXPECT_EQ(ToString(*parsed), text);
      EXPECT_TRUE(Verify(*parsed).ok());
    }
  }
}

TEST(ParseProgram, WorksOutTypesThatAreLeftOut) {
  const Program program = ParseProgram(std::string("# a gradient of nothing\n\n") + kX +
                                       "g = mse_grad(x, x, scale=0.1)  # backward\n"
                                       "p = matmul(g^T, x)\n"
                                       "r = matmul(g, x, letters='ba,bc -> ac')\n")
                              .value();
  EXPECT_EQ(ToString(program),
            "x: fp32 [4, 6] {tp: Replicate, dp: Shard(0)} = input()  # forward\n"
            "g: fp32 [4, 6] {tp: Replicate, dp: Shard(0)} = mse_grad(x, x, scale=0.1)"
            "  # backward\n"
            "p: fp32 [6, 6] {tp: Replicate, dp: Partial} = matmul(g^T, x)  # forward\n"
            // By other letters it is a product of matrices all the same.
            "r: fp32 [6, 6] {tp: Replicate, dp: Partial} = matmul(g^T, x)  # forward\n");
}

TEST(ParseProgram, NamesLineAndColumn) {
  const std::pair<const char*, const char*> cases[] = {
      {"y = matmul(x, w)", "line 2, column 15: no line above writes 'w'"},
      {"y = matmul(x, x^T", "line 2, column 18: there should be ')', not the line's end"},
      {"y = matmull(x, x^T)", "line 2, column 5: there is no op 'matmull'"},
      {"y = add(x, x) # forwards", "line 2, column 17: there is no phase 'forwards'"},
      {"y = add(x, x)  # forward too",
       "line 2, column 26: there should be the line's end, not 't'"},
      {"x = add(x, x)", "line 2, column 1: 'x' is written twice"},
      {"y: fp31 [4, 6] {tp: Replicate, dp: Replicate} = input()",
       "line 2, column 4: there is no element type 'fp31'"},
      {"y: fp32 [4, -6] {tp: Replicate, dp: Replicate} = input()",
       "line 2, column 13: a tensor has a size below 0, or too many elements"},
      {"y: fp32 [4000000000, 4000000000] {tp: Replicate, dp: Replicate} = input()",
       "line 2, column 22: a tensor has a size below 0, or too many elements"},
      {"y: fp32 [99999999999999999999] {tp: Replicate, dp: Replicate} = input()",
       "line 2, column 10: a size that is too large, or too small"},
      {"y: fp32 [4] {tp: Split(0), dp: Replicate} = input()",
       "line 2, column 18: there should be Replicate, Shard(dimension) or Partial, not 'S'"},
      {"y: fp32 [4] {Tp: Replicate} = input()",
       "line 2, column 14: 'Tp' is no name of an axis: that is a small letter, then small letters, "
       "digits and '_', at most 15 in all"},
      {"y: fp32 [4] {kv: Replicate, kv: Shard(0)} = input()",
       "line 2, column 29: 'kv' is told twice"},
      {"y: fp32 [4] {a: Partial, b: Partial, c: Partial, d: Partial, e: Partial} = input()",
       "line 2, column 62: at most 4 axes can be other than Replicate"},
      {"y: fp32 [4] {tp: Shard(1), dp: Replicate} = input()",
       "line 2, column 45: 'y' of shape [4] has no dimension to be Shard(1)"},
      {"y: fp32 [4, 6] {tp: Replicate, dp: Shard(0)} = add(x, x, scale=1)",
       "line 2, column 58: add has no attribute 'scale'"},
      {"y = mse_grad(x, x)", "line 2, column 5: has no attribute 'scale'"},
      {"y = mse_grad(x, x, scale=1, scale=2)", "line 2, column 29: attribute 'scale' comes twice"},
      {"y = mse_grad(x, scale=1, x)",
       "line 2, column 26: 'x' comes behind an attribute; operands come first"},
      {"y = mse_grad(x, x, scale='1')", "line 2, column 26: there should be a number, not '''"},
      {"y = matmul(x, x, letters='ab,cb", "line 2, column 26: a text without an end"},
      {"y = add(x, x^T)", "line 2, column 13: ^T is for products of matrices without letters"},
      {"y = input()", "line 2, column 5: input declares its own output"},
      {"result x, y", "line 2, column 11: no line above writes 'y'"},
      {"sum order random", "line 2, column 11: there is no sum order 'random'"},
      {"= add(x, x)", "line 2, column 1: there should be a name, not '='"},
      {"a, b = add(x, x)", "line 2, column 8: add yields 1 values"},
  };
  for (const auto& [line, message] : cases) {
    const Status status = ParseProgram(std::string(kX) + line).status();
    EXPECT_EQ(status.ToString(), std::string("INVALID_ARGUMENT: ") + message) << line;
  }
}

TEST(ParseProgram, KeepsNumbersThatAreNone) {
  for (double scale : {std::numeric_limits<double>::infinity(), -0.0, 5e-324, 1.7e308, 1 / 3.0}) {
    Attributes attributes;
    attributes.Set("scale", scale);
    const std::string text = std::string(kX) + "g = mse_grad(x, x, " + ToString(attributes) + ")\n";
    const StatusOr<Program> program = ParseProgram(text);
    ASSERT_TRUE(program.ok()) << program.status().ToString();
    const double parsed = program->ops()[1].attributes.Number("scale");
    EXPECT_EQ(std::memcmp(&parsed, &scale, sizeof(scale)), 0) << text;
  }
}

}  // namespace
}  // namespace tp
