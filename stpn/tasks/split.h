// The parts of a task's data: sequences or episodes to train on, to choose by, and to test on.
#pragma once

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::tasks {

enum class Split { training, validation, test };

// Where the numbers of a split come from.
inline base::Stream stream_of(Split split) {
  switch (split) {
    case Split::training:
      return base::Stream::training_data;
    case Split::validation:
      return base::Stream::validation_data;
    case Split::test:
      return base::Stream::test_data;
  }
  throw base::Error("no such split");
}

}  // namespace stpn::tasks
