// The explicit table of tasks: a name in an experiment's [task] table to the data set it makes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/tasks/sequence_task.h"

namespace stpn::tasks {

// A task's options.
class SequenceTaskOptions {
 public:
  virtual ~SequenceTaskOptions() = default;
  // Bound to this object's members.
  virtual std::vector<base::Field> fields() = 0;
  // Throws base::UserError for values that are impossible together. The data depend on the options
  // and the seed alone.
  virtual std::unique_ptr<SequenceTask> make(uint64_t seed) const = 0;
};

struct SequenceTaskEntry {
  std::string name;
  std::string summary;  // one line for `stpn list tasks`
  std::unique_ptr<SequenceTaskOptions> (*options)();
};

// In the order they are listed.
const std::vector<SequenceTaskEntry>& sequence_task_registry();

// Throws base::UserError naming the nearest if there is no task of that name; `where` names the
// place in the experiment.
const SequenceTaskEntry& find_sequence_task(const std::string& name, const std::string& where);

}  // namespace stpn::tasks
