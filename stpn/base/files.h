// Files that are written whole or not at all, and by one process at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace stpn::base {

// The whole file. Throws UserError naming the path if it cannot be opened or read.
std::string read_file(const std::filesystem::path& path);

// Writes `bytes` under a temporary name beside `path`, syncs it, and renames it over `path`. If
// anything fails (a full disk), the temporary file is removed, what stood at `path` stays as it
// was, and Error names the path and the cause.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// A file of lines that grows, one whole line at a time, and can be cut back to what a checkpoint
// knows of.
class LineLog {
 public:
  // Opens or creates `path` and cuts it to its first `bytes` bytes. Throws Error if it cannot, or
  // if it is shorter.
  LineLog(const std::filesystem::path& path, int64_t bytes);
  ~LineLog();
  LineLog(const LineLog&) = delete;
  LineLog& operator=(const LineLog&) = delete;

  // Appends line and a newline and syncs them: what is written after it may rely on them. Throws
  // Error on failure (a full disk).
  void append(std::string_view line);
  // Bytes in the file after the last append.
  int64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  int64_t bytes_ = 0;
};

// A file that one process at a time holds. It lets go when the object ends, or the process, however
// that ends. The file stays. Where the file system knows no locks, everybody holds it.
class FileLock {
 public:
  // Makes the file where there is none. Throws Error if it cannot.
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;

  bool held() const { return held_; }  // or else by somebody else

 private:
  int file_ = -1;
  bool held_ = false;
};

}  // namespace stpn::base
