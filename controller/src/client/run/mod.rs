//! What each command does: requests, and what is made of their answers.

mod access;
mod agent;
mod alarm;
mod audit;
mod ca;
mod cluster;
mod login;
mod operation;
mod orphan;
mod output;
mod resource;
mod upkeep;
mod volume;
mod watch;

use std::path::Path;

use clap::CommandFactory as _;
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::mint::Mint;

use super::api::{Api, Keep, Parts};
use super::args::{self, Cli, EnvironmentCommand, Global, InEnvironment, Shell};
use super::console::Console;
use super::credential::Credential;
use super::exit::Exit;
use super::fault::Fault;
use super::http::dial::Tls;
use super::profile::{Profile, ProfileFile};
use super::settings::{self, Surroundings};
use super::show::{self, Printer};

/// What a command has at hand.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// Variables and folders.
    pub(super) surroundings: Surroundings,
    /// The two outputs.
    pub(super) console: Console,
    /// The time.
    pub(super) clock: Clock,
    /// Chance.
    pub(super) mint: Mint,
}

/// A command that talks to a controller.
pub(super) struct Session {
    /// The controller.
    pub(super) api: Api,
    /// For results.
    pub(super) printer: Printer,
    /// For everything else.
    pub(super) console: Console,
    /// The environment when none is named.
    pub(super) environment: Option<EnvironmentName>,
}

impl Command {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) async fn run(&self, cli: Cli) -> Result<Exit, Fault> {
        match cli.command {
            args::Command::Version => {
                self.console.print(concat!("cratekube ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| Exit::Done)
            }
            args::Command::Completion { shell } => self.console.print_bytes(&completion(shell)).map(|()| Exit::Done),
            args::Command::Login(wish) => login::login(self, &cli.global, wish).await,
            args::Command::Ca(args::ca::CaCommand::Trust) => ca::trust(self, &cli.global).await,
            command => dispatch(&self.session(&cli.global)?, command).await,
        }
    }

    fn session(&self, global: &Global) -> Result<Session, Fault> {
        let around = &self.surroundings;
        let file = ProfileFile::named(&global.profile, around)?;
        let profile = file.read()?;
        let environment = around.get(settings::ENVIRONMENT).map(str::parse).transpose();
        let environment =
            environment.map_err(|why: String| Fault::usage(format!("{}: {why}", settings::ENVIRONMENT), ""))?;
        let environment = environment.or_else(|| profile.as_ref().and_then(|profile| profile.environment.clone()));
        let given = credential_around(around);
        let (profile, keep) = match profile_around(around, given.clone())? {
            Some(profile) => (profile, None),
            None => {
                let profile = profile.ok_or_else(|| not_logged_in(&global.profile))?;
                match given {
                    Some(credential) => (Profile { credential, ..profile }, None),
                    None => (profile.clone(), Some(keeper(file, profile))),
                }
            }
        };
        let api = self.api(&profile, keep, global)?;
        Ok(Session { api, printer: self.printer(global), console: self.console.clone(), environment })
    }

    fn api(&self, profile: &Profile, keep: Option<Keep>, global: &Global) -> Result<Api, Fault> {
        let dial = Tls::under(profile.address.clone(), &profile.ca);
        let dial = dial
            .map_err(|why| Fault::usage(format!("the certificate authority of the profile: {why}"), "Log in again."))?;
        Ok(Api::new(Parts {
            dial: Box::new(dial),
            address: profile.address.clone(),
            credential: profile.credential.clone(),
            keep,
            patience: global.timeout,
            clock: self.clock.clone(),
            mint: self.mint.clone(),
            console: self.console.clone(),
        }))
    }

    fn printer(&self, global: &Global) -> Printer {
        Printer { console: self.console.clone(), format: global.output, now: self.clock.now() }
    }
}

/// Sends a command where it belongs.
pub(super) async fn dispatch(session: &Session, command: args::Command) -> Result<Exit, Fault> {
    match command {
        args::Command::Cluster(command) => cluster::run(session, command).await,
        args::Command::Operation(command) => operation::run(session, command).await,
        args::Command::Agent(command) => agent::run(session, command).await,
        args::Command::Audit(command) => audit::run(session, command).await,
        args::Command::Alarm(command) => alarm::run(session, command).await,
        args::Command::Resource(command) => resource::run(session, command).await,
        args::Command::SigningKey(command) => alarm::signing_keys(session, command).await,
        args::Command::Ca(command) => ca::run(session, command).await,
        args::Command::Volume(command) => volume::run(session, command).await,
        args::Command::Orphan(command) => orphan::run(session, command).await,
        args::Command::Summary => volume::summary(session).await,
        args::Command::Environment(EnvironmentCommand::List) => {
            let items = session.api.environments().await?;
            session.printer.list(&show::ENVIRONMENT, &items).map(|()| Exit::Done)
        }
        // They need no controller, or no stored credential; see `Command::run`.
        args::Command::Login(_) | args::Command::Completion { .. } | args::Command::Version => Ok(Exit::Done),
    }
}

impl Session {
    /// The environment that is meant.
    ///
    /// # Errors
    /// When none is.
    pub(super) fn environment(&self, place: &InEnvironment) -> Result<EnvironmentName, Fault> {
        place.environment.clone().or_else(|| self.environment.clone()).ok_or_else(|| {
            let remedy =
                "Name one with `--environment`, in CK_ENVIRONMENT, or for the profile with `cratekube login -e`.";
            Fault::usage("no environment is named", remedy)
        })
    }
}

fn not_logged_in(profile: &str) -> Fault {
    Fault::usage(format!("there is no profile {profile:?}"), "Log in first: `cratekube login --help` shows how.")
}

/// Keeps a renewed token in the profile that it belongs to.
fn keeper(file: ProfileFile, profile: Profile) -> Keep {
    Box::new(move |credential: &Credential| file.write(&Profile { credential: credential.clone(), ..profile.clone() }))
}

/// The credential of the environment.
fn credential_around(around: &Surroundings) -> Option<Credential> {
    around.secret(settings::API_KEY).or_else(|| around.secret(settings::TOKEN)).map(Credential::of)
}

/// A profile that is all in the environment. A stored credential is never sent to another address than
/// the one it was stored for.
fn profile_around(around: &Surroundings, credential: Option<Credential>) -> Result<Option<Profile>, Fault> {
    let Some(address) = around.get(settings::ADDRESS) else { return Ok(None) };
    let remedy = "Set CK_ADDRESS, CK_CA and one of CK_API_KEY and CK_TOKEN, or none of them.";
    let missing = |what: &str| Fault::usage(format!("CK_ADDRESS is set, but not {what}"), remedy);
    Ok(Some(Profile {
        address: address.parse().map_err(|why: String| Fault::usage(format!("CK_ADDRESS: {why}"), ""))?,
        ca: read_ca(Path::new(around.get(settings::CA).ok_or_else(|| missing("CK_CA"))?))?,
        environment: None,
        credential: credential.ok_or_else(|| missing("CK_API_KEY or CK_TOKEN"))?,
    }))
}

fn read_ca(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|error| Fault::local(format!("read {}", path.display()), error))
}

fn completion(shell: Shell) -> Vec<u8> {
    use clap_complete::{Shell as Known, generate};
    let shell = match shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "cratekube", &mut script);
    script
}
