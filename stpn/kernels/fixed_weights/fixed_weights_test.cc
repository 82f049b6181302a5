// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/fixed_weights/equations.h"
#include "stpn/kernels/fixed_weights/random_call.h"
#include "stpn/kernels/not_finite.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::fixed_weights_test {
namespace {

using testing::distance;
using testing::expect_cpu_matches_reference;
using testing::expect_same;
using testing::FixedWeightsTestUnit;
using testing::kTolerance;
using testing::RandomFixedWeightsCall;

constexpr Cell kCells[] = {Cell::lstm, Cell::gru, Cell::rnn};

std::string name_of(Cell cell) {
  return cell == Cell::lstm ? "lstm" : cell == Cell::gru ? "gru" : "rnn";
}

TEST(FixedWeightsRefTest, GradientMatchesFiniteDifference) {
  for (const Cell cell : kCells) {
    SCOPED_TRACE(name_of(cell));
    RandomFixedWeightsCall<double> call({.steps = 5, .batch = 2, .inputs = 3, .hidden = 4}, {cell},
                                        7);
    const auto result = call.reference();
    for (const auto& [name, gradient, row] : result.gradients) {
      std::vector<double>& values = call[name];
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        constexpr double kStep = 1e-6;
        values[k] = at + kStep;
        const double above = call.loss();
        values[k] = at - kStep;
        const double below = call.loss();
        values[k] = at;
        ASSERT_NEAR(gradient[k], (above - below) / (2 * kStep), 1e-7 * (1 + std::abs(gradient[k])))
            << name << " " << k;
      }
    }
  }
}

// One neuron at one step, by hand.
TEST(FixedWeightsRefTest, OneStepIsTheEquations) {
  const double W[] = {0.5, -1.0, 0.25, 2.0}, R[] = {1.5, 0.5, -0.75, -0.5};
  const double b_ih[] = {0.1, 0.2, 0.3, 0.4}, b_hh[] = {-0.3, 0.6, 0.9, -0.2};
  const double x = 0.7, h = -0.4, c = 0.8;
  const auto p = [&](int g) { return W[g] * x + b_ih[g]; };
  const auto q = [&](int g) { return R[g] * h + b_hh[g]; };
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  double output = 0, final_h = 0, final_c = 0;
  FixedWeightsForwardParams<double> call;
  call.extent = {.steps = 1, .batch = 1, .inputs = 1, .hidden = 1};
  call.x = &x;
  call.initial_h = &h;
  call.initial_c = &c;
  call.weight_ih = W;
  call.weight_hh = R;
  call.bias_ih = b_ih;
  call.bias_hh = b_hh;
  call.output = &output;
  call.final_h = &final_h;
  call.final_c = &final_c;

  fixed_weights_forward_ref(call);
  const double new_c = sigmoid(p(1) + q(1)) * c + sigmoid(p(0) + q(0)) * std::tanh(p(2) + q(2));
  EXPECT_NEAR(final_c, new_c, 1e-15);
  EXPECT_NEAR(output, sigmoid(p(3) + q(3)) * std::tanh(new_c), 1e-15);
  EXPECT_EQ(final_h, output);

  call.variant.cell = Cell::gru;
  call.initial_c = nullptr;
  call.final_c = nullptr;
  fixed_weights_forward_ref(call);
  const double u = sigmoid(p(1) + q(1)), n = std::tanh(p(2) + sigmoid(p(0) + q(0)) * q(2));
  EXPECT_NEAR(output, (1 - u) * n + u * h, 1e-15);

  call.variant.cell = Cell::rnn;
  call.bias_hh = nullptr;
  fixed_weights_forward_ref(call);
  EXPECT_NEAR(output, std::tanh(p(0) + R[0] * h), 1e-15);
}

using FixedWeightsCpuTest = testing::TargetTest;

