# Functions shared by bench/run and bench/real: statistics, tables, and the file that stores the results. Sourced, not run.
# shellcheck shell=bash
# shellcheck disable=SC2034 # `missed` is for the scripts that source this

say() { printf '%s\n' "$*" >&2; }

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# most: prints the largest of the input numbers.
most() { sort -g | tail -n 1; }

calc() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

# table HEADER < ROWS: prints a table of cells separated by bars; as Markdown where `column` is not installed.
table() {
  if command -v column >/dev/null; then
    { printf '%s\n' "$1"; cat; } | column -t -s '|'
  else
    markdown "$1"
  fi
}

markdown() {
  printf '%s\n' "$1" | sed 's/^/| /; s/|/ | /2g; s/$/ |/; s/  */ /g'
  printf '%s\n' "$1" | sed 's/[^|]*/-/g; s/^/|/; s/$/|/'
  sed 's/^/| /; s/|/ | /2g; s/$/ |/; s/  */ /g'
}

# row NAME FIGURE PEER RATIO TARGET CONDITION: adds a row to the table of targets. CONDITION is an awk expression that is true
# if the target is met; without one, there is no target.
targets='measurement|mfctl|peer|ratio|target|met'
rows=()
missed=0
row() {
  local met=ok
  if [ -z "$6" ]; then met='-'; elif ! awk "BEGIN { exit !($6) }"; then met=MISSED missed=1; fi
  rows+=("$1|$2|$3|$4|$5|$met")
}

# isolate FOLDER: hides the user's profiles and settings.
isolate() {
  export HOME="$1/outside" XDG_CONFIG_HOME="$1/outside" NO_COLOR=1
  unset MFCTL_PROFILE MFCTL_DATA_DIR MFCTL_CONFIG MFCTL_ENV
}

# with_peak COMMAND...: runs it and writes its peak memory, in KiB, to $work/out.peak: the kernel's figure (VmHWM), polled while
# it runs. GNU time would be exact, but is not always installed.
with_peak() {
  "$@" &
  local pid=$! peak=0 now
  while [ -r "/proc/$pid/status" ] && now=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.02
  done
  echo "$peak" >"$work/out.peak"
  wait "$pid"
}

measured() {
  if [ -x /usr/bin/time ] && /usr/bin/time -f %M -o "$work/out.peak" true 2>/dev/null; then
    /usr/bin/time -q -f %M -o "$work/out.peak" "$@"
  else
    with_peak "$@"
  fi
}

# save_results HEADING < TEXT: replaces the section with this heading in bench/RESULTS.md. Other sections stay.
save_results() {
  local file=bench/RESULTS.md others=''
  if [ -e "$file" ]; then
    others=$(awk -v heading="## $1" '/^## / { other = $0 != heading } other' "$file")
  fi
  {
    printf '# Measurements\n'
    { [ -z "$others" ] || printf '\n%s\n' "$others"; }
    printf '\n## %s\n\n' "$1"
    cat
  } >"$file.new"
  mv "$file.new" "$file"
  say "wrote $file"
}

# machine FOLDER: describes the machine, and the disk that FOLDER is on, as a list.
machine() {
  local memory processor
  memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo 2>/dev/null || true)
  processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
  printf -- '- %s\n' "$(uname -sr), $(nproc) cores${processor:+ ($processor)}${memory:+, $memory}"
  printf -- '- disk: %s\n' "$(df -PT "$1" | awk 'NR == 2 { print $2 }')"
}
