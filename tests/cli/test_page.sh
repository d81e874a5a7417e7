#!/usr/bin/env bash
# The page of a run in Chromium: no console errors, nothing wider than a phone, light and dark, links that resolve, figures
# with titles and roles; what it says while the run is under way; `cyclotomo status`; advice that fits the program's words.
set -euo pipefail
cyclotomo=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAIL: $*" >&2; [ ! -e log ] || tail -n 20 log >&2; exit 1; }

# Every part of a warning that the page has advice for is in a message of the program.
cat "$source"/src/*/*.c | tr -d '\n\t' | sed 's/"  *"//g; s/""//g' >program
sed -n '/^} ADVICE/,/^};/p' "$source/src/summary/page_warnings.c" | tr -d '\n\t' | sed 's/"  *"//g; s/""//g' | grep -o '{ *"[^"]*", *"' |
	sed 's/^{ *"//; s/", *"$//' >parts
[ "$(wc -l <parts)" -ge 20 ] || fail "no table of advice found"
while read -r part; do
	[ "$(grep -oF -- "$part" program | wc -l)" -ge 2 ] || fail "no message of the program has '$part'"
done <parts

"$cyclotomo" simulate --series 2 --particles 10 --tilts 21 --size 240 --size-y 240 --box 64 --pixel-size 3 --o project --quiet >/dev/null
options=(--root project --i optimisation_set.star --b 64 --sym O --mask-align mask_align.mrc --mask-fsc mask_fsc.mrc --o Run --skip-refine)
code=0
"$cyclotomo" status project/Run >out 2>log || code=$?
[ $code = 1 ] && grep -q 'not the folder of a cycle' log || fail "status of nothing"
"$cyclotomo" cycle "${options[@]}" --j 2 >out 2>log &
pid=$!
for _ in $(seq 600); do
	[ ! -e project/Run/PostProcess/job002/RELION_JOB_EXIT_SUCCESS ] && kill -0 $pid 2>/dev/null || break
	sleep 0.05
done
for _ in $(seq 200); do
	! grep -q 'id="map"' project/Run/summary.html 2>/dev/null && kill -0 $pid 2>/dev/null || break
	sleep 0.05
done
# Ended by a signal: the page reports it, and does not reload.
if kill -TERM $pid 2>/dev/null; then
	wait $pid || true
	grep -q '<b>Stopped</b>' project/Run/summary.html || fail "a stopped run does not say so"
	! grep -q 'http-equiv' project/Run/summary.html || fail "the page of a stopped run loads itself again"
	"$cyclotomo" status project/Run >out 2>log || fail "status of a stopped run"
	grep -q 'Run: stopped' out || fail "status does not say that the run stopped: $(cat out)"
fi
"$cyclotomo" cycle "${options[@]}" --j 2 >out 2>log || fail "cycle"
"$cyclotomo" status project/Run >out 2>log || fail "status of a finished run"
grep -q 'Run: finished' out && grep -q 'better\|no difference\|worse' out || fail "status of a finished run: $(cat out)"
page=$work/project/Run/summary.html
[ "$(stat -c %s "$page")" -lt 4000000 ] || fail "the page has more than 4 MB"
! grep -q 'http-equiv' "$page" || fail "a finished page loads itself again"
! grep -qE '(src|href)="(https?:)?//' "$page" || fail "something is loaded from elsewhere"
[ "$(grep -c '<title>' "$page")" -ge 1 ] && grep -qE '<title>project: 20 particles of [0-9]+ Å, O, [0-9.]+ (→ [0-9.]+ )?Å' "$page" || fail "title"
[ -s project/Run/LocalRes/before_locres.mrc ] || [ -s project/Run/LocalRes/result_locres.mrc ] || fail "no local resolution"
[ "$(grep -o 'class="surface"' "$page" | wc -l)" -ge 3 ] || fail "no surfaces"

# A result does not depend on what its folder is called.
"$cyclotomo" simulate --preset tiny --sym O --series 2 --tilts 5 --tilt-step 15 --particles 6 --signal 6 --o small --quiet >/dev/null
for out in One Other; do
	"$cyclotomo" cycle --root small --i optimisation_set.star --b 32 --sym O --mask-fsc mask_fsc.mrc --skip-polish --skip-refine --o $out >out 2>log || fail "cycle of a small project"
done
for map in small/One/LocalRes/*.mrc; do cmp "$map" "small/Other/LocalRes/${map##*/}" || fail "the folder's name is in a result"; done

chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
	echo "SKIPPED: the part in Chromium, which is not installed (tools/install-deps.sh --ci does)" >&2
	exit 0
