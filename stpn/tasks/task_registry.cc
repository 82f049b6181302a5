#include "stpn/tasks/task_registry.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "stpn/base/error.h"
#include "stpn/tasks/associative_retrieval/associative_retrieval.h"
#include "stpn/tasks/atari/atari_task.h"
#include "stpn/tasks/capability/capability.h"
#include "stpn/tasks/delayed_copy/delayed_copy.h"
#include "stpn/tasks/familiarity/familiarity.h"
#include "stpn/tasks/hold/hold.h"
#include "stpn/tasks/maze/maze.h"
#include "stpn/tasks/mujoco/hopper.h"
#include "stpn/tasks/mujoco/inverted_pendulum.h"

namespace stpn::tasks {
namespace {

template <typename Kind, typename Options>
std::unique_ptr<Kind> options() {
  return std::make_unique<Options>();
}

template <typename Entry>
auto find_in(const std::vector<Entry>& registry, const std::string& name) {
  return std::find_if(registry.begin(), registry.end(),
                      [&](const Entry& entry) { return entry.name == name; });
}

template <typename Entry>
std::vector<std::string> names_of(const std::vector<Entry>& registry) {
  std::vector<std::string> names;
  for (const Entry& entry : registry) names.push_back(entry.name);
  return names;
}

// `other_kind` says what kind of task is in `others`, for the message.
template <typename Entry, typename Other>
const Entry& find(const std::vector<Entry>& registry, const std::vector<Other>& others,
                  const std::string& other_kind, const std::string& name,
                  const std::string& where) {
  const auto entry = find_in(registry, name);
  if (entry != registry.end()) return *entry;
  const std::vector<std::string> names = names_of(registry);
  const std::string near = base::nearest(name, names);
  std::string problem =
      fmt::format("there is no such task ({})",
                  near.empty() ? fmt::format("there are: {}", fmt::join(names, ", "))
                               : fmt::format("did you mean {}?", near));
  if (find_in(others, name) != others.end()) {
    problem = fmt::format("{}; here it must be one of {}", other_kind, fmt::join(names, ", "));
  }
  throw base::UserError(fmt::format("{}: [task] name = \"{}\": {}", where, name, problem));
}

}  // namespace

const std::vector<SequenceTaskEntry>& sequence_task_registry() {
  static const std::vector<SequenceTaskEntry> registry = {
      {"associative_retrieval",
       "key-value pairs followed by one of the keys; the target is its value (Ba et al. 2016)",
       options<SequenceTaskOptions, AssociativeRetrievalOptions>},
      {"delayed_copy", "a toy: symbols, a pause, and then the question for all of them in order",
       options<SequenceTaskOptions, DelayedCopyOptions>},
      {"familiarity",
       "a stream of vectors, some of them repeats: which? (Tyulmankov, Yang, Abbott 2022)",
       options<SequenceTaskOptions, FamiliarityOptions>},
      {"recall", "key-value pairs, and then all of their keys; asked are the values",
       options<SequenceTaskOptions, RecallOptions>},
      {"tracking", "generators of a group or another automaton; asked is the state after each",
       options<SequenceTaskOptions, TrackingOptions>},
      {"joint", "recall and tracking in one sequence", options<SequenceTaskOptions, JointOptions>},
  };
  return registry;
}

const std::vector<EnvironmentEntry>& environment_registry() {
  static const std::vector<EnvironmentEntry> registry = {
      {"maze", "a maze with a hidden reward to find and return to (Miconi et al. 2019)",
       options<EnvironmentOptions, MazeOptions>},
      {"hold", "a toy: a sign to remember; actions are numbers, episodes of different lengths",
       options<EnvironmentOptions, HoldOptions>},
      {"inverted_pendulum", "keep a pole on a cart upright, in MuJoCo (Barto et al. 1983)",
       options<EnvironmentOptions, InvertedPendulumOptions>},
      {"hopper", "move forward on one leg without falling, in MuJoCo (Erez et al. 2011)",
       options<EnvironmentOptions, HopperOptions>},
      {"pong", "the Atari game, from one grey image at a time (Bellemare et al. 2013)",
       options<EnvironmentOptions, PongOptions>},
      {"atari", "any Atari game of the Arcade Learning Environment, by name",
       options<EnvironmentOptions, AtariOptions>},
  };
  return registry;
}

const SequenceTaskEntry& find_sequence_task(const std::string& name, const std::string& where) {
  return find(sequence_task_registry(), environment_registry(), "is a reinforcement-learning task",
              name, where);
}

const EnvironmentEntry& find_environment(const std::string& name, const std::string& where) {
  return find(environment_registry(), sequence_task_registry(), "is a supervised task", name,
              where);
}

}  // namespace stpn::tasks
