//! What the script does not do: each time it says why, and changes nothing.

use cratekube_tests::house::machine::base_or_skip;
use cratekube_tests::programs;

use super::bastion::{Bastion, Office};

#[tokio::test]
async fn hostile_row_56_the_wrong_volume_is_refused_and_no_device_is_formatted_that_is_not_blank() -> anyhow::Result<()>
{
    let Some(base) = base_or_skip("refusals", |why| println!("{why}"))? else { return Ok(()) };
    let programs = programs!();
    let (office, bastion) = (Office::open(&programs).await?, Bastion::boot(&base, &programs).await?);
    let (token, _) = office.join_token().await?;
    let disk = bastion.device.node().display().to_string();
    // A filesystem that is mounted is written to by the kernel at its leisure.
    let sum = format!("findmnt -n {disk} || sha256sum {disk}");
    let rke = format!("--rke {}", bastion.rke.program().display());
    let device = format!("--token {token} {rke} --format-device {disk}");
    let fill = |command: &str| format!("{command} >/dev/null 2>&1");
    let another = "01900000-0000-7000-8000-000000000001";
    let zeros = format!("dd if=/dev/zero of={disk} conv=notrunc bs=1M");
    let empty = format!("wipefs -qa {disk}; {zeros} count=8; {zeros} seek=158 count=2");
    // What is prepared, what is asked for, what is answered.
    let cases = [
        (fill("true"), format!("--token {token} {rke}"), "no state volume: nothing is mounted"),
        (fill("true"), format!("--token {token} {rke} --device {disk}"), "holds no state volume"),
        (fill("true"), format!("--token {token} --format-device /dev/xvdf"), "no block device here"),
        (fill("true"), format!("--token {token} --format-device /dev/null"), "no block device here"),
        (fill("true"), format!("{device} --volume-id {another}"), "is blank, and volume"),
        (fill(&format!("mkfs.ext4 -q {disk}")), device.clone(), "a filesystem or other content: ext4"),
        (
            fill(&format!("{empty}; printf 'label: gpt\\n,\\n' | sfdisk --no-reread --force {disk}")),
            device.clone(),
            "a partition table: gpt",
        ),
        (fill(&format!("{empty}; mkswap {disk}")), device.clone(), "other content: swap"),
        (
            fill(&format!("{empty}; printf x | dd of={disk} bs=1 seek=3000000 conv=notrunc")),
            device.clone(),
            "data, though of no known kind",
        ),
        (
            fill(&format!("{empty}; printf x | dd of={disk} bs=1 seek=167772000 conv=notrunc")),
            device.clone(),
            "data, though of no known kind",
        ),
        (
            fill(&format!("{empty}; mkfs.ext4 -q {disk}; mkdir -p /mnt/other; mount {disk} /mnt/other")),
            device.clone(),
            "is in use: it is mounted at /mnt/other",
        ),
        (
            fill("touch /mnt/other/holiday.jpg"),
            format!("--token {token} {rke} --volume /mnt/other"),
            "holds other files and no volume.json: /mnt/other/holiday.jpg",
        ),
        (
            fill("rm /mnt/other/holiday.jpg"),
            format!("--token {token} {rke} --volume /mnt/other --volume-id {another}"),
            "is no state volume, and",
        ),
        (
            r#"echo '{"id": "01900000-0000-7000-8000-00000000000f"}' >/mnt/other/volume.json"#.to_owned(),
            format!("--token {token} {rke} --volume-id {another}"),
            "the wrong volume: /mnt/other is state volume",
        ),
    ];
    for (prepare, options, answer) in cases {
        bastion.run(&prepare).await?;
        let before = bastion.run(&sum).await?.expect(0)?;
        let refused = bastion.run(&office.piped(&bastion.machine, &options)?).await?;
        assert!(refused.code == 1 && refused.text.contains(answer), "{prepare} {options}\n{answer}\n{}", refused.text);
        assert!(refused.text.contains("mend: "), "{}", refused.text);
        assert_eq!(bastion.run(&sum).await?.expect(0)?, before, "{answer}");
        let made = bastion.run("ls /etc/cratekube /var/lib/cratekube-agent; grep mnt /etc/fstab").await?;
        assert!(!made.text.contains("toml") && !made.text.contains("UUID"), "{answer}: {}", made.text);
    }
    Ok(())
}

#[tokio::test]
async fn hostile_row_33_a_script_from_another_controller_and_a_changed_agent_are_refused() -> anyhow::Result<()> {
    let Some(base) = base_or_skip("trust", |why| println!("{why}"))? else { return Ok(()) };
    let programs = programs!();
    let (office, rogue) = (Office::open(&programs).await?, Office::open(&programs).await?);
    let bastion = Bastion::boot(&base, &programs).await?;
    let (token, line) = office.join_token().await?;
    let said = async |line: &str| -> anyhow::Result<String> {
        let refused = bastion.run(line).await?;
        assert_ne!(refused.code, 0, "{}", refused.text);
        assert_ne!(bastion.run("test -e /usr/local/bin/cratekube-agent").await?.code, 0);
        Ok(refused.text)
    };
    let options = format!("--token {token} {}", bastion.options());
    let other = said(&rogue.piped(&bastion.machine, &options)?).await?;
    assert!(other.contains("not from the controller that the join token is for"), "{other}");
    let line = line
        .replace("sudo ", "")
        .replace(&format!(":{}/", office.controller.rest.port()), &format!(":{}/", rogue.controller.rest.port()));
    let other = said(&format!("cd /root; {line} {}", bastion.options())).await?;
    assert!(other.contains("FAILED") || other.contains("did NOT match"), "the line knows the script: {other}");
    // A script whose list was changed on its way fetches an agent that is another one.
    let script = office.piped(&bastion.machine, "")?.replace(" | sh -s -- ", "");
    let changed =
        said(&format!("{script} | sed \"s/^BINARIES='x86_64 ..../BINARIES='x86_64 0000/\" | sh -s -- {options}"))
            .await?;
    assert!(changed.contains("is not the one that this script names"), "{changed}");
    let forged = said(&format!("{script} | sed \"s/^CA_SHA256='..../CA_SHA256='0000/\" | sh -s -- {options}")).await?;
    assert!(forged.contains("contradicts itself"), "{forged}");
    let half = said(&format!("{script} | head -c 9000 | sh -s -- {options}; false")).await?;
    assert!(!half.contains("==>"), "half a script does nothing: {half}");
    assert!(said(&format!("{script} | sh -s -- --surprise; exit $?")).await?.contains("--surprise is not known"));
    assert!(said("sh -c 'exit 1'").await?.is_empty());
    Ok(())
}
