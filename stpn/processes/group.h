// The processes of one run: how they divide work, and the messages by which each learns what the
// others computed.
//
// Every process runs the same program on the same experiment and takes the same decisions. Work is
// divided into shards, as for threads; a process computes a contiguous part of them. All calls
// below that pass messages are made by all processes, in the same order.
//
// A process that waits longer than the patience for a message asks whether the others are there:
// process 0 asks all, any other asks process 0. One that waits itself answers at once; one that is
// killed, stopped, stuck or cut off does not. Process 0 then names it, and ends the run; if process
// 0 is the one, process 1 does.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/processes/transport.h"

namespace stpn::processes {

// A process of the run does not answer, or the connection to it is broken.
class LostProcess : public base::Error {
 public:
  using Error::Error;
};

// Another process has failed, and has said why.
class OtherFailed : public base::Error {
 public:
  OtherFailed(int exit_code, const std::string& message) : Error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

// Shards [begin, end).
struct Share {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

class Group {
 public:
  using Seconds = std::chrono::duration<double>;
  static constexpr Seconds kPatience{300};
  // Within which a process that waits answers; less where the patience is less.
  static constexpr Seconds kGrace{2};

  Group();  // of this process alone
  explicit Group(std::unique_ptr<Transport> transport, Seconds patience = kPatience);
  ~Group();

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_first() const { return rank_ == 0; }
  bool alone() const { return size_ == 1; }

  // The shards, of `count`, that a rank computes. Shards are in the order of the ranks, and the
  // numbers of any two ranks differ by at most one; where there are too few, the last ranks have
  // none.
  Share share(int64_t count, int rank) const;
  Share share(int64_t count) const { return share(count, rank_); }

  // The messages of all ranks, in their order.
  std::vector<std::string> gather(std::string message);
  // Passes the message of rank `from` to all.
  std::string broadcast(std::string message, int from = 0);
  // One message from this rank to another, which has to call `receive`.
  void send(int to, std::string message);
  std::string receive(int from);

  // Ends an undisturbed run: disconnects.
  void finish();
  // Ends a run that has failed here with this exit code. Process 0, or one whose process 0 is lost,
  // calls `say` and ends all processes. Any other leaves that to process 0.
  [[noreturn]] void fail(int exit_code, const std::string& message, bool lost,
                         void (*say)(const std::string& message));

 private:
  using Clock = std::chrono::steady_clock;

  template <typename Arrived>
  void wait_until(const Arrived& arrived);
  // Calls it; says of an error of the transport that the connection is broken.
  template <typename Call>
  void explain_broken(const Call& call);
  void post(int to, std::string message);
  void handle_control();
  // Asks process 0, or as process 0 all others, whether they are there. Returns who does not answer
  // within the grace.
  std::vector<int> ask();
  [[noreturn]] void throw_lost(const std::vector<int>& ranks);

  std::unique_ptr<Transport> transport_;
  Seconds patience_{}, grace_{};
  int rank_ = 0, size_ = 1;
  std::vector<Clock::time_point> answered_;  // by rank: when it last did
};

// The group that work on this thread is shared with; by default this process alone.
Group& group();

// While an object of this class exists, `group()` on this thread is the one given.
class GroupGuard {
 public:
  explicit GroupGuard(Group& group);
  ~GroupGuard();
  GroupGuard(const GroupGuard&) = delete;
  GroupGuard& operator=(const GroupGuard&) = delete;

 private:
  Group* before_;
};

}  // namespace stpn::processes
