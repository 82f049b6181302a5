// The tables of all tasks: from a name in an experiment's [task] table to the options that make its
// data set or environments.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/tasks/environment.h"
#include "stpn/tasks/sequence_task.h"

namespace stpn::tasks {

class TaskOptions {
 public:
  virtual ~TaskOptions() = default;
  // The fields refer to members of this object.
  virtual std::vector<base::Field> fields() = 0;
};

// The options of a supervised task.
class SequenceTaskOptions : public TaskOptions {
 public:
  // Throws base::UserError for options that do not go together. The data depend on the options and
  // the seed alone.
  virtual std::unique_ptr<SequenceTask> make(uint64_t seed) const = 0;
};

// The options of an RL task.
class EnvironmentOptions : public TaskOptions {
 public:
  // Throws base::UserError for impossible options.
  virtual std::unique_ptr<EnvironmentTask> make(uint64_t seed) const = 0;
};

template <typename Options>
struct TaskEntry {
  std::string name;
  std::string summary;  // one line for `stpn list tasks`
  std::unique_ptr<Options> (*options)();
};
using SequenceTaskEntry = TaskEntry<SequenceTaskOptions>;
using EnvironmentEntry = TaskEntry<EnvironmentOptions>;

// In the order in which `stpn list tasks` shows them.
const std::vector<SequenceTaskEntry>& sequence_task_registry();
const std::vector<EnvironmentEntry>& environment_registry();

// Both throw base::UserError if there is no task of that name, with the nearest name, or if the
// task is of the other kind. `where` is the place in the experiment, for the message.
const SequenceTaskEntry& find_sequence_task(const std::string& name, const std::string& where);
const EnvironmentEntry& find_environment(const std::string& name, const std::string& where);

}  // namespace stpn::tasks
