#include "stpn/tasks/task_registry.h"

#include "stpn/base/error.h"
#include "stpn/tasks/associative_retrieval/associative_retrieval.h"

namespace stpn::tasks {
namespace {

template <typename Options>
std::unique_ptr<SequenceTaskOptions> options() {
  return std::make_unique<Options>();
}

}  // namespace

const std::vector<SequenceTaskEntry>& sequence_task_registry() {
  static const std::vector<SequenceTaskEntry> registry = {
      {"associative_retrieval", "key-value pairs, then one key: name its value (Ba et al. 2016)",
       options<AssociativeRetrievalOptions>},
  };
  return registry;
}

const SequenceTaskEntry& find_sequence_task(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const SequenceTaskEntry& entry : sequence_task_registry()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const std::string near = base::nearest(name, names);
  throw base::UserError(
      fmt::format("{}: [task] name = \"{}\": there is no such task ({})", where, name,
                  near.empty() ? fmt::format("there is {}", fmt::join(names, ", "))
                               : fmt::format("did you mean {}?", near)));
}

}  // namespace stpn::tasks
