//! What can be said of the files in `deploy/` without running them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The most that systemd's own judge may find exposed, of 10.
const MOST_EXPOSED: f64 = 2.5;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn there(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED {test}: {program} is not installed");
    }
    found
}

#[test]
fn the_units_are_hardened() -> anyhow::Result<()> {
    if !there("systemd-analyze", "the units are hardened") {
        return Ok(());
    }
    for unit in ["cratekube-agent.service", "cratekube-controller.service"] {
        let path = deploy().join("systemd").join(unit);
        let mut command = Command::new("systemd-analyze");
        let judged = command.args(["security", "--offline=true", "--no-pager"]).arg(&path).output()?;
        let text = String::from_utf8_lossy(&judged.stdout).into_owned();
        let score = text.rsplit_once("exposure level for ").and_then(|(_, end)| end.split_whitespace().nth(1));
        let score: f64 = score.with_context(|| format!("no score: {text}"))?.parse()?;
        println!("{unit}: exposed {score} of 10");
        ensure!(score <= MOST_EXPOSED, "{unit} is exposed {score}:\n{text}");
    }
    Ok(())
}

#[test]
fn the_scripts_are_plain_shell_without_a_known_mistake() -> anyhow::Result<()> {
    if !there("shellcheck", "the scripts") {
        return Ok(());
    }
    let packages = std::fs::read_dir(deploy().join("packages"))?;
    let maintainer = packages.flatten().map(|entry| entry.path());
    let maintainer = maintainer.filter(|path| path.extension().is_some_and(|e| e != "default"));
    let scripts = [deploy().join("install.sh")].into_iter().chain(maintainer);
    for (shell, script) in scripts
        .map(|script| ("sh", script))
        .chain(["packages/build", "image/build", "quickstart"].map(|name| ("bash", deploy().join(name))))
    {
        let checked = Command::new("shellcheck").args(["-s", shell]).arg(&script).output()?;
        ensure!(checked.status.success(), "{}:\n{}", script.display(), String::from_utf8_lossy(&checked.stdout));
    }
    Ok(())
}

#[test]
fn user_data_and_compose_file_are_documents_that_name_what_is_there() -> anyhow::Result<()> {
    let read = |name: &str| -> anyhow::Result<(String, serde_json::Value)> {
        let text = std::fs::read_to_string(deploy().join(name))?;
        Ok((text.clone(), serde_saphyr::from_str(&text)?))
    };
    let (text, data) = read("cloud-init/bastion.yaml")?;
    ensure!(text.starts_with("#cloud-config\n"), "cloud-init asks for this first line");
    let script = data["runcmd"][0][2].as_str().context("no command")?;
    let help = std::fs::read_to_string(deploy().join("install.sh"))?;
    for option in script.split_whitespace().filter(|word| word.starts_with("--format") || word.starts_with("--token")) {
        ensure!(
            help.contains(&format!("  {option} ")) || help.contains(&format!("{option} FILE")),
            "{option} is no option"
        );
    }
    for file in data["write_files"].as_array().context("no files")? {
        let path = file["path"].as_str().context("no path")?;
        ensure!(script.contains(path), "{path} is not used");
    }
    let (_, compose) = read("image/compose.yaml")?;
    let controller = &compose["services"]["controller"];
    ensure!(controller["read_only"] == true && controller["cap_drop"][0] == "ALL", "{controller:#}");
    ensure!(controller["user"] == "65532:65532", "the image's own user");
    Ok(())
}
