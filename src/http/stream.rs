//! Answers that are written while the records are read.

use bytes::Bytes;
use futures_util::stream;
use poem::Body;

use crate::app::transfer::Export;
use crate::error::Result;
use crate::record::Record;

/// How pages of records become a body.
pub(super) trait Framing<R>: Send + 'static {
    /// What stands before them.
    fn head(&mut self) -> Result<Bytes>;

    /// A page.
    fn page(&mut self, records: &[R]) -> Result<Bytes>;

    /// What stands behind them.
    fn tail(&mut self) -> Bytes;
}

/// Where the writing of a body is.
enum Stage {
    Head,
    Pages,
    Done,
}

/// A body of which one page at a time is in memory. When the database fails on the way the body
/// breaks off without its end (of the chunked coding, or of the connection), so that its reader
/// cannot take it for the whole.
pub(super) fn streamed<R: Record>(export: Export<R>, framing: impl Framing<R>) -> Body {
    let start = (export, framing, Stage::Head);
    Body::from_bytes_stream(stream::try_unfold(start, async |(mut export, mut framing, stage)| {
        let step = next(&mut export, &mut framing, stage).await;
        let step = step.inspect_err(|error| {
            let cause = error.cause.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::error!(code = error.kind.code(), cause, "an answer broke off");
        });
        match step {
            Ok(Some((bytes, stage))) => Ok(Some((bytes, (export, framing, stage)))),
            Ok(None) => Ok(None),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }))
}

async fn next<R: Record>(
    export: &mut Export<R>,
    framing: &mut impl Framing<R>,
    stage: Stage,
) -> Result<Option<(Bytes, Stage)>> {
    Ok(match stage {
        Stage::Head => Some((framing.head()?, Stage::Pages)),
        Stage::Pages => Some(match export.next().await? {
            Some(page) => (framing.page(&page)?, Stage::Pages),
            None => (framing.tail(), Stage::Done),
        }),
        Stage::Done => None,
    })
}
