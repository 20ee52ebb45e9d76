// OpenBLAS as it is loaded on a processor that it does not know, and with little memory.
#include "backends/cpu/blas.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "backends/cpu/blas_kernels.h"

extern char** environ;

// Stands in for the C library's: OpenBLAS, and nobody else, is told to take the kernels that it
// takes by itself on a processor that is newer than it.
extern "C" char* getenv(const char* name) noexcept {
  static char oldest[] = "Prescott";
  const size_t length = std::strlen(name);
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') {
      return *entry + length + 1;
    }
  }
  Dl_info caller;
  if (std::strcmp(name, "OPENBLAS_CORETYPE") != 0 ||
      dladdr(__builtin_return_address(0), &caller) == 0 ||
      std::strstr(caller.dli_fname, "openblas") == nullptr) {
    return nullptr;
  }
  return oldest;
}

namespace tp::cpu {
namespace {

using testing::HasSubstr;

rlim_t AddressSpace() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

// Leaves the process `bytes` of address space beside what it has, for as long as it lives.
class Limit {
 public:
  explicit Limit(rlim_t bytes) {
    getrlimit(RLIMIT_AS, &before_);
    const rlimit limit = {AddressSpace() + bytes, before_.rlim_max};
    setrlimit(RLIMIT_AS, &limit);
  }
  ~Limit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_ = {};
};

TEST(Blas, SaysThatItHasNoMemoryRatherThanWaitForIt) {
  ASSERT_NE(LoadedBlas(), nullptr) << DescribeBlas();
  const Limit limit(rlim_t{255} << 20);
  const Status status = ReserveBlas(2);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("needs 256 MiB of address space"));
  EXPECT_THAT(status.message(), HasSubstr("as by ulimit -v"));
}

TEST(Blas, TakesNoMoreThanItAsksFor) {
  ASSERT_NE(LoadedBlas(), nullptr) << DescribeBlas();
  const Limit limit((rlim_t{4} * 129) << 20);
  EXPECT_TRUE(ReserveBlas(4).ok());  // would never end, had it asked for too little
}

TEST(Blas, TakesBetterKernelsThanItsOwnChoice) {
  ASSERT_NE(LoadedBlas(), nullptr) << DescribeBlas();
  const std::string better(BetterKernels("Prescott", ThisProcessor()));
  if (better.empty()) {
    EXPECT_THAT(DescribeBlas(), HasSubstr(" Prescott"));
  } else {
    EXPECT_THAT(DescribeBlas(), HasSubstr(better + " (its own choice, Prescott, is slower here)"));
  }
  EXPECT_EQ(getenv("OPENBLAS_CORETYPE"), nullptr) << "others see it too";
  EXPECT_EQ(getenv("OPENBLAS_NUM_THREADS"), nullptr) << "others see it too";
}

}  // namespace
}  // namespace tp::cpu
