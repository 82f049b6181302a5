#include "stpn/train/run/event_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "stpn/train/run/run_test_support.h"

// What TensorBoard's own readers make of the file is tested in python/tests/test_tensorboard.py.
namespace stpn::train::event_file_test {
namespace {

TEST(Crc32c, AgreesWithRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

class EventFileTest : public TrainTest {
 protected:
  EventFileTest() { base::write_file(run_.config(), "[task]\nname = \"x\"\n"); }

  static std::string line(int epoch) {
    return fmt::format(R"({{"epoch":{},"step":{},"wall_seconds":{}.5,"reward":null,"loss":0.25}})",
                       epoch, 9 * epoch, epoch);
  }
  void write_lines(int count) {
    std::string text;
    for (int epoch = 1; epoch <= count; ++epoch) text += line(epoch) + "\n";
    base::write_file(run_.metrics(), text);
  }
  std::string content() const { return base::read_file(run_.events()); }
  ino_t inode() const {
    struct stat status = {};
    EXPECT_EQ(::stat(run_.events().c_str(), &status), 0);
    return status.st_ino;
  }

  const RunFolder run_{folder_};
};

TEST_F(EventFileTest, AppendedLinesGiveTheBytesOfAWholeFile) {
  {
    EventFile file(run_);
    for (int epoch = 1; epoch <= 3; ++epoch) file.append(line(epoch));
  }
  const std::string appended = content();
  std::filesystem::resize_file(run_.events(), appended.size() - 40);  // killed in mid-record
  write_lines(3);
  write_events(run_);
  EXPECT_EQ(content(), appended);
}

TEST_F(EventFileTest, ResumedIsCutInPlaceToTheLinesThatThereAre) {
  write_lines(2);
  write_events(run_);
  const std::string two = content();
  const ino_t before = inode();
  EventFile(run_).append(line(3));
  EXPECT_GT(content().size(), two.size());
  write_events(run_);
  EXPECT_EQ(content(), two);
  EXPECT_EQ(inode(), before);
}

TEST_F(EventFileTest, ReplacesWhatIsNotOfTheRun) {
  write_lines(2);
  base::write_file(run_.events(), std::string(100, '#'));
  write_events(run_);
  EXPECT_EQ(content().find("###"), std::string::npos);
  EXPECT_NE(content().find("brain.Event:2"), std::string::npos);
}

TEST_F(EventFileTest, ADamagedLineIsAnErrorThatNamesTheFile) {
  base::write_file(run_.metrics(), "{\"epoch\":1}\n");
  EXPECT_THAT(error_of<base::Error>([&] { write_events(run_); }), HasSubstr("metrics.jsonl"));
}

}  // namespace
}  // namespace stpn::train::event_file_test
