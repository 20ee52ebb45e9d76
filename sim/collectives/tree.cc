// Double binary tree (Sanders, Speck, Träff, "Two-tree algorithms for full bandwidth broadcast,
// reduction and scan", Parallel Computing 35, 2009): each of two trees carries half of the array,
// cut into pieces. A member that has children in one tree is a leaf of the other, so that nobody
// forwards more than the array.
//
// Everybody takes the pieces in one order, so that no member waits in a circle. In place nothing is
// overwritten while it may be unread: a piece comes down only after its way up is complete.
#include <bit>

#include "sim/collectives/exchange.h"

namespace tp::sim {
namespace {

constexpr int kTrees = 2;
constexpr int kNobody = -1;

// One member's place in one tree, as places 0..size-1.
struct Node {
  int parent = kNobody;
  int children[2] = {kNobody, kNobody};

  bool leaf() const { return children[0] == kNobody; }
};

// Nodes 1..size in the order of a binary search tree: the level of a node is the number of its
// trailing zeros, so that odd ones are leaves. Above a subtree that would end beyond `size` its
// parent takes its place; below, its left child does.
int ParentInOrder(unsigned node, unsigned size) {
  if (node == std::bit_floor(size)) return 0;
  unsigned parent = node;
  do {
    const unsigned level = parent & -parent;
    parent = (parent ^ level) | (level << 1);
  } while (parent > size);
  return static_cast<int>(parent);
}

Node NodeInOrder(unsigned node, unsigned size) {
  Node found;
  found.parent = ParentInOrder(node, size) - 1;
  const unsigned level = node & -node;
  if (level == 1) return found;
  found.children[0] = static_cast<int>(node - level / 2) - 1;
  unsigned below = level / 2;
  while (below > 0 && node + below > size) below /= 2;
  if (below > 0) found.children[1] = static_cast<int>(node + below) - 1;
  return found;
}

// The second tree is the first one with its places mirrored, or for an odd size shifted by one:
// both exchange odd and even places.
int Rename(int tree, int place, int size, int direction) {
  if (tree == 0 || place == kNobody) return place;
  return size % 2 == 0 ? size - 1 - place : (place + direction + size) % size;
}

Node NodeOf(int tree, int place, int size) {
  Node node = NodeInOrder(static_cast<unsigned>(Rename(tree, place, size, 1)) + 1,
                          static_cast<unsigned>(size));
  node.parent = Rename(tree, node.parent, size, -1);
  for (int& child : node.children) child = Rename(tree, child, size, -1);
  return node;
}

int RootOf(int tree, int size) {
  return Rename(tree, static_cast<int>(std::bit_floor(static_cast<unsigned>(size))) - 1, size, -1);
}

// Piece `i` of what `tree` carries.
Range Piece(const Exchange& x, int tree, int pieces, int i) {
  return Part(Part(Whole(x), x.element_bytes(), kTrees, tree), x.element_bytes(), pieces, i);
}

Status Up(const Exchange& x, const Node& node, Range piece) {
  const std::byte* sum = x.in;
  for (int child : node.children) {
    if (child == kNobody) continue;
    TP_RETURN_IF_ERROR(x.endpoint.RecvReduce(child, piece.Of(sum), piece.Of(x.out), x.call.dtype,
                                             x.call.reduction));
    sum = x.out;
  }
  if (node.parent == kNobody) return OkStatus();
  return x.endpoint.Send(node.parent, piece.Of(sum));
}

// Hands the piece on from `source`, which is `x.out` except at the root of a broadcast.
Status Down(const Exchange& x, const Node& node, Range piece, const std::byte* source) {
  if (node.parent != kNobody) {
    TP_RETURN_IF_ERROR(x.endpoint.Recv(node.parent, piece.Of(x.out)));
  }
  for (int child : node.children) {
    if (child != kNobody) TP_RETURN_IF_ERROR(x.endpoint.Send(child, piece.Of(source)));
  }
  return OkStatus();
}

}  // namespace

Status TreeAllReduce(const Exchange& x) {
  const Node nodes[kTrees] = {NodeOf(0, x.member(), x.members()),
                              NodeOf(1, x.member(), x.members())};
  const int pieces = PipelinePieces(Whole(x).end / kTrees);
  // A piece comes down while later ones are still going up, this much behind: the trees' height.
  const int lag = std::bit_width(static_cast<unsigned>(x.members()));
  for (int i = 0; i < pieces + lag; ++i) {
    for (int tree = 0; i < pieces && tree < kTrees; ++tree) {
      TP_RETURN_IF_ERROR(Up(x, nodes[tree], Piece(x, tree, pieces, i)));
    }
    for (int tree = 0; i >= lag && tree < kTrees; ++tree) {
      TP_RETURN_IF_ERROR(Down(x, nodes[tree], Piece(x, tree, pieces, i - lag), x.out));
    }
  }
  return OkStatus();
}

// The trees span all members but the root, which feeds the roots of both.
Status TreeBroadcast(const Exchange& x) {
  const int size = x.members() - 1;
  const int pieces = PipelinePieces(Whole(x).end / kTrees);
  const int first = x.call.root + 1;  // the member at place 0
  const auto member_at = [&](int place) {
    return place == kNobody ? kNobody : (first + place) % x.members();
  };
  Node nodes[kTrees];
  for (int tree = 0; tree < kTrees; ++tree) {
    if (x.member() == x.call.root) {
      nodes[tree].children[0] = member_at(RootOf(tree, size));
      continue;
    }
    nodes[tree] = NodeOf(tree, x.Neighbour(-first), size);
    nodes[tree].parent =
        nodes[tree].parent == kNobody ? x.call.root : member_at(nodes[tree].parent);
    for (int& child : nodes[tree].children) child = member_at(child);
  }
  const bool root = x.member() == x.call.root;
  for (int i = 0; i < pieces; ++i) {
    for (int tree = 0; tree < kTrees; ++tree) {
      TP_RETURN_IF_ERROR(Down(x, nodes[tree], Piece(x, tree, pieces, i), root ? x.in : x.out));
    }
  }
  if (root) x.endpoint.Copy(x.in, Whole(x).Of(x.out));
  return OkStatus();
}

}  // namespace tp::sim
