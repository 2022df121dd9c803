//! `cinequery healthcheck`.

use std::io::Write;
use std::net::TcpListener;
use std::process::Output;

use super::{Service, cinequery, folder, run};

/// Asks as a container's engine would.
fn healthcheck(arguments: &[&str], listen: Option<&str>) -> (i32, String) {
    let mut command = cinequery(&std::env::temp_dir(), &[&["healthcheck"], arguments].concat());
    command.envs(listen.map(|listen| ("CINEQUERY_LISTEN", listen)));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn a_service_is_asked_whether_it_can_serve() {
    // On every address, as in a container; it is asked over loopback.
    for any in ["0.0.0.0", "[::]"] {
        let folder = folder();
        let listen = format!("{any}:0");
        let arguments =
            ["serve", "--auth", "open", "--allow-open", "--no-migrate", "--listen", &listen];
        let service = Service::start(cinequery(folder.path(), &arguments));
        let listen = format!("{any}:{}", service.address.rsplit(':').next().unwrap());
        let (code, said) = healthcheck(&["--listen", &listen], None);
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("/readyz answered 503 Service Unavailable"), "{said}");
        assert_eq!(run(folder.path(), &["migrate"]).0, 0);
        assert_eq!(healthcheck(&["--listen", &listen], None), (0, String::new()));
        assert_eq!(healthcheck(&[], Some(&listen)), (0, String::new()));
        assert_eq!(service.stop(), Some(0));
        let (code, said) = healthcheck(&[], Some(&listen));
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
        assert!(said.contains("cannot be asked: Connection refused"), "{said}");
    }
}

#[test]
fn what_answers_like_no_service_is_not_ready() {
    let listener = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        (listener, listen)
    };
    // Connections wait in its queue.
    let (_silent, listen) = listener();
    let (code, said) = healthcheck(&[], Some(&listen));
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("has not answered within"), "{said}");
    let (other, listen) = listener();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"220 mail.example ready\r\n").unwrap();
    });
    let (code, said) = healthcheck(&[], Some(&listen));
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("cannot be asked: "), "{said}");
    other.join().unwrap();
}
