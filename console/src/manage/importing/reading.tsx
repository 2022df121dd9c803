// How the file is read, and what happens to records that exist.

import { useEffect, useRef, useState } from "preact/hooks";
import type { DateOrder, FileEncoding, FileFormat, ImportReport, OnConflict, RecordType } from "../../api/document";
import { label } from "../../schema";
import { Labelled } from "../form";
import type { ControlAttributes } from "../form";
import { ORDERS } from "./options";
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

const CONFLICTS: [OnConflict, string][] = [
  ["fail", "Import all rows or none: one wrong row, or one record that exists, prevents the import."],
  ["skip", "Leave out wrong and repeated rows, and keep records that exist as they are."],
  ["update", "Leave out wrong rows, and update records that exist with the values of the file."],
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
        <Labelled label="Dates such as 03/04/2030" hint={!dates && "Without their order, such dates are rejected."}>
          {(attributes) => (
            <select {...attributes} value={dates} onChange={(event) => change({ dates: event.currentTarget.value as DateOrder | "" })}>
              <option value="">order not known</option>
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
            {(attributes) => <HeaderRow attributes={attributes} value={headerRow || "1"} />}
          </Labelled>
        )}
      </div>
    </section>
  );
}

/** How long a number stays before it is applied, in milliseconds. */
const TYPING = 500;

function HeaderRow({ attributes, value }: { attributes: ControlAttributes; value: string }) {
  const timer = useRef(0);
  // What is typed stays while a dry run of before ends.
  const [typed, setTyped] = useState<string>();
  const apply = (entered: string) => {
    clearTimeout(timer.current);
    setTyped(undefined);
    // The first row is what the service reads without the option.
    const headerRow = entered === "1" ? "" : entered;
    if (headerRow !== options.peek().headerRow) change({ headerRow });
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <input
      {...attributes}
      type="number"
      min="1"
      max="1000"
      value={typed ?? value}
      onInput={(event) => {
        const { value: entered, validity } = event.currentTarget;
        setTyped(entered);
        clearTimeout(timer.current);
        // An empty input is one whose number is replaced.
        if (entered !== "" && validity.valid) timer.current = window.setTimeout(() => apply(entered), TYPING);
      }}
      onChange={(event) => apply(event.currentTarget.value)}
    />
  );
}

function Conflicts({ type }: { type: RecordType }) {
  if (type.natural_key.length === 0) {
    return <p>These records have no natural key, so existing ones cannot be found: each row creates a record.</p>;
  }
  const key = type.natural_key.map((name) => label(name).toLowerCase()).join(" and ");
  return (
    <fieldset>
      <legend>Wrong rows, and records with the same {key}</legend>
      {CONFLICTS.map(([name, text]) => (
        <label class="check" key={name}>
          <input type="radio" name="on_conflict" checked={options.value.onConflict === name} onChange={() => change({ onConflict: name })} />
          {text}
        </label>
      ))}
    </fieldset>
  );
}
