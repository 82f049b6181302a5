// Supervised training on a fixed data set: cross-entropy and Adam, with batches in a fixed order.
//
// Long sequences may be cut into pieces (truncated backpropagation through time): the state is
// carried from a piece to the next, each piece with targets gives an update, and no gradient
// reaches back beyond its beginning.
//
// Of an endless task every pass may take new sequences. A curriculum raises the difficulty of the
// task by one whenever the model has solved it.
//
// As published (Garcia Rodriguez, Guo, Moraitis, ICML 2022, associative retrieval): every epoch
// takes batches 0, 1, 2, ... of the training set in the same order and leaves out an incomplete
// last one. The curriculum is that of Tyulmankov, Yang, Abbott (Neuron 110, 2022), who take the
// accuracy in training for what is here that on the validation split. Difference from the published
// code: validation and test run over all sequences, where the published code leaves out an
// incomplete last batch too.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/classifier.h"
#include "stpn/tasks/sequence_task.h"
#include "stpn/train/algorithms/adam.h"
#include "stpn/train/algorithms/bounded_state/bounded_state.h"
#include "stpn/train/algorithms/supervised/evaluation.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

struct SupervisedOptions : TrainerOptions {
  int64_t most_epochs = 200;
  int64_t passes = 1;
  bool new_data = false;
  int64_t batch_size = 128;
  int64_t piece_length = 0;
  double learning_rate = 1e-3;
  int64_t warm_up_steps = 0;
  double max_grad_norm = std::numeric_limits<double>::infinity();
  StateGradientBound state_gradient = {};
  double energy_weight = 0;
  int64_t patience = 0;
  double target_accuracy = std::numeric_limits<double>::infinity();
  double solved_accuracy = std::numeric_limits<double>::infinity();
  int64_t hardest = 0;

  bool has_curriculum() const { return std::isfinite(solved_accuracy); }
  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return most_epochs; }
  std::string limits() const override {
    return "train.epochs, train.patience or train.target_accuracy";
  }
  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

// The task and the newly initialised model of an experiment with these options.
std::unique_ptr<tasks::SequenceTask> make_task(const tasks::TaskOptions& task, int64_t seed);
std::shared_ptr<nn::Classifier> make_classifier(const nn::UnitOptions& unit,
                                                const tasks::SequenceTask& task, int64_t seed);

// The gradient of the mean loss over the targets of a batch, or of a piece of it, and of
// `energy_weight` times the mean energy of a step, as Evaluation has it. `state_gradient` is about
// the gradient of a sequence's share times the sequences of a batch, so that it suits any number.
class BatchGradient {
 public:
  // The model is of float or double. Task and model must outlive this object.
  BatchGradient(const tasks::SequenceTask& task, nn::Classifier& model, int64_t batch_size,
                double energy_weight = 0, const StateGradientBound& state_gradient = {});

  // Reads sequences first .. first+batch_size-1 of the training split. Their state is zero.
  void read(int64_t first);
  // Runs steps [begin, end) of them on from the state that the last call left; state and gradients
  // stop at `begin`.
  struct Result {
    int64_t targets = 0;
    double loss = 0;                       // the mean, without the energy
    std::vector<torch::Tensor> gradients;  // none without targets and energy_weight
  };
  Result run(int64_t begin, int64_t end);

 private:
  struct Shard {
    int64_t first, size;     // sequences of the batch
    torch::Tensor x;         // (T, size, I)
    torch::Tensor target;    // (T size), in the order of (T, size)
    torch::Tensor past_end;  // (T, size) bool; undefined if all have T steps or energy_weight is 0
    nn::State state;
  };
  const tasks::SequenceTask& task_;
  nn::Classifier& model_;
  const std::vector<torch::Tensor> parameters_, of_unit_;  // of the model, and of its unit
  const double energy_weight_;
  StateGradientBound state_gradient_;
  int64_t shard_count_;        // in all processes
  std::vector<Shard> shards_;  // of this one
};

// How an epoch goes over the training set.
struct EpochOptions {
  int64_t batch_size = 128;
  int64_t piece_length = 0;  // steps; 0: whole sequences
  double energy_weight = 0;
  double learning_rate = 1e-3;
  int64_t warm_up_steps = 0;
  double max_grad_norm = std::numeric_limits<double>::infinity();
  StateGradientBound state_gradient = {};
  int64_t passes = 1;
  bool new_data = false;  // each pass takes the sequences after those of the pass before
};

// Trains a model, one epoch per call. Task, model and optimiser must outlive this object.
class EpochTrainer {
 public:
  // Throws base::UserError if the training set has fewer sequences than a batch, or if there are no
  // new ones.
  EpochTrainer(const tasks::SequenceTask& task, nn::Classifier& model, Adam& adam,
               const EpochOptions& options);

  int64_t batches() const { return options_.passes * batches_; }  // of an epoch

  // Trains for epoch 1, 2, ... and returns the mean loss of the pieces with targets. after_batch(n)
  // is called when n batches are done. Throws NonFiniteLoss before the parameters are updated if
  // the loss or a gradient is not finite.
  double train(int64_t epoch, const std::function<void(int64_t)>& after_batch);

 private:
  // The sum of the losses of pieces with targets, and how many there are.
  struct Losses {
    double sum = 0;
    int64_t pieces = 0;
  };
  // Trains on the sequences from `first` on. `where` says which batch that is, for messages.
  void train_batch(int64_t first, const std::string& where, Losses& losses);

  // Sets the learning rate of the next update.
  void warm_up();

  const tasks::SequenceTask& task_;
  nn::Classifier& model_;
  Adam& adam_;
  const EpochOptions options_;
  const int64_t batches_;  // of a pass
  BatchGradient gradient_;
};

}  // namespace stpn::train
