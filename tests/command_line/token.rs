//! `cinequery token`.

use super::{cinequery, folder};

/// Returns which of the secrets signs a token that is issued with these settings.
fn signed_by<'a>(
    arguments: &[&str],
    environment: &[(&str, &str)],
    secrets: &[&'a str],
) -> Option<&'a str> {
    let folder = folder();
    std::fs::write(folder.path().join("file"), format!("{}\n", secrets[2])).unwrap();
    let mut command = cinequery(folder.path(), &[&["token", "joe"][..], arguments].concat());
    command.envs(environment.iter().copied());
    let token = String::from_utf8(command.output().unwrap().stdout).unwrap();
    secrets.iter().copied().find(|secret| {
        let secret = cinequery::identity::Secrets::parse(secret.as_bytes()).unwrap();
        let tokens = cinequery::identity::Tokens::new(&secret, std::time::Duration::from_secs(1));
        tokens.verify(token.trim()).is_ok()
    })
}

#[test]
fn secrets_of_flags_take_precedence_over_the_environment() {
    let [flag, variable, file] = ["f", "v", "o"].map(|letter| letter.repeat(32));
    let secrets = [flag.as_str(), &variable, &file];
    let in_variable = ("CINEQUERY_JWT_SECRET", variable.as_str());
    let in_file = ("CINEQUERY_JWT_SECRET_FILE", "file");
    let by_flag = ["--jwt-secret", flag.as_str()];
    let by_file = ["--jwt-secret-file", "file"];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Case<'_>; 8] = [
        (&by_flag, &[in_variable, in_file], Some(&flag)),
        (&by_file, &[in_variable], Some(&file)),
        (&by_file, &[("CINEQUERY_JWT_SECRET", "")], Some(&file)),
        (&[], &[in_variable], Some(&variable)),
        (&[], &[in_file], Some(&file)),
        (&[], &[in_file, ("CINEQUERY_JWT_SECRET", "")], Some(&file)),
        (&[], &[in_variable, in_file], None),
        (&[by_flag, by_file].concat(), &[], None),
    ];
    for (arguments, environment, expected) in cases {
        let found = signed_by(arguments, environment, &secrets);
        assert_eq!(found, expected, "{arguments:?} {environment:?}");
    }
}
