// Files that are written completely or not at all, logs that can be truncated to a checkpoint, and
// locks between processes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace stpn::base {

// Returns the bytes of the file. Throws UserError that names the path if it cannot be opened or
// read, or does not fit into memory.
std::string read_file(const std::filesystem::path& path);

// Replaces the file at `path` by one that contains `bytes`: writes a temporary file in the same
// folder, syncs it to disk, renames it and syncs the folder. Throws Error that names the path and
// the cause if anything fails (for example because the disk is full); unless only the last sync
// failed, an existing file at `path` is then unchanged and the temporary file is removed. Refuses
// to replace a folder or a device.
void write_file(const std::filesystem::path& path, std::string_view bytes);

// A file to which whole records, such as lines, are appended, and which can be truncated to the
// length it had when a checkpoint was written.
class AppendLog {
 public:
  // Opens `path` and truncates it to its first `bytes` bytes; creates the file if `bytes` is 0.
  // Throws Error if that fails or if the file is shorter.
  AppendLog(const std::filesystem::path& path, int64_t bytes);
  ~AppendLog();
  AppendLog(const AppendLog&) = delete;
  AppendLog& operator=(const AppendLog&) = delete;

  // Appends a record, and syncs it to disk before it returns. Throws Error on failure (for example
  // a full disk); the file then ends with the last whole record.
  void append(std::string_view record);
  // Appends `line` and a newline as one record.
  void append_line(std::string_view line) { append(std::string(line) + '\n'); }
  // The length of the file in bytes after the last append.
  int64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  int64_t bytes_ = 0;
};

// A lock that at most one process or object holds at a time, represented by a file. It is released
// when the object is destroyed or when the process ends, however it ends. The file itself stays. On
// file systems without locks every caller gets the lock.
class FileLock {
 public:
  // Tries to get the lock, without waiting. Creates the file if it does not exist. Throws Error if
  // the file cannot be opened.
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;

  // False if another process or object has the lock.
  bool held() const { return held_; }

 private:
  int file_ = -1;
  bool held_ = false;
};

}  // namespace stpn::base
