// Holds the units to golden vectors: inputs, parameters, outputs, energy and gradients made by
// other code, one JSON file for each unit and variant. Adding a unit: golden_units.cc.
//
//   config                                 "unit", "input_size", "hidden_size" and every switch
//   params, initial_state                  arrays by name, {"shape": [...], "data": [row-major]}
//   x (T, B, I)
//   output (T, B, H), final_state, energy  what must come out; energy is (T, B, H), or that of each
//                                          gate, (T, B, gates H), or absent
//   cotangent_output, cotangent_final_state
//                                          the loss is the sum of output and final state times
//                                          these
//   loss, grad                             its value, and gradients: x, param.NAME, initial.NAME
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace stpn::verify {

// One unit on one backend in one dtype against one file.
struct GoldenResult {
  std::string unit;     // as the file calls it
  std::string backend;  // reference, cpu or libtorch
  std::string dtype;    // double or float
  // The largest error of an array, max|ours - golden| / max|golden| (absolute where golden is all
  // zero); infinite where ours is not finite. If each array is within its tolerance but a row of
  // one is not, the largest error of a row (stpn/nn/tolerances.h says relative to what).
  double largest_error = 0;
  std::string array;  // the one it is of; "a row of NAME" for a row
  double tolerance = 0;
  bool ok = false;
};

// A result for each backend and dtype the unit has. Throws base::UserError naming the file and what
// is missing or wrong in it: no JSON, a unit, key or value not known, an array of the wrong shape,
// a value that is not finite.
std::vector<GoldenResult> verify_golden(const std::filesystem::path& path);

}  // namespace stpn::verify
