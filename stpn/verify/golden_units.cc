#include "stpn/verify/golden_units.h"

#include <fmt/format.h>

#include "stpn/nn/backpropamine.h"
#include "stpn/nn/fast_weights.h"
#include "stpn/nn/library/lstm.h"
#include "stpn/nn/library/rnn.h"
#include "stpn/nn/rivals/gated_delta.h"
#include "stpn/nn/stpn/stpn_feedforward.h"
#include "stpn/nn/stpn/stpn_recurrent.h"
#include "stpn/nn/tolerances.h"

namespace stpn::verify {
namespace {

void add_runs(GoldenUnit& golden, const std::string& name, ops::Backend backend) {
  golden.runs.push_back({name, backend, torch::kDouble, nn::kGoldenDoubleTolerance});
  golden.runs.push_back({name, backend, torch::kFloat, nn::kGoldenFloatTolerance});
}

// Norms of G and of F in the file are our `pre` or `post`; one of G alone is `preactivation`.
std::string norm_of(GoldenFile& file) {
  const auto weights = file.config.choice("weight_norm", {{"null", "null"}, {"G", "\"G\""}});
  const auto norm =
      file.config.choice("fast_weight_norm", {{"null", "none"}, {"pre", "pre"}, {"post", "post"}});
  if (weights == "null" && norm != "none") {
    file.fail(
        fmt::format("config.weight_norm null with fast_weight_norm \"{}\" is not a variant of "
                    "{}: F is divided by the norm of G only where the pre-activation is",
                    norm, file.unit));
  }
  return weights != "null" && norm == "none" ? "preactivation" : norm;
}

// Whether the plastic bias has a single rate is not in the file's configuration; its shape shows
// it.
std::string bias_rates_of(const GoldenFile& file) {
  const auto found = file.params.find("bias_lambda");
  return found != file.params.end() && found->second.numel() == 1 ? "scalar" : "neuron";
}

// What the switches of both units say.
void read_options(GoldenFile& file, nn::StpnOptions& options) {
  GoldenConfig& config = file.config;
  options.hidden_size = file.hidden_size;
  options.norm = norm_of(file);
  if (const auto clamp = config.bound("clamp")) options.clamp = *clamp;
  options.rule = config.choice("rule", {{"hebb", "hebb"}, {"oja", "oja"}, {"delta", "delta"}});
  options.decay = config.choice(
      "decay", {{"before_update", "before_update"}, {"after_update", "after_update"}});
  options.activation = config.choice(
      "activation",
      {{"tanh", "tanh"}, {"sigmoid", "sigmoid"}, {"relu", "relu"}, {"identity", "identity"}});
  options.rates = config.choice("plasticity_parameters", {{"matrix", "synapse"},
                                                          {"scalar", "scalar"},
                                                          {"per_input", "presynaptic"},
                                                          {"per input", "presynaptic"},
                                                          {"per_source", "presynaptic"}});
  options.bias = config.flag("bias");
}

void add_kernel_runs(GoldenUnit& golden) {
  add_runs(golden, "reference", ops::Backend::reference);
  add_runs(golden, "cpu", ops::Backend::cpu);
}

GoldenUnit make_stpn_recurrent(GoldenFile& file) {
  GoldenConfig& config = file.config;
  nn::StpnRecurrentOptions options;
  read_options(file, options);
  options.connections =
      config.choice("connections", {{"all", "all"}, {"input", "input"}, {"hidden", "recurrent"}});
  options.presynaptic = config.choice("hebbian_presynaptic_hidden",
                                      {{"previous", "previous"}, {"current", "current"}});
  options.layer_norm = config.flag("layer_norm");
  options.plastic_bias = config.flag("plastic_bias");
  if (options.plastic_bias) options.bias_rates = bias_rates_of(file);
  config.choice("fixed", {{"null", ""}});
  options.update_gate = config.flag_if_any("update_gate");
  options.write_gate = config.flag_if_any("write_gate");
  options.decay_gate = config.flag_if_any("decay_gate");

  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  for (const auto& item : golden.unit->named_parameters()) {
    const std::string& name = item.key();
    const bool dotted = name == "layer_norm_weight" || name == "layer_norm_bias";
    golden.parameters.push_back({dotted ? "layer_norm." + name.substr(11) : name, {name}});
  }
  if (file.initial_state.count("bias")) golden.state_names["beta"] = "bias";
  add_kernel_runs(golden);
  return golden;
}

GoldenUnit make_stpn_feedforward(GoldenFile& file) {
  nn::StpnFeedforwardOptions options;
  read_options(file, options);
  const bool has_bias = options.bias;
  // Where it normalises, the published code has a bias and leaves it out.
  if (!file.config.flag("bias_with_weight_norm") && options.norm != "none") options.bias = false;
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  for (const auto& item : golden.unit->named_parameters()) {
    golden.parameters.push_back({item.key(), {item.key()}});
  }
  if (has_bias && !options.bias) golden.unused["bias"] = {file.hidden_size};
  add_kernel_runs(golden);
  return golden;
}

GoldenUnit make_hebbff(GoldenFile& file) {
  nn::StpnFeedforwardOptions options;
  options.hidden_size = file.hidden_size;
  options.norm = "none";
  options.activation = file.config.choice("activation", {{"sigmoid", "sigmoid"}});
  options.rates = "scalar";
  options.parametrisation = "hebbff";
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight", {"weight"}},
                       {"bias", {"bias"}},
                       {"lambda_logit", {"weight_lambda_logit"}},
                       {"log_abs_gamma", {"weight_log_gamma"}}};
  add_kernel_runs(golden);
  return golden;
}

GoldenUnit make_lstm(GoldenFile& file) {
  file.config.choice("gate_order", {{"i,f,g,o", ""}});
  nn::LstmOptions options;
  options.hidden_size = file.hidden_size;
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight", {"weight_ih", "weight_hh"}}, {"bias", {"bias_ih"}}};
  add_runs(golden, "libtorch", ops::Backend::cpu);
  return golden;
}

GoldenUnit make_rnn(GoldenFile& file) {
  file.config.choice("activation", {{"tanh", ""}});
  nn::RnnOptions options;
  options.hidden_size = file.hidden_size;
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight_transposed", {"weight_ih", "weight_hh"}, /*transposed=*/true},
                       {"bias", {"bias"}}};
  add_runs(golden, "libtorch", ops::Backend::cpu);
  return golden;
}

