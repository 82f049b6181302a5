// Sequences in pieces, with the state carried from one to the next; and batches in shards.
#include <gtest/gtest.h>

#include "stpn/base/random.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/agent_test_support.h"
#include "stpn/train/algorithms/shards.h"
#include "stpn/train/algorithms/supervised/supervised.h"

namespace stpn::train::pieces_test {
namespace {

using tasks::Split;

// Noise with targets of no meaning at one step in four from step 6 on, and sequences of different
// lengths.
class NoiseTask : public tasks::SequenceTask {
 public:
  NoiseTask(int64_t steps, int64_t classes) : steps_(steps), classes_(classes) {}
  int64_t steps() const override { return steps_; }
  int64_t input_size() const override { return 3; }
  int64_t classes() const override { return classes_; }
  int64_t size(Split) const override { return 140; }
  int64_t length(Split, int64_t sequence) const override {
    return steps_ - 2 * (sequence % 3 == 1) - (sequence % 5 == 3);
  }
  void batch(Split split, int64_t first, int64_t count, float* x, int64_t* target) const override {
    for (int64_t b = 0; b < count; ++b) {
      base::Random random(1, tasks::stream_of(split), static_cast<uint64_t>(first + b));
      const int64_t length = this->length(split, first + b);
      for (int64_t t = 0; t < steps_; ++t) {
        for (int64_t i = 0; i < 3; ++i) {
          const auto value = static_cast<float>(random.below(1000)) / 500 - 1;
          x[(t * count + b) * 3 + i] = t < length ? value : 0;
        }
        const auto answer = static_cast<int64_t>(random.below(std::max<int64_t>(2, classes_)));
        const bool asked = t < length && (t == length - 1 || (t >= 6 && random.below(4) == 0));
        target[t * count + b] = asked ? answer : tasks::kNoTarget;
      }
    }
  }
  std::vector<tasks::Baseline> baselines() const override { return {}; }

