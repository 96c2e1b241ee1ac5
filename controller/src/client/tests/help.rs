//! Every `--help`, as it is shown.

use std::io;

use clap::CommandFactory as _;

use crate::client::args::Cli;

/// The help of a command and of all below it.
fn collect(command: &mut clap::Command, path: &str, into: &mut Vec<(String, String)>) {
    let path = if path.is_empty() { command.get_name().to_owned() } else { format!("{path} {}", command.get_name()) };
    into.push((path.clone(), command.render_long_help().to_string()));
    for inner in command.get_subcommands_mut() {
        collect(inner, &path, into);
    }
}

fn all() -> Vec<(String, String)> {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut found = Vec::new();
    collect(&mut command, "", &mut found);
    found
}

#[test]
fn every_help_is_what_it_was() {
    for (path, help) in all() {
        insta::assert_snapshot!(path.replace(' ', "_"), help);
    }
}

#[test]
fn every_command_has_an_example_or_commands_below_it() {
    for (path, help) in all() {
        let shows = help.contains("Example") || help.contains("Commands:") || path == "cratekube version";
        assert!(shows, "{path} has no example:\n{help}");
    }
}

#[test]
fn hostile_row_31_no_option_takes_a_secret() {
    for (path, help) in all() {
        for word in ["--token ", "--api-key", "--password", "--secret"] {
            let options = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
            assert!(!options.into_iter().any(|line| line.contains(word)), "{path} takes {word}");
        }
    }
}

#[test]
fn the_command_line_is_without_contradictions_and_completes_in_every_shell() -> io::Result<()> {
    Cli::command().debug_assert();
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "cratekube", &mut script);
        let script = String::from_utf8_lossy(&script);
        assert!(script.contains("force-unlock") && script.contains("join-token"), "{shell}");
    }
    Ok(())
}

#[test]
fn a_mistake_on_the_command_line_is_shown_with_what_is_possible() {
    let fault = |line: &str| {
        use clap::Parser as _;
        Cli::try_parse_from(line.split(' ')).unwrap_err().to_string()
    };
    insta::assert_snapshot!("mistake_delete", fault("cratekube cluster delete web"));
    insta::assert_snapshot!("mistake_name", fault("cratekube cluster get ../etc"));
    insta::assert_snapshot!("mistake_command", fault("cratekube cluster lits"));
}
