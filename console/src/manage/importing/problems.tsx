// The problems of a file by column, with the options that solve them.

import type { ImportProblem, ImportReport } from "../../api/document";
import { count, label } from "../../schema";
import { grouped } from "../grouped";
import { changeOf } from "./options";
import { change, options } from "./state";
import { inputId } from "./values";

export function Problems({ report }: { report: ImportReport }) {
  const groups = grouped(report.problems, ({ field }) => field ?? "");
  const header = headerRow(report);
  return (
    <>
      {header && header !== options.value.headerRow && (
        <p class="warning">
          Row {header} looks like the row with the names of the columns.
          <button type="button" onClick={() => change({ headerRow: header })}>
            Use row {header} as the header
          </button>
        </p>
      )}
      {groups.size > 0 && (
        <section aria-labelledby="import-problems">
          <h2 id="import-problems">Problems</h2>
          <ul class="groups">
            {[...groups].map(([field, problems]) => (
              <li key={field}>
                <h3>{field ? titleOf(field, report) : "Whole rows"}</h3>
                {problems.map((problem) => (
                  <Problem key={problem.detail} problem={problem} />
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

/** The row that is probably the header. Earlier versions of the service do not report it. */
function headerRow(report: ImportReport & { header_row?: number }): string | undefined {
  return report.header_row === undefined ? undefined : String(report.header_row);
}

/** A field with the column that is read into it. */
function titleOf(field: string, report: ImportReport): string {
  const column = report.columns.find(({ fields }) => fields.includes(field))?.name;
  return column && column !== field ? `${label(field)}, from the column “${column}”` : label(field);
}

interface ProblemProps {
  problem: ImportProblem;
}

function Problem({ problem }: ProblemProps) {
  const { detail, count: rows, example, line, parameters, field } = problem;
  const changes = parameters.flatMap((parameter) => {
    const changes = changeOf(parameter);
    return changes ? [{ parameter, changes }] : [];
  });
  // A problem without an example is that of cells without a value.
  const isMissing = field !== undefined && example === undefined && parameters.length === 0 && !options.value.values[field];
  return (
    <p class="warning">
      {count(rows)} × {detail}
      {example && (field ? `, found ${example}` : `: ${example}`)} <span class="quiet">(first in line {count(line)})</span>
      {changes.map(({ parameter, changes }) => (
        <button type="button" key={parameter} onClick={() => change(changes)}>
          Add {parameter}
        </button>
      ))}
      {isMissing && (
        <button type="button" onClick={() => document.getElementById(inputId(field))?.focus()}>
          Set a value for empty cells
        </button>
      )}
    </p>
  );
}

/** The number of rejected rows whose record exists. */
export function conflictsOf(report: ImportReport): number {
  const conflicts = report.problems.filter(({ field, detail }) => field === undefined && detail === "the record exists");
  return conflicts.reduce((sum, problem) => sum + problem.count, 0);
}

/** The number of lines that are shown. The service reports up to a hundred. */
const MAX_LINES = 100;

/** The rows that are left out or combined because their record exists. */
export function Existing({ report }: { report: ImportReport }) {
  if (report.existing.length === 0) return null;
  return (
    <details>
      <summary>
        {report.existing.length >= MAX_LINES ? `The first ${MAX_LINES} rows` : `${report.existing.length} rows`} of existing records
      </summary>
      <ul>
        {report.existing.slice(0, MAX_LINES).map(({ line, detail }) => (
          <li key={`${line} ${detail}`}>
            Line {line}: {detail}
          </li>
        ))}
      </ul>
    </details>
  );
}
