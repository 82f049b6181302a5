// The code of a thread of the CUDA kernels, run on the CPU by an emulation of a team, against the
// reference and the golden vectors.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/cuda/testing.h"
#include "stpn/kernels/stpn/cuda/emulated.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::cuda_test {
namespace {

namespace unit = cuda::stpn_unit;

using testing::CudaShape;
using testing::emulate;
using testing::expect_same;
using testing::kCudaShapes;
using testing::RandomStpnCall;

unit::Division division(const Extent& extent, const StpnVariant& variant, const CudaShape& shape) {
  unit::Division d(extent, variant, 8, cuda::Machine());
  testing::give_shape(shape, d.sizes.fan_in, d);
  d.forward_memory = unit::ForwardMemory(d.sizes, variant, d.forward);
  d.backward_memory = unit::BackwardMemory(d.sizes, d.backward);
  return d;
}

// A variant's gates, at random: those that it may have.
void draw_gates(base::Random& draw, StpnVariant& v) {
  v.update_gate = draw.below(2) == 0;
  v.write_gate = v.rule != Rule::oja && draw.below(2) == 0;
  v.decay_gate = v.rule != Rule::oja && v.norm == Norm::pre && draw.below(2) == 0;
}

// Every rule, decay, norm and connection, with and without layer norm, plastic bias and gates.
std::vector<StpnVariant> all_variants() {
  base::Random draw(23, base::Stream::test_data, 0);
  std::vector<StpnVariant> variants;
  for (Norm norm : {Norm::none, Norm::preactivation, Norm::pre, Norm::post}) {
    for (Connections connections : {Connections::all, Connections::input, Connections::recurrent}) {
      for (Rule rule : {Rule::hebb, Rule::oja}) {
        for (Presynaptic presynaptic : {Presynaptic::previous, Presynaptic::current}) {
          for (const bool layer_norm : {false, true}) {
            StpnVariant v;
            v.norm = norm;
            v.connections = connections;
            v.rule = rule;
            v.presynaptic = presynaptic;
            v.layer_norm = layer_norm;
            v.decay = static_cast<Decay>(draw.below(2));
            v.activation = static_cast<Activation>(draw.below(4));
            v.rates = static_cast<Rates>(draw.below(3));
            v.recurrent = draw.below(4) != 0;
            v.plastic_bias = draw.below(2) == 0;
            v.scalar_bias_rates = draw.below(2) == 0;
            if (draw.below(3) == 0) v.clamp = 0.4;
            variants.push_back(v);
            if (!v.recurrent) continue;
            draw_gates(draw, v);
            if (v.has_gates()) variants.push_back(v);
          }
        }
      }
    }
  }
  for (const Activation activation : {Activation::tanh, Activation::sigmoid}) {
    for (const bool layer_norm : {false, true}) {
      StpnVariant v;
      v.rule = Rule::delta;
      v.activation = activation;
      v.layer_norm = v.plastic_bias = layer_norm;
      if (layer_norm) v.clamp = 0.4;
      variants.push_back(v);
      v.recurrent = false;
      variants.push_back(v);
      v.recurrent = v.update_gate = v.write_gate = v.decay_gate = true;
      variants.push_back(v);
    }
  }
  return variants;
}

TEST(StpnCudaTest, EveryVariantMatchesReference) {
  base::Random draw(29, base::Stream::test_data, 0);
  for (const StpnVariant& v : all_variants()) {
    // With two neurons the gradients through a layer norm would be rounding alone.
    const Extent e{1 + draw.below(5), 1 + draw.below(2), 2 + draw.below(9), 3 + draw.below(5)};
    const CudaShape& shape = kCudaShapes[draw.below(4)];
    SCOPED_TRACE(fmt::format(
        "T {} B {} I {} H {} norm {} connections {} rule {} decay {} presynaptic {} layer norm {} "
        "plastic bias {} recurrent {} rates {} update gate {} write gate {} decay gate {} lanes {}",
        e.steps, e.batch, e.inputs, e.hidden, static_cast<int>(v.norm),
        static_cast<int>(v.connections), static_cast<int>(v.rule), static_cast<int>(v.decay),
        static_cast<int>(v.presynaptic), v.layer_norm, v.plastic_bias, v.recurrent,
        static_cast<int>(v.rates), v.update_gate, v.write_gate, v.decay_gate, shape.lanes));
    RandomStpnCall<double> c(e, v, e.inputs);
    for (const auto given : {RandomStpnCall<double>::GivenGradients::all,
                             RandomStpnCall<double>::GivenGradients::output}) {
      c.given = given;
      expect_same(emulate(c, division(e, v, shape)), c.reference(), e);
    }
    if (HasFailure()) return;
  }
}

// As the kernels divide them: matrices in shared memory, and streamed; several intervals between
// checkpoints.
TEST(StpnCudaTest, ItsOwnDivisionsMatchReference) {
  StpnVariant post;
  post.norm = Norm::post;
  post.clamp = 0.2;
  StpnVariant coupled;
  coupled.rule = Rule::oja;
  coupled.layer_norm = coupled.plastic_bias = true;
  StpnVariant gated;
  gated.rule = Rule::delta;
  gated.update_gate = gated.write_gate = gated.decay_gate = true;
  const cuda::Machine small{1024, 2, 8};
  for (const StpnVariant& v : {StpnVariant(), post, coupled, gated}) {
    for (const cuda::Machine& machine : {cuda::Machine(), small}) {
      const Extent e{18, 2, 7, 5};
      const unit::Division d(e, v, sizeof(double), machine);
      EXPECT_EQ(d.forward.resident, machine.shared_bytes > small.shared_bytes);
      EXPECT_LT(d.sizes.interval, e.steps);
      const RandomStpnCall<double> c(e, v, 3);
      expect_same(emulate(c, d), c.reference(), e);
      const RandomStpnCall<float> in_float(e, v, 3);
      const unit::Division of_float(e, v, sizeof(float), machine);
      expect_same(emulate(in_float, of_float), in_float.reference(), e);
    }
  }
}

// The threads between two barriers run in another order for every seed: what one writes and another
// reads without a barrier in between would show.
TEST(StpnCudaTest, BitsDoNotDependOnTheSchedule) {
  for (const StpnVariant& v : all_variants()) {
    const bool post = v.norm == Norm::post && v.connections != Connections::input;
    if (!post && v.rule != Rule::delta) continue;
    const Extent e{4, 2, 5, 6};
    const RandomStpnCall<float> c(e, v, 5);
    for (const bool resident : {true, false}) {
      const unit::Division d = division(e, v, {4, 16, resident, 2});
      const auto one = emulate(c, d, 1);
      const auto other = emulate(c, d, 77);
      EXPECT_EQ(one.output, other.output);
      EXPECT_EQ(one.energy, other.energy);
      EXPECT_EQ(one.finals, other.finals);
      EXPECT_EQ(one.gradients, other.gradients);
    }
  }
}

// A sample that does not fit in shared memory gets a cluster while there are processors and rows.
TEST(StpnCudaTest, LargeUnitsGetClusters) {
  const cuda::Machine h200{227 * 1024, 8, 132};
  const auto blocks = [&](int64_t batch, int64_t hidden, int64_t inputs) {
    const unit::Division d({20, batch, inputs, hidden}, StpnVariant(), sizeof(float), h200);
    EXPECT_EQ(d.backward.resident, hidden * (inputs + hidden) < 10'000);
    return d.backward.blocks;
  };
  EXPECT_EQ(blocks(512, 55, 17), 1);    // Maze: in shared memory
  EXPECT_EQ(blocks(64, 64, 2592), 2);   // Pong
  EXPECT_EQ(blocks(1, 64, 2592), 4);    // no more groups than rows
  EXPECT_EQ(blocks(100, 64, 2592), 1);  // no more blocks than processors
  EXPECT_EQ(blocks(1, 512, 2592), 8);
}

TEST(StpnCudaTest, AMissingBarrierShows) {
  const auto neighbour_sum = [](uint64_t seed, bool with_barrier) {
    cuda::Emulation threads(8, 4, seed);
    std::vector<float> values(8, 0.0F);
    std::vector<float> sums(8, 0.0F);
    threads.run([&](int thread) {
      const cuda::EmulatedTeam team(threads, thread);
      values[thread] = static_cast<float>(thread);
      if (with_barrier) team.sync();
      sums[thread] = team.sum(values[(thread + 1) % 8]);
    });
    return sums;
  };
  EXPECT_EQ(neighbour_sum(1, true), neighbour_sum(2, true));
  bool differs = false;
  for (uint64_t seed = 2; seed < 20; ++seed) {
    differs = differs || neighbour_sum(1, false) != neighbour_sum(seed, false);
  }
  EXPECT_TRUE(differs);
}

TEST(StpnCudaTest, ASkippedBarrierShows) {
  cuda::Emulation threads(8, 4, 1);
  EXPECT_THROW(threads.run([&](int thread) {
    if (thread != 3) cuda::EmulatedTeam(threads, thread).sync();
  }),
               std::logic_error);
}

// What a sample has come to, NaN even, ends at its reset, forward and backward.
TEST(StpnCudaTest, ResetForgetsADivergedSample) {
  StpnVariant coupled;
  coupled.rule = Rule::oja;
  coupled.layer_norm = coupled.plastic_bias = true;
  for (const StpnVariant& v : {StpnVariant(), coupled}) {
    const Extent e{4, 2, 3, 5};
    RandomStpnCall<float> c(e, v, 9, /*with_reset=*/false);
    c["x"][0] = std::numeric_limits<float>::infinity();
    c.reset[2 * e.batch] = 1;
    const auto result = emulate(c, division(e, v, {4, 16, true, 3}));
    const auto reference = c.reference();
    EXPECT_TRUE(std::isnan(result.output[e.hidden * e.batch]));
    const auto from_reset = [](const std::vector<float>& values) {
      return std::vector<float>(values.begin() + static_cast<int64_t>(values.size()) / 2,
                                values.end());
    };
    const auto expect_close = [](const std::vector<float>& got, const std::vector<float>& want) {
      EXPECT_LE(testing::distance(got, want), testing::kTolerance<float>);
    };
    expect_close(from_reset(result.output), from_reset(reference.output));
    expect_close(result.final("F"), reference.final("F"));
    expect_close(from_reset(result.gradient("x")), from_reset(reference.gradient("x")));
  }
}

// Prediction alone saves nothing; gradients that nobody wants are not written.
TEST(StpnCudaTest, SavesNothingWhereThereIsNoBackward) {
  const Extent e{9, 2, 5, 6};
  const StpnVariant v;
  const RandomStpnCall<double> c(e, v, 5);
  const unit::Division d = division(e, v, {4, 16, true, 2});
  const auto forward = [&](StpnForwardParams<double>& p) { unit::emulate_forward(p, d, 1); };
  const auto result = c.run(
      forward, [](StpnBackwardParams<double>&) {}, /*save=*/false);
  EXPECT_EQ(result.output, emulate(c, d).output);
}

// Without the gradient of x, of the state or of some parameters, the others are the same.
TEST(StpnCudaTest, GradientsMayBeUnwanted) {
  for (const Rule rule : {Rule::hebb, Rule::oja}) {
    StpnVariant v;
    v.rule = rule;
    const Extent e{5, 2, 6, 5};
    const RandomStpnCall<double> c(e, v, 5);
    const unit::Division d = division(e, v, {4, 16, true, 2});
    const auto unwanted = [](StpnBackwardParams<double>& p) {
      p.grad_x = p.grad_bias = p.grad_initial_h = p.grad_initial_F = nullptr;
      p.grad_weight_gamma = nullptr;
    };
    const auto some = emulate(c, d, unwanted, 1);
    const auto all = emulate(c, d);
    EXPECT_EQ(some.gradient("weight"), all.gradient("weight"));
    EXPECT_EQ(some.gradient("weight_lambda"), all.gradient("weight_lambda"));
  }
}

}  // namespace
}  // namespace stpn::kernels::cuda_test
