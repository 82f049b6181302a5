#include "stpn/base/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace stpn::base {
namespace {

void sleep_ms(int64_t milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

double seconds_of(Work work) { return Profile::seconds()[static_cast<size_t>(work)]; }

TEST(ProfileTest, CountsEachMomentOnce) {
  Profile::start();
  {
    const Working unit(Work::unit);
    sleep_ms(20);
    {
      const Working emulator(Work::emulator);
      sleep_ms(30);
      const Working waiting(std::nullopt);
      EXPECT_FALSE(Working::now());
      sleep_ms(40);
    }
    EXPECT_EQ(Working::now(), Work::unit);
    std::thread([] {
      EXPECT_FALSE(Working::now());
      const Working there(Work::convolution);
      sleep_ms(10);
    }).join();
  }
  EXPECT_GE(seconds_of(Work::unit), 0.030);
  EXPECT_GE(seconds_of(Work::emulator), 0.030);
  EXPECT_GE(seconds_of(Work::convolution), 0.010);
  // Not the time of waiting, whatever else the machine does meanwhile.
  EXPECT_EQ(seconds_of(Work::rest), 0);
  Profile::start();
  EXPECT_EQ(seconds_of(Work::unit), 0);
}

}  // namespace
}  // namespace stpn::base
