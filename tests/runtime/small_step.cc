#include "tests/runtime/small_step.h"

#include <gtest/gtest.h>

#include <utility>

namespace tp {

LinearStepOptions Options(LinearMode mode) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = kTokens;
  options.in_features = kIn;
  options.out_features = kOut;
  options.dtype = DType::kFloat64;
  options.learning_rate = 0.125;
  options.loss_scale = 0.5;
  return options;
}

Mesh MeshOf(int tp, int dp) { return *Mesh::Create(tp, dp); }

double X(int step, int64_t i) { return static_cast<double>((i * 3 + step) % 5 - 2); }
double Target(int step, int64_t i) { return static_cast<double>((i * 3 + 2 * step) % 7 - 3); }
double W(int64_t i) { return static_cast<double>(i * 2 % 5 - 2); }
double B(int64_t i) { return static_cast<double>(i % 3 + 1); }

std::vector<double> Elements(int64_t count, const ElementSource& source) {
  std::vector<double> elements;
  for (int64_t i = 0; i < count; ++i) elements.push_back(source(i));
  return elements;
}

Plain PlainStep() {
  Plain plain = {kTokens, kIn, kOut, 0.125, 0.5, {}};
  plain.v["w"] = Elements(kOut * kIn, W);
  plain.v["b"] = Elements(kOut, B);
  return plain;
}

void RunPlain(Plain& plain, int step) {
  plain.v["x"] = Elements(kTokens * kIn, [=](int64_t i) { return X(step, i); });
  plain.v["targets"] = Elements(kTokens * kOut, [=](int64_t i) { return Target(step, i); });
  plain.Run();
}

HostTensor Tensor(const Shape& shape, const ElementSource& source, DType dtype) {
  HostTensor tensor(shape, dtype);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, source(i));
  return tensor;
}

Status FeedBatch(Session& session, int step) {
  TP_RETURN_IF_ERROR(
      session.Feed("x", Tensor({kTokens, kIn}, [=](int64_t i) { return X(step, i); })));
  return session.Feed("targets", [=](int64_t i) { return Target(step, i); });
}

Status WriteWeights(Session& session) {
  TP_RETURN_IF_ERROR(session.Write("w", W));
  return session.Write("b", Tensor({kOut}, B));
}

std::unique_ptr<Session> MustCreate(Backend& backend, const Mesh& mesh, LinearMode mode) {
  auto session = Session::Create(backend, mesh, *MakeLinearStep(Options(mode), mesh));
  EXPECT_TRUE(session.ok()) << session.status().ToString();
  return *std::move(session);
}

void ExpectSame(Session& session, const Plain& plain, const std::string& name) {
  const StatusOr<HostTensor> tensor = session.Read(name);
  ASSERT_TRUE(tensor.ok()) << tensor.status().ToString();
  EXPECT_EQ(tensor->ToDoubles(), plain.v.at(name)) << name;
}

void ExpectOk(const Status& status) { EXPECT_TRUE(status.ok()) << status.ToString(); }

}  // namespace tp
