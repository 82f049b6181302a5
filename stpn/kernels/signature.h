// A fused unit's signature: every tensor and every option of its op, once. The parameter structs of
// the kernels, the op's schema and checks, the options in experiment files, the tests' random calls
// and `stpn list units` are made from the two lists of stpn/kernels/<unit>/signature.h.
//
// A list is a macro that calls X for each row.
//
//   Tensors:  X(role, name, shape, given, gradient, meaning)
//     role      input; parameter; state (it has a final value too); activity (a state whose final
//               value is the last output); op_input (an input of the op, unknown to the kernels)
//     shape     sizes by letter, alternatives after |: "H P | P | 1"
//               T steps, B samples, I inputs, H neurons; other letters are the unit's
//     given     required; nullable (an argument by position that may be None); optional (by name)
//     gradient  differentiable, constant
//   Options:  X(kind, type, name, value, least, most, meaning)
//     kind      choice (`type` is an enum made by STPN_CHOICES, and `value` one of it); number;
//               integer; bound (a number for which None and infinity mean that there is none)
//     value     the default
//     least, most   limits of a number, both allowed; 0, 0 for a choice
#pragma once

#include <span>

namespace stpn::kernels {

// An enum whose enumerators are the choices of an option, and their names as one text.
#define STPN_CHOICES(Name, ...)                                 \
  enum class Name { __VA_ARGS__ };                              \
  constexpr const char* names_of(Name) { return #__VA_ARGS__; } \
  static_assert(true)

enum class Role { input, parameter, state, activity, op_input };
enum class Given { required, nullable, optional };
enum class Gradient { differentiable, constant };

struct TensorSpec {
  Role role;
  const char* name;
  const char* shape;
  Given given;
  Gradient gradient;
  const char* meaning;

  constexpr bool is_state() const { return role == Role::state || role == Role::activity; }
  constexpr bool differentiable() const { return gradient == Gradient::differentiable; }
};

enum class OptionKind { choice, number, integer, bound };

struct OptionSpec {
  OptionKind kind;
  const char* name;
  const char* choices;   // of a choice: their names, separated by ", "
  const char* value;     // the default, as it is written
  double default_value;  // the same as a number; of a choice, its index
  double least, most;
  const char* meaning;
};

// One op of a unit: its lists, and the names in them that this op does not take.
struct Signature {
  const char* name;
  std::span<const TensorSpec> tensors;
  std::span<const OptionSpec> options;
  std::span<const char* const> absent;
};

// Rows of the two tables.
#define STPN_TENSOR_SPEC(role, name, shape, given, gradient, meaning) \
  {Role::role, #name, shape, Given::given, Gradient::gradient, meaning},
#define STPN_OPTION_SPEC(kind, type, name, value, least, most, meaning) \
  {OptionKind::kind,                                                    \
   #name,                                                               \
   STPN_NAMES_##kind(type),                                             \
   #value,                                                              \
   STPN_DEFAULT_##kind(type, value),                                    \
   least,                                                               \
   most,                                                                \
   meaning},
#define STPN_NAMES_choice(type) names_of(type())
#define STPN_NAMES_number(type) ""
#define STPN_NAMES_integer(type) ""
#define STPN_NAMES_bound(type) ""
#define STPN_DEFAULT_choice(type, value) static_cast<double>(type::value)
#define STPN_DEFAULT_number(type, value) value
#define STPN_DEFAULT_integer(type, value) value
#define STPN_DEFAULT_bound(type, value) value

// The fields of a variant: one for each option, an enum or a number.
#define STPN_VARIANT_FIELD(kind, type, name, value, least, most, meaning) \
  type name = STPN_VALUE_##kind(type, value);
#define STPN_VALUE_choice(type, value) type::value
#define STPN_VALUE_number(type, value) value
#define STPN_VALUE_integer(type, value) value
#define STPN_VALUE_bound(type, value) value

// The fields of a kernel's parameter structs. All point to dense arrays of the row's shape; null
// where the variant has no such tensor.
//   forward:   const T* NAME (input, parameter), const T* initial_NAME, T* final_NAME (states; on
//              the CPU null: zeros, and not wanted)
//   backward:  T* grad_NAME, T* grad_initial_NAME, const T* grad_final_NAME
#define STPN_FORWARD_FIELD(role, name, shape, given, gradient, meaning) STPN_FORWARD_##role(name)
#define STPN_FORWARD_input(name) const T* name = nullptr;
#define STPN_FORWARD_parameter(name) const T* name = nullptr;
#define STPN_FORWARD_activity(name) const T* initial_##name = nullptr;
#define STPN_FORWARD_state(name)     \
  const T* initial_##name = nullptr; \
  T* final_##name = nullptr;
#define STPN_FORWARD_op_input(name)

#define STPN_BACKWARD_FIELD(role, name, shape, given, gradient, meaning) \
  STPN_BACKWARD_##role##_##gradient(name)
#define STPN_BACKWARD_input_differentiable(name) T* grad_##name = nullptr;
#define STPN_BACKWARD_parameter_differentiable(name) T* grad_##name = nullptr;
#define STPN_BACKWARD_activity_differentiable(name) T* grad_initial_##name = nullptr;
#define STPN_BACKWARD_state_differentiable(name) \
  T* grad_initial_##name = nullptr;              \
  const T* grad_final_##name = nullptr;
#define STPN_BACKWARD_input_constant(name)
#define STPN_BACKWARD_op_input_constant(name)

// The same fields by row, for code that goes through the table: see UnitFields below.
#define STPN_VALUE_OF(role, name, shape, given, gradient, meaning) STPN_VALUE_OF_##role(name)
#define STPN_VALUE_OF_input(name) &Forward::name,
#define STPN_VALUE_OF_parameter(name) &Forward::name,
#define STPN_VALUE_OF_activity(name) &Forward::initial_##name,
#define STPN_VALUE_OF_state(name) &Forward::initial_##name,
#define STPN_VALUE_OF_op_input(name) nullptr,

#define STPN_GRADIENT_OF(role, name, shape, given, gradient, meaning) \
  STPN_GRADIENT_OF_##role##_##gradient(name)
#define STPN_GRADIENT_OF_input_differentiable(name) &Backward::grad_##name,
#define STPN_GRADIENT_OF_parameter_differentiable(name) &Backward::grad_##name,
#define STPN_GRADIENT_OF_activity_differentiable(name) &Backward::grad_initial_##name,
#define STPN_GRADIENT_OF_state_differentiable(name) &Backward::grad_initial_##name,
#define STPN_GRADIENT_OF_input_constant(name) nullptr,
#define STPN_GRADIENT_OF_op_input_constant(name) nullptr,

#define STPN_FINAL_OF(role, name, shape, given, gradient, meaning) STPN_FINAL_OF_##role(name)
#define STPN_FINAL_OF_input(name) nullptr,
#define STPN_FINAL_OF_parameter(name) nullptr,
#define STPN_FINAL_OF_activity(name) nullptr,
#define STPN_FINAL_OF_state(name) &Forward::final_##name,
#define STPN_FINAL_OF_op_input(name) nullptr,

#define STPN_GRAD_FINAL_OF(role, name, shape, given, gradient, meaning) \
  STPN_GRAD_FINAL_OF_##role(name)
#define STPN_GRAD_FINAL_OF_input(name) nullptr,
#define STPN_GRAD_FINAL_OF_parameter(name) nullptr,
#define STPN_GRAD_FINAL_OF_activity(name) nullptr,
#define STPN_GRAD_FINAL_OF_state(name) &Backward::grad_final_##name,
#define STPN_GRAD_FINAL_OF_op_input(name) nullptr,

// Struct NAME<T>: for each row of TENSORS, which field of the parameter structs holds its values,
// gradient, final value and the gradient of that; null where there is none.
#define STPN_UNIT_FIELDS(NAME, TENSORS, FORWARD, BACKWARD)                                  \
  template <typename T>                                                                     \
  struct NAME {                                                                             \
    using Forward = FORWARD<T>;   /* NOLINT(bugprone-macro-parentheses) */                  \
    using Backward = BACKWARD<T>; /* NOLINT(bugprone-macro-parentheses) */                  \
    static constexpr const T* Forward::*values[] = {TENSORS(STPN_VALUE_OF)};                \
    static constexpr T* Backward::*gradients[] = {TENSORS(STPN_GRADIENT_OF)};               \
    static constexpr T* Forward::*finals[] = {TENSORS(STPN_FINAL_OF)};                      \
    static constexpr const T* Backward::*final_gradients[] = {TENSORS(STPN_GRAD_FINAL_OF)}; \
  }

// Calls visit(field) for each tensor of a call, and for each option's field of a variant, in the
// order of the tables.
#define STPN_VISIT_TENSOR(role, name, shape, given, gradient, meaning) visit(call.name);
#define STPN_VISIT_OPTION(kind, type, name, value, least, most, meaning) visit(variant.name);

}  // namespace stpn::kernels
