// The one table of tolerances of the units' checks. The error of an array is
// max|ours - expected| / max|expected| unless said otherwise.
#pragma once

namespace stpn::nn {

// Golden vectors, in double: they are printed in full, and sums in another order cost 1e-15 to
// 1e-14 (measured: 4e-15). A wrong equation shows above 1e-4.
inline constexpr double kGoldenDoubleTolerance = 1e-9;

// Golden vectors, in float: rounding is 6e-8 an operation, amplified through time to below 1e-6 in
// most arrays, and to 9e-6 (measured) in a loss whose terms cancel.
inline constexpr double kGoldenFloatTolerance = 1e-4;

// Central differences of fourth order of a double loss with step 1e-4: truncation is about 1e-16
// of the fifth derivative, cancellation 1e-16 / 1e-4 = 1e-12 of the loss; relative to
// max(1, |gradient|).
inline constexpr double kFiniteDifferenceTolerance = 1e-7;

// The same numbers computed in two ways in double (a split sequence, single samples, strided
// tensors): only the order of sums differs; relative to max(1, |value|).
inline constexpr double kSameInDoubleTolerance = 1e-12;

// The same in float, where a sum over a batch's steps has some hundred terms of 6e-8 each.
inline constexpr double kSameInFloatTolerance = 1e-5;

// Every array is also checked row by row, a row being its last dimension, so that a wrong row of
// small values is seen beside rows of large ones. The error of a row is its max|ours - expected|
// relative to its own max|expected| plus kRowFloor times what the whole array's error is relative
// to: a row may be small because large terms cancel, and those leave their rounding behind. The
// tolerances are the same, of which rows use at most a third (measured, like whole arrays).
inline constexpr double kRowFloor = 1e-3;

}  // namespace stpn::nn
