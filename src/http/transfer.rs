//! Import and export of records as files. Both stream: no file is held in memory.

use std::io::{Seek, Write};
use std::str::FromStr;
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
use crate::app::position::PositionEncoding;
use crate::app::selection::Selection;
use crate::app::transfer::{
    self, Encoding, Export, Form, Format, Hints, ImportKey, Options, Order, Report,
};
use crate::error::{Error, Kind, Result};
use crate::store::{Conflict, Once};

/// The maximum part of an all-or-nothing import that is buffered in memory, in bytes.
const MAX_MEMORY_BYTES: usize = 1024 * 1024;

/// How long an import waits for more data. The total time of an import is not limited.
pub const IMPORT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The operations on files of records of a collection.
pub(super) struct Operations;

/// The media type of a file of any format. It is the documented one, because client generators expect a single
/// media type per body and treat this one as a file.
const FILE: &str = "application/octet-stream";

/// The media type of CSV with tabs.
const TABS: &str = "text/tab-separated-values";

#[OpenApi(prefix_path = COLLECTION, tag = "Tag::Records")]
impl Operations {
    /// Export {records}
    ///
    /// Returns all {records} that match a filter as a file, without a limit on their number. An order other than that of
    /// creation takes longer if it has no index. Pass values for `$parameters` as query parameters named `p.NAME`. If the service fails during
    /// the transfer, the response ends without its last chunk, so that clients detect the incomplete file. A workbook
    /// (`xlsx`) is complete before it is sent, and has at most 1,048,575 {records}; its dates are dates. In CSV, values that a spreadsheet would run as a formula are prefixed with an apostrophe, which an import
    /// removes. These are values that start with `=`, `+`, `-`, `@`, TAB or CR, also after apostrophes.
    /// Returns 400 `invalid_query` for an invalid filter.
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    #[oai(path = "/export", method = "get")]
    async fn export(
        &self,
        caller: Reader,
        app: Data<&App>,
        request: &Request,
        /// The filter, at most 8 KiB. Repeat the parameter to join filters by `and`. Default: all {records}.
        filter: Query<Option<Filters>>,
        /// The order: fields with optional `asc` or `desc`, separated by commas. Default: order of creation.
        order_by: Query<Option<String>>,
        /// The fields, separated by commas. In tables they are in this order. Default: all fields.
        fields: Query<Option<String>>,
        /// The format of the file. Default: `ndjson`.
        format: Query<Option<Format>>,
        /// The unit of positions in `diagnostics`. Default: `utf-8`.
        position_encoding: Query<Option<PositionEncoding>>,
    ) -> Result<Download> {
        let fields = fields.0.iter().flat_map(|fields| fields.split(','));
        let fields: Vec<String> = fields.map(str::to_owned).collect();
        let selection = Selection {
            filters: Filters::of(filter.0),
            order_by: order_by.0,
            parameters: arguments(request),
            positions: position_encoding.0.unwrap_or_default(),
            ..Selection::default()
        };
        let (store, format) = (app.store_for(&caller.identity), format.0.unwrap_or_default());
        let form = Form::File(format);
        if format == Format::Xlsx {
            Exchange::of(request)?.lift_time_limit();
        }
        let records =
            transfer::export(&store, &caller.identity, caller.schema, &selection, form, &fields);
        let records = records.await?;
        Ok(Download { records, format })
    }