GoldenUnit make_backpropamine(GoldenFile& file) {
  GoldenConfig& config = file.config;
  nn::BackpropamineOptions options;
  options.hidden_size = file.hidden_size;
  options.neuromodulation = config.choice(
      "variant", {{"modplast", "modplast"}, {"plastic", "plastic"}, {"modul", "modul"}});
  options.addition = config.choice(
      "addpw", {{"3", "clamp"}, {"2", "soft_clamp"}, {"1", "additive"}, {"0", "decaying"}});
  if (options.neuromodulation == "plastic") {
    config.choice("modulation", {{"null", ""}});
  } else {
    options.modulator = config.choice(
        "modulation", {{"tanh", "tanh"}, {"sigmoid", "sigmoid"}, {"linear", "linear"}});
  }
  if (config.bound("clamp") != 1.0) {
    file.fail(fmt::format("config.clamp is not 1, which {} always has", file.unit));
  }

  const bool trace = options.neuromodulation == "modul";
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  const std::map<std::string, std::string> names = {{"weight_ih", "i2h.weight"},
                                                    {"bias", "i2h.bias"},
                                                    {"weight_hh", "w"},
                                                    {"alpha", "alpha"},
                                                    {"modulator_weight", "h2DA.weight"},
                                                    {"modulator_bias", "h2DA.bias"},
                                                    {"rate", trace ? "etaet" : "eta"}};
  for (const auto& item : golden.unit->named_parameters()) {
    golden.parameters.push_back({names.at(item.key()), {item.key()}});
  }
  golden.state_names = {{"P", trace ? "plastic" : "hebb"}, {"E", "eligibility"}};
  add_kernel_runs(golden);
  return golden;
}

double number_of(GoldenFile& file, const std::string& key) {
  const std::optional<double> value = file.config.bound(key);
  if (!value) file.fail(fmt::format("config.{} is null, it must be a number above 0", key));
  return *value;
}

GoldenUnit make_fast_weights(GoldenFile& file) {
  file.config.choice("activation", {{"tanh", ""}});
  nn::FastWeightsOptions options;
  options.hidden_size = file.hidden_size;
  options.inner_steps = file.config.size("inner_steps");
  options.layer_norm = file.config.flag("layer_norm");
  options.decay = number_of(file, "decay");
  options.rate = number_of(file, "rate");
  if (number_of(file, "layer_norm_eps") != 1e-5) {
    file.fail(fmt::format("config.layer_norm_eps is not 1e-05, which {} always has", file.unit));
  }

  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  golden.parameters = {{"weight", {"weight"}}, {"bias", {"bias"}}};
  if (options.layer_norm) {
    golden.parameters.push_back({"layer_norm.weight", {"layer_norm_weight"}});
    golden.parameters.push_back({"layer_norm.bias", {"layer_norm_bias"}});
  }
  add_kernel_runs(golden);
  return golden;
}

GoldenUnit make_gated_delta(GoldenFile& file) {
  nn::GatedDeltaOptions options;
  options.hidden_size = file.hidden_size;
  options.heads = file.config.size("heads");
  options.key_size = file.config.size("key_size");
  options.negative_eigenvalues = file.config.flag("negative_eigenvalues");
  GoldenUnit golden;
  golden.unit = options.make(file.input_size);
  for (const auto& item : golden.unit->named_parameters()) {
    golden.parameters.push_back({item.key(), {item.key()}});
  }
  add_runs(golden, "libtorch", ops::Backend::cpu);
  return golden;
}

struct Adapter {
  std::string unit;
  GoldenUnit (*make)(GoldenFile& file);
};

const std::vector<Adapter>& adapters() {
  static const std::vector<Adapter> table = {{"STPNr", make_stpn_recurrent},
                                             {"STPNf", make_stpn_feedforward},
                                             {"HebbFF", make_hebbff},
                                             {"LSTM", make_lstm},
                                             {"RNN", make_rnn},
                                             {"Backpropamine", make_backpropamine},
                                             {"FastWeights", make_fast_weights},
                                             {"GatedDelta", make_gated_delta}};
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

}  // namespace stpn::verify
