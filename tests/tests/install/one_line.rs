//! The script that a controller serves.

use cratekube_tests::house::machine::base_or_skip;
use cratekube_tests::programs;
use serde_json::json;

use super::bastion::{Bastion, Office, VOLUME};

#[tokio::test]
async fn a_host_becomes_a_bastion_by_one_line_is_upgraded_in_mid_run_and_removed_and_its_volume_is_kept()
-> anyhow::Result<()> {
    let Some(base) = base_or_skip("one line", |why| println!("{why}"))? else { return Ok(()) };
    let programs = programs!();
    let (office, mut bastion) = (Office::open(&programs).await?, Bastion::boot(&base, &programs).await?);

    // The line that the API shows with a token trusts nobody on its way.
    let (_, line) = office.join_token().await?;
    let line = line.replace("sudo ", "");
    let line = format!("cd /root; begin=$(date +%s%N); {line} --name bastion-1 {}", bastion.options());
    let figure = "echo \"figures: online $((($(date +%s%N) - begin) / 1000000)) ms after the line was said\"";
    let told = bastion.run(&format!("{line}; {figure}")).await?.expect(0)?;
    told.lines().filter(|line| line.starts_with("figures: ")).for_each(|line| println!("{line}"));
    assert!(told.contains("formatting") && told.contains("online: in session"), "{told}");
    let agent = office.agent().await?;
    assert_eq!((&agent["name"], &agent["online"]), (&json!("bastion-1"), &json!(true)), "{agent:#}");
    let mounted =
        bastion.run(&format!("findmnt -n -o OPTIONS {VOLUME}; grep -c '^UUID=.* {VOLUME} ext4' /etc/fstab")).await?;
    let mounted = mounted.expect(0)?;
    assert!(mounted.contains("nosuid") && mounted.ends_with("1\n"), "{mounted}");

    // Said again it changes nothing, and needs no token.
    let again = office.piped(&bastion.machine, &bastion.options())?;
    let before = bastion.run("systemctl show -P InvocationID cratekube-agent").await?.expect(0)?;
    let told = bastion.run(&again).await?.expect(0)?;
    assert!(told.contains("there already") && told.contains("enrolled already"), "{told}");
    assert_eq!(bastion.run("systemctl show -P InvocationID cratekube-agent").await?.expect(0)?, before);

    // Upgraded in the middle of a run, by the same line.
    let run = bastion.in_mid_run(&office.client, "web").await?;
    assert!(run.supervisor.contains("cratekube-run-") && run.supervisor.contains(".scope"), "{}", run.supervisor);
    office.offer(&programs, 3)?;
    let told = bastion.run(&again).await?.expect(0)?;
    assert!(told.contains("starting the agent (runs go on)"), "{told}");
    let refused = bastion.run("sh /root/install.sh --uninstall").await?;
    assert!(refused.code == 1 && refused.text.contains("runs are at work"), "{}", refused.text);
    bastion.ended(&office.client, run).await?;

    // A unit that is killed, too, leaves its runs alone, also without a manager for scopes.
    bastion
        .run("systemctl stop user@$(id -u cratekube-agent).service; systemctl restart cratekube-agent")
        .await?
        .expect(0)?;
    bastion.online().await?;
    bastion.run("systemctl mask --runtime user@$(id -u cratekube-agent).service; systemctl stop user@$(id -u cratekube-agent).service").await?;
    let run = bastion.in_mid_run(&office.client, "api").await?;
    assert!(run.supervisor.contains("cratekube-agent.service"), "{}", run.supervisor);
    bastion
        .run("systemctl kill -s KILL --kill-whom=main cratekube-agent; systemctl restart cratekube-agent")
        .await?
        .expect(0)?;
    bastion.online().await?;
    bastion.ended(&office.client, run).await?;

    let told = bastion.run("sh /root/install.sh --uninstall").await?.expect(0)?;
    assert!(told.contains("Kept") && told.contains(VOLUME), "{told}");
    let left = format!(
        "test -f {VOLUME}/volume.json; test -d {VOLUME}/clusters/prod/web/generations; getent passwd cratekube-agent >/dev/null
         for gone in /usr/local/bin/cratekube-agent /var/lib/cratekube-agent /etc/systemd/system/cratekube-agent.service; do
           if [ -e $gone ]; then echo $gone is left; exit 1; fi
         done; ! systemctl is-active cratekube-agent"
    );
    bastion.run(&left).await?.expect(0)?;

    // Another agent takes the volume over, from the same device, and formats nothing.
    let (token, _) = office.join_token().await?;
    let (id, line) = (
        format!("cat {VOLUME}/volume.json"),
        office.piped(&bastion.machine, &format!("--token {token} --name bastion-2 {}", bastion.options()))?,
    );
    let volume = bastion.run(&id).await?.expect(0)?;
    bastion
        .run(&format!("umount {VOLUME}; systemctl unmask --runtime user@$(id -u cratekube-agent).service"))
        .await?
        .expect(0)?;
    let told = bastion.run(&line).await?.expect(0)?;
    assert!(!told.contains("formatting") && told.contains("online"), "{told}");
    assert_eq!(bastion.run(&id).await?.expect(0)?, volume);
    Ok(())
}