 private:
  int64_t steps_, classes_;
};

nn::Classifier make_model(const NoiseTask& task, const std::string& unit,
                          const std::vector<std::string>& settings, torch::Dtype dtype) {
  nn::Classifier model(options_of(unit, settings)->make(3), task.classes());
  model.to(dtype);
  uint64_t index = 0;
  for (auto& parameter : model.parameters()) nn::uniform_(parameter, -0.5, 0.5, 3, index++);
  return model;
}

struct UnitCase {
  std::string unit;
  std::vector<std::string> settings;
};
const std::vector<UnitCase> kUnits = {
    {"stpn_recurrent", {"unit.hidden_size=9", "unit.norm=\"pre\""}},
    {"stpn_recurrent", {"unit.hidden_size=27", "unit.norm=\"preactivation\""}},
    {"stpn_feedforward", {"unit.hidden_size=9"}},
    {"backpropamine", {"unit.hidden_size=9"}},
    {"fast_weights", {"unit.hidden_size=9"}},
    {"lstm", {"unit.hidden_size=9"}},
    {"gru", {"unit.hidden_size=9"}},
    {"rnn", {"unit.hidden_size=9"}},
};

TEST(PiecesTest, AStreamInPiecesHasTheOutputsOfOnePieceBitForBit) {
  const ops::KernelThreadsGuard same_bits_for_any_threads;
  const torch::NoGradGuard no_grad;
  const NoiseTask task(5000, 2);
  for (const int64_t batch : {1, 3}) {
    const torch::Tensor x = torch::empty({5000, batch, 3});
    const torch::Tensor target = torch::empty({5000, batch}, torch::kInt64);
    task.batch(Split::test, 0, batch, x.data_ptr<float>(), target.data_ptr<int64_t>());
    for (const UnitCase& unit : kUnits) {
      SCOPED_TRACE(testing::Message()
                   << unit.unit << " " << unit.settings.back() << ", batch " << batch);
      auto model = make_model(task, unit.unit, unit.settings, torch::kFloat);
      const auto whole = model.forward({.x = x, .energy = true});
      ASSERT_TRUE(whole.logits.isfinite().all().item<bool>());
      nn::UnitInput input = {.energy = true};
      for (int64_t begin = 0; begin < 5000; begin += 500) {
        input.x = x.slice(0, begin, begin + 500);
        auto piece = model.forward(input);
        ASSERT_TRUE(piece.logits.equal(whole.logits.slice(0, begin * batch, (begin + 500) * batch)))
            << begin;
        ASSERT_TRUE(piece.energy.equal(whole.energy.slice(0, begin, begin + 500))) << begin;
        input.state = std::move(piece.state);
      }
      for (size_t i = 0; i < whole.state.size(); ++i) {
        EXPECT_TRUE(input.state[i].second.equal(whole.state[i].second)) << whole.state[i].first;
      }
    }
  }
}

// Norm `post` divides F by its norm in the step after the update, and at the end of a call at once,
// so that the last bits differ between a call for all steps and several.
TEST(PiecesTest, NormPostInPiecesHasTheOutputsOfOnePieceUpToRounding) {
  const torch::NoGradGuard no_grad;
  const NoiseTask task(40, 2);
  const torch::Tensor x = torch::empty({40, 3, 3});
  const torch::Tensor target = torch::empty({40, 3}, torch::kInt64);
  task.batch(Split::test, 0, 3, x.data_ptr<float>(), target.data_ptr<int64_t>());
  auto model = make_model(task, "stpn_recurrent", {"unit.hidden_size=9", "unit.norm=\"post\""},
                          torch::kFloat);
  const torch::Tensor whole = model.forward({.x = x}).logits;
  nn::State state;
  for (int64_t begin = 0; begin < 40; begin += 8) {
    auto piece = model.forward({.x = x.slice(0, begin, begin + 8), .state = state});
    EXPECT_TRUE(piece.logits.allclose(whole.slice(0, 3 * begin, 3 * (begin + 8)), 0, 1e-5))
        << begin;
    state = std::move(piece.state);
  }
}

// The gradients of a batch of sequences, one step after the other; `piece` steps after the last cut
// the state is cut off from what came before.
std::vector<torch::Tensor> gradients_of_a_loop(const NoiseTask& task, nn::Classifier& model,
                                               int64_t batch, int64_t begin, int64_t end,
                                               double energy_weight, double* loss) {
  const torch::Tensor x = torch::empty({task.steps(), batch, 3});
  const torch::Tensor target = torch::empty({task.steps(), batch}, torch::kInt64);
  task.batch(Split::training, 0, batch, x.data_ptr<float>(), target.data_ptr<int64_t>());
  nn::State state;
  torch::Tensor sum = torch::zeros({}, torch::kDouble);
  torch::Tensor energy = sum;
  double targets = 0, steps = 0;
  for (int64_t t = 0; t < end; ++t) {
    if (t == begin) {
      for (auto& [name, tensor] : state) tensor = tensor.detach();
    }
    auto output = model.forward(
        {.x = x.slice(0, t, t + 1).to(torch::kDouble), .state = state, .energy = true});
    state = output.state;
    for (int64_t b = 0; b < batch && t >= begin; ++b) {
      if (t >= task.length(Split::training, b)) continue;
      energy = energy + output.energy[0][b].sum();
      ++steps;
    }
    const torch::Tensor asked = target[t].ne(tasks::kNoTarget).nonzero().squeeze(1);
    if (t < begin || asked.numel() == 0) continue;
    targets += static_cast<double>(asked.numel());
    const torch::Tensor answer = target[t].index_select(0, asked).unsqueeze(1);
    const torch::Tensor logits = output.logits.index_select(0, asked);
    const torch::Tensor log_prob =
        task.classes() > 1 ? logits.gather(1, answer) - logits.logsumexp(1, /*keepdim=*/true)
                           : torch::where(answer.eq(1), logits, -logits).sigmoid().log();
    sum = sum - log_prob.sum();
  }
  if (targets == 0 && energy_weight == 0) return {};
  const torch::Tensor mean = sum / std::max(targets, 1.0);
  *loss = mean.item<double>();
  auto gradients = torch::autograd::grad({mean + energy_weight * energy / steps},
                                         model.parameters(), {}, std::nullopt,
                                         /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) gradients[i] = torch::zeros_like(model.parameters()[i]);
  }
  return gradients;
}

TEST(PiecesTest, TruncatedGradientsAreThoseOfALoop) {
  const ops::BackendGuard reference(ops::Backend::reference);
  constexpr int64_t kBatch = kSequencesInShard + 3;  // two shards
  for (const int64_t classes : {1, 4}) {
    const NoiseTask task(13, classes);
    for (const UnitCase& unit : kUnits) {
      SCOPED_TRACE(testing::Message() << unit.unit << ", classes " << classes);
      auto model = make_model(task, unit.unit, unit.settings, torch::kDouble);
      for (const auto& [length, energy_weight] :
           {std::pair(5, 0.0), std::pair(13, 0.0), std::pair(5, 0.02), std::pair(13, 0.02)}) {
        BatchGradient gradient(task, model, kBatch, energy_weight);
        gradient.read(0);
        for (int64_t begin = 0; begin < 13; begin += length) {
          const int64_t end = std::min<int64_t>(begin + length, 13);
          const BatchGradient::Result result = gradient.run(begin, end);
          double loss = 0;
          const auto expected =
              gradients_of_a_loop(task, model, kBatch, begin, end, energy_weight, &loss);
          EXPECT_NEAR(result.loss, loss, 1e-12);
          ASSERT_EQ(result.gradients.size(), expected.size()) << begin;
          for (size_t i = 0; i < expected.size(); ++i) {
            const double scale = expected[i].abs().max().item<double>();
            EXPECT_LE((result.gradients[i] - expected[i]).abs().max().item<double>(), 1e-11 * scale)
                << "parameter " << i << ", steps from " << begin;
          }
        }
      }
    }
  }
}

// The bound is for one sequence's loss: in a batch each is divided by their number.
TEST(PiecesTest, GradientsThroughTheStateAreBounded) {
  constexpr int64_t kBatch = 4;
  const NoiseTask task(13, 4);
  auto model = make_model(task, "stpn_recurrent", kUnits[0].settings, torch::kDouble);
  BatchGradient bounded(task, model, kBatch, 0, {.steps = 5, .most = 1e-3});
  bounded.read(0);
  const auto gradients = bounded.run(0, 13).gradients;
  BatchGradient whole(task, model, kBatch);
  whole.read(0);
  const auto unbounded = whole.run(0, 13).gradients;

  const torch::Tensor x = torch::empty({13, kBatch, 3});
  const torch::Tensor target = torch::empty({13 * kBatch}, torch::kInt64);
  task.batch(Split::training, 0, kBatch, x.data_ptr<float>(), target.data_ptr<int64_t>());
  const nn::UnitOutput output = forward_bounded(model.unit(), {.x = x.to(torch::kDouble)},
                                                {.steps = 5, .most = 1e-3 / kBatch});
  const torch::Tensor mean =
      nn::losses(model.logits(output.y), target).sum() / target.ne(tasks::kNoTarget).sum();
  const auto expected = torch::autograd::grad({mean}, model.parameters());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(gradients[i].allclose(expected[i], 0, 1e-12)) << i;
  }
  EXPECT_FALSE(gradients[0].allclose(unbounded[0], 0, 1e-6));
}

