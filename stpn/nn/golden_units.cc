#include "stpn/nn/golden_units.h"

#include <fmt/format.h>

#include "stpn/kernels/stpn_recurrent.h"
#include "stpn/nn/lstm.h"
#include "stpn/nn/rnn.h"
#include "stpn/nn/stpn_recurrent.h"
#include "stpn/nn/tolerances.h"

namespace stpn::nn {
namespace {

void add_runs(GoldenUnit& golden, const std::string& name, Backend backend) {
  golden.runs.push_back({name, backend, torch::kDouble, kGoldenDoubleTolerance});
  golden.runs.push_back({name, backend, torch::kFloat, kGoldenFloatTolerance});
}

// The file's norm of G is our norm of the same kind that its norm of F is.
std::string norm_of(GoldenFile& file) {
  const auto weights = file.config.choice("weight_norm", {{"null", "null"}, {"G", "\"G\""}});
  const auto norm =
      file.config.choice("fast_weight_norm", {{"null", "none"}, {"pre", "pre"}, {"post", "post"}});
  if ((weights == "null") != (norm == "none")) {
    file.fail(fmt::format(
        "config.weight_norm {} with fast_weight_norm {} is not a variant of {}: it has \"G\" with "
        "\"pre\" or \"post\", or null with null",
        weights, norm == "none" ? "null" : '"' + norm + '"', file.unit));
  }
  return norm;
}

// The file does not say whether the rates of the plastic bias are one in all; their size does.
std::string bias_rates_of(const GoldenFile& file) {
  const auto found = file.params.find("bias_lambda");
  return found != file.params.end() && found->second.numel() == 1 ? "scalar" : "unit";
}

GoldenUnit make_stpn_recurrent(GoldenFile& file) {
  GoldenConfig& config = file.config;
  StpnRecurrentOptions options;
  options.hidden_size = file.hidden_size;
  options.norm = norm_of(file);
  if (const auto clamp = config.bound("clamp")) options.clamp = *clamp;
  options.connections =
      config.choice("connections", {{"all", "all"}, {"input", "input"}, {"hidden", "recurrent"}});
  options.rule = config.choice("rule", {{"hebb", "hebb"}, {"oja", "oja"}});
  options.decay = config.choice(
      "decay", {{"before_update", "before_update"}, {"after_update", "after_update"}});
  options.presynaptic = config.choice("hebbian_presynaptic_hidden",
                                      {{"previous", "previous"}, {"current", "current"}});
  options.activation = config.choice(
      "activation",
      {{"tanh", "tanh"}, {"sigmoid", "sigmoid"}, {"relu", "relu"}, {"identity", "identity"}});
  options.rates = config.choice("plasticity_parameters", {{"matrix", "synapse"},
                                                          {"scalar", "scalar"},
                                                          {"per_input", "source"},
                                                          {"per input", "source"},
                                                          {"per_source", "source"}});
  options.bias = config.flag("bias");
  options.layer_norm = config.flag("layer_norm");
  options.plastic_bias = config.flag("plastic_bias");
  if (options.plastic_bias) options.bias_rates = bias_rates_of(file);
  config.choice("fixed", {{"null", ""}});

  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  for (const auto& item : golden.unit->named_parameters()) {
    const std::string& name = item.key();
    const bool dotted = name == "layer_norm_weight" || name == "layer_norm_bias";
    golden.parameters.push_back({dotted ? "layer_norm." + name.substr(11) : name, {name}});
  }
  if (file.initial_state.count("bias")) golden.state_names["beta"] = "bias";
  add_runs(golden, "reference", Backend::reference);
  if (kernels::stpn_recurrent_cpu_supports(variant_of(options))) {
    add_runs(golden, "cpu", Backend::cpu);
  }
  return golden;
}

GoldenUnit make_lstm(GoldenFile& file) {
  file.config.choice("gate_order", {{"i,f,g,o", ""}});
  LstmOptions options;
  options.hidden_size = file.hidden_size;
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight", {"weight_ih", "weight_hh"}}, {"bias", {"bias_ih"}}};
  add_runs(golden, "libtorch", Backend::automatic);
  return golden;
}

GoldenUnit make_rnn(GoldenFile& file) {
  file.config.choice("activation", {{"tanh", ""}});
  RnnOptions options;
  options.hidden_size = file.hidden_size;
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight_transposed", {"weight_ih", "weight_hh"}, /*transposed=*/true},
                       {"bias", {"bias"}}};
  add_runs(golden, "libtorch", Backend::automatic);
  return golden;
}

struct Adapter {
  std::string unit;
  GoldenUnit (*make)(GoldenFile& file);
};

const std::vector<Adapter>& adapters() {
  static const std::vector<Adapter> table = {
      {"STPNr", make_stpn_recurrent}, {"LSTM", make_lstm}, {"RNN", make_rnn}};
  return table;
}

}  // namespace

GoldenUnit make_golden_unit(GoldenFile& file) {
  std::string known;
  for (const auto& adapter : adapters()) {
    if (adapter.unit == file.unit) {
      GoldenUnit golden = adapter.make(file);
      file.config.check_all_read();
      return golden;
    }
    known += (known.empty() ? "" : ", ") + adapter.unit;
  }
  file.fail(fmt::format("config.unit is \"{}\", which cannot be checked yet; known is: {}",
                        file.unit, known));
}

}  // namespace stpn::nn
