// A process that saves checkpoints until it is killed, for tests of what it leaves.
#pragma once

#include <functional>
#include <string>

namespace tp {

// Runs `save_for_ever`, which puts one checkpoint after another at `folder` and ends only where it
// can't, in a process of its own, and kills that between two saves: where between them depends on
// `round`. Fails the test where the process ended by itself.
void KillWhileSaving(const std::string& folder, int round,
                     const std::function<void()>& save_for_ever);

}  // namespace tp
