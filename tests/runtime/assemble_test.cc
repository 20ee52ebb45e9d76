// From whole tensors to the ranks' buffers and back, over every placement on both axes.
#include "tp/runtime/assemble.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tp/core/numbers.h"
#include "tp/core/shard_geometry.h"

namespace tp {
namespace {

constexpr std::byte kSpoilt{0xcd};

double Element(int64_t index) { return static_cast<double>(index % 100) + 1; }

// How a part lies in its rank's buffer.
enum class Storage { kPacked, kLastOutermost, kInWhole };

// The part of rank `rank` and its view into a buffer of its own.
Binding MakeBinding(const Shape& shape, DType dtype, const Placements& placements, const Mesh& mesh,
                    int rank, Storage storage) {
  Binding binding;
  binding.name = "v";
  binding.shape = shape;
  binding.dtype = dtype;
  binding.placements = placements;
  Shape sizes = shape;
  for (Axis axis : kDefaultAxes) {
    if (!IsShard(placements[axis])) continue;
    const int dim = placements[axis].dim;
    const ShardGeometry geometry(shape[dim], mesh.Size(axis));
    binding.origin[dim] = geometry.Offset(mesh.Coordinate(rank, axis));
    sizes[dim] = geometry.Length(mesh.Coordinate(rank, axis));
  }
  const size_t dims = shape.size();
  const Order order = storage == Storage::kLastOutermost && dims > 0
                          ? Order::Outermost(static_cast<int>(dims) - 1, dims)
                          : Order::Own(dims);
  if (storage != Storage::kInWhole) {
    binding.view = PackedView(0, 0, sizes, order);
    return binding;
  }
  Shape whole = sizes;
  if (!whole.empty()) whole.back() += 2;
  binding.view = PackedView(0, 2, whole, order);
  for (int dim = 0; dim < binding.view.rank(); ++dim) binding.view.dims[dim].size = sizes[dim];
  return binding;
}

std::vector<std::byte> MakeBuffer(const Binding& binding) {
  return std::vector<std::byte>((binding.view.End() + 3) * SizeOf(binding.dtype), kSpoilt);
}

// Fills every rank's buffer, extracts the parts and assembles them.
HostTensor RoundTrip(const Shape& shape, DType dtype, const Placements& placements,
                     const Mesh& mesh, Storage storage, std::vector<std::string>& defects) {
  std::vector<Binding> bindings;
  std::vector<std::vector<std::byte>> parts;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    bindings.push_back(MakeBinding(shape, dtype, placements, mesh, rank, storage));
    std::vector<std::byte> buffer = MakeBuffer(bindings.back());
    FillLocal(bindings.back(), Element, buffer);
    EXPECT_GE(std::count(buffer.begin(), buffer.end(), kSpoilt), 3 * SizeOf(dtype))
        << "what is not the part stays as it is";
    parts.push_back(ExtractLocal(bindings.back(), buffer));
    EXPECT_EQ(parts.back().size(), bindings.back().view.size() * SizeOf(dtype));
  }
  std::vector<const Binding*> pointers;
  for (const Binding& binding : bindings) pointers.push_back(&binding);
  return Assemble(pointers, {parts.begin(), parts.end()}, mesh, defects);
}

TEST(AssembleTest, EveryPlacementGivesTheWholeTensor) {
  const Placement all[] = {Replicate(), Partial(), Shard(0), Shard(1), Shard(2), Shard(5)};
  for (const auto& [tp, dp] : {std::pair{1, 1}, {2, 1}, {3, 2}, {5, 1}, {4, 3}}) {
    const Mesh mesh = *Mesh::Create(tp, dp);
    for (const Shape& shape :
         {Shape{7, 11}, Shape{2, 3}, Shape{1, 1}, Shape{9}, Shape{2}, Shape{}, Shape{0, 4},
          Shape{4, 0}, Shape{0}, Shape{3, 2, 5}, Shape{2, 0, 3}, Shape{2, 3, 2, 1, 2, 5}}) {
      for (Placement on_tp : all) {
        for (Placement on_dp : all) {
          const auto has = [&](Placement p) {
            return !IsShard(p) || p.dim < static_cast<int>(shape.size());
          };
          if (!has(on_tp) || !has(on_dp) || (IsShard(on_tp) && on_tp == on_dp)) continue;
          for (Storage storage : {Storage::kPacked, Storage::kLastOutermost, Storage::kInWhole}) {
            const Placements placements(on_tp, on_dp);
            SCOPED_TRACE(ToString(shape) + " " + ToString(placements) + " tp " +
                         std::to_string(tp) + " dp " + std::to_string(dp));
            std::vector<std::string> defects;
            const HostTensor whole =
                RoundTrip(shape, DType::kFloat32, placements, mesh, storage, defects);
            EXPECT_EQ(defects, std::vector<std::string>());
            ASSERT_EQ(whole.shape(), shape);
            // Each of the summands was fed the whole value.
            const int summands = (IsPartial(on_tp) ? tp : 1) * (IsPartial(on_dp) ? dp : 1);
            for (int64_t i = 0; i < whole.size(); ++i) {
              ASSERT_EQ(whole.At(i), summands * Element(i)) << i;
            }
          }
        }
      }
    }
  }
}

TEST(AssembleTest, EveryTypeIsRoundedOnTheWayIn) {
  const Mesh mesh = *Mesh::Create(3, 1);
  for (DType dtype : kAllDTypes) {
    std::vector<std::string> defects;
    const HostTensor whole =
        RoundTrip({5, 7}, dtype, {Shard(1), Replicate()}, mesh, Storage::kPacked, defects);
    EXPECT_EQ(whole.dtype(), dtype);
    for (int64_t i = 0; i < whole.size(); ++i) EXPECT_EQ(whole.At(i), RoundTo(dtype, Element(i)));
  }
}

// Partial values are added in double and rounded once: in bf16 256 + 1 + 1 is 258, where adding one
// after the other gives 256.
TEST(AssembleTest, PartialValuesAreAddedInDouble) {
  const Mesh mesh = *Mesh::Create(3, 1);
  std::vector<Binding> bindings;
  std::vector<std::vector<std::byte>> parts;
  for (int rank = 0; rank < 3; ++rank) {
    bindings.push_back(
        MakeBinding({1}, DType::kBFloat16, {Partial(), Replicate()}, mesh, rank, Storage::kPacked));
    parts.emplace_back(2);
    FillLocal(
        bindings.back(), [&](int64_t) { return rank == 0 ? 256.0 : 1.0; }, parts.back());
  }
  std::vector<std::string> defects;
  const HostTensor whole = Assemble({&bindings[0], &bindings[1], &bindings[2]},
                                    {parts.begin(), parts.end()}, mesh, defects);
  EXPECT_EQ(whole.At(0), 258);
}

// A replica that differs in one bit is named, with the rank that it should equal; the first one
// counts.
TEST(AssembleTest, ReplicasThatDifferAreNamed) {
  const Mesh mesh = *Mesh::Create(2, 3);  // rank = 2 dp + tp
  const Placements placements(Shard(0), Replicate());
  std::vector<Binding> bindings;
  std::vector<std::vector<std::byte>> parts;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    bindings.push_back(MakeBinding({5}, DType::kFloat32, placements, mesh, rank, Storage::kPacked));
    std::vector<std::byte> buffer = MakeBuffer(bindings.back());
    FillLocal(bindings.back(), Element, buffer);
    parts.push_back(ExtractLocal(bindings.back(), buffer));
  }
  parts[5][0] ^= std::byte{1};  // tp 1, dp 2
  std::vector<const Binding*> pointers;
  for (const Binding& binding : bindings) pointers.push_back(&binding);
  std::vector<std::string> defects;
  const HostTensor whole = Assemble(pointers, {parts.begin(), parts.end()}, mesh, defects);
  ASSERT_EQ(defects.size(), 1u);
  EXPECT_EQ(defects[0].find("v: rank 5 holds other bits than rank 1"), 0u) << defects[0];
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(whole.At(i), Element(i));
}

