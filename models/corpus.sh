#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# corpus.sh DIR — texts to train and test on, taken from Debian's packages without installing them.
#
# For each of kjv, python and man, DIR gets NAME.txt (UTF-8), NAME.docs (a line a document: byte offset, tab, name) and
# NAME.info (title, and `cksum` of the other two: checksum and bytes). NAME.info is moved in last, so a text with it is whole.
set -eu
LC_ALL=C
export LC_ALL
umask 022

texts='kjv python man'
instead='use any UTF-8 text of your own instead: --text FILE'

die() { echo "corpus: $*" >&2; exit 1; }

sums() { cksum < "$1"; }

intact() {
    [ -f "$dir/$1.txt" ] && [ -f "$dir/$1.docs" ] && [ -f "$dir/$1.info" ] &&
    [ "$(sed -n 's/^text: //p' "$dir/$1.info")" = "$(sums "$dir/$1.txt")" ] &&
    [ "$(sed -n 's/^index: //p' "$dir/$1.info")" = "$(sums "$dir/$1.docs")" ]
}

[ $# = 1 ] || die 'usage: corpus.sh DIR'
mkdir -p "$1" || exit 1
dir=$(cd "$1" && pwd)
wanted=
for name in $texts; do intact "$name" || wanted="$wanted $name"; done
[ -n "$wanted" ] || exit 0

for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool > /dev/null || die "the texts come from Debian's packages, and there is no $tool here; $instead"
done
find "$dir" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} + # left by a run that was killed
tmp=$(mktemp -d "$dir/.new.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- packages

# Package lists of our own when the system has none: that needs no root.
apt_options=(-o APT::Sandbox::User=root)
own_lists() {
    mkdir -p "$tmp/apt/lists/partial" "$tmp/apt/cache/archives/partial"
    apt_options+=(-o "Dir::State::Lists=$tmp/apt/lists" -o "Dir::Cache=$tmp/apt/cache" -o Acquire::Languages=none)
    apt-get "${apt_options[@]}" -qq update > "$tmp/log.update" 2>&1
}

python_package() {
    apt-cache "${apt_options[@]}" depends libpython3-stdlib 2> /dev/null | sed -n 's/^ *Depends: \(libpython3\.[0-9]*-stdlib\)$/\1/p' | head -n 1
}

packages_of() {
    case $1 in
    kjv) echo bible-kjv bible-kjv-text ;;
    python) python_package ;;
    man) echo manpages ;;
    esac
}

download() {
    packages=
    for name in $wanted; do
        found=$(packages_of "$name")
        [ -n "$found" ] || { echo "E: no package for $name" > "$tmp/log"; return 1; }
        packages="$packages $found"
    done
    (cd "$tmp/deb" && apt-get "${apt_options[@]}" -qq download $packages) > "$tmp/log" 2>&1
}

fetch() {
    mkdir "$tmp/deb"
    : > "$tmp/log.update"
    download || { own_lists && download; } || {
        reason=$(cat "$tmp/log.update" "$tmp/log" | sed -n 's/^[EW]: //p' | head -n 1 | tr -s ' ' | cut -c 1-160)
        die "cannot download$wanted from Debian ($reason); connect to the network and try again, or $instead"
    }
}

# Unpacks package $1; its files then stand under $tmp/$1.
unpack() {
    deb=$(echo "$tmp/deb/$1"_*.deb)
    dpkg-deb -x "$deb" "$tmp/$1"
    version=$(dpkg-deb -f "$deb" Version)
}

# --- documents

# Adds standard input to text $1 as the document $2.
add() {
    cat > "$tmp/document"
    [ -s "$tmp/document" ] || return 0
    iconv -f UTF-8 -t UTF-8 "$tmp/document" > /dev/null 2>&1 || return 0
    printf '%s\t%s\n' "$offset" "$2" >> "$tmp/$1.docs"
    cat "$tmp/document" >> "$tmp/$1.txt"
    offset=$((offset + $(wc -c < "$tmp/document")))
}

