// The explicit tables of tasks: a name in an experiment's [task] table to the data set or the
// environment it makes.
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
  // Bound to this object's members.
  virtual std::vector<base::Field> fields() = 0;
};

// The options of a task of sequences.
class SequenceTaskOptions : public TaskOptions {
 public:
  // Throws base::UserError for values that are impossible together. The data depend on the options
  // and the seed alone.
  virtual std::unique_ptr<SequenceTask> make(uint64_t seed) const = 0;
};

// The options of a task that is played.
class EnvironmentOptions : public TaskOptions {
 public:
  // With so many slots. Throws base::UserError for values that are impossible.
  virtual std::unique_ptr<Environment> make(uint64_t seed, int64_t batch) const = 0;
};

template <typename Options>
struct TaskEntry {
  std::string name;
  std::string summary;  // one line for `stpn list tasks`
  std::unique_ptr<Options> (*options)();
};
using SequenceTaskEntry = TaskEntry<SequenceTaskOptions>;
using EnvironmentEntry = TaskEntry<EnvironmentOptions>;

// In the order they are listed.
const std::vector<SequenceTaskEntry>& sequence_task_registry();
const std::vector<EnvironmentEntry>& environment_registry();

// Both throw base::UserError if there is no task of that name, naming the nearest, or if it is of
// the other kind; `where` names the place in the experiment.
const SequenceTaskEntry& find_sequence_task(const std::string& name, const std::string& where);
const EnvironmentEntry& find_environment(const std::string& name, const std::string& where);

}  // namespace stpn::tasks
