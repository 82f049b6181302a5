// Supervised training on a fixed data set: cross-entropy and Adam, with batches in a fixed order.
//
// As published (Garcia Rodriguez, Guo, Moraitis, ICML 2022, associative retrieval): every epoch
// takes batches 0, 1, 2, ... of the training set in the same order and leaves out an incomplete
// last one. Difference from the published code: validation and test run over all sequences, where
// the published code leaves out an incomplete last batch too.
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

// The task and the newly initialised model of an experiment with these options.
std::unique_ptr<tasks::SequenceTask> make_task(const tasks::TaskOptions& task, int64_t seed);
std::shared_ptr<nn::Classifier> make_classifier(const nn::UnitOptions& unit,
                                                const tasks::SequenceTask& task, int64_t seed);

// Means over the sequences of a split. Energy is summed over neurons; energy_per_sequence also over
// time steps.
struct Evaluation {
  double accuracy = 0;
  double loss = 0;
  double energy_per_step = 0;
  double energy_per_sequence = 0;
};

// Evaluates the first `count` sequences of a split. REQUIRES: 0 < count <= task.size(split).
Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count);

// Trains a float32 model, one epoch per call. Task, model and optimiser must outlive this object.
class EpochTrainer {
 public:
  // Throws base::UserError if the training set has fewer sequences than a batch.
  EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
               int64_t batch_size);

  int64_t batches() const { return batches_; }  // of an epoch

  // Makes one pass over the training set and returns the mean loss. `epoch` is for messages;
  // after_batch(n) is called when n batches are done. Throws NonFiniteLoss before the parameters
  // are updated with such a loss.
  double train(int64_t epoch, const std::function<void(int64_t)>& after_batch);

 private:
  const tasks::SequenceTask& task_;
  nn::Classifier& model_;
  Adam& adam_;
  int64_t batch_size_;
  int64_t batches_;
  torch::Tensor x_;       // (T, B, I), overwritten by every batch
  torch::Tensor target_;  // (B)
};

}  // namespace stpn::train
