//! `cinequery export`.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::{MOVIES, cinequery, folder, run};
use crate::support::on_both;

/// The name of a file decides its format and compression.
#[tokio::test]
async fn exported_movies_can_be_imported() {
    on_both(async |database| {
        let folder = folder();
        let url = database.url();
        std::fs::write(folder.path().join("movies.ndjson"), MOVIES).unwrap();
        let loaded = run(folder.path(), &["import", "movies.ndjson", "--database", &url]);
        assert_eq!(loaded.0, 0, "{}", loaded.2);
        let (code, whole, log) = run(folder.path(), &["export", "--database", &url]);
        assert_eq!((code, log.as_str()), (0, "3 exported\n"));
        let movies = |text: &str| -> Vec<[serde_json::Value; 2]> {
            let movies = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let movies = movies.map(|movie: serde_json::Value| {
                [movie["title"].clone(), movie["expiry_date"].clone()]
            });
            movies.collect()
        };
        assert_eq!(movies(&whole).len(), 3);
        for name in ["a.ndjson", "a.csv", "a.ndjson.gz", "a.CSV.GZ", "a"] {
            let (code, out, log) = run(folder.path(), &["export", name, "--database", &url]);
            assert_eq!((code, out.as_str()), (0, ""), "{log}");
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
            assert_eq!(is_gzip, name.to_lowercase().ends_with("gz"), "{name}");
            let other = ["--database", "sqlite:other.db"];
            let (code, _, log) = run(folder.path(), &[&["import", name][..], &other].concat());
            assert!(code == 0 && log.contains("3 created"), "{name}: {log}");
            let (_, again, _) = run(folder.path(), &[&["export"][..], &other].concat());
            assert_eq!(movies(&again), movies(&whole), "{name}");
            std::fs::remove_file(folder.path().join("other.db")).unwrap();
        }
        // The format of a stream is set with --format.
        let csv = ["export", "-", "--format", "csv", "--filter", "title = $t", "--param", "t=Two"];
        let (_, csv, log) = run(folder.path(), &[&csv[..], &["--database", &url]].concat());
        assert_eq!((csv.lines().count(), log.as_str()), (2, "1 exported\n"));
        let stream = ["import", "-", "--format", "csv", "--database", "sqlite:third.db"];
        let mut process = cinequery(folder.path(), &stream);
        let mut process = process.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), csv.as_bytes()).unwrap();
        let log = String::from_utf8(process.wait_with_output().unwrap().stderr).unwrap();
        assert!(log.contains("1 created"), "{log}");
        let (code, _, log) =
            run(folder.path(), &["export", "no/such/file.csv", "--database", &url]);
        assert_eq!(
            (code, log.as_str()),
            (1, "cinequery: no/such/file.csv: the folder no/such does not exist\n")
        );
        // A file that cannot be completed does not appear, and an existing file stays.
        std::fs::write(folder.path().join("kept.csv"), "kept").unwrap();
        for name in ["kept.csv", "new.csv"] {
            let wrong = ["export", name, "--filter", "gnre = 1", "--database", &url];
            let (code, _, log) = run(folder.path(), &wrong);
            assert!(code == 1 && log.contains("did you mean \"genre\"?"), "{log}");
        }
        assert_eq!(std::fs::read(folder.path().join("kept.csv")).unwrap(), b"kept");
        let is_left = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            name == "new.csv" || name.to_string_lossy().starts_with(".tmp")
        };
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().flatten().filter(is_left).collect();
        assert!(left.is_empty(), "{left:?}");
    })
    .await;
}

/// A symbolic link stays, and its target keeps its permissions.
#[test]
fn an_export_writes_the_target_of_a_link() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(run(folder.path(), &["migrate"]).0, 0);
    std::fs::write(at("secret.csv"), "old").unwrap();
    std::fs::set_permissions(at("secret.csv"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("secret.csv", at("link.csv")).unwrap();
    assert_eq!(run(folder.path(), &["export", "link.csv"]).0, 0);
    assert!(std::fs::symlink_metadata(at("link.csv")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(at("secret.csv")).unwrap().starts_with("id,title,"));
    let mode = std::fs::metadata(at("secret.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
