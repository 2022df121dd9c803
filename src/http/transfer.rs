//! Files of records over HTTP, in and out, both written while they are read.

use std::io::{ErrorKind, Seek, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use poem::http::header::CONTENT_DISPOSITION;
use poem::web::Data;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::param::Query;
use poem_openapi::registry::{
    MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::body::{Json, MAX_BODY_BYTES, is_media_type, refuse_coding};
use super::caller::{Reader, Writer};
use super::exchange::Exchange;
use super::records::{COLLECTION, Tag, arguments};
use super::stream::streamed;
use crate::app::App;
use crate::app::selection::Selection;
use crate::app::transfer::{self, Export, Form, Format, Report};
use crate::error::{Error, Kind, Result, retry_after};
use crate::store::Conflict;

/// The largest file that is read, in bytes.
pub const MAX_IMPORT_BYTES: u64 = 1024 * 1024 * 1024;

/// How long a sender may be silent. There is no limit on the whole.
pub const IMPORT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The operations on files of one type of record.
pub(super) struct Operations;

/// A file of any form. It is the documented media type: generators of clients expect a body to have a
/// single type, and this one to be a file.
const FILE: &str = "application/octet-stream";

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Export {records}
    ///
    /// All {records} of a filter as a file, however many, in order of creation, written while they
    /// are read. A file that the service cannot finish breaks off without the end of its transfer. In CSV a text that a
    /// spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, TAB or CR, perhaps
    /// behind apostrophes) stands behind one more apostrophe, which an import takes away again.
    #[oai(path = "/export", method = "get")]
    async fn export(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// Which {records}; all when absent. At most 8 KiB.
        filter: Query<Option<String>>,
        /// The form of the file.
        format: Query<Option<Format>>,
    ) -> Result<Download> {
        let selection =
            Selection { filter: filter.0, parameters: arguments(request), ..Selection::default() };
        let (store, format) = (app.store_for(&caller.identity), format.0.unwrap_or_default());
        let form = Form::File(format);
        let records =
            transfer::export(&store, &caller.identity, caller.schema, &selection, form).await?;
        Ok(Download { records, format })
    }

    /// Import {records}
    ///
    /// Reads a file while it arrives: a JSON object a line, or CSV under a line of field names. It is
    /// sent as `application/octet-stream` with its `format`, or as `application/x-ndjson` or `text/csv`.
    /// Rows have at most 64 KiB, the file at most 1 GiB, and its sender may be silent for 30 seconds
    /// at a time. Names that are no fields to be written are passed over and told. With `fail`
    /// the file is kept until all of it is there, and nothing is written unless everything is;
    /// otherwise every thousand rows are committed, and rows that break a rule are left out and told
    /// with their line.
    #[oai(path = "/import", method = "post")]
    async fn import(
        &self,
        caller: Writer,
        app: Data<&App>,
        /// What to do with a {record} that is there already; `fail` when absent.
        on_conflict: Query<Option<Conflict>>,
        /// The form of the file; where its media type says it too, they must agree.
        format: Query<Option<Format>>,
        upload: Upload,
    ) -> Result<Json<Report>> {
        let format = upload.form(format.0)?;
        let file = upload.file;
        let import =
            transfer::begin(&app.store_for(&caller.identity), &caller.identity, caller.schema)?;
        let policy = on_conflict.0.unwrap_or_default();
        let report = if policy == Conflict::Fail {
            import.run(kept(file).await?, format, policy, |_| {}).await
        } else {
            import.run(SyncIoBridge::new(StreamReader::new(file)), format, policy, |_| {}).await
        };
        report.map(Json)
    }
}

/// A file that arrives.
struct Upload {
    file: BoxStream<'static, std::io::Result<Bytes>>,
    /// As its media type says.
    format: Option<Format>,
}

impl Upload {
    /// The form of the file, which a parameter may have said.
    fn form(&self, said: Option<Format>) -> Result<Format> {
        match (said, self.format) {
            (Some(said), Some(sent)) if said != sent => {
                let detail = format!(
                    "format is {}, and Content-Type is {}",
                    said.as_str(),
                    sent.media_type()
                );
                Err(Error::new(Kind::InvalidParameter, detail))
            }
            (said, sent) => Ok(said.or(sent).unwrap_or_default()),
        }
    }
}

/// All of a file, once it is there; in memory when it is small, else in a temporary file. An import
/// that is whole or nothing is one transaction, which nobody's slow line may keep open.
async fn kept(
    mut file: BoxStream<'static, std::io::Result<Bytes>>,
) -> Result<tempfile::SpooledTempFile> {
    let failed = |error: std::io::Error| {
        let is_full = error.kind() == ErrorKind::StorageFull;
        let detail = "there is no space left for temporary files; retry when there is".to_owned();
        let retry_after = Some(retry_after(10));
        if is_full {
            Error { detail, retry_after, ..Error::unavailable(error) }
        } else {
            Error::internal(error)
        }
    };
    let mut kept = tempfile::spooled_tempfile(MAX_BODY_BYTES);
    while let Some(bytes) = file.next().await {
        kept.write_all(&bytes.map_err(transfer::read_error)?).map_err(failed)?;
    }
    kept.rewind().map_err(failed)?;
    Ok(kept)
}

/// A file in any of the formats, as the specification tells of it.
fn file() -> Vec<MetaMediaType> {
    let text = |format: Format| MetaMediaType {
        content_type: format.media_type(),
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
    };
    Format::ALL.map(text).into()
}

impl<'a> ApiExtractor<'a> for Upload {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let schema = MetaSchema::new_with_format("string", "binary");
        let schema = MetaSchemaRef::Inline(Box::new(schema));
        let content = vec![MetaMediaType { content_type: FILE, schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let media_type = request.content_type().unwrap_or_default();
        let is_sent = |format: &Format| is_media_type(media_type, format.media_type());
        let format = Format::ALL.into_iter().find(is_sent);
        if format.is_none() && !is_media_type(media_type, FILE) {
            let known = Format::ALL.map(Format::media_type).join(", ");
            let detail = format!("send Content-Type: {known}, or {FILE} with `format`");
            return Err(Error::new(Kind::UnsupportedMediaType, detail).into());
        }
        refuse_coding(request)?;
        Exchange::of(request)?.lift_time_limit();
        let file = limited(body.take()?.into_bytes_stream()).boxed();
        Ok(Self { file, format })
    }
}

/// The stream, as far as it keeps the limits.
fn limited(
    stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold((Box::pin(stream), 0), async |(mut stream, read)| {
        let next = tokio::time::timeout(IMPORT_IDLE_TIMEOUT, stream.next()).await;
        let next = next.map_err(|_| {
            let seconds = IMPORT_IDLE_TIMEOUT.as_secs();
            let detail = format!("nothing has arrived for {seconds} seconds");
            std::io::Error::other(Error::new(Kind::RequestTimeout, detail))
        })?;
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        let read = read + bytes.len() as u64;
        if read > MAX_IMPORT_BYTES {
            let detail = format!("at most {MAX_IMPORT_BYTES} bytes are read");
            return Err(std::io::Error::other(Error::new(Kind::BodyTooLarge, detail)));
        }
        Ok(Some((bytes, (stream, read))))
    })
}

/// A file that leaves.
struct Download {
    records: Export,
    format: Format,
}

impl ApiResponse for Download {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "",
            status: Some(200),
            status_range: None,
            content: file(),
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_registry: &mut Registry) {}
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        let Self { records, format } = self;
        let media_type = match format {
            Format::Ndjson => format.media_type().to_owned(),
            // RFC 7111 and RFC 4180: the first line names the columns.
            Format::Csv => format!("{}; charset=utf-8; header=present", format.media_type()),
        };
        let file =
            format!("attachment; filename=\"{}.{}\"", records.schema().collection, format.as_str());
        Response::builder()
            .content_type(media_type)
            .header(CONTENT_DISPOSITION, file)
            .body(streamed(records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Kind {
        let mut stream = Box::pin(limited(stream));
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    break error.downcast::<Error>().map_or(Kind::Internal, |e| e.kind);
                }
                None => break Kind::NotFound,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_is_not_waited_for_and_a_slow_one_is() {
        let row = || Ok(Bytes::from_static(b"{}\n"));
        let slow = stream::unfold(0, move |count| async move {
            tokio::time::sleep(IMPORT_IDLE_TIMEOUT - Duration::from_secs(1)).await;
            (count < 1000).then(|| (row(), count + 1))
        });
        assert_eq!(refused(slow).await, Kind::NotFound, "it has come to its end");
        let silent = stream::iter([row()]).chain(stream::pending());
        assert_eq!(refused(silent).await, Kind::RequestTimeout);
    }

    #[tokio::test]
    async fn a_file_has_a_size() {
        let part = Bytes::from(vec![b' '; 1024 * 1024]);
        let parts = MAX_IMPORT_BYTES / part.len() as u64;
        let whole = std::iter::repeat_n(part, usize::try_from(parts).unwrap_or(usize::MAX));
        let whole = || stream::iter(whole.clone().map(Ok));
        assert_eq!(refused(whole()).await, Kind::NotFound);
        let more = whole().chain(stream::iter([Ok(Bytes::from_static(b" "))]));
        assert_eq!(refused(more).await, Kind::BodyTooLarge);
    }
}
