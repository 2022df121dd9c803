// How the file is read, and what happens to records that exist.

import type { DateOrder, FileEncoding, FileFormat, ImportReport, OnConflict, RecordType } from "../../api/document";
import { label } from "../../schema";
import { Labelled } from "../form";
import { change, options } from "./state";

const FORMATS: [FileFormat, string][] = [
  ["csv", "CSV"],
  ["xlsx", "Excel workbook"],
  ["ndjson", "JSON lines"],
  ["json", "JSON array"],
];

const ENCODINGS: [FileEncoding, string][] = [
  ["utf-8", "UTF-8"],
  ["utf-16", "UTF-16"],
  ["windows-1252", "Windows-1252 (Western Europe)"],
];

const ORDERS: [DateOrder, string][] = [
  ["dmy", "day, month, year: 31/01/2030"],
  ["mdy", "month, day, year: 01/31/2030"],
  ["ymd", "year, month, day: 2030/01/31"],
];

const CONFLICTS: [OnConflict, string, string][] = [
  ["fail", "Import nothing", "One existing record or one wrong row prevents the import of all rows."],
  ["skip", "Keep the existing record", "Their rows are left out, and so are wrong rows. The other rows are imported."],
  ["update", "Update the existing record", "The fields that the file has are set. Wrong rows are left out."],
];

const DELIMITERS: Record<string, string> = { "\t": "tab" };

interface ReadingOptionsProps {
  type: RecordType;
  report: ImportReport | undefined;
}

export function ReadingOptions({ type, report }: ReadingOptionsProps) {
  const file = report?.file;
  const { format, encoding, sheet, headerRow, dates } = options.value;
  const found = FORMATS.find(([name]) => name === file?.format)?.[1];
  const isTable = !file || file.format === "csv" || file.format === "excel-csv" || file.format === "xlsx";
  return (
    <section aria-labelledby="import-reading">
      <h2 id="import-reading">How to read it</h2>
      <Conflicts type={type} />
      <div class="fields">
        <Labelled label="Dates with the year last">
          {(attributes) => (
            <select {...attributes} value={dates} onChange={(event) => change({ dates: event.currentTarget.value as DateOrder | "" })}>
              <option value="">not known: reject them</option>
              {ORDERS.map(([name, text]) => (
                <option key={name} value={name}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Labelled>
        <Labelled label="Format" hint={file?.delimiter && `Cells end with ${DELIMITERS[file.delimiter] ?? `“${file.delimiter}”`}.`}>
          {(attributes) => (
            <select {...attributes} value={format} onChange={(event) => change({ format: event.currentTarget.value as FileFormat | "" })}>
              <option value="">{found ? `recognised: ${found}` : "recognise it"}</option>
              {FORMATS.map(([name, text]) => (
                <option key={name} value={name}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Labelled>
        {file?.format !== "xlsx" && (
          <Labelled label="Encoding">
            {(attributes) => (
              <select {...attributes} value={encoding} onChange={(event) => change({ encoding: event.currentTarget.value as FileEncoding | "" })}>
                <option value="">{file?.encoding ? `recognised: ${file.encoding}` : "recognise it"}</option>
                {ENCODINGS.map(([name, text]) => (
                  <option key={name} value={name}>
                    {text}
                  </option>
                ))}
              </select>
            )}
          </Labelled>
        )}
        {(file?.format === "xlsx" || sheet) && (
          <Labelled label="Sheet" hint="Without a name: the first sheet with a value.">
            {(attributes) => (
              <input
                {...attributes}
                value={sheet}
                placeholder={file?.sheet ?? ""}
                onChange={(event) => change({ sheet: event.currentTarget.value.trim() })}
              />
            )}
          </Labelled>
        )}
        {isTable && (
          <Labelled label="Row with the names of the columns" hint="Rows above it are ignored.">
            {(attributes) => (
              <input
                {...attributes}
                type="number"
                min="1"
                max="1000"
                value={headerRow || "1"}
                // The first row is what the service reads without the option.
                onChange={(event) => change({ headerRow: headerOf(event.currentTarget.value) })}
              />
            )}
          </Labelled>
        )}
      </div>
    </section>
  );
}

/** The option for a row that was entered: none for the default, the first row. */
function headerOf(entered: string): string {
  return entered === "1" ? "" : entered;
}

function Conflicts({ type }: { type: RecordType }) {
  if (type.natural_key.length === 0) {
    return <p>These records have no natural key, so existing ones cannot be found: each row creates a record.</p>;
  }
  const key = type.natural_key.map((name) => label(name).toLowerCase()).join(" and ");
  return (
    <fieldset>
      <legend>If a record with the same {key} exists</legend>
      {CONFLICTS.map(([name, text, hint]) => (
        <label class="check" key={name}>
          <input type="radio" name="on_conflict" checked={options.value.onConflict === name} onChange={() => change({ onConflict: name })} />
          <span>
            {text}
            <span class="quiet hint">{hint}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}
