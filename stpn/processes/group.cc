#include "stpn/processes/group.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "stpn/processes/message.h"

namespace stpn::processes {
namespace {

// What a control message says, in its first byte.
constexpr char kAsk = '?';
constexpr char kAnswer = '!';
constexpr char kFailed = 'F';  // then the exit code and the reason

thread_local Group* current = nullptr;

// Waits a little, longer and longer: whoever waits for long leaves the processor to others.
class Pause {
 public:
  void operator()() {
    if (++count_ < 200) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(count_ < 2000 ? 20 : 200));
    }
  }
  bool looks_at_control() const { return count_ % 64 == 63; }

 private:
  int64_t count_ = 0;
};

}  // namespace

Group::Group() = default;

Group::Group(std::unique_ptr<Transport> transport, Seconds patience)
    : transport_(std::move(transport)),
      patience_(patience),
      grace_(std::min(kGrace, patience)),
      rank_(transport_->rank()),
      size_(transport_->size()),
      answered_(size_) {}

Group::~Group() = default;

Share Group::share(int64_t count, int rank) const {
  const int64_t each = count / size_, more = count % size_;
  const int64_t begin = rank * each + std::min<int64_t>(rank, more);
  return {begin, begin + each + (rank < more ? 1 : 0)};
}

std::vector<std::string> Group::gather(std::string message) {
  std::vector<std::string> all(size_);
  if (alone()) {
    all[0] = std::move(message);
    return all;
  }
  Writer writer;
  if (is_first()) {
    writer.text(message);
    for (int rank = 1; rank < size_; ++rank) writer.text(receive(rank));
  } else {
    send(0, std::move(message));
  }
  const std::string joined = broadcast(writer.take());
  Reader reader(joined);
  for (std::string& part : all) part = reader.text();
  return all;
}

std::string Group::broadcast(std::string message, int from) {
  // Along a binomial tree: rank `from` + k gets it from the one without k's highest bit.
  const int k = (rank_ - from + size_) % size_;
  const auto rank_of = [&](int place) { return (place + from) % size_; };
  int bit = 1;
  while (bit <= k) bit *= 2;
  if (k > 0) message = receive(rank_of(k - bit / 2));
  for (; k + bit < size_; bit *= 2) {
    post(rank_of(k + bit), message);
  }
  if (!alone()) wait_until([&] { return transport_->all_left(); });
  return message;
}

void Group::send(int to, std::string message) {
  post(to, std::move(message));
  wait_until([&] { return transport_->all_left(); });
}

std::string Group::receive(int from) {
  std::string message;
  wait_until([&] {
    std::optional<Received> received = transport_->take(from, Channel::data);
    if (received) message = std::move(received->message);
    return received.has_value();
  });
  return message;
}

void Group::post(int to, std::string message) {
  explain_broken([&] { transport_->post(to, Channel::data, std::move(message)); });
}

template <typename Arrived>
void Group::wait_until(const Arrived& arrived) {
  explain_broken([&] {
    Clock::time_point begin = Clock::now();
    int all_answered = 0;
    for (Pause pause; !arrived(); pause()) {
      if (!pause.looks_at_control()) continue;
      handle_control();
      if (Clock::now() - begin < patience_) continue;
      const std::vector<int> silent = ask();
      if (arrived()) return;
      if (!silent.empty()) throw_lost(silent);
      // All wait, which they do for a moment wherever one was slow. If they always do, that is a
      // mistake in the program.
      if (is_first() && ++all_answered == 3) {
        throw LostProcess(fmt::format("the {} processes wait for one another", size_));
      }
      begin = Clock::now();
    }
  });
}

template <typename Call>
void Group::explain_broken(const Call& call) {
  try {
    call();
  } catch (const LostProcess&) {
    throw;
  } catch (const OtherFailed&) {
    throw;
  } catch (const base::UserError&) {
    throw;
  } catch (const base::Error& error) {
    const std::string message = fmt::format(
        "the connection to another process is broken: {}; start the run again with "
        "--resume",
        error.what());
    if (is_first()) throw LostProcess(message);
    throw base::Error(message);
  }
}

void Group::handle_control() {
  while (std::optional<Received> received = transport_->take(kAnyRank, Channel::control)) {
    const std::string& message = received->message;
    if (message.front() == kAsk) {
      transport_->post(received->from, Channel::control, std::string(1, kAnswer));
    } else if (message.front() == kAnswer) {
      answered_[received->from] = Clock::now();
    } else {
      Reader reader(std::string_view(message).substr(1));
      const auto exit_code = reader.number<int>();
      throw OtherFailed(exit_code,
                        fmt::format("process {} of {}: {}", received->from, size_, reader.text()));
    }
  }
}

std::vector<int> Group::ask() {
  // Process 0 ends the run, so it asks all; the others ask whether it is the one that is lost.
  const int begin = is_first() ? 1 : 0, end = is_first() ? size_ : 1;
  const Clock::time_point asked = Clock::now();
  for (int rank = begin; rank < end; ++rank) {
    transport_->post(rank, Channel::control, std::string(1, kAsk));
  }
  std::vector<int> silent;
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    handle_control();
    silent.clear();
    for (int rank = begin; rank < end; ++rank) {
      if (answered_[rank] < asked) silent.push_back(rank);
    }
  } while (!silent.empty() && Clock::now() - asked < grace_);
  return silent;
}

void Group::throw_lost(const std::vector<int>& ranks) {
  // Without process 0, process 1 ends the run, unless it is lost too, and so on.
  const Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(grace_ * std::max(0, rank_ - 1));
  while (Clock::now() < end) {
    handle_control();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  throw LostProcess(fmt::format(
      "process {} of {} {} not answered for {:g} s: it hangs, or its machine cannot be reached; "
      "start the run again with --resume",
      fmt::join(ranks, ", "), size_, ranks.size() == 1 ? "has" : "have", patience_.count()));
}

void Group::finish() {
  if (alone()) return;
  // All messages of all processes have arrived when the last broadcast has.
  gather("");
  transport_->finish();
}

void Group::fail(int exit_code, const std::string& message, bool lost,
                 void (*say)(const std::string& message)) {
  if (!is_first() && !lost) {
    // Process 0 ends all processes when it next waits; unless it cannot. An error that it has found
    // itself it is to report itself.
    std::this_thread::sleep_for(grace_);
    Writer writer;
    writer.number(kFailed);
    writer.number(exit_code);
    writer.text(message);
    try {
      transport_->post(0, Channel::control, writer.take());
      for (const auto end = Clock::now() + patience_ + grace_; Clock::now() < end;) {
        transport_->all_left();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    } catch (const base::Error&) {
    }
  }
  say(message);
  transport_->abort(exit_code);
  std::_Exit(exit_code);
}

Group& group() {
  static Group alone;
  return current == nullptr ? alone : *current;
}

GroupGuard::GroupGuard(Group& group) : before_(std::exchange(current, &group)) {}
GroupGuard::~GroupGuard() { current = before_; }

}  // namespace stpn::processes