TEST(PiecesTest, APieceWithoutTargetsCarriesTheStateOnly) {
  const NoiseTask task(13, 2);
  auto model = make_model(task, "stpn_recurrent", kUnits[0].settings, torch::kDouble);
  BatchGradient gradient(task, model, 4);
  gradient.read(0);
  const BatchGradient::Result none = gradient.run(0, 6);
  EXPECT_EQ(none.targets, 0);
  EXPECT_EQ(none.loss, 0);
  EXPECT_TRUE(none.gradients.empty());
  const double carried = gradient.run(6, 13).loss;
  gradient.read(0);
  EXPECT_NEAR(gradient.run(0, 13).loss, carried, 1e-12);
  gradient.read(0);
  EXPECT_GT(std::abs(gradient.run(6, 13).loss - carried), 1e-6) << "the state does not matter";
}

TEST(PiecesTest, EvaluationInPiecesIsThatOfWholeSequences) {
  const NoiseTask task(21, 4);
  auto model = make_model(task, "stpn_recurrent", kUnits[0].settings, torch::kFloat);
  const Evaluation whole = evaluate(model, task, Split::test, 80);
  for (const int64_t length : {1, 4, 100}) {
    const Evaluation pieces = evaluate(model, task, Split::test, 80, length);
    EXPECT_EQ(pieces.accuracy, whole.accuracy);
    EXPECT_NEAR(pieces.loss, whole.loss, 1e-12);
    EXPECT_NEAR(pieces.energy_per_step, whole.energy_per_step, 1e-12 * whole.energy_per_step);
  }
}

