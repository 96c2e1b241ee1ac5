//! A machine: a Debian root with a systemd of its own, in namespaces of its own.
//!
//! The root is never changed: what the machine writes goes to an overlay in memory that ends with it. It
//! has the network of this host, so that both sides of a story meet on 127.0.0.1, and none of its devices
//! but those that it is given. A folder is shared under the same path inside and outside.
//!
//! Needs root, a kernel that lets it make namespaces, mounts and loop devices (which is tried, not guessed),
//! and a root file system in `DEBIAN_ROOT` (`tests/README.md` says how to make one); [`base_or_skip`] tells
//! what is missing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use super::process::PATIENCE;

/// Names the root file system.
const BASE: &str = "DEBIAN_ROOT";

/// Does once, in small, what machines need of the kernel. Argument: a folder.
const TRY: &str = r#"
truncate -s 8M "$1/disk"
mkfs.ext4 -q "$1/disk"
device=$(losetup --find --show "$1/disk")
trap 'losetup --detach "$device"' EXIT
mkdir "$1/at"
unshare --mount --pid --fork --kill-child --uts --ipc --cgroup --propagation private sh -euc '
  mount -t tmpfs machine "$1"
  mkdir "$1/lower" "$1/upper" "$1/work" "$1/root"
  mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" machine "$1/root"
  mkdir "$1/root/proc" "$1/root/sys" "$1/root/group" "$1/root/disk" "$1/root/pts"
  mount -t proc proc "$1/root/proc"
  mount -t sysfs -o ro sysfs "$1/root/sys"
  mount -t cgroup2 cgroup2 "$1/root/group"
  mkdir "$1/root/group/cratekube-try"
  rmdir "$1/root/group/cratekube-try"
  mount -t devpts -o newinstance devpts "$1/root/pts"
  mount "$2" "$1/root/disk"
' try "$1/at" "$device"
"#;

/// Arguments: base root, folder for the machine, shared folder, devices …
const BOOT: &str = r#"
base=$1 at=$2 shared=$3; shift 3
mount -t tmpfs -o mode=755 machine "$at"
mkdir "$at/upper" "$at/work" "$at/root"
mount -t overlay -o "lowerdir=$base,upperdir=$at/upper,workdir=$at/work" machine "$at/root"
root=$at/root
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
mount -t proc proc "$root/proc"
# It shares our kernel: its settings are not for this machine to change.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" 2>/dev/null || {
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
}
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$@"; do
  : >"$root$device"
  mount --bind "$device" "$root$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
[ -e "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
# Not only chroot: who is in one may make no namespaces of users, as units do.
mkdir "$root/run/outside"
cd "$root"
pivot_root . run/outside
umount -l /run/outside
exec env -i container=cratekube PATH=/usr/sbin:/usr/bin:/sbin:/bin NOTIFY_SOCKET="$shared/notify" \
  /lib/systemd/systemd --log-target=journal --show-status=0
"#;

/// A running machine; it ends with this value.
#[derive(Debug)]
pub struct Machine {
    _unshare: Child,
    init: u32,
    shared: PathBuf,
    _folder: tempfile::TempDir,
}

/// What a command in a machine came to.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; 255 when it was killed.
    pub code: i32,
    /// What it printed, to either stream.
    pub text: String,
}

impl Done {
    /// Expects an exit code; answers what was printed.
    ///
    /// # Errors
    /// When it is another one.
    pub fn expect(self, code: i32) -> anyhow::Result<String> {
        ensure!(self.code == code, "exit code {} instead of {code}:\n{}", self.code, self.text);
        Ok(self.text)
    }
}

impl Machine {
    /// The root that machines are made of.
    ///
    /// # Errors
    /// Why there are no machines here.
    pub fn base() -> Result<PathBuf, String> {
        let base = std::env::var_os(BASE).map(PathBuf::from).ok_or_else(|| format!("{BASE} is not set"))?;
        if !base.join("lib/systemd/systemd").exists() {
            return Err(format!("{} holds no systemd", base.display()));
        }
        Ok(base)
    }

