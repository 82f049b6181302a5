// A random call of a unit with all its arrays, made from the unit's signature, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stpn/base/parallel.h"
#include "stpn/base/random.h"
#include "stpn/kernels/sequence_params.h"
#include "stpn/kernels/signature.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::testing {

// An array of a call or of its results, and the length of its rows (its last dimension).
template <typename T>
struct NamedArray {
  std::string name;
  std::vector<T> values;
  int64_t row;

  bool operator==(const NamedArray&) const = default;
};

// `Unit` says what the signature leaves open:
//   Variant, Fields<T>, kTensors                the unit's own
//   has(name, variant)                          whether the variant has this tensor
//   alternative(name, variant)                  which of a shape's alternatives it has
//   range(name, extent)                         the interval that its values are drawn from
//   forward_ref<T>, backward_ref<T>, forward_cpu<T>, backward_cpu<T>, cpu_plan<T>
//
// Every array that is written starts as NaN, so that an element that is never written shows.
template <class Unit, typename T>
struct RandomCall {
  using Value = T;
  using Variant = typename Unit::Variant;
  using Fields = typename Unit::template Fields<T>;
  using Forward = typename Fields::Forward;
  using Backward = typename Fields::Backward;
  using Array = NamedArray<T>;

  RandomCall(const Extent& its_extent, const Variant& its_variant, uint64_t seed,
             bool with_reset = true)
      : extent(its_extent), variant(its_variant), random(seed, base::Stream::parameters, 0) {
    for (const TensorSpec& tensor : Unit::kTensors) {
      const auto [low, high] = Unit::range(tensor.name, extent);
      arrays.push_back(draw(tensor, Unit::has(tensor.name, variant), low, high));
    }
    grad_output.resize(extent.steps * extent.batch * extent.hidden);
    for (T& value : grad_output) value = static_cast<T>(random.uniform(-1, 1));
    for (const TensorSpec& tensor : Unit::kTensors) {
      const bool has = tensor.role == Role::state && Unit::has(tensor.name, variant);
      grad_finals.push_back(draw(tensor, has, -1, 1));
    }
    reset.assign(extent.steps * extent.batch, 0);
    for (uint8_t& mark : reset) mark = with_reset && random.below(4) == 0;
    grad_energy.resize(grad_output.size());
    for (T& value : grad_energy) value = static_cast<T>(random.uniform(-1, 1));
  }

  // The array of this name of the signature, and the gradient of a state's final value.
  std::vector<T>& operator[](std::string_view name) { return find(arrays, name).values; }
  const std::vector<T>& operator[](std::string_view name) const {
    return find(arrays, name).values;
  }
  std::vector<T>& grad_final(std::string_view name) { return find(grad_finals, name).values; }

  void zero_state() {
    for (size_t row = 0; row < arrays.size(); ++row) {
      if (!Unit::kTensors[row].is_state()) continue;
      std::fill(arrays[row].values.begin(), arrays[row].values.end(), T(0));
    }
  }

  // Everything a call writes; finals and gradients by the names of the signature.
  struct Result {
    std::vector<T> output, energy, saved;
    std::vector<Array> finals, gradients;

    const std::vector<T>& final(std::string_view name) const { return find(finals, name).values; }
    const std::vector<T>& gradient(std::string_view name) const {
      return find(gradients, name).values;
    }
  };

  template <typename RunForward, typename RunBackward>
  Result run(const RunForward& forward, const RunBackward& backward, bool save,
             const base::ParallelFor* parallel = nullptr) const {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    Result r;
    r.output.assign(grad_output.size(), nan);
    if (with_energy) r.energy.assign(grad_output.size(), nan);
    constexpr int64_t kVector = 64 / sizeof(T);
    if (save) {
      const int64_t size =
          saved_size(*Unit::template cpu_plan<T>(extent, variant, Grouping::fastest));
      r.saved.assign(size + kVector + saved_offset, nan);
    }
    for (size_t row = 0; row < arrays.size(); ++row) {
      const Array& array = arrays[row];
      r.gradients.push_back({array.name, std::vector<T>(array.values.size(), nan), array.row});
      const Array& last = grad_finals[row];
      r.finals.push_back({last.name, std::vector<T>(last.values.size(), nan), last.row});
    }
    Backward b;
    Forward& p = b.forward;
    p.extent = extent;
    p.variant = variant;
    p.reset = reset.data();
    p.output = r.output.data();
    p.energy = with_energy ? r.energy.data() : nullptr;
    void* saved = r.saved.data();
    size_t space = r.saved.size() * sizeof(T);
    p.saved = save ? static_cast<T*>(std::align(64, 64, saved, space)) + saved_offset : nullptr;
    p.parallel = parallel;
    for (size_t row = 0; row < arrays.size(); ++row) {
      if (arrays[row].values.empty()) continue;
      if (Fields::values[row] != nullptr && (with_state || !Unit::kTensors[row].is_state())) {
        p.*Fields::values[row] = arrays[row].values.data();
      }
      if (Fields::finals[row] != nullptr) p.*Fields::finals[row] = r.finals[row].values.data();
    }
    forward(p);

    b.grad_output = given != GivenGradients::final_state ? grad_output.data() : nullptr;
    b.grad_energy = given == GivenGradients::all ? grad_energy.data() : nullptr;
    for (size_t row = 0; row < arrays.size(); ++row) {
      if (arrays[row].values.empty()) continue;
      if (Fields::gradients[row] != nullptr) {
        b.*Fields::gradients[row] = r.gradients[row].values.data();
      }
      if (Fields::final_gradients[row] != nullptr && given != GivenGradients::output) {
        b.*Fields::final_gradients[row] = grad_finals[row].values.data();
      }
    }
    backward(b);
    // Arrays without a gradient are removed from the result.
    for (size_t row = arrays.size(); row-- > 0;) {
      if (Fields::gradients[row] == nullptr || arrays[row].values.empty()) {
        r.gradients.erase(r.gradients.begin() + static_cast<int64_t>(row));
      }
    }
    return r;
  }

