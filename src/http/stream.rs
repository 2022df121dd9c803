//! Streamed responses: records are written while they are read from the database.

use bytes::Bytes;
use futures_util::stream;
use poem::Body;

use crate::app::transfer::Export;
use crate::error::Result;

/// The part of a body that is written next.
enum Stage {
    Start,
    Records,
    Done,
}

/// Returns a body that holds one part at a time in memory. If the database fails during the transfer, the body is
/// aborted: the last chunk or the regular end of the connection is missing, so that clients detect it.
pub(super) fn streamed(export: Export) -> Body {
    Body::from_bytes_stream(stream::try_unfold(
        (export, Stage::Start),
        async |(mut export, stage)| {
            let step = next(&mut export, stage).await;
            let step = step.inspect_err(|error| {
                let cause = error.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::error!(
                    code = error.kind.code(),
                    cause,
                    "response aborted; the client has an incomplete file or list"
                );
            });
            match step {
                Ok(Some((bytes, stage))) => Ok(Some((bytes, (export, stage)))),
                Ok(None) => Ok(None),
                Err(error) => Err(std::io::Error::other(error)),
            }
        },
    ))
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