template <typename T>
void matches_reference() {
  using Given = typename RandomFixedWeightsCall<T>::GivenGradients;
  base::Random sizes(11, base::Stream::test_data, 0);
  for (int round = 0; round < 12; ++round) {
    for (const Cell cell : kCells) {
      const Extent e{.steps = 1 + sizes.below(24),
                     .batch = 1 + sizes.below(20),
                     .inputs = 1 + sizes.below(24),
                     .hidden = 1 + sizes.below(70)};
      SCOPED_TRACE(fmt::format("{} T {} B {} I {} H {}", name_of(cell), e.steps, e.batch, e.inputs,
                               e.hidden));
      RandomFixedWeightsCall<T> call(e, {cell}, e.hidden, /*with_reset=*/round % 3 != 0);
      call.given = round % 4 == 1   ? Given::output
                   : round % 4 == 2 ? Given::final_state
                                    : Given::no_energy;
      expect_cpu_matches_reference(call);
    }
  }
}

TEST_P(FixedWeightsCpuTest, MatchesReferenceInDouble) { matches_reference<double>(); }
TEST_P(FixedWeightsCpuTest, MatchesReferenceInFloat) { matches_reference<float>(); }

TEST_P(FixedWeightsCpuTest, RunsSizesAroundThoseOfVectorsAndTiles) {
  for (const Cell cell : kCells) {
    for (const int64_t hidden : {1, 3, 8, 15, 16, 17, 48}) {
      for (const int64_t batch : {1, 2, 3, 4, 7}) {
        SCOPED_TRACE(fmt::format("{} H {} B {}", name_of(cell), hidden, batch));
        const Extent e{.steps = 5, .batch = batch, .inputs = hidden % 5 + 1, .hidden = hidden};
        expect_cpu_matches_reference(RandomFixedWeightsCall<float>(e, {cell}, 3));
        expect_cpu_matches_reference(RandomFixedWeightsCall<double>(e, {cell}, 3));
      }
    }
  }
}

// Of one sample and of several shards.
TEST_P(FixedWeightsCpuTest, RunsLongSequencesAndLargeBatches) {
  for (const Cell cell : kCells) {
    SCOPED_TRACE(name_of(cell));
    expect_cpu_matches_reference(RandomFixedWeightsCall<double>(
        {.steps = 300, .batch = 1, .inputs = 2, .hidden = 9}, {cell}, 3));
    expect_cpu_matches_reference(RandomFixedWeightsCall<double>(
        {.steps = 30, .batch = 67, .inputs = 17, .hidden = 33}, {cell}, 3));
  }
}

TEST_P(FixedWeightsCpuTest, WritesOnlyWhatIsAskedFor) {
  for (const Cell cell : kCells) {
    SCOPED_TRACE(name_of(cell));
    const RandomFixedWeightsCall<double> call({.steps = 7, .batch = 3, .inputs = 5, .hidden = 6},
                                              {cell}, 3);
    const auto whole = call.cpu();
    const auto without = [&](auto forget) {
      return call.run([](auto& p) { FixedWeightsTestUnit::forward_cpu<double>(p); },
                      [&](auto& b) {
                        forget(b);
                        FixedWeightsTestUnit::backward_cpu<double>(b);
                      },
                      true);
    };
    const auto no_x = without([](auto& b) { b.grad_x = nullptr; });
    const auto only_x = without([](auto& b) {
      b.grad_initial_h = b.grad_initial_c = nullptr;
      b.grad_weight_ih = b.grad_weight_hh = b.grad_bias_ih = b.grad_bias_hh = nullptr;
    });
    for (const auto& [name, gradient, row] : whole.gradients) {
      const bool is_x = name == "x";
      EXPECT_EQ((is_x ? only_x : no_x).gradient(name), gradient) << name;
      for (const double value : (is_x ? no_x : only_x).gradient(name)) {
        ASSERT_TRUE(std::isnan(value)) << name;
      }
    }
    // Without gradients, nothing is saved, and there need be no final state.
    const auto predicted = call.run(
        [](auto& p) {
          p.final_h = p.final_c = nullptr;
          FixedWeightsTestUnit::forward_cpu<double>(p);
        },
        [](auto&) {}, false);
    EXPECT_EQ(predicted.output, whole.output);
  }
}

