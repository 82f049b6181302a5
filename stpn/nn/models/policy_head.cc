#include "stpn/nn/models/policy_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

constexpr int64_t kMaxOutputs = 64;
const double kLogSqrt2Pi = 0.5 * std::log(2 * M_PI);

// The head's outputs for one h, without torch.
class Outputs {
 public:
  Outputs(const torch::Tensor& weight, const torch::Tensor& bias)
      : weight_(weight.detach().t().contiguous()), bias_(bias.detach().contiguous()) {}

  int64_t count() const { return bias_.size(0); }
  int64_t inputs() const { return weight_.size(0); }
  template <typename T>
  void operator()(const T* h, T* outputs) const {
    const int64_t count = bias_.size(0), hidden = weight_.size(0);
    std::copy_n(bias_.const_data_ptr<T>(), count, outputs);
    const T* weight = weight_.const_data_ptr<T>();
    for (int64_t i = 0; i < hidden; ++i, weight += count) {
      for (int64_t k = 0; k < count; ++k) outputs[k] += weight[k] * h[i];
    }
  }

 private:
  torch::Tensor weight_;  // (H, outputs)
  torch::Tensor bias_;
};

// One of n choices.
class ChoicePolicy : public Policy {
 public:
  explicit ChoicePolicy(const torch::Tensor& logits) : log_policy_(logits.log_softmax(2)) {}
  torch::Tensor log_prob(const torch::Tensor& action) const override {
    return log_policy_.gather(2, action.unsqueeze(2)).squeeze(2);
  }
  torch::Tensor squared_norm() const override { return (2 * log_policy_).exp().sum(2); }

 private:
  torch::Tensor log_policy_;
};

class ChoiceSampler : public ActionSampler {
 public:
  explicit ChoiceSampler(Outputs outputs) : outputs_(std::move(outputs)) {}
  int64_t inputs() const override { return outputs_.inputs(); }
  int64_t draw(const float* h, base::Random* random, float* /*numbers*/) const override {
    return draw_from(h, random);
  }
  int64_t draw(const double* h, base::Random* random, float* /*numbers*/) const override {
    return draw_from(h, random);
  }

 private:
  // Inverts the cumulative distribution function.
  template <typename T>
  int64_t draw_from(const T* h, base::Random* random) const {
    const int64_t choices = outputs_.count();
    std::array<T, kMaxOutputs> logits{};
    outputs_(h, logits.data());
    const auto largest = std::max_element(logits.begin(), logits.begin() + choices);
    if (random == nullptr) return largest - logits.begin();
    std::array<double, kMaxOutputs> cumulative{};
    double sum = 0;
    for (int64_t a = 0; a < choices; ++a) {
      sum += std::exp(static_cast<double>(logits[a] - *largest));
      cumulative[a] = sum;
    }
    const double point = random->uniform(0, 1) * sum;
    const double* const first = cumulative.data();
    return std::upper_bound(first, first + choices - 1, point) - first;
  }

  Outputs outputs_;
};

class ChoiceHead : public PolicyHead {
 public:
  ChoiceHead(int64_t hidden_size, int64_t choices) : PolicyHead(hidden_size, choices) {}
  std::unique_ptr<Policy> forward(const torch::Tensor& h) const override {
    return std::make_unique<ChoicePolicy>(outputs_of(h));
  }
  std::unique_ptr<ActionSampler> sampler() const override {
    return std::make_unique<ChoiceSampler>(Outputs(weight(), bias()));
  }
};

// Independent normal distributions.
class NumberPolicy : public Policy {
 public:
  explicit NumberPolicy(const torch::Tensor& outputs) {
    const auto parts = outputs.chunk(2, 2);
    mean_ = parts[0];
    deviation_ = torch::softplus(parts[1]);
  }
  torch::Tensor log_prob(const torch::Tensor& action) const override {
    const torch::Tensor z = (action - mean_) / deviation_;
    return (-0.5 * z.square() - deviation_.log() - kLogSqrt2Pi).sum(2);
  }
  // The integral of a normal density squared is 1 / (2 sqrt(pi) deviation).
  torch::Tensor squared_norm() const override {
    return (1 / (2 * std::sqrt(M_PI) * deviation_)).prod(2);
  }

 private:
  torch::Tensor mean_, deviation_;
};

class NumberSampler : public ActionSampler {
 public:
  explicit NumberSampler(Outputs outputs) : outputs_(std::move(outputs)) {}
  int64_t inputs() const override { return outputs_.inputs(); }
  int64_t draw(const float* h, base::Random* random, float* numbers) const override {
    return draw_from(h, random, numbers);
  }
  int64_t draw(const double* h, base::Random* random, float* numbers) const override {
    return draw_from(h, random, numbers);
  }

 private:
  template <typename T>
  int64_t draw_from(const T* h, base::Random* random, float* numbers) const {
    std::array<T, kMaxOutputs> outputs{};
    outputs_(h, outputs.data());
    const int64_t count = outputs_.count() / 2;
    for (int64_t k = 0; k < count; ++k) {
      const auto s = static_cast<double>(outputs[count + k]);
      const double deviation = std::max(s, 0.0) + std::log1p(std::exp(-std::abs(s)));
      const double z = random == nullptr ? 0 : random->normal();
      numbers[k] = static_cast<float>(static_cast<double>(outputs[k]) + deviation * z);
    }
    return 0;
  }

  Outputs outputs_;
};

class NumberHead : public PolicyHead {
 public:
  NumberHead(int64_t hidden_size, int64_t numbers) : PolicyHead(hidden_size, 2 * numbers) {}
  std::unique_ptr<Policy> forward(const torch::Tensor& h) const override {
    return std::make_unique<NumberPolicy>(outputs_of(h));
  }
  std::unique_ptr<ActionSampler> sampler() const override {
    return std::make_unique<NumberSampler>(Outputs(weight(), bias()));
  }
};

}  // namespace

PolicyHead::PolicyHead(int64_t hidden_size, int64_t outputs) {
  STPN_CHECK(outputs >= 1 && outputs <= kMaxOutputs,
             "a policy of {} outputs: must have from 1 to {}", outputs, kMaxOutputs);
  weight_ = register_parameter("weight", torch::zeros({outputs, hidden_size}));
  bias_ = register_parameter("bias", torch::zeros({outputs}));
}

torch::Tensor PolicyHead::outputs_of(const torch::Tensor& h) const {
  return torch::linear(h, weight_, bias_);
}

void PolicyHead::reset_parameters(uint64_t seed, uint64_t index) {
  reset_head(weight_, bias_, seed, index);
}

std::shared_ptr<PolicyHead> make_choice_head(int64_t hidden_size, int64_t choices) {
  return std::make_shared<ChoiceHead>(hidden_size, choices);
}

std::shared_ptr<PolicyHead> make_number_head(int64_t hidden_size, int64_t numbers) {
  return std::make_shared<NumberHead>(hidden_size, numbers);
}

}  // namespace stpn::nn
