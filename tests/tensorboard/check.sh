#!/usr/bin/env bash
# Holds what `bench --profile` writes against TensorBoard's profiler plugin: makes a virtual Python
# environment with the plugin and runs check.py in it.
#   tests/tensorboard/check.sh BENCH [ENVIRONMENT]
# ENVIRONMENT is the folder of the environment, kept for the next time; else a temporary one.
set -euo pipefail

bench="${1:?usage: $0 BENCH [ENVIRONMENT]}"
here="$(dirname "$0")"
environment="${2:-}"
if [[ -z "${environment}" ]]; then
  environment="$(mktemp -d)"
  trap 'rm -rf "${environment}"' EXIT
fi

if [[ ! -x "${environment}/bin/pip" ]]; then
  python3 -m venv "${environment}"
fi
"${environment}/bin/pip" install --quiet --disable-pip-version-check --requirement \
  "${here}/requirements.txt"
"${environment}/bin/python" "${here}/check.py" "${bench}"
