#include "stpn/train/algorithms/sequences/sequence_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "stpn/processes/message.h"

namespace stpn::train {
namespace {

// Copies rows of (R, ...) tensors.
class Rows {
 public:
  explicit Rows(const torch::Tensor& tensor)
      : data_(static_cast<char*>(tensor.data_ptr())),
        size_(tensor.nbytes() / static_cast<size_t>(tensor.size(0))) {}
  void copy(int64_t row, const Rows& from, int64_t from_row) const {
    std::memcpy(data_ + static_cast<size_t>(row) * size_,
                from.data_ + static_cast<size_t>(from_row) * size_, size_);
  }

 private:
  char* data_;
  size_t size_;
};

// (L, B, ...) from (T, E, ...).
torch::Tensor gather(const torch::Tensor& from, const std::vector<Sequence>& sequences) {
  const auto count = static_cast<int64_t>(sequences.size());
  std::vector<int64_t> shape = from.sizes().vec();
  const int64_t environments = shape[1];
  shape[0] = sequences[0].length;
  shape[1] = count;
  torch::Tensor to = torch::empty(shape, from.options());
  const Rows from_rows(from.flatten(0, 1)), to_rows(to.flatten(0, 1));
  for (int64_t t = 0; t < shape[0]; ++t) {
    for (int64_t b = 0; b < count; ++b) {
      const Sequence& sequence = sequences[b];
      to_rows.copy(t * count + b, from_rows,
                   (sequence.begin + t) * environments + sequence.environment);
    }
  }
  return to;
}

}  // namespace

SequenceBatch::SequenceBatch(const tasks::EnvironmentTask& task, const nn::Agent& agent,
                             int64_t steps, int64_t environments, int64_t its_sequence_length)
    : sequence_length(its_sequence_length == 0 ? steps : its_sequence_length) {
  const tasks::ActionSpec& actions = task.actions();
  const auto of_steps = [=](torch::Dtype dtype) {
    return torch::zeros({steps, environments}, dtype);
  };
  observation = torch::zeros(
      {steps, environments, task.observation_size()},
      task.image() != nullptr ? torch::kUInt8 : agent.policy_head().bias().scalar_type());
  if (actions.is_box()) {
    numbers = torch::zeros({steps, environments, actions.numbers()}, torch::kDouble);
  } else {
    choice = of_steps(torch::kInt64);
  }
  for (torch::Tensor* mark : {&reset, &acted, &terminated, &truncated}) {
    *mark = of_steps(torch::kBool);
  }
  for (torch::Tensor* values : {&reward, &log_prob, &advantage, &target}) {
    *values = of_steps(torch::kDouble);
  }
  outputs = torch::zeros({steps, environments, agent.policy_head().bias().size(0)}, torch::kDouble);
  value = torch::zeros({steps + 1, environments}, torch::kDouble);
  const nn::State state = agent.unit().initial_state(environments);
  const int64_t pieces = (steps + sequence_length - 1) / sequence_length;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    nn::State& of_piece = states.emplace_back();
    for (const auto& [name, tensor] : state) of_piece.emplace_back(name, tensor.clone());
  }
}

int64_t SequenceBatch::length_of(int64_t piece) const {
  return std::min(sequence_length, steps() - begin_of(piece));
}

void SequenceBatch::store(int64_t piece, int64_t first, const Acted& played) {
  const torch::NoGradGuard no_grad;
  const Rollout& rollout = played.rollout;
  const int64_t begin = begin_of(piece), count = rollout.acted.size(1);
  const auto put = [&](const torch::Tensor& to, const torch::Tensor& from) {
    to.narrow(0, begin, from.size(0)).narrow(1, first, count).copy_(from);
  };
  put(observation, rollout.observation);
  put(reset, rollout.reset);
  put(choice.defined() ? choice : numbers, rollout.action);
  put(acted, rollout.acted);
  put(terminated, rollout.terminated);
  put(truncated, rollout.truncated);
  put(reward, rollout.reward);
  put(outputs, played.output.policy->outputs());
  put(value, played.output.value);
  for (size_t k = 0; k < states[piece].size(); ++k) {
    const torch::Tensor to = states[piece][k].second.narrow(0, first, count);
    if (rollout.state.empty()) {
      to.zero_();
    } else {
      to.copy_(rollout.state[k].second);
    }
  }
}

template <typename Visit>
void SequenceBatch::visit_stored(bool states_only, const Visit& visit) const {
  for (const nn::State& state : states) {
    for (const auto& [name, tensor] : state) visit(tensor, 0);
  }
  if (states_only) return;
  for (const torch::Tensor& tensor : {observation, reset, choice.defined() ? choice : numbers,
                                      acted, terminated, truncated, reward, outputs, value}) {
    visit(tensor, 1);
  }
}

