#include "stpn/tasks/environment.h"

#include "stpn/base/error.h"

namespace stpn::tasks {

void Environment::start_image(Split /*split*/, int64_t /*episode*/, uint8_t* /*image*/) {
  throw base::UserError("the task has no images");
}

Step Environment::step_image(const Action& /*action*/, uint8_t* /*image*/) {
  throw base::UserError("the task has no images");
}

int64_t Environment::best_choice() {
  throw base::UserError("the task knows no best actions: there is no oracle");
}

std::string EnvironmentTask::trace(Split /*split*/, int64_t /*episode*/,
                                   const std::vector<float>& /*actions*/) const {
  throw base::UserError("the task has no trace of an episode: leave out --trace");
}

}  // namespace stpn::tasks
