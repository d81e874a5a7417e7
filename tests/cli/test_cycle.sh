#!/usr/bin/env bash
# The cycle on a simulated project: same bits for any number of threads, however often it was killed; clear refusals.
set -euo pipefail
cyclotomo=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }

# Small: the run is repeated thirty times, and what is compared are bits. Tilts are refined and poses moved in it all the same. The figures
# of the jobs take half the time of such a run: only the whole cycle at the end has them.
"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 11 --particles 6 --signal 6 --o clean >/dev/null
options=(--i optimisation_set.star --b 32 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Run --no-figures --skip-polish --skip-refine)
cycle() { local root=$1; shift; "$cyclotomo" cycle --root "$root" "${options[@]}" "$@" >out 2>log; }
# Start a run in a fresh copy of the project, and send it a signal when its log has that many per cent of the lines of a whole run.
# On a busy machine the run may be at its end before the signal comes: then it is tried again.
stopped_at() { # per cent, signal, arguments...
	local try n=$(($1 * lines / 100)) signal=$2
	shift 2
	for try in 1 2 3; do
		stop_at_line "$n" "$signal" "$@"
		[ $code = 0 ] || return 0
	done
}
stop_at_line() { # line, signal, arguments...
	local n=$1 signal=$2
	shift 2
	rm -rf killed pipe && cp -r clean killed && mkfifo pipe
	"$cyclotomo" cycle --root killed "${options[@]}" "$@" >/dev/null 2>pipe &
	pid=$!
	exec 3<pipe
	: >log
	for ((i = 0; i <= n; i++)); do
		read -r line <&3 || fail "the run ended before line $n of $lines"
		echo "$line" >>log
	done
	kill "-$signal" $pid 2>/dev/null || true
	code=0
	cat <&3 >>log
	exec 3<&-
	wait $pid 2>/dev/null || code=$?
}
# Results of a run, with everything that may depend on time, host and threads left out.
fingerprint() {
	(cd "$1" && find Run -name '*.star' -o -name '*.mrc' | sort | xargs sha256sum)
	# Pages differ in times and in the name of the project.
	sed -E 's#<time[^>]*>[^<]*</time>##g; s#<title>.*</title>##; s#<span class="project">[^<]*</span>##' "$1/Run/summary.html" | sha256sum
}

cp -r clean one && cp -r clean two
cycle one --j 1 || fail "cycle with one thread"
grep -q 'resolution .* -> .* Å' out || fail "no resolution before and after"
grep -q 'one/Run/summary.html' out || fail "not said where to look"
cycle two --j 2 || fail "cycle with two threads"
lines=$(wc -l <log)
fingerprint one >wanted
fingerprint two >found
diff wanted found || fail "the number of threads changes results"
for file in summary.json run.json default_pipeline.star optimisation_set.star CtfRefine/job003/tomograms.star PostProcess/job005/postprocess.star; do
	[ -s "one/Run/$file" ] || fail "no $file"
done
for text in '"version": "[0-9.]*"' '"git": ' '"threads": 1' '"box": 32' '"wall_s": [0-9.]*' '"loops_s": [0-9.]*' '"peak_memory_bytes": [0-9]*' '"xxh3_64": "[0-9a-f]\{16\}"'; do
	grep -q "$text" one/Run/run.json || fail "no $text in run.json"
done
# A step has what it cost itself, not what the run has cost so far.
for text in '"cpu_s": ' '"operation": "slice_insert"' '"bytes_read": '; do
	grep -q "$text" one/Run/Reconstruct/job004/run.json || fail "no $text in run.json of a step"
done
grep -q '"operation": "slice_insert"' one/Run/PostProcess/job005/run.json && fail "a post-processing inserts slices"
[ ! -e one/default_pipeline.star ] || fail "the user's project was touched"
[ -z "$(find one/Run -name '*.tmp*')" ] || fail "temporary files are left"

