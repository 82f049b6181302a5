// How the processes of one run pass messages to one another. Each has a rank, from 0 on. Messages
// from one process to another arrive whole and, on a channel, in the order in which they were
// posted. No call waits: waiting, and what to do about a process that is lost, is Group's part.
#pragma once

#include <optional>
#include <string>

#include "stpn/base/error.h"

namespace stpn::processes {

// Messages of the computation, and those about the processes themselves (Group).
enum class Channel { data, control };

struct Received {
  int from = 0;
  std::string message;
};

inline constexpr int kAnyRank = -1;

// Calls come from one thread, and throw base::Error if the connection is broken.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Begins to send a message, which may be empty.
  virtual void post(int to, Channel channel, std::string message) = 0;
  // Whether all posted messages have left, so that the caller need not call for a while.
  virtual bool all_left() = 0;
  // The next message from that rank, if it has arrived. kAnyRank: on the control channel only.
  virtual std::optional<Received> take(int from, Channel channel) = 0;

  // After the last message: disconnects. All processes have to call it.
  virtual void finish() = 0;
  // Ends all processes of the run that can be reached, and this one, at once.
  virtual void abort(int exit_code) = 0;
};

}  // namespace stpn::processes
