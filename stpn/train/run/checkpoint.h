// A checkpoint: one safetensors file, because two files cannot be renamed at once.
//
//   NAME, adam.mean.NAME, adam.square.NAME   float32, for each parameter of the model
//   SLOTS.NAME                               where fragments of episodes go on (train/rollout.h)
//   __metadata__ "stpn"                      JSON: format, the fields of Progress, config (TOML)
//
// There is no random state to keep: every draw is a function of seed and index (base/random.h).
#pragma once

#include <filesystem>
#include <string>

#include "stpn/train/algorithms/adam.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// Writes the checkpoint whole or not at all. `config` is Experiment::to_toml of the run; `rest`,
// Trainer::save, goes in beside it.
void save_checkpoint(const std::filesystem::path& path, const torch::nn::Module& model,
                     const Adam& adam, const Progress& progress, const std::string& config,
                     base::Safetensors rest = {});

// Puts a checkpoint into the model and, unless null, the optimiser. Throws base::UserError, with
// nothing changed, if the file is missing, truncated, no checkpoint of ours, of another experiment
// than `config` (when to stop may differ), or its tensors are not the model's. Unless null, `whole`
// gets all that is in the file, for Trainer::restore.
Progress load_checkpoint(const std::filesystem::path& path, torch::nn::Module& model, Adam* adam,
                         const std::string& config, base::Safetensors* whole = nullptr);

}  // namespace stpn::train
