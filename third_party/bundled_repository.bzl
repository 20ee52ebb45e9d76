"""External repositories that lie in this one."""

def _bundled_repository_impl(repository_ctx):
    for file in repository_ctx.path(repository_ctx.attr.workspace).dirname.readdir():
        repository_ctx.symlink(file, file.basename)

bundled_repository = repository_rule(
    implementation = _bundled_repository_impl,
    doc = """Links a folder of this repository into one of its own.

As local_repository, but for a folder that is named by a label, and so is found from the workspace of
another project too.""",
    attrs = {
        "workspace": attr.label(mandatory = True, doc = "The WORKSPACE file in that folder."),
    },
    local = True,
)
