"""Finds cuDNN's headers: its frontend's, and where the CUDA toolkit lacks them cuDNN's own.

Both are what ./bazelw --config=cuda installs from PyPI, in a folder for each version.
"""

# Known to ./bazelw too.
_FRONTEND = "nvidia-cudnn-frontend-1.22.1"
_CUDNN = "nvidia-cudnn-cu13-9.19.0.56"

def _packages(repository_ctx):
    environment = repository_ctx.os.environ
    cache = environment.get("XDG_CACHE_HOME") or environment.get("HOME", "") + "/.cache"
    return repository_ctx.path(cache + "/tensor_parallel")

def _cudnn_repository_impl(repository_ctx):
    packages = _packages(repository_ctx)
    toolkit = repository_ctx.path(repository_ctx.os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    frontend = packages.get_child(_FRONTEND).get_child("include")
    own = packages.get_child(_CUDNN).get_child("nvidia").get_child("cudnn").get_child("include")
    if toolkit.get_child("include").get_child("cudnn.h").exists:
        own = toolkit.get_child("include")
    if not frontend.exists or not own.exists:
        repository_ctx.template("BUILD", Label("//third_party/cudnn:missing.BUILD"), {"{packages}": str(packages)})
        return
    # Its headers name each other as ../include/...
    repository_ctx.symlink(frontend, "frontend/include")
    for header in own.readdir():
        if header.basename.startswith("cudnn"):
            repository_ctx.symlink(header, "include/" + header.basename)
    repository_ctx.symlink(Label("//third_party/cudnn:cudnn.BUILD"), "BUILD")

cudnn_repository = repository_rule(
    implementation = _cudnn_repository_impl,
    environ = [
        "CUDA_HOME",
        "HOME",
        "XDG_CACHE_HOME",
    ],
    local = True,
)
