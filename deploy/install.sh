#!/bin/sh
# Makes this host a bastion: installs the agent, mounts its state volume, enrols it, and waits until it
# is online. A controller serves this script with its own values filled in (GET /install.sh), and what
# it installs. Run again, it changes what differs and nothing else: an upgrade keeps runs, and a volume
# is never formatted unless it is told to (--format-device), nor when anything is on it.
#
#   curl -fsS --cacert ca.pem https://controller:8443/install.sh | sudo sh -s -- --token ckj1.…
#
# `--help` lists what it takes. Exit codes: 0 online (or done), 1 not done, 2 not understood.
set -eu

# --- filled in by the controller ---
URL=''
CONTROLLER=''
CA_SHA256=''
CA_PEM=''
TRUST='own'
VERSION=''
BINARIES=''
UNIT=''
# --- end ---

ROOT=''
TOKEN=''
TOKEN_FILE=''
NAME=''
VOLUME=''
VOLUME_ID=''
DEVICE=''
FORMAT='no'
RKE=''
SSH_KEY=''
TRIAL='no'
START='yes'
ACTION='install'
WAIT='60'

ACCOUNT='cratekube-agent'
LABEL='cratekube-state'
UNIT_NAME='cratekube-agent.service'
WORK=''

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
die() {
  printf 'install.sh: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  mend: %s\n' "$2" >&2
  exit 1
}
misused() {
  printf 'install.sh: %s; see --help\n' "$1" >&2
  exit 2
}
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
  cat <<'HELP'
Makes this host a bastion of a CrateKube controller.

  sh install.sh --token TOKEN [options]       install or upgrade, enrol, start, wait until online
  sh install.sh --uninstall                   remove all of it but the state volume

  --token TOKEN          the join token; --token-file FILE keeps it out of `ps` (used up and removed)
  --name NAME            name of this agent [the host's]
  --volume DIR           where the state volume is mounted [the one that is there; else /mnt/state]
  --volume-id UUID       refuse any other state volume
  --device DEV           mount the state volume that is on this device; never formats
  --format-device DEV    make this device the state volume: only a blank one is formatted
  --rke FILE             the rke to run [searched on the PATH]
  --ssh-key FILE         the key for the clusters' hosts [an SSH agent; see /etc/default/cratekube-agent]
  --controller HOST:PORT the controller's listener for agents, when seen from here under another name
  --trial                take a folder for the volume: nothing is mounted; not for clusters that matter
  --no-start             install and enrol only
  --wait SECONDS         for the agent to come online [60]
  --root DIR             install below this folder; starts nothing, makes no user
HELP
}

parse() {
  while [ $# -gt 0 ]; do
    option=$1
    case $option in
      --uninstall) ACTION='uninstall' ;;
      --trial) TRIAL='yes' ;;
      --no-start) START='no' ;;
      --help | -h)
        usage
        exit 0
        ;;
      --token | --token-file | --name | --volume | --volume-id | --device | --format-device | --rke | --ssh-key | \
        --controller | --wait | --root)
        [ $# -ge 2 ] || misused "$option needs a value"
        set_option "$option" "$2"
        shift
        ;;
      *) misused "$option is not known" ;;
    esac
    shift
  done
}

set_option() {
  case $2 in
    *"'"* | *'"'* | *\\* | *'
'*) misused "$1 has a quote, a backslash or a line break in it" ;;
  esac
  case $1 in
    --token) TOKEN=$2 ;;
    --token-file) TOKEN_FILE=$2 ;;
    --name) NAME=$2 ;;
    --volume) VOLUME=$(absolute "$1" "$2") ;;
    --volume-id) VOLUME_ID=$2 ;;
    --device) DEVICE=$(absolute "$1" "$2") ;;
    --format-device)
      DEVICE=$(absolute "$1" "$2")
      FORMAT='yes'
      ;;
    --rke) RKE=$(absolute "$1" "$2") ;;
    --ssh-key) SSH_KEY=$(absolute "$1" "$2") ;;
    --controller) CONTROLLER=$2 ;;
    --wait) WAIT=$2 ;;
    --root) ROOT=$(absolute "$1" "$2") ;;
  esac
}

