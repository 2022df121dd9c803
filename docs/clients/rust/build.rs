//! Has progenitor make a client of the document.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use progenitor::{GenerationSettings, Generator, InterfaceStyle};
use serde_json::Value;

const DOCUMENT: &str = "../../../openapi/v1.json";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let text = fs::read_to_string(DOCUMENT)?;
    // progenitor gives types to JSON alone, and a problem (RFC 9457) is JSON under another name.
    let mut document: Value =
        serde_json::from_str(&text.replace("application/problem+json", "application/json"))?;
    // It knows one type of error, and 304 would be an error without a body.
    for path in document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        for operation in path.as_object_mut().into_iter().flat_map(|path| path.values_mut()) {
            operation["responses"].as_object_mut().map(|responses| responses.remove("304"));
        }
    }
    let mut settings = GenerationSettings::new();
    settings.with_interface(InterfaceStyle::Builder);
    let client = Generator::new(&settings).generate_tokens(&serde_json::from_value(document)?)?;
    let code = prettyplease::unparse(&syn::parse2(client)?);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("client.rs"), code)?;
    Ok(())
}
