#include "stpn/ops/stpn_variant.h"

#include "stpn/ops/words.h"

namespace stpn::nn {
namespace {

// In the order of the enums they stand for.
const std::vector<std::string> kNorms{"none", "drive", "pre", "post"};
const std::vector<std::string> kConnections{"all", "input", "recurrent"};
const std::vector<std::string> kRules{"hebb", "oja"};
const std::vector<std::string> kDecays{"before_update", "after_update"};
const std::vector<std::string> kPresynaptics{"previous", "current"};
const std::vector<std::string> kActivations{"tanh", "sigmoid", "relu", "identity"};

}  // namespace

std::vector<base::Field> fields_of(StpnVariant& v, bool recurrent) {
  std::vector<base::Field> fields{
      base::field(
          "norm", v.norm,
          "what the norm of each unit's efficacies divides: the drive and the fast weights on "
          "their way into the update (pre), the drive and the new fast weights (post), "
          "the drive only (drive), nothing (none)",
          kNorms),
      base::field("clamp", v.clamp,
                  "bound of the fast weights; inf: none. Set it where norm is none or post",
                  {.least = std::numeric_limits<double>::min()}),
      base::field("rule", v.rule, "what activity teaches the fast weights", kRules),
      base::field("decay", v.decay, "decay old fast weights only, or what was just learnt too",
                  kDecays),
      base::field("activation", v.activation, "of the units", kActivations),
  };
  if (recurrent) {
    fields.push_back(
        base::field("connections", v.connections, "synapses that have fast weights", kConnections));
    fields.push_back(
        base::field("presynaptic", v.presynaptic,
                    "recurrent activity in the Hebbian term: h[t-1] (previous, the paper) or h[t] "
                    "(current, the published retrieval code)",
                    kPresynaptics));
  }
  return fields;
}

kernels::StpnVariant kernel_variant(const StpnVariant& v, bool recurrent) {
  kernels::StpnVariant variant;
  variant.recurrent = recurrent;
  variant.norm = parse_word<kernels::Norm>("norm", v.norm, kNorms);
  variant.clamp = v.clamp;
  variant.connections =
      parse_word<kernels::Connections>("connections", v.connections, kConnections);
  variant.rule = parse_word<kernels::Rule>("rule", v.rule, kRules);
  variant.decay = parse_word<kernels::Decay>("decay", v.decay, kDecays);
  variant.presynaptic =
      parse_word<kernels::Presynaptic>("presynaptic", v.presynaptic, kPresynaptics);
  variant.activation = parse_word<kernels::Activation>("activation", v.activation, kActivations);
  return variant;
}

}  // namespace stpn::nn
