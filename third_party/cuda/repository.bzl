"""Finds the CUDA toolkit: $CUDA_HOME, else /usr/local/cuda."""

def _cuda_repository_impl(repository_ctx):
    home = repository_ctx.path(repository_ctx.os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    if not home.get_child("bin").get_child("nvcc").exists:
        repository_ctx.template("BUILD", Label("//third_party/cuda:missing.BUILD"), {"{home}": str(home)})
        return
    repository_ctx.symlink(home.get_child("include"), "include")

    # nvcc finds the rest of its toolkit from its own path, so it is called by that.
    repository_ctx.file("nvcc.sh", "#!/bin/sh\nexec '%s/bin/nvcc' \"$@\"\n" % home)
    repository_ctx.template("BUILD", Label("//third_party/cuda:cuda.BUILD"), {"{home}": str(home)})

cuda_repository = repository_rule(
    implementation = _cuda_repository_impl,
    environ = ["CUDA_HOME"],
    local = True,
)
