// The import of a file: choose it, look at what would happen, correct how it is read, import it.

import { useEffect, useRef, useState } from "preact/hooks";
import { count, label, loadCatalogue, recordType } from "../schema";
import { allows } from "../session";
import type { RecordType } from "../api/document";
import { Failure } from "../api/client";
import { notifyProblem } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { size } from "./files";
import { Columns, UnreadColumns } from "./importing/columns";
import { ReadingOptions } from "./importing/reading";
import { OtherHeader, Problems, conflictsOf } from "./importing/problems";
import { Preview } from "./importing/preview";
import { Outcome } from "./importing/outcome";
import { Values } from "./importing/values";
import { change, choose, forget, isChecking, isExport, options, preview, previewFailure, run, source, start } from "./importing/state";
import "./manage.css";

export function Import() {
  const type = recordType.value;
  const dragging = useFileDrop((file) => type && choose(file, type.collection));
  useEffect(() => {
    // The file was for another collection.
    if (source.peek() && source.peek()?.collection !== type?.collection && run.peek().state !== "running") forget();
  }, [type?.collection]);
  // The record type may have changed on the service since the page was opened.
  const chosenFile = source.value?.file;
  useEffect(() => void loadCatalogue().catch(notifyProblem), [chosenFile]);
  if (!type) return null;
  if (!allows(`${type.collection}:write`)) {
    return <p class="warning">Your token does not allow importing {label(type.collection).toLowerCase()}.</p>;
  }
  const chosen = source.value;
  return (
    <div class={dragging ? "manage import dragging" : "manage import"}>
      <h1>Import {label(type.collection).toLowerCase()}</h1>
      {chosen ? <Chosen type={type} file={chosen.file} /> : <Choice type={type} />}
    </div>
  );
}

/** Calls `onFile` for a file that is dropped anywhere on the window. Returns whether one is over it. */
function useFileDrop(onFile: (file: File) => void): boolean {
  const [isOver, setOver] = useState(false);
  const current = useRef(onFile);
  current.current = onFile;
  useEffect(() => {
    const hasFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const over = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => event.relatedTarget === null && setOver(false);
    const drop = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      setOver(false);
      const file = event.dataTransfer?.files[0];
      if (file && run.peek().state !== "running") current.current(file);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
  return isOver;
}

function Choice({ type }: { type: RecordType }) {
  return (
    <>
      <FileInput type={type} text="Choose a file, or drop it anywhere on this page" />
      <p>
        CSV, Excel workbooks (<code>.xlsx</code>), JSON lines and JSON arrays. Nothing is imported until you say so: first
        you see how the file is read.
      </p>
      <p class="quiet">
        Columns are matched with {type.fields.filter(({ writable }) => writable).map(({ name }) => label(name)).join(", ")}. An export
        of these records can be edited and imported again.
      </p>
    </>
  );
}

function FileInput({ type, text }: { type: RecordType; text: string }) {
  return (
    <label class="drop">
      {text}
      <input
        type="file"
        accept=".csv,.tsv,.txt,.xlsx,.json,.ndjson,.jsonl"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          if (file) choose(file, type.collection);
        }}
      />
    </label>
  );
}

function Chosen({ type, file }: { type: RecordType; file: File }) {
  const heading = useRef<HTMLParagraphElement>(null);
  // The input that had the focus is gone.
  useEffect(() => heading.current?.focus(), [file]);
  const state = run.value.state;
  return (
    <>
      <p class="chosen" tabIndex={-1} ref={heading}>
        <b>{file.name}</b> <span class="quiet">{size(file.size)}</span>
        {state !== "running" && (
          <button type="button" onClick={forget}>
            {state === "done" ? "Import another file" : "Choose another file"}
          </button>
        )}
      </p>
      {state === "none" || state === "rejected" ? <Dry type={type} file={file} /> : <Outcome type={type} />}
    </>
  );
}

/** The size from which a connection that breaks may mean that the file is too large, in bytes. */
const LARGE = 32 * 1024 * 1024;