absolute() {
  case $2 in
    /*) printf '%s\n' "${2%/}" ;;
    *) misused "$1 must be an absolute path" ;;
  esac
}

# --- what this host is -------------------------------------------------------------------------

look_around() {
  [ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || die 'must be run as root' 'run it with sudo'
  BIN="$ROOT/usr/local/bin/cratekube-agent"
  ETC="$ROOT/etc/cratekube"
  CONFIG="$ETC/agent.toml"
  STATE="$ROOT/var/lib/cratekube-agent"
  UNITS="$ROOT/etc/systemd/system"
  FSTAB="$ROOT/etc/fstab"
  SYSTEMD='no'
  if [ -z "$ROOT" ] && [ -d /run/systemd/system ] && have systemctl; then SYSTEMD='yes'; fi
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  trap 'exit 1' HUP INT TERM
}

need() {
  for tool in "$@"; do
    have "$tool" || die "the command $tool is missing on this host" "install it (Debian: apt-get install $(package_of "$tool"))"
  done
}

package_of() {
  case $1 in
    base64 | sha256sum | install) echo coreutils ;;
    blkid | lsblk | findmnt | blockdev | mount | runuser) echo util-linux ;;
    mkfs.ext4) echo e2fsprogs ;;
    useradd | groupadd) echo passwd ;;
    *) echo "$1" ;;
  esac
}

# A Debian package brings and upgrades the program by itself.
packaged() { [ -z "$ROOT" ] && have dpkg-query && dpkg-query -W -f '${Status}' cratekube-agent 2>/dev/null | grep -q ' installed$'; }

as_agent() {
  if [ -n "$ROOT" ]; then "$@"; else runuser -u "$ACCOUNT" -- "$@"; fi
}

owned() { [ -n "$ROOT" ] || chown "$ACCOUNT:$ACCOUNT" "$@"; }

# --- trust -------------------------------------------------------------------------------------

# The token was made by someone whom the operator trusts, and carries the fingerprint of the
# controller's CA. This script, and all that it fetches, must be of the controller with that CA.
check_trust() {
  printf '%s\n' "$CA_PEM" >"$WORK/ca.pem"
  found=$(sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p' "$WORK/ca.pem" |
    sed '/-----/d' | base64 -d 2>/dev/null | sha256sum | cut -d' ' -f1)
  [ "$found" = "$CA_SHA256" ] || die 'this script contradicts itself: its certificate has another fingerprint than it says' \
    'fetch it again from the controller'
  [ -n "$TOKEN" ] || return 0
  case $TOKEN in
    ckj1.*.*) ;;
    *) die 'this is not a join token: one begins with ckj1.' 'make one: cratekube-controller agent join-token' ;;
  esac
  pinned=${TOKEN##*.}
  [ "$pinned" = "$CA_SHA256" ] || die "this script is not from the controller that the join token is for: the token names the CA
  $pinned, the script has $CA_SHA256" 'take script and token from the same controller; if you did, somebody is in between'
}

read_token() {
  [ -n "$TOKEN_FILE" ] || return 0
  [ -z "$TOKEN" ] || misused 'give --token or --token-file, not both'
  TOKEN=$(cat "$TOKEN_FILE") || die "cannot read $TOKEN_FILE"
}

fetch() {
  if [ "$TRUST" = own ]; then
    curl --fail --silent --show-error --proto '=https' --retry 3 --cacert "$WORK/ca.pem" --output "$2" "$URL$1"
  else
    curl --fail --silent --show-error --proto '=https' --retry 3 --output "$2" "$URL$1"
  fi
}

# --- the program -------------------------------------------------------------------------------

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

# CHANGED tells whether the agent must be started anew.
install_program() {
  CHANGED='no'
  if packaged; then
    say "the agent is installed as a Debian package, which upgrades it: $(cratekube-agent --version)"
    BIN=/usr/bin/cratekube-agent
    return 0
  fi
  arch=$(uname -m)
  wanted=$(printf '%s\n' "$BINARIES" | sed -n "s/^$arch //p")
  [ -n "$wanted" ] || die "the controller has no agent for $arch, only for: $(printf '%s\n' "$BINARIES" | cut -d' ' -f1 | tr '\n' ' ')" \
    "put cratekube-agent-$arch into the controller's install.agent_binaries"
  if [ -f "$BIN" ] && [ "$(sha256_of "$BIN")" = "$wanted" ]; then
    say "the agent is there already: $VERSION"
    return 0
  fi
  step "agent $VERSION for $arch"
  mkdir -p "${BIN%/*}"
  # Beside its place, so that it takes it in one step; a run keeps the program that it began with.
  fetch "/install/agent/$arch" "$BIN.new" || {
    rm -f "$BIN.new"
    die "cannot fetch the agent from $URL" "check that this host reaches $URL, and fetch this script again"
  }
  found=$(sha256_of "$BIN.new")
  [ "$found" = "$wanted" ] || {
    rm -f "$BIN.new"
    die "the agent that was fetched is not the one that this script names: SHA-256 $found instead of $wanted" \
      'the controller may have been upgraded a moment ago: fetch this script again'
  }
  chmod 0755 "$BIN.new"
  "$BIN.new" --version >/dev/null || {
    rm -f "$BIN.new"
    die 'the agent does not run on this host' 'see the line above; it needs glibc 2.36 or later (Debian 12)'
  }
  mv -f "$BIN.new" "$BIN"
  CHANGED='yes'
}

make_account() {
  [ -z "$ROOT" ] || return 0
  getent group "$ACCOUNT" >/dev/null || groupadd --system "$ACCOUNT"
  getent passwd "$ACCOUNT" >/dev/null || useradd --system --gid "$ACCOUNT" --home-dir /var/lib/cratekube-agent \
    --no-create-home --shell /usr/sbin/nologin "$ACCOUNT"
}

# --- the state volume --------------------------------------------------------------------------

source_at() { findmnt -n -o SOURCE --mountpoint "$1" 2>/dev/null | tail -n 1; }

# Where state volumes are mounted already.
mounted_volumes() {
  findmnt -rn -o TARGET 2>/dev/null | while IFS= read -r place; do
    if [ -f "$place/volume.json" ]; then printf '%s\n' "$place"; fi
  done
}

# Decides where the volume is, before anything is changed.
find_volume() {
  if [ -f "$CONFIG" ]; then
    configured=$(sed -n 's/^paths *= *\["\([^"]*\)".*/\1/p' "$CONFIG" | head -n 1)
    if [ -z "$VOLUME" ]; then VOLUME=$configured; fi
    [ "$VOLUME" = "$configured" ] || die "$CONFIG names the volume $configured, not $VOLUME" 'correct volumes.paths there'
  fi
  if [ -z "$VOLUME" ] && [ -z "$DEVICE" ] && [ "$TRIAL" = no ] && [ -z "$ROOT" ]; then
    volumes=$(mounted_volumes)
    [ "$(printf '%s\n' "$volumes" | grep -c .)" -le 1 ] || die "more than one state volume is mounted:
$volumes" 'say which: --volume DIR'
    VOLUME=$volumes
  fi
  VOLUME=${VOLUME:-$ROOT/mnt/state}
  if [ -n "$DEVICE" ]; then return 0; fi
  if [ "$TRIAL" = yes ]; then
    judge_content "$VOLUME"
    return 0
  fi
  [ -n "$(source_at "$VOLUME")" ] || die "no state volume: nothing is mounted at $VOLUME" "$(offer_devices)"
  judge_content "$VOLUME"
}

