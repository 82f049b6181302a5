#include "stpn/nn/unit_registry.h"

#include <fmt/ranges.h>

#include "stpn/base/error.h"
#include "stpn/nn/backpropamine.h"
#include "stpn/nn/fast_weights.h"
#include "stpn/nn/library/gru.h"
#include "stpn/nn/library/lstm.h"
#include "stpn/nn/library/perceptron.h"
#include "stpn/nn/library/rnn.h"
#include "stpn/nn/rivals/gated_delta.h"
#include "stpn/nn/rivals/gru_beside_stpn.h"
#include "stpn/nn/stpn/stpn_feedforward.h"
#include "stpn/nn/stpn/stpn_recurrent.h"

namespace stpn::nn {
namespace {

template <typename Options>
std::unique_ptr<UnitOptions> make_options() {
  return std::make_unique<Options>();
}

}  // namespace

const std::vector<UnitEntry>& unit_registry() {
  static const std::vector<UnitEntry> table = {
      {"stpn_recurrent", "short-term plasticity neuron, recurrent (STPNr)",
       make_options<StpnRecurrentOptions>},
      {"stpn_feedforward", "short-term plasticity neuron, feed-forward (STPNf; HebbFF)",
       make_options<StpnFeedforwardOptions>},
      {"backpropamine", "plastic recurrent neurons, neuromodulated or not (Backpropamine)",
       make_options<BackpropamineOptions>},
      {"fast_weights", "recurrent neurons with a fast associative memory (Fast Weights)",
       make_options<FastWeightsOptions>},
      {"lstm", "long short-term memory, as torch.nn.LSTM", make_options<LstmOptions>},
      {"rnn", "recurrent tanh neurons, as torch.nn.RNN", make_options<RnnOptions>},
      {"gru", "gated recurrent unit, as torch.nn.GRU", make_options<GruOptions>},
      {"gated_delta", "a linear memory that corrects what it reads (gated delta rule)",
       make_options<GatedDeltaOptions>},
      {"gru_beside_stpn", "a GRU and a recurrent STPN that do not read each other",
       make_options<GruBesideStpnOptions>},
      {"perceptron", "a layer without memory", make_options<PerceptronOptions>},
  };
  return table;
}

const UnitEntry& find_unit(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const auto& entry : unit_registry()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const std::string near = base::nearest(name, names);
  throw base::UserError(fmt::format("{}: there is no unit \"{}\"; {}", where, name,
                                    near.empty()
                                        ? fmt::format("there are: {}", fmt::join(names, ", "))
                                        : fmt::format("did you mean \"{}\"?", near)));
}

}  // namespace stpn::nn
