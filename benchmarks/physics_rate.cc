// Measures the tasks on MuJoCo on one core: steps a second with random actions, episode after
// episode, and how long it takes to begin one. Prints a JSON object for each task.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/tasks/mujoco/hopper.h"
#include "stpn/tasks/mujoco/inverted_pendulum.h"

namespace {

using namespace stpn;

// Of the processor, so that other load on the machine counts less.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void measure(const tasks::MujocoOptions& options, int64_t steps) {
  const auto task = options.make(1);
  const auto environment = task->make_environment();
  const auto size = static_cast<size_t>(task->actions().numbers());
  std::vector<float> seen(static_cast<size_t>(task->observation_size())), actions;
  base::Random random(1, base::Stream::actions, 0);
  for (int64_t k = 0; k < steps; ++k) {
    for (size_t i = 0; i < size; ++i) {
      actions.push_back(
          static_cast<float>(random.uniform(task->actions().low[i], task->actions().high[i])));
    }
  }
  double step_seconds = 1e9, start_seconds = 1e9;
  int64_t episodes = 0;
  for (int round = 0; round < 5; ++round) {
    double start = seconds();
    episodes = 0;
    bool ended = true;
    for (int64_t k = 0; k < steps; ++k) {
      if (ended) environment->start(tasks::Split::training, episodes++, seen.data());
      ended = environment->step({.numbers = &actions[static_cast<size_t>(k) * size]}, seen.data())
                  .ended();
    }
    step_seconds = std::min(step_seconds, (seconds() - start) / static_cast<double>(steps));
    start = seconds();
    for (int64_t k = 0; k < steps; ++k) environment->start(tasks::Split::test, k, seen.data());
    start_seconds = std::min(start_seconds, (seconds() - start) / static_cast<double>(steps));
  }
  const auto physics = tasks::load_physics_text("model", options.rules.model, options.rules.room);
  std::printf(
      "{\"task\": \"%s\", \"mujoco\": \"%s\", \"steps_per_second\": %.0f, "
      "\"physics_steps_per_second\": %.0f, \"steps_per_episode\": %.1f, "
      "\"start_microseconds\": %.2f, \"simulation_bytes\": %lld}\n",
      options.rules.name.c_str(), tasks::physics_version().c_str(), 1 / step_seconds,
      static_cast<double>(options.rules.physics_steps) / step_seconds,
      static_cast<double>(steps) / static_cast<double>(episodes), 1e6 * start_seconds,
      static_cast<long long>(physics->bytes()));
}

}  // namespace

int main() {
  measure(tasks::InvertedPendulumOptions(), 50'000);
  measure(tasks::HopperOptions(), 10'000);
}
