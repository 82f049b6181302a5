// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/gated_delta/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::gated_delta_test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Case {
  GatedDeltaExtent extent;
  bool energy = true, with_reset = true;
};

std::string text_of(const Case& c) {
  const GatedDeltaExtent& e = c.extent;
  return fmt::format("T {} samples {} heads {} K {} V {} energy {} reset {}", e.steps, e.samples,
                     e.heads, e.key_size, e.value_size, c.energy, c.with_reset);
}

// The inputs of a call, and the gradients of its outputs.
template <typename T>
struct Call {
  Call(const Case& its_case, uint64_t seed) : c(its_case) {
    base::Random random(seed, base::Stream::parameters, 0);
    const auto fill = [&](int64_t count, double low, double high) {
      std::vector<T> values(count);
      for (T& value : values) value = static_cast<T>(random.uniform(low, high));
      return values;
    };
    const GatedDeltaExtent& e = c.extent;
    const int64_t steps = e.steps * e.memories();
    const double length = 1 / std::sqrt(static_cast<double>(e.key_size));
    query = fill(steps * e.key_size, -length, length);
    key = fill(steps * e.key_size, -length, length);
    value = fill(steps * e.value_size, -1, 1);
    decay = fill(steps, 0.5, 1);
    write = fill(steps, 0, 2);
    state = fill(e.memories() * e.synapses(), -1, 1);
    grad_read = fill(steps * e.value_size, -1, 1);
    grad_final_state = fill(e.memories() * e.synapses(), -1, 1);
    grad_energy = fill(steps * e.value_size, -1, 1);
    reset = std::make_unique<bool[]>(e.steps * e.samples);
    for (int64_t k = 0; k < e.steps * e.samples; ++k) reset[k] = random.uniform(0, 1) < 0.2;
  }

  GatedDeltaForwardParams<T> params() const {
    GatedDeltaForwardParams<T> p;
    p.extent = c.extent;
    p.query = query.data();
    p.key = key.data();
    p.value = value.data();
    p.decay = decay.data();
    p.write = write.data();
    p.state = state.data();
    p.reset = c.with_reset ? reset.get() : nullptr;
    return p;
  }

  Case c;
  std::vector<T> query, key, value, decay, write, state, grad_read, grad_final_state, grad_energy;
  std::unique_ptr<bool[]> reset;
};

template <typename T>
struct Named {
  std::string name;
  std::vector<T> values;
  int64_t row;
  bool operator==(const Named&) const = default;
};
template <typename T>
using Results = std::vector<Named<T>>;

// All outputs and gradients. What is never written shows as NaN.
template <typename T>
Results<T> run(const Call<T>& call, bool reference, const base::ParallelFor* parallel = nullptr) {
  const GatedDeltaExtent& e = call.c.extent;
  const int64_t steps = e.steps * e.memories(), K = e.key_size, V = e.value_size;
  const auto empty = [](int64_t count) { return std::vector<T>(count, static_cast<T>(kNaN)); };
  Results<T> results = {{"read", empty(steps * V), V},
                        {"final state", empty(e.memories() * e.synapses()), K},
                        {"energy", empty(call.c.energy ? steps * V : 0), V},
                        {"grad of query", empty(steps * K), K},
                        {"grad of key", empty(steps * K), K},
                        {"grad of value", empty(steps * V), V},
                        {"grad of decay", empty(steps), 1},
                        {"grad of write", empty(steps), 1},
                        {"grad of state", empty(e.memories() * e.synapses()), K}};
  const auto to = [&](size_t k) { return results[k].values.data(); };
  std::vector<T> saved = empty(reference ? 0 : gated_delta_saved_size<T>(e));
  GatedDeltaBackwardParams<T> p;
  p.forward = call.params();
  p.forward.read = to(0);
  p.forward.final_state = to(1);
  p.forward.energy = call.c.energy ? to(2) : nullptr;
  p.forward.saved = saved.data();
  p.forward.parallel = parallel;
  p.grad_read = call.grad_read.data();
  p.grad_final_state = call.grad_final_state.data();
  p.grad_energy = call.c.energy ? call.grad_energy.data() : nullptr;
  p.grad_query = to(3);
  p.grad_key = to(4);
  p.grad_value = to(5);
  p.grad_decay = to(6);
  p.grad_write = to(7);
  p.grad_state = to(8);
  reference ? gated_delta_forward_ref(p.forward) : gated_delta_forward_cpu(p.forward);
  reference ? gated_delta_backward_ref(p) : gated_delta_backward_cpu(p);
  return results;
}

