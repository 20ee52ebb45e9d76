#include "tests/planted/trial.h"

#include <glog/logging.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "tests/verify/simulated_step.h"
#include "tp/model/linear_step.h"
#include "tp/observe/step_report.h"
#include "tp/schedule/hazards.h"
#include "tp/schedule/lower.h"
#include "tp/verify/compare.h"
#include "tp/verify/exact.h"

namespace tp::planted {
namespace {

verify::NumericModel ModelOf(const Setting& setting) {
  const bool row = setting.mode == LinearMode::kRow;
  return verify::MakeModel(setting.dtype, row ? verify::Mode::kRow : verify::Mode::kColumn,
                           setting.tp, setting.dp);
}

StatusOr<verify::LinearProblem> MakeProblem(const Setting& setting, bool exact, uint64_t seed) {
  if (exact) {
    return verify::MakeExactProblem({.tokens = setting.tokens,
                                     .in_features = setting.in_features,
                                     .out_features = setting.out_features,
                                     .dtype = setting.dtype,
                                     .steps = setting.steps,
                                     .seed = seed},
                                    {.full = true});
  }
  return verify::RandomProblem({.tokens = setting.tokens,
                                .in_features = setting.in_features,
                                .out_features = setting.out_features,
                                .dtype = setting.dtype,
                                .steps = setting.steps,
                                .learning_rate = 0.25,
                                .seed = seed});
}

class TrialRun {
 public:
  TrialRun(const Bug& bug, const Mesh& mesh) : bug_(bug), setting_(bug.setting), mesh_(mesh) {
    for (Lane lane : kAllLanes) trial_.lanes[lane];
  }

  StatusOr<Trial> Run() {
    for (int seed = 0; seed < kSeeds; ++seed) {
      for (Lane lane : {Lane::kExact, Lane::kBounded, Lane::kBoundedBf16}) {
        setting_.dtype = bug_.setting.dtype;
        if (lane == Lane::kBoundedBf16) {
          if (setting_.dtype != DType::kFloat32) continue;
          setting_.dtype = DType::kBFloat16;
        }
        TP_RETURN_IF_ERROR(RunOnce(lane, static_cast<uint64_t>(seed)));
      }
    }
    return std::move(trial_);
  }

 private:
  void Record(Lane lane, bool caught, const std::string& named, const std::string& report) {
    LaneResult& result = trial_.lanes[lane];
    ++result.runs;
    if (!caught) return;
    ++result.catches;
    std::set<std::string>& names = names_[lane];
    names.insert(named);
    result.named.clear();
    for (const std::string& name : names) {
      result.named += (result.named.empty() ? "" : " or ") + name;
    }
    if (result.report.empty()) result.report = report;
  }
  void Record(Lane lane, const Status& status) {
    Record(lane, !status.ok(), status.message(), status.message());
  }

  // The Program that runs, after the placement check.
  Program Written(const Program& intended) {
    if (!bug_.program) return intended;
    Program written = intended;
    bug_.program(written);
    const Status status = Verify(written);
    Record(Lane::kPlacement, status);
    return status.ok() ? written : intended;
  }

  StatusOr<bool> SchedulesAreSound(const Program& program) {
    Status first;
    for (int rank = 0; rank < mesh_.world(); ++rank) {
      TP_ASSIGN_OR_RETURN(Schedule schedule, Lower(program, mesh_, rank, {.keep = Keep::kAll}));
      if (bug_.hooks.schedule) bug_.hooks.schedule(schedule, mesh_);
      if (first.ok()) first = CheckHazards(schedule);
    }
    Record(Lane::kHazard, first);
    return first.ok();
  }

  // All lanes up to and with `numbers`.
  Status RunOnce(Lane numbers, uint64_t seed) {
    const bool exact = numbers == Lane::kExact;
    TP_ASSIGN_OR_RETURN(const verify::LinearProblem problem, MakeProblem(setting_, exact, seed));
    LinearStepOptions options;
    options.mode = setting_.mode;
    options.tokens = setting_.tokens;
    options.in_features = setting_.in_features;
    options.out_features = setting_.out_features;
    options.dtype = setting_.dtype;
    options.learning_rate = problem.learning_rate;
    options.loss_scale = problem.loss_scale;
    options.optimize = setting_.optimize;
    TP_ASSIGN_OR_RETURN(const Program intended, MakeLinearStep(options, mesh_));
    const Program written = Written(intended);
    TP_ASSIGN_OR_RETURN(const bool sound, SchedulesAreSound(written));
    if (!sound) return OkStatus();

    const std::map<std::string, ElementSource> sources = {
        {"x", [&](int64_t i) { return problem.x.At(i); }},
        {"targets", [&](int64_t i) { return problem.targets.At(i); }},
        {"w", [&](int64_t i) { return problem.w.At(i); }},
        {"b", [&](int64_t i) { return problem.b.At(i); }}};
    cpu::CpuBackendOptions backend_options;
    backend_options.scheduler_seed = seed;
    backend_options.all_reduce = setting_.algorithm;
    PlantedBackend backend(bug_.hooks, mesh_, sources, backend_options);
    TrainOptions train;
    train.warmup = 0;
    train.steps = setting_.steps;
    StatusOr<TrainResult> trained = Train(backend, mesh_, written, sources, train);
    Record(Lane::kRun, trained.status());
    if (!trained.ok()) return OkStatus();
    trained->ranks = backend.records();
    CheckReplicas(*trained);
    TP_RETURN_IF_ERROR(CheckBytes(intended, *trained));
    return CheckNumbers(problem, *std::move(trained), numbers);
  }

