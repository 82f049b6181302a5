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
      : count_(bias.size(0)), inputs_(weight.size(1)), padded_(padded(count_)) {
    const int64_t zeros = padded_ - count_;
    weight_ = torch::constant_pad_nd(weight.detach().t(), {0, zeros}).contiguous();
    bias_ = torch::constant_pad_nd(bias.detach(), {0, zeros}).contiguous();
  }

  int64_t count() const { return count_; }
  int64_t inputs() const { return inputs_; }
  // Room for kMaxOutputs in `outputs`.
  template <typename T>
  void operator()(const T* h, T* outputs) const {
    const T* const weight = weight_.const_data_ptr<T>();
    const T* const bias = bias_.const_data_ptr<T>();
    for (int64_t first = 0; first < padded_; first += kBlock) {
      T sums[kBlock];  // in registers
      std::copy_n(bias + first, kBlock, sums);
      for (int64_t i = 0; i < inputs_; ++i) {
        const T* const row = weight + i * padded_ + first;
        for (int64_t k = 0; k < kBlock; ++k) sums[k] += row[k] * h[i];
      }
      std::copy_n(sums, kBlock, outputs + first);
    }
  }

 private:
  static constexpr int64_t kBlock = 8;
  static_assert(kMaxOutputs % kBlock == 0);
  static int64_t padded(int64_t count) { return (count + kBlock - 1) / kBlock * kBlock; }

  int64_t count_, inputs_, padded_;
  torch::Tensor weight_;  // (H, padded)
  torch::Tensor bias_;    // (padded)
};

// One of n choices.
class ChoicePolicy : public Policy {
 public:
  explicit ChoicePolicy(const torch::Tensor& logits)
      : Policy(logits), log_policy_(logits.log_softmax(2)) {}
  torch::Tensor log_prob(const torch::Tensor& action) const override {
    return log_policy_.gather(2, action.unsqueeze(2)).squeeze(2);
  }
  torch::Tensor squared_norm() const override { return (2 * log_policy_).exp().sum(2); }
  torch::Tensor entropy() const override { return -(log_policy_.exp() * log_policy_).sum(2); }

 private:
  torch::Tensor log_policy_;
};

class ChoiceStep : public StepPolicy {
 public:
  explicit ChoiceStep(int64_t choices) : choices_(choices) {}

  PolicyTerms terms(const double* outputs, const double* old,
                    const PolicyAction& action) const override {
    const Logarithms now = log_softmax(outputs), before = log_softmax(old);
    PolicyTerms terms{.log_prob = now[action.choice]};
    for (int64_t a = 0; a < choices_; ++a) {
      terms.entropy -= std::exp(now[a]) * now[a];
      terms.divergence += std::exp(before[a]) * (before[a] - now[a]);
    }
    return terms;
  }
  void add_gradient(const double* outputs, const double* old, const PolicyAction& action,
                    const PolicyTerms& weights, double* gradient) const override {
    const Logarithms now = log_softmax(outputs), before = log_softmax(old);
    double entropy = 0;
    for (int64_t a = 0; a < choices_; ++a) entropy -= std::exp(now[a]) * now[a];
    for (int64_t a = 0; a < choices_; ++a) {
      const double p = std::exp(now[a]);
      gradient[a] += weights.log_prob * ((a == action.choice ? 1 : 0) - p) -
                     weights.entropy * p * (now[a] + entropy) +
                     weights.divergence * (p - std::exp(before[a]));
    }
  }

 private:
  using Logarithms = std::array<double, kMaxOutputs>;
  Logarithms log_softmax(const double* outputs) const {
    const double largest = *std::max_element(outputs, outputs + choices_);
    double sum = 0;
    for (int64_t a = 0; a < choices_; ++a) sum += std::exp(outputs[a] - largest);
    const double log_sum = largest + std::log(sum);
    Logarithms result;
    for (int64_t a = 0; a < choices_; ++a) result[a] = outputs[a] - log_sum;
    return result;
  }

  int64_t choices_;
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
    std::array<T, kMaxOutputs> logits;
    outputs_(h, logits.data());
    const auto largest = std::max_element(logits.begin(), logits.begin() + choices);
    if (random == nullptr) return largest - logits.begin();
    std::array<double, kMaxOutputs> cumulative;
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
  std::unique_ptr<StepPolicy> step_policy() const override {
    return std::make_unique<ChoiceStep>(bias().size(0));
  }
};

// Independent normal distributions.
class NumberPolicy : public Policy {
 public:
  explicit NumberPolicy(const torch::Tensor& outputs) : Policy(outputs) {
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
  torch::Tensor entropy() const override { return (deviation_.log() + 0.5 + kLogSqrt2Pi).sum(2); }

 private:
  torch::Tensor mean_, deviation_;
};

// log(1 + exp(s)), without overflow.
double softplus(double s) { return std::max(s, 0.0) + std::log1p(std::exp(-std::abs(s))); }

class NumberStep : public StepPolicy {
 public:
  explicit NumberStep(int64_t numbers) : numbers_(numbers) {}

  PolicyTerms terms(const double* outputs, const double* old,
                    const PolicyAction& action) const override {
    PolicyTerms terms;
    for (int64_t k = 0; k < numbers_; ++k) {
      const double deviation = softplus(outputs[numbers_ + k]);
      const double z = (action.numbers[k] - outputs[k]) / deviation;
      terms.log_prob -= 0.5 * z * z + std::log(deviation) + kLogSqrt2Pi;
      terms.entropy += 0.5 + std::log(deviation) + kLogSqrt2Pi;
      const double ratio = softplus(old[numbers_ + k]) / deviation;
      const double shift = (old[k] - outputs[k]) / deviation;
      terms.divergence += 0.5 * (ratio * ratio + shift * shift - 1) - std::log(ratio);
    }
    return terms;
  }
  void add_gradient(const double* outputs, const double* old, const PolicyAction& action,
                    const PolicyTerms& weights, double* gradient) const override {
    for (int64_t k = 0; k < numbers_; ++k) {
      const double s = outputs[numbers_ + k];
      const double deviation = softplus(s);
      const double z = (action.numbers[k] - outputs[k]) / deviation;
      const double ratio = softplus(old[numbers_ + k]) / deviation;
      const double shift = (old[k] - outputs[k]) / deviation;
      gradient[k] += (weights.log_prob * z - weights.divergence * shift) / deviation;
      const double of_deviation = weights.log_prob * (z * z - 1) + weights.entropy +
                                  weights.divergence * (1 - ratio * ratio - shift * shift);
      // d softplus(s) / d s = 1 / (1 + exp(-s))
      gradient[numbers_ + k] += of_deviation / (deviation * (1 + std::exp(-s)));
    }
  }

 private:
  int64_t numbers_;
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
    std::array<T, kMaxOutputs> outputs;
    outputs_(h, outputs.data());
    const int64_t count = outputs_.count() / 2;
    for (int64_t k = 0; k < count; ++k) {
      const auto s = static_cast<double>(outputs[count + k]);
      const double deviation = softplus(s);
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
  std::unique_ptr<StepPolicy> step_policy() const override {
    return std::make_unique<NumberStep>(bias().size(0) / 2);
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
