//! `cinequery guide`.

use super::{folder, run};

#[test]
fn the_manual_is_written_as_files() {
    let folder = folder();
    let (code, _, log) = run(folder.path(), &["guide", "manual/html"]);
    assert_eq!(code, 0, "{log}");
    let page = std::fs::read_to_string(folder.path().join("manual/html/tour.html")).unwrap();
    assert!(page.contains("<h1 id=\"a-tour\">A tour</h1>"));
    assert!(folder.path().join("manual/html/guide.css").exists());
    std::fs::write(folder.path().join("file"), "").unwrap();
    let (code, _, log) = run(folder.path(), &["guide", "file"]);
    assert!(code == 1 && log.contains("file: "), "{log}");
}
