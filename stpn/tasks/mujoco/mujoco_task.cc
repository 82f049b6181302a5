#include "stpn/tasks/mujoco/mujoco_task.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/base/random.h"
#include "stpn/tasks/mujoco/standard_arithmetic.h"

namespace stpn::tasks {
namespace {

class MujocoTask : public EnvironmentTask {
 public:
  MujocoTask(const MujocoOptions& options, uint64_t seed)
      : options_(options), rules_(options.rules), seed_(seed) {
    const std::string& file = options_.model_file;
    if (file.empty()) {
      model_ = options.model();
      physics_ = load_physics_text("task " + rules_.name, model_, rules_.room);
    } else {
      physics_ = load_physics_file(file);
      model_ = base::read_file(file);
    }
    STPN_CHECK(
        physics_->joints() == rules_.joints && physics_->controls() == rules_.actions.numbers(),
        "model_file = {}: it has {} joints and {} actuators: the task {} needs {} and {}", file,
        physics_->joints(), physics_->controls(), rules_.name, rules_.joints,
        rules_.actions.numbers());
  }

  int64_t observation_size() const override {
    return rules_.observed_positions +
           (options_.hidden_velocities ? 0 : rules_.observed_velocities);
  }
  const ActionSpec& actions() const override { return rules_.actions; }
  int64_t max_steps() const override { return options_.max_steps; }
  int64_t test_episodes() const override { return options_.test; }
  std::unique_ptr<Environment> make_environment() const override;
  std::string trace(Split split, int64_t episode, const std::vector<float>& actions) const override;

  const MujocoOptions& options() const { return options_; }
  const MujocoRules& rules() const { return rules_; }
  const Physics& physics() const { return *physics_; }
  uint64_t seed() const { return seed_; }
  const std::string& model() const { return model_; }  // as MuJoCo's XML

 private:
  const MujocoOptions options_;
  const MujocoRules& rules_;
  const uint64_t seed_;
  std::unique_ptr<const Physics> physics_;
  std::string model_;
};

// What is stored of an episode besides its PhysicsState.
struct MujocoProgress {
  int64_t episode = 0;
  int64_t steps = 0;  // done
  Split split = Split::training;
  uint32_t ended = 1;  // 0 while an episode is under way
};
static_assert(std::has_unique_object_representations_v<MujocoProgress>);

class MujocoEnvironment : public Environment {
 public:
  explicit MujocoEnvironment(const MujocoTask& task)
      : task_(task),
        state_(task.physics().initial_state()),
        before_(state_),
        control_(static_cast<size_t>(task.actions().numbers())) {}

  void start(Split split, int64_t episode, float* observation) override {
    const StandardArithmetic arithmetic;
    progress_ = {.episode = episode, .steps = 0, .split = split, .ended = 0};
    state_ = task_.physics().initial_state();
    base::Random random(task_.seed(), stream_of(split), static_cast<uint64_t>(episode));
    const double noise = task_.rules().start_noise;
    for (double& position : state_.positions) position += random.uniform(-noise, noise);
    for (double& velocity : state_.velocities) velocity += random.uniform(-noise, noise);
    observe(observation);
  }

  Step step(const Action& action, float* observation) override {
    const StandardArithmetic arithmetic;
    const MujocoRules& rules = task_.rules();
    for (size_t k = 0; k < control_.size(); ++k) {
      const float number = action.numbers[k];
      if (std::isnan(number)) fail(fmt::format("number {} of the action is NaN", k));
      control_[k] = std::clamp(number, rules.actions.low[k], rules.actions.high[k]);
    }
    before_ = state_;
    try {
      task_.physics().advance(state_, control_.data(), rules.physics_steps);
    } catch (const base::Error& error) {
      fail(error.what());
    }
    const double seconds = static_cast<double>(rules.physics_steps) * task_.physics().time_step();
    const MujocoOutcome outcome = rules.outcome(before_, state_, control_, seconds);
    const bool bonus = task_.options().pays_last_step || !outcome.fallen;
    const bool truncated = ++progress_.steps == task_.max_steps();
    progress_.ended = outcome.fallen || truncated ? 1 : 0;
    if (observation != nullptr) observe(observation);
    return {.reward = static_cast<float>(outcome.reward + (bonus ? outcome.bonus : 0)),
            .terminated = outcome.fallen,
            .truncated = truncated};
  }

  std::string save() const override {
    std::string bytes = label();
    const auto append = [&](const void* data, size_t size) {
      bytes.append(static_cast<const char*>(data), size);
    };
    append(&progress_, sizeof progress_);
    append(&state_.time, sizeof state_.time);
    for (const auto* numbers : {&state_.positions, &state_.velocities, &state_.warmstart}) {
      append(numbers->data(), numbers->size() * sizeof(double));
    }
    return bytes;
  }

