// The problems of a file by column, with the options that solve them.

import type { ImportProblem, ImportReport, Violation } from "../../api/document";
import { count, label } from "../../schema";
import { grouped } from "../grouped";
import { proposalOf } from "./options";
import { change, options } from "./state";
import { inputId } from "./values";

export function Problems({ report }: { report: ImportReport }) {
  const groups = grouped(report.problems, ({ field }) => field ?? "");
  return (
    <>
      {groups.size > 0 && (
        <section aria-labelledby="import-problems">
          <h2 id="import-problems">Problems</h2>
          <ul class="groups">
            {[...groups].map(([field, problems]) => (
              <li key={field}>
                <h3>{field ? titleOf(field, report) : "Whole rows"}</h3>
                {problems.map((problem) => (
                  <Problem key={problem.detail} problem={problem} report={report} />
                ))}
              </li>
            ))}
          </ul>
        </section>
      )}
      <Existing report={report} />
    </>
  );
}

/** The proposal to read another row as the header. */
export function OtherHeader({ row }: { row: number }) {
  return (
    <p class="warning">
      Row {row} looks like the row with the names of the columns.
      <button type="button" class="primary" onClick={() => change({ headerRow: String(row) })}>
        Use row {row} as the header
      </button>
    </p>
  );
}

/** A field with the column that is read into it. */
function titleOf(field: string, report: ImportReport): string {
  const column = report.columns.find(({ fields }) => fields.includes(field))?.name;
  return column && column !== field ? `${label(field)}, from the column “${column}”` : label(field);
}

interface ProblemProps {
  problem: ImportProblem;
  report: ImportReport;
}

function Problem({ problem, report }: ProblemProps) {
  const { count: rows, examples, parameters, reason, field } = problem;
  const proposals = parameters.flatMap((parameter) => proposalOf(parameter) ?? []);
  // A problem without a value is that of cells without one.
  const isMissing = field !== undefined && problem.example === undefined && parameters.length === 0 && !options.value.values[field];
  const [first] = examples;
  return (
    <div class="warning">
      {count(rows)} × {isConflict(problem) ? conflictText(report) : problem.detail}
      {examples.length === 1 && first && (
        <>
          {first.found && `${field ? ", found" : ":"} ${found(first.found)}`} <span class="quiet">(in {placeOf(first)})</span>
        </>
      )}
      {reason && ` – ${reason}`}
      {proposals.map(({ text, changes }) => (
        <button type="button" key={text} onClick={() => change(changes)}>
          {text}
        </button>
      ))}
      {isMissing && (
        <button type="button" onClick={() => document.getElementById(inputId(field))?.focus()}>
          Set a value for empty cells
        </button>
      )}
      {examples.length > 1 && (
        <ul>
          {examples.map((example) => (
            <li key={example.line}>
              {example.found && `${found(example.found)} `}
              <span class="quiet">in {placeOf(example)}</span>
            </li>
          ))}
          {rows > examples.length && <li class="quiet">and in {count(rows - examples.length)} more</li>}
        </ul>
      )}
    </div>
  );
}

/** Where a row is: its number as a spreadsheet counts it, and the value that names its record. */
export function placeOf({ line, row, title }: { line?: number | undefined; row?: number | undefined; title?: string }): string {
  const place = row === undefined ? `line ${count(line ?? 0)}` : `row ${count(row)} (line ${count(line ?? 0)})`;
  return title ? `${place}, “${title}”` : place;
}

/** Whether it is the problem of rows whose record exists, also by an earlier row of the file. */
function isConflict({ field, detail }: ImportProblem): boolean {
  return field === undefined && detail === "the record exists";
}

/** The number of rejected rows whose record exists. */
export function conflictsOf(report: ImportReport): number {
  return report.problems.filter(isConflict).reduce((sum, problem) => sum + problem.count, 0);
}

function conflictText(report: ImportReport): string {
  const others = conflictsOf(report) - report.repeated;
  if (others === 0) return "repeated in this file";
  return report.repeated === 0 ? "the record exists already" : `${count(others)} exist already, ${count(report.repeated)} repeated in this file`;
}

/** The number of lines that are shown. The service reports up to a hundred. */
const MAX_LINES = 100;

/** The rows that are left out or combined because their record exists, or because the file has it in an earlier row. */
export function Existing({ report }: { report: ImportReport }) {
  const isRepeated = ({ detail }: Violation) => REPEATED.test(detail);
  const listed = report.existing.slice(0, MAX_LINES);
  return (
    <>
      <Rows rows={listed.filter(isRepeated)} text="repeated in this file" isCut={listed.length === MAX_LINES} />
      <Rows rows={listed.filter((row) => !isRepeated(row))} text="whose records exist already" isCut={listed.length === MAX_LINES} />
    </>
  );
}

/** The end of the message about a row that repeats an earlier one. */
const REPEATED = / already exists \(line (\d+)\)$/;

/** What was found. Of a row that repeats another one, the service says only that its record exists. */
function found(detail: string): string {
  return detail.replace(REPEATED, " is also in line $1");
}

function Rows({ rows, text, isCut }: { rows: Violation[]; text: string; isCut: boolean }) {
  if (rows.length === 0) return null;
  const number = rows.length === 1 ? "1 row" : `${rows.length} rows`;
  return (
    <details>
      <summary>
        {isCut ? `The first ${number}` : number} {text}
      </summary>
      <ul>
        {rows.map((row) => (
          <li key={`${row.line} ${row.detail}`}>
            {label(placeOf(row))}: {found(row.detail)}
          </li>
        ))}
      </ul>
    </details>
  );
}