offer_devices() {
  say 'mount it there; or --device DEV for a volume that exists, --format-device DEV for a blank device. Devices here:'
  lsblk -nrpo NAME,SIZE,TYPE,FSTYPE,LABEL,MOUNTPOINT 2>/dev/null | sed 's/^/    /' || true
}

# A state volume, or nothing at all: anything else is the wrong place.
judge_content() {
  [ -d "$1" ] || return 0
  if [ -f "$1/volume.json" ]; then
    id=$(sed -n 's/.*"id" *: *"\([0-9a-f-]*\)".*/\1/p' "$1/volume.json" | head -n 1)
    if [ -n "$VOLUME_ID" ] && [ "$id" != "$VOLUME_ID" ]; then
      die "the wrong volume: $1 is state volume $id, and $VOLUME_ID is wanted" 'attach the right one'
    fi
    return 0
  fi
  [ -z "$VOLUME_ID" ] || die "the wrong volume: $1 is no state volume, and $VOLUME_ID is wanted" 'attach the right one'
  other=$(find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found | head -n 3 | tr '\n' ' ')
  [ -z "$other" ] || die "the wrong volume: $1 holds other files and no volume.json: $other" \
    'give an empty filesystem, or attach the right volume'
}

fs_of() { blkid -p -s "$2" -o value "$1" 2>/dev/null || true; }

