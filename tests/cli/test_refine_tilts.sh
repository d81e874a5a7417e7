#!/usr/bin/env bash
# Alignment and CTFs in turn: what separate jobs do, whatever is kept in memory; killed and resumed it ends with the same; refusals.
set -euo pipefail
cyclotomo=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }
source "$here/kill_at_line.sh"

"$cyclotomo" simulate -q --preset tiny --sym O --series 2 --tilts 15 --particles 6 --signal 6 --o p >/dev/null
"$cyclotomo" reconstruct -q --root p --i optimisation_set.star --b 32 --sym O --o R/ >/dev/null
"$cyclotomo" postprocess -q --root p --i R/half1.mrc --i2 R/half2.mrc --mask mask_fsc.mrc --o PP/postprocess >/dev/null
with=(--root p --ref1 R/half1.mrc --ref2 R/half2.mrc --fsc PP/postprocess.star --mask mask_align.mrc --b 32)
results() { (cd "$1" && find . -name '*.star' ! -name job.star ! -name optimisation_set.star ! -path '*tomograms.star' | sort | xargs sha256sum); }

"$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o A --j 1 >out 2>log || fail "refine-tilts"
grep -q '30 tilt images read, 90 times taken from memory' log || fail "images are read more than once"
for text in 'A/Polish/job003/particles.star' 'A/CtfRefine/job004/tomograms.star' 'A/Polish/job003/motion.star'; do
	grep -q "$text" p/A/optimisation_set.star || fail "the set does not name $text"
done
! grep -q 'ReferenceMap1' p/A/optimisation_set.star || fail "the set names half maps of the old tilts"
[ -e p/A/RELION_JOB_EXIT_SUCCESS ] || fail "no exit flag"
results p/A >wanted

# Threads and memory change nothing.
"$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o B --j 2 --cache 0 >out 2>log || fail "without memory for images"
grep -q ' 0 times taken from memory' log || fail "images are kept all the same"
results p/B >found
diff wanted found || fail "threads or memory for images change results"

# The same as the two jobs one after the other.
"$cyclotomo" polish "${with[@]}" --i optimisation_set.star --motion --o C >/dev/null 2>log || fail "polish"
for file in particles.star motion.star; do cmp p/A/Polish/job001/$file p/C/$file || fail "polish gives another $file"; done
"$cyclotomo" ctfrefine "${with[@]}" --i C/optimisation_set.star --o D >/dev/null 2>log || fail "ctfrefine"
cmp p/A/CtfRefine/job002/refinement.txt p/D/refinement.txt || fail "ctfrefine gives another table"

# Killed at any moment and resumed: in the first alignment, in the CTFs of the first round, and in both of the second.
for line in 2: '1:round 1 of 2: CTFs' '1:round 2 of 2: alignment' '1:round 2 of 2: CTFs'; do
	# A busy machine may let the run end before the signal comes.
	for _ in 1 2 3; do
		rm -rf p/K
		kill_at_line KILL "${line%%:*}" -e "${line#*:}" "$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o K --j 2
		[ "$killed_code" = 0 ] || break
	done
	[ "$killed_code" = 137 ] || fail "ended with $killed_code, and was not killed at $line"
	"$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o K --j 2 --resume >out 2>log || fail "resuming after a kill at $line"
	results p/K >found
	diff wanted found || fail "a kill at $line changes results"
	[ -z "$(find p/K -name '*.tmp*')" ] || fail "temporary files are left"
done
"$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o K --resume --defocus-range 2000 >out 2>log || fail "other options"
grep -q 'other options: the CTFs of round 1 and all later steps are repeated' log || fail "other options take the old results"
! grep -q 'round 1 of 2: alignment' log || fail "an alignment that knows nothing of the option is done again"
# Other options of the alignment, another box, whole windows: all is repeated, as the first lines show.
cp -a p/K finished
repeats() { # TEXT BOX OPTIONS...
	local text=$1 box=$2
	shift 2
	rm -rf p/K && cp -a finished p/K
	kill_at_line KILL 1 -e "$text" "$cyclotomo" refine-tilts "${with[@]:0:${#with[@]}-1}" "$box" --i optimisation_set.star --rounds 2 --o K --resume --defocus-range 2000 "$@"
}
repeats 'other options: the alignment of round 1 and all later steps are repeated' 32 --range 5
repeats 'was made with other input or options' 36
repeats 'was made with other input or options' 32 --whole-windows
# Half maps, mask and FSC are inputs of the same names with other content: a comment, or a label of the header that holds no value.
for file in R/half1.mrc R/half2.mrc mask_align.mrc PP/postprocess.star; do
	cp -p "p/$file" kept
	case $file in
	*.star) echo '# edited' >>"p/$file" ;;
	*) printf edited | dd of="p/$file" bs=1 seek=240 conv=notrunc status=none ;;
	esac
	! cmp -s kept "p/$file" || fail "$file is not edited"
	repeats 'was made with other input or options' 32
	cp -p kept "p/$file"
done

# Inputs that changed since are not what finished blocks were made from: tables that tomograms.star names, too. Nor is a block
# that was damaged believed, and what followed from it.
again() { "$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --rounds 2 --o A --j 2 --resume >out 2>log; }
results p/A >wanted
cp -p p/tilt_series/TS_01.star kept
sed -i 's/frames/.\/frames/' p/tilt_series/TS_01.star
again || fail "resuming with another tilt table"
grep -q 'refine_tilts.record.* was made with other input or options' log || fail "another tilt table takes the old results"
cp -p kept p/tilt_series/TS_01.star
again || fail "resuming with the first tilt table"
again || fail "resuming what is finished"
if grep -q 'made with other input\|round 1 of 2' log; then fail "a finished run is done again"; fi
results p/A >found
diff wanted found || fail "a detour changes results"
for damage in ': >p/A/Polish/job001/particles.star' 'rm p/A/Polish/job003/tilt_series/TS_01.star' \
	'sed -i s/rlnDefocusU/rlnDefocusX/ p/A/CtfRefine/job002/tilt_series/TS_01.star'; do
	eval "$damage"
	again || fail "resuming after: $damage"
	grep -q 'since it was written: .* are repeated' log || fail "not noticed: $damage"
	results p/A >found
	diff wanted found || fail "other results after: $damage"
done

# Refusals.
refused() { # CODE TEXT arguments...
	local code=$1 text=$2 got=0
	shift 2
	"$cyclotomo" refine-tilts "$@" >out 2>log || got=$?
	[ $got = "$code" ] || fail "exit code $got instead of $code for $*"
	grep -q "$text" log || fail "no '$text' for $*"
	[ ! -e p/N/optimisation_set.star ] || fail "a set was written for $*"
}
refused 2 'two half maps are needed' --root p --i optimisation_set.star --b 32 --o N
refused 2 'a box size is needed' --root p --i optimisation_set.star --ref1 R/half1.mrc --ref2 R/half2.mrc --o N
refused 2 'rounds' "${with[@]}" --i optimisation_set.star --o N --rounds 0
refused 1 'absent.mrc' --root p --i optimisation_set.star --ref1 absent.mrc --ref2 R/half2.mrc --b 32 --o N
"$cyclotomo" refine-tilts "${with[@]}" --i optimisation_set.star --o Dry --dry-run >out 2>log || fail "dry run"
[ ! -e p/Dry ] || fail "a dry run writes"
echo ok
