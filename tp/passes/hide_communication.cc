#include "tp/passes/hide_communication.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <optional>
#include <utility>

namespace tp {
namespace {

struct Candidate {
  std::vector<int> order;
  OrderTimes times;
  int64_t bytes = 0;
};

class Search {
 public:
  Search(const Program& program, const Mesh& mesh, const MachineRates& rates)
      : program_(program), mesh_(mesh), costs_(CostsOf(program, mesh, rates)) {
    for (const OpCost& cost : costs_) {
      if (cost.communicates()) longest_ = std::max(longest_, cost.seconds);
    }
  }

  bool communicates() const { return longest_ > 0; }

  Candidate AsItIs() const {
    std::vector<int> order(program_.ops().size());
    std::iota(order.begin(), order.end(), 0);
    return Timed(std::move(order));
  }

  // The fastest within `most_bytes`, and of equals the one that keeps back least; else the fastest
  // of all. A collective is hidden by as much work as it takes, and one whose own work is short by
  // what was kept back for it.
  Candidate Best(int strands, int64_t most_bytes) const {
    std::optional<Candidate> best;
    for (double times : {0.0, 1.0, 2.0, 4.0, 8.0}) {
      Candidate one = Timed(
          ListOrder(program_, costs_, {.reserve_seconds = times * longest_, .strands = strands}));
      const auto key = [&](const Candidate& c) {
        return std::pair(c.bytes > most_bytes, c.times.seconds);
      };
      if (!best || key(one) < key(*best)) best = std::move(one);
    }
    return *std::move(best);
  }

 private:
  Candidate Timed(std::vector<int> order) const {
    Candidate candidate;
    candidate.order = std::move(order);
    candidate.times = TimesOf(program_, costs_, candidate.order);
    candidate.bytes = BytesHeld(program_, mesh_, candidate.order);
    return candidate;
  }

  const Program& program_;
  const Mesh& mesh_;
  const std::vector<OpCost> costs_;
  double longest_ = 0;
};

std::string Text(const char* format, double a, double b) {
  char text[96];
  std::snprintf(text, sizeof(text), format, a, b);
  return text;
}

std::string Milliseconds(double before, double after) {
  return Text("%.4g ms a step become %.4g by estimate", before * 1e3, after * 1e3);
}

// Takes `next` in place of `now` where it is faster and fits.
HideNote Decide(std::string change, Candidate next, int64_t most_bytes, Candidate& now) {
  HideNote note = {std::move(change), false, ""};
  constexpr double kMiB = 1 << 20;
  const std::string times = Milliseconds(now.times.seconds, next.times.seconds);
  if (next.times.seconds >= now.times.seconds) {
    note.why = times + ": nothing is gained";
  } else if (next.bytes > most_bytes) {
    note.why =
        times + Text(", but would hold %.4g MiB of %.4g", static_cast<double>(next.bytes) / kMiB,
                     static_cast<double>(most_bytes) / kMiB);
  } else {
    note.made = true;
    note.why = times + Text(", for %.0f %% of communication is hidden and not %.0f %%",
                            100 * next.times.share_hidden(), 100 * now.times.share_hidden());
    now = std::move(next);
  }
  return note;
}

}  // namespace

HideReport HideCommunication(Program& program, const Mesh& mesh, const HideOptions& options) {
  HideReport report;
  const Search search(program, mesh, options.rates);
  Candidate now = search.AsItIs();
  report.before = report.after = now.times;
  report.bytes_before = report.bytes_after = now.bytes;
  if (!search.communicates()) {
    report.notes.push_back({"work under collectives", false, "nothing communicates"});
    return report;
  }
  const auto limit = [&](int strands) {
    const int64_t more = now.bytes + now.bytes / 16;
    return options.most_bytes > 0 ? options.most_bytes : strands * more;
  };
  const int64_t alone = limit(1), together = limit(options.strands);
  report.notes.push_back(Decide("work under collectives", search.Best(1, alone), alone, now));
  if (options.strands > 1) {
    report.notes.push_back(Decide(std::to_string(options.strands) + " strands",
                                  search.Best(options.strands, together), together, now));
  }
  report.after = now.times;
  report.bytes_after = now.bytes;
  std::vector<Op> ops;
  for (int i : now.order) ops.push_back(program.ops()[i]);
  program.ReplaceOps(std::move(ops));
  return report;
}

std::string ToString(const HideNote& note) {
  return note.change + (note.made ? ": " : ": no; ") + note.why;
}

std::string ToString(const HideReport& report) {
  std::string text;
  for (const HideNote& note : report.notes) text += ToString(note) + "\n";
  return text;
}

}  // namespace tp
