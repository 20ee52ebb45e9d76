"""What a workspace that builds @tensor_parallel needs beside it; see docs/examples/library."""

load("//third_party:bundled_repository.bzl", "bundled_repository")
load("//third_party:system_repository.bzl", "system_repository")
load("//third_party/cuda:repository.bzl", "cuda_repository")
load("//third_party/cudnn:repository.bzl", "cudnn_repository")

# Libraries that Debian's packages install: repository, package, and what is linked into it.
_LIBRARIES = [
    ("eigen", "libeigen3-dev", {"include": "/usr/include/eigen3"}),
    ("fmt", "libfmt-dev", {"include/fmt": "/usr/include/fmt"}),
    ("gflags", "libgflags-dev", {"include/gflags": "/usr/include/gflags"}),
    ("glog", "libgoogle-glog-dev", {"include/glog": "/usr/include/glog"}),
    ("googletest", "googletest", {
        "googlemock": "/usr/src/googletest/googlemock",
        "googletest": "/usr/src/googletest/googletest",
    }),
    ("nlohmann_json", "nlohmann-json3-dev", {"include/nlohmann": "/usr/include/nlohmann"}),
    ("random123", "librandom123-dev", {"include/Random123": "/usr/include/Random123"}),
    ("rapidcheck", "librapidcheck-dev", {
        "include/rapidcheck": "/usr/include/rapidcheck",
        "include/rapidcheck.h": "/usr/include/rapidcheck.h",
    }),
    # For one comparison alone, which is built by hand: ./bazelw does not install it.
    ("simgrid", "libsimgrid-dev", {
        "include/simgrid": "/usr/include/simgrid",
        "include/xbt": "/usr/include/xbt",
        "include/xbt.h": "/usr/include/xbt.h",
    }),
]

# Bazel's own rules, as Debian's packages install them.
_RULES = {
    "platforms": "/usr/share/bazel/platforms",
    "rules_java": "/usr/share/bazel/rules/java",
    "rules_proto": "/usr/share/bazel/rules/proto",
}

# What Bazel's own C++ rules ask for and Debian has not: stand-ins that lie in this tree.
_BUNDLED = {
    "remote_coverage_tools": "//third_party/remote_coverage_tools:WORKSPACE",
    "rules_cc": "//third_party/rules_cc:WORKSPACE",
}

def tensor_parallel_repositories():
    """Declares every repository that @tensor_parallel builds from, and none that is there already.

    Nothing is downloaded: all of it is what Debian's packages installed (`./bazelw` of
    @tensor_parallel does that) or lies in @tensor_parallel.
    """
    for name, path in _RULES.items():
        if not native.existing_rule(name):
            native.local_repository(name = name, path = path)
    for name, workspace in _BUNDLED.items():
        if not native.existing_rule(name):
            bundled_repository(name = name, workspace = Label(workspace))
    for name, package, links in _LIBRARIES:
        if not native.existing_rule(name):
            system_repository(
                name = name,
                build_file = Label("//third_party:%s.BUILD" % name),
                links = links,
                package = package,
            )
    if not native.existing_rule("cuda"):
        cuda_repository(name = "cuda")
    if not native.existing_rule("cudnn"):
        cudnn_repository(name = "cudnn")
