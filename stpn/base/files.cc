#include "stpn/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "stpn/base/error.h"

namespace stpn::base {
namespace {

namespace fs = std::filesystem;

// The text of errno.
std::string cause() { return std::strerror(errno); }

// A file descriptor that is closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number() const { return number_; }
  bool valid() const { return number_ >= 0; }
  int release() { return std::exchange(number_, -1); }
  // False if closing fails: some file systems report a failed write only then.
  bool close() { return ::close(release()) == 0; }

 private:
  int number_;
};

int open_retrying(const fs::path& path, int flags) {
  int number;
  do number = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (number < 0 && errno == EINTR);
  return number;
}

// Returns false and sets errno if not all bytes could be written.
bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// A name in the folder of `path` that no other process or thread uses.
fs::path temporary_name(const fs::path& path) {
  static std::atomic<uint64_t> count{0};
  fs::path name = path;
  name += fmt::format(".{}.{}.tmp", ::getpid(), count++);
  return name;
}

// Removes the file at the end of the scope unless disarm() was called.
class Remover {
 public:
  explicit Remover(const fs::path& path) : path_(path) {}
  ~Remover() {
    if (armed_) ::unlink(path_.c_str());
  }
  Remover(const Remover&) = delete;
  Remover& operator=(const Remover&) = delete;

  void disarm() { armed_ = false; }

 private:
  const fs::path& path_;
  bool armed_ = true;
};

}  // namespace

std::string read_file(const fs::path& path) {
  const auto fail = [&](const std::string& why) {
    throw UserError(fmt::format("{}: cannot be read: {}", path.string(), why));
  };
  const Descriptor file(open_retrying(path, O_RDONLY));
  struct stat status = {};
  if (!file.valid() || ::fstat(file.number(), &status) != 0) fail(cause());
  std::string bytes;
  try {
    // One byte more than the reported size, so that the end of the file is reached without growing.
    // Files that are not regular report size 0, and the buffer grows.
    bytes.resize(static_cast<size_t>(status.st_size) + 1);
    size_t size = 0;
    for (;;) {
      const ssize_t got = ::read(file.number(), bytes.data() + size, bytes.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(cause());
      if (got == 0) break;
      size += static_cast<size_t>(got);
      if (size == bytes.size()) bytes.resize(2 * size + 4096);
    }
    bytes.resize(size);
  } catch (const std::bad_alloc&) {
    fail("it is too large for the memory of this machine");
  } catch (const std::length_error&) {
    fail("it is too large for the memory of this machine");
  }
  return bytes;
}

void write_file(const fs::path& path, std::string_view bytes) {
  const auto fail = [&](const std::string& why) {
    throw Error(fmt::format("{}: cannot be written: {}", path.string(), why));
  };
  // The rename below would replace a device such as /dev/null by a regular file.
  std::error_code missing;
  const fs::file_status present = fs::status(path, missing);
  if (fs::exists(present) && !fs::is_regular_file(present)) fail("it is not a regular file");

  const fs::path folder_path = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const Descriptor folder(open_retrying(folder_path, O_RDONLY | O_DIRECTORY));
  if (!folder.valid()) fail(fmt::format("{}: {}", folder_path.string(), cause()));

  const fs::path temporary = temporary_name(path);
  Descriptor file(open_retrying(temporary, O_WRONLY | O_CREAT | O_TRUNC));
  if (!file.valid()) fail(cause());
  Remover remover(temporary);
  if (!write_all(file.number(), bytes) || ::fsync(file.number()) != 0 || !file.close() ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    fail(cause());
  }
  remover.disarm();
  // EINVAL: the file system does not sync folders.
  if (::fsync(folder.number()) != 0 && errno != EINVAL) fail(cause());
}

AppendLog::AppendLog(const fs::path& path, int64_t bytes) : path_(path), bytes_(bytes) {
  const auto fail = [&](const std::string& why) {
    throw Error(
        fmt::format("{}: cannot be continued after byte {}: {}", path.string(), bytes, why));
  };
  // A log that must have lines already is not created.
  const int create = bytes == 0 ? O_CREAT : 0;
  Descriptor file(open_retrying(path, O_WRONLY | O_APPEND | create));
  struct stat status = {};
  if (!file.valid() || ::fstat(file.number(), &status) != 0) fail(cause());
  if (status.st_size < bytes) fail(fmt::format("it has only {} bytes", status.st_size));
  if (status.st_size != bytes && ::ftruncate(file.number(), bytes) != 0) fail(cause());
  file_ = file.release();
}

AppendLog::~AppendLog() { ::close(file_); }

void AppendLog::append(std::string_view record) {
  if (!write_all(file_, record) || ::fdatasync(file_) != 0) {
    const std::string why = cause();
    // Removes a partial record. If that fails as well, opening the log again will remove it.
    [[maybe_unused]] const int cut = ::ftruncate(file_, bytes_);
    throw Error(fmt::format("{}: cannot be written: {}", path_.string(), why));
  }
  bytes_ += static_cast<int64_t>(record.size());
}

FileLock::FileLock(const fs::path& path) {
  file_ = open_retrying(path, O_RDWR | O_CREAT);
  if (file_ < 0) throw Error(fmt::format("{}: cannot be opened: {}", path.string(), cause()));
  int failed;
  do failed = ::flock(file_, LOCK_EX | LOCK_NB);
  while (failed != 0 && errno == EINTR);
  held_ = failed == 0 || errno != EWOULDBLOCK;
}

FileLock::FileLock(FileLock&& other) noexcept
    : file_(std::exchange(other.file_, -1)), held_(std::exchange(other.held_, false)) {}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

}  // namespace stpn::base
