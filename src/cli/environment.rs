//! Rejects unknown environment variables of the service. A misspelt one would silently have no effect.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;

use super::Cli;
use crate::config::SECRET_VARIABLES;
use crate::query::diagnostic::nearest;

/// The start of the names of all variables of the service.
const PREFIX: &str = "CINEQUERY_";

/// Checks the variables of the process.
///
/// # Errors
/// A message that names each unknown variable, and the one that was probably intended.
pub(super) fn check() -> Result<(), String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let problems = problems(&names.filter(|name| name.starts_with(PREFIX)).collect());
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn problems(names: &BTreeSet<String>) -> Vec<String> {
    let known = known();
    let is_known = |name: &String| {
        known.values().any(|known| known == name) || OF_CLIENTS.contains(&name.as_str())
    };
    let unknown = names.iter().filter(|name| !is_known(name) && !is_service_link(name, names));
    let problem = |name: &String| {
        let nearest = nearest(&short(name), known.keys().map(String::as_str));
        let help = match nearest.and_then(|nearest| known.get(nearest)) {
            Some(variable) => format!("did you mean {variable}?"),
            None => "remove it; `cinequery serve --help` lists the variables".to_owned(),
        };
        format!("unknown environment variable {name}; {help}")
    };
    unknown.map(problem).collect()
}

/// Returns the name without the prefix that all variables have, in lower case.
fn short(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase()
}

/// Returns the variables that the subcommands read, by their short names and by the names of their flags: an operator
/// may guess CINEQUERY_DATABASE from `--database`.
fn known() -> BTreeMap<String, String> {
    fn collect(command: &clap::Command, names: &mut BTreeMap<String, String>) {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env() else { continue };
            let variable = variable.to_string_lossy().into_owned();
            let flag = argument.get_long().unwrap_or_default().replace('-', "_");
            names.extend([(short(&variable), variable.clone()), (flag, variable)]);
        }
        command.get_subcommands().for_each(|command| collect(command, names));
    }
    let mut names: BTreeMap<String, String> =
        SECRET_VARIABLES.map(|variable| (short(variable), variable.to_owned())).into();
    collect(&Cli::command(), &mut names);
    names
}

/// The variables of the client programs in docs/clients, which an operator may have exported.
const OF_CLIENTS: [&str; 3] = ["CINEQUERY_URL", "CINEQUERY_USERNAME", "CINEQUERY_PASSWORD"];

/// Returns whether Kubernetes sets the variable. It describes each Service of the namespace by variables of each
/// container, and those of a Service `cinequery` or `cinequery-redis` have the prefix of the settings.
fn is_service_link(name: &str, names: &BTreeSet<String>) -> bool {
    let is_of = |service: &str| {
        let Some(rest) = name.strip_prefix(service) else { return false };
        ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].contains(&rest)
            || ["_SERVICE_PORT_", "_PORT_"].iter().any(|start| rest.starts_with(start))
    };
    // The variable with the host shows that such a Service exists.
    let mut others = names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    is_of("CINEQUERY") || others.any(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_reported_except_service_links() {
        let cases: &[(&str, &str)] = &[
            ("CINEQUERY_LISTEN", ""),
            ("CINEQUERY_JWT_SECRET_FILE", ""),
            ("CINEQUERY_LOG", ""),
            ("CINEQUERY_PASSWORD", ""),
            ("CINEQUERY_RATELIMIT", "did you mean CINEQUERY_RATE_LIMIT?"),
            ("CINEQUERY_DATABASE", "did you mean CINEQUERY_DATABASE_URL?"),
            ("CINEQUERY_JWT_SECRETS", "did you mean CINEQUERY_JWT_SECRET?"),
            ("CINEQUERY_REDIS", "did you mean CINEQUERY_REDIS_URL?"),
            ("CINEQUERY_COLOUR", "remove it"),
            ("CINEQUERY_", "remove it"),
            ("CINEQUERY_SERVICE_HOST", ""),
            ("CINEQUERY_SERVICE_PORT", ""),
            ("CINEQUERY_SERVICE_PORT_HTTP", ""),
            ("CINEQUERY_PORT", ""),
            ("CINEQUERY_PORT_80_TCP_ADDR", ""),
            ("CINEQUERY_REDIS_SERVICE_HOST", ""),
            ("CINEQUERY_REDIS_PORT_6379_TCP", ""),
            // No CINEQUERY_LISTEN_SERVICE_HOST, so this is not a link.
            ("CINEQUERY_LISTEN_PORT", "remove it"),
        ];
        let names = cases.iter().map(|(name, _)| (*name).to_owned()).collect();
        let problems = problems(&names);
        for (name, expected) in cases {
            let start = format!("unknown environment variable {name};");
            let problem = problems.iter().find(|problem| problem.starts_with(&start));
            assert_eq!(problem.is_some(), !expected.is_empty(), "{name}");
            assert!(problem.is_none_or(|problem| problem.contains(expected)), "{problem:?}");
        }
    }
}
