// A checkpoint: one safetensors file, because two files cannot be renamed at once.
//
//   NAME, adam.mean.NAME, adam.square.NAME   float32, for each parameter of the model
//   __metadata__ "stpn"                      JSON: format, the fields of Progress, config (TOML)
//
// There is no random state to keep: every draw is a function of seed and index (base/random.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "stpn/nn/models/classifier.h"
#include "stpn/train/adam.h"

namespace stpn::train {

// How far a run has come.
struct Progress {
  int64_t epoch = 0;  // epochs done
  int64_t step = 0;   // optimiser steps done
  int64_t best_epoch = 0;
  double best_accuracy = -1;  // validation accuracy after best_epoch
  int64_t metrics_bytes = 0;  // length of metrics.jsonl after `epoch` epochs
  double wall_seconds = 0;
};

// Writes the checkpoint whole or not at all. `config` is Experiment::to_toml of the run.
void save_checkpoint(const std::filesystem::path& path, const nn::Classifier& model,
                     const Adam& adam, const Progress& progress, const std::string& config);

// Puts a checkpoint into the model and, unless null, the optimiser. Throws base::UserError, with
// nothing changed, if the file is missing, truncated, no checkpoint of ours, of another experiment
// than `config` (train.epochs may differ), or its tensors are not the model's.
Progress load_checkpoint(const std::filesystem::path& path, nn::Classifier& model, Adam* adam,
                         const std::string& config);

}  // namespace stpn::train
