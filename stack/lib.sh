# What every server's file can use: folders, ports, secrets, installs, processes. Sourced by stack/stack, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # the driver and the servers' files use what is here, and the driver says where it is

repo=$(cd "$here/.." && pwd)
run=${MFCTL_STACK_RUN:-$here/.run}
cache=${MFCTL_STACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mfctl-stack}
start_limit=180 # seconds until a started server must be healthy
stop_limit=20  # seconds between asking a server to end and killing it
planning=no    # yes: an install only says what it would need

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf 'hint: %s\n' "$@" >&2
  exit 1
}
have() { command -v "$1" >/dev/null; }

# strict SERVER FUNCTION…: runs the function of a server's file in a shell of its own. There its first error ends it; here
# it would not if the caller looks at the result, since bash then ignores `set -e` all the way down.
strict() { bash "$here/stack" call "$@"; }

# --- what a server needs of the machine -------------------------------------------------------------------------------

# java_home AT_LEAST: the folder of a Java of that version or newer; JAVA_HOME first, then the PATH, then /usr/lib/jvm.
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

# need TOOL…: names what is missing, all at once. java-N stands for a Java of version N or newer.
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
  die "the stack needs what is not here:$(printf '\n  - %s' "${missing[@]}")" 'install it, then the same command again'
}

# --- installs: one folder per pinned version in the cache --------------------------------------------------------------

# install_once NAME-VERSION FUNCTION…: runs the server's function in an empty folder, which is renamed into place only when
# the function succeeded: an install that was killed never counts. Does nothing when it is there already; while planning it
# only says which tools it would need.
install_once() {
  local into=$cache/$1 began=$SECONDS new
  shift
  [ ! -d "$into" ] || return 0
  if [ "$planning" = yes ]; then
    printf '%s\n' "${needs_to_install[@]}"
    return
  fi
  new=$(mktemp -d "$cache/.new.XXXXXX")
  chmod 755 "$new"
  say "installing $(basename "$into")"
  if ! (cd "$new" && strict "$server" "$@") >"$new.log" 2>&1 </dev/null; then
    tail -n 40 "$new.log" >&2
    die "cannot install $(basename "$into")"
  fi
  rm -f "$new.log"
  mv -T "$new" "$into"
  say "installed $(basename "$into") in $((SECONDS - began)) s"
}

# A short name for the content of the given files: a changed pin is another folder.
digest() { cat "$@" | sha256sum | cut -c1-8; }

# go_folder BINARY: where the build of what go/BINARY pins is kept.
go_folder() {
  local files
  mapfile -t files < <(find "$here/go/$1" -type f | LC_ALL=C sort)
  printf '%s/%s-%s\n' "$cache" "$1" "$(digest "${files[@]}")"
}

# go_install PACKAGE BINARY: builds the tool that go/BINARY/go.mod pins; go.sum holds the hash of every module.
go_install() {
  cp -R "$here/go/$2" source
  (cd source && CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false' nice go build -trimpath -ldflags '-s -w' -o "../$2" "$1")
  rm -rf source
}

# --- state: ports and secrets, made once and kept -----------------------------------------------------------------------

# port INSTANCE PURPOSE
port() {
  local value
  value=$(sed -n "s/^$1\.$2=//p" "$run/ports" 2>/dev/null)
  [ -n "$value" ] || die "there is no port $1.$2" 'run make stack-up first'
  printf '%s\n' "$value"
}

# choose_ports INSTANCE.PURPOSE…: gives each a free loopback port, and keeps those that have one which is still free.
#
# The kernel is asked by binding. Candidates are below the range of outgoing connections: a client that keeps trying a
# dead server's port in that range can be given the same number as its source, connect to itself, and hold the port.
choose_ports() {
  python3 - "$run/ports" "$@" <<'PYTHON'
import os, random, socket, sys
path, names = sys.argv[1], sys.argv[2:]
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
chosen = {}
for name in names:
    port = int(kept.get(name, 0))
    while not (port and free(port)):
        port = random.randrange(10000, low)
    chosen[name] = port
with open(path + ".new", "w") as out:
    out.writelines(f"{name}={port}\n" for name, port in chosen.items())
os.rename(path + ".new", path)
PYTHON
}

# secret NAME: the path of a random secret, made on first use (whoever is first), readable by its owner only.
secret() {
  local path=$run/secrets/$1 new
  if [ ! -s "$path" ]; then
    new=$(mktemp "$path.XXXXXX")
    openssl rand -hex 24 >"$new"
    ln "$new" "$path" 2>/dev/null || true
    rm "$new"
  fi
  printf '%s\n' "$path"
}
secret_value() { cat "$(secret "$1")"; }

# emit NAME VALUE: a line for the shell; no value holds a quote.
emit() { printf "export %s='%s'\n" "$1" "$2"; }

# --- processes -----------------------------------------------------------------------------------------------------------

# The time a process began, in ticks since boot: with the pid, it is that process and no other.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# pid_of INSTANCE: its pid if that very process still runs.
pid_of() {
  local pid state
  pid=$(cat "$run/pids/$1" 2>/dev/null) || return 1
  [ "$(started_at "$pid")" = "$(cat "$run/started/$1" 2>/dev/null)" ] || return 1
  state=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)
  [ -n "$state" ] && [ "$state" != Z ] || return 1
  printf '%s\n' "$pid"
}

# launch INSTANCE COMMAND…: starts it in a session of its own, with a clean environment, and keeps who it is.
launch() {
  local name=$1 pid
  shift
  setsid env -i PATH="$PATH" HOME="$run" LANG=C.UTF-8 "$@" >>"$run/logs/$name.log" 2>&1 </dev/null 9>&- &
  pid=$!
  started_at "$pid" >"$run/started/$name"
  printf '%s\n' "$pid" >"$run/pids/$name"
}

# http_ok URL: whether it answers 2xx at once.
http_ok() { curl -q -sf -o /dev/null --noproxy '*' --max-time 2 "$1"; }
