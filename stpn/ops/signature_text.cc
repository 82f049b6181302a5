#include "stpn/ops/signature_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "stpn/base/error.h"

namespace stpn::ops {
namespace {

using kernels::Given;
using kernels::OptionKind;
using kernels::OptionSpec;
using kernels::Role;
using kernels::Signature;
using kernels::TensorSpec;

std::vector<std::string> split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + separator.size()));
  }
  return parts;
}

std::string schema_of_option(const OptionSpec& option) {
  switch (option.kind) {
    case OptionKind::choice:
      return fmt::format("str {}='{}'", option.name, option.value);
    case OptionKind::integer:
      return fmt::format("int {}={}", option.name, option.value);
    case OptionKind::bound:
      return fmt::format("float? {}=None", option.name);
    case OptionKind::number:
      break;
  }
  return fmt::format("float {}={}", option.name, option.value);
}

}  // namespace

bool takes(const Signature& signature, std::string_view name) {
  return std::find(signature.absent.begin(), signature.absent.end(), name) ==
         signature.absent.end();
}

std::vector<std::string> choices_of(const OptionSpec& option) {
  return split(option.choices, ", ");
}

double parse_choice(const OptionSpec& option, std::string_view word) {
  std::string_view rest = option.choices;
  for (double index = 0; !rest.empty(); ++index) {
    const size_t end = std::min(rest.find(", "), rest.size());
    if (rest.substr(0, end) == word) return index;
    rest.remove_prefix(std::min(rest.size(), end + 2));
  }
  throw base::UserError(
      fmt::format("{} is \"{}\", wants one of {}", option.name, word, option.choices));
}

std::vector<Argument> arguments_of(const Signature& signature) {
  std::vector<Argument> arguments;
  const auto add_tensors = [&](bool by_name) {
    for (size_t row = 0; row < signature.tensors.size(); ++row) {
      const TensorSpec& tensor = signature.tensors[row];
      if ((tensor.given == Given::optional) == by_name && takes(signature, tensor.name)) {
        arguments.push_back({Argument::Kind::tensor, row});
      }
    }
  };
  add_tensors(false);
  add_tensors(true);
  arguments.push_back({Argument::Kind::reset, 0});
  for (size_t row = 0; row < signature.options.size(); ++row) {
    if (takes(signature, signature.options[row].name)) {
      arguments.push_back({Argument::Kind::option, row});
    }
  }
  arguments.push_back({Argument::Kind::energy, 0});
  return arguments;
}

std::string schema_of(const Signature& signature) {
  std::vector<std::string> arguments;
  bool by_name = false;
  for (const Argument& argument : arguments_of(signature)) {
    const bool tensor = argument.kind == Argument::Kind::tensor;
    const Given given = tensor ? signature.tensors[argument.row].given : Given::optional;
    if (given == Given::optional && !by_name) arguments.emplace_back("*");
    by_name = given == Given::optional;
    switch (argument.kind) {
      case Argument::Kind::tensor:
        arguments.push_back(fmt::format("Tensor{} {}{}", given == Given::required ? "" : "?",
                                        signature.tensors[argument.row].name,
                                        by_name ? "=None" : ""));
        break;
      case Argument::Kind::reset:
        arguments.emplace_back("Tensor? reset=None");
        break;
      case Argument::Kind::option:
        arguments.push_back(schema_of_option(signature.options[argument.row]));
        break;
      case Argument::Kind::energy:
        arguments.emplace_back("bool energy=False");
        break;
    }
  }
  std::vector<std::string> results{"Tensor output"};
  for (const TensorSpec& tensor : signature.tensors) {
    if (tensor.role == Role::state) results.push_back(fmt::format("Tensor {}", tensor.name));
  }
  results.emplace_back("Tensor energy");
  return fmt::format("{}({}) -> ({})", signature.name, fmt::join(arguments, ", "),
                     fmt::join(results, ", "));
}

std::string shape_text(std::string_view shape) {
  const std::vector<std::string> alternatives = split(shape, " | ");
  std::string text;
  for (size_t k = 0; k < alternatives.size(); ++k) {
    if (k > 0) text += k + 1 == alternatives.size() ? " or " : ", ";
    text += fmt::format("({})", fmt::join(split(alternatives[k], " "), ", "));
  }
  return text;
}

std::string description_of(const Signature& signature) {
  std::string text;
  const auto line = [&](std::string_view name, std::string_view shape, std::string_view meaning) {
    text += fmt::format("  {:<18} {:<20} {}\n", name, shape, meaning);
  };
  for (const Argument& argument : arguments_of(signature)) {
    if (argument.kind == Argument::Kind::tensor) {
      const TensorSpec& tensor = signature.tensors[argument.row];
      const std::string meaning = std::string(tensor.is_state() ? "state: " : "") + tensor.meaning;
      const bool zeros = tensor.is_state() && tensor.given == Given::nullable;
      line(tensor.name, shape_text(tensor.shape),
           tensor.given == Given::required
               ? meaning
               : meaning + (zeros ? "; None: zeros" : "; may be absent"));
    } else if (argument.kind == Argument::Kind::reset) {
      line("reset", "(T, B) bool", "true: the sample's state is zeroed before the step");
    } else if (argument.kind == Argument::Kind::option) {
      const OptionSpec& option = signature.options[argument.row];
      const bool choice = option.kind == OptionKind::choice;
      line(option.name, choice ? "" : "number",
           choice ? fmt::format("{} ({})", option.meaning, option.choices) : option.meaning);
    } else {
      line("energy", "bool", "also measure energy");
    }
  }
  line("-> output", "(T, B, H)", "activity of every step; the last is the final h");
  for (const TensorSpec& tensor : signature.tensors) {
    if (tensor.role != Role::state) continue;
    line(fmt::format("-> {}", tensor.name), shape_text(tensor.shape),
         tensor.given == Given::optional ? "final state; empty where absent" : "final state");
  }
  line("-> energy", "(T, B, H)", "of each neuron at each step; empty unless asked for");
  return text;
}

}  // namespace stpn::ops
