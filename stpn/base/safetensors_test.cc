#include "stpn/base/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "stpn/base/files.h"
#include "stpn/base/random.h"
#include "stpn/base/testing.h"

namespace stpn::base::safetensors_test {
namespace {

using testing::error_of;
using testing::Folder;

std::string file_of(std::string header, const std::string& data) {
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(header.size() >> (8 * i));
  return length + header + data;
}

// Unlike write_file(), does not sync: some tests write thousands of files.
void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

Safetensors example() {
  Safetensors content;
  content.metadata = {{"version", "1"}, {"note", "line\nbreak, \"quotes\" and \xc3\xa9"}};
  content.tensors = {
      {"z.bytes", TensorType::uint8, {3}, std::string("\0\xff\x80", 3)},
      {"weight", TensorType::float32, {2, 3}, bytes_of<float>({1, -2, 0.5f, 1e-45f, -0.0f, 3})},
      {"step", TensorType::int64, {}, bytes_of<int64_t>({-7})},
      {"a.double", TensorType::float64, {1, 1}, bytes_of<double>({1.0 / 3})},
      {"empty", TensorType::float32, {0, 4}, ""},
  };
  return content;
}

void expect_equal(const Safetensors& a, const Safetensors& b) {
  EXPECT_EQ(a.metadata, b.metadata);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const NamedTensor& tensor : a.tensors) {
    const NamedTensor& other = b.at(tensor.name);
    EXPECT_EQ(tensor.type, other.type);
    EXPECT_EQ(tensor.shape, other.shape);
    EXPECT_EQ(tensor.bytes, other.bytes);
  }
}

// Writes a file of these bytes and returns the message with which read_safetensors() refuses it.
std::string refused(const std::string& file) {
  const Folder folder;
  put(folder / "foreign.bin", file);
  const std::string message = error_of([&] { read_safetensors(folder / "foreign.bin"); });
  EXPECT_NE(message.find("foreign.bin"), std::string::npos) << message;
  return message;
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const Folder folder;
  write_safetensors(folder / "file", example());
  expect_equal(example(), read_safetensors(folder / "file"));
  write_safetensors(folder / "file", {});
  expect_equal({}, read_safetensors(folder / "file"));
}

TEST(Safetensors, WritesTheFormatAsPublished) {
  const Folder folder;
  write_safetensors(folder / "file", example());
  const std::string file = read_file(folder / "file");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(file[8], '{');
  const auto header = nlohmann::json::parse(file.substr(8, length));
  EXPECT_EQ(header["__metadata__"]["version"], "1");
  EXPECT_EQ(header["weight"]["dtype"], "F32");
  EXPECT_EQ(header["weight"]["shape"], nlohmann::json({2, 3}));
  // Types with larger elements first, then by name, so that all tensors are aligned.
  EXPECT_EQ(header["a.double"]["data_offsets"], nlohmann::json({0, 8}));
  EXPECT_EQ(header["step"]["data_offsets"], nlohmann::json({8, 16}));
  EXPECT_EQ(header["empty"]["data_offsets"], nlohmann::json({16, 16}));
  EXPECT_EQ(header["weight"]["data_offsets"], nlohmann::json({16, 40}));
  EXPECT_EQ(header["z.bytes"]["data_offsets"], nlohmann::json({40, 43}));
  EXPECT_EQ(file.size(), 8 + length + 43);
  EXPECT_EQ(file.substr(8 + length + 40), std::string("\0\xff\x80", 3));
}

TEST(Safetensors, TheFileDoesNotDependOnTheOrderOfTensors) {
  const Folder folder;
  Safetensors shuffled = example();
  std::swap(shuffled.tensors[0], shuffled.tensors[3]);
  write_safetensors(folder / "a", example());
  write_safetensors(folder / "b", shuffled);
  EXPECT_EQ(read_file(folder / "a"), read_file(folder / "b"));
}

TEST(Safetensors, NamesAMissingTensorAndTheNearest) {
  const std::string message = error_of([] { example().at("weigth"); });
  EXPECT_NE(message.find("\"weigth\""), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean \"weight\"?"), std::string::npos) << message;
}

