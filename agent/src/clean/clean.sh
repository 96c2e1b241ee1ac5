# Removes from a host what RKE leaves of a cluster. Read from standard input by `sh -s`, after lines that set:
#   nonce   begins every line that counts
#   mode    look: say what is there and how root is had; clean: remove it
#   expect  SHA-256 of the CAs of the cluster that may be removed; nothing of another one is touched
#   keep_snapshots  yes: etcd's snapshots in /opt/rke stay
#   root    prefix of all paths; empty but in tests
# Prints `@nonce key=value` lines; the last one says that it came to its end. Can be repeated. POSIX sh.
LC_ALL=C
export LC_ALL
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

RKE_NAMES="kubelet kube-proxy kube-apiserver kube-controller-manager kube-scheduler nginx-proxy etcd service-sidekick etcd-rolling-snapshots share-mnt"
DIRECTORIES="/etc/kubernetes /etc/cni /opt/cni /var/lib/cni /var/lib/etcd /var/lib/kubelet /var/lib/calico /var/lib/rancher/rke /run/calico /var/run/calico /run/flannel /var/log/containers /var/log/pods /var/log/kube-audit"
OURS='KUBE-|cali-|cali_|CNI-|FLANNEL-'

say() { printf '@%s %s=%s\n' "$nonce" "$1" "$(printf '%s' "$2" | tr -cd '[:print:]' | cut -c1-400)"; }
have() { command -v "$1" >/dev/null 2>&1; }

ca_of_host() {
  if [ -r "$root/etc/kubernetes/ssl/kube-ca.pem" ]; then
    sed '/^-----/d' "$root/etc/kubernetes/ssl/kube-ca.pem"
  elif have docker; then
    for name in kubelet kube-apiserver etcd kube-proxy; do
      pem=$(docker cp "$name:/etc/kubernetes/ssl/kube-ca.pem" - 2>/dev/null | tar -xO 2>/dev/null)
      [ -n "$pem" ] && { printf '%s\n' "$pem" | sed '/^-----/d'; return; }
    done
  fi | base64 -d 2>/dev/null | sha256sum | cut -d' ' -f1
}

# Says why nothing may be touched; nothing when it may.
objection() {
  for mark in k3s:/etc/rancher/k3s rke2:/etc/rancher/rke2 kubeadm:/etc/kubernetes/admin.conf kubeadm:/etc/kubernetes/kubelet.conf k0s:/var/lib/k0s microk8s:/var/snap/microk8s; do
    [ -e "$root${mark#*:}" ] && { echo "foreign it was set up by ${mark%%:*}"; return; }
  done
  ca=$(ca_of_host)
  case "$ca" in
    ''|e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855) ;; # the SHA-256 of nothing
    *)
      for known in $expect; do [ "$ca" = "$known" ] && return; done
      echo "foreign its CA is $(echo "$ca" | cut -c1-16)..., which is not this cluster's"
      return ;;
  esac
  found=$(rke_containers | tr '\n' ' ')
  [ -n "$found" ] && echo "untold it has containers of RKE without a CA to know them by: $found"
}

containers() { have docker && docker ps -a --format '{{.Names}}' 2>/dev/null; }

rke_containers() {
  have docker || return 0
  {
    docker ps -a --filter label=io.rancher.rke.container.name --format '{{.Names}}' 2>/dev/null
    for name in $RKE_NAMES; do containers | grep -E "^(old-)?$name\$"; done
  } | sort -u
}

pod_containers() { containers | grep '^k8s_'; }

# The kubelet first, or it brings pods back.
remove_containers() {
  removed=0
  for name in $(rke_containers | grep -x kubelet) $(rke_containers | grep -vx kubelet) $(pod_containers); do
    if docker rm -f -v "$name" >/dev/null 2>&1; then removed=$((removed + 1)); else say stays "container $name: it cannot be removed"; fi
  done
  [ "$removed" -gt 0 ] && say removed "$removed containers"
}

