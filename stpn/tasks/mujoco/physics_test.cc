#include "stpn/tasks/mujoco/physics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <thread>

#include "stpn/base/files.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/mujoco/standard_arithmetic.h"

namespace stpn::tasks::physics_test {
namespace {

// A ball that slides on a beam with a stop at each end, and falls onto a floor: limits and
// contacts.
std::string ball(const std::string& more = "") {
  return R"(<mujoco>
  <option timestep="0.01" integrator="RK4"/>
  <worldbody>
    <geom type="plane" size="9 9 0.1"/>
    <body pos="0 0 0.3">
      <joint name="along" type="slide" axis="1 0 0" limited="true" range="-0.05 0.05"/>
      <joint name="height" type="slide" axis="0 0 1"/>
      <geom size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="along" gear="10"/></actuator>
)" + more +
         "</mujoco>\n";
}

std::unique_ptr<const Physics> load(const std::string& more = "", const PhysicsRoom& room = {}) {
  return load_physics_text("ball", ball(more), room);
}

std::string refused(const std::string& text) {
  return base::testing::error_of([&] { load_physics_text("ball", text, {}); });
}

bool is_old() { return physics_version().starts_with("2."); }

#define SKIP_WITHOUT_MUJOCO() \
  if (physics_version().empty()) GTEST_SKIP() << "this build has no MuJoCo"

TEST(Physics, WithoutMujocoSaysHowToGetIt) {
  if (!physics_version().empty()) GTEST_SKIP() << "this build has MuJoCo";
  EXPECT_NE(refused("").find("pip install mujoco-core"), std::string::npos);
  base::testing::error_of([] { load_physics_file("nowhere.xml"); });
}

TEST(Physics, FallsAsItShould) {
  SKIP_WITHOUT_MUJOCO();
  const auto physics = load();
  EXPECT_EQ(physics->joints(), 2);
  EXPECT_EQ(physics->controls(), 1);
  EXPECT_EQ(physics->time_step(), 0.01);
  PhysicsState state = physics->initial_state();
  const double control = 0;
  physics->advance(state, &control, 10);
  EXPECT_NEAR(state.time, 0.1, 1e-15);
  EXPECT_NEAR(state.positions[1], -9.81 * 0.1 * 0.1 / 2, 1e-14);
  EXPECT_NEAR(state.velocities[1], -9.81 * 0.1, 1e-14);
  physics->advance(state, &control, 200);
  EXPECT_NEAR(state.positions[1], -0.2, 0.01) << "the ball lies on the floor";
}

// In contact with the floor, and pushed into a stop and away from it.
TEST(Physics, GoesOnFromAStateWithTheSameBits) {
  SKIP_WITHOUT_MUJOCO();
  const auto physics = load();
  PhysicsState state = physics->initial_state(), other = state;
  std::vector<PhysicsState> states;
  const auto control = [](int step) { return step % 40 < 20 ? 0.9 : -0.7; };
  for (int step = 0; step < 200; ++step) {
    const double force = control(step);
    physics->advance(state, &force, 1);
    states.push_back(state);
    // A second simulation takes turns in the same memory.
    physics->advance(other, &force, 3);
    if (std::abs(other.positions[0]) > 0.1) other = physics->initial_state();
  }
  const auto furthest = std::max_element(states.begin(), states.end(),
                                         [](const PhysicsState& one, const PhysicsState& other) {
                                           return one.positions[0] < other.positions[0];
                                         });
  EXPECT_GT(furthest->positions[0], 0.05) << "never in its stop";
  bool warmstart_counts = false;
  for (int from = 0; from < 200; from += 7) {
    PhysicsState again = states[from], cold = states[from];
    cold.warmstart.assign(2, 0);
    const auto fresh = load();
    for (int step = from + 1; step < 200; ++step) {
      const double force = control(step);
      fresh->advance(again, &force, 1);
      ASSERT_EQ(again, states[step]) << from << " " << step;
      fresh->advance(cold, &force, 1);
      warmstart_counts = warmstart_counts || cold.positions != again.positions;
    }
  }
  // Since 3.11.
  EXPECT_TRUE(warmstart_counts || is_old()) << "the test cannot fail";
}

TEST(Physics, HasTheSameBitsOnAllThreads) {
  SKIP_WITHOUT_MUJOCO();
  const auto physics = load();
  const auto simulate = [&](double force) {
    PhysicsState state = physics->initial_state();
    for (int step = 0; step < 300; ++step) physics->advance(state, &force, 1);
    return state;
  };
  std::vector<PhysicsState> alone, together(8);
  for (int k = 0; k < 8; ++k) alone.push_back(simulate(0.1 * k));
  std::vector<std::thread> threads;
  for (int k = 0; k < 8; ++k) threads.emplace_back([&, k] { together[k] = simulate(0.1 * k); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

#if defined(__SSE__)
TEST(Physics, HasTheSameBitsWhereDenormalsAreFlushed) {
  SKIP_WITHOUT_MUJOCO();
  const auto physics = load();
  // A velocity that is a denormal number moves the position by one.
  PhysicsState state = physics->initial_state();
  state.velocities[0] = 1e-310;
  PhysicsState flushed = state;
  const double control = 0;
  physics->advance(state, &control, 1);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  physics->advance(flushed, &control, 1);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  EXPECT_EQ(after & 0x8040U, 0x8040U) << "the setting of the thread has changed";
  EXPECT_EQ(flushed, state);
  EXPECT_NE(state.positions[0], 0);
}
#endif

TEST(Physics, ReportsNumbersThatAreNotFiniteAndChangesNothing) {
  SKIP_WITHOUT_MUJOCO();
  const auto physics = load();
  const PhysicsState initial = physics->initial_state();
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), 1e11, -std::numeric_limits<double>::infinity()}) {
    PhysicsState state = initial;
    state.velocities[1] = bad;
    const double control = 0;
    EXPECT_EQ(base::testing::error_of<base::Error>([&] { physics->advance(state, &control, 3); }),
              "the velocity of joint height is no longer finite, or above 1e10");
    EXPECT_EQ(state.positions, initial.positions);
    state = initial;
    state.positions[0] = bad;
    EXPECT_EQ(base::testing::error_of<base::Error>([&] { physics->advance(state, &control, 3); }),
              "the position of joint along is no longer finite, or above 1e10");
    // Found after the step, too.
    state = initial;
    const double huge = std::isnan(bad) ? 1e15 : bad;
    base::testing::error_of<base::Error>([&] { physics->advance(state, &huge, 1); });
    EXPECT_EQ(state, initial);
    physics->advance(state, &control, 1);
    EXPECT_NEAR(state.velocities[1], -0.0981, 1e-12) << "an error has left traces";
  }
}

// Its own way would be to end the process, and to write a file into the working directory.
TEST(Physics, TooLittleMemoryIsAnError) {
  SKIP_WITHOUT_MUJOCO();
  const double control = 0;
  const std::string message = base::testing::error_of<base::Error>([&] {
    const auto physics = load("", {.constraints = 1, .contacts = 1, .kilobytes = 1});
    PhysicsState state = physics->initial_state();
    physics->advance(state, &control, 100);
  });
  EXPECT_TRUE(message.starts_with("MuJoCo: ")) << message;
  EXPECT_FALSE(std::filesystem::exists("MUJOCO_LOG.TXT"));
}

TEST(Physics, RefusesWhatIsNoModelOrHasMoreState) {
  SKIP_WITHOUT_MUJOCO();
  EXPECT_NE(refused("<mujoco").find("ball: MuJoCo cannot load it: "), std::string::npos);
  EXPECT_NE(refused("").find("ball: "), std::string::npos);
  EXPECT_NE(refused("<mujoco><worldbody><body><joint wrong=\"1\"/></body></worldbody></mujoco>")
                .find("wrong"),
            std::string::npos);
  EXPECT_NE(refused("<mujoco><worldbody><body><freejoint/><geom size=\"1\"/></body></worldbody>"
                    "</mujoco>")
                .find("neither a slide nor a hinge"),
            std::string::npos);
  EXPECT_NE(refused(ball(R"(<actuator><general joint="along" dyntype="integrator"/></actuator>)"))
                .find("state of its own"),
            std::string::npos);
}

TEST(Physics, LoadsAFile) {
  SKIP_WITHOUT_MUJOCO();
  const base::testing::Folder folder;
  base::write_file(folder / "ball.xml", ball());
  const auto physics = load_physics_file(folder / "ball.xml");
  const auto text = load();
  PhysicsState state = physics->initial_state(), same = state;
  const double control = 1;
  physics->advance(state, &control, 50);
  text->advance(same, &control, 50);
  EXPECT_EQ(state, same);
  EXPECT_NE(base::testing::error_of([&] {
              load_physics_file(folder / "no.xml");
            }).find("no.xml: there is no such file"),
            std::string::npos);
}

}  // namespace
}  // namespace stpn::tasks::physics_test