std::string SequenceBatch::columns(int64_t first, int64_t count, bool states_only) const {
  processes::Writer message;
  visit_stored(states_only, [&](const torch::Tensor& tensor, int64_t dimension) {
    const torch::Tensor part = tensor.narrow(dimension, first, count).contiguous();
    message.text({static_cast<const char*>(part.const_data_ptr()), part.nbytes()});
  });
  return message.take();
}

void SequenceBatch::set_columns(int64_t first, int64_t count, bool states_only,
                                const std::string& bytes) {
  const torch::NoGradGuard no_grad;
  processes::Reader message(bytes);
  visit_stored(states_only, [&](const torch::Tensor& tensor, int64_t dimension) {
    const torch::Tensor to = tensor.narrow(dimension, first, count);
    const torch::Tensor part = torch::empty(to.sizes(), to.options());
    const std::string_view values = message.text();
    STPN_CHECK(values.size() == part.nbytes(), "{} bytes of a rollout have arrived as {}",
               part.nbytes(), values.size());
    if (values.empty()) return;
    std::memcpy(part.data_ptr(), values.data(), values.size());
    to.copy_(part);
  });
}

std::vector<Sequence> SequenceBatch::sequences() const {
  std::vector<Sequence> all;
  for (int64_t e = 0; e < environments(); ++e) {
    for (int64_t piece = 0; piece < pieces(); ++piece) {
      all.push_back({e, piece, begin_of(piece), length_of(piece)});
    }
  }
  return all;
}

nn::UnitInput SequenceBatch::input_of(const std::vector<Sequence>& sequences) const {
  nn::UnitInput input;
  input.x = gather(observation, sequences);
  input.reset = gather(reset, sequences);
  const nn::State& like = states[0];
  for (size_t k = 0; k < like.size(); ++k) {
    std::vector<int64_t> shape = like[k].second.sizes().vec();
    shape[0] = static_cast<int64_t>(sequences.size());
    const torch::Tensor to = torch::empty(shape, like[k].second.options());
    const Rows rows(to);
    for (int64_t b = 0; b < shape[0]; ++b) {
      rows.copy(b, Rows(states[sequences[b].piece][k].second), sequences[b].environment);
    }
    input.state.emplace_back(like[k].first, to);
  }
  return input;
}

nn::PolicyAction SequenceBatch::action_at(int64_t row) const {
  if (choice.defined()) return {.choice = choice.const_data_ptr<int64_t>()[row]};
  return {.numbers = numbers.const_data_ptr<double>() + row * numbers.size(2)};
}

void SequenceBatch::find_advantages(double discount, double gae_lambda, bool truncation_ends) {
  const int64_t T = steps(), E = environments();
  const bool* const has_action = acted.const_data_ptr<bool>();
  const double* const v = value.const_data_ptr<double>();
  double* const A = advantage.data_ptr<double>();
  double* const R = target.data_ptr<double>();
  for (int64_t e = 0; e < E; ++e) {
    double later = 0;  // A_(t+1), or 0 where it belongs to another episode
    for (int64_t t = T - 1; t >= 0; --t) {
      const int64_t k = t * E + e;
      if (!has_action[k]) {
        A[k] = R[k] = later = 0;
        continue;
      }
      const bool ended = terminated.const_data_ptr<bool>()[k] ||
                         (truncation_ends && truncated.const_data_ptr<bool>()[k]);
      const double rest = ended ? 0 : discount * (v[k + E] + gae_lambda * later);
      A[k] = later = reward.const_data_ptr<double>()[k] + rest - v[k];
      R[k] = A[k] + v[k];
    }
  }
}

void SequenceBatch::standardise_advantages() {
  const int64_t T = steps(), E = environments();
  const bool* const has_action = acted.const_data_ptr<bool>();
  double* const A = advantage.data_ptr<double>();
  double sum = 0, count = 0;
  for (int64_t e = 0; e < E; ++e) {
    for (int64_t k = (T - 1) * E + e; k >= 0; k -= E) {
      if (!has_action[k]) continue;
      sum += A[k];
      ++count;
    }
  }
  const double mean = sum / count;
  double squares = 0;
  for (int64_t k = 0; k < T * E; ++k) {
    if (has_action[k]) squares += (A[k] - mean) * (A[k] - mean);
  }
  const double scale = 1 / std::max(1e-4, std::sqrt(squares / count));
  for (int64_t k = 0; k < T * E; ++k) {
    if (has_action[k]) A[k] = (A[k] - mean) * scale;
  }
}

}  // namespace stpn::train
