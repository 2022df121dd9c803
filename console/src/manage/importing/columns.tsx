// The columns of the file, each with the field that it is read into.

import type { ImportColumn, ImportReport, RecordType } from "../../api/document";
import { label } from "../../schema";
import { Code } from "../code";
import { assign, change, entriesOf, guessed, options } from "./state";
import { mappingText, parseMapping } from "./options";
import type { Entry } from "./options";

/** The number of columns that are listed. A file may have a thousand, of which few have fields. */
const MAX_LISTED = 100;

interface ColumnsProps {
  type: RecordType;
  report: ImportReport;
}

export function Columns({ type, report }: ColumnsProps) {
  const listed = report.columns.slice(0, MAX_LISTED);
  return (
    <section aria-labelledby="import-columns">
      <h2 id="import-columns">Columns</h2>
      <div class="scroll">
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Column of the file</th>
              <th scope="col">Field</th>
              <th scope="col">Matched by</th>
            </tr>
          </thead>
          <tbody>
            {listed.map((column) => (
              <Column key={column.name} column={column} type={type} />
            ))}
          </tbody>
        </table>
      </div>
      {report.columns.length > MAX_LISTED && (
        <p class="quiet">The file has {report.columns.length} columns; the first {MAX_LISTED} are listed.</p>
      )}
      <details>
        <summary>Mapping as text</summary>
        <label>
          The parameter <code>map</code>, as programs send it
          <input
            class="code wide"
            value={mappingText(options.value.mapping)}
            onChange={(event) => change({ mapping: parseMapping(event.currentTarget.value) })}
          />
        </label>
      </details>
      {report.new_fields && (
        <details id={NEW_FIELDS}>
          <summary>Fields for the columns that are not imported</summary>
          <p>An operator of the service adds fields to a record type. Copy this message for them, then import the file again:</p>
          <Code text={requestFor(report.new_fields, unread(type, report), type)} name="the message for the operator" />
        </details>
      )}
    </section>
  );
}

const NEW_FIELDS = "import-new-fields";

/** The columns that are not imported, but for those that the service sets itself, such as `created_at`. */
function unread(type: RecordType, report: ImportReport): string[] {
  const isOwn = (name: string) => type.fields.some((field) => field.name === name && !field.writable);
  const names = report.columns.map(({ name }) => name);
  return names.filter((name) => report.ignored.includes(name) && !isOwn(name));
}

function requestFor(lines: string, names: string[], type: RecordType): string {
  const columns = names.join(", ");
  return `Please add fields for these columns to the record type ${type.name}: ${columns}\nThe lines for its declaration (${type.collection}.toml):\n\n${lines}`;
}

/** The number of names in the warning. */
const MAX_NAMED = 4;

/** The warning beside the button of the import, with the ways to import the columns nevertheless. */
export function UnreadColumns({ type, report }: ColumnsProps) {
  const names = unread(type, report);
  if (names.length === 0) return null;
  const more = names.length - MAX_NAMED;
  return (
    <p class="warning">
      {names.length === 1 ? "1 column is" : `${names.length} columns are`} not imported: {names.slice(0, MAX_NAMED).join(", ")}
      {more > 0 && ` and ${more} more`}.
      <button type="button" onClick={() => show("import-columns")}>
        Choose fields for columns
      </button>
      {report.new_fields && (
        <button type="button" onClick={() => show(NEW_FIELDS)}>
          Ask for new fields
        </button>
      )}
    </p>
  );
}

/** Brings a part of the page into sight, opened if it is closed. A link to it would leave the view. */
function show(id: string): void {
  const element = document.getElementById(id);
  if (element instanceof HTMLDetailsElement) element.open = true;
  element?.scrollIntoView();
  const target = element?.querySelector("summary") ?? element?.parentElement?.querySelector("select");
  target?.focus({ preventScroll: true });
}

/** How a match is called. */
const MATCHES: Record<ImportColumn["match"], string> = {
  same: "name",
  similar: "similar name",
  mapped: "your choice",
  none: "",
};

function Column({ column, type }: { column: ImportColumn; type: RecordType }) {
  const entries = entriesOf(column);
  const isGuess = guessed.value.has(column.name);
  const isIgnored = entries.length === 0;
  const set = (position: number, entry: Entry | undefined) =>
    assign(column.name, entry ? entries.toSpliced(position, 1, entry) : entries.toSpliced(position, 1));
  const findsRecord = options.value.onConflict === "update" && ["id", "version"].includes(column.name);
  const isByName = column.match === "same" || column.match === "similar";
  return (
    <tr class={isIgnored ? "ignored" : undefined}>
      <th scope="row">{column.name}</th>
      <td>
        <div class="targets">
          {[...entries, ...(isIgnored ? [undefined] : [])].map((entry, position) => (
            <Target
              key={position}
              name={position === 0 ? `Field for ${column.name}` : `Field ${position + 1} for ${column.name}`}
              entry={entry}
              column={column.name}
              type={type}
              // The service reads a column with the name of a field, unless another column is read into that field.
              isRequired={isByName && entries.length === 1}
              onEntry={(next) => set(position, next)}
            />
          ))}
          {!isIgnored && (
            <button
              type="button"
              class="link"
              aria-label={`Read ${column.name} into another field, too`}
              title="Such as the year of a date"
              disabled={!nextField(type, entries)}
              onClick={() => {
                const field = nextField(type, entries);
                if (field) assign(column.name, [...entries, { column: column.name, ...field }]);
              }}
            >
              Another field, too
            </button>
          )}
        </div>
      </td>
      <td>{isGuess ? <span class="tag warn">guess</span> : isIgnored ? <span class="quiet">{findsRecord ? "finds the record" : "ignored"}</span> : MATCHES[column.match]}</td>
    </tr>
  );
}

/** A field that a column can be read into besides: first the year of its dates. */
function nextField(type: RecordType, entries: Entry[]): Omit<Entry, "column"> | undefined {
  const free = type.fields.filter(({ name, writable }) => writable && !entries.some((entry) => entry.field === name));
  const year = free.find((field) => field.type === "integer");
  return year ? { field: year.name, isYear: true } : free[0] && { field: free[0].name, isYear: false };
}

interface TargetProps {
  name: string;
  entry: Entry | undefined;
  column: string;
  type: RecordType;
  isRequired: boolean;
  onEntry: (entry: Entry | undefined) => void;
}

function Target({ name, entry, column, type, isRequired, onEntry }: TargetProps) {
  const fields = type.fields.filter(({ writable }) => writable);
  return (
    <select
      aria-label={name}
      value={entry ? `${entry.isYear ? "year" : "value"} ${entry.field}` : ""}
      onChange={(event) => {
        const [kind, field] = event.currentTarget.value.split(" ");
        onEntry(field ? { column, field, isYear: kind === "year" } : undefined);
      }}
    >
      <option value="" disabled={isRequired}>
        {isRequired ? "Not imported (rename the column)" : "Not imported"}
      </option>
      {fields.map((field) => (
        <option key={field.name} value={`value ${field.name}`}>
          {label(field.name)}
        </option>
      ))}
      {fields
        .filter((field) => field.type === "integer")
        .map((field) => (
          <option key={field.name} value={`year ${field.name}`}>
            {label(field.name)}: the year of the dates
          </option>
        ))}
    </select>
  );
}