# Says what is on a device; nothing when it is blank.
signs_on() {
  [ "$(lsblk -nro NAME "$1" | wc -l)" -le 1 ] || say 'partitions or other devices on it'
  kind=$(fs_of "$1" TYPE)
  table=$(fs_of "$1" PTTYPE)
  [ -z "$kind" ] || say "a filesystem or other content: $kind"
  [ -z "$table" ] || say "a partition table: $table"
  # blkid: 2 when it finds nothing; anything else is a reason to stay away.
  code=0
  blkid -p "$1" >/dev/null 2>&1 || code=$?
  [ "$code" = 0 ] || [ "$code" = 2 ] || say "blkid cannot tell what is on it (exit code $code)"
  megabytes=$(($(blockdev --getsize64 "$1") / 1048576))
  if [ "$megabytes" -lt 128 ]; then
    say "only $megabytes MiB, which is too small for a state volume"
    return 0
  fi
  if [ "$(bytes_at "$1" 0 4)$(bytes_at "$1" $((megabytes - 1)) 1)" != 00 ]; then
    say 'data, though of no known kind'
  fi
}

# How many of the first bytes that are not zero there are: 0 or 1.
bytes_at() { dd if="$1" bs=1048576 skip="$2" count="$3" 2>/dev/null | tr -d '\000' | head -c 1 | wc -c | tr -d ' '; }

# Looks without a change: not even the journal is replayed.
is_state_volume() {
  kind=$(fs_of "$1" TYPE)
  case $kind in
    ext4) options='ro,noload' ;;
    xfs) options='ro,norecovery,nouuid' ;;
    *) return 1 ;;
  esac
  mkdir -p "$WORK/look"
  mount -t "$kind" -o "$options,nodev,nosuid,noexec" "$1" "$WORK/look" 2>/dev/null || return 1
  is=1
  if [ -f "$WORK/look/volume.json" ]; then
    is=0
  elif [ "$(fs_of "$1" LABEL)" = "$LABEL" ] &&
    [ -z "$(find "$WORK/look" -mindepth 1 -maxdepth 1 ! -name lost+found | head -n 1)" ]; then
    # We formatted it, and were interrupted.
    is=0
  fi
  umount "$WORK/look"
  return $is
}

prepare_device() {
  [ -n "$DEVICE" ] || return 0
  need lsblk blkid blockdev mount findmnt
  given=$DEVICE
  DEVICE=$(readlink -f "$DEVICE") || true
  [ -b "$DEVICE" ] || die "$given is no block device here; on newer instances EBS devices are named /dev/nvme…" "$(offer_devices)"
  there=$(source_at "$VOLUME")
  if [ "$there" = "$DEVICE" ]; then
    say "$DEVICE is mounted at $VOLUME"
    judge_content "$VOLUME"
    return 0
  fi
  [ -z "$there" ] || die "$there is mounted at $VOLUME, not $given" 'unmount it, or leave the device out'
  used=$(findmnt -rn -o TARGET --source "$DEVICE" 2>/dev/null | head -n 1 || true)
  [ -z "$used" ] || die "$given is in use: it is mounted at $used" 'is it the right device?'
  if ! is_state_volume "$DEVICE"; then
    [ "$FORMAT" = yes ] || die "$given holds no state volume" 'give the right device; --format-device makes one of a blank device'
    signs=$(signs_on "$DEVICE")
    [ -z "$signs" ] || die "$given is not formatted, because it is not blank. On it:
$signs" "is it the right device? If all on it may go: wipefs -a $given, and for data of no known kind blkdiscard -z $given"
    [ -z "$VOLUME_ID" ] || die "$given is blank, and volume $VOLUME_ID is wanted" 'attach the right one'
    need mkfs.ext4
    step "formatting $given (it is blank)"
    mkfs.ext4 -q -m 1 -L "$LABEL" "$DEVICE"
  fi
  mount_device
}

mount_device() {
  uuid=$(fs_of "$DEVICE" UUID)
  kind=$(fs_of "$DEVICE" TYPE)
  [ -n "$uuid" ] || die "$DEVICE has no UUID to mount it by"
  entry=$(awk -v at="$VOLUME" '!/^[[:space:]]*#/ && $2 == at { print $1 }' "$FSTAB" 2>/dev/null | head -n 1)
  if [ -n "$entry" ] && [ "$entry" != "UUID=$uuid" ]; then
    die "$FSTAB mounts $entry at $VOLUME, not this device (UUID=$uuid)" "correct or remove that line"
  fi
  mkdir -p "$VOLUME"
  if [ -z "$entry" ]; then
    # The host boots without it, and the agent refuses to work without it.
    printf 'UUID=%s %s %s defaults,noatime,nodev,nosuid,nofail,x-systemd.device-timeout=30s 0 2 # CrateKube state volume\n' \
      "$uuid" "$VOLUME" "$kind" >>"$FSTAB"
    [ "$SYSTEMD" = no ] || systemctl daemon-reload
  fi
  step "mounting $DEVICE at $VOLUME"
  # By the device itself: udev may not know its UUID yet.
  mount -t "$kind" -o noatime,nodev,nosuid "$DEVICE" "$VOLUME"
  judge_content "$VOLUME"
}

