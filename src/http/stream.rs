//! Responses that are written while the records are read.

use bytes::Bytes;
use futures_util::stream;
use poem::Body;

use crate::app::transfer::Export;
use crate::error::Result;

/// Where the writing of a body is.
enum Stage {
    Head,
    Records,
    Done,
}

/// A body of which one part at a time is in memory. When the database fails on the way the body
/// breaks off without its end (of the chunked coding, or of the connection), so that its reader
/// cannot take it for the whole.
pub(super) fn streamed(export: Export) -> Body {
    Body::from_bytes_stream(stream::try_unfold(
        (export, Stage::Head),
        async |(mut export, stage)| {
            let step = next(&mut export, stage).await;
            let step = step.inspect_err(|error| {
                let cause = error.cause.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::error!(code = error.kind.code(), cause, "a response broke off");
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
        Stage::Head => Some((export.head()?.into(), Stage::Records)),
        Stage::Records => Some(match export.next().await? {
            Some(part) => (part.bytes.into(), Stage::Records),
            None => (Bytes::from_static(export.tail()), Stage::Done),
        }),
        Stage::Done => None,
    })
}