TEST_P(FixedWeightsCpuTest, BitsDoNotDependOnThreads) {
  const base::ParallelFor threads = testing::a_thread_each;
  for (const Cell cell : kCells) {
    const RandomFixedWeightsCall<float> call({.steps = 30, .batch = 67, .inputs = 17, .hidden = 33},
                                             {cell}, 5);
    const auto serial = call.cpu();
    const auto in_parallel = call.cpu(&threads);
    EXPECT_EQ(serial.output, in_parallel.output);
    EXPECT_EQ(serial.finals, in_parallel.finals);
    EXPECT_EQ(serial.gradients, in_parallel.gradients);
  }
}

// A sample alone has the bits that it has in a batch, whatever register tile it is in.
TEST_P(FixedWeightsCpuTest, BitsOfASampleDoNotDependOnItsBatch) {
  for (const Cell cell : kCells) {
    SCOPED_TRACE(name_of(cell));
    const RandomFixedWeightsCall<float> call({.steps = 6, .batch = 19, .inputs = 9, .hidden = 33},
                                             {cell}, 5);
    const auto whole = call.cpu();
    // Rows of sample b of an array (T, B, N).
    const auto of_sample = [&](const std::vector<float>& values, int64_t b) {
      const auto row = static_cast<int64_t>(values.size()) / (6 * 19);
      std::vector<float> rows;
      for (int64_t t = 0; t < 6; ++t) {
        const auto first = values.begin() + (t * 19 + b) * row;
        rows.insert(rows.end(), first, first + row);
      }
      return rows;
    };
    for (const int64_t b : {0, 17}) {
      RandomFixedWeightsCall<float> alone({.steps = 6, .batch = 1, .inputs = 9, .hidden = 33},
                                          {cell}, 5);
      alone.arrays = call.arrays;
      alone["x"] = of_sample(call["x"], b);
      alone.grad_output = of_sample(call.grad_output, b);
      alone.reset.clear();
      for (int64_t t = 0; t < 6; ++t) alone.reset.push_back(call.reset[t * 19 + b]);
      const auto state_of = [&](std::vector<float>& to, const std::vector<float>& from) {
        if (!from.empty()) to.assign(from.begin() + b * 33, from.begin() + (b + 1) * 33);
      };
      for (const char* name : {"h", "c"}) {
        state_of(alone[name], call[name]);
        state_of(alone.grad_final(name), RandomFixedWeightsCall<float>(call).grad_final(name));
      }
      const auto result = alone.cpu();
      EXPECT_EQ(result.output, of_sample(whole.output, b));
      EXPECT_EQ(result.gradient("x"), of_sample(whole.gradient("x"), b));
    }
  }
}

// The next input is a function of the outputs; some samples are reset on the way.
template <typename T>
class Answers : public ClosedLoop {
 public:
  Answers(const Extent& extent, T* x, uint8_t* reset) : extent_(extent), x_(x), reset_(reset) {}
  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override {
    answer(t, first, count, h);
  }
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override {
    answer(t, first, count, h);
  }

 private:
  template <typename U>
  void answer(int64_t t, int64_t first, int64_t count, const U* h) {
    if constexpr (std::is_same_v<T, U>) {
      if (t + 1 == extent_.steps) return;
      for (int64_t b = first; b < first + count; ++b) {
        const int64_t row = (t + 1) * extent_.batch + b;
        const T* const of_sample = h + (b - first) * extent_.hidden;
        for (int64_t j = 0; j < extent_.inputs; ++j) {
          x_[row * extent_.inputs + j] = of_sample[j % extent_.hidden] + T(j);
        }
        reset_[row] = (t + b) % 4 == 0;
      }
    } else {
      throw std::logic_error("h is of another type than x");
    }
  }

