// What all tasks on MuJoCo have in common, and the rules of each.
#include "stpn/tasks/mujoco/mujoco_task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "stpn/base/files.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/environment_contract.h"
#include "stpn/tasks/mujoco/hopper.h"
#include "stpn/tasks/mujoco/inverted_pendulum.h"
#include "stpn/tasks/mujoco/standard_arithmetic.h"

namespace stpn::tasks::mujoco_task_test {
namespace {

using Json = nlohmann::json;

class MujocoTask : public ::testing::Test {
 protected:
  void SetUp() override {
    if (physics_version().empty()) GTEST_SKIP() << "this build has no MuJoCo";
  }
};

template <typename Options>
Options with(bool hidden, int64_t max_steps, bool pays_last_step = true) {
  Options options;
  options.hidden_velocities = hidden;
  options.max_steps = max_steps;
  options.pays_last_step = pays_last_step;
  return options;
}

// Plays a whole episode; `act` says what to do after each observation.
struct Episode {
  std::vector<std::vector<float>> observations;
  std::vector<Step> steps;
};
using Act = std::function<std::vector<float>(const std::vector<float>& observation)>;

Episode play(const EnvironmentTask& task, int64_t number, const Act& act) {
  const auto environment = task.make_environment();
  std::vector<float> observation(task.observation_size());
  environment->start(Split::training, number, observation.data());
  Episode episode{{observation}, {}};
  do {
    const std::vector<float> action = act(observation);
    episode.steps.push_back(environment->step({.numbers = action.data()}, observation.data()));
    episode.observations.push_back(observation);
  } while (!episode.steps.back().ended());
  return episode;
}

// Keeps the pole upright and the cart near the middle.
std::vector<float> balance(const std::vector<float>& seen) {
  return {seen[0] + 10 * seen[1] + 1.6f * seen[2] + 1.9f * seen[3]};
}
std::vector<float> push(const std::vector<float>&) { return {3}; }
std::vector<float> relax(const std::vector<float>&) { return {0, 0, 0}; }

TEST(InvertedPendulum, DampingIsThatOfBothJoints) {
  const auto model_with = [](double damping) {
    InvertedPendulumOptions options;
    options.damping = damping;
    return options.model();
  };
  const std::string plain = InvertedPendulumOptions().model();
  EXPECT_EQ(model_with(1), plain);
  const std::string free = model_with(0);
  EXPECT_EQ(free.find("damping=\"1\""), std::string::npos);
  EXPECT_EQ(free.size(), plain.size());
  EXPECT_EQ(std::count(free.begin(), free.end(), '0'),
            std::count(plain.begin(), plain.end(), '0') + 2);
}

TEST_F(MujocoTask, KeepsTheContract) {
  for (const bool hidden : {false, true}) {
    contract::expect_environment_contract(with<InvertedPendulumOptions>(hidden, 1000, !hidden));
    contract::expect_environment_contract(with<InvertedPendulumOptions>(hidden, 4));
    contract::expect_trace_contract(with<InvertedPendulumOptions>(hidden, 1000));
    contract::expect_environment_contract(with<HopperOptions>(hidden, 1000, hidden));
    contract::expect_environment_contract(with<HopperOptions>(hidden, 9));
    contract::expect_trace_contract(with<HopperOptions>(hidden, 1000));
  }
}

TEST_F(MujocoTask, HasThePublishedSizes) {
  const auto pendulum = InvertedPendulumOptions().make(1), hopper = HopperOptions().make(1);
  EXPECT_EQ(pendulum->actions(), ActionSpec::box({-3}, {3}));
  EXPECT_EQ(hopper->actions(), ActionSpec::box({-1, -1, -1}, {1, 1, 1}));
  EXPECT_EQ(pendulum->observation_size(), 4);
  EXPECT_EQ(hopper->observation_size(), 11);
  EXPECT_EQ(with<InvertedPendulumOptions>(true, 9).make(1)->observation_size(), 2);
  EXPECT_EQ(with<HopperOptions>(true, 9).make(1)->observation_size(), 5);
  for (const auto* task : {pendulum.get(), hopper.get()}) {
    EXPECT_EQ(task->max_steps(), 1000);
    EXPECT_EQ(task->test_episodes(), 10);
    EXPECT_FALSE(task->fixed_length());
  }
}

template <typename Options>
void expect_start_within(const std::vector<float>& centre, float noise) {
  const auto task = Options().make(1);
  const auto hidden_task = with<Options>(true, 1000).make(1);
  std::vector<float> seen(centre.size()), hidden(centre.size()), least(centre.size(), 99),
      most(centre.size(), -99);
  for (int64_t number = 0; number < 500; ++number) {
    task->make_environment()->start(Split::training, number, seen.data());
    hidden_task->make_environment()->start(Split::training, number, hidden.data());
    for (int64_t k = 0; k < hidden_task->observation_size(); ++k) EXPECT_EQ(hidden[k], seen[k]);
    for (size_t k = 0; k < centre.size(); ++k) {
      least[k] = std::min(least[k], seen[k] - centre[k]);
      most[k] = std::max(most[k], seen[k] - centre[k]);
    }
  }
  for (size_t k = 0; k < centre.size(); ++k) {
    EXPECT_GE(least[k], -noise * 1.0001) << k;
    EXPECT_LE(most[k], noise * 1.0001) << k;
    EXPECT_LT(least[k], -noise * 0.97) << k;
    EXPECT_GT(most[k], noise * 0.97) << k;
  }
}

TEST_F(MujocoTask, StartsWithUniformNoise) {
  expect_start_within<InvertedPendulumOptions>({0, 0, 0, 0}, 0.01f);
  expect_start_within<HopperOptions>({1.25f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0.005f);
}

TEST_F(MujocoTask, PendulumPaysOneAStepUntilItFalls) {
  for (const bool pays_last_step : {true, false}) {
    const auto task = with<InvertedPendulumOptions>(false, 1000, pays_last_step).make(1);
    const Episode episode = play(*task, 3, push);
    const size_t steps = episode.steps.size();
    ASSERT_GE(steps, 3u);
    ASSERT_LE(steps, 20u);
    for (size_t t = 0; t < steps; ++t) {
      const bool last = t + 1 == steps;
      EXPECT_EQ(episode.steps[t].reward, last && !pays_last_step ? 0 : 1);
      EXPECT_EQ(episode.steps[t].terminated, last);
      EXPECT_FALSE(episode.steps[t].truncated);
      EXPECT_EQ(std::abs(episode.observations[t + 1][1]) > 0.2f, last);
    }
  }
}

TEST_F(MujocoTask, TheTimeLimitTruncatesAndMayCoincideWithAFall) {
  const auto task = InvertedPendulumOptions().make(1);
  const Episode whole = play(*task, 0, balance);
  ASSERT_EQ(whole.steps.size(), 1000u);
  EXPECT_TRUE(whole.steps.back().truncated);
  EXPECT_FALSE(whole.steps.back().terminated);
  EXPECT_FALSE(whole.steps[998].truncated);

  const auto steps = static_cast<int64_t>(play(*task, 0, push).steps.size());
  const Step both =
      play(*with<InvertedPendulumOptions>(false, steps).make(1), 0, push).steps.back();
  EXPECT_TRUE(both.terminated && both.truncated);
  const Step cut =
      play(*with<InvertedPendulumOptions>(false, steps - 1).make(1), 0, push).steps.back();
  EXPECT_TRUE(!cut.terminated && cut.truncated);
}

TEST_F(MujocoTask, ActionsAreClipped) {
  const auto clipped = [](const EnvironmentTask& task, std::vector<float> action,
                          std::vector<float> limit) {
    const Episode one = play(task, 1, [&](const auto&) { return action; });
    const Episode other = play(task, 1, [&](const auto&) { return limit; });
    EXPECT_EQ(one.observations, other.observations);
    for (size_t t = 0; t < one.steps.size(); ++t) {
      EXPECT_EQ(one.steps[t].reward, other.steps[t].reward);
    }
  };
  const float infinite = std::numeric_limits<float>::infinity();
  clipped(*InvertedPendulumOptions().make(1), {infinite}, {3});
  clipped(*InvertedPendulumOptions().make(1), {-3.5f}, {-3});
  clipped(*HopperOptions().make(1), {7, -infinite, 0.5f}, {1, -1, 0.5f});
}

TEST_F(MujocoTask, HopperPaysForSpeedAndBonusMinusControl) {
  for (const bool pays_last_step : {true, false}) {
    const auto task = with<HopperOptions>(false, 1000, pays_last_step).make(1);
    int64_t count = 0;
    const Act act = [&](const auto&) {
      const float sign = ++count % 7 < 4 ? 1.0f : -1.0f;
      return std::vector<float>{0.3f * sign, -0.5f * sign, 0.8f};
    };
    const Episode episode = play(*task, 2, act);
    count = 0;
    std::vector<float> actions;
    for (size_t t = 0; t < episode.steps.size(); ++t) {
      for (const float number : act({})) actions.push_back(number);
    }
    const Json trace = Json::parse(task->trace(Split::training, 2, actions));
    const size_t steps = episode.steps.size();
    ASSERT_GE(steps, 10u);
    for (size_t t = 0; t < steps; ++t) {
      const std::vector<double> before = trace["qpos"][t], after = trace["qpos"][t + 1],
                                speed = trace["qvel"][t + 1];
      const bool last = t + 1 == steps;
      const double bonus = last && !pays_last_step ? 0 : 1;
      EXPECT_NEAR(episode.steps[t].reward,
                  (after[0] - before[0]) / 0.008 + bonus - 1e-3 * (0.09 + 0.25 + 0.64), 1e-6);
      EXPECT_EQ(episode.steps[t].terminated, last);
      EXPECT_EQ(after[1] <= 0.7 || std::abs(after[2]) >= 0.2, last);
      const std::vector<float>& seen = episode.observations[t + 1];
      for (size_t k = 0; k < 5; ++k) EXPECT_EQ(seen[k], static_cast<float>(after[k + 1]));
      for (size_t k = 0; k < 6; ++k) {
        EXPECT_EQ(seen[5 + k], static_cast<float>(std::clamp(speed[k], -10.0, 10.0)));
      }
    }
  }
}

// States at a limit of a joint and in contact, by way of saved bytes.
template <typename Options>
void expect_exact_restore(const Act& act, int64_t steps) {
  const auto task = Options().make(1);
  const auto one = task->make_environment(), other = task->make_environment();
  std::vector<float> seen(task->observation_size()), again(seen);
  one->start(Split::training, 5, seen.data());
  for (int64_t t = 0; t < steps; ++t) {
    const std::vector<float> action = act(seen);
    other->restore(one->save());
    const Step step = one->step({.numbers = action.data()}, seen.data());
    EXPECT_EQ(other->step({.numbers = action.data()}, again.data()).reward, step.reward);
    ASSERT_EQ(again, seen);
    ASSERT_EQ(other->save(), one->save());
  }
}

TEST_F(MujocoTask, RestoresExactlyAtALimitAndInContact) {
  expect_exact_restore<InvertedPendulumOptions>(push, 150);
  expect_exact_restore<HopperOptions>(relax, 150);
}

#if defined(__SSE__)
TEST_F(MujocoTask, HasTheSameBitsWithinAKernel) {
  const auto task = HopperOptions().make(1);
  const Episode plain = play(*task, 0, relax);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // as kernels set it
  const Episode within = play(*task, 0, relax);
  _mm_setcsr(before);
  EXPECT_EQ(within.observations, plain.observations);
}
#endif

TEST_F(MujocoTask, NamesWhatIsNotFinite) {
  const auto task = HopperOptions().make(1);
  const auto environment = task->make_environment();
  std::vector<float> seen(11), action(3, 0.5f);
  environment->start(Split::training, 4, seen.data());
  environment->step({.numbers = action.data()}, seen.data());
  const std::string saved = environment->save();
  action[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(base::testing::error_of<base::Error>(
                [&] { environment->step({.numbers = action.data()}, seen.data()); }),
            "task hopper: episode 4, step 1: number 1 of the action is NaN");
  EXPECT_EQ(environment->save(), saved);

  // A model whose numbers grow without bound.
  const base::testing::Folder folder;
  std::string model = Json::parse(InvertedPendulumOptions().make(1)->trace(Split::test, 0, {}))
                          .at("model")
                          .get<std::string>();
  const std::string gear = "gear=\"100\"";
  model.replace(model.find(gear), gear.size(), "gear=\"1e14\"");
  base::write_file(folder / "model.xml", model);
  InvertedPendulumOptions options;
  options.model_file = folder / "model.xml";
  const std::string message = base::testing::error_of<base::Error>(
      [&] { play(*options.make(1), 0, [](const auto&) { return std::vector<float>{3}; }); });
  EXPECT_TRUE(message.starts_with("task inverted_pendulum: episode 0, step 0: the ")) << message;
  EXPECT_NE(message.find("no longer finite"), std::string::npos) << message;
}

TEST_F(MujocoTask, TakesAModelFileOfTheSameJointsOnly) {
  const base::testing::Folder folder;
  const auto model = [](const EnvironmentTask& task) {
    return Json::parse(task.trace(Split::test, 0, {})).at("model").get<std::string>();
  };
  base::write_file(folder / "pendulum.xml", model(*InvertedPendulumOptions().make(1)));
  base::write_file(folder / "hopper.xml", model(*HopperOptions().make(1)));
  base::write_file(folder / "bad.xml", "<mujoco><nothing/></mujoco>");
  InvertedPendulumOptions options;
  options.model_file = folder / "pendulum.xml";
  EXPECT_EQ(play(*options.make(1), 0, balance).observations,
            play(*InvertedPendulumOptions().make(1), 0, balance).observations);
  options.model_file = folder / "hopper.xml";
  EXPECT_NE(base::testing::error_of([&] {
              options.make(1);
            }).find("it has 6 joints and 3 actuators: the task inverted_pendulum needs 2 and 1"),
            std::string::npos);
  for (const char* name : {"bad.xml", "missing.xml", ""}) {
    options.model_file = folder / name;
    const std::string message = base::testing::error_of([&] { options.make(1); });
    EXPECT_NE(message.find(options.model_file), std::string::npos) << message;
  }
}

TEST_F(MujocoTask, TraceRefusesActionsAfterTheEndAndHalfActions) {
  const auto task = with<HopperOptions>(false, 2).make(1);
  base::testing::error_of([&] { task->trace(Split::test, 0, {0, 0, 0, 0}); });
  base::testing::error_of([&] { task->trace(Split::test, 0, std::vector<float>(9)); });
  const Json trace = Json::parse(task->trace(Split::test, 0, std::vector<float>(6)));
  EXPECT_EQ(trace["qpos"].size(), 3u);
  EXPECT_EQ(trace["qvel"][2].size(), 6u);
  EXPECT_EQ(trace["observations"][1].size(), 11u);
  EXPECT_EQ(trace["truncated"], Json({false, true}));
}

// States that MuJoCo's own Python package has computed: tests/golden/mujoco/make_states.py.
TEST_F(MujocoTask, HasTheStatesOfMujocosPythonPackage) {
  const auto golden =
      Json::parse(base::read_file(STPN_SOURCE_DIR "/tests/golden/mujoco/states.json"));
  int compared = 0;
  for (const Json& sequence : golden.at("sequences")) {
    const std::string name = sequence.at("task");
    SCOPED_TRACE(name);
    const std::string version = golden.at("mujoco");
    // Older versions compute contacts and limits of joints differently.
    const bool old = physics_version().starts_with("2.");
    if (name == "hopper" && old) {
      std::printf("hopper: not compared, because MuJoCo %s computes contacts differently from %s\n",
                  physics_version().c_str(), version.c_str());
      continue;
    }
    const auto physics = load_physics_text(name, sequence.at("model"), {});
    const auto model =
        name == "hopper" ? HopperOptions().rules.model : InvertedPendulumOptions().rules.model;
    EXPECT_EQ(sequence.at("model"), model) << "run make_states.py again";
    PhysicsState state = physics->initial_state();
    state.positions = sequence.at("qpos")[0].get<std::vector<double>>();
    state.velocities = sequence.at("qvel")[0].get<std::vector<double>>();
    for (size_t t = 0; t < sequence.at("controls").size(); ++t) {
      const std::vector<double> control = sequence.at("controls")[t];
      physics->advance(state, control.data(), sequence.at("physics_steps"));
      const std::vector<double> qpos = sequence.at("qpos")[t + 1],
                                qvel = sequence.at("qvel")[t + 1];
      if (old && (std::abs(qpos[0]) > 0.9 || std::abs(qpos[1]) > 1.4)) break;
      for (size_t k = 0; k < qpos.size(); ++k) {
        ASSERT_NEAR(state.positions[k], qpos[k], 1e-9) << t << " " << k;
        ASSERT_NEAR(state.velocities[k], qvel[k], 1e-9) << t << " " << k;
      }
    }
    ++compared;
  }
  EXPECT_GE(compared, 1);
}

}  // namespace
}  // namespace stpn::tasks::mujoco_task_test