mounts_below() { awk -v at="$1/" 'index($2, at) == 1 { print $2 }' "$root/proc/self/mounts" 2>/dev/null | sort -r; }
is_mount() { awk -v at="$1" '$2 == at { found = 1 } END { exit !found }' "$root/proc/self/mounts" 2>/dev/null; }

# Paths as the kernel lists them: a space is written as \040.
unmount() {
  count=0
  while :; do
    listed=$(mounts_below /var/lib/kubelet | head -n 1)
    [ -n "$listed" ] || break
    path=$(printf '%b' "$(printf '%s' "$listed" | sed 's/\\\([0-7]\)/\\0\1/g')")
    before=$(mounts_below /var/lib/kubelet | wc -l)
    umount "$root$path" 2>/dev/null || umount -l "$root$path" 2>/dev/null
    if [ "$(mounts_below /var/lib/kubelet | wc -l)" -ge "$before" ]; then
      say stays "mount $listed: it cannot be unmounted"
      break
    fi
    count=$((count + 1))
  done
  [ "$count" -gt 0 ] && say removed "$count mounts under /var/lib/kubelet"
}

interfaces() {
  for path in "$root"/sys/class/net/*; do
    [ -e "$path" ] || continue
    case "${path##*/}" in
      flannel.1|flannel-v6.1|cni0|vxlan.calico|vxlan-v6.calico|kube-ipvs0|nodelocaldns|tunl0) echo "${path##*/}" ;;
      # Calico's: eleven digits of a hash.
      cali[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]) echo "${path##*/}" ;;
    esac
  done
}

remove_interfaces() {
  have ip || { [ -n "$(interfaces)" ] && say stays "interfaces $(interfaces | tr '\n' ' '): there is no ip command"; return 0; }
  gone=""
  for name in $(interfaces); do
    if [ "$name" = tunl0 ]; then
      # The kernel's own; without addresses and down it does nothing, and goes with its module.
      ip addr show dev tunl0 2>/dev/null | grep -q 'inet ' || continue
      ip addr flush dev tunl0 2>/dev/null
      ip link set tunl0 down 2>/dev/null
      gone="$gone tunl0(addresses)"
    elif ip link delete "$name" 2>/dev/null; then
      gone="$gone $name"
    else
      say stays "interface $name: it cannot be deleted"
    fi
  done
  [ -n "$gone" ] && say removed "interfaces$gone"
}

