// What an iteration learns from: T steps of E environments, and how they are cut into sequences.
//
// Every `sequence_length` steps a sequence begins, with the state that the unit had there when the
// steps were played. An episode that ends inside a sequence resets the state, and no gradient
// crosses that point; so sequences need no padding, whatever the lengths of the episodes.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "stpn/nn/models/agent.h"
#include "stpn/tasks/environment.h"
#include "stpn/train/algorithms/actor.h"

namespace stpn::train {

struct Sequence {
  int64_t environment = 0;
  int64_t piece = 0;  // of the T steps: its states are those before the sequence
  int64_t begin = 0;  // step
  int64_t length = 0;
};
using Minibatch = std::vector<Sequence>;

// All tensors are on the CPU and dense.
struct SequenceBatch {
  // Zeros. `sequence_length` 0: T.
  SequenceBatch(const tasks::EnvironmentTask& task, const nn::Agent& agent, int64_t steps,
                int64_t environments, int64_t sequence_length);

  int64_t steps() const { return acted.size(0); }
  int64_t environments() const { return acted.size(1); }
  int64_t pieces() const { return static_cast<int64_t>(states.size()); }
  int64_t begin_of(int64_t piece) const { return piece * sequence_length; }
  int64_t length_of(int64_t piece) const;

  // Takes the steps that environments first, first+1 ... have acted in a piece. Different
  // environments may be stored at the same time.
  void store(int64_t piece, int64_t first, const Acted& played);

  // What was stored of environments first .. first+count-1, or the states alone, as a message to
  // another process, which has it in its batch after `set_columns`.
  std::string columns(int64_t first, int64_t count, bool states_only) const;
  void set_columns(int64_t first, int64_t count, bool states_only, const std::string& message);

  // All sequences, in the order of environment and step.
  std::vector<Sequence> sequences() const;
  // The unit's input for sequences of one length. REQUIRES: there is at least one.
  nn::UnitInput input_of(const std::vector<Sequence>& sequences) const;

  // Writes advantage and target: with reward r, value v and the last row of v the bootstrap value,
  //   d_t = r_t + discount v_(t+1) - v_t, without v_(t+1) where the action ended the episode
  //   A_t = d_t + discount gae_lambda A_(t+1), without A_(t+1) where the episode ended
  //   target_t = A_t + v_t
  // `truncation_ends`: an action after which the episode is truncated ended it. Schulman et al.,
  // High-dimensional continuous control using generalized advantage estimation, ICLR 2016.
  void find_advantages(double discount, double gae_lambda, bool truncation_ends);
  // Subtracts the mean of the advantages and divides them by their standard deviation, or by 1e-4
  // if that is more.
  void standardise_advantages();

  // At step `row` of (T, E).
  nn::PolicyAction action_at(int64_t row) const;

  // Calls visit(tensor, dimension of the environments) for what `store` writes.
  template <typename Visit>
  void visit_stored(bool states_only, const Visit& visit) const;

  int64_t sequence_length;
  torch::Tensor observation;            // (T, E, I), of the dtype of the model, or uint8 (Rollout)
  torch::Tensor reset;                  // (T, E) bool
  torch::Tensor choice;                 // (T, E) int64; undefined for numbers
  torch::Tensor numbers;                // (T, E, d) double; undefined for choices
  torch::Tensor acted;                  // (T, E) bool
  torch::Tensor terminated, truncated;  // (T, E) bool
  torch::Tensor reward;                 // (T, E) double
  torch::Tensor outputs;                // (T, E, outputs) double, of the policy head
  torch::Tensor value;                  // (T + 1, E) double
  torch::Tensor log_prob;               // (T, E) double, of the action when it was drawn
  torch::Tensor advantage, target;      // (T, E) double; 0 without an action
  std::vector<nn::State> states;        // by piece: of all environments before it
};

}  // namespace stpn::train
