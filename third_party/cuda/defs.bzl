"""Builds CUDA sources with nvcc, and says which targets need a toolkit or a GPU."""

# For target_compatible_with: skipped unless built with --config=cuda.
NEEDS_CUDA = select({
    "//:with_cuda": [],
    "//conditions:default": ["//:unavailable"],
})

# For target_compatible_with: skipped unless --//:gpu_tests says that the machine has GPUs.
NEEDS_GPU = select({
    "//:with_gpu_tests": [],
    "//conditions:default": ["//:unavailable"],
})

_NVCC_FLAGS = [
    "-std=c++20",
    "-O3",
    "-lineinfo",

    # Not /tmp: sandboxes share it, and there each has the same process ids, by which nvcc names its files.
    "--objdir-as-tempdir",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-Xcompiler=-fPIC,-Wall",
]

# Of --//:every_gpu.
_MORE_GPUS = [
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=compute_90",  # PTX, for chips to come
]

def _cuda_object_impl(ctx):
    context = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    ).compilation_context
    objects = []
    for src in ctx.files.srcs:
        out = ctx.actions.declare_file("%s/%s.pic.o" % (ctx.label.name, src.basename))
        args = ctx.actions.args()
        args.add_all(_NVCC_FLAGS)
        if ctx.attr.every_gpu:
            args.add_all(_MORE_GPUS)
        args.add_all(context.defines, before_each = "-D")
        args.add("-I.")
        args.add_all(context.quote_includes, before_each = "-I")
        args.add_all(context.includes, before_each = "-I")
        args.add_all(context.system_includes, before_each = "-isystem")
        args.add("-c", src)
        args.add("-o", out)
        ctx.actions.run(
            executable = ctx.executable._nvcc,
            arguments = [args],
            inputs = depset([src] + ctx.files.hdrs, transitive = [context.headers]),
            outputs = [out],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s with nvcc" % src.short_path,
            use_default_shell_env = True,
        )
        objects.append(out)
    return [DefaultInfo(files = depset(objects))]

_cuda_object = rule(
    implementation = _cuda_object_impl,
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "every_gpu": attr.bool(),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "srcs": attr.label_list(allow_files = [".cu"], mandatory = True),
        "_nvcc": attr.label(
            default = "@cuda//:nvcc.sh",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
    },
)

def cuda_library(name, srcs, hdrs = [], deps = [], visibility = None):
    """A cc_library of .cu files, for sm_80, sm_90a and, as PTX, what comes after.

    With --//:every_gpu=false for sm_90a alone, in a third of the time.

    Args:
      name: name of the library.
      srcs: .cu files.
      hdrs: headers of the library; plain C++, so that .cc files can include them.
      deps: cc_library targets.
      visibility: as everywhere.
    """
    deps = deps + ["@cuda//:cudart"]
    _cuda_object(
        name = name + "_objects",
        srcs = srcs,
        hdrs = hdrs,
        target_compatible_with = NEEDS_CUDA,
        visibility = ["//visibility:private"],
        every_gpu = select({
            "//:for_every_gpu": True,
            "//conditions:default": False,
        }),
        deps = deps,
    )
    native.cc_library(
        name = name,
        srcs = [":" + name + "_objects"],
        hdrs = hdrs,
        target_compatible_with = NEEDS_CUDA,
        visibility = visibility,
        deps = deps,
    )
