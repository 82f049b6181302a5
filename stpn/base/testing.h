// For tests: a temporary folder, and a check of error messages.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "stpn/base/error.h"

namespace stpn::base::testing {

// Creates an empty folder, and removes it with its contents when destroyed.
class Folder {
 public:
  Folder() {
    std::string name = ::testing::TempDir() + "/stpn.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw Error("cannot create " + name);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  // The names of the files and folders in it.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

 private:
  std::filesystem::path path_;
};

// Runs `call` and returns the message of the error it throws. Fails the test unless the error has
// exactly the type `Expected` and the message is one line that is not empty.
template <typename Expected = UserError, typename Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(typeid(error), typeid(Expected)) << message;
    EXPECT_FALSE(message.empty());
    for (const char c : message) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20) << message;
    return message;
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace stpn::base::testing