# Killed at any moment and started again, it ends with the same.
for share in 0 25 50 75; do
	stopped_at $share KILL --j 2
	[ $code = 137 ] || fail "the run was at its end before $share % of its log"
	cycle killed --j 2 || fail "resuming after a kill at $share %"
	[ -z "$(find killed/Run/*/ -name '*.tmp*')" ] || fail "temporary files of the killed run are left"
	fingerprint killed >found
	diff wanted found || fail "a kill at $share % changes results"
done

# A request to stop: exit code 130, flags, and it resumes.
stopped_at 35 TERM --j 2
[ $code = 130 ] || fail "exit code $code after a request to stop"
grep -q 'error: .*interrupted' log || fail "message of a request to stop"
cycle killed || fail "resuming after a request to stop"

# Refusals: nothing done, nothing changed.
refused() {
	local code=$1 text=$2 got=0
	shift 2
	cycle "$@" || got=$?
	[ "$got" = "$code" ] || fail "ended with $got instead of $code: $*"
	grep -q "$text" log || fail "no '$text': $*"
}
refused 2 'was started with other options: --cycles\|--snr (was -1, now 3)' one --snr 3
sed -i '1i # edited' one/particles.star
refused 3 'inputs of the run .*particles.star' one
sed -i 1d one/particles.star
cycle one || fail "the old input is not recognised"
fingerprint one >found
diff wanted found || fail "a refused or repeated run changes results"
# Steps whose files were damaged are done again, and leave what they had left.
rm -rf hurt && cp -a one hurt
for damage in 'sed -i "/frames/s/8/9/" hurt/Run/CtfRefine/job003/tilt_series/TS_01.star' 'rm hurt/Run/CtfRefine/job003/tilt_series/TS_02.star' \
	'printf x | dd of=hurt/Run/Reconstruct/job004/half1.mrc bs=1 seek=50000 conv=notrunc status=none' \
	'truncate -s 3000 hurt/Run/PostProcess/job005/postprocess.star' 'sed -i s/mean_fsc.*0[.]/\&1/ hurt/Run/PostProcess/job002/cyclotomo_step.star'; do
	eval "$damage"
	cycle hurt || fail "after: $damage"
	grep -q 'is repeated' log || fail "not noticed: $damage"
	fingerprint hurt >found
	diff wanted found || fail "other results after: $damage"
done
# What no finished step has used may be corrected.
rm -rf killed && cp -r clean killed
: >killed/mask_align.mrc
got=0
cycle killed || got=$?
[ $got != 0 ] || fail "an empty mask is accepted"
cp clean/mask_align.mrc killed/mask_align.mrc
cycle killed --kmin 1e-3 && fail "no resolution is as fine as that"
cycle killed || fail "after the options are corrected"
fingerprint killed >found
diff <(sed /cyclotomo_cycle/d wanted) <(sed /cyclotomo_cycle/d found) || fail "a correction changes results"
mv two/frames two/moved
refused 3 'tilt images cannot be found' two
got=0
"$cyclotomo" cycle --root two "${options[@]/Run/Other}" --dry-run >out 2>log || got=$?
[ $got = 3 ] || fail "a plan with missing images ends with $got"
grep -q 'Images that cannot be found' out || fail "missing images are not listed"
[ ! -e two/Other ] || fail "a plan writes"
"$cyclotomo" cycle --root clean "${options[@]}" --dry-run >out 2>log || fail "plan"
grep -q 'CtfRefine/job003/' out || fail "steps are not in the plan"
[ ! -e clean/Run ] || fail "a plan writes"

# A disk that is full: an error that names the cause, no half-written results, and it resumes later.
rm -rf killed && cp -r clean killed
code=0
(trap '' XFSZ; ulimit -f 60; cycle killed) || code=$?
[ $code = 1 ] || fail "exit code $code when files cannot be written"
grep -q 'error: .*cannot write' log || fail "message of a full disk"
[ -z "$(find killed/Run -name '*.mrc' -size -200)" ] || fail "half-written maps"
cycle killed || fail "going on after a full disk"
fingerprint killed >found
diff wanted found || fail "a full disk changes results"

