# Functions for stack/stack and the files in servers/: folders, ports, secrets, installations, stores, processes. Sourced,
# not run.
#
# `stack up` can be killed at any moment, and the next one must succeed. Therefore a file or folder that is created once is
# written under another name and renamed when it is complete; a store that needs several steps has a marker until the last
# one has succeeded (see "stores"); and a server's pid is on disk before the server leaves the process group of `stack up`.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # used by, or set in, stack/stack and the servers' files

repo=$(cd "$here/.." && pwd)
run=${MFCTL_STACK_RUN:-$here/.run}
[[ $run = /* ]] || run=$PWD/$run
export MFCTL_STACK_RUN=$run
cache=${MFCTL_STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mfctl-stack}
start_limit=180 # seconds until a started server must be healthy
stop_limit=20  # seconds between asking a server to stop and killing it
planning=no    # yes: install_once prints the tools that it needs, and installs nothing

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf 'hint: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null; }

# strict SERVER FUNCTION…: runs a function of a server's file in a new shell, which exits at the first error. In this shell
# it would not: when a caller tests the exit code, bash ignores `set -e` in everything that it calls.
strict() { bash "$here/stack" call "$@"; }

# failpoint STEP: with MFCTL_STACK_FAILPOINT=STEP, kills the whole process group at this step. For tests.
failpoint() { [ "${MFCTL_STACK_FAILPOINT:-}" != "$1" ] || kill -KILL 0; }

# write_file PATH COMMAND…: the command's output becomes the file, completely or not at all.
write_file() {
  local path=$1
  shift
  "$@" >"$path.new" || return
  mv -fT "$path.new" "$path"
}

# --- tools that a server needs ------------------------------------------------------------------------------------------

# java_home MINIMUM: the folder of a Java of that version or newer. Looks in JAVA_HOME, PATH and /usr/lib/jvm, in this order.
java_home() {
  local home version
  for home in "${JAVA_HOME:-}" "$(readlink -f "$(command -v java || true)" | sed 's|/bin/java$||')" /usr/lib/jvm/*; do
    if [ ! -x "$home/bin/java" ] || [ ! -r "$home/release" ]; then continue; fi
    version=$(sed -n 's/^JAVA_VERSION="\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' "$home/release")
    if [ "${version:-0}" -ge "$1" ]; then
      printf '%s\n' "$home"
      return
    fi
  done
  return 1
}

# need TOOL…: fails with a list of all missing tools; java-N means Java N or newer.
need() {
  local tool missing=()
  for tool in "$@"; do
    case $tool in
      java-*) java_home "${tool#java-}" >/dev/null || missing+=("Java ${tool#java-} or newer (Debian 13: apt-get install -y openjdk-21-jre-headless; Debian 12 has only 17: install another JDK and set JAVA_HOME)") ;;
      go) have go || missing+=('Go 1.25 or newer (from go.dev: Debian 12 has only 1.19)') ;;
      cargo) have cargo || missing+=('cargo (rustup default stable)') ;;
      mvn) have mvn || missing+=('Maven 3.8 or newer (apt-get install -y maven)') ;;
      node) have node || missing+=('Node.js 20 or newer') ;;
      python3) have python3 || missing+=('Python 3.9 or newer (apt-get install -y python3)') ;;
      *) have "$tool" || missing+=("$tool") ;;
    esac
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  die "required tools are missing:$(printf '\n  - %s' "${missing[@]}")" 'install them, then run the same command again'
}

# --- installations: one folder per pinned version in the cache -----------------------------------------------------------

# install_once NAME-VERSION FUNCTION…: runs the function in an empty folder and renames that folder into place when the
# function has succeeded, so that a failed or killed installation never counts. All temporary files are in $cache/.new.*,
# which the next installation removes. Does nothing if the version is installed.
install_once() {
  local name=$1 into=$cache/$1 began=$SECONDS new
  shift
  [ ! -d "$into" ] || return 0
  if [ "$planning" = yes ]; then
    printf '%s\n' "${needs_to_install[@]}"
    return
  fi
  new=$(mktemp -d "$cache/.new.XXXXXX") || die "cannot write to $cache"
  mkdir -m 755 "$new/files" "$new/tmp" || die "cannot write to $cache"
  say "installing $name"
  failpoint "$server.install.begun"
  if ! (cd "$new/files" && TMPDIR=$new/tmp strict "$server" "$@") >"$new/log" 2>&1 </dev/null; then
    tail -n 40 "$new/log" >&2
    rm -rf "$new" || true
    die "cannot install $name"
  fi
  failpoint "$server.install.built"
  mv -T "$new/files" "$into" || die "cannot rename $new/files to $into"
  failpoint "$server.install.renamed"
  rm -rf "$new"
  printf '%s %d s\n' "$name" "$((SECONDS - began))" >>"$install_times"
  say "installed $name in $((SECONDS - began)) s"
}

# nicely COMMAND…: runs a build at low priority, unless the caller has already lowered it.
nicely() {
  if [ "$(nice)" -gt 0 ]; then "$@"; else nice "$@"; fi
}

# digest FILE…: a short hash of the files' contents, so that a changed pin gives another folder.
digest() { cat "$@" | sha256sum | cut -c1-8; }

# go_folder BINARY: the folder of the build pinned by go/BINARY.
go_folder() {
  local files
  mapfile -t files < <(find "$here/go/$1" -type f | LC_ALL=C sort)
  printf '%s/%s-%s\n' "$cache" "$1" "$(digest "${files[@]}")"
}

# go_install PACKAGE BINARY: builds the tool pinned by go/BINARY/go.mod; go.sum has the hash of every module.
go_install() {
  cp -R "$here/go/$2" source
  failpoint "$server.install.sources"
  (cd source && CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' nicely go build -trimpath -ldflags '-s -w' -o "../$2" "$1")
  rm -rf source
}

# --- state: ports and secrets, created once and kept --------------------------------------------------------------------

# port INSTANCE PURPOSE
port() {
  local value
  value=$(sed -n "s/^$1\.$2=//p" "$run/ports" 2>/dev/null || true)
  [ -n "$value" ] || die "there is no port $1.$2" 'run stack/stack down, then stack/stack up'
  printf '%s\n' "$value"
}

# choose_ports RUNNING INSTANCE.PURPOSE…: assigns a free loopback port to each. A port that was chosen before is kept if it
# is free, or if its instance is listed in RUNNING (separated by spaces). While an instance runs, all ports must stay the
# same, because the servers' configurations contain each other's ports: exit code 3 if another program has taken one.
#
# A port is tested by binding it. Candidates are below the ephemeral port range: a client that retries a dead server's port
# in that range can be given the same number as its source port, connect to itself, and occupy the port.
choose_ports() {
  python3 - "$run/ports" "$@" <<'PYTHON'
import os, random, socket, sys
path, running, names = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
kept = {}
if os.path.exists(path):
    kept = dict(line.rstrip("\n").split("=", 1) for line in open(path))
try:
    low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
except OSError:
    low = 32768
if low < 12000:
    low = 32768
held = []
def free(port):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
        one.listen()
    except OSError:
        one.close()
        return False
    held.append(one)
    return True
chosen = {name: int(kept[name]) for name in names if name in kept and name.split(".")[0] in running}
for name in names:
    if name in chosen:
        continue
    port = int(kept.get(name, 0))
    while not (port and port not in chosen.values() and free(port)):
        if running:
            print(f"port {port} of {name} was taken by another program", file=sys.stderr)
            sys.exit(3)
        port = random.randrange(10000, low)
    chosen[name] = port
with open(path + ".new", "w") as out:
    out.writelines(f"{name}={chosen[name]}\n" for name in names)
os.rename(path + ".new", path)
PYTHON
}

# secret NAME: prints the path of a random secret, created on first use and readable by its owner only. Several processes may
# request the same one at the same time.
secret() {
  local path=$run/secrets/$1 new
  if [ ! -s "$path" ]; then
    new=$(mktemp "$run/secrets/.new.XXXXXX") || return
    openssl rand -hex 24 >"$new" || return
    ln "$new" "$path" 2>/dev/null || [ -s "$path" ] || return
    rm "$new"
  fi
  printf '%s\n' "$path"
}
secret_value() { cat "$(secret "$1")"; }

# emit NAME VALUE: prints a shell assignment; values contain no quotes.
emit() { printf "export %s='%s'\n" "$1" "$2"; }

# --- stores: the data of a server, initialised at its first start -------------------------------------------------------
#
# A first start takes several steps, and not all of them can be resumed after an interruption: the keys of a new OpenBao are
# in one response only. $run/data/SERVER.incomplete exists from before the first step until all instances of the server are
# healthy. A store with this marker has never held anything: it is removed and created again. A store without it is never
# removed: if it is damaged, the error describes the damage and shows the command that removes the store.

marker_of() { printf '%s\n' "$run/data/$1.incomplete"; }

has_data() {
  local folder
  while IFS= read -r folder; do
    [ -z "$(ls -A "$folder" 2>/dev/null)" ] || return 0
  done < <(server_data)
  return 1
}

# removal_of INSTANCE: prints the shell command that stops it and removes its store.
removal_of() {
  local server paths
  server=$(server_of "$1")
  mapfile -t paths < <(with "$server" server_data "$1" && with "$server" server_keys)
  [ ${#paths[@]} -gt 0 ] || return 0
  printf 'MFCTL_STACK_RUN=%q %q stop %q && rm -rf' "$run" "$here/stack" "$1"
  printf ' %q' "${paths[@]}"
}

set_marker() {
  : >"$(marker_of "$server")"
  sync "$(marker_of "$server")" "$run/data"
}

remove_store() {
  local paths
  mapfile -t paths < <(server_data && server_keys)
  [ ${#paths[@]} -gt 0 ] || return 0
  set_marker
  server_wait_for_children
  rm -rf "${paths[@]}"
}

# prepare_store: call before starting the server. Afterwards its store is complete, or there is none and the marker is set.
prepare_store() {
  local marker name damage
  [ -n "$(server_data)" ] || return 0
  marker=$(marker_of "$server")
  if [ -e "$marker" ]; then
    ! each healthy "${instances[@]}" || return 0
    ! has_data || say "the first start of $server was interrupted: creating its store again"
    each kill_one "${instances[@]}"
    remove_store
  elif has_data; then
    for name in "${instances[@]}"; do
      damage=$(server_damage "$name")
      [ -z "$damage" ] || die "the store of $name is damaged: $damage" \
        "its data is lost; to remove it: $(removal_of "$name"); then stack/stack up"
    done
    return 0
  else
    remove_store
  fi
  failpoint "$server.marked"
}

# complete_store SERVER
complete_store() {
  local marker
  marker=$(marker_of "$1")
  [ -e "$marker" ] || return 0
  failpoint "$1.healthy"
  rm -f "$marker" && sync "$run/data"
}

# --- processes -----------------------------------------------------------------------------------------------------------

# started_at PID: the start time of a process in ticks since boot. Together with the pid it identifies the process.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# pid_of INSTANCE: its pid, if that same process still runs.
pid_of() {
  local pid state
  pid=$(cat "$run/pids/$1" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "$(started_at "$pid")" = "$(cat "$run/started/$1" 2>/dev/null)" ] || return 1
  state=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)
  [ -n "$state" ] && [ "$state" != Z ] || return 1
  printf '%s\n' "$pid"
}

# launch INSTANCE COMMAND…: starts the server in its own session, with a clean environment, and returns when its pid is on
# disk. The process that becomes the server writes the pid while it is still in our process group and holds our lock, so no
# server can outlive a killed `stack up` without a pid file, and the next `stack up` waits until the file is written.
launch() {
  local name=$1 pid
  shift
  (
    pid=$BASHPID
    write_file "$run/started/$name" started_at "$pid" || exit
    write_file "$run/pids/$name" printf '%s\n' "$pid" || exit
    failpoint "$name.recorded"
    exec setsid env -i PATH="$PATH" HOME="$run" LANG=C.UTF-8 "$@" >>"$run/logs/$name.log" 2>&1 </dev/null 9>&-
  ) &
  pid=$!
  until [ "$(cat "$run/pids/$name" 2>/dev/null)" = "$pid" ]; do
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.01
  done
  failpoint "$name.launched"
}

# http_ok URL: whether the server answers 2xx within 2 s.
http_ok() { curl -q -sf -o /dev/null --noproxy '*' --max-time 2 "$1"; }
