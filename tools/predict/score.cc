#include "tools/predict/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "backends/predict/collective_timer.h"
#include "backends/predict/cost_model.h"
#include "backends/predict/world.h"
#include "tools/io/table.h"
#include "tp/model/linear_step.h"

namespace tp::predict_tool {
namespace {

struct Held {
  ScorePoint point;
  double error = 0;  // |log|
  double log_spread = 0;
};

class Rows {
 public:
  void Add(const std::string& what, const std::string& name, double predicted_us,
           double measured_us, double spread) {
    held_[what].push_back({{name, predicted_us, measured_us},
                           std::abs(std::log(predicted_us / measured_us)),
                           spread > 0 ? std::log(spread) : 0});
  }

  std::vector<ScoreRow> Make() {
    std::vector<ScoreRow> rows;
    for (auto& [what, held] : held_) {
      ScoreRow row = {
          .what = what, .count = static_cast<int>(held.size()), .worst = "", .points = {}};
      for (const Held& one : held) row.points.push_back(one.point);
      std::sort(held.begin(), held.end(),
                [](const Held& a, const Held& b) { return a.error < b.error; });
      const auto at = [&](double part) {
        const double count = static_cast<double>(held.size());
        const auto nth = static_cast<size_t>(std::ceil(part * count)) - 1;
        return std::expm1(held[nth].error);
      };
      double sum = 0;
      std::vector<double> spreads;
      int covered = 0;
      for (const Held& one : held) {
        sum += one.error;
        if (one.log_spread == 0) continue;
        spreads.push_back(one.log_spread);
        covered += one.error <= one.log_spread;
      }
      row.geomean = std::expm1(sum / static_cast<double>(held.size()));
      row.p90 = at(0.9);
      row.p99 = at(0.99);
      row.max = at(1);
      row.worst = held.back().point.name;
      if (!spreads.empty()) {
        std::sort(spreads.begin(), spreads.end());
        row.covered = static_cast<double>(covered) / static_cast<double>(spreads.size());
        row.half_width = std::expm1(spreads[spreads.size() / 2]);
      }
      rows.push_back(row);
    }
    return rows;
  }

 private:
  std::map<std::string, std::vector<Held>> held_;
};

std::string RenderPoints(const Scored& scored) {
  io::Table table({{"what", io::Align::kLeft},
                   {"which", io::Align::kLeft},
                   {"predicted"},
                   {"measured"},
                   {"predicted / measured"}});
  for (const ScoreRow& row : scored.rows) {
    for (const ScorePoint& point : row.points) {
      table.AddRow({row.what, point.name, io::FormatDuration(1e3 * point.predicted_us),
                    io::FormatDuration(1e3 * point.measured_us),
                    fmt::format("{:.3f}", point.predicted_us / point.measured_us)});
    }
  }
  return table.Render();
}

StatusOr<predict::Prediction> PredictStep(const predict::CostModel& model,
                                          predict::CollectiveTimer& timer,
                                          const predict::MeasuredStep& step) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(step.tp, step.dp));
  TP_ASSIGN_OR_RETURN(const Program program, MakeStep(step, mesh));
  predict::WorldOptions world;
  world.lower.sum_part_bytes = model.machine().sum_part_bytes;
  return predict::Predict(program, mesh, model, timer, world);
}

}  // namespace

StatusOr<Program> MakeStep(const predict::MeasuredStep& step, const Mesh& mesh) {
  LinearStepOptions options;
  options.mode = step.mode == "row" ? LinearMode::kRow : LinearMode::kColumn;
  options.tokens = step.tokens;
  options.in_features = step.in_features;
  options.out_features = step.out_features;
  options.dtype = step.dtype;
  return MakeLinearStep(options, mesh);
}

StatusOr<Scored> Score(const sim::Machine& machine, const predict::Fit* fit,
                       const predict::Measurements& measured) {
  Scored scored;
  Rows rows;
  const auto take = [&](const std::string& what, const auto& one, const auto& predicted) {
    const std::string name = NameOf(one);
    if (fit != nullptr && fit->names().contains(name)) {
      ++scored.refused;
    } else if (!predicted) {
      ++scored.unpredicted;
    } else {
      rows.Add(what, name, predicted->seconds * 1e6, one.us, predicted->spread);
    }
  };
  using Guess = std::optional<predict::Estimated>;
  for (const predict::MeasuredProduct& one : measured.products) {
    take(fmt::format("{} products", Name(one.dtype)), one,
         fit == nullptr ? Guess() : fit->Product(one.dtype, one.shape));
  }
  for (const predict::MeasuredOp& one : measured.ops) {
    take(fmt::format("{} {}", Name(one.dtype), one.action), one,
         fit == nullptr ? Guess() : fit->Op(one.action, one.dtype, one.bytes));
  }
  for (const predict::MeasuredCollective& one : measured.collectives) {
    take(fmt::format("{} among {}", Name(one.kind), one.members), one,
         fit == nullptr ? Guess() : fit->Collective(one.kind, one.members, one.bytes));
  }
  const predict::CostModel model(machine, fit);
  predict::CollectiveTimer timer(model, sim::Algorithm::kAuto);
  for (const predict::MeasuredStep& one : measured.steps) {
    TP_ASSIGN_OR_RETURN(const predict::Prediction predicted, PredictStep(model, timer, one));
    rows.Add("whole steps", NameOf(one), predicted.seconds * 1e6, one.us, predicted.spread);
  }
  scored.rows = rows.Make();
  return scored;
}

std::string RenderScore(const Scored& scored, const predict::Measurements& measured, bool each) {
  io::Table table({{"what", io::Align::kLeft},
                   {"n"},
                   {"geomean"},
                   {"p90"},
                   {"p99"},
                   {"max"},
                   {"within 90 %"},
                   {"half-width"},
                   {"the worst", io::Align::kLeft}});
  const auto percent = [](double part) { return fmt::format("{:.1f} %", 100 * part); };
  for (const ScoreRow& row : scored.rows) {
    const bool has_interval = row.half_width > 0;
    table.AddRow({row.what, std::to_string(row.count), percent(row.geomean), percent(row.p90),
                  percent(row.p99), percent(row.max), has_interval ? percent(row.covered) : "-",
                  has_interval ? percent(row.half_width) : "-", row.worst});
  }
  std::string text = each ? RenderPoints(scored) + "\n" : "";
  text += "predicted beside measured, errors as parts of the smaller\n\n";
  text += table.Render();
  text +=
      fmt::format("\nrepeats of one measurement differ by {} (geomean)\n",
                  measured.repeat_floor > 0 ? percent(measured.repeat_floor) : "an unknown part");
  if (scored.refused > 0) {
    text += fmt::format("{} points refused: the machine was fitted on them\n", scored.refused);
  }
  if (scored.unpredicted > 0) {
    text += fmt::format("{} points are of a kind that was not measured\n", scored.unpredicted);
  }
  return text;
}

}  // namespace tp::predict_tool
