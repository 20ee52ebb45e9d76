#include "backends/predict/fold.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace tp::predict {
namespace {

// Numbers things by what they look like, in order of appearance.
class Colours {
 public:
  int Of(const std::vector<int>& looks, const std::string& text = "") {
    return known_.try_emplace({looks, text}, static_cast<int>(known_.size())).first->second;
  }

 private:
  std::map<std::pair<std::vector<int>, std::string>, int> known_;
};

int CountOf(const std::vector<int>& colours) {
  return static_cast<int>(std::set<int>(colours.begin(), colours.end()).size());
}

}  // namespace

Folding Fold(const std::vector<int>& kinds, const std::vector<FoldGroup>& groups,
             const std::vector<int>& nodes) {
  const auto ranks = static_cast<int>(kinds.size());
  Folding folding;
  folding.colour_of_rank = kinds;
  folding.colour_of_group.resize(groups.size());
  const int num_nodes = nodes.empty() ? 0 : *std::max_element(nodes.begin(), nodes.end()) + 1;
  folding.colour_of_node.resize(num_nodes);
  int colours = 0;
  while (true) {
    Colours group_colours, node_colours, rank_colours;
    std::vector<std::vector<int>> looks(ranks);
    for (int r = 0; r < ranks; ++r) looks[r].push_back(folding.colour_of_rank[r]);
    std::vector<int> members;
    for (size_t g = 0; g < groups.size(); ++g) {
      members.clear();
      for (int rank : groups[g].ranks) members.push_back(folding.colour_of_rank[rank]);
      folding.colour_of_group[g] = group_colours.Of(members, groups[g].lie);
      for (int rank : groups[g].ranks) looks[rank].push_back(folding.colour_of_group[g]);
    }
    if (num_nodes > 0) {
      std::vector<std::vector<int>> on(num_nodes);
      for (int r = 0; r < ranks; ++r) {
        on[nodes[r]].insert(on[nodes[r]].end(), looks[r].begin(), looks[r].end());
      }
      for (int n = 0; n < num_nodes; ++n) folding.colour_of_node[n] = node_colours.Of(on[n]);
      for (int r = 0; r < ranks; ++r) looks[r].push_back(folding.colour_of_node[nodes[r]]);
    }
    for (int r = 0; r < ranks; ++r) folding.colour_of_rank[r] = rank_colours.Of(looks[r]);
    const int now = CountOf(folding.colour_of_rank);
    if (now == colours) break;
    colours = now;
  }
  folding.ranks_of_colour.assign(colours, 0);
  for (int r = 0; r < ranks; ++r) {
    // Colours are numbered in order of appearance.
    if (folding.ranks_of_colour[folding.colour_of_rank[r]]++ == 0) {
      folding.representatives.push_back(r);
    }
  }
  return folding;
}

Folding NoFold(int ranks, int groups, const std::vector<int>& nodes) {
  Folding folding;
  folding.colour_of_rank.resize(ranks);
  std::iota(folding.colour_of_rank.begin(), folding.colour_of_rank.end(), 0);
  folding.representatives = folding.colour_of_rank;
  folding.ranks_of_colour.assign(ranks, 1);
  folding.colour_of_group.resize(groups);
  std::iota(folding.colour_of_group.begin(), folding.colour_of_group.end(), 0);
  const int num_nodes = nodes.empty() ? 0 : *std::max_element(nodes.begin(), nodes.end()) + 1;
  folding.colour_of_node.resize(num_nodes);
  std::iota(folding.colour_of_node.begin(), folding.colour_of_node.end(), 0);
  return folding;
}

}  // namespace tp::predict
