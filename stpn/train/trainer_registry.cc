#include <fmt/ranges.h>

#include <algorithm>

#include "stpn/base/error.h"
#include "stpn/train/algorithms/actor_critic/actor_critic.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"
#include "stpn/train/algorithms/supervised/supervised.h"
#include "stpn/train/trainer.h"

namespace stpn::train {
namespace {

template <typename Options>
std::unique_ptr<TrainerOptions> make() {
  return std::make_unique<Options>();
}

}  // namespace

const std::vector<TrainerEntry>& trainer_registry() {
  static const std::vector<TrainerEntry> registry = {
      {"supervised", "supervised classification of sequences: cross-entropy, Adam",
       make<SupervisedOptions>},
      {"actor_critic", "advantage actor-critic on whole episodes or on shorter rollouts, Adam",
       make<ActorCriticOptions>},
      {"ppo", "proximal policy optimisation on sequences of rollouts, Adam", make<PpoOptions>},
  };
  return registry;
}

const TrainerEntry& find_trainer(const std::string& name, const std::string& where) {
  const auto& registry = trainer_registry();
  const auto entry = std::find_if(registry.begin(), registry.end(),
                                  [&](const TrainerEntry& e) { return e.name == name; });
  if (entry != registry.end()) return *entry;
  std::vector<std::string> names;
  for (const TrainerEntry& e : registry) names.push_back(e.name);
  throw base::UserError(fmt::format("{}: there is no train.algorithm \"{}\"; there are: {}", where,
                                    name, fmt::join(names, ", ")));
}

}  // namespace stpn::train
