#include "stpn/train/algorithms/supervised/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "stpn/train/algorithms/supervised/steps.h"

namespace stpn::train {
namespace {

// Sequences in an evaluation batch: enough to fill the vector units, few enough for long sequences
// to fit into memory.
constexpr int64_t kEvaluationBatch = 500;
constexpr int64_t kInputsOfBatch = int64_t{1} << 25;  // 128 MiB

int64_t batch_of(const tasks::SequenceTask& task) {
  const int64_t fit = kInputsOfBatch / (task.steps() * task.input_size());
  return std::clamp<int64_t>(fit, 1, kEvaluationBatch);
}

// Replaces at::sum, whose order of summation depends on the number of threads.
double sum_in_order(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.contiguous();
  const float* first = values.data_ptr<float>();
  double sum = 0;
  for (const float* value = first; value != first + values.numel(); ++value) sum += *value;
  return sum;
}

void add(nn::YesCounts& sum, const nn::YesCounts& part) {
  sum.yes += part.yes;
  sum.no += part.no;
  sum.hits += part.hits;
  sum.false_alarms += part.false_alarms;
}

// NaN without any.
double share(int64_t part, int64_t all) {
  return static_cast<double>(part) / static_cast<double>(all);
}

struct PartCount {
  int64_t targets = 0, right = 0;
};

// Counts the targets of a part, and which of them are answered right.
void add_part(PartCount& count, const tasks::Part& part, const torch::Tensor& logits,
              const torch::Tensor& targets) {
  const torch::Tensor rows =
      targets.ge(part.first).logical_and(targets.lt(part.end)).nonzero().squeeze(1);
  count.targets += rows.size(0);
  count.right += nn::count_right(logits.index_select(0, rows), targets.index_select(0, rows));
}

bool tells_apart(const Evaluation& result) {
  return result.true_positive_rate > result.false_positive_rate;
}

}  // namespace

Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count, int64_t piece_length) {
  const torch::NoGradGuard no_grad;
  const int64_t T = task.steps();
  const bool yes_or_no = task.classes() == 1;
  int64_t correct = 0, targets = 0, steps = 0;
  nn::YesCounts yes;
  const std::vector<tasks::Part> parts = task.parts();
  std::vector<PartCount> part_counts(parts.size());
  double loss = 0;
  double energy = 0;
  const int64_t batch = batch_of(task);
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t size = std::min(batch, count - first);
    const torch::Tensor x = torch::empty({T, size, task.input_size()});
    const torch::Tensor target = torch::empty({T * size}, torch::kInt64);
    task.batch(split, first, size, x.data_ptr<float>(), target.data_ptr<int64_t>());
    const torch::Tensor past_end = past_end_of(task, split, first, size);
    steps += steps_in(past_end, size, 0, T);
    nn::UnitInput input = {.energy = true};
    for (int64_t begin = 0, end; begin < T; begin = end) {
      end = end_of_piece(begin, piece_length, T);
      input.x = x.slice(0, begin, end);
      const Asked asked = asked_in(target, size, begin, end);
      nn::Classifier::Output output = model.forward(input, asked.first_step);
      if (asked.targets > 0) {
        const torch::Tensor answered =
            target.slice(0, (begin + asked.first_step) * size, end * size);
        correct += nn::count_right(output.logits, answered);
        loss += sum_in_order(nn::losses(output.logits, answered));
        targets += asked.targets;
        if (yes_or_no) add(yes, nn::count_yes(output.logits, answered));
        for (size_t i = 0; i < parts.size(); ++i) {
          add_part(part_counts[i], parts[i], output.logits, answered);
        }
      }
      energy += sum_in_order(up_to_end(output.energy, past_end, begin, end));
      input.state = std::move(output.state);
    }
  }
  const auto all = static_cast<double>(targets);
  std::vector<std::pair<std::string, double>> part_accuracies;
  for (size_t i = 0; i < parts.size(); ++i) {
    part_accuracies.emplace_back(parts[i].name,
                                 share(part_counts[i].right, part_counts[i].targets));
  }
  return {.accuracy = static_cast<double>(correct) / all,
          .loss = loss / all,
          .energy_per_step = energy / static_cast<double>(steps),
          .energy_per_sequence = energy / static_cast<double>(count),
          .true_positive_rate = share(yes.hits, yes.yes),
          .false_positive_rate = share(yes.false_alarms, yes.no),
          .parts = std::move(part_accuracies)};
}

Metrics accuracies(const std::string& split, const Evaluation& evaluation) {
  Metrics metrics = {{split + "_accuracy", evaluation.accuracy}};
  for (const auto& [part, accuracy] : evaluation.parts) {
    metrics.emplace_back(split + "_" + part + "_accuracy", accuracy);
  }
  return metrics;
}

std::vector<AtDifficulty> sweep(nn::Classifier& model, const tasks::SequenceTask& task,
                                int64_t count, int64_t piece_length) {
  std::vector<AtDifficulty> results;
  const auto difficulty = task.difficulty();
  if (!difficulty) return results;
  // Returns whether the task exists at this difficulty and the model tells yes from no there.
  const auto test = [&](int64_t value) {
    const auto at = task.at_difficulty(value);
    if (at == nullptr) return false;
    results.push_back({value, evaluate(model, *at, tasks::Split::test, count, piece_length)});
    return tells_apart(results.back().result);
  };
  std::vector<int64_t> wanted = difficulty->compared;
  if (task.classes() == 1) {
    int64_t least_end = difficulty->value;
    for (const int64_t value : wanted) least_end = std::max(least_end, value);
    for (int64_t value = 1; test(value) || value < least_end;) value = (13 * value + 9) / 10;
  } else {
    wanted.push_back(difficulty->value);
  }
  for (const int64_t value : wanted) {
    const auto is_value = [&](const AtDifficulty& at) { return at.difficulty == value; };
    if (std::none_of(results.begin(), results.end(), is_value)) test(value);
  }
  std::sort(results.begin(), results.end(), [](const AtDifficulty& a, const AtDifficulty& b) {
    return a.difficulty < b.difficulty;
  });
  return results;
}

Metrics test_metrics(nn::Classifier& model, const tasks::SequenceTask& task, int64_t count,
                     int64_t piece_length) {
  const Evaluation test = evaluate(model, task, tasks::Split::test, count, piece_length);
  Metrics metrics = accuracies("test", test);
  metrics.emplace_back("test_loss", test.loss);
  metrics.emplace_back("energy_per_step", test.energy_per_step);
  metrics.emplace_back("energy_per_sequence", test.energy_per_sequence);
  const auto add_rates = [&](const Evaluation& result, Metrics& to) {
    if (task.classes() > 1) return;
    to.emplace_back("test_true_positive_rate", result.true_positive_rate);
    to.emplace_back("test_false_positive_rate", result.false_positive_rate);
  };
  add_rates(test, metrics);
  for (const auto& [value, result] : sweep(model, task, count, piece_length)) {
    Metrics at = accuracies("test", result);
    add_rates(result, at);
    for (const auto& [name, measure] : at) {
      metrics.emplace_back(fmt::format("{}_{}_{}", name, task.difficulty()->name, value), measure);
    }
  }
  return metrics;
}

}  // namespace stpn::train
