//! Runs the service with fixed API keys instead of passwords and tokens. Start it with `cargo run --example
//! api_keys`, then run `curl -H 'Authorization: Bearer key-of-anna' http://127.0.0.1:8082/api/v1/movies`.

mod keys;

use std::collections::HashMap;
use std::time::Duration;

use cinequery::admission::{Admission, Proxies};
use cinequery::app::App;
use cinequery::identity::{Hasher, Identity, Role, Secrets, Tokens};
use cinequery::record::Catalogue;
use cinequery::store::{Location, Missing, Store};
use keys::Keys;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let location = Location::Sqlite(folder.path().join("keys.db"));
    let store = Store::open(location, Missing::Create).await?;
    let catalogue = Catalogue::built_in();
    store.migrate(catalogue.schemas()).await?;
    let anna =
        Identity { subject: "anna".to_owned(), scopes: Role::Editor.scopes(catalogue.schemas()) };
    let keys = Keys(HashMap::from([("key-of-anna", anna)]));
    let tokens = Tokens::new(&Secrets::generate()?, Duration::from_secs(3600));
    let admission = Admission::local("600/min".parse()?, Proxies::default());
    let app = App::new(catalogue, store, Box::new(keys), tokens, Hasher::new(), admission);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8082").await?;
    println!("http://{}", listener.local_addr()?);
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    cinequery::http::serve(listener, app, stop).await?;
    Ok(())
}
