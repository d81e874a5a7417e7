# For tests that kill a run: source this. Kills come when the run has said so many lines, not after a time in which a fast
# machine may be done and a slow one has hardly begun.

# Run a command; send it the signal when it has written its n-th line to stderr, if given the n-th with this text. The test
# fails (with fail) if the run ends before that. Its exit code is in $killed_code, its messages are in the file `killed_log`.
#   kill_at_line SIGNAL N [-e TEXT] COMMAND...
kill_at_line() {
	local signal=$1 n=$2 text='' line='' pid
	shift 2
	[ "$1" != -e ] || { text=$2; shift 2; }
	rm -f killed_pipe && mkfifo killed_pipe
	: >killed_log
	"$@" >/dev/null 2>killed_pipe &
	pid=$!
	exec 8<killed_pipe
	while [ "$n" -gt 0 ] && IFS= read -r line <&8; do
		printf '%s\n' "$line" >>killed_log
		[ -n "$text" ] && [[ $line != *"$text"* ]] || n=$((n - 1))
	done
	[ "$n" = 0 ] || { cat killed_log >&2; fail "the run ended $n lines before it was to be killed: $*"; }
	kill "-$signal" "$pid" 2>/dev/null || true
	cat <&8 >>killed_log
	exec 8<&-
	killed_code=0
	wait "$pid" 2>/dev/null || killed_code=$?
}
