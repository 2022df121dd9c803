//! The service with a second record type: `cargo run --example screenings`, then open
//! <http://127.0.0.1:8081/docs>.

mod screening;

use std::time::Duration;

use cinequery::admission::{Admission, Limits, Proxies};
use cinequery::app::App;
use cinequery::identity::{Hasher, Open, Secrets, Tokens};
use cinequery::record::{Movie, Records};
use cinequery::store::{Location, Missing, Store};
use screening::Screening;

type Catalogue = (Movie, Screening);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let location = Location::Sqlite(folder.path().join("screenings.db"));
    let store = Store::open(location, Missing::Create).await?;
    let schemas = Catalogue::schemas();
    store.migrate(&screening::migrations(), &schemas).await?;
    let tokens = Tokens::new(&Secrets::generate()?, Duration::from_secs(3600));
    let unlimited = Admission::local(Limits::NONE, Proxies::default());
    let app = App::new(store, Box::new(Open::new(&schemas)), tokens, Hasher::new(), unlimited);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8081").await?;
    println!("http://{}/docs", listener.local_addr()?);
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    cinequery::http::serve::<Catalogue>(listener, app, stop).await?;
    Ok(())
}