template <typename T>
void expect_close(const Results<T>& got, const Results<T>& want) {
  for (size_t k = 0; k < want.size(); ++k) {
    testing::expect_close(got[k].values, want[k].values, want[k].row, want[k].name);
  }
}

// By hand, one value of each: S = 2, k = 3, q = 5, v = 7, a = 1/2, b = 1/4.
TEST(GatedDeltaRefTest, AStepIsTheEquations) {
  Call<double> call({{1, 1, 1, 1, 1}, true, false}, 1);
  call.state = {2};
  call.key = {3};
  call.query = {5};
  call.value = {7};
  call.decay = {0.5};
  call.write = {0.25};
  const Results<double> results = run(call, /*reference=*/true);
  // a S k = 3, e = 1, S = 1 + 3.
  EXPECT_DOUBLE_EQ(results[0].values[0], 4 * 5);
  EXPECT_DOUBLE_EQ(results[1].values[0], 4);
  EXPECT_DOUBLE_EQ(results[2].values[0], 2 * (9 + 25));
}

TEST(GatedDeltaRefTest, GradientsMatchFiniteDifferences) {
  Call<double> call({{5, 2, 2, 3, 2}}, 3);
  const Results<double> results = run(call, /*reference=*/true);
  const auto loss = [&] {
    const Results<double> now = run(call, /*reference=*/true);
    double sum = 0;
    const std::vector<double>* weights[] = {&call.grad_read, &call.grad_final_state,
                                            &call.grad_energy};
    for (size_t k = 0; k < 3; ++k) {
      for (size_t i = 0; i < weights[k]->size(); ++i) {
        sum += now[k].values[i] * (*weights[k])[i];
      }
    }
    return sum;
  };
  std::vector<double>* const inputs[] = {&call.query, &call.key,   &call.value,
                                         &call.decay, &call.write, &call.state};
  for (size_t k = 0; k < 6; ++k) {
    const Named<double>& gradient = results[3 + k];
    for (size_t i = 0; i < inputs[k]->size(); ++i) {
      double& value = (*inputs[k])[i];
      const double at = value;
      constexpr double kStep = 1e-6;
      value = at + kStep;
      const double above = loss();
      value = at - kStep;
      const double below = loss();
      value = at;
      ASSERT_NEAR(gradient.values[i], (above - below) / (2 * kStep),
                  1e-7 * (1 + std::abs(gradient.values[i])))
          << gradient.name << " " << i;
    }
  }
}

using GatedDeltaCpuTest = testing::TargetTest;

