#!/bin/bash
# Makes a PNG of the top of a page: tools/report/picture.sh PAGE.html OUT.png [WIDTH HEIGHT]
# Needs Chromium (Debian: apt-get install chromium). The page is shown as on a light screen.
set -euo pipefail

if [[ $# -ne 2 && $# -ne 4 ]]; then
  echo "usage: picture.sh PAGE.html OUT.png [WIDTH HEIGHT]" >&2
  exit 1
fi
page=$(realpath -e -- "$1")
out=$(realpath -- "$2")
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "picture.sh: there is no Chromium; on Debian: apt-get install chromium" >&2
  exit 1
}

# Of its own, so that no window of the user's is asked; root may have no sandbox.
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
rm -f -- "$out"
"$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
  --user-data-dir="$profile" --window-size="${3:-1000},${4:-1000}" --virtual-time-budget=5000 \
  --screenshot="$out" "file://$page" >"$profile/log" 2>&1 || true
if [[ ! -s $out ]]; then
  cat "$profile/log" >&2
  echo "picture.sh: Chromium made no picture" >&2
  exit 1
fi
