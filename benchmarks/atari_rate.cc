// Measures the Atari tasks on one core, playing Pong with random actions: the emulator alone, the
// making of an observation alone, a step of both, and how long it takes to begin an episode and to
// make an environment, and its memory. Prints a JSON object for each mode.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/tasks/atari/atari_task.h"
#include "stpn/tasks/atari/emulator.h"
#include "stpn/tasks/atari/screen.h"

namespace {

using namespace stpn;

// Of the processor, so that other load on the machine counts less.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

int64_t resident_bytes() {
  int64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The least microseconds of one call, of several rounds.
template <typename Call>
double microseconds(int64_t calls, const Call& call) {
  double least = 1e9;
  for (int round = 0; round < 5; ++round) {
    const double start = seconds();
    for (int64_t k = 0; k < calls; ++k) call(k);
    least = std::min(least, (seconds() - start) / static_cast<double>(calls));
  }
  return 1e6 * least;
}

std::vector<int64_t> random_actions(int64_t count) {
  base::Random random(1, base::Stream::actions, 0);
  std::vector<int64_t> actions;
  for (int64_t k = 0; k < count; ++k) actions.push_back(random.below(6));
  return actions;
}

double frame_microseconds(const std::vector<int64_t>& actions) {
  const auto emulator = tasks::load_emulator("pong", "");
  const std::string start = emulator->save();
  return microseconds(static_cast<int64_t>(actions.size()), [&](int64_t k) {
    if (emulator->ended()) emulator->restore(start);
    emulator->act(actions[static_cast<size_t>(k)]);
  });
}

// Of screens in the middle of a game.
double read_microseconds(tasks::ScreenStyle style, const std::vector<int64_t>& actions) {
  const auto emulator = tasks::load_emulator("pong", "");
  tasks::ScreenReader reader(style, emulator->palette(), emulator->height());
  const auto pixels = static_cast<size_t>(emulator->height() * tasks::Emulator::kWidth);
  std::vector<std::vector<uint8_t>> screens;
  for (const int64_t action : actions) {
    emulator->act(action);
    screens.emplace_back(emulator->screen(), emulator->screen() + pixels);
  }
  std::vector<uint8_t> image(static_cast<size_t>(reader.kSize * reader.kSize));
  return microseconds(static_cast<int64_t>(screens.size()) - 1, [&](int64_t k) {
    const auto now = static_cast<size_t>(k) + 1;
    reader.read(screens[now].data(), screens[now - 1].data(), image.data());
  });
}

void measure(const std::string& mode, tasks::ScreenStyle style) {
  tasks::PongOptions options;
  options.mode = mode;
  const auto task = options.make(1);
  std::vector<std::unique_ptr<tasks::Environment>> environments;
  const int64_t before = resident_bytes();
  const double make =
      microseconds(10, [&](int64_t) { environments.push_back(task->make_environment()); });
  const double bytes =
      static_cast<double>(resident_bytes() - before) / static_cast<double>(environments.size());
  const auto environment = task->make_environment();
  std::vector<uint8_t> image(static_cast<size_t>(task->observation_size()));
  const double start = microseconds(
      500, [&](int64_t k) { environment->start_image(tasks::Split::training, k, image.data()); });
  const std::vector<int64_t> actions = random_actions(1000);
  bool ended = true;
  int64_t episode = 0;
  const double step = microseconds(static_cast<int64_t>(actions.size()), [&](int64_t k) {
    if (ended) environment->start_image(tasks::Split::training, episode++, image.data());
    const tasks::Action action{.choice = actions[static_cast<size_t>(k)]};
    ended = environment->step_image(action, image.data()).ended();
  });
  std::printf(
      "{\"mode\": \"%s\", \"ale\": \"%s\", \"step_microseconds\": %.1f, \"frame_microseconds\": "
      "%.1f, \"observation_microseconds\": %.2f, \"start_microseconds\": %.1f, "
      "\"environment_microseconds\": %.0f, \"environment_bytes\": %.0f}\n",
      mode.c_str(), tasks::emulator_version().c_str(), step, frame_microseconds(actions),
      read_microseconds(style, random_actions(300)), start, make, bytes);
}

}  // namespace

int main() {
  measure("stpn", tasks::ScreenStyle::channels);
  measure("deepmind", tasks::ScreenStyle::luma);
}
