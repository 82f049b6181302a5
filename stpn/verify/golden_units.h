// How the units of golden files map onto ours: one adapter per unit, in one table.
#pragma once

#include <torch/torch.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/unit.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/verify/golden_file.h"

namespace stpn::verify {

// A parameter of the file: these parameters of the unit, concatenated along the last dimension, and
// then transposed if `transposed`.
struct GoldenParameter {
  std::string name;
  std::vector<std::string> parts;
  bool transposed = false;
};

// A way to run the unit, and the tolerance of its results.
struct GoldenRun {
  std::string backend_name;
  ops::Backend backend;
  torch::Dtype dtype;
  double tolerance;
};

struct GoldenUnit {
  std::shared_ptr<nn::Unit> unit;
  std::vector<GoldenParameter> parameters;  // parameters of the unit in none of them are zero
  std::map<std::string, std::string> state_names;  // ours to the file's, where they differ
  // Parameters that the file has and its equations do not use: they have no gradient.
  std::map<std::string, std::vector<int64_t>> unused;
  std::vector<GoldenRun> runs;
};

// The unit and variant that the file's config asks for. Throws base::UserError if there is no such
// unit or the config has a switch, or a value of one, that the unit does not have.
GoldenUnit make_golden_unit(GoldenFile& file);

}  // namespace stpn::verify