// Accuracy and loss count each target once, and energy each step up to the end of its sequence.
TEST(PiecesTest, EvaluationCountsTargetsAndSteps) {
  const NoiseTask task(21, 4);
  auto model = make_model(task, "stpn_recurrent", kUnits[0].settings, torch::kFloat);
  const torch::NoGradGuard no_grad;
  double right = 0, targets = 0, loss = 0, energy = 0, steps = 0;
  for (int64_t b = 0; b < 30; ++b) {
    const torch::Tensor x = torch::empty({21, 1, 3});
    const torch::Tensor target = torch::empty({21, 1}, torch::kInt64);
    task.batch(Split::test, b, 1, x.data_ptr<float>(), target.data_ptr<int64_t>());
    const auto output = model.forward({.x = x, .energy = true});
    const int64_t length = task.length(Split::test, b);
    for (int64_t t = 0; t < length; ++t) {
      ++steps;
      energy += output.energy[t].sum().item<double>();
      const auto answer = target[t][0].item<int64_t>();
      if (answer == tasks::kNoTarget) continue;
      const torch::Tensor logits = output.logits[t].to(torch::kDouble);
      ++targets;
      right += logits.argmax().item<int64_t>() == answer;
      loss += (logits.logsumexp(0) - logits[answer]).item<double>();
    }
  }
  const Evaluation result = evaluate(model, task, Split::test, 30);
  EXPECT_DOUBLE_EQ(result.accuracy, right / targets);
  EXPECT_NEAR(result.loss, loss / targets, 1e-5);
  EXPECT_NEAR(result.energy_per_step, energy / steps, 1e-5 * energy / steps);
  EXPECT_NEAR(result.energy_per_sequence, energy / 30, 1e-5 * energy / 30);
}

TEST(PiecesTest, TrainerUpdatesAfterEveryPieceWithTargets) {
  const NoiseTask task(20, 3);
  const auto steps_after_an_epoch = [&](int64_t piece_length) {
    auto model = make_model(task, "rnn", {"unit.hidden_size=3"}, torch::kFloat);
    Adam adam(model.parameters(), 1e-3);
    EpochTrainer(task, model, adam, {.batch_size = 70, .piece_length = piece_length})
        .train(1, [](int64_t) {});
    return adam.steps();
  };
  EXPECT_EQ(steps_after_an_epoch(0), 2);
  EXPECT_EQ(steps_after_an_epoch(20), 2);
  EXPECT_EQ(steps_after_an_epoch(5), 2 * 3);  // steps 0 to 4 have no targets
}

TEST(PiecesTest, SumOfShardsDoesNotDependOnTheThreads) {
  const NoiseTask task(13, 4);
  const auto gradients = [&](int threads) {
    torch::set_num_threads(threads);
    const ops::KernelThreadsGuard guard;
    auto model = make_model(task, "stpn_recurrent", kUnits[0].settings, torch::kFloat);
    BatchGradient gradient(task, model, 140);
    gradient.read(0);
    return gradient.run(0, 13).gradients;
  };
  const int threads = torch::get_num_threads();
  const auto one = gradients(1), two = gradients(2);
  torch::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(two[i])) << i;
}

}  // namespace
}  // namespace stpn::train::pieces_test
