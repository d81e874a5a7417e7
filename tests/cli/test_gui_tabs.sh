#!/usr/bin/env bash
# The tables of the GUI's tabs in docs/formats/relion-commands.md: each field of each tab does what its row says, and each variable of a job.star has a row.
#   test_gui_tabs.sh BINARY [PROJECT]     with the folder of a RELION project: all its job.star files of these types are known, too
set -euo pipefail
command -v python3 >/dev/null || { echo "python3 is missing"; exit 77; }
exec python3 "$(dirname "$0")/../gui/check_tabs.py" "$@"