prepare_volume() {
  mkdir -p "$VOLUME"
  if [ ! -f "$VOLUME/volume.json" ]; then
    step "making $VOLUME a state volume"
    owned "$VOLUME"
    chmod 0700 "$VOLUME"
    as_agent "$BIN" init-volume --path "$VOLUME"
  elif [ -z "$ROOT" ] && [ "$(stat -c %U "$VOLUME/volume.json")" != "$ACCOUNT" ]; then
    # From a bastion where the account had another number.
    step "handing $VOLUME over to $ACCOUNT"
    chown -R "$ACCOUNT:$ACCOUNT" "$VOLUME"
  fi
}

# --- settings, unit, enrolment -----------------------------------------------------------------

write_settings() {
  mkdir -p "$ETC" "$STATE"
  owned "$STATE"
  chmod 0700 "$STATE"
  if [ -f "$CONFIG" ]; then
    named=$(sed -n 's/^address *= *"\([^"]*\)".*/\1/p' "$CONFIG" | head -n 1)
    [ "$named" = "$CONTROLLER" ] || die "$CONFIG names another controller: $named instead of $CONTROLLER" \
      "give --controller $named if it is the same one, or correct the file"
    return 0
  fi
  step "settings in $CONFIG"
  mounted=true
  [ "$TRIAL" = no ] || mounted=false
  {
    printf '# Written by install.sh; yours to change. Every setting: deploy/agent.toml of the project.\n'
    printf '[controller]\naddress = "%s"\n\n[agent]\n' "$CONTROLLER"
    [ -z "$NAME" ] || printf 'name = "%s"\n' "$NAME"
    printf 'state_dir = "%s"\n\n[volumes]\npaths = ["%s"]\nrequire_mount = %s\n' "$STATE" "$VOLUME" "$mounted"
    [ -z "$RKE" ] || printf '\n[rke]\npath = "%s"\n' "$RKE"
    [ -z "$SSH_KEY" ] || printf '\n[ssh]\nkey = "%s"\n' "$SSH_KEY"
  } >"$CONFIG.new"
  chmod 0644 "$CONFIG.new"
  mv -f "$CONFIG.new" "$CONFIG"
  CHANGED='yes'
}

# Writes standard input to a file, and notes whether that changed it.
put() {
  mkdir -p "${1%/*}"
  cat >"$1.new"
  if cmp -s "$1.new" "$1"; then
    rm -f "$1.new"
  else
    chmod 0644 "$1.new"
    mv -f "$1.new" "$1"
    CHANGED='yes'
  fi
}

write_units() {
  packaged || printf '%s\n' "$UNIT" | put "$UNITS/$UNIT_NAME"
  if [ "$VOLUME" != /mnt/state ]; then
    printf '[Unit]\nRequiresMountsFor=%s\n[Service]\nReadWritePaths=-%s\n' "$VOLUME" "$VOLUME" |
      put "$UNITS/$UNIT_NAME.d/volume.conf"
  fi
  [ -z "$ROOT" ] || return 0
  # Runs get scopes from this manager; see the unit.
  number=$(id -u "$ACCOUNT")
  packaged || printf '[Unit]\nWants=user@%s.service\nAfter=user@%s.service\n[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%s\nBindPaths=-/run/user/%s\n' \
    "$number" "$number" "$number" "$number" | put "$UNITS/$UNIT_NAME.d/user.conf"
  mkdir -p /var/lib/systemd/linger
  [ -e "/var/lib/systemd/linger/$ACCOUNT" ] || : >"/var/lib/systemd/linger/$ACCOUNT"
}

enrol() {
  if [ -f "$STATE/identity.json" ]; then
    say "this agent is enrolled already; a new identity: $BIN enroll --force"
    return 0
  fi
  [ -n "$TOKEN" ] || die 'this agent is not enrolled, and no join token is given' \
    'make one (cratekube-controller agent join-token) and give it: --token, or --token-file'
  step "enrolling with $CONTROLLER"
  printf '%s\n' "$TOKEN" | as_agent "$BIN" --config "$CONFIG" enroll ||
    die 'the agent is not enrolled' 'see the line above; run this again with a new join token'
  if [ -n "$TOKEN_FILE" ]; then rm -f "$TOKEN_FILE"; fi
}