    /// Whether the kernel lets us make machines.
    ///
    /// # Errors
    /// Why not, in its own words.
    pub fn allowed() -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes machines".into());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = std::process::Command::new("timeout");
        command.args(["30", "sh", "-euc", TRY, "try"]).arg(folder.path());
        let tried = command.output().map_err(|error| format!("nothing can be tried: {error}"))?;
        if tried.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tried.stderr).trim().replace('\n', "; ");
        Err(format!("this machine makes none: {said} ({})", tried.status))
    }

    /// Boots a machine, and waits until all its units are started. `folder` is where its shared folder is
    /// made: not below `/tmp`, which units have for themselves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn boot(base: &Path, folder: &Path, devices: &[&Path]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("machine-").tempdir_in(folder)?;
        let (at, shared) = (folder.path().join("at"), folder.path().join("shared"));
        std::fs::create_dir(&at)?;
        std::fs::create_dir(&shared)?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777))?;
        let socket = UnixDatagram::bind(shared.join("notify"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup"]);
        command.args(["--propagation", "private", "sh", "-euc", BOOT, "machine"]);
        command.arg(base).arg(&at).arg(&shared).args(devices);
        let mut unshare = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        tokio::select! {
            ready = tokio::time::timeout(PATIENCE, ready(&socket)) => ready.context("the machine does not boot")??,
            ended = unshare.wait() => bail!("the machine ended instead of booting: {}", ended?),
        }
        let parent = unshare.id().context("the machine has ended")?;
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let init = children.split_whitespace().next().context("the machine has no init")?.parse()?;
        Ok(Self { _unshare: unshare, init, shared, _folder: folder })
    }

    /// The folder that is shared with it.
    #[must_use]
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// Runs a shell script in it, as root.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn run(&self, script: &str) -> anyhow::Result<Done> {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.init.to_string()).args(["-m", "-p", "-u", "-i", "-C", "-r", "-w"]);
        command.args(["sh", "-euc", script]).env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.with_context(|| format!("it does not end: {script}"))??;
        let text = [output.stdout, output.stderr].concat();
        Ok(Done { code: output.status.code().unwrap_or(255), text: String::from_utf8_lossy(&text).into_owned() })
    }
}

/// systemd tells the one who started it when everything is up.
async fn ready(socket: &UnixDatagram) -> anyhow::Result<()> {
    let mut heard = vec![0; 4096];
    loop {
        let length = socket.recv(&mut heard).await?;
        if String::from_utf8_lossy(&heard[..length]).lines().any(|line| line == "READY=1") {
            return Ok(());
        }
    }
}

/// A block device that is a file.
#[derive(Debug)]
pub struct LoopDevice {
    node: PathBuf,
}

impl LoopDevice {
    /// Makes one of a new file of this many MiB, all zeros.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn blank(file: &Path, mebibytes: u64) -> anyhow::Result<Self> {
        std::fs::File::create_new(file)?.set_len(mebibytes * 1024 * 1024)?;
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]).arg(file);
        Ok(Self { node: super::process::output(command).await?.into() })
    }

    /// Its node in `/dev`.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Detached by the kernel once nothing has it mounted any more.
        let _gone = std::process::Command::new("losetup").arg("--detach").arg(&self.node).status();
    }
}

/// The root for machines, or why the test named is skipped. Where `CI` is set only the kernel may be the reason.
///
/// # Errors
/// When a root is named that cannot be used, or is missing in CI.
pub fn base_or_skip(test: &str, say: impl FnOnce(&str)) -> anyhow::Result<Option<PathBuf>> {
    let required = std::env::var_os("CI").is_some() || std::env::var_os(BASE).is_some();
    let why = match (Machine::allowed(), Machine::base()) {
        (Ok(()), Ok(base)) => return Ok(Some(base)),
        (Ok(()), Err(why)) if required => bail!("{why}"),
        (Err(why), _) | (_, Err(why)) => why,
    };
    say(&format!("SKIPPED {test}: {why}"));
    Ok(None)
}
