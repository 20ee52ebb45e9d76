"""How many cases a test of properties draws."""

def _environment(count):
    return {"RC_PARAMS": "seed=1 max_success=%d" % count}

def cases(count):
    """The `env` of a test that draws `count` cases of each property, and under a sanitizer a quarter."""
    return select({
        "//:is_sanitized": _environment(count // 4),
        "//conditions:default": _environment(count),
    })
