#include <fmt/format.h>
#include <mpi.h>

#include <limits>
#include <list>
#include <map>
#include <utility>

#include "stpn/processes/launch.h"

namespace stpn::processes {
namespace {

void check_mpi(int code) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw base::Error(fmt::format("MPI: {}", std::string(text, length)));
}

class MpiTransport : public Transport {
 public:
  MpiTransport() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_));
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void post(int to, Channel channel, std::string message) override {
    Posted& posted = posted_.emplace_back(Posted{std::move(message), MPI_REQUEST_NULL});
    check_mpi(MPI_Isend(posted.message.data(), count_of(posted.message.size()), MPI_BYTE, to,
                        static_cast<int>(channel), MPI_COMM_WORLD, &posted.request));
  }

  bool all_left() override {
    for (auto posted = posted_.begin(); posted != posted_.end();) {
      posted = done(posted->request) ? posted_.erase(posted) : std::next(posted);
    }
    return posted_.empty();
  }

  std::optional<Received> take(int from, Channel channel) override {
    all_left();  // lets what was posted progress
    const auto key = std::pair(from, channel);
    auto arriving = arriving_.find(key);
    if (arriving == arriving_.end()) {
      int arrived = 0;
      MPI_Message handle = MPI_MESSAGE_NULL;
      MPI_Status status;
      check_mpi(MPI_Improbe(from == kAnyRank ? MPI_ANY_SOURCE : from, static_cast<int>(channel),
                            MPI_COMM_WORLD, &arrived, &handle, &status));
      if (!arrived) return {};
      int count = 0;
      check_mpi(MPI_Get_count(&status, MPI_BYTE, &count));
      arriving = arriving_.emplace(key, Arriving{}).first;
      Arriving& added = arriving->second;
      added.received = {status.MPI_SOURCE, std::string(count, '\0')};
      check_mpi(
          MPI_Imrecv(added.received.message.data(), count, MPI_BYTE, &handle, &added.request));
    }
    if (!done(arriving->second.request)) return {};
    Received received = std::move(arriving->second.received);
    arriving_.erase(arriving);
    return received;
  }

  void finish() override { check_mpi(MPI_Finalize()); }

  void abort(int exit_code) override { MPI_Abort(MPI_COMM_WORLD, exit_code); }

 private:
  struct Posted {
    std::string message;
    MPI_Request request;
  };
  struct Arriving {
    Received received;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  static int count_of(size_t bytes) {
    STPN_CHECK(bytes <= static_cast<size_t>(std::numeric_limits<int>::max()),
               "a message of {} bytes between processes exceeds 2 GiB: use fewer environments, or "
               "one process",
               bytes);
    return static_cast<int>(bytes);
  }
  static bool done(MPI_Request& request) {
    int flag = 0;
    check_mpi(MPI_Test(&request, &flag, MPI_STATUS_IGNORE));
    return flag != 0;
  }

  int rank_ = 0, size_ = 1;
  std::list<Posted> posted_;  // buffers stay where they are until they have left
  std::map<std::pair<int, Channel>, Arriving> arriving_;
};

}  // namespace

std::unique_ptr<Transport> connect(const Launch& launch) {
  auto transport = std::make_unique<MpiTransport>();
  if (transport->size() != launch.size) {
    throw base::UserError(fmt::format(
        "{} has started {} processes, but MPI sees {}: {}", launch.launcher, launch.size,
        transport->size(),
        launch.launcher == "srun" ? "add --mpi=pmix, or set STPN_ALONE=1 for independent runs"
                                  : "use the launcher of the MPI that the program was built with"));
  }
  return transport;
}

}  // namespace stpn::processes