TEST(Safetensors, RefusesToWriteWhatItCouldNotRead) {
  const Folder folder;
  const auto refuse = [&](NamedTensor tensor) {
    Safetensors content = example();
    content.tensors.push_back(std::move(tensor));
    error_of([&] { write_safetensors(folder / "file", content); });
  };
  refuse({"weight", TensorType::uint8, {1}, "x"});  // twice
  refuse({"__metadata__", TensorType::uint8, {1}, "x"});
  refuse({"x", TensorType::float32, {2}, "1234567"});
  refuse({"x", TensorType::uint8, {-1}, ""});
  refuse({"x", TensorType::float32, {int64_t{1} << 62}, ""});
  refuse({"invalid UTF-8: \xff", TensorType::uint8, {1}, "x"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(Safetensors, RefusesOtherFileFormats) {
  refused("");
  refused("{}");
  refused(std::string(100, '\0'));
  refused(std::string(100, '\xff'));
  refused("PK\x03\x04" + std::string(96, 'x'));
  refused(std::string("\x7f") + "ELF" + std::string(96, '\x01'));
  refused(file_of("", ""));
  refused(file_of("null", ""));
  refused(file_of("[]", ""));
  refused(file_of("{} x", ""));
  refused(file_of("{\"\xff\": 1}", ""));
  refused(file_of(std::string(100'000, '['), ""));
  refused(file_of(std::string(100'000, '{'), ""));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  refused(file_of(deep, ""));
  const Folder folder;
  error_of([&] { read_safetensors(folder.path()); });
  error_of([&] { read_safetensors(folder / "missing"); });
}

TEST(Safetensors, RefusesAFileTruncatedAnywhere) {
  const Folder folder;
  write_safetensors(folder / "file", example());
  const std::string file = read_file(folder / "file");
  for (size_t size = 0; size < file.size(); ++size) {
    refused(file.substr(0, size));
    if (HasFailure()) FAIL() << "truncated to " << size << " bytes";
  }
  refused(file + "x");
}

// Each of these entries of a tensor "x" has one fault; the file has 8 bytes of data.
TEST(Safetensors, RefusesImpossibleTensors) {
  const auto entry = [](const std::string& text) {
    return file_of("{\"x\":" + text + "}", "12345678");
  };
  const Folder folder;
  put(folder / "valid", entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})"));
  EXPECT_EQ(read_safetensors(folder / "valid").at("x").bytes, "12345678");

  for (const char* wrong : {
           R"(3)",
           R"([])",
           R"({})",
           R"(null)",                                                      // no entry
           R"({"shape":[2],"data_offsets":[0,8]})",                        // no dtype
           R"({"dtype":4,"shape":[2],"data_offsets":[0,8]})",              //
           R"({"dtype":"F32","data_offsets":[0,8]})",                      // no shape
           R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})",            //
           R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})",        //
           R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})",        //
           R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})",         //
           R"({"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]})",      //
           R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})",          // needs more data
           R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})",          // needs less data
           R"({"dtype":"F32","shape":[],"data_offsets":[0,8]})",           //
           R"({"dtype":"F32","shape":[2]})",                               // no offsets
           R"({"dtype":"F32","shape":[2],"data_offsets":[0]})",            //
           R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})",        //
           R"({"dtype":"F32","shape":[2],"data_offsets":{"0":0,"1":8}})",  //
           R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})",          // end before begin
           R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})",         //
           R"({"dtype":"F32","shape":[2],"data_offsets":[1,9]})",          // past the end
           R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})",          // a gap before
           R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})",          // bytes left over
           R"({"dtype":"F32","shape":[2],"data_offsets":[0,1e999]})",      //
           R"({"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})",
           R"({"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,8]})",
           R"({"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]})",  // * 4 = 8
           R"({"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]})",
           R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})",
           R"({"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]})",  // twice
           R"({"dtype":"F32","shape":[[2]],"data_offsets":[0,8]})",
       }) {
    refused(entry(wrong));
    if (HasFailure()) FAIL() << wrong;
  }
}