# Chapters are the documents; "Ge1:1 In the beginning ..." loses its reference.
make_kjv() {
    unpack bible-kjv
    unpack bible-kjv-text
    # -p takes a list of folders and splits it at blanks: run it where the data is.
    (cd "$tmp/bible-kjv-text/usr/lib" && "$tmp/bible-kjv/usr/bin/bible" -p . -f 'gen1:1-rev22:21' < /dev/null > "$tmp/verses" 2> "$tmp/log") ||
        die "kjv: the program that unpacks the Bible does not run here: $(head -n 1 "$tmp/log")"
    awk -v docs="$tmp/kjv.docs" '
        !match($0, /^[0-9]*[A-Za-z]+[0-9]+:[0-9]+ /) { next }
        {
            chapter = substr($0, 1, index($0, ":") - 1)
            verse = substr($0, RLENGTH + 1)
            if (chapter != last)
                printf "%d\t%s\n", offset, chapter > docs
            last = chapter
            offset += length(verse) + 1
            print verse
        }' "$tmp/verses" > "$tmp/kjv.txt"
    chapters=$(wc -l < "$tmp/kjv.docs")
    [ "$chapters" -eq 1189 ] || die "kjv: $chapters chapters came out of the Bible's 1189; is the disk full?"
    title="King James Bible (Debian bible-kjv-text $version)"
}

