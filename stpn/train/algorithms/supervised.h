// Supervised training on a fixed data set: batches in fixed order, cross-entropy, Adam.
//
// Garcia Rodriguez, Guo, Moraitis, ICML 2022, associative retrieval, as published: batches 0, 1, 2,
// ... of the training set in the same order every epoch, an incomplete last one left out. Deviation
// from the published code: validation and test run over every sequence; there they leave out the
// incomplete last batch too.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/classifier.h"
#include "stpn/tasks/sequence_task.h"
#include "stpn/train/algorithms/adam.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

struct SupervisedOptions : TrainerOptions {
  int64_t most_epochs = 200;
  int64_t batch_size = 128;
  double learning_rate = 1e-3;
  int64_t patience = 0;
  double target_accuracy = std::numeric_limits<double>::infinity();

  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return most_epochs; }
  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

// The task and the freshly drawn model of an experiment with these options.
std::unique_ptr<tasks::SequenceTask> make_task(const tasks::TaskOptions& task, int64_t seed);
std::shared_ptr<nn::Classifier> make_classifier(const nn::UnitOptions& unit,
                                                const tasks::SequenceTask& task, int64_t seed);

// Means over the sequences of a split. Energy is summed over neurons; of a sequence, also over its
// steps.
struct Evaluation {
  double accuracy = 0;
  double loss = 0;
  double energy_per_step = 0;
  double energy_per_sequence = 0;
};

// Over the first `count` sequences of a split. REQUIRES: 0 < count <= task.size(split).
Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count);

// Trains a float32 model, an epoch at a time. Task, model and optimiser must outlive it.
class EpochTrainer {
 public:
  // Throws base::UserError if the training set does not fill one batch.
  EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
               int64_t batch_size);

  int64_t batches() const { return batches_; }  // an epoch

  // One pass over the training set; returns the mean loss. `epoch` is for messages;
  // `after_batch(n)` is called when n batches are done. Throws NonFiniteLoss before such a loss
  // reaches the parameters.
  double train(int64_t epoch, const std::function<void(int64_t)>& after_batch);

 private:
  const tasks::SequenceTask& task_;
  nn::Classifier& model_;
  Adam& adam_;
  int64_t batch_size_;
  int64_t batches_;
  torch::Tensor x_;       // (T, B, I), filled anew for every batch
  torch::Tensor target_;  // (B)
};

}  // namespace stpn::train
