#include "stpn/verify/golden.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <string>

#include "stpn/nn/tolerances.h"
#include "stpn/verify/golden_file.h"
#include "stpn/verify/golden_units.h"

namespace stpn::verify {
namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

// Leading dimensions of 1 may be more or fewer: (1, P), (P); (1), ().
bool same_up_to_leading_ones(torch::IntArrayRef a, torch::IntArrayRef b) {
  while (!a.empty() && a.front() == 1) a = a.slice(1);
  while (!b.empty() && b.front() == 1) b = b.slice(1);
  return a == b;
}

// `arrays` holds exactly those of `shapes`, and they take these shapes.
void fit(const GoldenFile& file, const std::string& group, const Shapes& shapes,
         GoldenArrays& arrays) {
  for (const auto& [name, shape] : shapes) {
    const auto found = arrays.find(name);
    if (found == arrays.end()) file.fail(fmt::format("{}.{} is missing", group, name));
    torch::Tensor& array = found->second;
    if (!same_up_to_leading_ones(array.sizes(), shape)) {
      file.fail(fmt::format("{}.{} is ({}), it must be ({})", group, name,
                            fmt::join(array.sizes(), ", "), fmt::join(shape, ", ")));
    }
    array = array.reshape(shape);
  }
  for (const auto& [name, array] : arrays) {
    if (!shapes.count(name)) {
      file.fail(fmt::format("{}.{} is not known for this unit with this config", group, name));
    }
  }
}

std::vector<torch::Tensor> parts_of(const GoldenUnit& golden, const GoldenParameter& parameter) {
  const auto named = golden.unit->named_parameters();
  std::vector<torch::Tensor> parts;
  for (const auto& part : parameter.parts) parts.push_back(named[part]);
  return parts;
}

// The unit's parts, or their gradients, as the file has the parameter.
torch::Tensor joined(const GoldenParameter& parameter, const std::vector<torch::Tensor>& parts) {
  const auto whole = torch::cat(parts, -1);
  return parameter.transposed ? whole.t() : whole;
}

std::string state_name(const GoldenUnit& golden, const std::string& ours) {
  const auto found = golden.state_names.find(ours);
  return found == golden.state_names.end() ? ours : found->second;
}

void fit_all(const GoldenUnit& golden, GoldenFile& file) {
  Shapes params = golden.unused;
  Shapes states, grads;
  for (const auto& parameter : golden.parameters) {
    const auto shape = joined(parameter, parts_of(golden, parameter)).sizes().vec();
    params[parameter.name] = grads["param." + parameter.name] = shape;
  }
  for (const auto& [ours, tensor] : golden.unit->initial_state(file.x.size(1))) {
    const std::string name = state_name(golden, ours);
    states[name] = grads["initial." + name] = tensor.sizes().vec();
  }
  grads["x"] = file.x.sizes().vec();
  fit(file, "params", params, file.params);
  fit(file, "initial_state", states, file.initial_state);
  fit(file, "final_state", states, file.final_state);
  fit(file, "cotangent_final_state", states, file.cotangent_final_state);
  fit(file, "grad", grads, file.grad);
}

void load_parameters(const GoldenUnit& golden, const GoldenFile& file) {
  torch::NoGradGuard no_grad;
  for (auto& parameter : golden.unit->parameters()) parameter.zero_();
  for (const auto& parameter : golden.parameters) {
    torch::Tensor value = file.params.at(parameter.name);
    if (parameter.transposed) value = value.t();
    int64_t begin = 0;
    for (auto& part : parts_of(golden, parameter)) {
      part.copy_(value.slice(-1, begin, begin + part.size(-1)));
      begin += part.size(-1);
    }
  }
}

// Keeps the largest error of the arrays as wholes, and the largest of their rows.
class Comparison {
 public:
  void compare(const std::string& name, const torch::Tensor& ours, const torch::Tensor& golden) {
    const auto error = (ours.detach().to(torch::kDouble) - golden).abs();
    const double size = golden.abs().max().item<double>();
    const double scale = size > 0 ? size : 1;  // the error is absolute where all is zero
    whole_.add(error.max().item<double>() / scale, name);
    if (golden.dim() == 0) return;
    const auto rows = error.amax(-1) / (golden.abs().amax(-1) + nn::kRowFloor * scale);
    row_.add(rows.max().item<double>(), "a row of " + name);
  }

