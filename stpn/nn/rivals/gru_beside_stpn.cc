#include "stpn/nn/rivals/gru_beside_stpn.h"

#include <string>
#include <utility>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

// Both units draw parameter 0, 1, ... from their seed, so that with one seed they would begin
// alike.
constexpr uint64_t kSeedOfGru = uint64_t{1} << 63;

// Appends the states of one of the two units, with `prefix` before their names.
template <typename Values>
void append(Values& all, const std::string& prefix, Values values) {
  for (auto& [name, value] : values) all.emplace_back(prefix + name, std::move(value));
}

// The part of the state that belongs to the unit, with its own names.
State state_of(const Unit& unit, const State& state, size_t first) {
  State part;
  if (state.empty()) return part;
  for (const auto& [name, shape] : unit.state_shapes()) {
    part.emplace_back(name, state[first++].second);
  }
  return part;
}

}  // namespace

std::vector<base::Field> GruBesideStpnOptions::fields() {
  std::vector<base::Field> fields = StpnRecurrentOptions::fields();
  fields.insert(fields.begin() + 1,
                base::field("gru_size", gru_size,
                            "how many of the neurons are the GRU's; the others are the STPN's",
                            {.least = 1, .most = kMostNeurons}));
  return fields;
}

std::shared_ptr<Unit> GruBesideStpnOptions::make(int64_t input_size) const {
  return make_unit<GruBesideStpn>(input_size, *this);
}

GruBesideStpn::GruBesideStpn(int64_t input_size, const GruBesideStpnOptions& options)
    : Unit(input_size, options.hidden_size) {
  STPN_CHECK(options.gru_size >= 1 && options.gru_size < options.hidden_size,
             "gru_size = {}, hidden_size = {}: the GRU and the STPN need a neuron each",
             options.gru_size, options.hidden_size);
  GruOptions of_gru;
  of_gru.hidden_size = options.gru_size;
  gru_ = register_module("gru", of_gru.make(input_size));
  StpnRecurrentOptions of_stpn = options;
  of_stpn.hidden_size = options.hidden_size - options.gru_size;
  stpn_ = register_module("stpn", of_stpn.make(input_size));
  any_parameter_ = gru_->parameters().front();
}

UnitOutput GruBesideStpn::forward(const UnitInput& all_input) {
  check_input(all_input);
  const UnitInput input = walk_through(all_input);
  UnitInput of_gru = input, of_stpn = input;
  of_gru.state = state_of(*gru_, input.state, 0);
  of_stpn.state = state_of(*stpn_, input.state, of_gru.state.size());
  UnitOutput gru = gru_->forward(of_gru), stpn = stpn_->forward(of_stpn), output;
  output.y = torch::cat({gru.y, stpn.y}, 2);
  if (input.energy) output.energy = torch::cat({gru.energy, stpn.energy}, 2);
  if (input.wants_state) {
    append(output.state, "gru_", std::move(gru.state));
    append(output.state, "stpn_", std::move(stpn.state));
  }
  return output;
}

StateShapes GruBesideStpn::state_shapes() const {
  StateShapes shapes;
  append(shapes, "gru_", gru_->state_shapes());
  append(shapes, "stpn_", stpn_->state_shapes());
  return shapes;
}

void GruBesideStpn::reset_parameters(uint64_t seed) {
  gru_->reset_parameters(seed ^ kSeedOfGru);
  stpn_->reset_parameters(seed);
}

void GruBesideStpn::leave_out_of_energy(const std::vector<int64_t>& inputs) {
  Unit::leave_out_of_energy(inputs);
  gru_->leave_out_of_energy(inputs);
  stpn_->leave_out_of_energy(inputs);
}

}  // namespace stpn::nn
