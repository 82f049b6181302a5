#include "stpn/base/files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <thread>

#include "stpn/base/testing.h"

namespace stpn::base::files_test {
namespace {

using testing::error_of;
using testing::Folder;

// Limits the size of files to `bytes` while it exists, which has nearly the effect of a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

TEST(ReadFile, ReturnsEveryByte) {
  const Folder folder;
  for (const size_t size : {0, 1, 255, 4096, 1 << 20}) {
    std::string bytes;
    while (bytes.size() < size) bytes += all_bytes();
    bytes.resize(size);
    write_file(folder / "file", bytes);
    EXPECT_EQ(read_file(folder / "file"), bytes) << size;
  }
}

TEST(ReadFile, ReadsFilesThatDoNotReportTheirSize) {
  EXPECT_TRUE(contains(read_file("/proc/self/status"), "Pid:"));
}

TEST(ReadFile, NamesWhatCannotBeRead) {
  const Folder folder;
  const std::string missing = error_of([&] { read_file(folder / "missing.toml"); });
  EXPECT_TRUE(contains(missing, "missing.toml")) << missing;
  EXPECT_TRUE(contains(missing, "No such file")) << missing;
  const std::string directory = error_of([&] { read_file(folder.path()); });
  EXPECT_TRUE(contains(directory, "Is a directory")) << directory;
}

TEST(WriteFile, ReplacesAndLeavesNothingElse) {
  const Folder folder;
  write_file(folder / "file", "the first, longer one");
  write_file(folder / "file", "the second");
  EXPECT_EQ(read_file(folder / "file"), "the second");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(WriteFile, AcceptsANameWithoutFolder) {
  const Folder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file("file", "here");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(folder / "file"), "here");
}

TEST(WriteFile, CreatesFilesWithTheUsualPermissions) {
  const Folder folder;
  const mode_t mask = ::umask(022);
  write_file(folder / "file", "");
  ::umask(mask);
  struct stat status = {};
  ASSERT_EQ(::stat((folder / "file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST(WriteFile, FullDiskLeavesTheOldFileAndNoOther) {
  const Folder folder;
  write_file(folder / "file", "old");
  std::string message;
  {
    const SmallDisk disk(1000);
    message = error_of<Error>([&] { write_file(folder / "file", std::string(5000, 'x')); });
  }
  EXPECT_TRUE(contains(message, (folder / "file").string())) << message;
  EXPECT_TRUE(contains(message, "File too large")) << message;
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(WriteFile, RefusesAFolderThatDoesNotExist) {
  const Folder folder;
  const std::string message = error_of<Error>([&] { write_file(folder / "no" / "file", "x"); });
  EXPECT_TRUE(contains(message, "No such file or directory")) << message;
}

TEST(WriteFile, RefusesToReplaceAFolder) {
  const Folder folder;
  std::filesystem::create_directory(folder / "sub");
  error_of<Error>([&] { write_file(folder / "sub", "x"); });
  EXPECT_TRUE(std::filesystem::is_directory(folder / "sub"));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"sub"});
}

// For root, a rename would replace the device by a regular file. The test uses a link to a device,
// so that no device is lost if it fails.
TEST(WriteFile, RefusesToReplaceADevice) {
  const Folder folder;
  std::filesystem::create_symlink("/dev/full", folder / "full");
  const std::string message = error_of<Error>([&] { write_file(folder / "full", "x"); });
  EXPECT_TRUE(contains(message, "not a regular file")) << message;
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "full"));
}

TEST(WriteFile, TwoThreadsWriteOneWholeFile) {
  const Folder folder;
  const std::string a(100'000, 'a'), b(100'000, 'b');
  const auto write_often = [&](const std::string& bytes) {
    for (int i = 0; i < 5; ++i) write_file(folder / "file", bytes);
  };
  std::thread other(write_often, a);
  write_often(b);
  other.join();
  const std::string found = read_file(folder / "file");
  EXPECT_TRUE(found == a || found == b);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AppendLog, AppendsLinesThatCanBeReadAtOnce) {
  const Folder folder;
  AppendLog log(folder / "log", 0);
  EXPECT_EQ(log.bytes(), 0);
  log.append_line("one");
  EXPECT_EQ(read_file(folder / "log"), "one\n");
  log.append_line("");
  EXPECT_EQ(log.bytes(), 5);
  EXPECT_EQ(read_file(folder / "log"), "one\n\n");
}

TEST(AppendLog, TruncatesToTheBytesOfACheckpoint) {
  const Folder folder;
  write_file(folder / "log", "one\ntwo\nhalf of th");
  AppendLog log(folder / "log", 4);
  EXPECT_EQ(read_file(folder / "log"), "one\n");
  log.append_line("again");
  EXPECT_EQ(log.bytes(), 10);
  EXPECT_EQ(read_file(folder / "log"), "one\nagain\n");
}

TEST(AppendLog, StartsEmptyFromZeroBytes) {
  const Folder folder;
  write_file(folder / "log", "old\n");
  AppendLog log(folder / "log", 0);
  EXPECT_EQ(read_file(folder / "log"), "");
}

TEST(AppendLog, RefusesALogThatIsShorterThanItShouldBe) {
  const Folder folder;
  write_file(folder / "log", "one\n");
  const std::string message = error_of<Error>([&] { AppendLog(folder / "log", 5); });
  EXPECT_TRUE(contains(message, "only 4 bytes")) << message;
  EXPECT_EQ(read_file(folder / "log"), "one\n");
  error_of<Error>([&] { AppendLog(folder / "missing", 5); });
  EXPECT_FALSE(std::filesystem::exists(folder / "missing"));
  error_of<Error>([&] { AppendLog(folder / "log", -1); });
  error_of<Error>([&] { AppendLog(folder.path(), 0); });
}

TEST(AppendLog, FullDiskIsAnErrorThatNamesTheFile) {
  AppendLog log("/dev/full", 0);
  const std::string message = error_of<Error>([&] { log.append_line("line"); });
  EXPECT_TRUE(contains(message, "/dev/full")) << message;
  EXPECT_TRUE(contains(message, "No space left on device")) << message;
  EXPECT_EQ(log.bytes(), 0);
}

TEST(AppendLog, FullDiskLeavesNoPartialLine) {
  const Folder folder;
  AppendLog log(folder / "log", 0);
  log.append_line("whole");
  {
    const SmallDisk disk(10);
    error_of<Error>([&] { log.append_line("too long for this disk"); });
  }
  EXPECT_EQ(read_file(folder / "log"), "whole\n");
  log.append_line("after");
  EXPECT_EQ(read_file(folder / "log"), "whole\nafter\n");
  EXPECT_EQ(log.bytes(), 12);
}

TEST(FileLock, IsHeldByOneObjectAtATime) {
  const Folder folder;
  {
    FileLock first(folder / "lock");
    EXPECT_TRUE(first.held());
    EXPECT_FALSE(FileLock(folder / "lock").held());
    const FileLock moved(std::move(first));
    EXPECT_TRUE(moved.held());
    EXPECT_FALSE(FileLock(folder / "lock").held());
    EXPECT_TRUE(FileLock(folder / "another").held());
  }
  EXPECT_TRUE(FileLock(folder / "lock").held()) << "not released";
}

TEST(FileLock, NamesTheFileItCannotOpen) {
  const Folder folder;
  const std::string message = error_of<Error>([&] { FileLock lock(folder / "absent/lock"); });
  EXPECT_NE(message.find("absent/lock"), std::string::npos) << message;
}

}  // namespace
}  // namespace stpn::base::files_test
