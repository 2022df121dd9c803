//! Import and export of records as files. Both stream: no file is held in memory.

use std::io::{ErrorKind, Seek, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use poem::http::StatusCode;
use poem::http::header::CONTENT_DISPOSITION;
use poem::web::Data;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::param::{Header, Query};
use poem_openapi::registry::{
    MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};
use sha2::{Digest, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::body::{Json, chunks, is_media_type, reject_content_coding};
use super::caller::{Reader, Writer};
use super::exchange::Exchange;
use super::filters::{Filters, arguments};
use super::idempotency::{self, Retriable, unversioned};
use super::records::{COLLECTION, Tag};
use super::stream::streamed;
use crate::app::App;
use crate::app::selection::Selection;
use crate::app::transfer::{self, Export, Form, Format, ImportKey, Report};
use crate::error::{Error, Kind, Result, retry_after};
use crate::store::Conflict;

/// The maximum part of an all-or-nothing import that is buffered in memory, in bytes.
const MAX_MEMORY_BYTES: usize = 1024 * 1024;

/// How long an import waits for more data. The total time of an import is not limited.
pub const IMPORT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The operations on files of records of a collection.
pub(super) struct Operations;

/// The media type of a file of any format. It is the documented one, because client generators expect a single
/// media type per body and treat this one as a file.
const FILE: &str = "application/octet-stream";

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Export {records}
    ///
    /// Returns all {records} that match a filter as a file, in order of creation and without a limit on their
    /// number. Pass values for `$parameters` as query parameters named `p.NAME`. If the service fails during
    /// the transfer, the response ends without its last chunk, so that clients detect the incomplete file. In
    /// CSV, values that a spreadsheet would run as a formula are prefixed with an apostrophe, which an import
    /// removes. These are values that start with `=`, `+`, `-`, `@`, TAB or CR, also after apostrophes.
    /// Returns 400 `invalid_query` for an invalid filter.
    #[oai(path = "/export", method = "get")]
    async fn export(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`. Default: all {records}.
        filter: Query<Option<Filters>>,
        /// The format of the file.
        format: Query<Option<Format>>,
    ) -> Result<Download> {
        let selection = Selection {
            filters: Filters::of(filter.0),
            parameters: arguments(request),
            ..Selection::default()
        };
        let (store, format) = (app.store_for(&caller.identity), format.0.unwrap_or_default());
        let form = Form::File(format);
        let records =
            transfer::export(&store, &caller.identity, caller.schema, &selection, form).await?;
        Ok(Download { records, format })
    }

    /// Import {records}
    ///
    /// Imports a file and returns a report. The file has one JSON object per line (NDJSON), or is CSV with a
    /// header line of field names. Send it as `application/x-ndjson` or `text/csv`, or as
    /// `application/octet-stream` with `format`. A row may have 64 KiB, a file 1 GiB. An upload without data
    /// for 30 seconds returns 408 `request_timeout`. Names that are not writable fields are ignored and listed
    /// in the report.
    ///
    /// With `on_conflict=fail`, all rows are imported in one transaction, or none: an invalid or existing row
    /// returns 400 `rows_rejected` with `errors` by line. Otherwise the import commits every thousand rows;
    /// invalid rows are skipped and reported by line.
    ///
    /// With an `Idempotency-Key`, the retry of an import that was interrupted continues after the last commit, and its
    /// report is about the whole file. The retry of one that has ended gets its report.
    #[oai(path = "/import", method = "post")]
    async fn import(
        &self,
        caller: Writer,
        /// A key that makes the request safe to retry: a retry with the same key and file gets the same report.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        /// What to do with a {record} that exists already. Default: `fail`.
        on_conflict: Query<Option<Conflict>>,
        /// The format of the file. It must agree with the media type, unless that is `application/octet-stream`.
        format: Query<Option<Format>>,
        upload: Upload,
    ) -> Result<Retriable<Json<Report>>> {
        let format = upload.format(format.0)?;
        let Upload { file, key, .. } = upload;
        let import = transfer::begin(&caller.store, &caller.identity, caller.schema)?;
        let policy = on_conflict.0.unwrap_or_default();
        let once = if policy == Conflict::Fail {
            import.run_once(buffered(file).await?, format, policy, key).await?
        } else {
            import.run_once(SyncIoBridge::new(StreamReader::new(file)), format, policy, key).await?
        };
        Ok(Retriable::of(once, Json))
    }
}

/// An uploaded file.
struct Upload {
    file: BoxStream<'static, std::io::Result<Bytes>>,
    /// The format that the media type names.
    format: Option<Format>,
    /// The idempotency key.
    key: Option<ImportKey>,
}

impl Upload {
    /// Returns the format of the file, from the parameter `format` or the media type.
    fn format(&self, parameter: Option<Format>) -> Result<Format> {
        match (parameter, self.format) {
            (Some(parameter), Some(sent)) if parameter != sent => {
                let detail = format!(
                    "format is {}, but Content-Type is {}; send the same format in both",
                    parameter.as_str(),
                    sent.media_type()
                );
                Err(Error::new(Kind::InvalidParameter, detail))
            }
            (parameter, sent) => Ok(parameter.or(sent).unwrap_or_default()),
        }
    }
}

/// Buffers a whole file: in memory if it is small, otherwise in a temporary file. An all-or-nothing import is one
/// transaction, and a slow client must not keep it open.
async fn buffered(
    mut file: BoxStream<'static, std::io::Result<Bytes>>,
) -> Result<tempfile::SpooledTempFile> {
    let failed = |error: std::io::Error| {
        let is_full = error.kind() == ErrorKind::StorageFull;
        let detail = "no space left for temporary files; retry later".to_owned();
        let retry_after = Some(retry_after(10));
        if is_full {
            Error { detail, retry_after, ..Error::unavailable(error) }
        } else {
            Error::internal(error)
        }
    };
    let mut buffer = tempfile::spooled_tempfile(MAX_MEMORY_BYTES);
    while let Some(bytes) = file.next().await {
        buffer.write_all(&bytes.map_err(transfer::read_error)?).map_err(failed)?;
    }
    buffer.rewind().map_err(failed)?;
    Ok(buffer)
}

/// Returns the media types of an exported file, for the OpenAPI document.
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
        reject_content_coding(request)?;
        let exchange = Exchange::of(request)?;
        exchange.lift_time_limit();
        let key = idempotency::key(request, &[])?;
        let most = exchange.service.limits.import_bytes;
        let file = limited(chunks(exchange.clone(), body)?, most);
        let Some(key) = key else { return Ok(Self { file: file.boxed(), format, key: None }) };
        let hash = Arc::new(Mutex::new(Sha256::new()));
        let digest = hash.clone();
        let file = file.inspect_ok(move |bytes| locked(&hash).update(bytes)).boxed();
        let digest = Box::new(move || locked(&digest).clone().finalize().to_vec());
        let reply = |report: &Report| unversioned(StatusCode::OK, report);
        Ok(Self { file, format, key: Some(ImportKey { key, digest, reply }) })
    }
}

fn locked(hash: &Mutex<Sha256>) -> MutexGuard<'_, Sha256> {
    // A hash has no invalid state.
    hash.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Applies the limits of an import to a stream of bytes.
///
/// # Errors
/// The stream ends with [`Kind::RequestTimeout`] if no data arrives for [`IMPORT_IDLE_TIMEOUT`], and with
/// [`Kind::BodyTooLarge`] after `most` bytes.
fn limited(
    stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    most: u64,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold((Box::pin(stream), 0, most), async |(mut stream, read, most)| {
        let next = tokio::time::timeout(IMPORT_IDLE_TIMEOUT, stream.next()).await;
        let next = next.map_err(|_| {
            let seconds = IMPORT_IDLE_TIMEOUT.as_secs();
            let detail = format!("no data arrived for {seconds} seconds; send the file again");
            std::io::Error::other(Error::new(Kind::RequestTimeout, detail))
        })?;
        let Some(bytes) = next.transpose()? else { return Ok(None) };
        let read = read + bytes.len() as u64;
        if read > most {
            let detail = format!("the file is too large; expected at most {most} bytes");
            return Err(std::io::Error::other(Error::new(Kind::BodyTooLarge, detail)));
        }
        Ok(Some((bytes, (stream, read, most))))
    })
}

/// An exported file.
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
            // `header=present` (RFC 4180) says that the first line names the columns.
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

    async fn error_kind(
        stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Kind {
        let mut stream = Box::pin(limited(stream, MOST));
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

    /// The maximum size of the files of these tests, in bytes.
    const MOST: u64 = 64 * 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn an_idle_upload_times_out_and_a_slow_one_does_not() {
        let row = || Ok(Bytes::from_static(b"{}\n"));
        let slow = stream::unfold(0, move |count| async move {
            tokio::time::sleep(IMPORT_IDLE_TIMEOUT - Duration::from_secs(1)).await;
            (count < 1000).then(|| (row(), count + 1))
        });
        assert_eq!(error_kind(slow).await, Kind::NotFound, "the slow upload is complete");
        let silent = stream::iter([row()]).chain(stream::pending());
        assert_eq!(error_kind(silent).await, Kind::RequestTimeout);
    }

    #[tokio::test]
    async fn a_file_over_the_maximum_size_is_rejected() {
        let part = Bytes::from(vec![b' '; 1024 * 1024]);
        let parts = MOST / part.len() as u64;
        let whole = std::iter::repeat_n(part, usize::try_from(parts).unwrap_or(usize::MAX));
        let whole = || stream::iter(whole.clone().map(Ok));
        assert_eq!(error_kind(whole()).await, Kind::NotFound);
        let more = whole().chain(stream::iter([Ok(Bytes::from_static(b" "))]));
        assert_eq!(error_kind(more).await, Kind::BodyTooLarge);
    }
}
