// The head of an agent that decides: a linear layer on h, whose outputs are the parameters of a
// distribution over actions.
//
// | actions | outputs | distribution |
// | --- | --- | --- |
// | one of n choices | n logits | p = softmax(logits) |
// | d numbers | d means, then d values s | independent normal distributions, deviation softplus(s)
// |
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "stpn/base/random.h"

namespace stpn::nn {

// The distributions at the steps of a batch.
class Policy {
 public:
  explicit Policy(torch::Tensor outputs) : outputs_(std::move(outputs)) {}
  virtual ~Policy() = default;
  const torch::Tensor& outputs() const { return outputs_; }  // (T, B, outputs), of the head
  // The logarithm of the probability, or of its density, of an action, (T, B).
  //   action  (T, B) int64: choices; or (T, B, d) numbers
  virtual torch::Tensor log_prob(const torch::Tensor& action) const = 0;
  // The sum over the choices, or the integral over the numbers, of the squared probability or
  // density, (T, B): smallest where the policy is widest.
  virtual torch::Tensor squared_norm() const = 0;
  virtual torch::Tensor entropy()
      const = 0;  // (T, B), in nats; of numbers the differential entropy

 private:
  torch::Tensor outputs_;
};

// An action as the policy sees it.
struct PolicyAction {
  int64_t choice = 0;
  const double* numbers = nullptr;  // in (d)
};

// What a loss may ask of the distribution at one step.
struct PolicyTerms {
  double log_prob = 0;    // of the action
  double entropy = 0;     // in nats; of numbers the differential entropy
  double divergence = 0;  // Kullback-Leibler, of the old distribution from this one: KL(old || new)
};

// The distribution at one step and its derivatives, without torch: for losses on batches so small
// that calls of torch would take most of the time.
class StepPolicy {
 public:
  virtual ~StepPolicy() = default;
  //   outputs, old  in (outputs): of the head, now and for the old distribution
  virtual PolicyTerms terms(const double* outputs, const double* old,
                            const PolicyAction& action) const = 0;
  // Adds sum over the terms of weights.term * d term / d outputs.
  //   gradient  in and out (outputs)
  virtual void add_gradient(const double* outputs, const double* old, const PolicyAction& action,
                            const PolicyTerms& weights, double* gradient) const = 0;
};

// Draws actions from h without torch, as a closed loop does between two steps of a kernel. A copy
// of the head's parameters at the time when it was made.
class ActionSampler {
 public:
  virtual ~ActionSampler() = default;
  virtual int64_t inputs() const = 0;  // H
  // Returns the choice; or writes the numbers, and returns 0.
  //   h        in (H)
  //   random   the source of the draw; null: the most probable action
  //   numbers  out (d); of choices, not written
  virtual int64_t draw(const float* h, base::Random* random, float* numbers) const = 0;
  virtual int64_t draw(const double* h, base::Random* random, float* numbers) const = 0;
};

class PolicyHead : public torch::nn::Module {
 public:
  // h (T, B, H).
  virtual std::unique_ptr<Policy> forward(const torch::Tensor& h) const = 0;
  virtual std::unique_ptr<ActionSampler> sampler() const = 0;
  virtual std::unique_ptr<StepPolicy> step_policy() const = 0;

  // Weights and bias ~ U(+-1/sqrt(H)); they are `index` and `index` + 1 (uniform_).
  void reset_parameters(uint64_t seed, uint64_t index);

  const torch::Tensor& weight() const { return weight_; }  // (outputs, H)
  const torch::Tensor& bias() const { return bias_; }      // (outputs)

 protected:
  PolicyHead(int64_t hidden_size, int64_t outputs);
  torch::Tensor outputs_of(const torch::Tensor& h) const;

 private:
  torch::Tensor weight_, bias_;
};

// Both throw base::UserError for too few or too many.
std::shared_ptr<PolicyHead> make_choice_head(int64_t hidden_size, int64_t choices);
std::shared_ptr<PolicyHead> make_number_head(int64_t hidden_size, int64_t numbers);

}  // namespace stpn::nn
