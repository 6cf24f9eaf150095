//! `witgate plugin test`: runs case folders, and hostile traffic, through a plugin in the real
//! pipeline.

mod case; // the format of case folders
mod compare; // what differs from a case
mod cut; // truncated streams
mod diff; // differences line by line
mod hostile; // traffic that is unusual but legal
mod find; // the plugin and the cases of a folder
mod message; // a message as a client reads it
mod outcome; // what an exchange came to
mod stage; // the gateway that the exchanges run through

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Code, Failure, print};

use case::Case;
use find::Subject;
use outcome::Outcome;
use stage::Stages;

#[derive(Args)]
pub(in crate::cli) struct TestArgs {
    /// A project of a plugin, or a folder of cases
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The plugin: a component, or the name of a built-in plugin [default: what the project has
    /// built]
    #[arg(long, value_name = "FILE|NAME")]
    plugin: Option<String>,
    /// Run the cases whose names contain this
    #[arg(long = "case", value_name = "WORD", default_value = "")]
    word: String,
    /// Write the results into the cases instead of comparing them
    #[arg(long, conflicts_with = "hostile")]
    bless: bool,
    /// Send unusual but legal traffic instead of the cases, and check what holds for every plugin
    #[arg(long, conflicts_with_all = ["no_cuts", "word"])]
    hostile: bool,
    /// Do not cut the streams of the cases
    #[arg(long)]
    no_cuts: bool,
}

/// How a case ended.
enum Ended {
    Passed {
        cuts: usize,
    },
    Blessed,
    Ignored(String),
    /// What is wrong, in lines.
    Failed(Vec<String>),
}

pub(super) fn run(args: &TestArgs) -> Result<(), Failure> {
    let subject = find::subject(&args.folder, args.plugin.as_deref())?;
    let mut stages = Stages::new(&subject);
    match args.hostile {
        true => run_hostile(args, &mut stages),
        false => run_cases(args, &mut stages),
    }
}

fn run_hostile(args: &TestArgs, stages: &mut Stages<'_>) -> Result<(), Failure> {
    let folder = find::cases(&args.folder);
    let defaults = Case {
        folder: folder.join(case::DEFAULT),
    };
    let profile = match defaults.folder.is_dir() {
        false => hostile::Profile::default(),
        true => {
            let cases = case::all(&folder).unwrap_or_default();
            let read = hostile::Profile::of(&defaults, &cases);
            read.map_err(|why| Failure::new(Code::Arguments, why))?
        }
    };
    match hostile::run(stages, profile)? {
        0 => Ok(()),
        failed => {
            let what = format!("{failed} of {} checks found something", hostile::count());
            Err(Failure::new(Code::Other, what))
        }
    }
}

fn run_cases(args: &TestArgs, stages: &mut Stages<'_>) -> Result<(), Failure> {
    let folder = find::cases(&args.folder);
    let cases = case::all(&folder).map_err(|error| {
        Failure::new(Code::Arguments, format!("`{}`: {error}", folder.display()))
    })?;
    let wanted: Vec<Case> = cases
        .into_iter()
        .filter(|case| case.name().contains(&args.word))
        .collect();
    if wanted.is_empty() {
        let what = format!("no cases in `{}`", folder.display());
        return Err(Failure::new(Code::Arguments, what).hint("docs/cases.md describes a case"));
    }
    let mut failed = 0;
    for case in &wanted {
        let ended = run_case(case, args, stages)?;
        failed += usize::from(matches!(ended, Ended::Failed(_)));
        print(&ended.line(case.name()))?;
    }
    match failed {
        0 => print(&format!("\n{} cases\n", wanted.len())),
        _ => {
            let what = format!("{failed} of {} cases failed", wanted.len());
            let hint = "if the results are right, `--bless` writes them into the cases";
            Err(Failure::new(Code::Other, what).hint(hint))
        }
    }
}

/// Runs one case. Only a gateway that cannot be started is a failure of the command.
fn run_case(case: &Case, args: &TestArgs, stages: &mut Stages<'_>) -> Result<Ended, Failure> {
    if let Some(reason) = case.own("ignored.txt") {
        return Ok(Ended::Ignored(reason.trim().to_owned()));
    }
    let (exchange, stage) = match stages.of(case)? {
        Ok(ready) => ready,
        Err(why) => return Ok(Ended::Failed(vec![why])),
    };
    let outcome = stage.run(&exchange)?;
    if args.bless {
        return Ok(match compare::bless(case, &outcome) {
            Ok(()) => Ended::Blessed,
            Err(why) => Ended::Failed(vec![why]),
        });
    }
    let mut wrong = case.flaws();
    match compare::differences(case, &outcome) {
        Ok(differences) => wrong.extend(differences.iter().map(compare::Difference::show)),
        Err(why) => wrong.push(why),
    }
    let mut cuts = 0;
    if wrong.is_empty() && !args.no_cuts {
        match stage.cut(&exchange, &outcome, cut::EVERY_BYTE)? {
            Ok(count) => cuts = count,
            Err(flaw) => wrong.push(flaw),
        }
    }
    Ok(match wrong.is_empty() {
        true => Ended::Passed { cuts },
        false => Ended::Failed(wrong),
    })
}

impl Ended {
    fn line(&self, name: &str) -> String {
        match self {
            Self::Passed { cuts: 0 } => format!("ok       {name}\n"),
            Self::Passed { cuts } => format!("ok       {name} (cut at {cuts} places)\n"),
            Self::Blessed => format!("blessed  {name}\n"),
            Self::Ignored(why) => format!("ignored  {name}: {why}\n"),
            Self::Failed(wrong) => {
                let wrong = wrong.iter().flat_map(|wrong| wrong.lines());
                let lines: String = wrong.map(|line| format!("    {line}\n")).collect();
                format!("FAILED   {name}\n{lines}")
            }
        }
    }
}
