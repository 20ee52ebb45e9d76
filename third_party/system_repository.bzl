"""External repositories made of what a Debian package installed."""

def _system_repository_impl(repository_ctx):
    arch = repository_ctx.execute(["uname", "-m"]).stdout.strip()
    for link, target in repository_ctx.attr.links.items():
        path = repository_ctx.path(target.replace("{multiarch}", arch + "-linux-gnu"))
        if not path.exists:
            fail("%s is missing: the Debian package %s brings it, and ./bazelw installs it" %
                 (path, repository_ctx.attr.package))
        repository_ctx.symlink(path, link)
    repository_ctx.symlink(repository_ctx.attr.build_file, "BUILD")

system_repository = repository_rule(
    implementation = _system_repository_impl,
    doc = """Links folders of an installed Debian package into a repository.

A repository holds only the library's own headers, and not all of /usr/include, so that its
`includes` can be searched as system headers (no warnings from them) without shadowing libc's.""",
    attrs = {
        "build_file": attr.label(mandatory = True, allow_single_file = True),
        "links": attr.string_dict(
            mandatory = True,
            doc = "Path in the repository to path on the machine; {multiarch} is x86_64-linux-gnu or its like.",
        ),
        "package": attr.string(mandatory = True, doc = "The Debian package that brings the files."),
    },
    local = True,
)
