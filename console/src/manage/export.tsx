// The export of the records that are shown as a file.

import { useEffect, useRef, useState } from "preact/hooks";
import { Failure, request } from "../api/client";
import type { FileFormat } from "../api/document";
import { go, place } from "../place";
import { applied } from "../query/state";
import type { Applied } from "../query/state";
import { rows } from "../results/state";
import { columnsOf, count, recordType } from "../schema";
import { Dialog } from "../ui/dialog";
import { useAction } from "../ui/loading";
import { notify } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { save, size } from "./files";
import "./manage.css";

const FORMATS: { name: FileFormat; text: string; hint: string; ending: string }[] = [
  { name: "xlsx", text: "Excel workbook", hint: "For files that you edit and import again: dates stay dates, numbers stay numbers.", ending: "xlsx" },
  { name: "excel-csv", text: "CSV for Excel", hint: "With semicolons, as Excel opens it in most countries.", ending: "csv" },
  { name: "csv", text: "CSV", hint: "With commas, for other programs (RFC 4180).", ending: "csv" },
  { name: "ndjson", text: "JSON lines", hint: "One object per line, for scripts and large files.", ending: "ndjson" },
  { name: "json", text: "JSON", hint: "One array of objects.", ending: "json" },
];

/** The number of records that a workbook can have. */
const MAX_WORKBOOK = 1_048_575;

/** The chosen format of the last export. */
const FORMAT = "cinequery.export";

export function Export() {
  return (
    <Dialog title="Export" onClose={() => go({ panel: "" })}>
      <div class="managed">
        {applied.value ? <Form search={applied.value} /> : <p>Enter the values of the parameters first; then the records are known.</p>}
      </div>
    </Dialog>
  );
}

function Form({ search }: { search: Applied }) {
  const type = recordType.value;
  const { busy, failure, run } = useAction();
  const [format, setFormat] = useState<FileFormat>(remembered);
  const [chosenAll, setAllFields] = useState<boolean>();
  // Files that are edited and imported again need `id` and `version`.
  const allFields = chosenAll ?? (format === "xlsx" || format === "excel-csv");
  const [received, setReceived] = useState(0);
  const abort = useRef<AbortController>(undefined);
  // A dialog that is closed ends its download.
  useEffect(() => () => abort.current?.abort(), []);
  if (!type) return null;
  rows.value?.changes.value;
  const total = rows.value?.total;
  const columns = columnsOf(type, place.value.columns).map(({ name }) => name);
  const isTooLong = format === "xlsx" && total !== undefined && total > MAX_WORKBOOK;

  const download = async () => {
    const controller = new AbortController();
    abort.current = controller;
    setReceived(0);
    remember(format);
    const { collection, filter, orderBy } = search;
    const query = { filter, order_by: orderBy, fields: allFields ? "" : columns.join(","), format };
    const response = await request(`api/v1/${collection}/export`, { query, signal: controller.signal });
    const content = await contentOf(response, setReceived);
    const ending = FORMATS.find(({ name }) => name === format)?.ending ?? format;
    save(nameOf(response) ?? `${collection}.${ending}`, content);
    notify(`Exported ${size(content.size)}`);
    go({ panel: "" });
  };

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void run(download);
      }}
    >
      <p>
        {total === undefined ? "All records" : `${count(total)} ${total === 1 ? "record" : "records"}`}
        {search.filter ? (
          <>
            {" "}
            that match <code class="filter">{search.filter}</code>
          </>
        ) : (
          " of the collection"
        )}
        {search.orderBy && (
          <>
            , ordered by <code>{search.orderBy}</code>
          </>
        )}
        .
      </p>
      <fieldset disabled={busy}>
        <legend>Format</legend>
        {FORMATS.map(({ name, text, hint }) => (
          <label class="check" key={name}>
            <input
              type="radio"
              name="format"
              autofocus={format === name}
              checked={format === name}
              onChange={() => setFormat(name)}
            />
            <span>
              {text}
              <span class="quiet hint">{hint}</span>
            </span>
          </label>
        ))}
      </fieldset>
      <fieldset disabled={busy}>
        <legend>Columns</legend>
        <label class="check">
          <input type="radio" name="columns" checked={!allFields} onChange={() => setAllFields(false)} />
          <span>
            As shown
            <span class="quiet hint">{columns.join(", ")}</span>
          </span>
        </label>
        <label class="check">
          <input type="radio" name="columns" checked={allFields} onChange={() => setAllFields(true)} />
          <span>
            All fields
            <span class="quiet hint">The default for Excel: an import of the edited file needs id and version to find the records again and to overwrite no newer change.</span>
          </span>
        </label>
      </fieldset>
      {isTooLong && <p class="warning">A workbook has at most {count(MAX_WORKBOOK)} records: choose another format, or narrow the filter.</p>}
      <ProblemNote failure={failure} />
      {busy && (
        <div>
          <progress aria-label="Export" />
          <p class="quiet" role="status">
            {received === 0 ? "The service writes the file …" : `${size(received)} received`}
          </p>
        </div>
      )}
      <div class="actions">
        <button type="button" onClick={() => (busy ? abort.current?.abort() : go({ panel: "" }))}>
          Cancel
        </button>
        <button class="primary" disabled={busy || isTooLong}>
          Download
        </button>
      </div>
    </form>
  );
}

/** Reads the body of a response, and calls `onBytes` with the number of bytes so far. */
async function contentOf(response: Response, onBytes: (bytes: number) => void): Promise<Blob> {
  const reader = response.body?.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  try {
    for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
      parts.push(read.value);
      bytes += read.value.length;
      onBytes(bytes);
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failure({ code: "interrupted", detail: "the file is not complete, because the connection was interrupted; try again" });
  }
  return new Blob(parts, { type: response.headers.get("Content-Type") ?? "" });
}

/** The name that the service gives the file. */
function nameOf(response: Response): string | undefined {
  return /filename="([^"/\\]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
}

function remembered(): FileFormat {
  const name = localStorage.getItem(FORMAT);
  return FORMATS.find((format) => format.name === name)?.name ?? "xlsx";
}

function remember(format: FileFormat): void {
  try {
    localStorage.setItem(FORMAT, format);
  } catch {
    // The storage is full or not allowed: the choice is a convenience.
  }
}