    /// Import {records}
    ///
    /// Imports a file and returns a report. The file has one JSON object per line (NDJSON), is a JSON array of objects, CSV
    /// with a header line, or a workbook (`.xlsx`). Send it with its media type, or as `application/octet-stream`: its
    /// format, encoding and delimiter are then recognised. A row may have 64 KiB, a file 1 GiB, a workbook 64 MiB packed and
    /// unpacked. An upload without data for 30 seconds returns 408 `request_timeout`.
    ///
    /// Columns are matched with fields by their names, regardless of case, blanks and punctuation; `map` gives other names.
    /// Columns without a field are ignored and listed in the report. Values are read in every form that has one meaning,
    /// such as `2000.0`, `2030-01-01 00:00:00`, `Jun 12 1998` or a serial day of Excel. Outer white space of texts is
    /// removed, empty rows are ignored, and an empty cell is no value.
    ///
    /// With `dry_run=true` nothing is written. The report then shows the first ten {records} as they would be, how columns
    /// could be mapped, and fields that would take the ignored columns. Send the file again to import it.
    ///
    /// With `on_conflict=fail`, all rows are imported in one transaction, or none: an invalid or existing row
    /// returns 400 `rows_rejected` with `errors` by line. Otherwise the import commits every thousand rows;
    /// invalid rows are skipped and reported by line.
    ///
    /// With an `Idempotency-Key`, the retry of an import that was interrupted continues after the last commit, and its
    /// report is about the whole file. The retry of one that has ended gets its report.
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    #[oai(path = "/import", method = "post")]
    async fn import(
        &self,
        caller: Writer,
        /// A key that makes the request safe to retry: a retry with the same key and file gets the same report.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<String>>,
        /// What to do with a {record} that exists already. Default: `fail`.
        on_conflict: Query<Option<Conflict>>,
        /// The format of the file. It must agree with the media type, unless that is `application/octet-stream`. Default: it
        /// is recognised.
        format: Query<Option<Format>>,
        /// The encoding of a text file. Default: it is recognised.
        encoding: Query<Option<Encoding>>,
        /// The sheet of a workbook. Default: the first one with a value.
        sheet: Query<Option<String>>,
        /// The row that is the header, counted from 1, of CSV or a workbook with a title above its header. Rows above it are
        /// ignored. In CSV it is a line. Default: the first row that is not empty.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        header_row: Query<Option<i32>>,
        /// Columns with the fields that they are for, such as `Name=title,Licence ends=expiry_date`. A name with a comma or
        /// an equals sign is in double quotes. `year(COLUMN)=FIELD` takes the year of dates.
        map: Query<Option<String>>,
        /// The order of day, month and year in dates whose year comes last, such as 15/02/2030. Without it, such dates are
        /// rejected.
        dates: Query<Option<Order>>,
        /// Values for fields of which a row has none, such as `genre=unknown,expiry_date=2030-12-31`.
        set: Query<Option<String>>,
        /// Whether to report what an import would do, without importing anything. Default: false.
        dry_run: Query<Option<bool>>,
        upload: Upload,
    ) -> Result<Retriable<Json<Report>>> {
        let format = upload.format(format.0)?;
        let Upload { file, key, .. } = upload;
        let header_row = header_row.0.and_then(|row| u32::try_from(row).ok());
        let options = Options {
            hints: Hints { format, encoding: encoding.0, sheet: sheet.0, header_row },
            mapping: parsed("map", map.0)?,
            dates: dates.0,
            defaults: parsed("set", set.0)?,
        };
        let import = transfer::begin(&caller.store, &caller.identity, caller.schema)?;
        let policy = on_conflict.0.unwrap_or_default();
        let stream = |file| SyncIoBridge::new(StreamReader::new(file));
        let once = if dry_run.0.unwrap_or_default() {
            Once::Unkeyed(import.dry_run(stream(file), options, policy, |_| {}).await?)
        } else if policy == Conflict::Fail {
            import.run_once(buffered(file).await?, options, policy, key).await?
        } else {
            import.run_once(stream(file), options, policy, key).await?
        };
        Ok(Retriable::of(once, Json))
    }
}

/// Parses a parameter; without it, it is empty.
fn parsed<T: FromStr<Err = String> + Default>(name: &str, text: Option<String>) -> Result<T> {
    let parsed = text.map(|text| text.parse()).transpose();
    let invalid = |detail| Error::new(Kind::InvalidParameter, format!("{name}: {detail}"));
    parsed.map(Option::unwrap_or_default).map_err(invalid)
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
    fn format(&self, parameter: Option<Format>) -> Result<Option<Format>> {
        match (parameter, self.format) {
            (Some(parameter), Some(sent)) if parameter.media_type() != sent.media_type() => {
                let detail = format!(
                    "format is {}, but Content-Type is {}; send the same format in both",
                    parameter.as_str(),
                    sent.media_type()
                );
                Err(Error::new(Kind::InvalidParameter, detail))
            }
            (parameter, sent) => Ok(parameter.or(sent)),
        }
    }
}

/// Buffers a whole file: in memory if it is small, otherwise in a temporary file. An all-or-nothing import is one
/// transaction, and a slow client must not keep it open.
async fn buffered(
    mut file: BoxStream<'static, std::io::Result<Bytes>>,
) -> Result<tempfile::SpooledTempFile> {
    let mut buffer = tempfile::spooled_tempfile(MAX_MEMORY_BYTES);
    while let Some(bytes) = file.next().await {
        buffer.write_all(&bytes.map_err(transfer::read_error)?).map_err(transfer::no_room)?;
    }
    buffer.rewind().map_err(transfer::no_room)?;
    Ok(buffer)
}

/// Returns the media types of an exported file, for the OpenAPI document.
fn file() -> Vec<MetaMediaType> {
    let media_type = |format: Format| MetaMediaType {
        content_type: format.media_type(),
        schema: MetaSchemaRef::Inline(Box::new(match format {
            Format::Xlsx => MetaSchema::new_with_format("string", "binary"),
            Format::Json => MetaSchema {
                items: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::new("object"))))),
                ..MetaSchema::new("array")
            },
            _ => MetaSchema::new("string"),
        })),
    };
    let mut types = Vec::from(Format::ALL.map(media_type));
    types.dedup_by_key(|media_type| media_type.content_type);
    types
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
        let is_tabs = is_media_type(media_type, TABS);
        let format = Format::ALL.into_iter().find(is_sent).or(is_tabs.then_some(Format::Csv));
        if format.is_none() && !is_media_type(media_type, FILE) {
            let mut known = Format::ALL.map(Format::media_type).to_vec();
            known.dedup();
            let known = known.join(", ");
            let detail = format!("send Content-Type: {known}, {TABS}, or {FILE} for any of them");
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
            Format::Ndjson | Format::Json | Format::Xlsx => format.media_type().to_owned(),
            // `header=present` (RFC 4180) says that the first line names the columns.
            Format::Csv | Format::ExcelCsv => {
                format!("{}; charset=utf-8; header=present", format.media_type())
            }
        };
        let file = format!(
            "attachment; filename=\"{}.{}\"",
            records.schema().collection,
            format.extension()
        );
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
