//! Measures failed sign-ins with an unknown name and with a wrong password. Their medians must not differ, or
//! the time would reveal which users exist. Run it with `cargo bench --bench sign_in`.

use std::time::{Duration, Instant};

use cinequery::admission::{Admission, Limits, Proxies};
use cinequery::app::App;
use cinequery::clock::timestamp_now;
use cinequery::identity::{Credentials, Hasher, Passwords, Secrets, Tokens};
use cinequery::record::Catalogue;
use cinequery::store::{Location, Missing, Store};

/// Returns the number of attempts of each kind. `cargo test` runs this only to see that it works, so then it
/// is one.
fn attempts() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { 500 } else { 1 }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let location = Location::Sqlite(folder.path().join("users.db"));
    let store = Store::open(location, Missing::Create).await?;
    store.migrate(Catalogue::built_in().schemas()).await?;
    let hasher = Hasher::new();
    let hash = hasher.hash("correct horse battery".to_owned()).await?;
    store.add_user("anna", &hash, "viewer", timestamp_now()).await?;
    let provider = Passwords::new(store.clone(), hasher.clone(), Catalogue::built_in().schemas());
    let tokens = Tokens::new(&Secrets::generate()?, Duration::from_secs(60));
    let unlimited = Admission::local(Limits::NONE, Proxies::default());
    let app = App::new(Catalogue::built_in(), store, Box::new(provider), tokens, hasher, unlimited);
    let attempts = attempts();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..attempts {
        for (name, times) in ["anna", "unknown"].into_iter().zip(&mut times) {
            let password = Some("wrong horse battery".to_owned());
            let credentials = Credentials { username: name.to_owned(), password };
            let started = Instant::now();
            let rejected = app.sign_in(credentials, None, [127, 0, 0, 1].into()).await;
            times.push(started.elapsed());
            assert!(rejected.is_err());
        }
    }
    let [wrong, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times.get(attempts / 2).copied().unwrap_or_default()
    });
    let ratio = unknown.as_secs_f64() / wrong.as_secs_f64();
    println!("{attempts} attempts each, alternating; medians:");
    println!("wrong password {wrong:?}, unknown name {unknown:?}, ratio {ratio:.4}");
    Ok(())
}