  const Extent extent_;
  T* const x_;
  uint8_t* const reset_;
};

// What a closed loop gives is what the inputs that it wrote give, and these agree with the
// reference's.
template <typename T>
void closed_loop_matches_reference() {
  const base::ParallelFor threads = testing::a_thread_each;
  for (const Cell cell : kCells) {
    for (const int64_t batch : {1, 3, 67}) {
      SCOPED_TRACE(fmt::format("{} B {}", name_of(cell), batch));
      RandomFixedWeightsCall<T> call({.steps = 30, .batch = batch, .inputs = 7, .hidden = 33},
                                     {cell}, 5);
      RandomFixedWeightsCall<T> reference = call;
      const auto in_loop = [&](RandomFixedWeightsCall<T>& of, auto forward, auto backward,
                               bool save) {
        Answers<T> answers(of.extent, of["x"].data(), of.reset.data());
        return of.run(
            [&](auto& p) {
              p.closed_loop = &answers;
              forward(p);
              p.closed_loop = nullptr;
            },
            backward, save, &threads);
      };
      const auto got = in_loop(call, FixedWeightsTestUnit::forward_cpu<T>,
                               FixedWeightsTestUnit::backward_cpu<T>, true);
      const auto want = in_loop(reference, FixedWeightsTestUnit::forward_ref<T>,
                                FixedWeightsTestUnit::backward_ref<T>, false);
      expect_same(got, want, call.extent);
      EXPECT_EQ(call.reset, reference.reset);
      expect_same(got, call.cpu(), call.extent);
    }
  }
}

TEST_P(FixedWeightsCpuTest, ClosedLoopMatchesReferenceInDouble) {
  closed_loop_matches_reference<double>();
}
TEST_P(FixedWeightsCpuTest, ClosedLoopMatchesReferenceInFloat) {
  closed_loop_matches_reference<float>();
}

// A reset clears a sample's state completely, even if it is NaN.
TEST_P(FixedWeightsCpuTest, ResetForgetsADivergedSample) {
  for (const Cell cell : kCells) {
    SCOPED_TRACE(name_of(cell));
    constexpr int64_t kBatch = 5;
    RandomFixedWeightsCall<float> call({.steps = 8, .batch = kBatch, .inputs = 4, .hidden = 4},
                                       {cell}, 9, /*with_reset=*/false);
    call["x"][(1 * kBatch + 2) * 4] = std::numeric_limits<float>::quiet_NaN();
    call.reset[5 * kBatch + 2] = 1;
    const auto result = call.cpu();
    const auto reference = call.reference();
    const auto from_reset = [&](const std::vector<float>& values) {
      return std::vector<float>(values.begin() + 5 * kBatch * 4, values.end());
    };
    EXPECT_LE(distance(from_reset(result.output), from_reset(reference.output)), kTolerance<float>);
    EXPECT_LE(distance(from_reset(result.gradient("x")), from_reset(reference.gradient("x"))),
              kTolerance<float>);
    EXPECT_LE(distance(result.final("h"), reference.final("h")), kTolerance<float>);
  }
}

template <typename T>
void not_finite_as_in_reference() {
  for (const Cell cell : kCells) {
    for (const int64_t batch : {1, 5}) {
      for (const int64_t steps : {1, 4}) {
        SCOPED_TRACE(fmt::format("{} batch {} steps {}", name_of(cell), batch, steps));
        const RandomFixedWeightsCall<T> call({steps, batch, 3, 4}, {cell}, 7);
        testing::expect_not_finite_as_in_reference(call, testing::Agreement::everywhere);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST_P(FixedWeightsCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInFloat) {
  not_finite_as_in_reference<float>();
}
TEST_P(FixedWeightsCpuTest, NaNAndInfinitiesAreWhereTheReferenceHasThemInDouble) {
  not_finite_as_in_reference<double>();
}

INSTANTIATE_TEST_SUITE_P(Targets, FixedWeightsCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels::fixed_weights_test