/** What would be imported, and the options. */
function Dry({ type, file }: { type: RecordType; file: File }) {
  const report = preview.value;
  const current = run.value;
  return (
    <>
      <DryFailure file={file} />
      {!report && isChecking.value && <progress aria-label="Reading the file" />}
      {current.state === "rejected" && <ProblemNote failure={current.failure} />}
      <div aria-busy={isChecking.value}>
        {report && <Decision type={type} />}
        {report && report.header_row === undefined && <Problems report={report} />}
        {report && <Columns type={type} report={report} />}
        {report && <Preview type={type} report={report} />}
        <ReadingOptions type={type} report={report} />
        {report && <Values type={type} report={report} />}
      </div>
    </>
  );
}

/** Why the file cannot be read, with the options that the service proposes. */
function DryFailure({ file }: { file: File }) {
  const failure = previewFailure.value;
  if (!failure) return null;
  const row = /header_row=(\d+)/.exec(failure.message)?.[1];
  const isTooLarge = failure.code === "unreachable" && file.size > LARGE;
  const detail = `${failure.message}. The service may have closed the connection because the file is larger than it accepts`;
  return (
    <ProblemNote failure={isTooLarge ? new Failure({ ...failure.problem, detail }) : failure}>
      {row && (
        <button type="button" onClick={() => change({ headerRow: row })}>
          Use row {row} as the header
        </button>
      )}
      {options.value.mapping.length > 0 && (
        <button type="button" onClick={() => change({ mapping: [] })}>
          Match the columns by their names
        </button>
      )}
    </ProblemNote>
  );
}

/** What the import would do, and the button that does it. What it leaves out follows, and does not stay in sight. */
function Decision({ type }: { type: RecordType }) {
  const report = preview.value;
  if (!report) return null;
  const { created, updated, skipped, rejected, repeated } = report;
  const written = created + updated;
  const { onConflict } = options.value;
  const conflicts = conflictsOf(report);
  const isPrevented = onConflict === "fail" && rejected > 0;
  const otherHeader = report.header_row;
  const wrong = rejected - conflicts;
  // An update has the values of the last row of several for a record.
  const left = onConflict === "skip" ? repeated : 0;
  const parts = [
    created > 0 && `${count(created)} created`,
    updated > 0 && `${count(updated)} updated`,
    skipped > left && `${count(skipped - left)} left as they are`,
    left > 0 && `${count(left)} repeated in this file`,
    rejected > 0 && `${count(rejected)} rejected`,
  ].filter(Boolean);
  const omitted = rejected + (onConflict === "skip" ? skipped : 0);
  return (
    <>
      <section class="decision" aria-label="Import">
        <p role="status">
          {isChecking.value ? "Reading the file …" : parts.length > 0 ? `Would be: ${parts.join(", ")}.` : "The file has no rows."}
        </p>
        <button
          type="button"
          class="primary"
          disabled={isChecking.value || previewFailure.value !== undefined || isPrevented || written === 0}
          onClick={() => void start()}
        >
          {isPrevented || written === 0
            ? "Import records"
            : `Import ${rowsOf(written)}${omitted > 0 ? `, leave out ${count(omitted)}` : ""}`}
        </button>
      </section>
      {otherHeader !== undefined && <OtherHeader row={otherHeader} />}
      {isPrevented && otherHeader === undefined && !isChecking.value && (
        <p class="warning">
          One rejected row prevents the import of all.
          {conflicts > repeated && (
            <button type="button" onClick={() => change({ onConflict: "update" })}>
              Update existing records{wrong > 0 && `, leave out ${rowsOf(wrong)}`}
            </button>
          )}
          {written > 0 && (
            <button type="button" onClick={() => change({ onConflict: "skip" })}>
              Leave out {rowsOf(rejected)}
            </button>
          )}
          {written === 0 && conflicts > 0 && (
            <button type="button" onClick={() => change({ onConflict: "skip" })}>
              Keep existing records
            </button>
          )}
        </p>
      )}
      {isExport.value && (
        <p class="quiet">
          The file has the columns id and version of an export of this service, so existing records are updated.
        </p>
      )}
      {otherHeader === undefined && <UnreadColumns type={type} report={report} />}
      <p class="quiet">
        An import cannot be undone as a whole. {type.natural_key.length > 0 ? "Updated records keep" : "Records keep"} their earlier
        versions in the journal, if the record type has one; created records have to be deleted.
      </p>
    </>
  );
}

function rowsOf(number: number): string {
  return `${count(number)} ${number === 1 ? "row" : "rows"}`;
}
