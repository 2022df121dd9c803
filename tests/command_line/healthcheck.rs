//! `cinequery healthcheck`.

use std::io::Write;
use std::net::TcpListener;
use std::process::Output;

use super::{Service, cinequery, folder, run};

/// Runs the check as a container engine does.
fn healthcheck(arguments: &[&str], listen: Option<&str>) -> (i32, String) {
    let mut command = cinequery(&std::env::temp_dir(), &[&["healthcheck"], arguments].concat());
    command.envs(listen.map(|listen| ("CINEQUERY_LISTEN", listen)));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let output = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(output).unwrap())
}

#[test]
fn the_check_reports_whether_a_service_is_ready() {
    // The first two are all IP addresses of a host, as in a container. The check uses loopback.
    for any in ["0.0.0.0", "[::]", "localhost"] {
        let folder = folder();
        let listen = format!("{any}:0");
        let arguments =
            ["serve", "--auth", "open", "--allow-open", "--no-migrate", "--listen", &listen];
        let service = Service::start(cinequery(folder.path(), &arguments));
        let listen = format!("{any}:{}", service.address.rsplit(':').next().unwrap());
        let (code, output) = healthcheck(&["--listen", &listen], None);
        assert_eq!((code, output.lines().count()), (1, 1), "{output}");
        assert!(output.contains("/readyz returned 503 Service Unavailable"), "{output}");
        assert_eq!(run(folder.path(), &["migrate"]).0, 0);
        assert_eq!(healthcheck(&["--listen", &listen], None), (0, String::new()));
        assert_eq!(healthcheck(&[], Some(&listen)), (0, String::new()));
        assert_eq!(service.stop(), Some(0));
        let (code, output) = healthcheck(&[], Some(&listen));
        assert_eq!((code, output.lines().count()), (1, 1), "{output}");
        assert!(output.contains("cannot be reached: Connection refused"), "{output}");
    }
}

#[test]
fn another_program_on_the_port_is_not_ready() {
    let listener = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        (listener, listen)
    };
    // It never accepts the connection.
    let (_silent, listen) = listener();
    let (code, output) = healthcheck(&[], Some(&listen));
    assert_eq!((code, output.lines().count()), (1, 1), "{output}");
    assert!(output.contains("did not respond within"), "{output}");
    let (other, listen) = listener();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"220 mail.example ready\r\n").unwrap();
    });
    let (code, output) = healthcheck(&[], Some(&listen));
    assert_eq!((code, output.lines().count()), (1, 1), "{output}");
    assert!(output.contains("cannot be reached: "), "{output}");
    other.join().unwrap();
}