// Many at a time or one by one, on one thread or on several: the same bits.
TEST(AssembleTest, NumbersThatComeInBlocksAreThoseOfEachIndex) {
  const UniformNumbers uniform{0.05, RandomTensor(/*seed=*/1, /*stream=*/2)};
  const EqualNumbers equal{1.0 / 3};
  const Mesh mesh = *Mesh::Create(3, 1);
  for (DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
    for (const Shape& shape :
         {Shape{7, 1100}, Shape{5, 3, 7}, Shape{1300}, Shape{}, Shape{0, 4}, Shape{600, 1000}}) {
      for (Storage storage : {Storage::kPacked, Storage::kLastOutermost, Storage::kInWhole}) {
        for (int dim = -1; dim < static_cast<int>(shape.size()); ++dim) {
          const Placements placements(dim < 0 ? Replicate() : Shard(dim), Replicate());
          const Binding binding = MakeBinding(shape, dtype, placements, mesh, /*rank=*/1, storage);
          const auto fill = [&](const std::function<double(int64_t)>& source) {
            std::vector<std::byte> buffer = MakeBuffer(binding);
            FillLocal(binding, source, buffer);
            return buffer;
          };
          SCOPED_TRACE(std::string(Name(dtype)) + " " + ToString(shape));
          EXPECT_EQ(fill(uniform), fill([&](int64_t i) { return uniform(i); }));
          EXPECT_EQ(fill(equal), fill([](int64_t) { return 1.0 / 3; }));
        }
      }
    }
  }
}

}  // namespace
}  // namespace tp