  // Each line is "y: rank 1 differs ...": results in program order, then parameters.
  void CheckReplicas(const TrainResult& trained) {
    const std::vector<std::string>& defects = trained.replica_defects;
    std::string named;
    for (verify::Quantity quantity : verify::kAllQuantities) {
      std::string name(verify::Name(quantity));
      std::transform(name.begin(), name.end(), name.begin(), ::tolower);
      if (!defects.empty() && defects[0].rfind(name + ":", 0) == 0) named = verify::Name(quantity);
    }
    Record(Lane::kReplicas, !defects.empty(), named, defects.empty() ? "" : defects[0]);
  }

  Status CheckBytes(const Program& intended, const TrainResult& trained) {
    TP_ASSIGN_OR_RETURN(const StepReport report, MakeStepReport(intended, mesh_, trained.ranks));
    std::string named;
    for (const CollectiveReport& collective : report.collectives) {
      if (collective.ok()) continue;
      if (!named.empty()) named += ", ";
      named += fmt::format("{} {} of {} B", collective.contract.name, collective.bytes_sent,
                           collective.contract.bytes);
    }
    Record(Lane::kBytes, !report.bytes_ok, named, named);
    return OkStatus();
  }

  Status CheckNumbers(const verify::LinearProblem& problem, TrainResult trained, Lane lane) {
    verify::Observed observed;
    observed.y = std::move(trained.first.at("y"));
    observed.dx = std::move(trained.first.at("dx"));
    observed.dw = std::move(trained.first.at("dw"));
    observed.db = std::move(trained.first.at("db"));
    observed.w = std::move(trained.last.at("w"));
    observed.b = std::move(trained.last.at("b"));
    observed.losses = std::move(trained.losses);
    verify::VerifyOptions options;
    options.lane = lane == Lane::kExact ? verify::Lane::kExact : verify::Lane::kBounded;
    options.sample.full = true;
    TP_ASSIGN_OR_RETURN(const verify::Report report,
                        verify::VerifyLinear(problem, observed, ModelOf(setting_), options));
    std::string named;
    const bool caught = report.outcome() == verify::Outcome::kFail;
    if (caught) named = Name(*report.first_divergence);
    Record(lane, caught, named, ToString(report));
    if (!caught || lane == Lane::kExact) return OkStatus();
    LaneResult& result = trial_.lanes[lane];
    const double ratio = report.Of(*report.first_divergence).ratio;
    result.least_ratio = result.catches == 1 ? ratio : std::min(result.least_ratio, ratio);
    return OkStatus();
  }

  const Bug& bug_;
  Setting setting_;
  const Mesh& mesh_;
  Trial trial_;
  std::map<Lane, std::set<std::string>> names_;
};

}  // namespace

std::string Name(Lane lane) {
  switch (lane) {
    case Lane::kPlacement:
      return "placement";
    case Lane::kHazard:
      return "hazard";
    case Lane::kRun:
      return "run";
    case Lane::kBytes:
      return "bytes";
    case Lane::kReplicas:
      return "replicas";
    case Lane::kExact:
      return "exact";
    case Lane::kBounded:
      return "bounded";
    case Lane::kBoundedBf16:
      return "bounded, bf16";
  }
  LOG(FATAL) << "no such lane: " << static_cast<int>(lane);
}

bool NamesQuantity(Lane lane) { return lane >= Lane::kReplicas; }

std::optional<Lane> Trial::FirstCatch() const {
  for (Lane lane : kAllLanes) {
    if (Of(lane).caught()) return lane;
  }
  return std::nullopt;
}

StatusOr<Trial> RunTrial(const Bug& bug) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(bug.setting.tp, bug.setting.dp));
  return TrialRun(bug, mesh).Run();
}

std::string Complaints(const Bug& bug, const Trial& trial) {
  std::string complaints;
  const auto complain = [&](Lane lane, const std::string& what) {
    complaints += fmt::format("{}: {}\n{}", Name(lane), what, trial.Of(lane).report);
  };
  if (!trial.FirstCatch()) complaints += "no lane catches it\n";
  for (Lane lane : kAllLanes) {
    const LaneResult& result = trial.Of(lane);
    const auto expected = bug.caught_by.find(lane);
    if (expected == bug.caught_by.end()) {
      if (result.catches > 0) complain(lane, "names '" + result.named + "' unasked");
      continue;
    }
    if (!result.caught()) {
      complain(lane, fmt::format("catches it {} times of {}", result.catches, result.runs));
      continue;
    }
    const bool numbers = NamesQuantity(lane);
    std::string words = expected->second;
    if (numbers && words.empty() && bug.quantity) words = Name(*bug.quantity);
    const bool right = numbers ? result.named == words
                               : !words.empty() && result.named.find(words) != std::string::npos;
    if (!right) complain(lane, "names '" + result.named + "', not '" + words + "'");
  }
  return complaints;
}

}  // namespace tp::planted