// Memories that fill no vector, one and several, with a part left over; one segment and several.
template <typename T>
void cpu_matches_reference() {
  base::Random random(5, base::Stream::parameters, 0);
  const auto draw = [&](int64_t low, int64_t high) {
    return static_cast<int64_t>(random.uniform(static_cast<double>(low), high + 1.0));
  };
  for (uint64_t round = 0; round < 60; ++round) {
    const Case c = {{draw(1, 40), draw(1, 12), draw(1, 4), draw(1, 9), draw(1, 9)},
                    draw(0, 1) == 1,
                    draw(0, 1) == 1};
    SCOPED_TRACE(text_of(c));
    const Call<T> call(c, round);
    expect_close(run(call, /*reference=*/false), run(call, /*reference=*/true));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST_P(GatedDeltaCpuTest, MatchesReferenceInFloat) { cpu_matches_reference<float>(); }
TEST_P(GatedDeltaCpuTest, MatchesReferenceInDouble) { cpu_matches_reference<double>(); }

// So large that a segment has the fewest steps.
TEST_P(GatedDeltaCpuTest, LargeMemoriesMatchReference) {
  const Call<double> call({{11, 2, 1, 70, 75}}, 2);
  expect_close(run(call, /*reference=*/false), run(call, /*reference=*/true));
}

TEST_P(GatedDeltaCpuTest, SameBitsForAnyNumberOfThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  for (const int64_t samples : {1, 4, 5, 33}) {
    const Call<float> call({{9, samples, 4, 5, 6}}, 1);
    EXPECT_TRUE(run(call, false) == run(call, false, &threads)) << samples;
  }
}

// The last memory of 40 is in a block with others, or alone.
TEST_P(GatedDeltaCpuTest, AMemoryHasTheSameBitsInAnyBatch) {
  const int64_t T = 7, K = 3, V = 4;
  const Call<float> all({{T, 40, 1, K, V}}, 1);
  Call<float> one({{T, 1, 1, K, V}}, 1);
  const auto last = [](const std::vector<float>& from, int64_t steps, int64_t row) {
    std::vector<float> of_last;
    for (int64_t t = 0; t < steps; ++t) {
      const auto begin = from.begin() + (t * 40 + 39) * row;
      of_last.insert(of_last.end(), begin, begin + row);
    }
    return of_last;
  };
  one.query = last(all.query, T, K);
  one.key = last(all.key, T, K);
  one.value = last(all.value, T, V);
  one.decay = last(all.decay, T, 1);
  one.write = last(all.write, T, 1);
  one.state = last(all.state, 1, K * V);
  one.grad_read = last(all.grad_read, T, V);
  one.grad_final_state = last(all.grad_final_state, 1, K * V);
  one.grad_energy = last(all.grad_energy, T, V);
  for (int64_t t = 0; t < T; ++t) one.reset[t] = all.reset[t * 40 + 39];
  const Results<float> of_all = run(all, false), of_one = run(one, false);
  for (size_t k = 0; k < of_one.size(); ++k) {
    const bool of_state = k == 1 || k == 8;
    EXPECT_EQ(of_one[k].values, of_state ? last(of_all[k].values, 1, K * V)
                                         : last(of_all[k].values, T, of_one[k].row))
        << of_one[k].name;
  }
}

TEST_P(GatedDeltaCpuTest, EnergyChangesNothingElse) {
  const Call<float> measured({{9, 3, 2, 5, 6}, true}, 1), not_measured({{9, 3, 2, 5, 6}, false}, 1);
  const Results<float> with = run(measured, false), without = run(not_measured, false);
  for (const size_t k : {0, 1}) EXPECT_TRUE(with[k] == without[k]) << with[k].name;
}

// Gradients of outputs that the loss does not depend on.
TEST_P(GatedDeltaCpuTest, AbsentGradientsAreZeros) {
  const Call<double> call({{6, 2, 2, 3, 4}}, 1);
  Call<double> zeros({{6, 2, 2, 3, 4}}, 1);
  for (auto* grad : {&zeros.grad_final_state, &zeros.grad_energy}) {
    std::fill(grad->begin(), grad->end(), 0);
  }
  const Results<double> want = run(zeros, true);
  const GatedDeltaExtent& e = call.c.extent;
  for (const bool reference : {true, false}) {
    Results<double> got = run(zeros, reference);
    std::vector<double> saved(gated_delta_saved_size<double>(e));
    GatedDeltaBackwardParams<double> p;
    p.forward = call.params();
    p.forward.read = got[0].values.data();
    p.forward.final_state = got[1].values.data();
    p.forward.saved = saved.data();
    p.grad_read = call.grad_read.data();
    double** const to[] = {&p.grad_query, &p.grad_key,   &p.grad_value,
                           &p.grad_decay, &p.grad_write, &p.grad_state};
    for (size_t k = 0; k < 6; ++k) {
      got[3 + k].values.assign(got[3 + k].values.size(), kNaN);
      *to[k] = got[3 + k].values.data();
    }
    reference ? gated_delta_forward_ref(p.forward) : gated_delta_forward_cpu(p.forward);
    reference ? gated_delta_backward_ref(p) : gated_delta_backward_cpu(p);
    expect_close(got, want);
  }
}

// A reset forgets what is not a number; what is not forgotten is passed on.
TEST_P(GatedDeltaCpuTest, NaNIsPassedOnUntilAReset) {
  Call<float> call({{2, 2, 1, 2, 2}}, 1);
  std::fill(call.state.begin(), call.state.end(), static_cast<float>(kNaN));
  for (int64_t k = 0; k < 4; ++k) call.reset[k] = k == 2;  // sample 0, before its second step
  const Results<float> results = run(call, false);
  const std::vector<float>& read = results[0].values;
  for (int64_t k = 0; k < 8; ++k) EXPECT_EQ(std::isnan(read[k]), k < 4 || k >= 6) << k;
  EXPECT_TRUE(std::isnan(results[6].values[1])) << "the gradient of the decay, of sample 1";
}

INSTANTIATE_TEST_SUITE_P(Targets, GatedDeltaCpuTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::gated_delta_test
