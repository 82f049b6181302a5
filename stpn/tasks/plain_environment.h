// An environment whose whole state is one struct of integers, saved as its bytes.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/tasks/environment.h"

namespace stpn::tasks {

template <class State>
class PlainEnvironment : public Environment {
  static_assert(std::has_unique_object_representations_v<State>);  // integers, and no padding

 public:
  std::string save() const override {
    return label_ + std::string(reinterpret_cast<const char*>(&state_), sizeof state_);
  }
  void restore(std::string_view saved) override {
    State state;
    STPN_CHECK(saved.starts_with(label_) && saved.size() == label_.size() + sizeof state,
               "the saved environment is not one of: {}", label_.substr(0, label_.size() - 1));
    std::memcpy(&state, saved.data() + label_.size(), sizeof state);
    STPN_CHECK(is_possible(state), "the saved environment is damaged: use an older checkpoint");
    state_ = state;
  }

 protected:
  // `label` is a line that says of which task the state is: its name, options and seed.
  explicit PlainEnvironment(const std::string& label) : label_(label + "\n") {}

  // Whether the task could have come to this state.
  virtual bool is_possible(const State& state) const = 0;

  State state_;

 private:
  const std::string label_;
};

}  // namespace stpn::tasks
