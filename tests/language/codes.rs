//! The pages about codes: there is one for each code, and its examples have the documented results.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

use chrono::Utc;
use cinequery::query::{Argument, Arguments, Code, Diagnostic, prepare};

use crate::support::movies;

/// Codes whose pages have no example: a text beyond these limits would be too long to read.
const WITHOUT_EXAMPLE: &[Code] =
    &[Code::TextTooLong, Code::TooDeep, Code::TooManyPredicates, Code::TooManyItems];

#[test]
fn every_code_has_a_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/codes");
    let read = |name: &str| read_to_string(folder.join(name)).unwrap();
    let files: BTreeSet<String> = read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let pages = Code::ALL.iter().map(|(code, _)| format!("{}.md", code.as_str()));
    assert_eq!(files, pages.chain(["README.md".to_owned()]).collect());

    let list = read("README.md");
    for (code, meaning) in Code::ALL {
        let name = code.as_str();
        let row = format!("| [`{name}`]({name}.md) |{meaning} |");
        assert!(list.contains(&row), "grammar/codes/README.md should have: {row}");
        let page = read(&format!("{name}.md"));
        let start = format!("# {name}\n\n{}\n\n", meaning.trim());
        assert!(page.starts_with(&start), "{name}.md should start with: {start}");
        let mut has_example = false;
        for (kind, text) in examples(&page) {
            let found = validate(text, kind.ends_with(" order_by"));
            let found = found.as_ref().map(|found| codes(found)).map_err(|found| codes(found));
            let own = BTreeSet::from([name]);
            let expected = match kind.split(' ').next() {
                Some("rejected") => Err(own),
                Some("warned") => Ok(own),
                Some("accepted") => Ok(BTreeSet::new()),
                _ => panic!("{name}.md has an unknown kind of block: {kind}"),
            };
            assert_eq!(found, expected, "{name}.md, {kind}: {text}");
            has_example |= !kind.starts_with("accepted");
        }
        assert_eq!(has_example, !WITHOUT_EXAMPLE.contains(code), "{name}.md has an example");
    }
}

/// Returns the fenced blocks, each with the words after its fence.
fn examples(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("```").skip(1).step_by(2).map(|block| {
        let (kind, text) = block.split_once('\n').unwrap();
        (kind, text.strip_suffix('\n').unwrap())
    })
}

/// Returns the warnings of an example, or its problems if it is rejected.
fn validate(example: &str, is_order: bool) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let (values, lines): (Vec<&str>, Vec<&str>) =
        example.lines().partition(|line| line.starts_with("p."));
    let arguments: Arguments = values
        .iter()
        .map(|line| {
            let (name, value) = line.strip_prefix("p.").unwrap().split_once(" = ").unwrap();
            (name.to_owned(), Argument::Untyped(value.to_owned()))
        })
        .collect();
    let text = lines.join("\n");
    let (filter, order_by) =
        if is_order { (None, Some(text.as_str())) } else { (Some(text.as_str()), None) };
    let prepared = prepare(filter, order_by, movies())?;
    prepared.bind(&arguments, Utc::now())?;
    Ok(prepared.warnings)
}

fn codes(found: &[Diagnostic]) -> BTreeSet<&'static str> {
    found.iter().map(|problem| problem.code.as_str()).collect()
}
