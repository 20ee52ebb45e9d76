#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "backends/cpu/blas.h"
#include "backends/cpu/blas_kernels.h"

namespace tp::cpu {
namespace {

constexpr char kFile[] = "libopenblas.so.0";
constexpr char kKernels[] = "OPENBLAS_CORETYPE";

// OpenBLAS maps a buffer of this size for each product under way (BUFFER_SIZE of its
// common_x86_64.h, and a page), and one while it is loaded; the library itself takes the rest.
constexpr size_t kBufferBytes = (size_t{32} << 22) + 4096;
constexpr size_t kLibraryBytes = size_t{64} << 20;

// Sets a variable of the environment for as long as it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, std::string_view value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, std::string(value).c_str(), 1);
  }
  ~ScopedVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

// OpenBLAS tries for ever where the system refuses it memory. So whether it would refuse is asked
// first, with the same call.
Status Probe(size_t bytes, const std::string& what) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) {
    munmap(memory, bytes);
    return OkStatus();
  }
  rlimit limit = {};
  const bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return Unavailable(what + " needs " + std::to_string(bytes >> 20) +
                     " MiB of address space, which the system refuses" +
                     (limited
                          ? " (the process is limited to " + std::to_string(limit.rlim_cur >> 20) +
                                " MiB in all, as by ulimit -v)"
                          : "") +
                     "; allow more, or take fewer ranks");
}

// The library as it was loaded.
struct Library {
  void* handle = nullptr;
  Blas blas;
  void* (*take_buffer)(int) = nullptr;  // of its own pool: driver/others/memory.c
  void (*return_buffer)(void*) = nullptr;
  std::string version;  // "OpenBLAS 0.3.21"
  std::string kernels;  // "SkylakeX"
};

template <typename F>
bool Find(void* handle, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(handle, name));
  return function != nullptr;
}

// None where there is no such library, or not the one that is meant.
std::optional<Library> Open() {
  const ScopedVariable one_thread("OPENBLAS_NUM_THREADS", "1");  // it starts none, then
  Library library;
  library.handle = dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (library.handle == nullptr) return std::nullopt;
  char* (*config)() = nullptr;
  char* (*kernels)() = nullptr;
  void (*set_num_threads)(int) = nullptr;
  Blas& blas = library.blas;
  if (!Find(library.handle, "sgemm_", blas.sgemm) || !Find(library.handle, "dgemm_", blas.dgemm) ||
      !Find(library.handle, "sgemv_", blas.sgemv) || !Find(library.handle, "dgemv_", blas.dgemv) ||
      !Find(library.handle, "openblas_get_config", config) ||
      !Find(library.handle, "openblas_get_corename", kernels) ||
      !Find(library.handle, "openblas_set_num_threads", set_num_threads)) {
    dlclose(library.handle);
    return std::nullopt;
  }
  Find(library.handle, "blas_memory_alloc", library.take_buffer);
  Find(library.handle, "blas_memory_free", library.return_buffer);
  set_num_threads(1);                  // where somebody else had loaded it
  const std::string words = config();  // "OpenBLAS 0.3.21 NO_AFFINITY ..."
  library.version = words.substr(0, words.find(' ', words.find(' ') + 1));
  library.kernels = kernels();
  return library;
}