  Result reference() const {
    return run(Unit::template forward_ref<T>, Unit::template backward_ref<T>, false);
  }
  Result cpu(const base::ParallelFor* parallel = nullptr) const {
    return run(Unit::template forward_cpu<T>, Unit::template backward_cpu<T>, true, parallel);
  }

  // The loss whose gradient `run` asks for.
  T loss() const {
    const Result r = run(
        Unit::template forward_ref<T>, [](auto&) {}, false);
    const auto dot = [](const std::vector<T>& a, const std::vector<T>& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), T(0));
    };
    T sum = dot(r.output, grad_output);
    if (given == GivenGradients::all) sum += dot(r.energy, grad_energy);
    for (size_t row = 0; row < grad_finals.size(); ++row) {
      sum += dot(r.finals[row].values, grad_finals[row].values);
    }
    return sum;
  }

  Extent extent;
  Variant variant;
  base::Random random;
  std::vector<Array> arrays;  // one for each row of the signature; empty where the variant has none
  // Which gradients backward receives: `no_energy` is all but that of the energy.
  enum class GivenGradients {
    no_energy,
    output,
    final_state,
    all
  } given = GivenGradients::no_energy;
  bool with_energy = true;   // whether the energy is measured
  int64_t saved_offset = 0;  // by how many values what is saved lies off a 64-byte boundary
  bool with_state = true;    // whether the call has an initial state
  std::vector<T> grad_output, grad_energy;
  std::vector<Array> grad_finals;  // likewise; empty but for states
  std::vector<uint8_t> reset;

 private:
  template <typename Arrays>
  static auto& find(Arrays& arrays, std::string_view name) {
    for (auto& array : arrays) {
      if (array.name == name) return array;
    }
    throw std::out_of_range(std::string(name));
  }

  // Empty unless the variant has it.
  Array draw(const TensorSpec& tensor, bool has, double low, double high) {
    if (!has) return {tensor.name, {}, 0};
    const char* shape = tensor.shape;
    for (size_t skip = Unit::alternative(tensor.name, variant); skip > 0; --skip) {
      shape = std::find(shape, shape + std::string_view(shape).size(), '|') + 1;
    }
    int64_t count = 1;
    int64_t row = 1;
    for (; *shape != '\0' && *shape != '|'; ++shape) {
      if (*shape != ' ') count *= row = size_of(*shape, extent, variant);
    }
    Array array{tensor.name, std::vector<T>(count), row};
    for (T& value : array.values) value = static_cast<T>(random.uniform(low, high));
    return array;
  }
};

// Expects that two calls wrote the same values, within the tolerances.
template <typename Result>
void expect_same(const Result& got, const Result& want, const Extent& extent) {
  expect_close(got.output, want.output, extent.hidden, "output");
  expect_close(got.energy, want.energy, extent.hidden, "energy");
  for (size_t k = 0; k < want.finals.size(); ++k) {
    expect_close(got.finals[k].values, want.finals[k].values, want.finals[k].row,
                 "final " + want.finals[k].name);
  }
  for (size_t k = 0; k < want.gradients.size(); ++k) {
    expect_close(got.gradients[k].values, want.gradients[k].values, want.gradients[k].row,
                 "gradient of " + want.gradients[k].name);
  }
}

// The CPU kernel's results are those of the reference.
template <typename Call>
void expect_cpu_matches_reference(const Call& call) {
  expect_same(call.cpu(), call.reference(), call.extent);
}

// A call without an initial state writes what one whose initial state is zeros writes.
template <typename Call>
void expect_no_state_is_zeros(Call call) {
  call.zero_state();
  const auto of_zeros = call.cpu(), reference_of_zeros = call.reference();
  call.with_state = false;
  const auto expect_equal = [](const auto& got, const auto& want) {
    EXPECT_EQ(got.output, want.output);
    EXPECT_EQ(got.energy, want.energy);
    EXPECT_EQ(got.finals, want.finals);
    EXPECT_EQ(got.gradients, want.gradients);
  };
  expect_equal(call.cpu(), of_zeros);
  expect_equal(call.reference(), reference_of_zeros);
}

}  // namespace stpn::kernels::testing
