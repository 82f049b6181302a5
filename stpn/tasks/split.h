// The training, validation and test split of the sequences or episodes of a task.
#pragma once

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::tasks {

enum class Split { training, validation, test };

// The random stream from which the data of a split are drawn.
inline base::Stream stream_of(Split split) {
  switch (split) {
    case Split::training:
      return base::Stream::training_data;
    case Split::validation:
      return base::Stream::validation_data;
    case Split::test:
      return base::Stream::test_data;
  }
  throw base::Error("the split is none of training, validation and test");
}

}  // namespace stpn::tasks
