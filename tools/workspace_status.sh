#!/bin/sh
# What Bazel writes into builds: the commit that they are of, with "+" where files differ from it.
# tools/bench/BUILD reads it.
commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || exit 0
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || commit=$commit+
echo "STABLE_TP_COMMIT $commit"