# What to give to `iptables-restore --noflush` to take our rules and chains out, and nothing else.
without_ours() {
  awk -v ours="^($OURS)" '
    /^\*/ { table = $0; next }
    /^:/ { name = substr($1, 2); if (name ~ ours) chains[++n] = name; next }
    /^-A / {
      if ($2 ~ ours) next
      mine = 0
      for (i = 3; i <= NF; i++) {
        if (($i == "-j" || $i == "-g") && $(i + 1) ~ ours) mine = 1
        if ($i == "--comment" && $(i + 1) ~ /^"?(kubernetes|cali:|flanneld)/) mine = 1
      }
      if (mine) { sub(/^-A/, "-D"); rules[++m] = $0 }
      next
    }
    /^COMMIT/ {
      if (n + m > 0) {
        print table
        for (i = 1; i <= m; i++) print rules[i]
        for (i = 1; i <= n; i++) print "-F " chains[i]
        for (i = 1; i <= n; i++) print "-X " chains[i]
        print "COMMIT"
      }
      n = 0; m = 0
    }'
}

remove_rules() {
  for tool in iptables iptables-legacy iptables-nft ip6tables ip6tables-legacy ip6tables-nft; do
    have "$tool-save" && have "$tool-restore" || continue
    orders=$("$tool-save" 2>/dev/null | without_ours)
    [ -n "$orders" ] || continue
    if printf '%s\n' "$orders" | "$tool-restore" --noflush >/dev/null 2>&1; then
      say removed "$tool: $(printf '%s\n' "$orders" | grep -c '^-X') chains and $(printf '%s\n' "$orders" | grep -c '^-D') rules"
    else
      say stays "$tool: rules of Kubernetes cannot be removed"
    fi
  done
  if have ipset; then
    for name in $(ipset list -n 2>/dev/null | grep -E '^(KUBE-|cali)'); do ipset destroy "$name" 2>/dev/null; done
  fi
}

# Never through a link, and never into what is still mounted there: that may be somebody's data.
remove_directory() {
  at="$root$1"
  [ -e "$at" ] || [ -L "$at" ] || return 0
  if [ -L "$at" ]; then
    case "$1" in
      # On many systems /var/run is /run; what it leads to has its own turn.
      /var/run/*) return 0 ;;
      *) say stays "$1: a link to $(readlink "$at"), not followed"; return 0 ;;
    esac
  fi
  if [ -n "$(mounts_below "$1")" ]; then
    say stays "$1: $(mounts_below "$1" | head -n 1) is still mounted"
    return 0
  fi
  if is_mount "$1"; then
    # A disk of its own: emptied, not taken away.
    [ -z "$(ls -A "$at" 2>/dev/null)" ] && return 0
    find "$at" -xdev -mindepth 1 -delete 2>/dev/null
    if [ -z "$(ls -A "$at" 2>/dev/null)" ]; then say removed "$1 (content)"; else say stays "$1: it cannot be emptied"; fi
  else
    rm -rf -- "$at" 2>/dev/null
    if [ -e "$at" ]; then say stays "$1: it cannot be removed"; else say removed "$1"; fi
  fi
}

remove_directories() {
  for path in $DIRECTORIES; do
    # What is below a link is somewhere else.
    parent=$(dirname "$path")
    [ "$parent" = /var/run ] && [ -L "$root/var/run" ] && continue
    remove_directory "$path"
  done
  rmdir "$root/var/lib/rancher" 2>/dev/null
  if [ "$keep_snapshots" = yes ] && [ -d "$root/opt/rke/etcd-snapshots" ]; then
    for path in "$root"/opt/rke/*; do
      [ "$path" = "$root/opt/rke/etcd-snapshots" ] || remove_directory "${path#"$root"}"
    done
    say stays "/opt/rke/etcd-snapshots: kept as asked"
  else
    remove_directory /opt/rke
  fi
}

what_is_there() {
  count=$(rke_containers | grep -c .)
  [ "$count" -gt 0 ] && say there "$count containers of RKE"
  count=$(pod_containers | grep -c .)
  [ "$count" -gt 0 ] && say there "$count containers of pods"
  for path in $DIRECTORIES /opt/rke; do
    [ -L "$root$path" ] || { [ "${path#/var/run/}" != "$path" ] && [ -L "$root/var/run" ]; } && continue
    [ -e "$root$path" ] && say there "$path"
  done
  found=$(interfaces | grep -v '^tunl0$' | tr '\n' ' ')
  [ -n "$found" ] && say there "interfaces $found"
}

# How root is had here.
way() {
  if [ "$(id -u)" = 0 ]; then
    say way root
  elif have sudo && sudo -n true >/dev/null 2>&1; then
    say way sudo
  elif have docker; then
    image=$(docker images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -E '(^|/)(rke-tools|hyperkube):' | grep -v '<none>' | head -n 1)
    [ -n "$image" ] && say way "docker $image"
  fi
}

main() {
  reason=$(objection)
  [ -n "$reason" ] && say objection "$reason"
  if [ "$mode" = look ]; then
    way
    what_is_there
  elif [ -z "$reason" ]; then
    remove_containers
    unmount
    remove_interfaces
    remove_rules
    remove_directories
    if have docker; then
      images=$(docker images --format '{{.Repository}}' 2>/dev/null | grep -c -E '(^|/)rancher/')
      [ "${images:-0}" -gt 0 ] && say note "$images images of Rancher stay; they cost disk space only"
    fi
  fi
  say end yes
}

# As a whole, so that nothing it starts reads the script in its place.
main </dev/null