start_agent() {
  if [ "$SYSTEMD" = no ]; then
    say "no systemd here: start the agent yourself: $BIN --config $CONFIG run"
    return 0
  fi
  systemctl daemon-reload
  [ "$START" = yes ] || return 0
  systemctl enable --quiet "$UNIT_NAME"
  if [ "$CHANGED" = yes ] || ! systemctl --quiet is-active "$UNIT_NAME"; then
    step 'starting the agent (runs go on)'
    systemctl restart "$UNIT_NAME" || give_up
  fi
  turns=$((WAIT * 5))
  while [ "$turns" -gt 0 ]; do
    case $(systemctl show --property StatusText --value "$UNIT_NAME") in
      online*) return 0 ;;
      refused*) break ;;
    esac
    sleep 0.2
    turns=$((turns - 1))
  done
  give_up
}

give_up() {
  systemctl --no-pager --lines 5 status "$UNIT_NAME" >&2 || true
  as_agent "$BIN" --config "$CONFIG" doctor >&2 || true
  die "the agent is installed, but not online after $WAIT s" 'mend what the doctor says above, and run this again'
}

tell_next() {
  if [ "$SYSTEMD" = yes ] && [ "$START" = yes ]; then
    systemctl show --property StatusText --value "$UNIT_NAME"
  fi
  say ''
  say 'Next:'
  have rke || [ -n "$RKE" ] || say '  - put rke on the PATH (/usr/local/bin/rke), or set rke.path'
  if [ -z "$SSH_KEY" ] && ! grep -qs '^SSH_AUTH_SOCK=' /etc/default/cratekube-agent; then
    say "  - let it log in to the clusters' hosts: ssh.key in $CONFIG, or SSH_AUTH_SOCK in /etc/default/cratekube-agent"
  fi
  say "  - see whether anything is missing: sudo runuser -u $ACCOUNT -- $BIN doctor"
  say '  - watch it: systemctl status cratekube-agent; journalctl -u cratekube-agent -f'
  say "  - create a cluster: $URL/v1/environments/…/clusters"
}

install_agent() {
  [ -n "$URL" ] || die 'nothing is filled in: this script is served by a controller' 'fetch it: https://<controller>/install.sh'
  need curl base64 sha256sum sed find
  [ -n "$ROOT" ] || need runuser useradd groupadd findmnt
  read_token
  check_trust
  find_volume
  make_account
  install_program
  prepare_device
  write_settings
  prepare_volume
  write_units
  enrol
  start_agent
  tell_next
}

# --- removal -----------------------------------------------------------------------------------

uninstall_agent() {
  if packaged; then die 'the agent is installed as a Debian package' 'apt-get purge cratekube-agent (the state volume is kept)'; fi
  if [ -z "$ROOT" ] && have pgrep && pgrep -u "$ACCOUNT" -f ' supervise /' >/dev/null 2>&1; then
    die 'runs are at work on this host' 'wait for them, or cancel their operations; see: pgrep -af supervise'
  fi
  volume=$(sed -n 's/^paths *= *\["\([^"]*\)".*/\1/p' "$CONFIG" 2>/dev/null | head -n 1)
  if [ "$SYSTEMD" = yes ]; then systemctl disable --quiet --now "$UNIT_NAME" 2>/dev/null || true; fi
  rm -f "$UNITS/$UNIT_NAME" "$UNITS/$UNIT_NAME.d/user.conf" "$UNITS/$UNIT_NAME.d/volume.conf" "$BIN" "$CONFIG"
  rm -rf "$STATE"
  rmdir "$UNITS/$UNIT_NAME.d" "$ETC" 2>/dev/null || true
  if [ "$SYSTEMD" = yes ]; then
    number=$(id -u "$ACCOUNT" 2>/dev/null || true)
    rm -f "/var/lib/systemd/linger/$ACCOUNT"
    [ -z "$number" ] || systemctl stop "user@$number.service" 2>/dev/null || true
    systemctl daemon-reload
  fi
  say 'The agent is removed. Kept:'
  say "  - the state volume${volume:+ at $volume}, its line in $FSTAB, and the user that owns its files"
  say '  - what the controller knows: POST /v1/admin/agents/{id}/forget once the volume has another agent'
}

parse "$@"
look_around
if [ "$ACTION" = uninstall ]; then uninstall_agent; else install_agent; fi
