#!/usr/bin/env bash
# A picture of a summary page:  screenshot.sh SUMMARY_HTML OUT_PNG [WIDTH [HEIGHT]]
# Needs Chromium (Debian: apt-get install chromium).
set -euo pipefail
page=$(realpath "$1") out=$(realpath -m "$2") width=${3:-1000} height=${4:-1400}
for browser in chromium chromium-browser google-chrome; do
	command -v "$browser" >/dev/null && break
done
command -v "$browser" >/dev/null || { echo "no Chromium found: apt-get install chromium" >&2; exit 1; }
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" \
	--window-size="$width,$height" --screenshot="$out" "file://$page" >/dev/null 2>&1
[ -s "$out" ] || { echo "no picture was made of $page" >&2; exit 1; }
