// A line on the terminal that is redrawn in place, fitted to the width of the window.
#pragma once

#include <string>
#include <vector>

namespace stpn::cli {

class StatusLine {
 public:
  StatusLine();

  // Whether standard error is a terminal. If not, the functions below do nothing.
  bool visible() const { return terminal_; }

  // Shows one of `lines`, which say the same, the longest first and each with less than the one
  // before: the first that fits the window as it is now.
  void draw(const std::vector<std::string>& lines);
  void clear();  // removes the line
  void keep();   // leaves the line as it is, and goes on below it

 private:
  const bool terminal_;
  bool drawn_ = false;
};

}  // namespace stpn::cli
