//! The Debian packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cratekube_tests::house::machine::{Machine, base_or_skip};
use cratekube_tests::house::{Client, Programs};
use cratekube_tests::programs;
use serde_json::json;

use super::bastion::{Bastion, VOLUME};

/// Makes the packages of a release in a folder.
fn build(programs: &Programs, version: &str, at: &Path) -> anyhow::Result<()> {
    let place = at.join("programs");
    fs::create_dir_all(&place)?;
    let client = programs.agent.with_file_name("house-cratekube");
    let named =
        [(&programs.agent, "cratekube-agent"), (&programs.controller, "cratekube-controller"), (&client, "cratekube")];
    for (from, name) in named {
        fs::copy(from, place.join(name))?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/packages/build");
    let mut command = Command::new("timeout");
    command.arg("120").arg(script);
    command.arg(&place).arg(at).env("CRATEKUBE_VERSION", version).env("CRATEKUBE_COMPRESSION", "none");
    let built = command.output()?;
    ensure!(built.status.success(), "{}: {}", built.status, String::from_utf8_lossy(&built.stderr));
    fs::remove_dir_all(place)?;
    Ok(())
}

/// The controller inside, seen from here.
async fn client_of(bastion: &Bastion, machine: &Machine) -> anyhow::Result<(Client, String)> {
    let issue = "cd /; runuser -u cratekube-controller -- cratekube-controller --config /etc/cratekube/controller.toml";
    let token = bastion
        .run(&format!("{issue} token issue --subject me --grant operator:* --grant admin:*"))
        .await?
        .expect(0)?;
    let data = "/var/lib/cratekube-controller";
    let shared = machine.shared();
    bastion.run(&format!("cp {data}/ca.pem {data}/listening.json {}", shared.display())).await?.expect(0)?;
    let listening: serde_json::Value = serde_json::from_slice(&fs::read(shared.join("listening.json"))?)?;
    let address = listening["rest"].as_str().context("no address")?.parse()?;
    let agents = listening["agents"].as_str().context("no address")?.to_owned();
    let client = Client::new(address, &fs::read_to_string(shared.join("ca.pem"))?, Some(token.trim().to_owned()))?;
    Ok((client, agents))
}

#[tokio::test]
async fn packages_install_upgrade_in_mid_run_and_leave_the_volume_and_the_controllers_data_when_purged()
-> anyhow::Result<()> {
    let Some(base) = base_or_skip("packages", |why| println!("{why}"))? else { return Ok(()) };
    let programs = programs!();
    let mut bastion = Bastion::boot(&base, &programs).await?;
    let place = bastion.machine.shared().join("packages");
    build(&programs, "0.1.0", &place)?;
    build(&programs, "0.1.1", &place)?;
    let dpkg = |name: &str, version: &str| format!("dpkg -i {}/{name}_{version}_*.deb", place.display());

    // Ports of this host's own choice, before the first start; and the hosts of its clusters are none: rke alone.
    let ports =
        "CRATEKUBE_REST__LISTEN=127.0.0.1:0\nCRATEKUBE_AGENTS__LISTEN=127.0.0.1:0\nCRATEKUBE_OPERATIONS__STEPS=[]";
    bastion.run(&format!("printf '{ports}\\n' >/etc/default/cratekube-controller")).await?.expect(0)?;
    bastion.run(&dpkg("cratekube-controller", "0.1.0").replace("dpkg", "dpkg --force-confold")).await?.expect(0)?;
    let (client, agents) = client_of(&bastion, &bastion.machine).await?;
    let key = bastion.run("stat -c '%a %U %s' /etc/cratekube/master.key").await?.expect(0)?;
    assert_eq!(key, "400 cratekube-controller 64\n");
    assert_ne!(bastion.run("test -e /var/lib/cratekube-controller/master.key").await?.code, 0, "not beside the data");
    bastion.run(&dpkg("cratekube", "0.1.0")).await?.expect(0)?;
    bastion.run("cratekube --version; test -s /usr/share/bash-completion/completions/cratekube").await?.expect(0)?;

    let told = bastion.run(&dpkg("cratekube-agent", "0.1.0")).await?.expect(0)?;
    assert!(told.contains("not enrolled yet"), "{told}");
    let token = client.post("/v1/admin/join-tokens", &json!({})).await?.expect(201)?.json();
    let (_, port) = agents.rsplit_once(':').context("no port")?;
    let disk = bastion.device.node().display();
    let setup = format!(
        "mkfs.ext4 -q {disk}; mkdir -p {VOLUME}; mount {disk} {VOLUME}; chown cratekube-agent: {VOLUME}
         printf '[controller]\\naddress = \"localhost:{port}\"\\n[volumes]\\npaths = [\"{VOLUME}\"]\\n[agent]\\nname = \"bastion-1\"\\n[rke]\\npath = \"{rke}\"\\n[ssh]\\nkey = \"/etc/cratekube/id\"\\n' >/etc/cratekube/agent.toml
         agent='runuser -u cratekube-agent -- cratekube-agent'
         $agent init-volume --path {VOLUME}; echo {token} | $agent enroll; systemctl start cratekube-agent",
        rke = bastion.rke.program().display(),
        token = token["token"].as_str().context("no token")?,
    );
    bastion.run(&setup).await?.expect(0)?;
    bastion.online().await?;

    // Agent and controller are upgraded in the middle of a run.
    let run = bastion.in_mid_run(&client, "web").await?;
    assert!(run.supervisor.contains("cratekube-run-"), "{}", run.supervisor);
    bastion
        .run(&format!("echo '# mine' >>/etc/default/cratekube-agent; {}", dpkg("cratekube-agent", "0.1.1")))
        .await?
        .expect(0)?;
    bastion.online().await?;
    assert_eq!(bastion.run("dpkg-query -W -f '${Version}' cratekube-agent").await?.expect(0)?, "0.1.1");
    bastion.run("grep -q '^# mine' /etc/default/cratekube-agent").await?.expect(0)?;
    bastion.ended(&client, run).await?;
    bastion.run(&dpkg("cratekube-controller", "0.1.1").replace("dpkg", "dpkg --force-confold")).await?.expect(0)?;
    let (client, _) = client_of(&bastion, &bastion.machine).await?;
    let kept = client.get("/v1/environments/prod/clusters/web").await?.expect(200)?.json();
    assert_eq!(kept["status"]["phase"].as_str().or(kept["phase"].as_str()), Some("ready"), "{kept:#}");

    let told = bastion.run("dpkg --purge cratekube-agent cratekube-controller cratekube").await?.expect(0)?;
    assert!(told.contains("kept: the state volume") && told.contains("kept: /var/lib/cratekube-controller"), "{told}");
    bastion
        .run(&format!(
            "test -d {VOLUME}/clusters/prod/web/generations/000001; test -f /var/lib/cratekube-controller/cratekube.db
             test -f /etc/cratekube/master.key; ! test -e /var/lib/cratekube-agent; ! test -e /usr/bin/cratekube-agent
             ! systemctl is-active --quiet cratekube-agent; ! systemctl is-active --quiet cratekube-controller"
        ))
        .await?
        .expect(0)?;
    Ok(())
}

#[test]
fn the_same_programs_make_the_same_packages() -> anyhow::Result<()> {
    if Command::new("dpkg-deb").arg("--version").output().is_err()
        || Command::new("readelf").arg("--version").output().is_err()
    {
        println!("SKIPPED: no dpkg-deb or readelf here");
        return Ok(());
    }
    let (programs, dir) = (programs!(), tempfile::tempdir()?);
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    build(&programs, "0.1.0", &one)?;
    build(&programs, "0.1.0", &two)?;
    let mut made = 0;
    for entry in fs::read_dir(&one)? {
        let entry = entry?;
        ensure!(fs::read(entry.path())? == fs::read(two.join(entry.file_name()))?, "{:?} differs", entry.file_name());
        made += 1;
    }
    ensure!(made == 3, "{made} packages");
    Ok(())
}
