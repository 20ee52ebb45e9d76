#include "backends/nccl/kernels/cudnn_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace tp::nccl {
namespace {

namespace fs = std::filesystem;

// A library, and the folders of pip's packages in which it comes.
struct Wanted {
  const char* name;
  std::vector<const char*> packages;
};

// cuDNN compiles some of its kernels when they are planned, by what it finds under this name.
const Wanted& Compiler() {
  static const Wanted& wanted = *new Wanted{"libnvrtc.so.13", {"cu13", "cuda_nvrtc"}};
  return wanted;
}
const Wanted& Cudnn() {
  static const Wanted& wanted = *new Wanted{"libcudnn.so.9", {"cudnn"}};
  return wanted;
}

std::string Environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

// Of the Python whose programs are in `bin`.
void AddPackages(const fs::path& bin, const Wanted& wanted, std::vector<std::string>* files) {
  std::error_code error;
  for (fs::directory_iterator i(bin.parent_path() / "lib", error), end; !error && i != end;
       i.increment(error)) {
    if (!i->path().filename().string().starts_with("python3")) continue;
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const char* package : wanted.packages) {
        const fs::path file = i->path() / packages / "nvidia" / package / "lib" / wanted.name;
        if (fs::exists(file, error)) files->push_back(file.string());
      }
    }
  }
}

// The files to try; one without a folder is looked for by the loader.
std::vector<std::string> Candidates(const Wanted& wanted) {
  std::vector<std::string> files = {wanted.name};
  files.push_back(Environment("CUDA_HOME", "/usr/local/cuda") + "/lib64/" + wanted.name);
  std::istringstream path(Environment("PATH", ""));
  for (std::string bin; std::getline(path, bin, ':');) {
    std::error_code error;
    const fs::path python = fs::path(bin) / "python3";
    if (bin.empty() || !fs::exists(python, error)) continue;
    AddPackages(bin, wanted, &files);
    // A virtual environment's python3 is a link to that of the system, whose packages it may see.
    const fs::path real = fs::canonical(python, error);
    if (!error && real.parent_path() != fs::path(bin)) {
      AddPackages(real.parent_path(), wanted, &files);
    }
  }
  return files;
}

// The version of a library, or 0 where it has none.
size_t VersionOf(void* library) {
  auto* version = reinterpret_cast<size_t (*)()>(dlsym(library, "cudnnGetVersion"));
  return version == nullptr ? 0 : version();
}

// A library that is loaded is found by its name alone from then on.
void LoadCompiler() {
  for (const std::string& file : Candidates(Compiler())) {
    if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  }
}

void* Load() {
  LoadCompiler();
  std::vector<std::string> found;
  for (const std::string& file : CudnnCandidates()) {
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      found.push_back(file + ": " + dlerror());
      continue;
    }
    const size_t version = VersionOf(library);
    if (version >= kOldestCudnn) {
      LOG(INFO) << "attention on GPUs is cuDNN's, of version " << version << ", from " << file;
      return library;
    }
    found.push_back(fmt::format("{}: of version {}", file, version));
    dlclose(library);
  }
  LOG(WARNING)
      << "attention on GPUs goes by this engine's own kernel, which is slower: no cuDNN of "
         "version "
      << kOldestCudnn << " or later was found (" << fmt::format("{}", fmt::join(found, "; "))
      << "). Install it, or pip's nvidia-cudnn-cu13 for a python3 on PATH, or put its "
         "folder into LD_LIBRARY_PATH";
  return nullptr;
}

}  // namespace

std::vector<std::string> CudnnCandidates() { return Candidates(Cudnn()); }

void* CudnnLibrary() {
  static void* const library = Load();
  return library;
}

size_t CudnnVersion() { return CudnnLibrary() == nullptr ? 0 : VersionOf(CudnnLibrary()); }

}  // namespace tp::nccl
