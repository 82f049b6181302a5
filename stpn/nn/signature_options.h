// A unit's options in an experiment file, from its signature (stpn/kernels/<unit>/signature.h): the
// same names, defaults, choices and limits, a choice as a word.
//
//   struct LeakyOptions : UnitOptions {
//     LEAKY_OPTIONS(STPN_CONFIG_MEMBER)      // std::string norm = "pre"; double clamp = ...;
//   };
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/kernels/signature.h"
#include "stpn/ops/signature_text.h"

// A member of an options struct.
#define STPN_CONFIG_MEMBER(kind, type, name, value, least, most, meaning) \
  STPN_CONFIG_MEMBER_##kind(name, value)
#define STPN_CONFIG_MEMBER_choice(name, value) std::string name = #value;
#define STPN_CONFIG_MEMBER_number(name, value) double name = value;
#define STPN_CONFIG_MEMBER_bound(name, value) double name = value;
#define STPN_CONFIG_MEMBER_integer(name, value) int64_t name = value;
// Of `options`: visit(member), in the order of the signature.
#define STPN_CONFIG_VISIT(kind, type, name, value, least, most, meaning) visit(options.name);
// Of `options` and of the kernels' `variant`: visit(member, field).
#define STPN_CONFIG_VISIT_BOTH(kind, type, name, value, least, most, meaning) \
  visit(options.name, variant.name);

namespace stpn::nn {

inline base::Field option_field(const kernels::OptionSpec& option, std::string& value) {
  return base::field(option.name, value, option.meaning, ops::choices_of(option));
}
template <typename Number>
base::Field option_field(const kernels::OptionSpec& option, Number& value) {
  return base::field(option.name, value, option.meaning,
                     {.least = option.least, .most = option.most});
}

// The place of `word` among the choices of an option that is not in the signature. Throws
// base::UserError if it is none of them.
int choice_index(const char* option, const std::string& word,
                 const std::vector<std::string>& choices);

// Fields bound to the options' members. `visit_members(visit)` calls visit(member) for each.
template <typename VisitMembers>
std::vector<base::Field> option_fields(const kernels::Signature& signature,
                                       const VisitMembers& visit_members) {
  std::vector<base::Field> fields;
  size_t next = 0;
  visit_members([&](auto& member) {
    const kernels::OptionSpec& option = signature.options[next++];
    if (ops::takes(signature, option.name)) fields.push_back(option_field(option, member));
  });
  return fields;
}

// Sets a variant's options. `visit_both(visit)` calls visit(member, field) for each. Throws
// base::UserError for a word that is none of the choices.
template <typename VisitBoth>
void set_variant(const kernels::Signature& signature, const VisitBoth& visit_both) {
  size_t next = 0;
  visit_both([&]<typename Member, typename Value>(const Member& member, Value& field) {
    const kernels::OptionSpec& option = signature.options[next++];
    if constexpr (std::is_same_v<Member, std::string>) {
      field = static_cast<Value>(ops::parse_choice(option, member));
    } else {
      field = member;
    }
  });
}

}  // namespace stpn::nn
