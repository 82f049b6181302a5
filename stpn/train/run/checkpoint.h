// A checkpoint is one safetensors file, because two files cannot be renamed atomically.
//
//   NAME, adam.mean.NAME, adam.square.NAME   float32, for each parameter of the model
//   rolloutN.NAME                            the state of rollouts (train/algorithms/rollout.h)
//   __metadata__ "stpn"                      JSON: format, the fields of Progress, config (TOML)
//
// It holds no random state: every draw is a function of seed and index (base/random.h).
#pragma once

#include <filesystem>
#include <string>

#include "stpn/train/algorithms/adam.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// Writes the checkpoint completely or not at all. `config` is Experiment::to_toml of the run;
// `rest` is what Trainer::save wrote and becomes part of the file.
void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& model,
                     const Adam& adam, const Progress& progress, const std::string& config,
                     base::Safetensors rest = {});

// Loads a checkpoint into the model and, unless null, the optimiser. Throws base::UserError, with
// nothing changed, if the file is missing, truncated or not a checkpoint, if it belongs to another
// experiment than `config` (options that say when to stop may differ), or if its tensors are not
// those of the model. Unless null, `whole` receives the content of the file, for Trainer::restore.
// Of a run's processes the first reads the file and passes it to the others.
Progress load_checkpoint(const std::filesystem::path& path, torch::nn::Module& model, Adam* adam,
                         const std::string& config, base::Safetensors* whole = nullptr);

}  // namespace stpn::train
