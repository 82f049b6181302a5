#include "stpn/train/algorithms/supervised/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "stpn/processes/group.h"
#include "stpn/train/algorithms/run_shards.h"
#include "stpn/train/algorithms/shards.h"
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

struct PartCount {
  int64_t targets = 0, right = 0;
};

// The numbers of an evaluation batch (ShardResult): these, the two counts of each part of the
// task, the losses of its pieces that have any, and the energies of its pieces. Counts are exact.
enum Number { kCorrect, kTargets, kSteps, kYes, kNo, kHits, kFalseAlarms, kPieces, kValues };

ShardResult numbers_of(int64_t correct, int64_t targets, int64_t steps, const nn::YesCounts& yes,
                       const std::vector<PartCount>& parts, const std::vector<double>& losses,
                       const std::vector<double>& energies) {
  ShardResult result;
  for (const int64_t count : {correct, targets, steps, yes.yes, yes.no, yes.hits, yes.false_alarms,
                              static_cast<int64_t>(losses.size())}) {
    result.numbers.push_back(static_cast<double>(count));
  }
  for (const PartCount& part : parts) {
    result.numbers.push_back(static_cast<double>(part.targets));
    result.numbers.push_back(static_cast<double>(part.right));
  }
  result.numbers.insert(result.numbers.end(), losses.begin(), losses.end());
  result.numbers.insert(result.numbers.end(), energies.begin(), energies.end());
  return result;
}

void add(nn::YesCounts& sum, const nn::YesCounts& part) {
  sum.yes += part.yes;
  sum.no += part.no;
  sum.hits += part.hits;
  sum.false_alarms += part.false_alarms;
}

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
  const std::vector<tasks::Part> parts = task.parts();
  const int64_t batch = batch_of(task);
  const int64_t batches = shards_of(count, batch);
  const processes::Share share = processes::group().share(batches);
  std::vector<ShardResult> of_share;
  for (int64_t i = share.begin; i < share.end; ++i) {
    // One after the other, for their memory: each has all threads of the kernels.
    int64_t correct = 0, targets = 0;
    nn::YesCounts yes;
    std::vector<PartCount> part_counts(parts.size());
    std::vector<double> losses, energies;  // of the pieces
    const int64_t first = i * batch;
    const int64_t size = std::min(batch, count - first);
    const torch::Tensor x = torch::empty({T, size, task.input_size()});
    const torch::Tensor target = torch::empty({T * size}, torch::kInt64);
    task.batch(split, first, size, x.data_ptr<float>(), target.data_ptr<int64_t>());
    const torch::Tensor past_end = past_end_of(task, split, first, size);
    const int64_t steps = steps_in(past_end, size, 0, T);
    nn::UnitInput input = {.energy = true};
    for (int64_t begin = 0, end; begin < T; begin = end) {
      end = end_of_piece(begin, piece_length, T);
      input.x = x.slice(0, begin, end);
      input.wants_state = end < T;
      const Asked asked = asked_in(target, size, begin, end);
      nn::Classifier::Output output = model.forward(input, asked.first_step);
      if (asked.targets > 0) {
        const torch::Tensor answered =
            target.slice(0, (begin + asked.first_step) * size, end * size);
        correct += nn::count_right(output.logits, answered);
        losses.push_back(sum_in_order(nn::losses(output.logits, answered)));
        targets += asked.targets;
        if (yes_or_no) add(yes, nn::count_yes(output.logits, answered));
        for (size_t i = 0; i < parts.size(); ++i) {
          add_part(part_counts[i], parts[i], output.logits, answered);
        }
      }
      energies.push_back(sum_in_order(up_to_end(output.energy, past_end, begin, end)));
      input.state = std::move(output.state);
    }
    of_share.push_back(numbers_of(correct, targets, steps, yes, part_counts, losses, energies));
  }
  const ShardResults all = add_up(batches, std::move(of_share));
  double loss = 0, energy = 0;
  for (const std::vector<double>& numbers : all.numbers) {
    const size_t first_loss = kValues + 2 * parts.size();
    const size_t first_energy = first_loss + static_cast<size_t>(numbers[kPieces]);
    for (size_t k = first_loss; k < first_energy; ++k) loss += numbers[k];
    for (size_t k = first_energy; k < numbers.size(); ++k) energy += numbers[k];
  }
  const double targets = all.sum_of(kTargets);
  std::vector<std::pair<std::string, double>> part_accuracies;
  for (size_t i = 0; i < parts.size(); ++i) {
    part_accuracies.emplace_back(parts[i].name,
                                 all.sum_of(kValues + 2 * i + 1) / all.sum_of(kValues + 2 * i));
  }
  return {.accuracy = all.sum_of(kCorrect) / targets,
          .loss = loss / targets,
          .energy_per_step = energy / all.sum_of(kSteps),
          .energy_per_sequence = energy / static_cast<double>(count),
          .true_positive_rate = all.sum_of(kHits) / all.sum_of(kYes),
          .false_positive_rate = all.sum_of(kFalseAlarms) / all.sum_of(kNo),
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
