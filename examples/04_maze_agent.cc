// A trained agent in a program of one's own, without torch: it walks through a hundred mazes.
//
//   example_04_maze_agent [RUN]     RUN: a run folder or a checkpoint of an STPN in the maze
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/runtime/stpn_runtime.h"
#include "stpn/tasks/maze/maze.h"

namespace {

// Draws an action with the probabilities softmax(logits).
int64_t drawn(const std::vector<float>& logits, stpn::base::Random& random) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit);
  double left = random.uniform(0, 1) * sum;
  for (size_t action = 0; action + 1 < logits.size(); ++action) {
    left -= std::exp(logits[action]);
    if (left < 0) return static_cast<int64_t>(action);
  }
  return static_cast<int64_t>(logits.size()) - 1;
}

}  // namespace

int main(int argc, char** argv) {
  const char* run = argc > 1 ? argv[1] : STPN_SOURCE_DIR "/results/maze/published/stpn/seed1";
  char error[300];
  stpn_network* network = stpn_load(run, error, sizeof error);
  if (network == nullptr) {
    std::fprintf(stderr, "%s\n", error);
    return 2;
  }
  stpn_memory* memory = stpn_new_memory(network);

  constexpr int kEpisodes = 100;
  constexpr int64_t kPolicy = 0;  // the heads are "policy" and "value"
  const stpn::tasks::Maze maze(stpn::tasks::MazeOptions(), /*seed=*/1);
  const auto environment = maze.make_environment();
  stpn::base::Random random(1, stpn::base::Stream::actions, 0);
  std::vector<float> x(stpn_inputs(network)), logits(stpn_head_size(network, kPolicy));
  double reward = 0, seconds = 0;
  int64_t steps = 0;
  for (int episode = 0; episode < kEpisodes; ++episode) {
    environment->start(stpn::tasks::Split::test, episode, x.data());
    stpn_reset(memory);
    stpn::tasks::Step step;
    do {
      const auto start = std::chrono::steady_clock::now();
      stpn_step(memory, x.data());
      stpn_output(memory, kPolicy, logits.data());
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      step = environment->step({.choice = drawn(logits, random)}, x.data());
      reward += step.reward;
      ++steps;
    } while (!step.ended());
  }
  std::printf("reward %.1f an episode; %.2f microseconds a step\n", reward / kEpisodes,
              1e6 * seconds / static_cast<double>(steps));
  stpn_free_memory(memory);
  stpn_free(network);
  return reward / kEpisodes > 8 ? 0 : 1;  // at random it would be 5
}
