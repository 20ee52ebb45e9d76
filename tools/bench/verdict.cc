#include "tools/bench/verdict.h"

#include "fmt/format.h"

namespace tp::bench {
namespace {

// "the row step agrees with the reference", as far as modes and ranks go.
std::string Agreement(const BenchOptions& options) {
  const bool both = options.modes.size() == 2;
  const std::string mode(Name(options.modes[0]));
  if (options.tp * options.dp == 1) {
    return fmt::format(
        "on one rank, where nothing is sharded, {} with the fp64 reference",
        both ? "the steps of both modes agree" : fmt::format("the {} step agrees", mode));
  }
  if (options.tp == 1) {
    return fmt::format(
        "over dp alone, where the layer is not sharded, {} with the unsharded one",
        both ? "the steps of both modes agree" : fmt::format("the {} step agrees", mode));
  }
  if (both) return "the sharded steps agree with the unsharded one and with each other";
  return fmt::format("the sharded {} step agrees with the unsharded one", mode);
}

}  // namespace

std::string Verdict(const BenchOptions& options, const BenchResult& result) {
  if (options.verify == VerifyMode::kOff && result.ok()) return "Not verified (--verify=off).\n";
  switch (result.outcome()) {
    case verify::Outcome::kFail:
      return "Verdict: WRONG, see above.\n";
    case verify::Outcome::kUndecided:
      return "Verdict: undecided: nothing is wrong, but rounding could have taken some quantities "
             "so far that their check says nothing; see above.\n";
    case verify::Outcome::kOk:
      break;
  }
  const bool communicates = options.tp * options.dp > 1;
  return fmt::format("Verdict: {}{}.\n", Agreement(options),
                     !communicates               ? ""
                     : options.modes.size() == 2 ? ", and moved exactly the bytes they must"
                                                 : ", and moved exactly the bytes it must");
}

int ExitStatusOf(verify::Outcome outcome) {
  switch (outcome) {
    case verify::Outcome::kOk:
      return 0;
    case verify::Outcome::kUndecided:
      return 3;
    case verify::Outcome::kFail:
      break;
  }
  return 1;
}

}  // namespace tp::bench