  void restore(std::string_view saved) override {
    const std::string label = this->label();
    PhysicsState state = state_;
    MujocoProgress progress;
    const size_t joints = state.positions.size();
    STPN_CHECK(saved.starts_with(label) && saved.size() == label.size() + sizeof progress +
                                                               (1 + 3 * joints) * sizeof(double),
               "the saved environment is not one of: {}", label.substr(0, label.size() - 1));
    const char* from = saved.data() + label.size();
    const auto take = [&](void* data, size_t size) {
      std::memcpy(data, from, size);
      from += size;
    };
    take(&progress, sizeof progress);
    take(&state.time, sizeof state.time);
    bool possible = std::isfinite(state.time) && state.time >= 0;
    for (auto* numbers : {&state.positions, &state.velocities, &state.warmstart}) {
      take(numbers->data(), joints * sizeof(double));
      for (const double number : *numbers) possible = possible && std::abs(number) <= 1e10;
    }
    possible = possible && progress.ended <= 1 && 0 <= progress.steps &&
               progress.steps <= task_.max_steps() && 0 <= progress.episode &&
               progress.episode < int64_t{1} << 32 &&
               (progress.split == Split::training || progress.split == Split::validation ||
                progress.split == Split::test);
    STPN_CHECK(possible, "the saved environment is damaged: use an older checkpoint");
    progress_ = progress;
    state_ = std::move(state);
  }

  const PhysicsState& state() const { return state_; }

 private:
  // A line that says of which task a saved state is.
  std::string label() const {
    const MujocoOptions& options = task_.options();
    return fmt::format(
        "{} hidden_velocities {} max_steps {} pays_last_step {} model {:x} mujoco {} seed {}\n",
        task_.rules().name, options.hidden_velocities, options.max_steps, options.pays_last_step,
        std::hash<std::string>()(task_.model()), physics_version(), task_.seed());
  }

  void observe(float* out) const {
    const MujocoRules& rules = task_.rules();
    rules.observe_positions(state_, out);
    if (!task_.options().hidden_velocities) {
      rules.observe_velocities(state_, out + rules.observed_positions);
    }
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw base::Error(fmt::format("task {}: episode {}, step {}: {}", task_.rules().name,
                                  progress_.episode, progress_.steps, problem));
  }

  const MujocoTask& task_;
  MujocoProgress progress_;
  PhysicsState state_;
  PhysicsState before_;          // the last step
  std::vector<double> control_;  // of the last step
};

std::unique_ptr<Environment> MujocoTask::make_environment() const {
  return std::make_unique<MujocoEnvironment>(*this);
}

std::string MujocoTask::trace(Split split, int64_t episode,
                              const std::vector<float>& actions) const {
  using Json = nlohmann::ordered_json;
  const auto numbers = static_cast<size_t>(rules_.actions.numbers());
  STPN_CHECK(actions.size() % numbers == 0, "{} numbers: an action has {}", actions.size(),
             numbers);
  Json positions = Json::array(), velocities = positions, observations = positions,
       taken = positions, rewards = positions, terminated = positions, truncated = positions;
  MujocoEnvironment environment(*this);
  std::vector<float> observation(static_cast<size_t>(observation_size()));
  const auto append_state = [&] {
    positions.push_back(environment.state().positions);
    velocities.push_back(environment.state().velocities);
    observations.push_back(observation);
  };
  environment.start(split, episode, observation.data());
  append_state();
  Step step;
  for (size_t k = 0; k < actions.size(); k += numbers) {
    const float* action = actions.data() + k;
    STPN_CHECK(!step.ended(), "{} actions: the episode has ended after {}",
               actions.size() / numbers, rewards.size());
    step = environment.step({.numbers = action}, observation.data());
    append_state();
    taken.push_back(std::vector<float>(action, action + numbers));
    rewards.push_back(step.reward);
    terminated.push_back(step.terminated);
    truncated.push_back(step.truncated);
  }
  return Json{{"task", rules_.name},
              {"episode", episode},
              {"mujoco", physics_version()},
              {"model", model_},
              {"time_step", physics_->time_step()},
              {"physics_steps", rules_.physics_steps},
              {"hidden_velocities", options_.hidden_velocities},
              {"max_steps", options_.max_steps},
              {"pays_last_step", options_.pays_last_step},
              {"qpos", positions},
              {"qvel", velocities},
              {"observations", observations},
              {"actions", taken},
              {"rewards", rewards},
              {"terminated", terminated},
              {"truncated", truncated}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::vector<base::Field> MujocoOptions::fields() {
  return {base::field("hidden_velocities", hidden_velocities,
                      "observe positions only, so that velocities have to be remembered"),
          base::field("max_steps", max_steps, "the time limit, which truncates an episode",
                      {.least = 1, .most = 1e7}),
          base::field("pays_last_step", pays_last_step,
                      "pay the bonus also for the step that fails, as Gymnasium's v4; false: v5"),
          base::field("model_file", model_file,
                      "a MuJoCo XML file with the same joints, from the current folder; empty: the "
                      "built-in model"),
          base::field("test", test, "episodes of the final test", {.least = 1, .most = 1e6})};
}

std::unique_ptr<EnvironmentTask> MujocoOptions::make(uint64_t seed) const {
  STPN_CHECK(max_steps >= 1, "max_steps = {}: must be at least 1", max_steps);
  return std::make_unique<MujocoTask>(*this, seed);
}

}  // namespace stpn::tasks