# Without the tests and the generated help texts, which are no code.
make_python() {
    package=$(cd "$tmp/deb" && echo libpython3.*-stdlib_*.deb)
    package=${package%%_*}
    unpack "$package"
    offset=0
    number=${package#libpython}
    number=${number%-stdlib}
    root="$tmp/$package/usr/lib/python$number"
    (cd "$root" && find . -type f -name '*.py' ! -path './test/*' ! -path './pydoc_data/*' | sort) > "$tmp/list"
    while IFS= read -r file; do add python "${file#./}" < "$root/$file"; done < "$tmp/list"
    title="Python $number standard library (Debian $package $version)"
}

# Pages that only refer to others (.so) render to nothing and are left out.
make_man() {
    unpack manpages
    offset=0
    root="$tmp/manpages/usr/share/man"
    (cd "$root" && find man[1-8] -type f -name '*.gz' | sort) > "$tmp/list"
    while IFS= read -r file; do
        gzip -dc "$root/$file" > "$tmp/source"
        awk "$roff" "$tmp/source" > "$tmp/page"
        add man "${file%.gz}" < "$tmp/page"
    done < "$tmp/list"
    title="Linux manual pages (Debian manpages $version)"
}

# Manual pages as plain text without groff: paragraphs filled to 78 columns, tables and examples line by line.
roff='
function blank() { if (printed) gap = 1 }
function put(s) { if (gap) print ""; gap = 0; printed = 1; sub(/ +$/, "", s); print s }
function flush_paragraph(    n, i, words, line) {
    n = split(paragraph, words, / +/)
    line = ""
    for (i = 1; i <= n; i++) {
        if (words[i] == "") continue
        if (line != "" && length(line) + 1 + length(words[i]) > 78) { put(line); line = "" }
        line = line == "" ? words[i] : line " " words[i]
    }
    if (line != "") put(line)
    paragraph = ""
}
function text(s) { if (verbatim) put(s); else paragraph = paragraph " " s }
function plain(s) {
    if (!index(s, "\\")) return s
    gsub(/\\\\|\\e|\\\(rs|\\\[rs\]/, "\001", s)
    sub(/\\["#].*/, "", s)
    gsub(/\\f(\(..|\[[^]]*\]|.)/, "", s)
    gsub(/\\s[-+]?[0-9]/, "", s)
    gsub(/\\[mF]\[[^]]*\]/, "", s)
    gsub(/\\[hvwlLX]\047[^\047]*\047/, "", s)
    gsub(/\\\*\(lq|\\\*\(rq|\\\(dq|\\\[dq\]|\\\(lq|\\\(rq|\\\[lq\]|\\\[rq\]/, "\"", s)
    gsub(/\\\(aq|\\\[aq\]|\\\(cq|\\\[cq\]|\\\(oq|\\\[oq\]|\\\047|\\\(fm/, "\047", s)
    gsub(/\\\(bu|\\\[bu\]/, "*", s)
    gsub(/\\\(em|\\\[em\]/, "—", s)
    gsub(/\\\(en|\\\[en\]/, "–", s)
    gsub(/\\\(co|\\\[co\]/, "©", s)
    gsub(/\\\(ha|\\\[ha\]/, "^", s)
    gsub(/\\\(ti|\\\[ti\]/, "~", s)
    gsub(/\\\(ga|\\\[ga\]|\\`/, "`", s)
    gsub(/\\\(\+-/, "±", s)
    gsub(/\\\(mu/, "×", s)
    gsub(/\\\(->/, "→", s)
    gsub(/\\\(<-/, "←", s)
    gsub(/\\\(<=/, "≤", s)
    gsub(/\\\(>=/, "≥", s)
    gsub(/\\\(at/, "@", s)
    gsub(/\\\(sh/, "#", s)
    gsub(/\\[n*](\(..|\[[^]]*\]|.)/, "", s)
    gsub(/\\\(..|\\\[[^]]*\]/, "", s)
    gsub(/\\-/, "-", s)
    gsub(/\\[ ~0]/, " ", s)
    gsub(/\\t/, "\t", s)
    gsub(/\\[^.]?/, "", s)
    gsub(/\\\./, ".", s)
    gsub(/\001/, "\\", s)
    return s
}
function arguments(s, between,    out, n, word) {
    out = ""
    n = 0
    while (1) {
        sub(/^[ \t]+/, "", s)
        if (s == "" || substr(s, 1, 2) == "\\\"") break
        if (substr(s, 1, 1) == "\"") {
            s = substr(s, 2)
            word = ""
            while (match(s, /^[^"]*""/)) { word = word substr(s, 1, RLENGTH - 1); s = substr(s, RLENGTH + 1) }
            if (match(s, /^[^"]*/)) { word = word substr(s, 1, RLENGTH); s = substr(s, RLENGTH + 2) }
        } else {
            match(s, /^(\\ |[^ \t])+/)
            word = substr(s, 1, RLENGTH)
            s = substr(s, RLENGTH + 1)
        }
        out = n++ ? out between word : word
    }
    return plain(out)
}
FNR == 1 && /^\.so / { exit }
/^[.\047][ \t]*\\"/ || /^\.$/ || /^\047$/ { next }
skip { if (/^\.\./) skip = 0; next }
/^\.[ \t]*(de|am|ig)([ \t1]|$)/ { skip = 1; next }
/^\.TS/ { flush_paragraph(); blank(); layout = 1; table = 1; next }
/^\.TE/ { table = 0; layout = 0; blank(); next }
layout { if (/\.[ \t]*$/) layout = 0; next }
table && /^(T[{}]|[_=]$)/ { sub(/^T[{}][ \t]*/, ""); if ($0 ~ /^[_=]?$/) next }
/^[.\047]/ {
    line = $0
    sub(/^[.\047][ \t]*/, "", line)
    macro = line
    sub(/[ \t].*/, "", macro)
    rest = substr(line, length(macro) + 1)
    if (macro == "TH") { n = split(arguments(rest, "\002"), part, "\002"); put(part[1] "(" part[2] ")") }
    else if (macro == "SH" || macro == "SS") { flush_paragraph(); verbatim = 0; blank(); heading = arguments(rest, " "); if (heading != "") put(heading) }
    else if (macro ~ /^(B|I|SM|SB|R)$/) text(arguments(rest, " "))
    else if (macro ~ /^(BR|BI|IR|IB|RB|RI)$/) text(arguments(rest, ""))
    else if (macro ~ /^(PP|P|LP|TP|sp|HP)$/) { flush_paragraph(); blank() }
    else if (macro == "IP") { flush_paragraph(); blank(); split(arguments(rest, "\002"), part, "\002"); if (part[1] != "") text(part[1]) }
    else if (macro ~ /^(br|TQ)$/) flush_paragraph()
    else if (macro ~ /^(nf|EX)$/) { flush_paragraph(); verbatim = 1 }
    else if (macro ~ /^(fi|EE)$/) verbatim = 0
    else if (macro ~ /^(UR|MT)$/) text("<" arguments(rest, " ") ">")
    else if (macro ~ /^(UE|ME)$/ && rest != "") text(arguments(rest, " "))
    else if (macro ~ /^(RS|RE)$/) flush_paragraph()
    next
}
table { gsub(/\t/, "  "); put(plain($0)); next }
/^[ \t]*$/ { flush_paragraph(); blank(); next }
/^[ \t]/ && !verbatim { flush_paragraph() }
{ text(plain($0)) }
END { flush_paragraph() }
'

# --- all of them

# Text $1 is complete in $tmp: records its sums and moves it to its place, the record last.
install_text() {
    { echo "title: $title"; echo "text: $(sums "$tmp/$1.txt")"; echo "index: $(sums "$tmp/$1.docs")"; } > "$tmp/$1.info"
    rm -f "$dir/$1.info"
    for part in txt docs info; do mv "$tmp/$1.$part" "$dir/$1.$part"; done
    printf 'corpus: %-7s%8d bytes%6d documents  cksum %-11s %s\n' "$1" "$(wc -c < "$dir/$1.txt")" "$(wc -l < "$dir/$1.docs")" \
        "$(sums "$dir/$1.txt" | cut -d ' ' -f 1)" "$title"
}

# A shell of its own for each, so that the first command that fails ends that text alone (set -e holds outside of conditions only).
fetch
failed=0
for name in $wanted; do
    set +e
    (set -e; "make_$name"; install_text "$name")
    status=$?
    set -e
    [ $status = 0 ] || { failed=1; echo "corpus: $name was not made" >&2; }
done
exit $failed
