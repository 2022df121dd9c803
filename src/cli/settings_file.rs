//! The file of settings, which has the names of the flags as keys. A flag and an environment variable take precedence.
//!
//! A setting of the file becomes a flag in front of those that were given, so that it is validated and described as they
//! are. Of a repeated flag the last one counts.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};
use toml::{Table, Value};

use crate::config::SECRET_VARIABLES;
use crate::query::diagnostic::did_you_mean;

/// The flag and the environment variable that name the file.
const FLAG: &str = "--config";
const VARIABLE: &str = "CINEQUERY_CONFIG";

/// The maximum length of the file.
const MAX_BYTES: u64 = 1 << 20;

/// The arguments with which a command prints something and ends. The file does not matter to them.
const HELP: [&str; 6] = ["help", "--help", "-h", "--version", "-V", "completions"];

/// The setting of secrets, which has variables of its own.
const SECRET_FILE: &str = "jwt-secret-file";

/// Adds the settings of the file to the arguments of the process, if there is one.
///
/// # Errors
/// A message if the file cannot be read, or has an unknown or malformed setting.
pub(super) fn add(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let given = arguments.iter().take_while(|argument| *argument != "--");
    if given.into_iter().any(|argument| HELP.iter().any(|help| argument == help)) {
        return Ok(arguments);
    }
    // So that subcommands have the flags of all commands too.
    let mut command = command.clone();
    command.build();
    let Given { subcommand, at, path } = Given::of(&command, &arguments);
    let Some(path) = path else { return Ok(arguments) };
    let failed = |error: String| format!("{FLAG}: {}: {error}", path.display());
    let text = read(&path).map_err(|error| failed(error.to_string()))?;
    let settings: Table = text.parse().map_err(|error| failed(mistake(&text, &error)))?;
    let (mut of_all, mut own) = (Vec::new(), Vec::new());
    let rest = arguments.get(at..).unwrap_or_default();
    let is_given = |variable: &str| std::env::var_os(variable).is_some();
    // An empty variable is no secret.
    let has_secret = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    for (name, value) in &settings {
        let setting = setting(&command, name).map_err(failed)?;
        let flags = flags(&setting, name, value);
        let flags = flags.map_err(|problem| failed(format!("{name}: {problem}")))?;
        let is_known = |argument: &clap::Arg| argument.get_long() == Some(name);
        let is_secret = name == SECRET_FILE;
        let is_overridden = setting.variable.as_deref().is_some_and(is_given)
            || is_secret && SECRET_VARIABLES.into_iter().any(has_secret)
            || is_secret && rest.iter().any(|argument| is_flag(argument, "--jwt-secret"));
        if subcommand.get_arguments().any(is_known) && !is_overridden {
            let list = if setting.is_of_all { &mut of_all } else { &mut own };
            list.extend(flags.map(OsString::from));
        }
    }
    let mut arguments = arguments.into_iter();
    let program: Vec<OsString> = arguments.by_ref().take(1).collect();
    let before: Vec<OsString> = arguments.by_ref().take(at.saturating_sub(1)).collect();
    Ok(program.into_iter().chain(of_all).chain(before).chain(own).chain(arguments).collect())
}

/// Reads the file, which may be a device without an end.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("the file exceeds {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Returns a mistake in the file with its line. The line itself could have a password.
fn mistake(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn is_flag(argument: &OsStr, flag: &str) -> bool {
    let rest = argument.to_str().and_then(|text| text.strip_prefix(flag));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// What the arguments of the process say.
struct Given<'c> {
    subcommand: &'c Command,
    /// The position after the name of the subcommand.
    at: usize,
    /// The file of settings, which the environment can name too.
    path: Option<PathBuf>,
}

impl<'c> Given<'c> {
    fn of(command: &'c Command, arguments: &[OsString]) -> Self {
        let path = std::env::var_os(VARIABLE);
        let mut given = Self { subcommand: command, at: arguments.len().min(1), path: None };
        let mut path = path.filter(|path| !path.is_empty());
        let mut rest = arguments.iter().enumerate().skip(1);
        while let Some((position, argument)) = rest.next() {
            let text = argument.to_str().unwrap_or_default();
            if text == "--" {
                break;
            }
            if let Some(inner) = given.subcommand.find_subcommand(argument) {
                (given.subcommand, given.at) = (inner, position + 1);
            } else if let Some(flag) = text.strip_prefix("--") {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, Some(OsString::from(value))),
                    None => (flag, None),
                };
                let known = given.subcommand.get_arguments();
                let takes_value = known
                    .filter(|argument| argument.get_long() == Some(name))
                    .any(|argument| argument.get_action().takes_values());
                let value = match takes_value {
                    // The next argument is not a subcommand, whatever it says.
                    true => value.or_else(|| rest.next().map(|(_, value)| value.clone())),
                    false => None,
                };
                if is_flag(argument, FLAG) {
                    path = value;
                }
            }
        }
        given.path = path.map(PathBuf::from);
        given
    }
}

/// What is known about a setting.
struct Setting {
    variable: Option<String>,
    /// Whether all commands have it.
    is_of_all: bool,
    is_switch: bool,
}

/// Finds a setting among the flags of all subcommands.
///
/// # Errors
/// A message that names the setting that was probably intended.
fn setting(command: &Command, name: &str) -> Result<Setting, String> {
    fn collect<'c>(command: &'c Command, all: &mut Vec<&'c clap::Arg>) {
        all.extend(command.get_arguments());
        command.get_subcommands().for_each(|command| collect(command, all));
    }
    let mut all = Vec::new();
    collect(command, &mut all);
    // The settings are the flags with an environment variable.
    let is_setting = |argument: &&clap::Arg| {
        let name = argument.get_long();
        name == Some(SECRET_FILE) || argument.get_env().is_some() && name != Some("config")
    };
    all.retain(is_setting);
    let found = all.iter().find(|argument| argument.get_long() == Some(name));
    let found = found.ok_or_else(|| {
        let names: BTreeSet<&str> = all.iter().filter_map(|argument| argument.get_long()).collect();
        format!("unknown setting {name:?}; {}", did_you_mean(name, names.iter().copied()))
    })?;
    let variable = found.get_env().map(|variable| variable.to_string_lossy().into_owned());
    let is_switch = matches!(found.get_action(), ArgAction::SetTrue);
    Ok(Setting { variable, is_of_all: found.is_global_set(), is_switch })
}

/// Returns the flag of a setting; none for a switch that is off.
fn flags(
    setting: &Setting,
    name: &str,
    value: &Value,
) -> Result<impl Iterator<Item = String> + use<>, String> {
    let flag = match (setting.is_switch, value) {
        (true, Value::Boolean(is_on)) => is_on.then(|| format!("--{name}")),
        (true, _) => return Err("expected true or false".to_owned()),
        (false, value) => Some(format!("--{name}={}", text(value)?)),
    };
    Ok(flag.into_iter())
}

/// Returns a value as the flag has it.
fn text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) => {
            let items = items.iter().map(text).collect::<Result<Vec<String>, String>>()?;
            items.join(",")
        }
        _ => return Err("expected a text, a number, or a list of texts".to_owned()),
    })
}
