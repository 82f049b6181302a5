#include "cli/progress/status_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/say.h"

namespace stpn::cli {
namespace {

constexpr size_t kUsualColumns = 80;  // for a terminal that does not know its size

size_t columns() {
  winsize size = {};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kUsualColumns;
}

// The first of the lines that is at most `width` characters long; if all are longer, the start of
// the last.
std::string first_that_fits(const std::vector<std::string>& lines, size_t width) {
  for (const std::string& line : lines) {
    if (line.size() <= width) return line;
  }
  return lines.back().substr(0, width);
}

}  // namespace

StatusLine::StatusLine() : terminal_(isatty(STDERR_FILENO) != 0) {}

void StatusLine::draw(const std::vector<std::string>& lines) {
  if (!terminal_) return;
  // A character in the last column would move the cursor to the next line on some terminals.
  say(fmt::format("\r{}\x1b[K", first_that_fits(lines, columns() - 1)));
  drawn_ = true;
}

void StatusLine::clear() {
  if (drawn_) say("\r\x1b[K");
  drawn_ = false;
}

void StatusLine::keep() {
  if (drawn_) say("\n");
  drawn_ = false;
}

}  // namespace stpn::cli
