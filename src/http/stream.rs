//! Streamed responses: records are written while they are read from the database.

use bytes::Bytes;
use futures_util::stream;
use poem::Body;

use crate::app::transfer::Export;
use crate::error::Result;
use crate::telemetry::account::Account;

/// The part of a body that is written next.
enum Stage {
    Start,
    Records,
    Done,
}

/// Returns a body that holds one part at a time in memory. If the database fails during the transfer, the body is
/// aborted: the last chunk or the regular end of the connection is missing, so that clients detect it.
pub(super) fn streamed(export: Export) -> Body {
    let account = Account::current();
    let start = (export, Stage::Start);
    Body::from_bytes_stream(stream::try_unfold(start, move |(mut export, stage)| {
        let account = account.clone();
        async move {
            // The server polls the body outside of the request.
            let step = match account {
                Some(account) => account.within(next(&mut export, stage)).await,
                None => next(&mut export, stage).await,
            };
            match step {
                Ok(Some((bytes, stage))) => Ok(Some((bytes, (export, stage)))),
                Ok(None) => Ok(None),
                Err(error) => Err(std::io::Error::other(error)),
            }
        }
    }))
}

async fn next(export: &mut Export, stage: Stage) -> Result<Option<(Bytes, Stage)>> {
    Ok(match stage {
        Stage::Start => Some((export.head()?.into(), Stage::Records)),
        Stage::Records => Some(match export.next().await? {
            Some(part) => (part.bytes.into(), Stage::Records),
            None => (Bytes::from_static(export.tail()), Stage::Done),
        }),
        Stage::Done => None,
    })
}