// Whether the library multiplies integers exactly: some virtual processors make old kernels compute
// wrong. The sizes fill the kernels' tiles and leave rests.
template <typename T>
bool MultipliesExactly(const Blas& blas) {
  constexpr int kM = 101, kN = 67, kK = 83;
  const T one = 1, zero = 0;
  std::vector<T> a(kM * kK), b(kK * kN), c(kM * kN, T{9});
  for (int i = 0; i < kM * kK; ++i) a[i] = static_cast<T>(i * 7 % 13 - 6);
  for (int i = 0; i < kK * kN; ++i) b[i] = static_cast<T>(i * 5 % 11 - 5);
  for (const bool transposed : {false, true}) {  // a and b, by columns or by rows
    blas.gemm<T>()(transposed ? "T" : "N", transposed ? "T" : "N", &kM, &kN, &kK, &one, a.data(),
                   transposed ? &kK : &kM, b.data(), transposed ? &kN : &kK, &zero, c.data(), &kM);
    for (int i = 0; i < kM; ++i) {
      for (int j = 0; j < kN; ++j) {
        T sum = 0;
        for (int k = 0; k < kK; ++k) {
          sum += (transposed ? a[k + i * kK] : a[i + k * kM]) *
                 (transposed ? b[j + k * kN] : b[k + j * kK]);
        }
        if (c[i + j * kM] != sum) return false;
      }
    }
  }
  return true;
}

bool IsRight(const Library& library) {
  return MultipliesExactly<float>(library.blas) && MultipliesExactly<double>(library.blas);
}

struct Loaded {
  Status status;  // why there was no memory to load it
  std::optional<Library> library;
  std::string description;
};

// Loads the library a second time, with better kernels than it chose by itself.
void TakeBetterKernels(Loaded& loaded) {
  const std::string own = loaded.library->kernels;
  const std::string better(BetterKernels(own, ThisProcessor()));
  if (better.empty()) return;
  dlclose(loaded.library->handle);
  {
    const ScopedVariable kernels(kKernels, better);
    loaded.library = Open();
  }
  if (loaded.library && !IsRight(*loaded.library)) {
    dlclose(loaded.library->handle);
    loaded.library = Open();
  }
  if (loaded.library && loaded.library->kernels != own) {
    loaded.description = " (its own choice, " + own + ", is slower here)";
  }
}

Loaded Load() {
  Loaded loaded;
  void* const before = dlopen(kFile, RTLD_NOW | RTLD_NOLOAD);
  if (before == nullptr) {
    loaded.status = Probe(kBufferBytes + kLibraryBytes, "OpenBLAS");
    if (!loaded.status.ok()) return loaded;
  }
  loaded.library = Open();
  const char* const wanted = std::getenv(kKernels);
  if (loaded.library && wanted != nullptr && *wanted != '\0') {
    loaded.description = " (" + std::string(kKernels) + "=" + wanted + ")";
  } else if (loaded.library && before == nullptr) {
    TakeBetterKernels(loaded);
  }
  if (!loaded.library) {
    loaded.description = std::string("there is no ") + kFile + " here";
    return loaded;
  }
  const std::string name = loaded.library->version + " " + loaded.library->kernels;
  loaded.description = name + loaded.description;
  if (!IsRight(*loaded.library)) {
    loaded.description = name + " multiplies wrong on this processor";
    loaded.library.reset();
  }
  return loaded;
}

const Loaded& TheLibrary() {
  static const Loaded& loaded = *new Loaded(Load());  // stays until the process ends
  return loaded;
}

}  // namespace

const Blas* LoadedBlas() {
  const std::optional<Library>& library = TheLibrary().library;
  return library ? &library->blas : nullptr;
}

std::string DescribeBlas() { return TheLibrary().description; }

Status ReserveBlas(int count) {
  const Loaded& loaded = TheLibrary();
  TP_RETURN_IF_ERROR(loaded.status);
  if (!loaded.library || loaded.library->take_buffer == nullptr) return OkStatus();
  constexpr int kMost = 128;  // the pool's table has an end
  std::vector<void*> buffers(std::min(count, kMost));
  TP_RETURN_IF_ERROR(Probe(buffers.size() * kBufferBytes,
                           "OpenBLAS, for " + std::to_string(count) + " products at a time,"));
  for (void*& buffer : buffers) buffer = loaded.library->take_buffer(0);
  for (void* buffer : buffers) loaded.library->return_buffer(buffer);
  return OkStatus();
}

}  // namespace tp::cpu