  // A row is reported only where the arrays as wholes do not show the fault.
  void report(double tolerance, GoldenResult& result) const {
    const Largest& largest = whole_.error <= tolerance && row_.error > tolerance ? row_ : whole_;
    result.largest_error = largest.error;
    result.array = largest.array;
    result.tolerance = tolerance;
    result.ok = largest.error <= tolerance;
  }

 private:
  struct Largest {
    void add(double its_error, const std::string& name) {
      if (!std::isfinite(its_error)) its_error = std::numeric_limits<double>::infinity();
      if (!array.empty() && its_error <= error) return;
      error = its_error;
      array = name;
    }
    double error = 0;
    std::string array;
  };
  Largest whole_, row_;
};

// The gates of a neuron added up, if the file has the energy of each.
torch::Tensor energy_of_neurons(const torch::Tensor& energy, int64_t neurons) {
  if (energy.dim() != 3 || energy.size(2) % neurons != 0) return energy;
  return energy.unflatten(2, {-1, neurons}).sum(2);
}

GoldenResult verify_run(const GoldenUnit& golden, const GoldenFile& file, const GoldenRun& run) {
  ops::BackendGuard guard(run.backend);
  golden.unit->to(run.dtype);
  load_parameters(golden, file);

  nn::UnitInput input;
  input.x = file.x.to(run.dtype).clone().requires_grad_();
  input.energy = file.energy.defined();
  std::vector<std::string> names = {"x"};
  std::vector<torch::Tensor> leaves = {input.x};
  for (const auto& [ours, zeros] : golden.unit->initial_state(file.x.size(1))) {
    const std::string name = state_name(golden, ours);
    auto state = file.initial_state.at(name).to(run.dtype).clone().requires_grad_();
    names.push_back("initial." + name);
    leaves.push_back(state);
    input.state.emplace_back(ours, state);
  }
  for (const auto& parameter : golden.parameters) {
    for (const auto& part : parts_of(golden, parameter)) leaves.push_back(part);
  }

  GoldenResult result;
  result.unit = file.unit;
  result.backend = run.backend_name;
  result.dtype = run.dtype == torch::kDouble ? "double" : "float";
  Comparison comparison;
  const nn::UnitOutput output = golden.unit->forward(input);
  comparison.compare("output", output.y, file.output);
  // The loss in double also for a float unit: what is tested is the unit, not this sum.
  auto loss = (output.y.to(torch::kDouble) * file.cotangent_output).sum();
  for (const auto& [ours, state] : output.state) {
    const std::string name = state_name(golden, ours);
    comparison.compare("final_state." + name, state, file.final_state.at(name));
    loss = loss + (state.to(torch::kDouble) * file.cotangent_final_state.at(name)).sum();
  }
  if (input.energy) {
    const torch::Tensor energy = energy_of_neurons(file.energy, output.energy.size(2));
    if (output.energy.sizes() != energy.sizes()) {
      file.fail(fmt::format("energy is ({}), it must be ({})", fmt::join(energy.sizes(), ", "),
                            fmt::join(output.energy.sizes(), ", ")));
    }
    comparison.compare("energy", output.energy, energy);
  }
  comparison.compare("loss", loss, torch::tensor(file.loss, torch::kDouble));

  const auto gradients = torch::autograd::grad({loss}, leaves);
  size_t next = 0;
  for (const auto& name : names) {
    comparison.compare("grad." + name, gradients[next++], file.grad.at(name));
  }
  for (const auto& parameter : golden.parameters) {
    std::vector<torch::Tensor> parts;
    for (size_t i = 0; i < parameter.parts.size(); ++i) parts.push_back(gradients[next++]);
    const std::string name = "param." + parameter.name;
    comparison.compare("grad." + name, joined(parameter, parts), file.grad.at(name));
  }
  comparison.report(run.tolerance, result);
  return result;
}

}  // namespace

std::vector<GoldenResult> verify_golden(const std::filesystem::path& path) {
  GoldenFile file(path);
  const GoldenUnit golden = make_golden_unit(file);
  fit_all(golden, file);
  std::vector<GoldenResult> results;
  for (const auto& run : golden.runs) results.push_back(verify_run(golden, file, run));
  return results;
}

}  // namespace stpn::verify
