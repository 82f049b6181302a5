#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/base/safetensors.h"
#include "stpn/base/testing.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/runtime/stpn_runtime.h"

namespace stpn::runtime::runtime_test {
namespace {

constexpr int64_t kInputs = 5, kHidden = 6, kSteps = 7;

// A checkpoint with drawn values; `unit`: lines of its [unit] table.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& unit) {
    content.metadata["stpn"] =
        "{\"format\":2,\"config\":\"[task]\\n[unit]\\n" + unit + "[train]\\n\"}";
  }
  void add(const std::string& name, const std::vector<int64_t>& shape, double low, double high) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(random_.uniform(low, high));
    add(name, shape, values);
  }
  void add(const std::string& name, const std::vector<int64_t>& shape,
           const std::vector<float>& values) {
    content.tensors.push_back(
        {name, base::TensorType::float32, shape,
         std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))});
  }
  std::vector<double> values(const std::string& name) const {
    const std::string& bytes = content.at(name).bytes;
    std::vector<float> floats(bytes.size() / sizeof(float));
    std::memcpy(floats.data(), bytes.data(), bytes.size());
    return {floats.begin(), floats.end()};
  }

  base::Safetensors content;

 private:
  base::Random random_{7, base::Stream::parameters, 0};
};

struct Case {
  std::string name, lines;  // of [unit], in JSON
  kernels::StpnVariant variant;
};

std::vector<Case> cases() {
  const std::string recurrent = "name = \\\"stpn_recurrent\\\"\\n";
  const auto option = [](const std::string& key, const std::string& value) {
    return key + " = \\\"" + value + "\\\"\\n";
  };
  using kernels::Norm;
  return {
      {"pre", recurrent + option("norm", "pre"), {.norm = Norm::pre}},
      {"post",
       recurrent + option("norm", "post") + "clamp = 0.3\\n",
       {.norm = Norm::post, .clamp = 0.3}},
      {"none",
       recurrent + option("norm", "none") + "clamp = 1\\n",
       {.norm = Norm::none, .clamp = 1}},
      {"switches",
       recurrent + option("norm", "preactivation") + option("connections", "recurrent") +
           option("rule", "oja") + option("decay", "after_update") +
           option("presynaptic", "current") + option("activation", "sigmoid") +
           "layer_norm = true\\nplastic_bias = true\\n",
       {.norm = Norm::preactivation,
        .connections = kernels::Connections::recurrent,
        .rule = kernels::Rule::oja,
        .decay = kernels::Decay::after_update,
        .presynaptic = kernels::Presynaptic::current,
        .activation = kernels::Activation::sigmoid,
        .layer_norm = true,
        .plastic_bias = true}},
      {"gates",
       recurrent + option("norm", "pre") +
           "update_gate = true\\nwrite_gate = true\\ndecay_gate = true\\n",
       {.norm = Norm::pre, .update_gate = true, .write_gate = true, .decay_gate = true}},
      {"gates_post",
       recurrent + option("norm", "post") + option("presynaptic", "current") +
           "clamp = 0.3\\nupdate_gate = true\\nwrite_gate = true\\n",
       {.norm = Norm::post,
        .clamp = 0.3,
        .presynaptic = kernels::Presynaptic::current,
        .update_gate = true,
        .write_gate = true}},
      {"feedforward",
       "name = \\\"stpn_feedforward\\\"\\n" + option("norm", "pre"),
       {.norm = Norm::pre, .recurrent = false}},
  };
}

class RuntimeTest : public testing::Test {
 protected:
  stpn_network* load(const Checkpoint& checkpoint) {
    base::write_safetensors(folder_ / "run.safetensors", checkpoint.content);
    return stpn_load((folder_ / "run.safetensors").c_str(), error_, sizeof error_);
  }
  base::testing::Folder folder_;
  char error_[300] = "";
};

