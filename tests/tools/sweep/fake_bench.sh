#!/bin/bash
# Stands for bench: says on a line of $FAKE_LOG that it ran, with its process and its flags, and
# writes a result that names its mode and sizes. $FAKE_HANG_AT: the run, counted from 1, that never
# ends. $FAKE_STEP: the median step that it reports. $FAKE_FAIL: a mode that cannot run; $FAKE_DEFECT:
# one whose check fails.
for flag in "$@"; do
  case "${flag}" in
    --json=*) json="${flag#--json=}" ;;
    --mode=*) mode="${flag#--mode=}" ;;
    --tokens=*) tokens="${flag#--tokens=}" ;;
  esac
done
echo "$$ $*" >>"${FAKE_LOG}"
if [[ "$(wc -l <"${FAKE_LOG}")" -eq "${FAKE_HANG_AT:-0}" ]]; then
  exec sleep 1000
fi
if [[ "${mode}" == "${FAKE_FAIL:-}" ]]; then
  echo "warming up" >&2
  echo "bench: 2 ranks need 2 GPUs; this machine has 1" >&2
  exit 1
fi
step=${FAKE_STEP:+, \"step_ms\": {\"median\": ${FAKE_STEP}\}}
printf '{"results": [{"mode": "%s", "tokens": %s%s}], "ok": true}\n' "${mode}" "${tokens}" \
  "${step}" >"${json}"
[[ "${mode}" != "${FAKE_DEFECT:-}" ]]
