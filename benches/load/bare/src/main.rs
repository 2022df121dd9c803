//! The least that a program must do for the workloads of `make load`, as a measure for cinequery.

mod movie;
mod postgres;
mod sqlite;

use std::error::Error;

/// What can fail here ends the program.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "\
usage: cinequery-bare serve                       the service, on PostgreSQL; settings are in the environment
       cinequery-bare loop sqlx|rusqlite FILE STATEMENTS WORKLOAD SECONDS SEED
                                                  reads of a SQLite file without HTTP; prints CPU time
       cinequery-bare import FILE STATEMENT RECORDS [JOURNAL]
                                                  a prepared INSERT into a SQLite file for each line of a file";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve"] => postgres::serve(),
        ["loop", driver, file, statements, workload, seconds, seed] => {
            let workload = sqlite::Workload::of(workload, statements)?;
            let run = sqlite::Run { workload, seconds: seconds.parse()?, seed: seed.parse()? };
            println!("{}", run.measure(driver, file)?);
            Ok(())
        }
        ["import", file, statement, records] => sqlite::import(file, statement, records, None),
        ["import", file, statement, records, journal] => {
            sqlite::import(file, statement, records, Some(journal))
        }
        _ => Err(USAGE.into()),
    }
}