TEST(Safetensors, SkipsTensorsOfOtherDtypes) {
  const Folder folder;
  put(folder / "file", file_of(R"({"half":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                               R"("x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                               "12345678"));
  const Safetensors content = read_safetensors(folder / "file");
  ASSERT_EQ(content.tensors.size(), 1u);
  EXPECT_EQ(content.at("x").bytes, "5678");
  const std::string message = error_of([&] { content.at("half"); });
  EXPECT_NE(message.find("tensor \"half\" has dtype \"BF16\""), std::string::npos) << message;

  // The bytes of a tensor that is skipped still have to be there.
  for (const char* offsets : {"[0,4]", "[4,8]", "[0,16]"}) {
    refused(
        file_of(fmt::format(R"({{"x":{{"dtype":"BF16","shape":[2],"data_offsets":{}}}}})", offsets),
                "12345678"));
  }
}

TEST(Safetensors, RefusesTensorsThatOverlapOrShareAName) {
  const std::string x = R"("x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const auto with = [&](const std::string& second) {
    return refused(file_of("{" + x + "," + second + "}", "12345678"));
  };
  with(R"("y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})");
  with(R"("y":{"dtype":"U8","shape":[5],"data_offsets":[3,8]})");
  with(R"("y":{"dtype":"U8","shape":[3],"data_offsets":[5,8]})");
  const std::string twice = with(R"("x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})");
  EXPECT_NE(twice.find("\"x\" twice"), std::string::npos) << twice;
  with(R"("__metadata__":{"a":1},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})");
  with(R"("__metadata__":[],"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})");
}

TEST(Safetensors, KeepsItsMessagesOnOneLine) {
  refused(
      file_of(R"({"a\nb\u0007":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678"));
  refused(file_of(R"({"a\nb":1})", ""));
}

// A damaged file is either refused or read, and then sizes and shapes are consistent.
TEST(Safetensors, SurvivesEveryDamagedByteOfTheHeader) {
  const Folder folder;
  write_safetensors(folder / "file", example());
  const std::string file = read_file(folder / "file");
  const size_t end = file.size() - 43;
  Random random(1, Stream::test_data, 0);
  int rejected = 0, accepted = 0;
  const auto attempt = [&](const std::string& damaged) {
    put(folder / "file", damaged);
    try {
      for (const NamedTensor& tensor : read_safetensors(folder / "file").tensors) {
        size_t elements = 1;
        for (const int64_t extent : tensor.shape) elements *= static_cast<size_t>(extent);
        ASSERT_EQ(tensor.bytes.size() % std::max<size_t>(elements, 1), 0u);
      }
      ++accepted;
    } catch (const UserError& error) {
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      ++rejected;
    }
  };
  for (size_t i = 0; i < end; ++i) {
    for (const char byte : {'\0', '"', '9', '{', '\xff', static_cast<char>(random.next())}) {
      std::string damaged = file;
      damaged[i] = byte;
      attempt(damaged);
    }
  }
  for (int i = 0; i < 500; ++i) {
    std::string damaged = file;
    for (int k = 0; k < 3; ++k) {
      damaged[random.below(static_cast<uint32_t>(end))] ^= static_cast<char>(1u << random.below(8));
    }
    attempt(damaged);
  }
  EXPECT_GT(rejected, 1000);
  EXPECT_GT(accepted, 100);  // a changed letter in a name leaves the file valid
}

}  // namespace
}  // namespace stpn::base::safetensors_test
