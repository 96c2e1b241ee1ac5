# Looks at a host and changes nothing. Read from standard input by `sh -s`, after lines that set:
#   nonce  begins every line that counts, so that what a login shell prints is not taken for one
#   root   prefix of all paths; empty but in tests
#   socket Docker's socket
#   peers  "address:port …" that this host must reach
# Prints `@nonce key=value` lines; the last one says that it came to its end. POSIX sh.
LC_ALL=C
export LC_ALL
PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

say() {
  printf '@%s %s=%s\n' "$nonce" "$1" "$(printf '%s' "$2" | tr -cd '[:print:]' | cut -c1-"${3:-300}")"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Size and free space, in KiB, of the filesystem that holds a path, or will hold it.
disk() {
  at="$root$2"
  while [ ! -e "$at" ] && [ "$at" != "$root" ] && [ "$at" != / ] && [ "$at" != . ]; do at=$(dirname "$at"); done
  [ -n "$at" ] || at=/
  say "disk.$1" "$(df -Pk "$at" 2>/dev/null | awk 'NR == 2 { print $2, $4, $6 }')"
}

# What other clusters, or an earlier life of this one, left.
leftovers() {
  for path in /etc/kubernetes /var/lib/etcd /var/lib/kubelet /etc/cni /opt/cni /var/lib/cni /var/lib/calico /var/lib/rancher /run/flannel; do
    [ -d "$root$path" ] || continue
    [ -r "$root$path" ] && [ -z "$(ls -A "$root$path" 2>/dev/null)" ] && continue
    say left "$path"
  done
  [ -d "$root/var/lib/etcd/member" ] && say etcd_data yes
  for mark in k3s:/etc/rancher/k3s rke2:/etc/rancher/rke2 kubeadm:/etc/kubernetes/admin.conf; do
    [ -e "$root${mark#*:}" ] && say other "${mark%%:*}"
  done
  pem="$root/etc/kubernetes/ssl/kube-ca.pem"
  [ -r "$pem" ] && say ca "$(sed '/^-----/d' "$pem" 2>/dev/null | tr -d '\r\n')" 6000
}

# Whether a TCP connection gets anywhere: open, refused (the way is free, nothing listens yet), silent.
reach() {
  host=${1%:*} port=${1##*:}
  said=$(timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" 2>&1)
  case "$?:$said" in
    0:*) say reach "$1 open" ;;
    124:*) say reach "$1 silent" ;;
    *refused*) say reach "$1 refused" ;;
    *"not known"*|*"resolution"*|*"No address"*) say reach "$1 unresolved" ;;
    *) say reach "$1 unreachable" ;;
  esac
}

reach_all() {
  if ! have bash || ! have timeout; then
    [ -n "$peers" ] && say reach_untested "there is no bash or no timeout on the host"
    return 0
  fi
  started=0
  for peer in $peers; do
    reach "$peer" &
    started=$((started + 1))
    [ $((started % 32)) -eq 0 ] && wait
  done
  wait
}

main() {
  say began "$(date +%s)"
  say user "$(id -un)"
  say uid "$(id -u)"
  say groups "$(id -Gn)"
  say hostname "$(uname -n)"
  say kernel "$(uname -r)"
  say arch "$(uname -m)"
  say os "$(sed -n 's/^PRETTY_NAME=//p' "$root/etc/os-release" 2>/dev/null | tr -d '"')"
  say machine_id "$(cat "$root/etc/machine-id" 2>/dev/null)"
  say boot_id "$(cat "$root/proc/sys/kernel/random/boot_id" 2>/dev/null)"
  say cpus "$(grep -c '^processor' "$root/proc/cpuinfo" 2>/dev/null)"
  say memory_kib "$(awk '$1 == "MemTotal:" { print $2 }' "$root/proc/meminfo" 2>/dev/null)"
  say swap "$(awk 'NR > 1 { n++ } END { print n + 0 }' "$root/proc/swaps" 2>/dev/null)"
  say listening "$(cat "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null | awk '$4 == "0A" { sub(".*:", "", $2); print $2 }' | sort -u | tr '\n' ' ')" 6000
  disk docker "${docker_root:-/var/lib/docker}"
  disk etcd /var/lib/etcd
  if [ "$(id -u)" = 0 ] || { have sudo && sudo -n true >/dev/null 2>&1; }; then say root yes; else say root no; fi
  if [ -w "$socket" ]; then say docker_socket open; elif [ -e "$socket" ]; then say docker_socket closed; else say docker_socket missing; fi
  leftovers
  reach_all
  say ended "$(date +%s)"
}

# As a whole, so that nothing it starts reads the script in its place.
main </dev/null
