// The table of all units: maps the name in an experiment's [unit] table to the unit's options.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

// More neurons than this must be a typing error: their weights alone would fill any memory.
inline constexpr double kMostNeurons = 1e5;

// A unit's options, before its input size is known.
class UnitOptions {
 public:
  virtual ~UnitOptions() = default;
  // Bound to this object's members.
  virtual std::vector<base::Field> fields() = 0;
  // Parameters are not drawn yet: call reset_parameters.
  virtual std::shared_ptr<Unit> make(int64_t input_size) const = 0;
};

struct UnitEntry {
  std::string name;
  std::string summary;  // one line for `stpn list units`
  std::unique_ptr<UnitOptions> (*options)();
};

// In the order they are listed.
const std::vector<UnitEntry>& unit_registry();

// Throws base::UserError naming the nearest if there is no unit of that name; `where` names the
// place in the experiment.
const UnitEntry& find_unit(const std::string& name, const std::string& where);

}  // namespace stpn::nn