# The commands in the notes of the jobs do what the steps did. (The page's local resolution has no job.)
rm -rf killed && cp -r clean killed
for job in Reconstruct/job001 PostProcess/job002 CtfRefine/job003 Reconstruct/job004 PostProcess/job005; do
	command=$(sed -n 's/^cyclotomo //p' "one/Run/$job/note.txt")
	# shellcheck disable=SC2086
	"$cyclotomo" $command --root killed >/dev/null 2>log || fail "the command of $job"
done
for file in $(cd one && find Run -name '*.mrc' -o -name postprocess.star -o -path '*/CtfRefine/*.star' | grep -v 'job.star\|cyclotomo_\|LocalRes'); do
	cmp "one/$file" "killed/$file" || fail "the commands in the notes give another $file"
done

# Polishing takes its place before the CTFs, by the same rules.
rm -rf one two && cp -r clean one && cp -r clean two
options=("${options[@]:0:${#options[@]}-2}" --skip-refine)
polish=(--velocity-sigma 0.05)
cycle one "${polish[@]}" --j 1 || fail "cycle with polishing"
cycle two "${polish[@]}" --j 2 || fail "cycle with polishing and two threads"
lines=$(wc -l <log)
fingerprint one >wanted
fingerprint two >found
diff wanted found || fail "the number of threads changes results of polishing"
for file in tomograms.star particles.star motion.star optimisation_set.star uncertainty.star RELION_JOB_EXIT_SUCCESS; do
	[ -e "one/Run/Polish/job003/$file" ] || fail "no $file of polishing"
done
[ ! -e one/Run/Polish/job003/temp ] || fail "records of polishing are left"
grep -q 'Run/PostProcess/job005\|Run/PostProcess/job002' one/Run/CtfRefine/job006/note.txt || fail "the CTF refinement does not follow"
for share in 30 45; do # in the middle of polishing, and after it
	stopped_at $share KILL "${polish[@]}" --j 2
	[ $code = 137 ] || fail "the run with polishing was at its end before $share % of its log"
	cycle killed "${polish[@]}" --j 2 || fail "resuming with polishing after a kill at $share %"
	fingerprint killed >found
	diff wanted found || fail "a kill at $share % changes results of polishing"
done
rm -rf killed && cp -r clean killed
for job in Reconstruct/job001 PostProcess/job002 Polish/job003; do
	command=$(sed -n 's/^cyclotomo //p' "one/Run/$job/note.txt")
	# shellcheck disable=SC2086
	"$cyclotomo" $command --root killed >/dev/null 2>log || fail "the command of $job"
done
for file in tomograms.star particles.star motion.star; do
	cmp "one/Run/Polish/job003/$file" "killed/Run/Polish/job003/$file" || fail "the command in the note gives another $file"
done
refused 2 'was started with other options: --velocity-sigma (was 0.05' one

# So do the orientations, last in a cycle; killed in the middle of everything, the whole cycle ends with the same.
rm -rf one two && cp -r clean one && cp -r clean two
options=("${options[@]:0:${#options[@]}-2}")
cycle one --j 1 || fail "the whole cycle"
cycle two --j 2 || fail "the whole cycle with two threads"
lines=$(wc -l <log)
fingerprint one >wanted
fingerprint two >found
diff wanted found || fail "the number of threads changes results of the whole cycle"
for file in run_data.star run_optimisation_set.star run_uncertainty.star RELION_JOB_EXIT_SUCCESS; do
	[ -e "one/Run/Refine3D/job009/$file" ] || fail "no $file of the refinement of the orientations"
done
stopped_at 70 KILL --j 2
[ $code = 137 ] || fail "the whole cycle was at its end before 70 % of its log"
cycle killed --j 2 || fail "resuming the whole cycle after a kill"
fingerprint killed >found
diff wanted found || fail "a kill changes results of the whole cycle"