fi
# A page around the page: measures it at the width of a phone and of a desk, and writes what it found into its title.
cat >probe.html <<'H'
<!DOCTYPE html><meta charset="utf-8"><body><script>
function probe(width){return new Promise(function(done){
var f=document.createElement("iframe");f.style.cssText="border:0;width:"+width+"px;height:3000px";f.src="project/Run/summary.html";
f.onload=function(){var d=f.contentDocument,out=[],e=d.documentElement;
function bad(t){out.push(width+": "+t);}
if(e.scrollWidth>width)bad("is "+e.scrollWidth+" px wide");
d.querySelectorAll("svg").forEach(function(s){if(s.getAttribute("role")!=="img"||!s.querySelector("title")||!s.querySelector("title").textContent)bad("svg without role or title");});
d.querySelectorAll("img").forEach(function(i){if(!i.alt)bad("img without alt");if(!i.complete||!i.naturalWidth)bad("img does not load: "+i.alt);});
d.querySelectorAll("figure").forEach(function(g){if(!g.querySelector("figcaption"))bad("figure without caption");});
d.querySelectorAll("canvas").forEach(function(g){if(!g.getAttribute("aria-label")||!g.getAttribute("role"))bad("canvas without name");});
d.querySelectorAll("table").forEach(function(t){if(!t.caption)bad("table without caption");});
d.querySelectorAll("th").forEach(function(t){if(!t.scope)bad("th without scope");});
["main","header","h1","nav"].forEach(function(n){if(!d.querySelector(n))bad("no "+n);});
var ids={};d.querySelectorAll("[id]").forEach(function(n){if(ids[n.id])bad("id twice: "+n.id);ids[n.id]=1;});
d.querySelectorAll("a[href^='#']").forEach(function(a){if(!ids[a.getAttribute("href").slice(1)])bad("no target: "+a.getAttribute("href"));});
/* Contrast of text on the ground of the page. */
function rgb(c){var m=c.match(/[\d.]+/g).map(Number);return m;}
function lum(c){var v=c.slice(0,3).map(function(x){x/=255;return x<=.03928?x/12.92:Math.pow((x+.055)/1.055,2.4);});return .2126*v[0]+.7152*v[1]+.0722*v[2];}
var ground=rgb(f.contentWindow.getComputedStyle(d.body).backgroundColor);
d.querySelectorAll("p,a,td,th,small,figcaption,h1,h2,h3,summary").forEach(function(n){
var style=f.contentWindow.getComputedStyle(n),l=[lum(rgb(style.color)),lum(ground)].sort(function(a,b){return b-a;});
if((l[0]+.05)/(l[1]+.05)<4.5)bad("contrast of "+n.tagName+" "+n.textContent.slice(0,30));});
var dark=f.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches;
done({out:out,dark:dark,light:lum(ground)>.5});};
document.body.appendChild(f);});}
Promise.all([probe(390),probe(1200)]).then(function(r){
var all=r[0].out.concat(r[1].out),p=document.createElement("pre");p.id="found";
p.textContent="FOUND "+(r[0].dark?"dark":"light")+" "+(r[0].light!==r[0].dark?"fits":"does not fit")+" ["+all.join("; ")+"]";
document.body.textContent="";document.body.appendChild(p);});
</script>
H
look() { # PREFERRED SCHEME, OPTIONS
	timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --allow-file-access-from-files --enable-logging=stderr --user-data-dir="$work/chromium" \
		--blink-settings=preferredColorScheme="$1" "${@:2}" --virtual-time-budget=20000 --window-size=1300,3000 --dump-dom "file://$work/probe.html" 2>browser.log | grep -o 'FOUND [^<]*'
}
# Dark with WebGL in software, about which the browser itself has something to say; light without any.
for scheme in 0:dark:--enable-unsafe-swiftshader 1:light:--disable-3d-apis; do
	option=${scheme##*:}
	scheme=${scheme%:*}
	found=$(look "${scheme%%:*}" "$option") || fail "Chromium did not show the page: $(tail -n 5 browser.log)"
	[ "$found" = "FOUND ${scheme##*:} fits []" ] || fail "in Chromium: $found"
	! grep 'CONSOLE' browser.log | grep -v 'GL Driver Message' || fail "messages on the console"
done
# Links lead to files that are there.
grep -o 'href="[^"#][^"]*"' "$page" | sed 's/^href="//; s/"$//' | grep -v '^data:' | sort -u >links
[ "$(wc -l <links)" -ge 20 ] || fail "only $(wc -l <links) links"
while read -r link; do
	[ -e "project/Run/$(printf '%b' "${link//%/\\x}")" ] || fail "a link leads nowhere: $link"
done <links
