// A comparison in one line, where it found nothing; else its table.
#pragma once

#include <string>
#include <string_view>

#include "tp/verify/report.h"

namespace tp::bench {

// "row against fp64: 7 quantities, worst error/bound 0.592 in W: ok", "1 of 7 quantities" where the
// others were not given or could not be checked, and which part was checked where that is not all;
// or, where `verbose` or where something differs, the whole report. Ends in a newline.
std::string Summarize(std::string_view what, const verify::Report& report, bool verbose);

}  // namespace tp::bench
