// What follows from the signature of a unit (stpn/kernels/signature.h) for its op: the schema, the
// order of the arguments, the choices of the options, the description.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "stpn/kernels/signature.h"

namespace stpn::ops {

// Whether the op takes the tensor or option of this name.
bool takes(const kernels::Signature& signature, std::string_view name);

// The names of an option's choices; empty for a number.
std::vector<std::string> choices_of(const kernels::OptionSpec& option);

// The index of `word` among an option's choices. Throws base::UserError if it is none of them.
double parse_choice(const kernels::OptionSpec& option, std::string_view word);

// The arguments of the op, in the order of its schema: required and nullable tensors by position;
// then by name optional tensors, `reset`, options, `energy`.
struct Argument {
  enum class Kind { tensor, reset, option, energy } kind;
  size_t row;  // of the signature's tensors or options
};
std::vector<Argument> arguments_of(const kernels::Signature& signature);

// "NAME(Tensor x, ...) -> (Tensor output, Tensor F, ..., Tensor energy)", for torch.
std::string schema_of(const kernels::Signature& signature);

// "(H, P), (P) or (1)" from "H P | P | 1".
std::string shape_text(std::string_view shape);

// The arguments and results for a human reader, one line each.
std::string description_of(const kernels::Signature& signature);

}  // namespace stpn::ops