TEST_F(RuntimeTest, StepsAreThoseOfTheReference) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    const kernels::Extent extent{.steps = kSteps, .batch = 1, .inputs = kInputs, .hidden = kHidden};
    const int64_t N = fan_in(extent, one.variant), P = plastic_fan_in(extent, one.variant);
    Checkpoint checkpoint(one.lines);
    checkpoint.add("unit.weight", {kHidden, N}, -1, 1);
    checkpoint.add("unit.bias", {kHidden}, -1, 1);
    checkpoint.add("unit.weight_lambda", {kHidden, P}, 0.5, 1);
    checkpoint.add("unit.weight_gamma", {kHidden, P}, -1, 1);
    checkpoint.add("unit.bias_lambda", {kHidden}, 0.5, 1);
    checkpoint.add("unit.bias_gamma", {kHidden}, -1, 1);
    checkpoint.add("unit.layer_norm_weight", {kHidden}, 0.5, 2);
    checkpoint.add("unit.layer_norm_bias", {kHidden}, -1, 1);
    checkpoint.add("unit.update_weight", {kHidden, kInputs + kHidden}, -1, 1);
    checkpoint.add("unit.update_bias", {kHidden}, -1, 1);
    checkpoint.add("unit.write_weight", {kHidden, kInputs}, -1, 1);
    checkpoint.add("unit.decay_weight", {kHidden, kInputs}, -1, 1);
    checkpoint.add("head.weight", {2, kHidden}, -1, 1);
    checkpoint.add("head.bias", {2}, -1, 1);
    checkpoint.add("x", {kSteps, kInputs}, -1, 1);
    stpn_network* network = load(checkpoint);
    ASSERT_NE(network, nullptr) << error_;
    EXPECT_EQ(stpn_inputs(network), kInputs);
    EXPECT_EQ(stpn_neurons(network), kHidden);
    EXPECT_EQ(stpn_plastic(network), P);
    ASSERT_STREQ(stpn_head_name(network, 0), "head");
    EXPECT_EQ(stpn_head_size(network, 0), 2);
    EXPECT_EQ(stpn_head_name(network, 1), nullptr);

    const auto values = [&](const char* name) { return checkpoint.values(name); };
    const std::vector<double> x = values("x"), W = values("unit.weight"), b = values("unit.bias"),
                              lambda = values("unit.weight_lambda"),
                              gamma = values("unit.weight_gamma"),
                              bias_lambda = values("unit.bias_lambda"),
                              bias_gamma = values("unit.bias_gamma"),
                              norm_weight = values("unit.layer_norm_weight"),
                              norm_bias = values("unit.layer_norm_bias"),
                              update_weight = values("unit.update_weight"),
                              update_bias = values("unit.update_bias"),
                              write_weight = values("unit.write_weight"),
                              decay_weight = values("unit.decay_weight"), zeros(kHidden * N, 0.0);
    std::vector<double> h(kSteps * kHidden), F(kHidden * P), beta(kHidden);
    kernels::StpnForwardParams<double> p;
    p.extent = extent;
    p.variant = one.variant;
    p.x = x.data();
    p.weight = W.data();
    p.bias = b.data();
    p.weight_lambda = lambda.data();
    p.weight_gamma = gamma.data();
    p.bias_lambda = bias_lambda.data();
    p.bias_gamma = bias_gamma.data();
    p.layer_norm_weight = norm_weight.data();
    p.layer_norm_bias = norm_bias.data();
    p.update_weight = update_weight.data();
    p.update_bias = update_bias.data();
    p.write_weight = write_weight.data();
    p.decay_weight = decay_weight.data();
    p.initial_h = p.initial_F = p.initial_beta = zeros.data();
    p.output = h.data();
    p.final_F = F.data();
    p.final_beta = beta.data();
    stpn_forward_ref(p);

    stpn_memory* memory = stpn_new_memory(network);
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second after a reset
      stpn_reset(memory);
      for (int64_t t = 0; t < kSteps; ++t) {
        const std::vector<float> now(x.begin() + t * kInputs, x.begin() + (t + 1) * kInputs);
        stpn_step(memory, now.data());
        for (int64_t i = 0; i < kHidden; ++i) {
          EXPECT_NEAR(stpn_h(memory)[i], h[t * kHidden + i], 1e-5) << t << " " << i;
        }
      }
      for (int64_t k = 0; k < kHidden * P; ++k) EXPECT_NEAR(stpn_F(memory)[k], F[k], 1e-5) << k;
    }
    ASSERT_EQ(stpn_beta(memory) != nullptr, one.variant.plastic_bias);
    for (int64_t i = 0; i < kHidden && one.variant.plastic_bias; ++i) {
      EXPECT_NEAR(stpn_beta(memory)[i], beta[i], 1e-5) << i;
    }
    float out[2];
    stpn_output(memory, 0, out);
    const std::vector<double> weight = values("head.weight"), bias = values("head.bias");
    for (int64_t k = 0; k < 2; ++k) {
      double expected = bias[k];
      for (int64_t i = 0; i < kHidden; ++i) {
        expected += weight[k * kHidden + i] * h[(kSteps - 1) * kHidden + i];
      }
      EXPECT_NEAR(out[k], expected, 1e-5);
    }
    stpn_free_memory(memory);
    stpn_free(network);
  }
}

TEST_F(RuntimeTest, AFileThatItCannotRunGivesOneLine) {
  const auto error_of = [&](const Checkpoint& checkpoint) {
    EXPECT_EQ(load(checkpoint), nullptr);
    return std::string(error_);
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos && text.find('\n') == std::string::npos;
  };
  EXPECT_TRUE(has(error_of(Checkpoint("name = \\\"lstm\\\"\\n")), "unit lstm")) << error_;
  Checkpoint damaged("name = \\\"stpn_recurrent\\\"\\n");
  EXPECT_TRUE(has(error_of(damaged), "unit.weight")) << error_;
  damaged.add("unit.weight", {3, 2}, -1, 1);
  EXPECT_TRUE(has(error_of(damaged), "too few")) << error_;
  damaged.content.metadata.clear();
  EXPECT_TRUE(has(error_of(damaged), "not a checkpoint")) << error_;
  Checkpoint delta("name = \\\"stpn_recurrent\\\"\\nrule = \\\"delta\\\"\\n");
  delta.add("unit.weight", {3, 5}, -1, 1);
  delta.add("unit.weight_lambda", {3, 5}, 0, 1);
  delta.add("unit.weight_gamma", {3, 5}, -1, 1);
  EXPECT_TRUE(has(error_of(delta), "rule delta")) << error_;
  EXPECT_EQ(stpn_load((folder_ / "absent").c_str(), error_, sizeof error_), nullptr);
  EXPECT_TRUE(has(error_, "absent")) << error_;
  char little[4] = "xyz";
  EXPECT_EQ(stpn_load("absent", little, sizeof little), nullptr);
  EXPECT_EQ(std::string(little).size(), 3U);
}

}  // namespace
}  // namespace stpn::runtime::runtime_test
